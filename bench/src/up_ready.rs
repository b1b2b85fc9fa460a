//! How long `mainstay up` takes until three members and three agents are ready.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use mainstay_tests::up::binaries;

use crate::results::{Row, median};

const TIMES: usize = 7;

/// From the start of the process to its own word that all are ready, on an empty directory each time.
pub async fn measure() -> Row {
    let mut seconds = Vec::new();
    for _ in 0..TIMES {
        seconds.push(once());
    }
    let worst = seconds.iter().copied().fold(0.0, f64::max);
    Row::below("mesh.up_ready", "s", median(seconds), 3.0, &format!("3 members, 3 agents, empty directory, median of {TIMES}, slowest {worst:.2} s"))
}

fn once() -> f64 {
    let dir = tempfile_dir();
    let begun = Instant::now();
    let mut up = Command::new(binaries().join("mainstay"))
        .args(["up", "--dir"])
        .arg(dir.join("mesh"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("`mainstay up` starts");
    let stdout = up.stdout.take().expect("its output");
    let mut took = f64::NAN;
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if line.contains("ready in") {
            took = begun.elapsed().as_secs_f64();
            break;
        }
    }
    let _ = Command::new("kill").args(["-INT", &up.id().to_string()]).status();
    let _ = up.wait();
    let _ = std::fs::remove_dir_all(dir);
    took
}

fn tempfile_dir() -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("mainstay-bench-{}-{}", std::process::id(), mainstay_client::random::token(4)));
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}
