//! Runs: started, listed, watched, steered, explained.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstay_core::aftermath::{self, Left};
use mainstay_core::authz::{Method, Subject};
use mainstay_core::id::PlanName;
use mainstay_core::plan::input;
use mainstay_core::state::approval::Decided;
use mainstay_core::state::run::{Run, RunPhase};
use mainstay_core::{
    Actor, Command, Entry, Identity, MeshTime, Refusal, Reply, RequestKey, RunId, State, StepName, Waits, WallTime, almanac, evaluate, preview,
};
use mainstay_proto::convert::{InvalidMessage, left_to_wire, parsed, remark_to_wire, rollouts_to_wire, run_summary, run_to_wire, waits_to_wire};
use mainstay_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::front::{Front, request_key};
use super::{run_watch, status};
use crate::leader::Office;

/// Events that may wait for one watcher; more lines are counted as dropped.
const EVENTS: usize = 64;
/// How often the decision that saw a run as it is may be waited for, while the run goes on changing.
const DECISIONS_AWAITED: usize = 3;

pub struct RunsApi(pub Arc<Front>);

#[tonic::async_trait]
impl v1::runs_server::Runs for RunsApi {
    async fn start(&self, request: Request<v1::StartRunRequest>) -> Result<Response<v1::StartRunResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::StartRun, Subject::None)?;
        let key = request_key(&request)?;
        let v1::StartRunRequest { plan, revision, inputs, without_calendar, dry_run } = request.into_inner();
        let plan: PlanName = parsed("plan", &plan).map_err(status::invalid)?;
        let inputs = inputs_of(inputs)?;
        let revision = (revision > 0).then_some(revision);
        let connections = connections(&office.state(), &plan, revision, &inputs).map_err(status::refused)?;
        let without_calendar = (!without_calendar.is_empty()).then_some(without_calendar);
        let command = Command::StartRun { plan, revision, inputs, connections, without_calendar, object: None };
        if dry_run {
            tried(&office, by, command)?;
            return Ok(Response::new(v1::StartRunResponse::default()));
        }
        match self.0.propose(&office, by, key, command).await? {
            Reply::Started(run) => Ok(Response::new(v1::StartRunResponse { run: run.to_string() })),
            other => Err(status::unexpected(&other)),
        }
    }

    async fn list(&self, request: Request<v1::ListRunsRequest>) -> Result<Response<v1::ListRunsResponse>, Status> {
        let (office, state) = self.0.read(&request, Method::Look).await?;
        let v1::ListRunsRequest { plan, open, unsettled } = request.into_inner();
        let plan = (!plan.is_empty()).then(|| parsed::<PlanName>("plan", &plan)).transpose().map_err(status::invalid)?;
        let left: BTreeMap<&RunId, Vec<Left>> = aftermath::unsettled(&state).into_iter().map(|(run, left)| (&run.id, left)).collect();
        let is_left_out = |run: &Run| open && run.is_ended() && !(unsettled && left.contains_key(&run.id));
        let wanted = |run: &&Run| plan.as_ref().is_none_or(|plan| run.id.plan == *plan) && !is_left_out(run);
        let mut runs: Vec<&Run> = state.runs.values().filter(wanted).collect();
        runs.sort_by_key(|run| std::cmp::Reverse((run.started_at, run.id.number)));
        let now = office.now();
        let wire = |run: &Run| v1::Run { left: left.get(&run.id).map(|left| left_to_wire(left)).unwrap_or_default(), ..run_summary(run, now) };
        Ok(Response::new(v1::ListRunsResponse { runs: runs.into_iter().map(wire).collect() }))
    }

    async fn get(&self, request: Request<v1::GetRunRequest>) -> Result<Response<v1::Run>, Status> {
        let (office, state) = self.0.read(&request, Method::Look).await?;
        let id: RunId = parsed("run", &request.get_ref().run).map_err(status::invalid)?;
        Ok(Response::new(run_to_wire(find(&state, &id)?, &state, office.now())))
    }

    type WatchStream = ReceiverStream<Result<v1::RunEvent, Status>>;

    async fn watch(&self, request: Request<v1::GetRunRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (office, state) = self.0.read(&request, Method::Look).await?;
        let id: RunId = parsed("run", &request.get_ref().run).map_err(status::invalid)?;
        find(&state, &id)?;
        let (events, stream) = mpsc::channel(EVENTS);
        tokio::spawn(run_watch::follow(office, id, events));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn abort(&self, request: Request<v1::AbortRunRequest>) -> Result<Response<v1::AbortRunResponse>, Status> {
        let call = self.call(&request, Method::AbortRun)?;
        let v1::AbortRunRequest { run, reason, dry_run } = request.into_inner();
        let run = run_id(&run)?;
        let would_be = self.change(call, run.clone(), Command::AbortRun { run, reason }, dry_run).await?;
        Ok(Response::new(v1::AbortRunResponse { would_be }))
    }

    async fn pause(&self, request: Request<v1::PauseRunRequest>) -> Result<Response<v1::PauseRunResponse>, Status> {
        let call = self.call(&request, Method::AbortRun)?;
        let v1::PauseRunRequest { run, reason, dry_run } = request.into_inner();
        let run = run_id(&run)?;
        let would_be = self.change(call, run.clone(), Command::PauseRun { run, reason }, dry_run).await?;
        Ok(Response::new(v1::PauseRunResponse { would_be }))
    }

    async fn resume(&self, request: Request<v1::ResumeRunRequest>) -> Result<Response<v1::ResumeRunResponse>, Status> {
        let call = self.call(&request, Method::AbortRun)?;
        let v1::ResumeRunRequest { run, dry_run } = request.into_inner();
        let run = run_id(&run)?;
        let would_be = self.change(call, run.clone(), Command::ResumeRun { run }, dry_run).await?;
        Ok(Response::new(v1::ResumeRunResponse { would_be }))
    }

    async fn undo(&self, request: Request<v1::UndoRunRequest>) -> Result<Response<v1::UndoRunResponse>, Status> {
        let call = self.call(&request, Method::AbortRun)?;
        let v1::UndoRunRequest { run, reason, dry_run } = request.into_inner();
        let run = run_id(&run)?;
        let would_be = self.change(call, run.clone(), Command::UndoRun { run, reason }, dry_run).await?;
        Ok(Response::new(v1::UndoRunResponse { would_be }))
    }

    async fn retry(&self, request: Request<v1::RetryRunRequest>) -> Result<Response<v1::RetryRunResponse>, Status> {
        let call = self.call(&request, Method::StartRun)?;
        let v1::RetryRunRequest { run, step, unknown, dry_run } = request.into_inner();
        let step = (!step.is_empty()).then(|| parsed("step", &step)).transpose().map_err(status::invalid)?;
        let run = run_id(&run)?;
        let command = Command::RetryRun { run: run.clone(), step, unknown };
        let Some(copy) = self.changed(call, command, dry_run).await? else { return Ok(Response::new(v1::RetryRunResponse::default())) };
        let remarks = preview::in_the_way(&copy.state, &run, copy.wall).iter().map(remark_to_wire).collect();
        Ok(Response::new(v1::RetryRunResponse { would_be: Some(copy.run(&run)?), remarks }))
    }

    async fn approve(&self, request: Request<v1::ApproveRunRequest>) -> Result<Response<v1::ApproveRunResponse>, Status> {
        let call = self.call(&request, Method::ApproveRun)?;
        let v1::ApproveRunRequest { run, step, wave, seen, deny, reason, dry_run } = request.into_inner();
        let step = (!step.is_empty()).then(|| parsed("step", &step)).transpose().map_err(status::invalid)?;
        let decided = Decided { step, wave: (wave > 0).then_some(wave), seen, deny, reason };
        let run = run_id(&run)?;
        let would_be = self.change(call, run.clone(), Command::DecideApproval { run, decided }, dry_run).await?;
        Ok(Response::new(v1::ApproveRunResponse { would_be }))
    }

    async fn why(&self, request: Request<v1::GetRunRequest>) -> Result<Response<v1::WhyResponse>, Status> {
        let by = Front::peer(&request)?.identity.clone();
        let (office, _) = self.0.read(&request, Method::Look).await?;
        let id: RunId = parsed("run", &request.get_ref().run).map_err(status::invalid)?;
        let (state, waits) = decided_on(&office, &id).await;
        let (now, wall) = (office.now(), office.wall());
        let found = find(&state, &id)?;
        let (run, rollouts) = (run_to_wire(found, &state, now), rollouts_to_wire(found));
        let waits = waits_to_wire(waits.of_run(&id), &state, now, wall, &by);
        let failed = found.phase == RunPhase::Running && found.abort.is_none() && found.has_failed();
        let keeps = failed && !found.goes_back();
        let replaced_unix_ms = almanac::replaces(&state, found, wall).map_or(0, |at| at.0);
        Ok(Response::new(v1::WhyResponse { run: Some(run), waits, rollouts, failed, replaced_unix_ms, keeps }))
    }
}

/// Who calls the leader, and with which key.
struct Call {
    office: Arc<Office>,
    by: Identity,
    key: Option<RequestKey>,
}

impl RunsApi {
    fn call<T>(&self, request: &Request<T>, method: Method) -> Result<Call, Status> {
        let (office, by) = self.0.lead(request, method, Subject::None)?;
        Ok(Call { office, by, key: request_key(request)? })
    }

    /// Changes a run; or, in a copy of the state, says what the change would make of it. It is refused alike.
    async fn change(&self, call: Call, run: RunId, command: Command, dry_run: bool) -> Result<Option<v1::Run>, Status> {
        self.changed(call, command, dry_run).await?.map(|copy| copy.run(&run)).transpose()
    }

    /// The same; the whole copy, where nothing was changed.
    async fn changed(&self, call: Call, command: Command, dry_run: bool) -> Result<Option<Would>, Status> {
        let Call { office, by, key } = call;
        if !dry_run {
            self.0.propose(&office, by, key, command).await?;
            return Ok(None);
        }
        Ok(Some(Would { state: tried(&office, by, command)?, now: office.now(), wall: office.wall() }))
    }
}

/// The state as a command would leave it, and when that was asked.
struct Would {
    state: State,
    now: MeshTime,
    wall: WallTime,
}

impl Would {
    fn run(&self, run: &RunId) -> Result<v1::Run, Status> {
        Ok(run_to_wire(find(&self.state, run)?, &self.state, self.now))
    }
}

/// The state as a command would leave it.
pub(super) fn tried(office: &Office, by: Identity, command: Command) -> Result<State, Status> {
    let mut copy = State::clone(&office.state());
    let entry = Entry { at: office.now(), wall: office.wall(), by: Actor::Identity(by), key: None, command };
    status::done(copy.apply(&entry))?;
    Ok(copy)
}

/// The state, and what the run waits for in it: of one moment, where decisions keep up with what changes the run.
async fn decided_on(office: &Office, run: &RunId) -> (Arc<State>, Arc<Waits>) {
    for _ in 0..DECISIONS_AWAITED {
        let applied = office.consensus().state();
        let waits = office.waits_since(applied.index).await;
        let state = office.state();
        if state.runs.get(run) == applied.state.runs.get(run) {
            return (state, waits);
        }
    }
    (office.state(), office.waits())
}

/// Values of inputs, from their JSON.
pub(super) fn inputs_of(inputs: BTreeMap<String, String>) -> Result<BTreeMap<String, serde_json::Value>, Status> {
    let values = inputs.into_iter().map(|(name, value)| serde_json::from_str(&value).map(|value| (name, value)));
    values.collect::<Result<_, _>>().map_err(|error| status::invalid(InvalidMessage::new("inputs", error)))
}

/// The connections of steps that name them by an expression. What is wrong with the inputs is said by the
/// command itself.
pub(super) fn connections(
    state: &State,
    plan: &PlanName,
    revision: Option<u32>,
    inputs: &BTreeMap<String, serde_json::Value>,
) -> Result<BTreeMap<StepName, String>, Refusal> {
    let history = state.plans.get(plan);
    let chosen = history.and_then(|history| match revision {
        None => history.current().map(|(_, revision)| revision),
        Some(number) => history.revisions.get(&number),
    });
    let Some(chosen) = chosen else { return Ok(BTreeMap::new()) };
    let Ok(inputs) = input::resolve(&chosen.plan.inputs, inputs) else { return Ok(BTreeMap::new()) };
    evaluate::connections(&chosen.plan, &inputs).map_err(Refusal::Invalid)
}

fn run_id(text: &str) -> Result<RunId, Status> {
    parsed("run", text).map_err(status::invalid)
}

fn find<'a>(state: &'a State, id: &RunId) -> Result<&'a Run, Status> {
    let missing = || status::refused(Refusal::NotFound { what: format!("run {id}"), hint: "see `mainstay run list`".into() });
    state.runs.get(id).ok_or_else(missing)
}
