//! A mesh and an executor of a few lines each, with one state behind both.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use mainstay_core::command::CancelReason;
use mainstay_core::id::{AttemptId, LedgerId};
use mainstay_core::reconcile::{Desired, DesiredAttempt, LedgerState};
use mainstay_core::report::Report;
use mainstay_core::state::run::{Direction, Outcome};
use mainstay_core::time::Millis;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::*;
use crate::execute::{Output, StepError};
use crate::ledger::LedgerError;
use crate::link::Outbox;

/// How long anything may take that should happen; with a paused clock, no time at all.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a call does, or where it stops for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Later: this member has no leader.
    Later,
    /// No, for good.
    No,
    /// The call never arrives.
    LostBefore,
    /// It takes effect, and the answer never arrives.
    LostAfter,
}

/// What an executor does with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Its work, at once.
    Work,
    /// Its work, and then never ends, whoever asks.
    WorkAndHang,
    /// Goes on until it is asked to stop.
    WaitForStop,
    /// Goes on until the test says so.
    WaitForTest,
    Panic,
    Refuse,
}

#[derive(Default)]
pub struct State {
    pub wanted: Vec<DesiredAttempt>,
    pub generation: u64,
    pub link: u64,
    pub ended: BTreeMap<AttemptId, Outcome>,
    /// What happened, in order.
    pub log: Vec<String>,
    pub begin_answers: VecDeque<Answer>,
    pub end_answers: VecDeque<Answer>,
    pub executing: usize,
    pub most_executing: usize,
}

/// Mesh and executor in one.
pub struct World {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    wanted: watch::Sender<Option<Arc<Wanted>>>,
    does: Does,
    pub go: CancellationToken,
}

impl World {
    pub fn new(does: Does) -> Arc<World> {
        let world =
            World { state: Mutex::default(), changed: watch::channel(0).0, wanted: watch::channel(None).0, does, go: CancellationToken::new() };
        world.change(|state| state.link = 1);
        Arc::new(world)
    }

    pub fn look(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes the state and tells everybody, the agent included.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.look();
        let result = change(&mut state);
        state.generation += 1;
        let desired = Desired { incarnation: 1, generation: state.generation, attempts: state.wanted.clone() };
        self.wanted.send_replace(Some(Arc::new(Wanted { link: state.link, desired })));
        self.changed.send_modify(|changes| *changes += 1);
        result
    }

    pub fn offer(&self, counter: u64, kind: &str) -> AttemptId {
        self.offer_with(counter, kind, Map::new(), Millis(30_000))
    }

    pub fn offer_with(&self, counter: u64, kind: &str, with: Map<String, Value>, timeout: Millis) -> AttemptId {
        let id: AttemptId = format!("1.{counter}").parse().unwrap();
        self.change(|state| {
            state.wanted.push(DesiredAttempt {
                id,
                run: "p-1".parse().unwrap(),
                step: "s".parse().unwrap(),
                target: "c/n".parse().unwrap(),
                direction: Direction::Do,
                number: 1,
                kind: kind.into(),
                with,
                timeout,
                begun: false,
                cancel: None,
            });
        });
        id
    }

    pub fn call_off(&self, id: AttemptId, reason: CancelReason) {
        self.change(|state| state.wanted.iter_mut().filter(|attempt| attempt.id == id).for_each(|attempt| attempt.cancel = Some(reason)));
    }

    pub fn withdraw(&self, id: AttemptId) {
        self.change(|state| state.wanted.retain(|attempt| attempt.id != id));
    }

    /// The same desired set, over a new link.
    pub fn relink(&self) {
        self.change(|state| state.link += 1);
    }

    fn note(&self, what: String) {
        self.look().log.push(what);
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Waits for a state, and says what there was when it never comes.
    pub async fn until(&self, what: &str, mut is: impl FnMut(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        let waited = tokio::time::timeout(DEADLINE, async {
            while !is(&self.look()) {
                changed.changed().await.unwrap();
            }
        });
        assert!(waited.await.is_ok(), "never: {what}; log: {:?}", self.look().log);
    }

    pub async fn ended(&self, id: AttemptId) -> Outcome {
        self.until("the mesh knows the end", |state| state.ended.contains_key(&id)).await;
        self.look().ended[&id].clone()
    }

    pub fn log(&self) -> Vec<String> {
        self.look().log.clone()
    }

    pub fn executed(&self, id: AttemptId) -> usize {
        let line = format!("execute {id}");
        self.look().log.iter().filter(|entry| **entry == line).count()
    }

    async fn answer(&self, answer: Option<Answer>, effect: impl FnOnce(&mut State)) -> Result<(), Unanswered> {
        match answer {
            Some(Answer::Later) => return Err(Unanswered::Later("no leader".into())),
            Some(Answer::No) => return Err(Unanswered::Refused("not yours any more".into())),
            Some(Answer::LostBefore) => return std::future::pending().await,
            Some(Answer::LostAfter) | None => {}
        }
        self.change(effect);
        if answer.is_some() {
            return std::future::pending().await;
        }
        Ok(())
    }
}

impl Coordination for World {
    async fn begin(&self, attempt: AttemptId, _: &LedgerId) -> Result<(), Unanswered> {
        self.note(format!("begin {attempt}"));
        let answer = self.look().begin_answers.pop_front();
        self.answer(answer, |state| state.wanted.iter_mut().filter(|wanted| wanted.id == attempt).for_each(|wanted| wanted.begun = true)).await
    }

    async fn end(&self, attempt: AttemptId, _: &LedgerId, outcome: &Outcome) -> Result<(), Unanswered> {
        self.note(format!("end {attempt} {outcome}"));
        let answer = self.look().end_answers.pop_front();
        self.answer(answer, |state| {
            state.wanted.retain(|wanted| wanted.id != attempt);
            state.ended.insert(attempt, outcome.clone());
        })
        .await
    }
}

/// Leaves when the executor does, however that ends.
struct Executing<'a>(&'a World);

impl Drop for Executing<'_> {
    fn drop(&mut self) {
        self.0.look().executing -= 1;
    }
}

impl Executor for World {
    fn refuses(&self, _: &DesiredAttempt) -> Option<StepError> {
        matches!(self.does, Does::Refuse).then(|| StepError::refused("not allowed"))
    }

    async fn execute(&self, attempt: DesiredAttempt, _: Output, cancel: CancellationToken) -> Result<Report, StepError> {
        self.note(format!("execute {}", attempt.id));
        {
            let mut state = self.look();
            state.executing += 1;
            state.most_executing = state.most_executing.max(state.executing);
        }
        let _executing = Executing(self);
        match self.does {
            Does::Work => Ok(Report::default()),
            Does::WorkAndHang => std::future::pending().await,
            Does::WaitForStop => {
                cancel.cancelled().await;
                Err(StepError::cancelled("called off"))
            }
            Does::WaitForTest => {
                self.go.cancelled().await;
                Ok(Report::default())
            }
            Does::Panic => panic!("a fault"),
            Does::Refuse => Err(StepError::refused("not allowed")),
        }
    }
}

/// A process of the agent, as far as attempts go.
pub struct Process {
    pub ledger: Ledger,
    pub leave: Leave,
    running: JoinHandle<Result<(), LedgerError>>,
}

pub fn settings() -> AttemptSettings {
    AttemptSettings { retry_first: Duration::from_millis(1), retry_ceiling: Duration::from_millis(5), ..AttemptSettings::default() }
}

impl Process {
    pub async fn start(dir: &Path, world: &Arc<World>) -> Process {
        Process::start_with(dir, world, Arc::clone(world), settings()).await
    }

    pub async fn start_with<E: Executor>(dir: &Path, world: &Arc<World>, executor: Arc<E>, settings: AttemptSettings) -> Process {
        let ledger = opened(dir).await;
        let link = LinkHandle { wanted: world.wanted.subscribe(), up: watch::channel(true).1, outbox: Arc::<Outbox>::default() };
        let leave = Leave::default();
        let attempts = Attempts::new(settings, ledger.clone(), Arc::clone(world), executor, link, AttemptMetrics::default(), leave.clone());
        Process { ledger, leave, running: tokio::spawn(attempts.run()) }
    }

    /// Ends it as a power cut would: nothing more is written or sent.
    pub async fn crash(self) {
        self.running.abort();
        assert!(self.running.await.unwrap_err().is_cancelled());
    }

    /// Waits until it has left.
    pub async fn left(self) -> Result<(), LedgerError> {
        tokio::time::timeout(DEADLINE, self.running).await.expect("it leaves").unwrap()
    }

    pub async fn until_ledger(&self, what: &str, mut is: impl FnMut(&BTreeMap<AttemptId, LedgerState>) -> bool) {
        let waited = tokio::time::timeout(DEADLINE, async {
            while !is(&self.ledger.entries()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert!(waited.await.is_ok(), "never: {what}; ledger: {:?}", self.ledger.entries());
    }
}

/// The ledger, as soon as the process before has let go of it.
async fn opened(dir: &Path) -> Ledger {
    let opened = tokio::time::timeout(DEADLINE, async {
        loop {
            match Ledger::open(dir, LedgerId("fresh".into())) {
                Err(LedgerError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
                opened => return opened.unwrap(),
            }
        }
    });
    opened.await.expect("the ledger is free")
}
