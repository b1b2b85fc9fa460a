//! Leases under faults, as their clients see them: what 32 of them did and were told, while processes, networks,
//! disks and clocks of the coordinators fail, is explained by an order of single moments, by a checker of the project
//! and by Porcupine; no two believed at one time that they held a lease; and a store that checks tokens took no stale
//! write.
//!
//! Each mesh is in namespaces of its own (`tests/src/namespaces`), its members on hosts of their own.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on stops with words")]

mod clients;
mod faults;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use clients::{Crowd, ENOUGH, LEASES};
use mainstay_proto::v1;
use mainstay_tests::clock;
use mainstay_tests::history::porcupine;
use mainstay_tests::namespaces::{self, Group};

/// Runs a test in namespaces, with the other checker at hand, which could not be had in there.
fn inside<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    porcupine::program().unwrap_or_else(|error| panic!("{error}"));
    namespaces::inside(test, body);
}

/// Leases that are asked for before a majority is lost.
const KNOWN: usize = LEASES / 2;

async fn under_faults(members: usize) {
    let mut group = Group::start(members).await;
    let crowd = Crowd::of(&group);
    for fault in faults::ALL {
        let before = crowd.operations();
        fault.happens(&mut group).await;
        println!("{fault:?}: {} operations", crowd.operations() - before);
    }
    crowd.has_done(ENOUGH).await;
    crowd.end().await;
}

/// Two of three are lost for good, and with them what the third did not have. Nobody who held a lease, and nobody who
/// gets one, is misled by that.
async fn from_the_survivor() {
    let mut group = Group::start(3).await;
    // Of the others the survivor is never to hear.
    let crowd = Crowd::asking_for(KNOWN, &group);
    crowd.has_done(1_000).await;
    // By then the survivor has what was agreed on before.
    crowd.has_done(crowd.operations() + 100).await;
    let survivor = (group.leader().await + 1) % 3;
    group.network(survivor, Some(namespaces::Fault::Gone));
    crowd.ask_for(LEASES);
    crowd.has_done(crowd.operations() + 300).await;
    let agreed = group.client().get_status(v1::GetStatusRequest {}).await.expect("two of three are a majority").applied;
    group.lose_all_but(survivor);
    group.network(0, None);

    let (said, told) = group.recover();
    let name = format!("c{}", survivor + 1);
    assert!(said.contains(&format!("had agreed on and {name} did not have is not in it")), "{said}");
    assert_eq!((told["survivor"]["name"].as_str(), told["incarnationBefore"].as_u64()), (Some(name.as_str()), Some(1)), "{told}");
    assert!(told["unknown"][0].as_str().is_some_and(|lost| lost.contains("is lost, though somebody was told")), "{told}");
    let known = told["account"]["leases"].as_array().map_or(0, Vec::len);
    assert!(known < LEASES, "all {known} leases were known, and none has to be guarded: {told}");
    assert_eq!(told["account"]["unknownLeasesMs"].as_u64(), Some(30_000), "{told}");
    assert!(told["applied"].as_u64() < Some(agreed), "something was lost: {agreed} entries had been agreed on: {told}");
    crowd.mesh_may_take_all();
    group.begin(0);
    group.ready().await;
    crowd.has_done(crowd.operations() + 4_000).await;
    let (incarnation, _) = crowd.end().await;
    assert_eq!(Some(incarnation), told["incarnation"].as_u64(), "tokens of the new mesh are above all of the old one");
}

/// What the jumps above rest on: libfaketime moves the wall clock of a process that runs, and no other clock of it.
#[test]
fn a_jump_moves_wall_time_alone() {
    const TELL: &str = "import sys, time\nfor _ in sys.stdin: print(time.time(), time.monotonic(), flush=True)";
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("clock");
    fs::write(&file, "+0").expect("the clock's file");
    let mut python = Command::new("python3");
    clock::by_file(&mut python, &file);
    let mut python = python.args(["-c", TELL]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 is there");
    let (mut ask, mut answers) = (python.stdin.take().expect("its input"), BufReader::new(python.stdout.take().expect("its output")).lines());
    let mut clocks = || {
        writeln!(ask).expect("it listens");
        let line = answers.next().expect("an answer").expect("a line");
        let (wall, monotonic) = line.split_once(' ').expect("two numbers");
        [wall, monotonic].map(|seconds| seconds.parse::<f64>().expect("seconds"))
    };
    let before = clocks();
    for (by, jump) in [("+1h", 3_600.0), ("-1h", -3_600.0), ("+0", 0.0)] {
        fs::write(&file, by).expect("the clock's file");
        let [wall, monotonic] = clocks();
        let passed = monotonic - before[1];
        assert!((0.0..600.0).contains(&passed), "monotonic time goes on as it is: {passed} s");
        assert!((wall - before[0] - passed - jump).abs() < 5.0, "{by}: wall time went from {} to {wall}, and {passed} s had passed", before[0]);
    }
    drop(ask);
    python.wait().expect("it ends");
}

#[test]
fn three_members_under_all_faults() {
    inside("three_members_under_all_faults", || under_faults(3));
}

#[test]
fn five_members_under_all_faults() {
    inside("five_members_under_all_faults", || under_faults(5));
}

#[test]
fn a_mesh_that_lost_its_majority_goes_on_from_the_survivor() {
    inside("a_mesh_that_lost_its_majority_goes_on_from_the_survivor", from_the_survivor);
}
