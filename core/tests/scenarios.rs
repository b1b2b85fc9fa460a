//! Scenarios as text: each `scenarios/NAME.txt` is played, and its transcript compared with `NAME.golden`.
//! `UPDATE=1 cargo test -p mainstay-core --test scenarios` writes the transcripts anew, for review.
//!
//! ```text
//! plan NAME                  steps of a plan, indented below
//! spec NAME                  the whole spec of a plan, indented below
//! connect AGENT LEDGER [KIND,…] [CONNECTION:KIND,…]     lose AGENT     forget AGENT
//! vouched AGENT REPLICA       that an agent is let in as a pod, by the word of one that speaks for its cluster
//! operator NAME ROLE         suspend PLAN     unsuspend PLAN
//! bundled PLAN               one that comes with the program
//! root NAME                  a root of `fixtures` that the mesh trusts: old, or new; an input `@new` is its certificate
//! member NAME [node=NODE] [trusts=ROOT,…] [issuers=ROOT,…] [asks=ROOT]     voters NAME[:silent]…     issuer NAME ROOT     shown IDENTITY ROOT [trusts=ROOT,…]
//! retire ROOT                by its own verb
//! start PLAN [INPUT=JSON…]   abort|pause|undo RUN REASON…     resume RUN     retry RUN [STEP] [unknown]
//! preview PLAN [INPUT=JSON…] what a run would do; changes nothing
//! approve|deny NAME RUN [step=STEP] [wave=N] [seen=DIGEST]
//! begin STEP@TARGET          end STEP@TARGET OUTCOME [OUTPUT=JSON… | CHECK SUBJECT | MESSAGE…]     (or the attempt's id)
//! play ROUNDS [STEP@TARGET=OUTCOME[*TIMES]…]     agents carry out all that they have, and a line tells of each round
//! retry-preview RUN [unknown]      what would be in the way of a retry; changes nothing
//! hold LEASE STEP@TARGET     the agent of a step that holds a lease asks for it
//! told REPLICA NODE[@ZONE][:not-ready|:cordoned]…     what a cluster's agent has told of all of its nodes
//! acquire LEASE CLIENT/PROCESS [claim|ATTRIBUTE=TEXT]   release LEASE CLIENT/PROCESS   renew LEASE TOKEN   ask LEASE CLIENT/PROCESS
//! check every N              entries, instead of each: for a large scenario
//! advance DURATION           the linked agents are heard of meanwhile
//! leader                     another member leads, which has seen nothing
//! decide                     decides and applies until nothing more is decided
//! note made|confirmed|removed NAME STEP@TARGET TARGET | note found STEP@TARGET TARGET removals=N [NAME[:unconfirmed|:damaged|:missing]]…
//! note drilled|not-drilled STEP@TARGET TARGET     what an attempt tells of the backups of a target
//! keep NAME REASON… | let-go NAME     that retention is not to remove a backup, or may again
//! show run RUN | summary RUN | aftermath | waits | waiting (by reason) | leases | findings | plan PLAN | backups
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods)] // The scenarios are files; the core itself sees none.

mod backups;
mod kept;
mod rig;

use std::fmt::Write as _;
use std::path::Path;

use mainstay_core::catalogue::fits;
use mainstay_core::fact::{ClusterFacts, Known, NodeFact, Told};
use mainstay_core::id::StepName;
use mainstay_core::preview::Looks;
use mainstay_core::report::{Check, Report, Verdict};
use mainstay_core::state::approval::Decided;
use mainstay_core::state::attempt::{Attempt, Phase};
use mainstay_core::state::lease::{ATTEMPT, Holder, LeaseKind, LeaseSpec};
use mainstay_core::state::run::{Direction, Outcome, RunPhase, Work, WorkState};
use mainstay_core::{Actor, AttemptId, Command, Identity, Reply, RunId, WallTime, aftermath, outlook, preview, stuck};
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
    let (mut differing, mut kept) = (Vec::new(), Vec::new());
    for path in names {
        let (transcript, rig) = play(&std::fs::read_to_string(&path).unwrap());
        kept.extend(kept::Story::of(&path, rig));
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
    if std::env::var_os("KEEP").is_some() {
        kept::write(&kept);
    }
}

fn play(script: &str) -> (String, Rig) {
    let mut stage = Stage { rig: Rig::new(), waits: mainstay_core::Waits::default(), out: String::new() };
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
    (stage.out, stage.rig)
}

struct Stage {
    rig: Rig,
    /// What the decision before found to wait.
    waits: mainstay_core::Waits,
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
            ["check", "every", entries] => self.rig.check_every = entries.parse().unwrap(),
            ["spec", name] => {
                let head = format!("apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: {name} }}\nspec:\n");
                self.rig.apply_plan(&(head + block));
            }
            ["operator", name, role] => {
                let role = serde_json::from_value(serde_json::Value::String((*role).to_owned())).unwrap();
                let reply = self.rig.mesh(Command::PutOperator { name: name.parse().unwrap(), role });
                self.answer(&reply);
            }
            ["bundled", plan] => {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../deploy/plans/{plan}.yaml"));
                let plan = Box::new(mainstay_core::plan::parse(&std::fs::read_to_string(path).unwrap()).unwrap());
                self.rig.mesh(Command::ApplyPlan { plan, bundled: true });
            }
            ["root" | "member" | "voters" | "issuer" | "shown" | "retire", ..] => {
                let reply = self.rig.apply_root_line(&words);
                self.answer(&reply);
            }
            ["suspend", plan] => {
                let reply = self.rig.operator(Command::SuspendPlan { plan: plan.parse().unwrap(), reason: "as the scenario says".into() });
                self.answer(&reply);
            }
            ["unsuspend", plan] => {
                let reply = self.rig.operator(Command::ResumePlan { plan: plan.parse().unwrap() });
                self.answer(&reply);
            }
            ["connect", agent, ledger, kinds, connections] => {
                let kinds: Vec<&str> = kinds.split(',').collect();
                self.rig.connect_with(agent, ledger, &kinds, &connections.split(',').filter_map(|own| own.split_once(':')).collect::<Vec<_>>());
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
            ["vouched", agent, by] => {
                let (agent, by): (mainstay_core::AgentId, _) = (agent.parse().unwrap(), by.parse().unwrap());
                let text = |what: &str| format!("{what}-{}", agent.name().replace('/', "-"));
                let voucher = mainstay_core::voucher::Voucher {
                    by,
                    namespace: "mainstay".into(),
                    account: "agents".into(),
                    pod: text("pod"),
                    pod_uid: text("uid"),
                    node: agent.on_node().unwrap().to_string(),
                    node_uid: text("node"),
                };
                let reply = self.rig.mesh(Command::EnrolVouched { identity: Identity::of_agent(&agent), voucher });
                self.answer(&reply);
            }
            ["start", plan, inputs @ ..] => {
                let reply = self.rig.try_start(plan, inputs.iter().map(|input| value(input)).collect());
                match reply {
                    Reply::Started(run) => self.say(format!("started {run}")),
                    other => self.answer(&other),
                }
            }
            ["abort", run, reason @ ..] => {
                let reply = self.rig.operator(Command::AbortRun { run: run.parse().unwrap(), reason: reason.join(" ") });
                self.answer(&reply);
            }
            ["preview", plan, inputs @ ..] => self.preview(plan, inputs),
            ["pause", run, reason @ ..] => {
                let reply = self.rig.operator(Command::PauseRun { run: run.parse().unwrap(), reason: reason.join(" ") });
                self.answer(&reply);
            }
            ["resume", run] => {
                let reply = self.rig.operator(Command::ResumeRun { run: run.parse().unwrap() });
                self.answer(&reply);
            }
            ["undo", run, reason @ ..] => {
                let reply = self.rig.operator(Command::UndoRun { run: run.parse().unwrap(), reason: reason.join(" ") });
                self.answer(&reply);
            }
            ["retry", run, rest @ ..] => {
                let step = rest.iter().find(|word| **word != "unknown").map(|step| step.parse().unwrap());
                let reply = self.rig.operator(Command::RetryRun { run: run.parse().unwrap(), step, unknown: rest.contains(&"unknown") });
                self.answer(&reply);
            }
            [word @ ("approve" | "deny"), name, run, rest @ ..] => {
                let run: RunId = run.parse().unwrap();
                let said = |key: &str| rest.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
                let step: Option<StepName> = said("step").map(|step| step.parse().unwrap());
                let wave = said("wave").map(|wave| wave.parse().unwrap());
                let seen = said("seen").map_or_else(|| self.rig.state.runs[&run].sight(step.as_ref(), wave), str::to_owned);
                let decided = Decided { step, wave, seen, deny: *word == "deny", reason: String::new() };
                let reply = self.rig.by(&format!("operator/{name}"), Command::DecideApproval { run, decided });
                self.answer(&reply);
            }
            ["play", rounds, rules @ ..] => self.play(rounds.parse().unwrap(), rules),
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
            // As the agent does that carries out a `lease.hold`.
            ["hold", name, attempt] => {
                let attempt = self.attempt(attempt);
                let attributes = [(ATTEMPT.to_owned(), attempt.id.to_string())].into();
                let who = Holder { identity: Identity::Node(attempt.agent), incarnation: attempt.id.to_string(), attributes, takes_over: false };
                let reply = self.rig.acquire(name, &who, true);
                self.answer(&reply);
            }
            ["retry-preview", run, rest @ ..] => self.preview_retry(run, rest),
            ["acquire", name, who, "claim"] => {
                let reply = self.rig.define(name, LeaseSpec { kind: LeaseKind::Claim, ..LeaseSpec::default() }, &process(who));
                self.answer(&reply);
            }
            ["acquire", name, who, attribute] => {
                let (key, text) = attribute.split_once('=').unwrap();
                let who = Holder { attributes: [(key.to_owned(), text.to_owned())].into(), ..process(who) };
                let reply = self.rig.acquire(name, &who, true);
                self.answer(&reply);
            }
            ["told", replica, nodes @ ..] => {
                let by: mainstay_core::AgentId = replica.parse().unwrap();
                let epoch = self.rig.seen.links[&by].epoch;
                let mut known = ClusterFacts::nobody_told(&by);
                let told = Told { sequence: 1, begins: true, ends: true, nodes: nodes.iter().map(|node| fact_of(node)).collect(), ..Told::default() };
                known.take(&by, epoch, told, 100, self.rig.now).unwrap();
                self.rig.seen.clusters.insert(by.cluster.clone(), known);
            }
            ["release", name, who] => {
                let reply = self.rig.mesh(Command::ReleaseLease { name: lease(name), holder: process(who), token: None });
                self.answer(&reply);
            }
            ["renew", token] => {
                self.rig.seen.renewals.insert(token.parse().unwrap(), self.rig.now);
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
                self.look_at_waits();
            }
            ["show", "summary", run] => self.show_summary(&run.parse().unwrap()),
            ["show", "aftermath"] => self.show_aftermath(),
            ["show", "plan", plan] => self.show_plan(plan),
            ["show", "run", run] => self.show_run(&run.parse().unwrap()),
            ["show", "waits"] => self.show_waits(),
            ["show", "waiting"] => {
                let mut reasons: std::collections::BTreeMap<String, usize> = Default::default();
                for wait in self.rig.decide().waits.waits {
                    *reasons.entry(wait.reason.to_string()).or_default() += 1;
                }
                // Steps that wait for steps are many, and say little.
                reasons.retain(|reason, _| !reason.starts_with("step "));
                for (reason, count) in reasons {
                    self.say(format!("{count}: {reason}"));
                }
            }
            ["show", "leases"] => self.show_leases(),
            ["show", "findings"] => self.show_findings(),
            ["show", "backups"] => backups::show(&self.rig.state).iter().for_each(|line| self.say(line)),
            ["note", what, rest @ ..] => {
                let (note, attempt, target) = backups::note(what, rest);
                let attempt = self.attempt(attempt);
                let reply = self.rig.mesh(Command::NoteBackups { attempt: attempt.id, ledger: attempt.ledger, target, note });
                self.answer(&reply);
            }
            ["keep", backup, reason @ ..] => {
                let reply = self.rig.operator(Command::HoldBackup { backup: backup.parse().unwrap(), reason: Some(reason.join(" ")) });
                self.answer(&reply);
            }
            ["let-go", backup] => {
                let reply = self.rig.operator(Command::HoldBackup { backup: backup.parse().unwrap(), reason: None });
                self.answer(&reply);
            }
            _ => panic!("what is `{line}`?"),
        }
    }

    /// Every agent begins and ends all that it has, round after round, until nothing is left to do. Rules say
    /// what does not go well: `STEP@TARGET=OUTCOME*TIMES`, with `*` in names.
    fn play(&mut self, rounds: usize, rules: &[&str]) {
        let mut rules: Vec<(String, String, String, usize)> = rules
            .iter()
            .map(|rule| {
                let (of, outcome) = rule.split_once('=').unwrap();
                let (step, target) = of.split_once('@').unwrap();
                let (outcome, times) = outcome.split_once('*').unwrap_or((outcome, "1"));
                (step.to_owned(), target.to_owned(), outcome.to_owned(), times.parse().unwrap())
            })
            .collect();
        for round in 1..=rounds {
            self.rig.settle();
            let open: Vec<Attempt> = self.rig.state.attempts.values().filter(|attempt| attempt.is_open()).cloned().collect();
            if open.is_empty() {
                let next = self.rig.decide().waits.waits.iter().filter_map(|wait| wait.until).map(|(at, _)| at).min();
                match next.filter(|_| self.rig.state.runs.values().any(|run| !run.is_ended())) {
                    Some(at) if at > self.rig.now => {
                        let by = at.since(self.rig.now);
                        self.rig.advance(by);
                        self.rig.hear_all();
                        self.say(format!("round {round}: nothing to do for {by}"));
                        continue;
                    }
                    _ => return self.say(format!("after {} rounds nothing is left to do", round - 1)),
                }
            }
            let mut outcomes: std::collections::BTreeMap<String, usize> = Default::default();
            for attempt in open {
                let rule = rules.iter_mut().find(|(step, target, _, left)| {
                    *left > 0 && attempt.direction == Direction::Do && fits(step, attempt.step.as_str()) && fits(target, &attempt.target.to_string())
                });
                let outcome = match rule {
                    Some((_, _, outcome, left)) => {
                        *left -= 1;
                        outcome.clone()
                    }
                    None => "ok".to_owned(),
                };
                *outcomes.entry(format!("{} {outcome}", attempt.direction)).or_default() += 1;
                self.rig.mesh(Command::BeginAttempt { attempt: attempt.id, ledger: attempt.ledger.clone() });
                let outcome = outcome_of(&outcome, &["as", "the", "rule", "says"]);
                self.rig.mesh(Command::EndAttempt { attempt: attempt.id, ledger: attempt.ledger, outcome });
            }
            self.rig.advance(mainstay_core::Millis(1_000));
            self.rig.hear_all();
            let told: Vec<String> = outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
            self.say(format!("round {round}: {}", told.join(", ")));
        }
    }

    fn preview(&mut self, plan: &str, inputs: &[&str]) {
        let plan = self.rig.state.plans[&plan.parse::<mainstay_core::PlanName>().unwrap()].current().unwrap().1.plan.clone();
        let before = self.rig.state.clone();
        let by = Actor::Identity(rig::identity("operator/ana"));
        let wall = self.rig.entry(Actor::Mesh, None, Command::RaiseFeatureLevel { level: 1 }).wall;
        let known = Known { clusters: &self.rig.seen.clusters, now: self.rig.now };
        let looks = Looks { by: &by, wall, without_calendar: None, known };
        let looked = preview::preview(&self.rig.state, &plan, &inputs.iter().map(|input| value(input)).collect(), looks);
        assert_eq!(before, self.rig.state, "a preview changes nothing");
        let looked = match looked {
            Ok(looked) => looked,
            Err(refusal) => return self.say(format!("refused: {refusal}")),
        };
        for (name, value, given) in &looked.inputs {
            let value = if value.as_str().is_some_and(|text| text.starts_with("-----")) { "a certificate".into() } else { value.to_string() };
            self.say(format!("input {name} = {value}{}", if *given { "" } else { ", by default" }));
        }
        looked.strategy.iter().for_each(|strategy| self.say(format!("all nodes: {strategy}")));
        for (number, wave) in looked.waves.iter().enumerate() {
            self.say(format!("wave {}: {}", number + 1, wave.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")));
        }
        for gate in &looked.gates {
            self.say(format!("gate: {}: {:?}: {}", gate.gate, gate.state, gate.evidence));
        }
        for step in &looked.steps {
            let targets: Vec<String> = step.targets.iter().map(ToString::to_string).collect();
            self.say(format!(
                "{} ({}) on {}, {} reachable, waves {:?}{}",
                step.step.name,
                step.step.uses,
                targets.join(" "),
                step.reachable,
                step.waves,
                if step.by_policy { ", its commands by the agents' policies" } else { "" },
            ));
            let on = step.with_of.as_ref().map_or_else(String::new, |target| format!(" on {target}"));
            let with = serde_json::Value::Object(step.with.clone()).to_string();
            self.say(format!("  with{on} {}", if with.contains("-----BEGIN") { "a certificate" } else { &with }));
            if let Some(undo) = &step.undo {
                let on = undo.with_of.as_ref().map_or_else(String::new, |target| format!(" on {target}"));
                self.say(format!("  undo {}{on} {}", undo.uses, serde_json::Value::Object(undo.with.clone())));
            }
            if let Some(omitted) = &step.omitted {
                self.say(format!("  omitted: {omitted}"));
            }
            if !step.left_out.is_empty() {
                self.say(format!("  omitted on {}", step.left_out.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")));
            }
            if let Some(condition) = &step.step.condition {
                self.say(format!("  if {condition}: {:?}", step.condition));
            }
            step.strategy.iter().for_each(|strategy| self.say(format!("  {strategy}")));
            step.gates.iter().for_each(|gate| self.say(format!("  gate: {}: {:?}: {}", gate.gate, gate.state, gate.evidence)));
            if step.point_of_no_return {
                self.say("  point of no return");
            }
        }
        for remark in &looked.remarks {
            let step = remark.step.as_ref().map_or_else(String::new, |step| format!("{step}: "));
            let hint = if remark.hint.is_empty() { String::new() } else { format!(" ({})", remark.hint) };
            self.say(format!("{:?}: {step}{}{hint}", remark.severity, remark.message));
        }
        looked.notify.iter().for_each(|line| self.say(format!("notify {line}")));
        for ask in &looked.approvals {
            let of = ask.step.as_ref().map_or("the run", StepName::as_str);
            let may_not = ask.may_not.as_ref().map_or_else(String::new, |why| format!(", and {why}"));
            let only_if = ask.only_if.as_ref().map_or_else(String::new, |condition| format!(", only if {condition}"));
            self.say(format!("asks for {of}, {} times: by {}{may_not}{only_if}", ask.times, ask.by));
        }
        if looked.at_least.0 > 0 {
            self.say(format!("takes {} at least", looked.at_least));
        }
    }

    /// What would be in the way of a retry; changes nothing.
    fn preview_retry(&mut self, run: &str, rest: &[&str]) {
        let before = self.rig.state.clone();
        // What is only tried out was never in a log.
        let record = self.rig.record.take();
        let run: RunId = run.parse().unwrap();
        let reply = self.rig.operator(Command::RetryRun { run: run.clone(), step: None, unknown: rest.contains(&"unknown") });
        self.answer(&reply);
        let wall = self.rig.entry(Actor::Mesh, None, Command::RaiseFeatureLevel { level: 1 }).wall;
        for remark in preview::in_the_way(&self.rig.state, &run, wall) {
            let step = remark.step.as_ref().map_or_else(String::new, |step| format!("{step}: "));
            self.say(format!("{:?}: {step}{}", remark.severity, remark.message));
        }
        self.rig.state = before;
        self.rig.record = record;
    }

    fn show_summary(&mut self, id: &RunId) {
        let run = self.rig.state.runs[id].clone();
        let mut counts: std::collections::BTreeMap<String, usize> = Default::default();
        for (_, _, work) in run.works() {
            *counts.entry(format!("do {}", work.forward.word())).or_default() += 1;
            if let Some(undo) = &work.undo {
                *counts.entry(format!("undo {}", undo.word())).or_default() += 1;
            }
        }
        let told: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
        let phase = run.end().map_or_else(|| format!("{:?}", run.phase).to_lowercase(), |end| format!("{end}, after {}", run.took));
        self.say(format!("{id}: {phase}: {}", told.join(", ")));
    }

    fn show_aftermath(&mut self) {
        let state = self.rig.state.clone();
        for (run, left) in aftermath::unsettled(&state) {
            left.iter().for_each(|left| self.say(format!("{}: {left}", run.id)));
        }
    }

    fn show_plan(&mut self, plan: &str) {
        let history = self.rig.state.plans[&plan.parse::<mainstay_core::PlanName>().unwrap()].clone();
        self.say(format!("{} runs{}", history.runs, if history.suspended.is_some() { ", suspended" } else { "" }));
        for (instants, fired) in &history.fired {
            let run = fired.run.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
            self.say(format!("{instants}: {} started, {} missed, {} held, newest run {run}", fired.started, fired.missed, fired.held));
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
                    let since = attempt
                        .since
                        .as_ref()
                        .map_or_else(String::new, |since| format!("; said since: {}: {}", since.outcome, since.outcome.summary()));
                    self.say(format!(
                        "    {} {} {} by {} ({}): {end}{cancel}{since}",
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

    /// As the leader does: what waits for the same as before has waited since then.
    fn look_at_waits(&mut self) -> Vec<mainstay_core::wait::Wait> {
        let mut waits = self.rig.decide().waits;
        waits.go_on_from(&self.waits, self.rig.now);
        self.waits = waits.clone();
        waits.waits
    }

    fn show_waits(&mut self) {
        let waits = self.look_at_waits();
        if waits.is_empty() {
            self.say("nothing waits");
        }
        for wait in waits {
            let (since, left) = wait.times(self.rig.now);
            let until = wait.until.map_or_else(String::new, |(_, then)| format!("; in {}, {then}", left.unwrap()));
            self.say(format!("{} {}@{} for {since}: {}{until}", wait.direction, wait.step, wait.target, wait.reason));
            let wall = self.rig.entry(Actor::Mesh, None, Command::RaiseFeatureLevel { level: 1 }).wall;
            for gate in outlook::ahead(&self.rig.state, &wait, wall, self.rig.now) {
                self.say(format!("  after that, {}: {gate}", gate.state.as_str()));
            }
            if let Some(expires) = outlook::expires_before(&self.rig.state, &wait, wall) {
                self.say(format!("  {expires}"));
            }
            if let Some(stuck) = stuck::stuck(&self.rig.state, &wait, wall, self.rig.now) {
                self.say(format!("  stuck: {}", stuck.why));
                stuck.remedies.iter().for_each(|remedy| self.say(format!("    {remedy}")));
            }
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

/// `NAME=JSON`; what is no JSON is text.
fn value(text: &str) -> (String, serde_json::Value) {
    let (name, value) = text.split_once('=').unwrap();
    if let Some(root) = value.strip_prefix('@') {
        return (name.to_owned(), serde_json::Value::String(rig::roots::pem(root).to_owned()));
    }
    (name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::String(value.to_owned())))
}

/// `ci/p1` is a process of the client `ci`; `cluster/prod/agent/r1/p1` one of that identity.
fn process(text: &str) -> Holder {
    let (client, process) = text.rsplit_once('/').unwrap();
    match client.parse() {
        Ok(identity) => Holder { identity, ..holder("x", process) },
        Err(_) => holder(client, process),
    }
}

fn fact_of(text: &str) -> NodeFact {
    let (node, state) = text.split_once(':').unwrap_or((text, "ready"));
    let (name, zone) = node.split_once('@').unwrap_or((node, ""));
    NodeFact { name: name.into(), zone: zone.into(), ready: state != "not-ready", cordoned: state == "cordoned", ..NodeFact::default() }
}

fn outcome_of(word: &str, rest: &[&str]) -> Outcome {
    let message = rest.join(" ");
    let report = |verdict: Verdict| {
        let outputs: std::collections::BTreeMap<String, serde_json::Value> =
            rest.iter().filter(|word| word.contains('=')).map(|word| value(word)).collect();
        if !outputs.is_empty() {
            return Outcome::Succeeded(Report { outputs, ..Report::default() });
        }
        let checks = match rest {
            _ if message == "as the rule says" => vec![Check::stated("rule", "", verdict, "as the rule says")],
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
