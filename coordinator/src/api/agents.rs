//! What agents call: the link, and the begin and end of attempts. An agent speaks for itself only.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::authz::{Method, Subject};
use mainstay_core::{Actor, AgentId, AttemptId, Command, Identity, LedgerId, Reply};
use mainstay_proto::convert::{InvalidMessage, hello_from_wire, outcome_from_wire, parsed};
use mainstay_proto::{TRUSTS_HEADER, v1};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::front::Front;
use super::link::LinkTask;
use super::{credentials, status};
use crate::leader::Office;

/// How long an agent may take to say hello.
const HELLO: Duration = Duration::from_secs(10);
/// Messages that may wait for one agent. What is wanted is sent whole, so one is enough to be up to date.
const OUTGOING: usize = 4;

pub struct AgentsApi(pub Arc<Front>);

#[tonic::async_trait]
impl v1::agents_server::Agents for AgentsApi {
    type LinkStream = ReceiverStream<Result<v1::MeshMessage, Status>>;

    async fn link(&self, request: Request<Streaming<v1::AgentMessage>>) -> Result<Response<Self::LinkStream>, Status> {
        let agent = own(&request)?;
        let (office, identity) = self.0.lead(&request, Method::LinkAgent, Subject::Agent(&agent))?;
        let peer = Front::peer(&request)?;
        let (not_after, shown) = (peer.not_after, credentials::shown(peer, trusts(&request)));
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(HELLO, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded(format!("no hello within {HELLO:?}")))??;
        let Some(v1::agent_message::Message::Hello(hello)) = first.and_then(|first| first.message) else {
            return Err(Status::invalid_argument("the first message of a link is a hello"));
        };
        let hello = hello_from_wire(hello).map_err(status::invalid)?;
        let incarnation = hello.incarnation.clone();
        let epoch = self.connect(&office, identity, &agent, hello).await?;
        let link = office.links().open(&agent, epoch, &incarnation).map_err(|_| Status::aborted(format!("a newer link of agent {agent} is open")))?;
        let (outgoing, stream) = mpsc::channel(OUTGOING);
        tokio::spawn(LinkTask { office, clock: self.0.clock.clone(), link, not_after, shown, begins: Notify::new(), outgoing }.run(incoming));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn begin(&self, request: Request<v1::BeginRequest>) -> Result<Response<v1::BeginResponse>, Status> {
        let (office, identity, agent) = self.report(&request)?;
        let v1::BeginRequest { attempt, ledger } = request.into_inner();
        let attempt: AttemptId = parsed("attempt", &attempt).map_err(status::invalid)?;
        belongs(&office, attempt, &agent)?;
        self.0.propose(&office, identity, None, Command::BeginAttempt { attempt, ledger: LedgerId(ledger) }).await?;
        Ok(Response::new(v1::BeginResponse {}))
    }

    async fn end(&self, request: Request<v1::EndRequest>) -> Result<Response<v1::EndResponse>, Status> {
        let (office, identity, agent) = self.report(&request)?;
        let v1::EndRequest { attempt, ledger, outcome } = request.into_inner();
        let attempt: AttemptId = parsed("attempt", &attempt).map_err(status::invalid)?;
        belongs(&office, attempt, &agent)?;
        let outcome = outcome.ok_or_else(|| status::invalid(InvalidMessage::new("outcome", "is missing")))?;
        let outcome = outcome_from_wire(outcome).map_err(status::invalid)?;
        self.0.propose(&office, identity, None, Command::EndAttempt { attempt, ledger: LedgerId(ledger), outcome: outcome.bounded() }).await?;
        Ok(Response::new(v1::EndResponse {}))
    }
}

impl AgentsApi {
    fn report<T>(&self, request: &Request<T>) -> Result<(Arc<Office>, Identity, AgentId), Status> {
        let agent = own(request)?;
        let (office, identity) = self.0.lead(request, Method::ReportAttempt, Subject::Agent(&agent))?;
        Ok((office, identity, agent))
    }

    /// Gets the link's epoch, and notes that the agent has been heard of.
    async fn connect(&self, office: &Office, by: Identity, agent: &AgentId, hello: mainstay_core::state::agent::Hello) -> Result<u64, Status> {
        let connecting = Connecting::of(office, agent);
        let answer = office.propose(Actor::Identity(by), None, Command::ConnectAgent { agent: agent.clone(), hello }).await;
        let reply = status::done(answer.map_err(|error| status::not_proposed(error, self.0.consensus.member()))?)?;
        match reply {
            Reply::Connected { epoch } => {
                connecting.done(epoch);
                Ok(epoch)
            }
            other => Err(status::unexpected(&other)),
        }
    }
}

/// The roots that the caller says it trusts.
fn trusts<T>(request: &Request<T>) -> Option<&str> {
    request.metadata().get(TRUSTS_HEADER).and_then(|value| value.to_str().ok())
}

/// The agent that the caller is. Whoever is none is told so by the table, under a name that is nobody's own.
pub(super) fn own<T>(request: &Request<T>) -> Result<AgentId, Status> {
    let identity = &Front::peer(request)?.identity;
    identity.agent().ok_or_else(|| Status::permission_denied(format!("only an agent does that, and this is {identity}")))
}

pub(super) fn belongs(office: &Office, attempt: AttemptId, agent: &AgentId) -> Result<(), Status> {
    match office.state().attempts.get(&attempt) {
        Some(found) if found.agent == *agent => Ok(()),
        Some(_) => Err(Status::permission_denied(format!("attempt {attempt} is not one of agent {agent}'s"))),
        None => Err(Status::failed_precondition(format!("there is no attempt {attempt} any more"))),
    }
}

/// Between the command that connects an agent and its epoch. Also when the call is given up.
struct Connecting<'a> {
    office: &'a Office,
    agent: &'a AgentId,
    epoch: Option<u64>,
}

impl<'a> Connecting<'a> {
    fn of(office: &'a Office, agent: &'a AgentId) -> Connecting<'a> {
        office.note(false, |memory, _| memory.connecting(agent));
        Connecting { office, agent, epoch: None }
    }

    fn done(mut self, epoch: u64) {
        self.epoch = Some(epoch);
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.office.note(true, |memory, now| memory.connected(self.agent, self.epoch, now));
    }
}
