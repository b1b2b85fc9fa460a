//! Runs that change the same things of a cluster, in any order, with aborts, pauses and undos in between: no two of them ever
//! have one thing in their hands, and all of them end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use mainstay_core::report::Report;
use mainstay_core::state::attempt::Attempt;
use mainstay_core::state::run::{Direction, Outcome, Run};
use mainstay_core::{AttemptId, Command, Reply, RunId};
use rig::{Rig, holder, identity};

const SEEDS: u64 = 60;
const PLANS: usize = 5;
/// The last one stands for all: what a selector fits.
const THINGS: [&str; 5] = ["a", "b", "c", "d", "all"];
const ALL: &str = "all";

/// Numbers that a seed draws.
struct Draw(u64);

impl Draw {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % most
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

struct World {
    rig: Rig,
    draw: Draw,
    /// Runs that had ended once, and are taken back since.
    ended_once: BTreeSet<RunId>,
}

impl World {
    fn of(seed: u64) -> World {
        let mut rig = Rig::new();
        rig.check_every = 8;
        rig.connect("prod/agent/r1", "l1", &["kube.scale", "kube.restart"]);
        let acting = mainstay_core::state::lease::Holder { identity: identity("cluster/prod/agent/r1"), ..holder("x", "p1") };
        assert!(matches!(rig.acquire("agent/prod", &acting, false), Reply::Granted(_)));
        let mut world = World { rig, draw: Draw(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1), ended_once: BTreeSet::new() };
        for number in 0..PLANS {
            let text = world.plan(number);
            world.rig.apply_plan(&text);
        }
        world
    }

    /// Steps over a few things, one after the other or side by side. What a step is about its name ends with.
    fn plan(&mut self, number: usize) -> String {
        let mut text = format!("apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: p{number} }}\nspec:\n  steps:\n");
        let (steps, serial) = (1 + self.draw.below(4), self.draw.percent(70));
        for step in 0..steps {
            // A selector is rarer than a name.
            let thing = if self.draw.percent(10) { ALL } else { THINGS[self.draw.below(THINGS.len() - 1)] };
            let needs = if serial && step > 0 { ", needs: [PREVIOUS]" } else { "" };
            let previous = text.rsplit("name: s").next().map(|rest| format!("s{}", rest.split(',').next().unwrap())).unwrap_or_default();
            let needs = needs.replace("PREVIOUS", &previous);
            let does = match thing {
                ALL => "uses: kube.restart, with: { namespace: shop, selector: app=x }".to_owned(),
                name => format!("uses: kube.scale, with: {{ namespace: shop, name: {name}, replicas: {number} }}"),
            };
            writeln!(text, "    - {{ name: s{step}-{thing}, {does}{needs} }}").unwrap();
        }
        text
    }

    fn open(&self) -> Vec<Attempt> {
        self.rig.state.attempts.values().filter(|attempt| attempt.is_open()).cloned().collect()
    }

    fn runs(&self, is_meant: impl Fn(&Run) -> bool) -> Vec<RunId> {
        self.rig.state.runs.values().filter(|run| is_meant(run)).map(|run| run.id.clone()).collect()
    }

    fn pick(&mut self, runs: &[RunId]) -> Option<RunId> {
        if runs.is_empty() { None } else { Some(runs[self.draw.below(runs.len())].clone()) }
    }

    fn end(&mut self, attempt: AttemptId, ledger: mainstay_core::LedgerId, outcome: Outcome) {
        self.rig.mesh(Command::BeginAttempt { attempt, ledger: ledger.clone() });
        assert_eq!(self.rig.mesh(Command::EndAttempt { attempt, ledger, outcome }), Reply::Done);
    }

    fn happens(&mut self) {
        let reason = "so".to_owned();
        match self.draw.below(100) {
            0..20 if self.runs(|run| !run.is_ended()).len() < 6 => {
                let plan = format!("p{}", self.draw.below(PLANS));
                self.rig.start(&plan);
            }
            20..26 => {
                let open = self.runs(|run| !run.is_ended());
                if let Some(run) = self.pick(&open) {
                    self.rig.operator(Command::AbortRun { run, reason });
                }
            }
            26..32 => {
                let open = self.runs(|run| !run.is_ended());
                if let Some(run) = self.pick(&open) {
                    self.rig.operator(Command::PauseRun { run, reason });
                }
            }
            32..42 => {
                let paused = self.runs(|run| run.pause.is_some());
                if let Some(run) = self.pick(&paused) {
                    self.rig.operator(Command::ResumeRun { run });
                }
            }
            42..50 => {
                // What has been taken back before counts its attempts from then.
                let ended = self.runs(|run| run.is_ended() && run.works().all(|(_, _, work)| work.undo.is_none()));
                if let Some(run) = self.pick(&ended)
                    && self.rig.operator(Command::UndoRun { run: run.clone(), reason }) == Reply::Done
                {
                    self.ended_once.insert(run);
                }
            }
            _ => {
                let open = self.open();
                if !open.is_empty() {
                    let attempt = open[self.draw.below(open.len())].clone();
                    let fails = self.draw.percent(10);
                    let outcome = if fails { Outcome::Failed { message: "no".into(), report: None } } else { Outcome::Succeeded(Report::default()) };
                    self.end(attempt.id, attempt.ledger, outcome);
                }
            }
        }
        self.rig.settle();
    }

    /// The things that a run has in its hands: what it has begun and not ended, and whatever it was at since it is open.
    fn has_in_hands(&self, run: &Run) -> BTreeSet<String> {
        let direction = if self.ended_once.contains(&run.id) { Direction::Undo } else { Direction::Do };
        let works = run.works().filter(|(_, _, work)| !run.is_ended() && work.attempts(direction) > 0);
        works.map(|(step, _, _)| step.as_str().split_once('-').unwrap().1.to_owned()).collect()
    }

    fn check(&self, seed: u64) {
        let held: Vec<(&RunId, BTreeSet<String>)> = self.rig.state.runs.values().map(|run| (&run.id, self.has_in_hands(run))).collect();
        for (place, (run, own)) in held.iter().enumerate() {
            for (other, theirs) in &held[place + 1..] {
                let is_same = |own: &String| theirs.iter().any(|theirs| own == theirs || own == ALL || theirs == ALL);
                // Two restarts by a selector are of one claim; what they have begun is in their hands as well.
                let both = own.iter().find(|own| is_same(own));
                assert_eq!(both, None, "seed {seed}: {run} has {own:?}, and {other} has {theirs:?}");
            }
        }
    }

    /// Nothing new is started, and all that is under way comes off.
    fn ends(&mut self, seed: u64) {
        for run in self.runs(|run| run.pause.is_some()) {
            self.rig.operator(Command::ResumeRun { run });
        }
        for _ in 0..2_000 {
            self.rig.settle();
            self.check(seed);
            let open = self.open();
            let Some(attempt) = open.first() else { break };
            self.end(attempt.id, attempt.ledger.clone(), Outcome::Succeeded(Report::default()));
        }
        let left = self.runs(|run| !run.is_ended());
        let waits: Vec<String> = self.rig.decide().waits.waits.iter().map(|wait| format!("{}/{}: {}", wait.run, wait.step, wait.reason)).collect();
        assert!(left.is_empty(), "seed {seed}: {left:?} do not end: {}", waits.join("\n"));
        let held: Vec<&str> = self.rig.state.leases.iter().filter(|(_, lease)| !lease.held.is_empty()).map(|(name, _)| name.as_str()).collect();
        assert_eq!(held, ["agent/prod"], "seed {seed}: what has ended holds nothing");
    }
}

#[test]
fn no_two_runs_have_one_thing_in_their_hands_and_all_of_them_end() {
    for seed in 1..=SEEDS {
        let mut world = World::of(seed);
        for _ in 0..80 {
            world.happens();
            world.check(seed);
        }
        world.ends(seed);
    }
}
