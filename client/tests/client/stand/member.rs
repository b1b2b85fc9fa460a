//! A member: a listener with mutual TLS and a lease service that answers as the test says.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::Stream;
use mainstay_client::Mesh;
use mainstay_client::identity::ClientIdentity;
use mainstay_client::tls::{self, Connections, Limits, PeerInfo};
use mainstay_core::Identity;
use mainstay_proto::v1::leases_server::{Leases, LeasesServer};
use mainstay_proto::{LEADER_HEADER, REQUEST_KEY_HEADER, v1};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

use super::register::Asked;
use super::{Authority, Register, within};

/// How a member answers from now on.
#[derive(Debug, Clone)]
pub enum Answers {
    AsLeader,
    /// Says that another leads: its address, or empty for nobody.
    Leads(String),
    /// Takes requests and never answers.
    Silently,
    With(Code),
    /// As a member of an older version, which leads, and knows no call for many leases.
    AsOlderLeader,
}

/// Leases that whoever asks for them has; the others are one and the same.
pub const PLENTY: &str = "plenty/";
/// Of those, one that the mesh says is lost when it is renewed.
pub const LOST: &str = "plenty/lost";

pub struct Member {
    pub address: String,
    pub register: Register,
    pub connections: Connections,
    /// What it shows to those who connect.
    pub identity: ClientIdentity,
    answers: Arc<Mutex<Answers>>,
    stop: DropGuard,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Member {
    pub async fn start(identity: ClientIdentity, register: Register, limits: Limits) -> Member {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Connections::default();
        let answers = Arc::new(Mutex::new(Answers::AsLeader));
        let incoming = tls::incoming(Box::new(listener), identity.clone(), connections.clone(), limits);
        let service = Service { address: address.clone(), register: register.clone(), answers: answers.clone() };
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = tokio::spawn(Server::builder().add_service(LeasesServer::new(service)).serve_with_incoming_shutdown(incoming, stopped));
        Member { address, register, connections, identity, answers, stop: stop.drop_guard(), serving }
    }

    /// A leader of its own with a lease of 30 s.
    pub async fn of(authority: &Authority) -> Member {
        Member::start(authority.coordinator(), Register::new(30_000, v1::LeaseKind::Ttl), Limits::default()).await
    }

    /// Another member over the same register.
    pub async fn beside(&self, authority: &Authority) -> Member {
        Member::start(authority.coordinator(), self.register.clone(), Limits::default()).await
    }

    /// Ends it with its connections to `client`; from then on nobody listens there.
    pub async fn die(self, client: &Identity) {
        drop(self.stop);
        self.connections.close_identity(client);
        within("the member's end", async {
            self.serving.await.unwrap().unwrap();
            while TcpStream::connect(&self.address).await.is_ok() {}
        })
        .await;
    }

    pub fn answers(&self, answers: Answers) {
        *self.answers.lock().unwrap() = answers;
    }

    pub fn mesh(&self, identity: ClientIdentity) -> Mesh {
        Mesh::new(vec![self.address.clone()], identity)
    }
}

struct Service {
    address: String,
    register: Register,
    answers: Arc<Mutex<Answers>>,
}

impl Service {
    /// Notes the request, then lets through only what this member answers.
    async fn take<T>(&self, method: &'static str, request: &Request<T>, incarnation: &str, wait_ms: u64) -> Result<(), Status> {
        let key = request.metadata().get(REQUEST_KEY_HEADER).map(|key| key.to_str().unwrap().to_owned());
        let peer = request.extensions().get::<PeerInfo>().and_then(|info| info.peer.clone());
        let asked = Asked { member: self.address.clone(), method, key, peer, incarnation: incarnation.to_owned(), wait_ms };
        self.register.change(|table| table.asked.push(asked));
        let answers = self.answers.lock().unwrap().clone();
        match answers {
            Answers::AsLeader | Answers::AsOlderLeader => Ok(()),
            Answers::Leads(leader) => {
                let mut status = Status::unavailable("this member does not lead");
                status.metadata_mut().insert(LEADER_HEADER, leader.parse().unwrap());
                Err(status)
            }
            Answers::Silently => std::future::pending().await,
            Answers::With(code) => Err(Status::new(code, "the lease is held under another token")),
        }
    }
}

#[tonic::async_trait]
impl Leases for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::Lease, Status>> + Send>>;

    async fn acquire(&self, request: Request<v1::AcquireRequest>) -> Result<Response<v1::AcquireResponse>, Status> {
        let message = request.get_ref().clone();
        self.take("acquire", &request, &message.incarnation, message.wait_ms).await?;
        Ok(Response::new(self.register.change(|table| {
            if message.name.starts_with(PLENTY) {
                table.granted += 1;
                return v1::AcquireResponse { token: format!("1.{}", table.granted), spec: Some(table.spec), ..Default::default() };
            }
            let holder = table.held.clone().filter(|(incarnation, _)| *incarnation != message.incarnation);
            if let Some((holder, _)) = holder {
                return v1::AcquireResponse {
                    spec: Some(table.spec),
                    place: u32::from(message.wait_ms > 0),
                    held_by: vec![holder],
                    ..Default::default()
                };
            }
            table.granted += 1;
            table.held = Some((message.incarnation, table.granted));
            v1::AcquireResponse { token: format!("1.{}", table.granted), spec: Some(table.spec), ..Default::default() }
        })))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        self.take("renew", &request, &request.get_ref().incarnation, 0).await?;
        Ok(Response::new(v1::RenewResponse { ttl_ms: self.register.table().spec.ttl_ms }))
    }

    async fn renew_many(&self, request: Request<v1::RenewManyRequest>) -> Result<Response<v1::RenewManyResponse>, Status> {
        self.take("renew_many", &request, "", 0).await?;
        if matches!(*self.answers.lock().unwrap(), Answers::AsOlderLeader) {
            return Err(Status::unimplemented("unknown call"));
        }
        let leases = &request.get_ref().leases;
        let ttl_ms = self.register.table().spec.ttl_ms;
        let answer = |name: &str| match name {
            LOST => v1::Renewal { ttl_ms: 0, lost: "it is lost".into() },
            _ => v1::Renewal { ttl_ms, lost: String::new() },
        };
        let renewals = leases.iter().map(|lease| answer(&lease.name)).collect();
        self.register.change(|table| table.together.push(leases.iter().map(|lease| lease.name.clone()).collect()));
        Ok(Response::new(v1::RenewManyResponse { renewals }))
    }

    async fn release(&self, request: Request<v1::ReleaseRequest>) -> Result<Response<v1::ReleaseResponse>, Status> {
        let incarnation = request.get_ref().incarnation.clone();
        self.take("release", &request, &incarnation, 0).await?;
        self.register.change(|table| table.held = table.held.take().filter(|(holder, _)| *holder != incarnation));
        Ok(Response::new(v1::ReleaseResponse {}))
    }

    async fn get(&self, request: Request<v1::GetLeaseRequest>) -> Result<Response<v1::Lease>, Status> {
        self.take("get", &request, "", 0).await?;
        Ok(Response::new(v1::Lease { name: request.get_ref().name.clone(), ..Default::default() }))
    }

    async fn list(&self, request: Request<v1::ListLeasesRequest>) -> Result<Response<v1::ListLeasesResponse>, Status> {
        self.take("list", &request, "", 0).await?;
        Ok(Response::new(v1::ListLeasesResponse::default()))
    }

    /// The lease once, and then nothing for as long as the connection lives.
    async fn watch(&self, request: Request<v1::GetLeaseRequest>) -> Result<Response<Self::WatchStream>, Status> {
        use futures::StreamExt;
        self.take("watch", &request, "", 0).await?;
        let first = v1::Lease { name: request.get_ref().name.clone(), ..Default::default() };
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(first)]).chain(futures::stream::pending()))))
    }

    async fn free_claim(&self, request: Request<v1::FreeClaimRequest>) -> Result<Response<v1::FreeClaimResponse>, Status> {
        self.take("free_claim", &request, "", 0).await?;
        Ok(Response::new(v1::FreeClaimResponse {}))
    }
}

/// Asks for a lease by name: the plainest call there is.
pub async fn ask(mesh: &Mesh) -> Result<v1::Lease, mainstay_client::CallError> {
    mesh.get_lease(v1::GetLeaseRequest { name: "demo".into() }).await
}
