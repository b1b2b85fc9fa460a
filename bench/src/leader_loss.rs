//! How long no write is possible after the leader was killed.

use std::time::{Duration, Instant};

use mainstay_proto::v1;
use mainstay_tests::{Options, Up, process};

use crate::results::{Row, median};

const TIMES: usize = 7;

/// From `kill -9` of the leader to the next write that a client has an answer to, while a run goes.
pub async fn measure() -> Row {
    let up = Up::start(Options::default()).await;
    let client = up.client();
    let mut seconds = Vec::new();
    for round in 0..TIMES {
        let _run = up.json(&["run", "start", "daily"]);
        write(&client, round * 2).await;
        let leader = up.leader().await;
        let pid = up.pid(&leader).expect("the leader runs");
        process::kill(pid);
        let begun = Instant::now();
        write(&client, round * 2 + 1).await;
        seconds.push(begun.elapsed().as_secs_f64());
        // The next leader is killed when all three are there again: with one away, there would be no majority left.
        up.whole(3).await;
        up.ready(3, 3).await;
    }
    let worst = seconds.iter().copied().fold(0.0, f64::max);
    Row::below(
        "mesh.leader_loss",
        "s",
        median(seconds),
        1.5,
        &format!("3 members, default settings, a run going, median of {TIMES}, slowest {worst:.2} s"),
    )
}

/// A write: a lease of its own.
async fn write(client: &mainstay_client::Mesh, number: usize) {
    let request = v1::AcquireRequest { name: format!("bench/{number}"), incarnation: "bench".to_owned(), ..v1::AcquireRequest::default() };
    client.clone().with_deadline(Duration::from_secs(30)).acquire_lease(request).await.expect("the write");
}
