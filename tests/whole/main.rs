//! Whole coordinators and agents, as they ship, on a simulated network, disk and clocks, one process for each seed.
//!
//! One seed alone, with all that happens in it:
//! `MAINSTAY_SEED=7 cargo test -p mainstay-whole --test whole one_seed -- --nocapture`
#![allow(clippy::disallowed_methods, reason = "tests stand outside of the seams")]

mod chance;
mod client;
mod clock;
mod commands;
mod disk;
mod faults;
mod invariants;
mod kernel;
mod library;
mod machines;
mod members;
mod network;
mod operator;
mod plans;
mod process;
mod stand_in;
mod trace;
mod watch;
mod works;
mod world;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many seeds are run, from 0 on; `MAINSTAY_SEEDS` says otherwise (`make soak`).
const SEEDS: u64 = 60;

/// Runs the seed that the environment names, in this process; nothing where it names none.
#[test]
fn one_seed() {
    let Ok(seed) = std::env::var("MAINSTAY_SEED") else { return };
    let seed: u64 = seed.parse().expect("MAINSTAY_SEED is a number");
    let all = std::env::var_os("MAINSTAY_QUIET").is_none();
    match world::run(seed, all) {
        Ok(it) => {
            let strikes: Vec<String> = it.strikes.iter().map(|(what, times)| format!("{what}: {times}")).collect();
            let (sum, grants, commands, runs, took) = (it.sum, it.grants, it.commands, it.runs, it.took.as_secs_f64());
            println!("seed {seed}: {sum:016x} {grants} grants {commands} commands {runs} runs {took:.1} s; {}", strikes.join("; "));
        }
        Err(problem) => panic!("seed {seed}: {problem}\n\nwhat happened last:\n{}", trace::last_lines()),
    }
}

/// Runs a seed in a process of its own; what it says in the end, or what has failed.
fn told(seed: u64) -> Result<String, String> {
    let mut process = Command::new(std::env::current_exe().expect("this program"));
    process.args(["--exact", "one_seed", "--nocapture", "--test-threads=1"]).env("MAINSTAY_SEED", seed.to_string()).env("MAINSTAY_QUIET", "1");
    let output = process.output().map_err(|error| error.to_string())?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let said = text.find(&format!("seed {seed}: ")).map(|at| text[at..].lines().next().unwrap_or_default().to_owned());
    said.filter(|_| output.status.success()).ok_or(text)
}

#[test]
fn nothing_breaks_under_faults_and_everything_ends_in_the_calm() {
    if std::env::var_os("MAINSTAY_SEED").is_some() {
        return;
    }
    let seeds = std::env::var("MAINSTAY_SEEDS").map_or(SEEDS, |count| count.parse().expect("MAINSTAY_SEEDS is a number"));
    let first = std::env::var("MAINSTAY_FIRST").map_or(0, |number| number.parse().expect("MAINSTAY_FIRST is a number"));
    let (next, failed, seen) = (AtomicU64::new(first), Mutex::new(Vec::new()), Mutex::new(BTreeMap::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= first + seeds || !failed.lock().expect("nobody breaks down with it").is_empty() {
                return;
            }
            match told(seed) {
                Ok(said) => {
                    println!("{said}");
                    count(&mut seen.lock().expect("nobody breaks down with it"), &said);
                }
                Err(text) => failed.lock().expect("nobody breaks down with it").push((seed, text)),
            }
        }
    };
    let processes = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| (0..processes).for_each(|_| drop(scope.spawn(work))));
    let mut failed = failed.into_inner().expect("nobody broke down with it");
    failed.sort();
    if let Some((seed, text)) = failed.into_iter().next() {
        panic!(
            "{text}\n\nthis seed alone, with all that happens in it:\n\
             MAINSTAY_SEED={seed} cargo test -p mainstay-whole --test whole one_seed -- --nocapture"
        );
    }
    let seen = seen.into_inner().expect("nobody broke down with it");
    seen.iter().for_each(|(what, times)| println!("{times:>6} × {what}"));
    let all = faults::ALL.iter().map(|fault| format!("{fault:?}")).chain(faults::EFFECTS.map(str::to_owned));
    let never: Vec<String> = all.filter(|what| !seen.contains_key(what)).collect();
    assert!(seeds < SEEDS || never.is_empty(), "in {seeds} seeds it has never happened: {}", never.join("; "));
}

/// Adds what has struck in a seed.
fn count(seen: &mut BTreeMap<String, usize>, said: &str) {
    for (what, times) in said.split("; ").skip(1).filter_map(|strike| strike.rsplit_once(": ")) {
        *seen.entry(what.to_owned()).or_default() += times.parse().unwrap_or(0);
    }
}

/// The same seed gives the same events, to the last byte on the network: a failure can be looked at again.
#[test]
fn a_seed_tells_one_story() {
    if std::env::var_os("MAINSTAY_SEED").is_some() {
        return;
    }
    for seed in 0..2 {
        assert_eq!(told(seed), told(seed));
    }
}
