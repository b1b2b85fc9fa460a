//! The two gRPC listeners.

use std::sync::Arc;
use std::time::Duration;

use mainstay_client::identity::ClientIdentity;
use mainstay_client::network::Listener;
use mainstay_client::tls::{self, Connections, Limits};
use mainstay_proto::v1::agents_server::AgentsServer;
use mainstay_proto::v1::artifacts_server::ArtifactsServer;
use mainstay_proto::v1::backups_server::BackupsServer;
use mainstay_proto::v1::copies_server::CopiesServer;
use mainstay_proto::v1::enrolment_server::EnrolmentServer;
use mainstay_proto::v1::identities_server::IdentitiesServer;
use mainstay_proto::v1::leases_server::LeasesServer;
use mainstay_proto::v1::members_server::MembersServer;
use mainstay_proto::v1::mesh_server::MeshServer;
use mainstay_proto::v1::objects_server::ObjectsServer;
use mainstay_proto::v1::plans_server::PlansServer;
use mainstay_proto::v1::raft_server::RaftServer;
use mainstay_proto::v1::roots_server::RootsServer;
use mainstay_proto::v1::runs_server::RunsServer;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::admission::Admission;
use super::agents::AgentsApi;
use super::artifacts::ArtifactsApi;
use super::backups::BackupsApi;
use super::copies::CopiesApi;
use super::enrolment::EnrolmentApi;
use super::front::Front;
use super::identities::IdentitiesApi;
use super::leases::LeasesApi;
use super::members::MembersApi;
use super::mesh::MeshApi;
use super::objects::ObjectsApi;
use super::plans::PlansApi;
use super::raft::RaftApi;
use super::roots::RootsApi;
use super::runs::RunsApi;
use crate::peers;

/// Largest request, and largest answer.
pub(super) const MESSAGE_MAX: usize = 4 << 20;
/// Largest request for enrolment, which anybody can make.
const ENROL_MESSAGE_MAX: usize = 64 << 10;
/// Calls of one connection that are carried out at one time.
const CALLS: usize = 128;
/// Streams of one connection, long polls and watches among them.
const STREAMS: u32 = 256;
/// A call that has no answer by then has none at all. Longer than the longest wait for a lease.
const CALL: Duration = Duration::from_secs(45);
/// An idle connection is probed this often, and ended when the answer takes longer than that.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(10));
/// How long open calls have when the process is to end.
const DRAIN: Duration = Duration::from_secs(2);

/// Sockets that are bound already.
pub struct Listeners {
    pub api: Listener,
    pub enrolment: Listener,
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("the descriptors for reflection are not usable: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("the gRPC server ended: {0}")]
    Server(#[from] tonic::transport::Error),
}

/// Serves both listeners until `end`, and then lets open calls end for a moment.
pub async fn serve(
    front: Arc<Front>,
    identity: ClientIdentity,
    connections: Connections,
    listeners: Listeners,
    end: CancellationToken,
) -> Result<(), ApiError> {
    let api = main_listener(front.clone(), &identity, connections, listeners.api, end.clone());
    let enrolment = server()
        .layer(tower::limit::GlobalConcurrencyLimitLayer::new(CALLS))
        .add_service(EnrolmentServer::new(EnrolmentApi::new(front)).max_decoding_message_size(ENROL_MESSAGE_MAX))
        .serve_with_incoming_shutdown(tls::enrol_incoming(listeners.enrolment, identity.clone(), Limits::default()), end.clone().cancelled_owned());
    let both = async { tokio::try_join!(api, async { Ok(enrolment.await?) }).map(|_| ()) };
    let drained = async {
        end.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = both => served,
        () = drained => Ok(()),
    }
}

fn server() -> Server {
    Server::builder()
        .timeout(CALL)
        .concurrency_limit_per_connection(CALLS)
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
}

async fn main_listener(
    front: Arc<Front>,
    identity: &ClientIdentity,
    connections: Connections,
    listener: Listener,
    end: CancellationToken,
) -> Result<(), ApiError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(mainstay_proto::DESCRIPTORS).build_v1()?;
    let router = server()
        .layer(Admission(front.clone()))
        .add_service(MeshServer::new(MeshApi(front.clone())).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX))
        .add_service(MembersServer::new(MembersApi(front.clone())).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX))
        .add_service(
            RaftServer::new(RaftApi(front.clone())).max_decoding_message_size(peers::MESSAGE_MAX).max_encoding_message_size(peers::MESSAGE_MAX),
        )
        .add_service(PlansServer::new(PlansApi(front.clone())).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX))
        .add_service(RunsServer::new(RunsApi(front.clone())).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX))
        .add_service(ObjectsServer::new(ObjectsApi(front.clone())).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX))
        .add_service(LeasesServer::new(LeasesApi(front.clone())).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX))
        .add_service(AgentsServer::new(AgentsApi(front.clone())).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX))
        .add_service(ArtifactsServer::new(ArtifactsApi(front.clone())).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX))
        .add_service(BackupsServer::new(BackupsApi(front.clone())).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX))
        .add_service(CopiesServer::new(CopiesApi(front.clone())).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX))
        .add_service(
            IdentitiesServer::new(IdentitiesApi(front.clone())).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX),
        )
        .add_service(RootsServer::new(RootsApi(front.clone())).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX))
        .add_service(health_service)
        .add_service(reflection);
    let incoming = tls::incoming(listener, identity.clone(), connections, Limits::default());
    let reporting = report_health(&front, &health);
    tokio::select! {
        served = router.serve_with_incoming_shutdown(incoming, end.cancelled_owned()) => Ok(served?),
        () = reporting => Ok(()),
    }
}

/// Serving while the mesh has a leader that this member knows.
async fn report_health(front: &Front, health: &HealthReporter) {
    let mut leadership = front.consensus.leadership();
    loop {
        let status = if leadership.borrow_and_update().leader.is_some() { ServingStatus::Serving } else { ServingStatus::NotServing };
        health.set_service_status("", status).await;
        if leadership.changed().await.is_err() {
            // The store has ended; the process follows.
            health.set_service_status("", ServingStatus::NotServing).await;
            return std::future::pending().await;
        }
    }
}
