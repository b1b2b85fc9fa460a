//! Scenarios as text: each `scenarios/NAME.txt` is played, and its transcript compared with `NAME.golden`.
//! `UPDATE=1 cargo test -p mainstay-core --test scenarios` writes the transcripts anew, for review.
//!
//! ```text
//! plan NAME                  steps of a plan, indented below
//! connect AGENT LEDGER [KIND,…]     lose AGENT     forget AGENT
//! start PLAN                 abort RUN REASON…
//! begin STEP@TARGET          end STEP@TARGET OUTCOME [CHECK SUBJECT | MESSAGE…]     (or the attempt's id)
//! acquire LEASE CLIENT/PROCESS [claim]   release LEASE CLIENT/PROCESS   renew LEASE TOKEN   ask LEASE CLIENT/PROCESS
//! advance DURATION           the linked agents are heard of meanwhile
//! leader                     another member leads, which has seen nothing
//! decide                     decides and applies until nothing more is decided
//! show run RUN | waits | leases | findings
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods)] // The scenarios are files; the core itself sees none.

mod rig;

use std::fmt::Write as _;
use std::path::Path;

use mainstay_core::report::{Check, Report, Verdict};
use mainstay_core::state::attempt::{Attempt, Phase};
use mainstay_core::state::lease::{Holder, LeaseKind, LeaseSpec};
use mainstay_core::state::run::{Direction, Outcome, RunPhase, Work, WorkState};
use mainstay_core::{AttemptId, Command, Reply, RunId, WallTime};
use rig::{Rig, holder, lease};

/// What agents do unless the scenario says otherwise.
const KINDS: &[&str] = &["node.exec", "node.resources", "wait"];

#[test]
fn every_scenario_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let update = std::env::var_os("UPDATE").is_some();
    let mut names: Vec<_> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "txt")).collect();
    names.sort();
    assert!(names.len() >= 15, "only {} scenarios found in {}", names.len(), folder.display());
    let mut differing = Vec::new();
    for path in names {
        let transcript = play(&std::fs::read_to_string(&path).unwrap());
        let golden = path.with_extension("golden");
        if update {
            std::fs::write(&golden, transcript).unwrap();
        } else {
            let expected = std::fs::read_to_string(&golden).unwrap_or_default();
            if let Some((number, (is, was))) =
                transcript.lines().zip(expected.lines().chain(std::iter::repeat("(nothing)"))).enumerate().find(|(_, (is, was))| is != was)
            {
                differing.push(format!("{}:{}\n  expected {was}\n  but is   {is}", golden.display(), number + 1));
            } else if transcript.lines().count() != expected.lines().count() {
                differing.push(format!("{} goes on after the scenario's end", golden.display()));
            }
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

fn play(script: &str) -> String {
    let mut stage = Stage { rig: Rig::new(), out: String::new() };
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            writeln!(stage.out, "{line}").unwrap();
            continue;
        }
        writeln!(stage.out, "> {line}").unwrap();
        let mut block = String::new();
        while let Some(more) = lines.next_if(|next| next.starts_with(' ')) {
            writeln!(stage.out, "> {more}").unwrap();
            writeln!(block, "{more}").unwrap();
        }
        stage.line(line, &block);
    }
    stage.out
}

struct Stage {
    rig: Rig,
    out: String,
}

impl Stage {
    fn say(&mut self, text: impl std::fmt::Display) {
        writeln!(self.out, "  {text}").unwrap();
    }

    fn answer(&mut self, reply: &Reply) {
        self.say(match reply {
            Reply::Done => "done".to_owned(),
            Reply::Granted(grant) => format!("granted, token {}", grant.token),
            Reply::Queued { place } => format!("queued at place {place}"),
            Reply::Stale(why) => format!("stale: {why}"),
            Reply::Refused(refusal) => format!("refused: {refusal}"),
            other => format!("{other:?}"),
        });
    }

    fn line(&mut self, line: &str, block: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["plan", name] => {
                let head = format!("apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: {name} }}\nspec:\n  steps:\n");
                self.rig.apply_plan(&(head + block));
            }
            ["connect", agent, ledger] => self.rig.connect(agent, ledger, KINDS),
            ["connect", agent, ledger, kinds] => self.rig.connect(agent, ledger, &kinds.split(',').collect::<Vec<_>>()),
            ["lose", agent] => {
                let agent = agent.parse().unwrap();
                let epoch = self.rig.seen.links.remove(&agent).unwrap().epoch;
                let reply = self.rig.mesh(Command::LoseAgent { agent, epoch });
                self.answer(&reply);
            }
            ["forget", agent] => {
                let reply = self.rig.operator(Command::ForgetAgent { agent: agent.parse().unwrap() });
                self.answer(&reply);
            }
            ["start", plan] => {
                let run = self.rig.start(plan);
                self.say(format!("started {run}"));
            }
            ["abort", run, reason @ ..] => {
                let reply = self.rig.operator(Command::AbortRun { run: run.parse().unwrap(), reason: reason.join(" ") });
                self.answer(&reply);
            }
            ["begin", attempt] => {
                let attempt = self.attempt(attempt);
                let reply = self.rig.mesh(Command::BeginAttempt { attempt: attempt.id, ledger: attempt.ledger });
                self.answer(&reply);
            }
            ["end", attempt, outcome, rest @ ..] => {
                let attempt = self.attempt(attempt);
                let reply = self.rig.mesh(Command::EndAttempt { attempt: attempt.id, ledger: attempt.ledger, outcome: outcome_of(outcome, rest) });
                self.answer(&reply);
            }
            ["acquire", name, who] => {
                let reply = self.rig.acquire(name, &process(who), true);
                self.answer(&reply);
            }
            ["acquire", name, who, "claim"] => {
                let reply = self.rig.define(name, LeaseSpec { kind: LeaseKind::Claim, ..LeaseSpec::default() }, &process(who));
                self.answer(&reply);
            }
            ["release", name, who] => {
                let reply = self.rig.mesh(Command::ReleaseLease { name: lease(name), holder: process(who), token: None });
                self.answer(&reply);
            }
            ["renew", name, token] => {
                self.rig.seen.renewals.insert((lease(name), token.parse().unwrap()), self.rig.now);
            }
            ["ask", name, who] => {
                let who = process(who);
                self.rig.seen.waiters.insert((lease(name), who.identity, who.incarnation), self.rig.now);
            }
            ["advance", by] => {
                self.rig.advance(by.parse().unwrap());
                self.rig.hear_all();
            }
            ["leader"] => {
                // The agents' links come to the new leader, under epochs of their own.
                let links: Vec<_> = self.rig.seen.links.keys().map(|id| (id.to_string(), self.rig.state.agents[id].hello.clone().unwrap())).collect();
                self.rig.change_leader();
                for (agent, hello) in links {
                    self.rig.connect(&agent, &hello.ledger.0, &hello.kinds.iter().map(String::as_str).collect::<Vec<_>>());
                }
            }
            ["decide"] => {
                for command in self.rig.settle() {
                    let agent = if let Command::LoseAttempt { attempt, .. } | Command::CancelAttempt { attempt, .. } = &command {
                        self.names(*attempt)
                    } else {
                        String::new()
                    };
                    self.say(format!("{command}{agent}"));
                }
            }
            ["show", "run", run] => self.show_run(&run.parse().unwrap()),
            ["show", "waits"] => self.show_waits(),
            ["show", "leases"] => self.show_leases(),
            ["show", "findings"] => self.show_findings(),
            _ => panic!("what is `{line}`?"),
        }
    }

    fn names(&self, id: AttemptId) -> String {
        self.rig.state.attempts.get(&id).map_or_else(String::new, |attempt| format!(" [{}@{}]", attempt.step, attempt.target))
    }

    /// By its id, or the open one of `STEP@TARGET` in the newest run that has one.
    fn attempt(&self, text: &str) -> Attempt {
        let attempts = &self.rig.state.attempts;
        if let Ok(id) = text.parse::<AttemptId>() {
            return attempts[&id].clone();
        }
        let (step, target) = text.split_once('@').unwrap();
        let is_meant = |attempt: &&Attempt| attempt.is_open() && attempt.step.as_str() == step && attempt.target.to_string() == target;
        attempts.values().rev().find(is_meant).unwrap_or_else(|| panic!("no open attempt of {text}")).clone()
    }

    fn show_run(&mut self, id: &RunId) {
        let run = self.rig.state.runs[id].clone();
        let phase = match &run.phase {
            RunPhase::Running => "running".to_owned(),
            RunPhase::Undoing => "undoing".to_owned(),
            RunPhase::Ended(end) => format!("{end}, after {}", run.took),
        };
        let abort = run.abort.as_ref().map_or_else(String::new, |abort| format!(" (aborted by {}: {})", abort.by, abort.reason));
        self.say(format!("{id}: {phase}{abort}"));
        for step in &run.plan.steps {
            for (target, work) in &run.work[&step.name] {
                self.say(format!("  {}@{target}: {}{}", step.name, self.state_of(work, Direction::Do), self.undo_of(work)));
                for attempt in work.attempts.iter().map(|id| self.rig.state.attempts[id].clone()).collect::<Vec<_>>() {
                    let end = match &attempt.phase {
                        Phase::Offered { .. } => "offered".to_owned(),
                        Phase::Begun { .. } => "begun".to_owned(),
                        Phase::Ended(outcome) => format!("{outcome}: {}", outcome.summary()),
                        Phase::Withdrawn(why) => format!("withdrawn: {why}"),
                    };
                    let cancel = attempt.cancel.map_or_else(String::new, |reason| format!(", to stop ({reason:?})"));
                    self.say(format!(
                        "    {} {} {} by {} ({}): {end}{cancel}",
                        attempt.id, attempt.direction, attempt.number, attempt.agent, attempt.ledger
                    ));
                }
            }
        }
    }

    fn undo_of(&self, work: &Work) -> String {
        work.undo.as_ref().map_or_else(String::new, |_| format!("; undo {}", self.state_of(work, Direction::Undo)))
    }

    fn state_of(&self, work: &Work, direction: Direction) -> String {
        match work.state(direction) {
            WorkState::Succeeded { verdict } => format!("succeeded, {verdict}"),
            WorkState::Active { attempt } => format!("active with {attempt}"),
            other => other.to_string(),
        }
    }

    fn show_waits(&mut self) {
        let waits = self.rig.decide().waits.waits;
        if waits.is_empty() {
            self.say("nothing waits");
        }
        for wait in waits {
            let (since, left) = wait.times(self.rig.now);
            let until = wait.until.map_or_else(String::new, |(_, then)| format!("; in {}, {then}", left.unwrap()));
            self.say(format!("{} {}@{} for {since}: {}{until}", wait.direction, wait.step, wait.target, wait.reason));
        }
    }

    fn show_leases(&mut self) {
        for (name, lease) in self.rig.state.leases.clone() {
            let held: Vec<String> = lease.held.iter().map(|held| format!("{} token {}", held.holder, held.token)).collect();
            let waiting: Vec<String> = lease.waiting.iter().map(|waiter| waiter.holder.to_string()).collect();
            self.say(format!("{name} ({}): held by [{}], waited for by [{}]", lease.spec, held.join(", "), waiting.join(", ")));
        }
    }

    fn show_findings(&mut self) {
        let since = |wall: WallTime| wall.0.rem_euclid(86_400_000) / 1_000 - 72_000;
        let findings = self.rig.state.findings.clone();
        for finding in findings.open.values() {
            let times = format!("seen {}, first at {} s, last at {} s", finding.seen, since(finding.first_seen), since(finding.last_seen));
            self.say(format!("open: {} {} on {}, {}, {times}, by {}", finding.check, finding.subject, finding.target, finding.severity, finding.run));
        }
        for finding in &findings.cleared {
            self.say(format!("cleared at {} s: {} {} on {}", since(finding.cleared.unwrap()), finding.check, finding.subject, finding.target));
        }
        if findings.open.is_empty() && findings.cleared.is_empty() {
            self.say("no findings");
        }
    }
}

fn process(text: &str) -> Holder {
    let (client, process) = text.split_once('/').unwrap();
    holder(client, process)
}

fn outcome_of(word: &str, rest: &[&str]) -> Outcome {
    let message = rest.join(" ");
    let report = |verdict: Verdict| {
        let checks = match rest {
            [] => Vec::new(),
            [check, subject, ..] => vec![Check::stated(check, subject, verdict, "as the scenario says")],
            [check] => vec![Check::stated(check, "", verdict, "as the scenario says")],
        };
        Outcome::Succeeded(Report { checks, ..Report::default() })
    };
    match word {
        "ok" => report(Verdict::Ok),
        "warning" => report(Verdict::Warning),
        "critical" => report(Verdict::Critical),
        "failed" => Outcome::Failed { message, report: None },
        "cancelled" => Outcome::Cancelled { message },
        "timed-out" => Outcome::TimedOut { message },
        "unknown" => Outcome::Unknown { reason: message },
        other => panic!("what is the outcome `{other}`?"),
    }
}
