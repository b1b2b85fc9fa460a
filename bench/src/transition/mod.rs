//! What the users of a workload notice of its transitions, beside the same done with plain kubectl in the same cluster.
//!
//! ```text
//!  clients that never stop and never retry ─▶ Service ─▶ pods of blue, or of green
//!                                                ▲
//!                        plans of Mainstay, or kubectl
//! ```

mod stage;

use std::time::{Duration, Instant};

use mainstay_tests::eventually;
use mainstay_tests::kubernetes::steady::{Asked, Sort, Steady, failures};
use serde_json::json;

use self::stage::Stage;
use crate::results::{Row, median};

/// Switches to a green that begins to fail.
const UNDONE: usize = 30;
/// Of them, those in which green's pods end afterwards, as the bundled plan has them do: kept connections are theirs until then.
const ENDED: usize = 5;
/// From a green that fails to new connections on blue, at the 99th percentile.
const GOAL_S: f64 = 3.0;

/// What failed for clients that open a connection for each request, and for such that keep theirs; of so many requests.
#[derive(Debug, Clone, Copy, Default)]
struct Failed {
    new: usize,
    kept: usize,
    asked: usize,
}

impl Failed {
    fn of(asked: &[Asked]) -> Failed {
        let count = |sort| failures(asked, sort).values().sum();
        Failed { new: count(Sort::New), kept: count(Sort::Kept), asked: asked.len() }
    }

    fn and(self, other: Failed) -> Failed {
        Failed { new: self.new + other.new, kept: self.kept + other.kept, asked: self.asked + other.asked }
    }
}

/// Rolls out, switches and keeps, and lets green fail.
pub async fn measure() -> Vec<Row> {
    let stage = Stage::start().await;
    let rolled = stage.asked(async || stage.completes("roll", &stage.rollout("two")).await).await;
    let switched = stage.asked(async || stage.completes("keep", &[stage.switch(), stage.watch("5s")].concat()).await).await;
    let ours = Failed::of(&rolled).and(Failed::of(&switched));
    let by_hand = stage.asked(async || stage.rollout_by_hand("three").await).await;
    let switched_by_hand = stage.asked(async || stage.switch_by_hand().await).await;
    let theirs = Failed::of(&by_hand).and(Failed::of(&switched_by_hand));

    let mut undone = Vec::new();
    let (mut failing, mut kept) = (Vec::new(), Vec::new());
    for number in 0..UNDONE {
        let back = green_fails(&stage, number, number + ENDED >= UNDONE).await;
        undone.push(back.new);
        failing.push(back.failing);
        kept.extend(back.kept);
    }
    undone.sort_by(f64::total_cmp);
    failing.sort_by(f64::total_cmp);
    let (p99, middle) = (undone[UNDONE * 99 / 100], median(undone.clone()));
    let how = "a Deployment whose pods end gracefully, 4 clients without a pause of more than 20 ms; a rolling update, and a switch that is kept";
    vec![
        Row::never(
            "transition.failed_requests",
            "requests",
            (ours.new + ours.kept) as f64,
            ("kubectl", (theirs.new + theirs.kept) as f64),
            &format!(
                "{how}; of {} requests, on new connections {} and on kept ones {}; kubectl {} and {} of {}",
                ours.asked, ours.new, ours.kept, theirs.new, theirs.kept, theirs.asked
            ),
        ),
        Row::below(
            "transition.failing",
            "s",
            failing[UNDONE - 1],
            GOAL_S,
            &format!(
                "from the first answer that failed to the last one, on new connections, where green itself fails; the longest of {UNDONE}, median {:.2}",
                median(failing.clone())
            ),
        ),
        Row::below(
            "transition.time_to_undo",
            "s",
            p99,
            GOAL_S,
            &format!(
                "from green beginning to fail to the first of only blue's answers on new connections; one probe a second, two that fail; p99 of {UNDONE}, median {middle:.2}"
            ),
        ),
        Row::below(
            "transition.time_to_undo_kept",
            "s",
            kept.iter().copied().fold(0.0, f64::max),
            GOAL_S,
            &format!(
                "the same on connections that clients keep: they stay with green's pods until these end, 4 s after they are told to; the longest of {ENDED}"
            ),
        )
        .informs(),
    ]
}

/// How a green that failed was left, in seconds.
struct Left {
    /// From when it began to fail until blue alone answers new connections.
    new: f64,
    /// From the first failure on a new connection to the last one.
    failing: f64,
    /// As `new`, on connections that were kept, where green's pods have ended.
    kept: Option<f64>,
}

async fn green_fails(stage: &Stage, number: usize, ends: bool) -> Left {
    stage.leads_to_blue_again().await;
    let steady = Steady::of(stage.address);
    let name = format!("fails-{number}");
    let run = stage.starts(&name, &[stage.switch(), stage.watch("2m")].concat());
    stage.up.work_is(&run, "watch", &["active"]).await;
    let green = || {
        let count = stage::by(&steady.asked(), "green");
        std::future::ready(if count > 50 { Ok(()) } else { Err(format!("{count} answers by green")) })
    };
    eventually("green has answered", green).await;
    let began = Instant::now();
    stage.break_green();
    let ended = stage.up.ended(&run).await;
    assert_eq!(ended["state"], json!("failed"), "{ended}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    if ends {
        stage.ends_green().await;
        let moved = || {
            let asked = steady.asked();
            let last = asked.iter().rev().filter(|one| one.sort == Sort::Kept).take(20);
            let strays = last.filter(|one| !one.answer.as_ref().is_ok_and(|body| body.starts_with("web-blue-"))).count();
            std::future::ready(if strays == 0 { Ok(()) } else { Err(format!("{strays} of the last 20 answers")) })
        };
        eventually("kept connections are blue's", moved).await;
    }
    let asked = steady.end().await;
    stage.mend_green();
    let is_bad = |one: &&Asked| !one.answer.as_ref().is_ok_and(|body| body.starts_with("web-"));
    let bad: Vec<&Asked> = asked.iter().filter(is_bad).filter(|one| one.sort == Sort::New).collect();
    let kept = asked.iter().filter(is_bad).filter(|one| one.sort == Sort::Kept).map(|one| one.at).max().filter(|_| ends);
    let (first, last) = (bad.first().expect("green failed").at, bad.last().expect("green failed").at);
    let after = asked.iter().filter(|one| one.sort == Sort::New && one.at > last).map(|one| one.at).min().expect("blue answers");
    Left {
        new: after.duration_since(began).as_secs_f64(),
        failing: last.duration_since(first).as_secs_f64(),
        kept: kept.map(|last| last.duration_since(began).as_secs_f64()),
    }
}
