//! A whole mesh in virtual time, without I/O, and everything that must hold of it.
//!
//! Each seed draws what it is about ([`setting`]) and runs in two phases. *Faults*: whatever happens, what
//! must hold holds. *Calm*: nothing fails any more, and everything that was begun comes to an end within a
//! bound, or says what it waits for. What must hold is in [`invariants`], one a file. What is simulated and
//! what is not, and which known bugs are found by which seed, is in `README.md` beside this file.
//!
//! One seed alone, with all that happens in it:
//! `MAINSTAY_SEED=7 cargo test --profile simulation -p mainstay-core --test simulation -- --nocapture`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod agent;
mod chance;
mod client;
mod clock;
mod invariants;
mod leader;
mod mesh;
mod network;
mod operator;
mod plans;
mod setting;
mod store;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use trace::Trace;
use world::World;

/// How many seeds are run, from 0 on; `MAINSTAY_SEEDS` says otherwise (`make soak`).
const SEEDS: u64 = 20_000;

#[test]
fn nothing_breaks_under_faults_and_everything_ends_in_the_calm() {
    if let Ok(seed) = std::env::var("MAINSTAY_SEED") {
        return World::new(seed.parse().expect("MAINSTAY_SEED is a number"), Trace::all()).run();
    }
    let seeds = std::env::var("MAINSTAY_SEEDS").map_or(SEEDS, |count| count.parse().expect("MAINSTAY_SEEDS is a number"));
    let Some(seed) = first_that_fails(seeds) else { return println!("{seeds} seeds") };
    let trace = Trace::last();
    let problem = std::thread::scope(|scope| scope.spawn(|| broken_by(seed, &trace)).join().unwrap());
    let problem = problem.unwrap_or_else(|| "it did not fail again: a seed does not tell one story".to_owned());
    panic!(
        "seed {seed}: {problem}\n\nwhat happened last:\n{}\n\nthis seed alone, with all that happens in it:\n\
         MAINSTAY_SEED={seed} cargo test --profile simulation -p mainstay-core --test simulation -- --nocapture",
        trace.text()
    );
}

/// The lowest seed that fails. A seed is one thread from its first event to its last; they take turns.
fn first_that_fails(seeds: u64) -> Option<u64> {
    assert!(!plans::ALL.is_empty());
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds.min(failed.load(Ordering::SeqCst)) {
                return;
            }
            if broken_by(seed, &Trace::default()).is_some() {
                failed.fetch_min(seed, Ordering::SeqCst);
            }
        }
    };
    silence_threads_without_a_name();
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    Some(failed.into_inner()).filter(|seed| *seed != u64::MAX)
}

/// The seeds that fail are told of once, in order, with their trace.
fn silence_threads_without_a_name() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name().is_some() {
            usual(info);
        }
    }));
}

/// What breaks in a seed, if something does.
fn broken_by(seed: u64, trace: &Trace) -> Option<String> {
    let problem = catch_unwind(AssertUnwindSafe(|| World::new(seed, trace.clone()).run())).err()?;
    let text = problem.downcast_ref::<String>().cloned();
    Some(text.or_else(|| problem.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
}

/// The same seed gives the same events: a failure can be looked at again.
#[test]
fn a_seed_tells_one_story() {
    let story = |seed| {
        let mut world = World::new(seed, Trace::default());
        world.run();
        (world.mesh.log.len(), mainstay_core::codec::encode_state(&world.mesh.state))
    };
    for seed in 0..20 {
        assert_eq!(story(seed), story(seed), "seed {seed}");
    }
}
