//! A backup of a database and its restore, beside the commands of a maintenance guide, in one run.
//!
//! ```text
//! PostgreSQL ─▶ mainstay backup run: streamed, read back, signed ─▶ a directory
//!            ─▶ pg_dump > file; gzip file; copy it               ─▶ a directory
//! ```
//!
//! Both sides take turns, on the same disk, with fsync, and each finds the disk at rest.

mod cost;
mod guide;
mod ours;
mod server;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use mainstay_tests::servers::Place;
use mainstay_tests::up::binaries;

use self::cost::Cost;
use self::ours::Made;
use self::server::{Server, ended_well, programs};
use crate::results::{Better, Row, median};

/// Of the database, in MiB; `MAINSTAY_BACKUP_MIB` asks for a smaller one, for a trial.
const SIZE_MIB: u64 = 1_200;
const ASKED: &str = "MAINSTAY_BACKUP_MIB";
/// Rounds of both sides.
const TIMES: usize = 3;
/// Into which both restore, in turns.
const RESTORED: &str = "restored";
const MIB: f64 = (1 << 20) as f64;

const GUIDE: &str = "pg_dump > file, gzip, copy";
const STREAMED: &str = "gunzip | psql";
const BY_FILE: &str = "copy, gunzip, psql -f";

/// Directories of a measurement, thrown away with the value.
pub struct Bench(Place);

impl Bench {
    /// A directory, made where it is missing.
    pub fn dir(&self, name: &str) -> PathBuf {
        let dir = self.0.path().join(name);
        fs::create_dir_all(&dir).expect("a directory of the measurement");
        dir
    }

    /// The same without what was in it.
    pub fn fresh(&self, name: &str) -> PathBuf {
        let dir = self.dir(name);
        fs::remove_dir_all(&dir).expect("a directory of the measurement");
        self.dir(name)
    }
}

/// What all rounds came to.
#[derive(Default)]
struct Rounds {
    made: Vec<Made>,
    by_guide: Vec<Cost>,
    restored: Vec<Cost>,
    streamed: Vec<Cost>,
    by_file: Vec<Cost>,
}

/// Makes a database, backs it up and restores it in turns with the peer.
pub async fn measure() -> Vec<Row> {
    let size = std::env::var(ASKED).ok().map_or(SIZE_MIB, |text| text.parse().expect("a number of MiB"));
    let bench = Bench(Place::new("backup"));
    let server = Server::start().await;
    println!("backup: making a database of {size} MiB");
    let bytes = server.fill(size << 20);
    let rows = server.rows(server::SOURCE);
    let rounds = rounds(&bench, &server, rows);
    let is_trial = size < SIZE_MIB;
    let settings = settings(bytes, rows, &rounds);
    let settings =
        if is_trial { format!("a trial of {size} MiB instead of {SIZE_MIB}, which says nothing of the goal; {settings}") } else { settings };
    let mut figures = figures(&rounds, &settings);
    for row in figures.iter_mut().filter(|row| is_trial && row.goal.is_some()) {
        row.met = Some(false);
    }
    figures
}

fn rounds(bench: &Bench, server: &Server, rows: u64) -> Rounds {
    let keys = ours::Keys::new(bench);
    let mut rounds = Rounds::default();
    for round in 1..=TIMES {
        println!("backup: round {round} of {TIMES}");
        server.settle();
        let made = ours::backup(bench, server, &keys);
        server.settle();
        rounds.by_guide.push(guide::backup(bench, server));
        let restored = |restore: &dyn Fn() -> Cost| {
            server.create(RESTORED);
            server.settle();
            let cost = restore();
            assert_eq!(server.rows(RESTORED), rows, "rows that were restored");
            server.remove(RESTORED);
            cost
        };
        rounds.restored.push(restored(&|| ours::restore(bench, server, &keys, &made)));
        rounds.streamed.push(restored(&|| guide::restore_streamed(bench, server)));
        rounds.by_file.push(restored(&|| guide::restore(bench, server)));
        rounds.made.push(made);
    }
    rounds
}

fn figures(rounds: &Rounds, settings: &str) -> Vec<Row> {
    let of_made = |figure: fn(&Made) -> f64| median(rounds.made.iter().map(figure).collect());
    let of = |costs: &[Cost], figure: fn(&Cost) -> f64| median(costs.iter().map(figure).collect());
    let most = |costs: &mut dyn Iterator<Item = u64>| costs.max().unwrap_or_default() as f64;
    let (write, check) = (of_made(|made| made.write_s), of_made(|made| made.check_s));
    let wall = of_made(|made| made.cost.wall);
    let guide = of(&rounds.by_guide, |cost| cost.wall);
    let restored = of(&rounds.restored, |cost| cost.wall);
    let beside = |name: &str, what: &str, ours: f64, peer: (&str, f64), goal: f64| {
        Row::beside(name, "s", Better::Lower, ours, peer, goal, &format!("{what}; {settings}"))
    };
    let memory = most(&mut rounds.made.iter().map(|made| made.cost.resident_bytes)) / MIB;
    let temporary = most(&mut rounds.made.iter().map(|made| made.cost.temporary_bytes));
    let temporary_of_guide = most(&mut rounds.by_guide.iter().map(|cost| cost.temporary_bytes));
    vec![
        beside(
            "backup.wall",
            &format!(
                "from the start of the process to its end, the signed receipt being its last write; all of it was read back, decrypted, decompressed and compared before that, which took {check:.1} s of it and which the peer does not do"
            ),
            wall,
            (GUIDE, guide),
            3.3,
        ),
        beside("backup.write_wall", "without the check right after writing: until the manifest was in the store", write, (GUIDE, guide), 0.0)
            .informs(),
        Row::below("backup.check_wall", "s", check, 0.0, &format!("the check right after writing, a part of backup.wall; {settings}")).informs(),
        beside(
            "backup.cpu",
            "user and system, of the process and all that it started, with the check; the server's own is in neither",
            of_made(|made| made.cost.cpu),
            (GUIDE, of(&rounds.by_guide, |cost| cost.cpu)),
            1.0,
        ),
        Row::below(
            "backup.memory",
            "MiB",
            memory,
            64.0,
            &format!("most resident of `mainstay backup run` alone, the largest of {TIMES}; {settings}"),
        ),
        Row::never(
            "backup.temporary_space",
            "bytes",
            temporary,
            (GUIDE, temporary_of_guide),
            &format!("files in its home, working directory and TMPDIR outside of the store, looked at every 10 ms, the most of {TIMES}; {settings}"),
        ),
        beside(
            "backup.restore_wall",
            "into an empty database by two connections, by way of scratch space on the same disk, every checksum compared before, then the rows of each table counted and compared; the peer streams by one connection, each statement in a transaction of its own, and compares nothing",
            restored,
            (STREAMED, of(&rounds.streamed, |cost| cost.wall)),
            2.0,
        ),
        beside(
            "backup.restore_by_guide",
            "the same beside the guide's own order, by way of a file on the disk and without the copy into a pod",
            restored,
            (BY_FILE, of(&rounds.by_file, |cost| cost.wall)),
            0.0,
        )
        .informs(),
    ]
}

fn settings(bytes: u64, rows: u64, rounds: &Rounds) -> String {
    let first_line = |program: PathBuf| {
        let mut command = Command::new(program);
        command.arg("--version");
        ended_well(command).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
    };
    let made = rounds.made.last().map_or((0, 0), |made| (made.plain_bytes, made.stored_bytes));
    format!(
        "a database of {:.0} MiB with its indexes, {rows} rows of text, numbers and jsonb in 3 tables; dump {:.0} MiB, stored {:.0} MiB; server with fsync and Debian's settings but for autovacuum, which is off; server, stores and temporary files on one disk; both end when what they have stored is on the disk; median of {TIMES}, in turns; {}, {}, {}",
        bytes as f64 / MIB,
        made.0 as f64 / MIB,
        made.1 as f64 / MIB,
        first_line(binaries().join("mainstay")),
        first_line(programs().join("pg_dump")),
        first_line(PathBuf::from("gzip")),
    )
}
