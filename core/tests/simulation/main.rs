//! A whole mesh in virtual time, without I/O: a log whose leaders come and go, agents that die at every
//! point, lease clients that pause, and a network that loses, repeats, delays and reorders.
//!
//! Each seed runs in two phases. *Faults*: whatever happens, what must hold holds (safety). *Calm*: nothing
//! fails any more, and everything that was begun comes to an end (liveness). What is checked:
//!
//! - every invariant of the state after every entry; a replay of the log comes to the same state;
//! - never more believers in a lease than slots, each by its own clock;
//! - what is not idempotent is done at most once for each run, step and target;
//! - what was done and has an undo is taken back, or the run says that it is not;
//! - a run that waits says for what; in the calm every run ends, and every client gets its lease.
//!
//! Modelled as it is outside of the core: a renewal counts only when the leader is confirmed after it came,
//! and not while the end of that grant is on its way. What a deposed leader proposed is committed before the
//! first entry of the next one or never; only decisions about leases end there, all others may also come
//! late, because nothing may depend on that.
//!
//! One seed alone, with every entry printed: `MAINSTAY_SEED=7 cargo test -p mainstay-core --test simulation -- --nocapture`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod agent;
mod chance;
mod client;
mod mesh;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many seeds are run, from 0 on; `MAINSTAY_SEEDS` says otherwise (`make soak`).
const SEEDS: u64 = 20;

#[test]
fn nothing_breaks_under_faults_and_everything_ends_in_the_calm() {
    if let Ok(seed) = std::env::var("MAINSTAY_SEED") {
        return world::World::new(seed.parse().unwrap(), true).run();
    }
    let seeds = std::env::var("MAINSTAY_SEEDS").map_or(SEEDS, |count| count.parse().expect("MAINSTAY_SEEDS is a number"));
    // Two halves side by side; a seed is one thread from its first event to its last.
    let failed = std::thread::scope(|scope| {
        let halves =
            [0, 1].map(|half| scope.spawn(move || (0..seeds).filter(|seed| seed % 2 == half).filter(|seed| fails(*seed)).collect::<Vec<_>>()));
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect::<Vec<_>>()
    });
    let again: Vec<String> =
        failed.iter().map(|seed| format!("MAINSTAY_SEED={seed} cargo test -p mainstay-core --test simulation -- --nocapture")).collect();
    println!("{seeds} seeds");
    assert!(failed.is_empty(), "{} of {} seeds failed; each alone:\n{}", failed.len(), seeds, again.join("\n"));
}

fn fails(seed: u64) -> bool {
    catch_unwind(AssertUnwindSafe(|| world::World::new(seed, false).run())).is_err()
}

/// The same seed gives the same events: a failure can be looked at again.
#[test]
fn a_seed_tells_one_story() {
    let story = |seed| {
        let mut world = world::World::new(seed, false);
        world.run();
        (world.mesh.log.len(), mainstay_core::codec::encode_state(&world.mesh.state))
    };
    assert_eq!(story(3), story(3));
}
