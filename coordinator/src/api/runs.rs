//! Runs: started, listed, watched, aborted, explained.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstay_core::authz::{Method, Subject};
use mainstay_core::id::PlanName;
use mainstay_core::state::run::Run;
use mainstay_core::{Command, Refusal, Reply, RunId, State};
use mainstay_proto::convert::{InvalidMessage, parsed, run_summary, run_to_wire, wait_to_wire};
use mainstay_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::front::{Front, request_key};
use super::{run_watch, status};

/// Events that may wait for one watcher; more lines are counted as dropped.
const EVENTS: usize = 64;

pub struct RunsApi(pub Arc<Front>);

#[tonic::async_trait]
impl v1::runs_server::Runs for RunsApi {
    async fn start(&self, request: Request<v1::StartRunRequest>) -> Result<Response<v1::StartRunResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::StartRun, Subject::None)?;
        let key = request_key(&request)?;
        let v1::StartRunRequest { plan, revision, inputs } = request.into_inner();
        let plan: PlanName = parsed("plan", &plan).map_err(status::invalid)?;
        let inputs: BTreeMap<String, serde_json::Value> = inputs
            .into_iter()
            .map(|(name, value)| serde_json::from_str(&value).map(|value| (name, value)))
            .collect::<Result<_, _>>()
            .map_err(|error| status::invalid(InvalidMessage::new("inputs", error)))?;
        let revision = (revision > 0).then_some(revision);
        match self.0.propose(&office, by, key, Command::StartRun { plan, revision, inputs }).await? {
            Reply::Started(run) => Ok(Response::new(v1::StartRunResponse { run: run.to_string() })),
            other => Err(status::unexpected(&other)),
        }
    }

    async fn list(&self, request: Request<v1::ListRunsRequest>) -> Result<Response<v1::ListRunsResponse>, Status> {
        let (office, state) = self.0.read(&request, Method::Look).await?;
        let v1::ListRunsRequest { plan, open } = request.into_inner();
        let plan = (!plan.is_empty()).then(|| parsed::<PlanName>("plan", &plan)).transpose().map_err(status::invalid)?;
        let wanted = |run: &&Run| plan.as_ref().is_none_or(|plan| run.id.plan == *plan) && !(open && run.is_ended());
        let mut runs: Vec<&Run> = state.runs.values().filter(wanted).collect();
        runs.sort_by_key(|run| std::cmp::Reverse((run.started_at, run.id.number)));
        let now = office.now();
        Ok(Response::new(v1::ListRunsResponse { runs: runs.into_iter().map(|run| run_summary(run, now)).collect() }))
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
        let (office, by) = self.0.lead(&request, Method::AbortRun, Subject::None)?;
        let key = request_key(&request)?;
        let v1::AbortRunRequest { run, reason } = request.into_inner();
        let run: RunId = parsed("run", &run).map_err(status::invalid)?;
        self.0.propose(&office, by, key, Command::AbortRun { run, reason }).await?;
        Ok(Response::new(v1::AbortRunResponse {}))
    }

    async fn why(&self, request: Request<v1::GetRunRequest>) -> Result<Response<v1::WhyResponse>, Status> {
        let (office, state) = self.0.read(&request, Method::Look).await?;
        let id: RunId = parsed("run", &request.get_ref().run).map_err(status::invalid)?;
        let now = office.now();
        let run = run_to_wire(find(&state, &id)?, &state, now);
        let waits = office.waits().of_run(&id).map(|wait| wait_to_wire(wait, now)).collect();
        Ok(Response::new(v1::WhyResponse { run: Some(run), waits }))
    }
}

fn find<'a>(state: &'a State, id: &RunId) -> Result<&'a Run, Status> {
    let missing = || status::refused(Refusal::NotFound { what: format!("run {id}"), hint: "see `mainstay run list`".into() });
    state.runs.get(id).ok_or_else(missing)
}
