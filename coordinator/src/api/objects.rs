//! The custom resources of a cluster: what its namespaces' objects ask for, and what there is to show of it.
//!
//! Whose objects they are the caller's certificate says. A refusal of what an object asks for is an answer, since it is
//! shown on the object; a status says that the call itself came to nothing, and that it may be made again.

use std::sync::Arc;

use mainstay_core::authz::{Method, Subject};
use mainstay_core::id::Origin;
use mainstay_core::plan::confined;
use mainstay_core::{Actor, AgentId, Command, Identity, PlanName, Refusal, Reply, RequestKey};
use mainstay_proto::convert::object_refusal;
use mainstay_proto::v1;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::front::{Front, request_key};
use super::{agents, objects_watch, plans, runs, status};
use crate::leader::Office;

/// Problems of one plan that are told.
const PROBLEMS: usize = 20;

pub struct ObjectsApi(pub Arc<Front>);

#[tonic::async_trait]
impl v1::objects_server::Objects for ObjectsApi {
    async fn apply(&self, request: Request<v1::ApplyObjectRequest>) -> Result<Response<v1::ApplyObjectResponse>, Status> {
        let call = self.call(&request)?;
        let v1::ApplyObjectRequest { namespace, source } = request.into_inner();
        let refused = |refusal| Ok(Response::new(v1::ApplyObjectResponse { refusal: Some(refusal), ..Default::default() }));
        let plan = match plans::read(source).await? {
            Ok(plan) => plan,
            Err(error) => {
                let problems = error.problems.iter().map(|problem| v1::ObjectProblem {
                    field: String::new(),
                    message: problem.message.clone(),
                    line: u32::try_from(problem.line).unwrap_or(0),
                });
                return refused(invalid(problems.collect()));
            }
        };
        let plan = match confined::of_object(plan, Origin { cluster: call.agent.cluster.as_str(), namespace: &namespace }) {
            Ok(plan) => plan,
            Err(error) => return refused(object_refusal(&Refusal::Invalid(error.to_string()))),
        };
        let breaches = confined::breaches(&plan);
        if !breaches.is_empty() {
            let problem = |breach: confined::Breach| v1::ObjectProblem { field: breach.field, message: breach.message, line: 0 };
            return refused(invalid(breaches.into_iter().map(problem).collect()));
        }
        match self.ask(call, Command::ApplyPlan { plan: Box::new(plan), bundled: false }).await? {
            Ok(Reply::Applied { revision, changed, .. }) => Ok(Response::new(v1::ApplyObjectResponse { revision, changed, refusal: None })),
            Ok(other) => Err(status::unexpected(&other)),
            Err(refusal) => refused(object_refusal(&refusal)),
        }
    }

    async fn remove(&self, request: Request<v1::RemoveObjectRequest>) -> Result<Response<v1::RemoveObjectResponse>, Status> {
        let call = self.call(&request)?;
        let v1::RemoveObjectRequest { namespace, name } = request.into_inner();
        let plan = match named(&call.agent, &namespace, &name) {
            Ok(plan) => plan,
            // There cannot be a plan of such a name.
            Err(_) => return Ok(Response::new(v1::RemoveObjectResponse::default())),
        };
        // Of one that has been removed, its runs may be left.
        if call.office.state().plans.get(&plan).is_none_or(|history| history.current().is_none()) {
            return Ok(Response::new(v1::RemoveObjectResponse::default()));
        }
        match self.ask(call, Command::RemovePlan { plan }).await? {
            Ok(_) | Err(Refusal::NotFound { .. }) => Ok(Response::new(v1::RemoveObjectResponse::default())),
            Err(refusal) => Ok(Response::new(v1::RemoveObjectResponse { refusal: Some(object_refusal(&refusal)) })),
        }
    }

    async fn start(&self, request: Request<v1::StartObjectRequest>) -> Result<Response<v1::StartObjectResponse>, Status> {
        let call = self.call(&request)?;
        let v1::StartObjectRequest { namespace, plan, revision, object, inputs } = request.into_inner();
        let refused = |refusal: &Refusal| Ok(Response::new(v1::StartObjectResponse { refusal: Some(object_refusal(refusal)), ..Default::default() }));
        if object.is_empty() {
            return Err(Status::invalid_argument("a run is started for an object, and this names no UID"));
        }
        let plan = match named(&call.agent, &namespace, &plan) {
            Ok(plan) => plan,
            Err(refusal) => return refused(&refusal),
        };
        let inputs = runs::inputs_of(inputs)?;
        let revision = (revision > 0).then_some(revision);
        let connections = match runs::connections(&call.office.state(), &plan, revision, &inputs) {
            Ok(connections) => connections,
            Err(refusal) => return refused(&refusal),
        };
        let command = Command::StartRun { plan, revision, inputs, connections, without_calendar: None, object: Some(object) };
        match self.ask(call, command).await? {
            Ok(Reply::Started(run)) => Ok(Response::new(v1::StartObjectResponse { run: run.to_string(), refusal: None })),
            Ok(other) => Err(status::unexpected(&other)),
            Err(refusal) => refused(&refusal),
        }
    }

    type WatchStream = ReceiverStream<Result<v1::ObjectsEvent, Status>>;

    async fn watch(&self, request: Request<v1::WatchObjectsRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let call = self.call(&request)?;
        self.0.confirmed(&call.office).await?;
        Ok(Response::new(objects_watch::follow(call.office, call.agent)))
    }
}

/// An agent that acts for its cluster.
struct Call {
    office: Arc<Office>,
    by: Identity,
    agent: AgentId,
    key: Option<RequestKey>,
}

impl ObjectsApi {
    fn call<T>(&self, request: &Request<T>) -> Result<Call, Status> {
        let (office, by) = self.0.lead(request, Method::MirrorObjects, Subject::None)?;
        let agent = agents::own(request)?;
        objects_watch::acts(&office.state(), &agent)?;
        Ok(Call { office, by, agent, key: request_key(request)? })
    }

    /// Has a command agreed on. The inner error is for the object; not that another agent acts by now, which is no word
    /// on it.
    async fn ask(&self, call: Call, command: Command) -> Result<Result<Reply, Refusal>, Status> {
        let Call { office, by, agent, key } = call;
        let answer = office.propose(Actor::Identity(by), key, command).await;
        let reply = answer.map_err(|error| status::not_proposed(error, self.0.consensus.member()))?;
        let answer = reply.into_result();
        if let Err(Refusal::Conflict(_)) = &answer {
            objects_watch::acts(&office.state(), &agent)?;
        }
        Ok(answer)
    }
}

fn named(agent: &AgentId, namespace: &str, name: &str) -> Result<PlanName, Refusal> {
    format!("{}/{namespace}/{name}", agent.cluster).parse().map_err(|error: mainstay_core::id::NameError| Refusal::Invalid(error.to_string()))
}

/// Of a plan with these problems.
fn invalid(mut problems: Vec<v1::ObjectProblem>) -> v1::ObjectRefusal {
    let message = match problems.as_slice() {
        [one] if one.field.is_empty() => one.message.clone(),
        [one] => format!("{}: {}", one.field, one.message),
        several => {
            format!("{} problems, the first of them: {}", several.len(), several.first().map(|first| first.message.as_str()).unwrap_or_default())
        }
    };
    problems.truncate(PROBLEMS);
    v1::ObjectRefusal { reason: "Invalid".to_owned(), message, problems }
}
