//! Who goes first: the table of ARCHITECTURE.md, each of its cells as it is carried out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod rig;

use std::collections::BTreeMap;

use mainstay_core::report::Report;
use mainstay_core::state::run::{Outcome, RunEnd, RunOutcome, RunPhase, UndoEnd};
use mainstay_core::time::Millis;
use mainstay_core::{AttemptId, Command, LedgerId, Reply, RunId};
use rig::Rig;

/// Three steps, the first of which is taken back by a step of its own.
const PLAN: &str = "\
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: { name: p }
spec:
  steps:
    - { name: first, uses: node.exec, with: { command: [a] }, timeout: 10s, undo: { uses: node.exec, with: { command: [b] }, timeout: 10s, retry: { attempts: 2, backoff: 1s } } }
    - { name: second, uses: node.exec, with: { command: [c] }, timeout: 10s, needs: [first] }
    - { name: third, uses: node.exec, with: { command: [d] }, timeout: 10s, needs: [second] }
";
/// What somebody or something asks of a run: the rows.
const ASKED: [&str; 6] = ["`pause`", "`resume`", "`abort`", "`undo`", "`retry`", "node lost"];
/// How the run stands: the columns.
const STATES: [&str; 5] = ["running", "paused", "undoing", "ended, not undone", "ended, undone"];

struct Stage {
    rig: Rig,
    run: RunId,
}

fn ok() -> Outcome {
    Outcome::Succeeded(Report::default())
}

fn failed() -> Outcome {
    Outcome::Failed { message: "no".into(), report: None }
}

impl Stage {
    /// Its first step is done, the second goes.
    fn running() -> Stage {
        let mut rig = Rig::new();
        rig.connect("c/n", "l1", &["node.exec"]);
        rig.apply_plan(PLAN);
        let run = rig.start("p");
        let mut stage = Stage { rig, run };
        stage.ends(ok());
        stage.begins();
        stage
    }

    fn standing(state: &str) -> Stage {
        let mut stage = Stage::running();
        match state {
            "running" => {}
            "paused" => assert_eq!(stage.asks("`pause`"), Reply::Done),
            "undoing" => {
                stage.ends_open(failed());
                stage.begins();
                assert!(stage.is_undoing());
            }
            "ended, not undone" => {
                stage.ends_open(ok());
                stage.ends(ok());
                assert_eq!(stage.end().map(|end| (end.outcome, end.undo)), Some((RunOutcome::Completed, UndoEnd::NotNeeded)));
            }
            "ended, undone" => {
                stage.ends_open(failed());
                stage.ends(ok());
                assert_eq!(stage.end().map(|end| (end.outcome, end.undo)), Some((RunOutcome::Failed, UndoEnd::Done)));
            }
            other => panic!("{other}"),
        }
        stage
    }

    /// Fails in its second step, and what the first did is still there: taking it back failed twice.
    fn left_behind() -> Stage {
        let mut stage = Stage::running();
        stage.ends_open(failed());
        stage.ends(failed());
        stage.rig.advance(Millis::from_secs(5));
        stage.rig.hear_all();
        stage.ends(failed());
        stage
    }

    fn asks(&mut self, what: &str) -> Reply {
        let (run, reason) = (self.run.clone(), "so".to_owned());
        let command = match what {
            "`pause`" => Command::PauseRun { run, reason },
            "`resume`" => Command::ResumeRun { run },
            "`abort`" => Command::AbortRun { run, reason },
            "`undo`" => Command::UndoRun { run, reason },
            "`retry`" => Command::RetryRun { run, step: None, unknown: false },
            other => panic!("{other}"),
        };
        self.rig.operator(command)
    }

    /// The agent is gone, and comes back no more within the time of any step.
    fn loses_its_node(&mut self) {
        for _ in 0..40 {
            self.rig.advance(Millis::from_secs(5));
            self.rig.settle();
        }
    }

    fn open(&self) -> Option<AttemptId> {
        self.rig.state.attempts.iter().find(|(_, attempt)| attempt.is_open()).map(|(id, _)| *id)
    }

    /// What is offered begins.
    fn begins(&mut self) {
        self.rig.settle();
        let attempt = self.open().expect("an attempt");
        assert_eq!(self.rig.mesh(Command::BeginAttempt { attempt, ledger: LedgerId("l1".into()) }), Reply::Done);
    }

    fn ends_open(&mut self, outcome: Outcome) {
        let attempt = self.open().expect("an attempt");
        assert_eq!(self.rig.mesh(Command::EndAttempt { attempt, ledger: LedgerId("l1".into()), outcome }), Reply::Done);
        self.rig.settle();
    }

    fn ends(&mut self, outcome: Outcome) {
        self.begins();
        self.ends_open(outcome);
    }

    fn is_undoing(&self) -> bool {
        self.rig.state.runs[&self.run].phase == RunPhase::Undoing
    }

    fn end(&self) -> Option<RunEnd> {
        self.rig.state.runs[&self.run].end().copied()
    }

    /// State of a step, in both directions.
    fn step(&self, name: &str) -> String {
        let run = &self.rig.state.runs[&self.run];
        let work = run.works().find(|(step, _, _)| step.as_str() == name).map(|(_, _, work)| work).expect("a step");
        let undo = work.undo.as_ref().map(|undo| format!(", undo {}", word(&format!("{undo:?}")))).unwrap_or_default();
        format!("{}{undo}", word(&format!("{:?}", work.forward)))
    }
}

/// `Unknown` of `Unknown { … }`.
fn word(text: &str) -> String {
    text.split([' ', '(']).next().unwrap_or_default().to_owned()
}

fn refused(reply: &Reply, part: &str) {
    assert!(matches!(reply, Reply::Refused(refusal) if refusal.to_string().contains(part)), "{part}: {reply:?}");
}

/// Carries one cell out, and says what came of it as the table does.
fn cell(asked: &str, state: &str) {
    let mut stage = Stage::standing(state);
    if asked == "node lost" {
        stage.loses_its_node();
        return match state {
            // Its outcome is unknown after its time, which stops the run; what was done is to be taken back by an agent that is away.
            "running" => assert_eq!((stage.is_undoing(), stage.step("second"), stage.step("third")), (true, "Unknown".into(), "Skipped".into())),
            "paused" => assert_eq!((stage.is_undoing(), stage.step("second"), stage.step("third")), (false, "Unknown".into(), "Skipped".into())),
            "undoing" => {
                assert_eq!(stage.step("first"), "Succeeded, undo Unknown");
                assert_eq!(stage.end().map(|end| end.undo), Some(UndoEnd::Incomplete));
            }
            _ => assert!(stage.end().is_some(), "it has ended, and stays as it is"),
        };
    }
    let before = stage.rig.state.runs[&stage.run].clone();
    let reply = stage.asks(asked);
    let is_as_it_was = stage.rig.state.runs[&stage.run] == before;
    match (asked, state) {
        ("`pause`", "running") => {
            assert_eq!(reply, Reply::Done);
            stage.ends_open(ok());
            assert_eq!(
                (stage.step("second"), stage.step("third"), stage.open()),
                ("Succeeded".into(), "Waiting".into(), None),
                "nothing further is begun"
            );
        }
        ("`pause`", "paused") | ("`resume`", "running" | "undoing") | ("`abort`", "undoing") => {
            assert_eq!((reply, is_as_it_was || asked == "`abort`"), (Reply::Done, true), "{asked} {state}");
            assert_eq!(stage.is_undoing(), state == "undoing");
        }
        ("`undo`", "undoing") => {
            assert_eq!(reply, Reply::Done);
            assert_eq!((stage.is_undoing(), stage.step("first")), (true, "Succeeded, undo Active".into()));
        }
        ("`pause`", "undoing") => refused(&reply, "takes back what it did: that is not held up"),
        ("`resume`", "paused") => {
            assert_eq!(reply, Reply::Done);
            stage.ends_open(ok());
            stage.begins();
            assert_eq!(stage.step("third"), "Active", "it goes on");
        }
        ("`abort`" | "`undo`", "running" | "paused") => {
            assert_eq!(reply, Reply::Done);
            stage.rig.settle();
            assert_eq!((stage.step("third"), stage.is_undoing()), ("Skipped".into(), false), "what is under way stops first");
            assert!(stage.rig.state.runs[&stage.run].pause.is_none(), "the pause has ended");
            stage.ends_open(Outcome::Cancelled { message: "called off".into() });
            stage.ends(ok());
            assert_eq!(stage.end().map(|end| (end.outcome, end.undo)), Some((RunOutcome::Aborted, UndoEnd::Done)));
        }
        ("`pause`" | "`resume`" | "`abort`", "ended, not undone" | "ended, undone") => refused(&reply, "has ended already"),
        ("`undo`", "ended, not undone") => {
            assert_eq!(reply, Reply::Done);
            stage.ends(ok());
            assert_eq!((stage.step("first"), stage.end().map(|end| end.undo)), ("Succeeded, undo Succeeded".into(), Some(UndoEnd::Done)));
        }
        ("`undo`", "ended, undone") => {
            refused(&reply, "is undone already");
            let mut stage = Stage::left_behind();
            assert_eq!(stage.end().map(|end| end.undo), Some(UndoEnd::Incomplete), "it is tried again, and then a person is asked");
            assert_eq!(stage.asks("`undo`"), Reply::Done);
            stage.ends(ok());
            assert_eq!(stage.end().map(|end| end.undo), Some(UndoEnd::Done), "what an earlier undo left is tried again");
        }
        ("`retry`", "running" | "paused" | "undoing") => refused(&reply, "has not ended"),
        ("`retry`", "ended, not undone") => {
            refused(&reply, "nothing of run p-1 is to be done again");
            retries_what_did_not_come_off();
        }
        ("`retry`", "ended, undone") => refused(&reply, "was undone: start a new run"),
        other => panic!("{other:?} is no cell"),
    }
}

/// Of a plan that takes nothing back.
fn retries_what_did_not_come_off() {
    let steps = PLAN.lines().map(|line| line.split(", undo:").next().unwrap().to_owned() + if line.contains(", undo:") { " }" } else { "" });
    let text = steps.collect::<Vec<_>>().join("\n");
    for (outcome, unknown, again) in [(Some(failed()), false, true), (None, false, false), (None, true, true)] {
        let mut rig = Rig::new();
        rig.connect("c/n", "l1", &["node.exec"]);
        rig.apply_plan(&text);
        let run = rig.start("p");
        let mut stage = Stage { rig, run };
        stage.ends(ok());
        stage.begins();
        match outcome {
            Some(outcome) => stage.ends_open(outcome),
            None => stage.loses_its_node(),
        }
        assert_eq!(stage.end().map(|end| end.undo), Some(UndoEnd::NotNeeded));
        let reply = stage.rig.operator(Command::RetryRun { run: stage.run.clone(), step: None, unknown });
        if again { assert_eq!(reply, Reply::Done) } else { refused(&reply, "only with --unknown") }
    }
}

#[test]
fn each_cell_of_the_table_is_carried_out_as_it_says() {
    for asked in ASKED {
        for state in STATES {
            println!("{asked}, {state}");
            cell(asked, state);
        }
    }
}

#[test]
fn the_table_has_these_cells_and_no_others() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md")).unwrap();
    let section = text.split("## Who goes first").nth(1).unwrap().split("\n## ").next().unwrap();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    // The first of its tables.
    let table = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let mut rows = table.map(cells);
    assert_eq!(rows.next().unwrap()[1..], STATES.map(str::to_owned));
    let said: BTreeMap<String, usize> = rows.skip(1).map(|row| (row[0].clone(), row.len() - 1)).collect();
    assert_eq!(said, ASKED.map(|asked| (asked.to_owned(), STATES.len())).into());
}
