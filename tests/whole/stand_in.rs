//! Somebody with a member's certificate who serves what that member's disk said some time ago: a follower that lags behind
//! and takes itself for the leader. An agent has to refuse what it says is wanted.

use std::path::Path;
use std::sync::Arc;

use mainstay_client::clock::Clock;
use mainstay_client::identity::{Bundle, ClientIdentity};
use mainstay_client::network;
use mainstay_client::tls::{self, Connections, Limits};
use mainstay_core::{AgentId, State};
use mainstay_proto::convert::desired_to_wire;
use mainstay_proto::v1::agents_server::{Agents, AgentsServer};
use mainstay_proto::v1::mesh_message::Message;
use mainstay_proto::v1::{AgentMessage, BeginRequest, BeginResponse, EndRequest, EndResponse, MeshMessage, Welcome};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// Stands in for the member that lives in a directory, until it is dropped.
pub async fn run(dir: &Path, clock: Arc<dyn Clock>, state: State, agent: AgentId) -> Result<(), String> {
    let bundle = Bundle::load(dir).map_err(|error| error.to_string())?;
    let identity = ClientIdentity::with_clock(bundle, clock).map_err(|error| error.to_string())?;
    let listener = network::listen("0.0.0.0:7400").await.map_err(|error| error.to_string())?;
    let incoming = tls::incoming(listener, identity, Connections::default(), Limits::default());
    let server = Server::builder().add_service(AgentsServer::new(StandIn { state, agent }));
    server.serve_with_incoming(incoming).await.map_err(|error| error.to_string())
}

struct StandIn {
    state: State,
    agent: AgentId,
}

#[tonic::async_trait]
impl Agents for StandIn {
    type LinkStream = ReceiverStream<Result<MeshMessage, Status>>;

    async fn link(&self, request: Request<Streaming<AgentMessage>>) -> Result<Response<Self::LinkStream>, Status> {
        let (outgoing, stream) = mpsc::channel(4);
        let wanted = desired_to_wire(&self.state.desired(&self.agent));
        let welcome = Message::Welcome(Welcome { epoch: self.state.generation, heartbeat_ms: 1_000 });
        let mut incoming = request.into_inner();
        tokio::spawn(async move {
            for message in [welcome, Message::Desired(wanted)] {
                if outgoing.send(Ok(MeshMessage { message: Some(message) })).await.is_err() {
                    return;
                }
            }
            // As long as the agent stays.
            while incoming.message().await.is_ok_and(|message| message.is_some()) {}
            drop(outgoing);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn begin(&self, _: Request<BeginRequest>) -> Result<Response<BeginResponse>, Status> {
        Err(Status::unavailable("this member only looks"))
    }

    async fn end(&self, _: Request<EndRequest>) -> Result<Response<EndResponse>, Status> {
        Err(Status::unavailable("this member only looks"))
    }
}
