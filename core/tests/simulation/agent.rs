//! Agents: the ledger survives a crash, unless the disk does not; everything else does not.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::artifact::{ArtifactFile, ArtifactKind, FileDigest};
use mainstay_core::catalogue;
use mainstay_core::reconcile::{Action, Desired, DesiredAttempt, LedgerState, reconcile};
use mainstay_core::report::{Check, Report, Verdict};
use mainstay_core::state::agent::Hello;
use mainstay_core::state::run::Outcome;
use mainstay_core::{AgentId, AttemptId, Command, LedgerId, Reply};

use crate::invariants::Deed;
use crate::network::{Place, Way};
use crate::world::{Event, From, World};

/// How far a process is with an attempt. The ledger is written on the way from one to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Accepting,
    Asking,
    WritingBegun,
    Starting,
    Executing,
}

struct Job {
    attempt: DesiredAttempt,
    stage: Stage,
    stop: bool,
    /// Goes on when it is told to stop.
    stubborn: bool,
}

type Ledger = BTreeMap<AttemptId, LedgerState>;

pub struct Agent {
    index: usize,
    up: bool,
    /// Counts processes; what was meant for an earlier one does not reach a later one.
    boot: u64,
    ledgers: u64,
    ledger: Ledger,
    /// A copy of the ledger that somebody may put back.
    copy: Ledger,
    running: BTreeMap<AttemptId, Job>,
    /// What the mesh has answered how it ended.
    told: BTreeSet<AttemptId>,
    desired: Option<Desired>,
    /// Term of the leader that it is linked with, and the link's epoch.
    link: Option<(u64, u64)>,
}

pub fn id(index: usize) -> AgentId {
    format!("c/n{index}").parse().unwrap()
}

pub fn index_of(agent: &AgentId) -> usize {
    agent.name()[1..].parse().unwrap()
}

impl Agent {
    pub fn new(index: usize) -> Agent {
        Agent {
            index,
            up: false,
            boot: 0,
            ledgers: 1,
            ledger: Ledger::new(),
            copy: Ledger::new(),
            running: BTreeMap::new(),
            told: BTreeSet::new(),
            desired: None,
            link: None,
        }
    }

    fn ledger_id(&self) -> LedgerId {
        LedgerId(format!("ledger-{}-{}", self.index, self.ledgers))
    }

    /// What it carries out right now, and may have had effects.
    pub fn executing(&self) -> impl Iterator<Item = &DesiredAttempt> {
        self.running.values().filter(|job| job.stage == Stage::Executing).map(|job| &job.attempt)
    }

    fn hello(&self) -> Hello {
        Hello {
            ledger: self.ledger_id(),
            incarnation: format!("{}-{}", self.index, self.boot),
            version: "0.1.0".into(),
            feature_level: 1,
            host: true,
            kinds: ["node.exec", "node.resources", "wait"].map(str::to_owned).to_vec(),
            boot_id: String::new(),
            connections: Vec::new(),
        }
    }
}

impl World {
    fn agent(&mut self, index: usize, boot: u64) -> Option<&mut Agent> {
        self.agents.get_mut(index).filter(|agent| agent.up && agent.boot == boot)
    }

    pub fn is_process_of(&self, index: usize, boot: u64) -> bool {
        self.agents[index].up && self.agents[index].boot == boot
    }

    pub fn agent_start(&mut self, index: usize) {
        if self.agents[index].up {
            return;
        }
        let emptied = self.strikes(|faults| faults.disk_emptied, 30);
        let set_back = self.strikes(|faults| faults.disk_set_back, 30);
        let agent = &mut self.agents[index];
        agent.up = true;
        agent.boot += 1;
        if emptied {
            agent.ledgers += 1;
            agent.ledger.clear();
            agent.copy.clear();
        } else if set_back {
            agent.ledger = agent.copy.clone();
        }
        let boot = agent.boot;
        let disk = if emptied {
            ", its disk empty"
        } else if set_back {
            ", its disk set back"
        } else {
            ""
        };
        self.trace.line(self.now, || format!("!   agent {index} starts{disk}"));
        self.after(1, Event::AgentTick { index, boot });
        self.fault_later(self.setting.faults.agent_crashes, Event::AgentCrash { index }, 18_000);
    }

    pub fn agent_crash(&mut self, index: usize) {
        let agent = &mut self.agents[index];
        agent.up = false;
        agent.running.clear();
        agent.told.clear();
        agent.desired = None;
        if let Some((_, epoch)) = agent.link.take()
            && self.chance.percent(70)
        {
            self.send(Way::ToMesh(Place::Agent(index)), Event::Unlinked { index, epoch });
        }
        self.trace.line(self.now, || format!("!   agent {index} dies"));
        let gone = if self.chance.percent(25) { self.chance.between(5_000, 30_000) } else { self.chance.between(50, 3_000) };
        self.after(gone, Event::AgentStart { index });
    }

    /// Keeps the link: a heartbeat, or a new link when the leader is another one.
    pub fn agent_tick(&mut self, index: usize, boot: u64) {
        let term = self.mesh.leader.as_ref().map(|leader| leader.term);
        let Some(agent) = self.agent(index, boot) else { return };
        let hello = agent.hello();
        match agent.link {
            Some((linked, epoch)) if Some(linked) == term => self.send(Way::ToMesh(Place::Agent(index)), Event::Heartbeat { index, epoch }),
            _ => {
                agent.link = None;
                self.ask(Place::Agent(index), From::Agent { index, boot, about: None }, Command::ConnectAgent { agent: id(index), hello });
            }
        }
        self.tell_agents(true);
        self.agent_reconcile(index, boot);
        let next = self.chance.between(1_500, 2_500);
        self.after(next, Event::AgentTick { index, boot });
    }

    /// The agent connects anew at its next tick.
    pub fn agent_link_ended(&mut self, index: usize, epoch: u64) {
        let agent = &mut self.agents[index];
        agent.link = agent.link.filter(|(_, own)| *own != epoch);
    }

    pub fn agent_desired(&mut self, index: usize, desired: Desired) {
        let boot = self.agents[index].boot;
        // It comes over the link.
        let Some(agent) = self.agent(index, boot).filter(|agent| agent.link.is_some()) else { return };
        let is_old = agent.desired.as_ref().is_some_and(|known| (known.incarnation, known.generation) > (desired.incarnation, desired.generation));
        if !is_old {
            agent.desired = Some(desired);
            self.agent_reconcile(index, boot);
        }
    }

    fn agent_reconcile(&mut self, index: usize, boot: u64) {
        let Some(agent) = self.agent(index, boot) else { return };
        let Some(desired) = agent.desired.clone() else { return };
        let running: BTreeSet<AttemptId> = agent.running.keys().copied().collect();
        for action in reconcile(&desired, &agent.ledger, &running, &agent.told) {
            let wanted = |id: AttemptId| desired.attempts.iter().find(|attempt| attempt.id == id).cloned();
            match action {
                Action::Accept(id) => self.agent_take(index, wanted(id).unwrap(), Stage::Accepting),
                Action::Resume(id) => self.agent_take(index, wanted(id).unwrap(), Stage::Asking),
                Action::ExecuteAgain(id) => self.agent_take(index, wanted(id).unwrap(), Stage::Starting),
                Action::Cancel(id) => self.agent_stop(index, id),
                Action::Settle(id, outcome) => {
                    self.agents[index].ledger.insert(id, LedgerState::Ended(outcome));
                    self.agent_report(index, id);
                }
                Action::Report(id) => self.agent_report(index, id),
                Action::Forget(id) => {
                    self.agents[index].ledger.remove(&id);
                }
            }
        }
    }

    fn agent_take(&mut self, index: usize, attempt: DesiredAttempt, stage: Stage) {
        let stubborn = self.strikes(|faults| faults.steps, 15);
        let id = attempt.id;
        self.agents[index].running.insert(id, Job { attempt, stage, stop: false, stubborn });
        self.agent_next(index, id, 40);
    }

    fn agent_next(&mut self, index: usize, attempt: AttemptId, within: u64) {
        let boot = self.agents[index].boot;
        let delay = self.chance.between(1, within);
        self.after(delay, Event::AgentStep { index, boot, attempt });
    }

    fn agent_stop(&mut self, index: usize, id: AttemptId) {
        let Some(job) = self.agents[index].running.get_mut(&id).filter(|job| !job.stop) else { return };
        job.stop = true;
        if !job.stubborn {
            self.agent_next(index, id, 2_000);
        }
    }

    fn agent_report(&mut self, index: usize, id: AttemptId) {
        let agent = &self.agents[index];
        let (boot, ledger) = (agent.boot, agent.ledger_id());
        let Some(LedgerState::Ended(outcome)) = agent.ledger.get(&id).cloned() else { return };
        self.ask(Place::Agent(index), From::Agent { index, boot, about: None }, Command::EndAttempt { attempt: id, ledger, outcome });
    }

    /// One step of the life of an attempt. The process may die before each.
    pub fn agent_step(&mut self, index: usize, boot: u64, id: AttemptId) {
        let (fails, copies) = (self.strikes(|faults| faults.steps, 15), self.strikes(|faults| faults.disk_set_back, 30));
        let ledger = self.agents[index].ledger_id();
        let Some(agent) = self.agent(index, boot) else { return };
        let Some(job) = agent.running.get_mut(&id) else { return };
        if copies {
            agent.copy = agent.ledger.clone();
        }
        match job.stage {
            Stage::Accepting => {
                agent.ledger.insert(id, LedgerState::Accepted);
                job.stage = Stage::Asking;
                self.agent_next(index, id, 20);
            }
            Stage::Asking | Stage::WritingBegun | Stage::Starting if job.stop => {
                self.agent_end(index, id, Outcome::Cancelled { message: "stopped before it began".into() });
            }
            Stage::Asking => {
                self.ask(Place::Agent(index), From::Agent { index, boot, about: Some(id) }, Command::BeginAttempt { attempt: id, ledger });
                self.after(600, Event::AgentStep { index, boot, attempt: id });
            }
            Stage::WritingBegun => {
                agent.ledger.insert(id, LedgerState::Begun);
                job.stage = Stage::Starting;
                self.agent_next(index, id, 40);
            }
            Stage::Starting if fails => self.agent_end(index, id, Outcome::Failed { message: "could not be started".into(), report: None }),
            Stage::Starting => self.agent_execute(index, id),
            Stage::Executing if job.stop => self.agent_end(index, id, Outcome::Cancelled { message: "stopped".into() }),
            Stage::Executing if fails => self.agent_end(index, id, Outcome::Failed { message: "exit status 1".into(), report: None }),
            Stage::Executing => {
                let attempt = job.attempt.clone();
                self.did(Deed::Finished(attempt));
                let checks = vec![Check::stated("sim", "", self.verdict(), "done")];
                self.agent_end(index, id, Outcome::Succeeded(Report { checks, ..Report::default() }));
            }
        }
    }

    /// The first effect.
    fn agent_execute(&mut self, index: usize, id: AttemptId) {
        let long = self.strikes(|faults| faults.steps, 12);
        let boot = self.agents[index].boot;
        let Some(job) = self.agents[index].running.get_mut(&id) else { return };
        job.stage = Stage::Executing;
        let attempt = job.attempt.clone();
        let idempotent = catalogue::kind(&attempt.kind).unwrap().idempotent;
        self.did(Deed::Began { attempt, idempotent });
        self.agent_put(index, boot, id);
        self.agent_next(index, id, if long { 40_000 } else { 2_500 });
    }

    /// Stores what the step prints. Whether the mesh takes it in is nothing that the step waits for.
    fn agent_put(&mut self, index: usize, boot: u64, attempt: AttemptId) {
        let file = ArtifactFile {
            name: "output.log".parse().unwrap(),
            kind: ArtifactKind::Output,
            bytes: attempt.0.counter,
            sha256: FileDigest([u8::try_from(attempt.0.counter % 250).unwrap(); 32]),
            encrypted: false,
        };
        let stored_on = self.mesh.state.members.keys().take(2).copied().collect();
        let ledger = self.agents[index].ledger_id();
        let command = Command::RecordArtifact { attempt, ledger, file, stored_on, room: 400 };
        self.ask(Place::Agent(index), From::Agent { index, boot, about: None }, command);
    }

    fn agent_end(&mut self, index: usize, id: AttemptId, outcome: Outcome) {
        let agent = &mut self.agents[index];
        agent.ledger.insert(id, LedgerState::Ended(outcome));
        agent.running.remove(&id);
        let boot = agent.boot;
        self.agent_report(index, id);
        self.agent_reconcile(index, boot);
    }

    pub fn agent_answer(&mut self, index: usize, boot: u64, about: Option<AttemptId>, command: &Command, reply: &Reply, term: u64) {
        if let (Command::EndAttempt { attempt, outcome, .. }, Reply::Done) = (command, reply) {
            self.did(Deed::EndTaken { attempt: *attempt, outcome: outcome.clone() });
        }
        let Some(agent) = self.agent(index, boot) else { return };
        if let Command::EndAttempt { attempt, .. } = command {
            agent.told.insert(*attempt);
        }
        match (reply, about) {
            (Reply::Connected { epoch }, None) => agent.link = Some((term, *epoch)),
            (reply, Some(id)) => {
                let Some(job) = agent.running.get_mut(&id).filter(|job| job.stage == Stage::Asking) else { return };
                if *reply == Reply::Done {
                    job.stage = Stage::WritingBegun;
                    self.agent_next(index, id, 40);
                } else {
                    agent.running.remove(&id);
                }
            }
            _ => {}
        }
    }

    /// The worst that a report of a simulated step says.
    pub fn verdict(&mut self) -> Verdict {
        if self.strikes(|faults| faults.steps, 5) {
            [Verdict::Warning, Verdict::Unknown, Verdict::Critical][self.chance.place(3)]
        } else {
            Verdict::Ok
        }
    }
}
