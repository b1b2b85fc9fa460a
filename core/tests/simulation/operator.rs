//! Operators: they start runs and ask until they are sure, think better of it, agree to what waits for them,
//! and in the calm tidy up. A request that has no answer may have been carried out or not.

use mainstay_core::state::approval::Decided;
use mainstay_core::state::lease::Holder;
use mainstay_core::state::run::{Work, WorkState};
use mainstay_core::wait::Reason;
use mainstay_core::{Command, Identity, Reply, RunId, State, StepName, Target};

use crate::invariants::Deed;
use crate::network::{Place, Way};
use crate::plans;
use crate::world::{Event, From, World};

/// How often somebody interferes with a run in one seed.
const INTERFERENCES: u32 = 5;
/// How often an operator asks while there are faults; then it gives up and does not know.
const TRIES: u32 = 6;

#[derive(Debug)]
struct Ask {
    by: &'static str,
    command: Command,
    tries: u32,
    stands: Stands,
}

/// What an operator knows of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stands {
    Open,
    Answered,
    /// It was carried out, or not.
    Unknown,
}

#[derive(Debug, Default)]
pub struct Operator {
    asks: Vec<Ask>,
    interferences: u32,
}

impl Operator {
    pub fn identity(&self, ask: usize) -> Identity {
        self.asks[ask].by.parse().unwrap()
    }

    pub fn is_over(&self, world: &World) -> bool {
        self.asks.iter().all(|ask| ask.stands != Stands::Open) && world.tidying().is_none()
    }
}

impl World {
    pub fn begin_operating(&mut self) {
        let until = self.setting.faults_until;
        for kind in self.setting.runs.clone() {
            let plan = &plans::ALL[kind].name;
            if plan.as_str() != plans::TIMED {
                let at = self.chance.between(1_500, until);
                self.will_ask(at, "operator/ana", Command::start(plan.clone()));
            }
        }
    }

    fn will_ask(&mut self, delay: u64, by: &'static str, command: Command) {
        let ask = self.operator.asks.len();
        self.operator.asks.push(Ask { by, command, tries: 0, stands: Stands::Open });
        self.after(delay, Event::Ask(ask));
    }

    /// Asks, and asks again until there is an answer.
    pub fn operator_ask(&mut self, index: usize) {
        let calm = self.calm();
        let ask = &mut self.operator.asks[index];
        if ask.stands != Stands::Open {
            return;
        }
        if ask.tries >= TRIES && !calm {
            ask.stands = Stands::Unknown;
            return;
        }
        ask.tries += 1;
        let arrive = Event::Arrive { from: From::Operator(index), key: Some(format!("ask-{index}")), command: Box::new(ask.command.clone()) };
        self.send(Way::ToMesh(Place::Operator), arrive);
        let pause = self.chance.between(300, 1_500);
        self.after(pause, Event::Ask(index));
    }

    pub fn operator_answer(&mut self, index: usize, reply: Reply) {
        let ask = &mut self.operator.asks[index];
        ask.stands = Stands::Answered;
        let command = ask.command.clone();
        self.did(Deed::Answered { ask: index, command, reply });
    }

    pub fn operator_tick(&mut self) {
        if self.mesh.leader.is_some() {
            if let Some(command) = self.tidying().filter(|command| !self.is_being_asked(command)) {
                self.will_ask(1, "operator/ana", command);
            }
            self.approve();
            if self.strikes(|faults| faults.operators, 35) && self.operator.interferences < INTERFERENCES {
                self.interfere();
            }
        }
        let pause = self.chance.between(1_000, 2_500);
        self.after(pause, Event::OperatorTick);
    }

    fn is_being_asked(&self, command: &Command) -> bool {
        self.operator.asks.iter().any(|ask| ask.command == *command && ask.stands == Stands::Open)
    }

    /// What is to be done in the calm, so that everything can end: hold nothing up, start nothing further, free
    /// what runs of an unknown outcome hold.
    fn tidying(&self) -> Option<Command> {
        let state = &self.mesh.state;
        if let Some(run) = state.runs.values().find(|run| run.pause.is_some() && !run.is_ended()).filter(|_| self.calm()) {
            return Some(Command::ResumeRun { run: run.id.clone() });
        }
        if !self.calm() {
            return None;
        }
        let timed = state.plans.iter().find(|(name, history)| name.as_str() == plans::TIMED && history.suspended.is_none());
        if let Some((name, _)) = timed {
            return Some(Command::SuspendPlan { plan: name.clone(), reason: "enough".into() });
        }
        state.leases.iter().find_map(|(name, lease)| {
            let held = lease.held.iter().find(|held| is_left_over(state, &held.holder))?;
            Some(Command::FreeClaim { name: name.clone(), token: held.token, proof: "looked at the machine".into() })
        })
    }

    /// Agrees to what waits for somebody, or not.
    fn approve(&mut self) {
        let Some(leader) = &self.mesh.leader else { return };
        let is_open = |run: &RunId, step: &Option<StepName>| {
            let about = |command: &Command| matches!(command, Command::DecideApproval { run: own, decided } if own == run && decided.step == *step);
            self.operator.asks.iter().any(|ask| ask.stands == Stands::Open && about(&ask.command))
        };
        let wanted = leader.waits.waits.iter().find_map(|wait| match &wait.reason {
            Reason::Approval { run, step, wave, seen, .. } if !is_open(run, step) => Some((run.clone(), step.clone(), *wave, seen.clone())),
            _ => None,
        });
        let Some((run, step, wave, seen)) = wanted.filter(|_| self.chance.percent(60)) else { return };
        let deny = self.strikes(|faults| faults.operators, 15);
        let decided = Decided { step, wave, seen, deny, reason: String::new() };
        self.will_ask(1, "operator/bo", Command::DecideApproval { run, decided });
    }

    fn interfere(&mut self) {
        let runs: Vec<(RunId, bool, bool)> = self.mesh.state.runs.values().map(|run| (run.id.clone(), run.is_ended(), run.pause.is_some())).collect();
        if runs.is_empty() {
            return;
        }
        let (run, is_ended, is_paused) = runs[self.chance.place(runs.len())].clone();
        let reason = "thought better of it".to_owned();
        let command = match (is_ended, self.chance.place(3)) {
            (false, 0) => Command::AbortRun { run, reason },
            (false, _) if is_paused => Command::ResumeRun { run },
            (false, _) => Command::PauseRun { run, reason },
            (true, 0) => Command::UndoRun { run, reason },
            (true, _) => Command::RetryRun { run, step: None, unknown: self.chance.percent(50) },
        };
        self.operator.interferences += 1;
        self.will_ask(1, "operator/ana", command);
    }
}

/// Whether a run holds a lease for a step of which nobody knows whether it still goes.
fn is_left_over(state: &State, holder: &Holder) -> bool {
    let Identity::Run(id) = &holder.identity else { return false };
    let Some(run) = state.runs.get(id).filter(|run| !run.is_ended()) else { return true };
    let step = holder.attributes.get("step").map(|step| step.parse::<StepName>().unwrap());
    let is_unknown = |work: &Work| [Some(&work.forward), work.undo.as_ref()].iter().flatten().any(|state| matches!(state, WorkState::Unknown { .. }));
    // The same step may be going on another target, which holds the lease then.
    let target = holder.attributes.get("target");
    let is_held_for = |known: &Target| target.is_none_or(|target| *target == known.to_string());
    step.and_then(|step| run.work.get(&step)).is_some_and(|works| works.iter().any(|(known, work)| is_held_for(known) && is_unknown(work)))
}
