//! Joining with a join token, over the listener that asks for no certificate.

use std::sync::{Arc, Mutex};

use mainstay_client::enrol::{EnrolError, enrol};
use mainstay_client::identity::{ClientIdentity, Issuer, JoinToken, LEAF_LIFE, root_sha256};
use mainstay_client::tls::{self, Limits};
use mainstay_client::{clock::Clock, clock::SystemClock};
use mainstay_core::id::MeshName;
use mainstay_proto::v1::enrolment_server::{Enrolment, EnrolmentServer};
use mainstay_proto::{LEADER_HEADER, v1};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::stand::{Authority, Member, ask, identity, within};

const NODE: &str = "cluster/prod/node/n1";

/// A member's enrolment listener.
struct Desk {
    address: String,
    /// Says that another leads.
    leader: Arc<Mutex<Option<String>>>,
    /// Certifies this instead of what was asked for.
    certifies: Arc<Mutex<Option<String>>>,
    _stop: DropGuard,
}

struct Service {
    issuer: Issuer,
    mesh: MeshName,
    roots_pem: String,
    secret: String,
    leader: Arc<Mutex<Option<String>>>,
    certifies: Arc<Mutex<Option<String>>>,
}

#[tonic::async_trait]
impl Enrolment for Service {
    async fn enrol(&self, request: Request<v1::EnrolRequest>) -> Result<Response<v1::Certificate>, Status> {
        let request = request.into_inner();
        if let Some(leader) = self.leader.lock().unwrap().clone() {
            let mut status = Status::unavailable("this member does not lead");
            status.metadata_mut().insert(LEADER_HEADER, leader.parse().unwrap());
            return Err(status);
        }
        if request.secret != self.secret {
            return Err(Status::permission_denied("the join token is used up"));
        }
        let path = self.certifies.lock().unwrap().clone().unwrap_or(request.identity);
        let chain_pem = self.issuer.issue(&request.csr_pem, &self.mesh, &identity(&path), SystemClock.wall(), LEAF_LIFE).unwrap();
        Ok(Response::new(v1::Certificate { chain_pem, roots_pem: self.roots_pem.clone(), not_after_unix_ms: 0, members: Vec::new() }))
    }
}

impl Desk {
    /// `shown`: as whom the listener answers.
    async fn open(authority: &Authority, shown: ClientIdentity, token: &JoinToken) -> Desk {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let incoming = tls::enrol_incoming(Box::new(listener), shown, Limits::default());
        let (leader, certifies) = (Arc::default(), Arc::default());
        let service = Service {
            issuer: Issuer::from_pem(authority.issuer.cert_pem(), &authority.issuer.key_pem()).unwrap(),
            mesh: authority.mesh.clone(),
            roots_pem: authority.root.cert_pem().to_owned(),
            secret: token.secret().to_owned(),
            leader: Arc::clone(&leader),
            certifies: Arc::clone(&certifies),
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(Server::builder().add_service(EnrolmentServer::new(service)).serve_with_incoming_shutdown(incoming, stopped));
        Desk { address, leader, certifies, _stop: stop.drop_guard() }
    }
}

fn token(authority: &Authority) -> JoinToken {
    JoinToken::create(&root_sha256(authority.root.cert_pem()).unwrap())
}

async fn tried(address: &str, token: &JoinToken) -> Result<mainstay_client::Bundle, EnrolError> {
    within("enrolment", enrol(address, token, &identity(NODE))).await
}

#[tokio::test]
async fn with_the_right_pin_a_newcomer_gets_an_identity_that_the_mesh_takes() {
    let authority = Authority::new("local");
    let token = token(&authority);
    let desk = Desk::open(&authority, authority.coordinator(), &token).await;
    let bundle = tried(&desk.address, &token).await.unwrap();
    assert_eq!(bundle.identity().unwrap(), ("local".parse().unwrap(), identity(NODE)));
    let member = Member::of(&authority).await;
    within("an answer", ask(&member.mesh(ClientIdentity::new(bundle).unwrap()))).await.unwrap();
}

#[tokio::test]
async fn a_member_that_does_not_lead_is_followed_to_the_one_that_does() {
    let authority = Authority::new("local");
    let token = token(&authority);
    let (one, two) = (Desk::open(&authority, authority.coordinator(), &token).await, Desk::open(&authority, authority.coordinator(), &token).await);
    *one.leader.lock().unwrap() = Some(two.address.clone());
    tried(&one.address, &token).await.unwrap();

    *one.leader.lock().unwrap() = Some(String::new());
    let error = tried(&one.address, &token).await.unwrap_err();
    assert!(matches!(error, EnrolError::Unavailable { .. }) && error.is_transient(), "{error}");
}

#[tokio::test]
async fn two_members_that_name_each_other_are_not_followed_for_ever() {
    let authority = Authority::new("local");
    let token = token(&authority);
    let (one, two) = (Desk::open(&authority, authority.coordinator(), &token).await, Desk::open(&authority, authority.coordinator(), &token).await);
    *one.leader.lock().unwrap() = Some(two.address.clone());
    *two.leader.lock().unwrap() = Some(one.address.clone());
    let error = tried(&one.address, &token).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("does not lead"), "{error}");
}

#[tokio::test]
async fn a_wrong_pin_is_refused_before_the_secret_is_told() {
    let (authority, other) = (Authority::new("local"), Authority::new("local"));
    let pinned = token(&other);
    let desk = Desk::open(&authority, authority.coordinator(), &pinned).await;
    let error = tried(&desk.address, &pinned).await.unwrap_err();
    assert!(matches!(&error, EnrolError::Connect(error) if error.is_about_certificates()), "{error}");
    assert!(error.to_string().contains("not of the mesh that made this join token") && !error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_server_that_is_no_coordinator_is_refused() {
    let authority = Authority::new("local");
    let token = token(&authority);
    for shown in [authority.client(NODE), authority.server(NODE)] {
        let desk = Desk::open(&authority, shown, &token).await;
        let error = tried(&desk.address, &token).await.unwrap_err();
        assert!(error.to_string().contains("not a coordinator") && !error.is_transient(), "{error}");
    }
}

#[tokio::test]
async fn the_main_listener_is_not_an_enrolment_address_and_says_so() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    let error = tried(&member.address, &token(&authority)).await.unwrap_err();
    assert!(error.to_string().contains("not an enrolment address"), "{error}");
}

#[tokio::test]
async fn a_token_that_is_used_up_is_refused_in_the_meshs_words() {
    let authority = Authority::new("local");
    let desk = Desk::open(&authority, authority.coordinator(), &token(&authority)).await;
    let error = tried(&desk.address, &token(&authority)).await.unwrap_err();
    assert!(matches!(error, EnrolError::Refused { .. }) && !error.is_transient(), "{error}");
    assert_eq!(error.to_string(), "the mesh refuses to enrol cluster/prod/node/n1: the join token is used up");
}

#[tokio::test]
async fn a_certificate_for_somebody_else_is_not_taken() {
    let authority = Authority::new("local");
    let token = token(&authority);
    let desk = Desk::open(&authority, authority.coordinator(), &token).await;
    *desk.certifies.lock().unwrap() = Some("operator/ana".into());
    let error = tried(&desk.address, &token).await.unwrap_err();
    assert!(error.to_string().contains("operator/ana") && error.to_string().contains(NODE) && !error.is_transient(), "{error}");
}

#[tokio::test]
async fn without_anybody_there_enrolment_may_be_tried_again() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let error = tried(&nobody, &token(&Authority::new("local"))).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains(&nobody), "{error}");
}
