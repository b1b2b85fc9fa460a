//! An agent dies at every step of every write of its ledger: as `kill -9` does, and as a power cut. What was written is
//! there afterwards, and never less.
//!
//! The dying is done by a child: this same executable, told by its environment where, and when to die.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::path::Path;

use mainstay_client::failpoint::Point;
use mainstay_client::failpoint::trial::{self, Trial, note, noted};
use mainstay_core::state::run::Outcome;

use super::*;

/// Attempts that a child lives.
const ATTEMPTS: u64 = 4;

fn attempt(counter: u64) -> AttemptId {
    format!("1.{counter}").parse().unwrap()
}

/// Each of some attempts from its beginning to its end; the first one is forgotten.
async fn live(place: &Path) {
    let ledger = Ledger::open(place, LedgerId("first".into())).unwrap();
    note(place, "id");
    ledger.see(Version { incarnation: 2, generation: 1 }).await.unwrap();
    note(place, "seen");
    for counter in 0..ATTEMPTS {
        let ended = LedgerState::Ended(Outcome::Failed { message: "it did not work".into(), report: None });
        for (state, word) in [(LedgerState::Accepted, "accepted"), (LedgerState::Begun, "begun"), (ended, "ended")] {
            ledger.write(attempt(counter), state).await.unwrap();
            note(place, &format!("{word} {counter}"));
        }
        ledger.forget(vec![attempt(0)]).await.unwrap();
        note(place, "forgotten 0");
    }
    drop(ledger);
    let ledger = Ledger::open(place, LedgerId("second".into())).unwrap();
    ledger.see(Version { incarnation: 3, generation: 1 }).await.unwrap();
}

/// Runs only as a child of the test below.
#[tokio::test]
async fn child() {
    if let Some((_, place)) = trial::asked() {
        live(&place).await;
    }
}

/// How far the ledger says that an attempt has come.
fn rank(state: Option<&LedgerState>) -> u8 {
    match state {
        None => 0,
        Some(LedgerState::Accepted) => 1,
        Some(LedgerState::Begun) => 2,
        Some(LedgerState::Ended(_)) => 3,
    }
}

fn judge(place: &Path) -> Result<(), String> {
    let told = noted(place);
    let was_told = |line: String| told.contains(&line);
    let ledger = Ledger::open(place, LedgerId("other".into())).map_err(|error| error.to_string())?;
    if was_told("id".into()) && ledger.id() != &LedgerId("first".into()) {
        return Err("it is another ledger".into());
    }
    if was_told("seen".into()) && ledger.seen() < (Version { incarnation: 2, generation: 1 }) {
        return Err(format!("what it has seen is forgotten: {:?}", ledger.seen()));
    }
    for counter in 0..ATTEMPTS {
        let words = [(1, "accepted"), (2, "begun"), (3, "ended")];
        let known = words.into_iter().filter(|(_, word)| was_told(format!("{word} {counter}"))).map(|(rank, _)| rank).max().unwrap_or(0);
        let found = rank(ledger.entry(attempt(counter)).as_ref());
        let forgotten = counter == 0 && known == 3 && found == 0;
        if found < known && !forgotten {
            return Err(format!("attempt {counter} had come to {known}, and the ledger says {found}"));
        }
        if found > known + 1 {
            return Err(format!("attempt {counter} had come to {known}, and the ledger says {found} already"));
        }
    }
    Ok(())
}

#[test]
fn an_agent_dies_at_every_write_of_its_ledger() {
    let points = [
        Point::LedgerOpen,
        Point::LedgerSeen,
        Point::LedgerAccept,
        Point::LedgerBegin,
        Point::LedgerEnd,
        Point::LedgerForget,
        Point::LedgerClose,
        Point::LedgerMark,
    ];
    let also = ["", ":lose", ":lose=1", ":lose=2", ":lose:nth=2", ":lose=3:nth=3"];
    Trial { test: "ledger::crashes::child", job: "live" }.everywhere(&points, &also, || tempfile::tempdir().unwrap(), judge);
}
