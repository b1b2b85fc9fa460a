//! Plans: applied, listed, shown.

use std::sync::Arc;

use mainstay_client::work;
use mainstay_core::authz::{Method, Subject};
use mainstay_core::fact::Known;
use mainstay_core::id::PlanName;
use mainstay_core::plan::PlanError;
use mainstay_core::preview::Looks;
use mainstay_core::state::plan::{PlanHistory, Revision};
use mainstay_core::{Actor, Command, Identity, Refusal, Reply, RequestKey, bounds, plan, preview};
use mainstay_proto::convert::{last_runs, parsed, plan_to_wire, preview_to_wire};
use mainstay_proto::v1;
use tonic::{Request, Response, Status};

use super::front::{Front, request_key};
use super::runs::{inputs_of, tried};
use super::status;
use crate::leader::Office;

/// What is said of a plan that is wrong travels in a header, of which clients take 16 KiB, and grows by escapes.
const PROBLEM_BYTES: usize = 4 << 10;

pub struct PlansApi(pub Arc<Front>);

#[tonic::async_trait]
impl v1::plans_server::Plans for PlansApi {
    async fn apply(&self, request: Request<v1::ApplyPlanRequest>) -> Result<Response<v1::ApplyPlanResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::ApplyPlan, Subject::None)?;
        let key = request_key(&request)?;
        let v1::ApplyPlanRequest { source, dry_run } = request.into_inner();
        let plan = checked(source).await?;
        if dry_run {
            return Ok(Response::new(would_be(&plan, office.state().plans.get(&plan.name))));
        }
        match self.0.propose(&office, by, key, Command::ApplyPlan { plan: Box::new(plan), bundled: false }).await? {
            Reply::Applied { plan, revision, changed } => Ok(Response::new(v1::ApplyPlanResponse { name: plan.to_string(), revision, changed })),
            other => Err(status::unexpected(&other)),
        }
    }

    async fn list(&self, request: Request<v1::ListPlansRequest>) -> Result<Response<v1::ListPlansResponse>, Status> {
        let (office, state) = self.0.read(&request, Method::Look).await?;
        let mut runs = last_runs(&state, office.now());
        let current = state.plans.iter().filter_map(|(name, history)| history.current().map(|(number, revision)| (name, number, revision)));
        let wall = self.0.clock.wall();
        let plans = current.map(|(name, number, revision)| {
            let plan = plan_to_wire(&state, name, number, revision, wall, false);
            v1::Plan { last_run: runs.remove(name), ..plan }
        });
        Ok(Response::new(v1::ListPlansResponse { plans: plans.collect() }))
    }

    async fn get(&self, request: Request<v1::GetPlanRequest>) -> Result<Response<v1::Plan>, Status> {
        let (office, state) = self.0.read(&request, Method::Look).await?;
        let v1::GetPlanRequest { name, revision } = request.into_inner();
        let name: PlanName = parsed("name", &name).map_err(status::invalid)?;
        let found = state.plans.get(&name).and_then(|history| chosen(history, revision));
        let (number, revision) = found.ok_or_else(|| not_found(&name, revision))?;
        let plan = plan_to_wire(&state, &name, number, revision, self.0.clock.wall(), true);
        Ok(Response::new(v1::Plan { last_run: last_runs(&state, office.now()).remove(&name), ..plan }))
    }

    async fn preview(&self, request: Request<v1::PreviewPlanRequest>) -> Result<Response<v1::Preview>, Status> {
        let by = Front::peer(&request)?.identity.clone();
        let (office, state) = self.0.read(&request, Method::Look).await?;
        let v1::PreviewPlanRequest { source, name, revision, inputs, without_calendar } = request.into_inner();
        let inputs = inputs_of(inputs)?;
        let wall = office.wall();
        let (number, plan) = if source.is_empty() {
            let name: PlanName = parsed("name", &name).map_err(status::invalid)?;
            let found = state.plans.get(&name).and_then(|history| chosen(history, revision));
            let (number, revision) = found.ok_or_else(|| not_found(&name, revision))?;
            (number, revision.plan.clone())
        } else {
            (0, checked(source).await?)
        };
        // As an apply does: a large plan takes milliseconds, and other calls do not wait for it.
        let (of, looked_at) = (Arc::clone(&state), plan.clone());
        let (clusters, now) = (office.tell(|memory| memory.clusters()), office.now());
        let looked = work::blocking(move || {
            let without_calendar = (!without_calendar.is_empty()).then_some(without_calendar.as_str());
            preview::preview(
                &of,
                &looked_at,
                &inputs,
                Looks { by: &Actor::Identity(by), wall, without_calendar, known: Known { clusters: &clusters, now } },
            )
        });
        let mut preview = looked.await.map_err(|error| Status::internal(error.to_string()))?.map_err(status::refused)?;
        office.look_at_rights(&mut preview).await;
        Ok(Response::new(preview_to_wire(&state, &plan, number, &preview, wall)))
    }

    async fn suspend(&self, request: Request<v1::SuspendPlanRequest>) -> Result<Response<v1::SuspendPlanResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::ApplyPlan, Subject::None)?;
        let key = request_key(&request)?;
        let v1::SuspendPlanRequest { name, reason, dry_run } = request.into_inner();
        let plan = parsed("name", &name).map_err(status::invalid)?;
        self.change(&office, by, key, Command::SuspendPlan { plan, reason }, dry_run).await?;
        Ok(Response::new(v1::SuspendPlanResponse {}))
    }

    async fn resume(&self, request: Request<v1::ResumePlanRequest>) -> Result<Response<v1::ResumePlanResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::ApplyPlan, Subject::None)?;
        let key = request_key(&request)?;
        let v1::ResumePlanRequest { name, dry_run } = request.into_inner();
        let plan = parsed("name", &name).map_err(status::invalid)?;
        self.change(&office, by, key, Command::ResumePlan { plan }, dry_run).await?;
        Ok(Response::new(v1::ResumePlanResponse {}))
    }

    async fn remove(&self, request: Request<v1::RemovePlanRequest>) -> Result<Response<v1::RemovePlanResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::ApplyPlan, Subject::None)?;
        let key = request_key(&request)?;
        let v1::RemovePlanRequest { name, dry_run } = request.into_inner();
        let plan = parsed("name", &name).map_err(status::invalid)?;
        self.change(&office, by, key, Command::RemovePlan { plan }, dry_run).await?;
        Ok(Response::new(v1::RemovePlanResponse {}))
    }
}

impl PlansApi {
    /// Proposes; or only says whether it would be refused.
    async fn change(&self, office: &Office, by: Identity, key: Option<RequestKey>, command: Command, dry_run: bool) -> Result<(), Status> {
        if dry_run { tried(office, by, command).map(drop) } else { self.0.propose(office, by, key, command).await.map(drop) }
    }
}

/// Parses and checks a document.
async fn checked(source: String) -> Result<plan::Plan, Status> {
    if source.len() > bounds::PLAN_BYTES {
        return Err(status::refused(Refusal::Bound { what: "bytes of plan".into(), limit: bounds::PLAN_BYTES as u64 }));
    }
    read(source).await?.map_err(|error| Status::invalid_argument(error.brief(PROBLEM_BYTES)))
}

/// The same; what is wrong with it is the inner error.
pub(super) async fn read(source: String) -> Result<Result<plan::Plan, PlanError>, Status> {
    // A document of the largest size takes milliseconds; other calls do not wait for it.
    work::blocking(move || plan::parse(&source)).await.map_err(|error| Status::internal(error.to_string()))
}

fn chosen(history: &PlanHistory, revision: u32) -> Option<(u32, &Revision)> {
    if revision == 0 { history.current() } else { history.revisions.get(&revision).map(|found| (revision, found)) }
}

fn not_found(name: &PlanName, revision: u32) -> Status {
    let what = if revision == 0 { format!("plan {name}") } else { format!("revision {revision} of plan {name}") };
    status::refused(Refusal::NotFound { what, hint: "see `mainstay plan list`".into() })
}

/// What applying would answer.
fn would_be(plan: &plan::Plan, history: Option<&PlanHistory>) -> v1::ApplyPlanResponse {
    let same =
        history.and_then(|history| history.revisions.iter().rev().find(|(_, old)| !old.bundled)).filter(|(_, old)| old.plan.digest == plan.digest);
    match same {
        Some((number, _)) => v1::ApplyPlanResponse { name: plan.name.to_string(), revision: *number, changed: false },
        None => v1::ApplyPlanResponse { name: plan.name.to_string(), revision: history.map_or(0, |history| history.newest) + 1, changed: true },
    }
}
