//! Who is let in, who is not, and in which words each end says so.

use std::io;
use std::sync::Arc;

use mainstay_client::channel;
use mainstay_client::error::{ConnectError, Reason};
use mainstay_client::identity::{ClientIdentity, LEAF_LIFE, NewKey, PeerIdentity};
use mainstay_client::tls::Limits;
use mainstay_client::{Bundle, CallError, clock::Clock, clock::SystemClock};
use mainstay_proto::v1;
use mainstay_proto::v1::leases_client::LeasesClient;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

use crate::stand::{Answers, Authority, COORDINATOR, Member, Register, ask, days_ago, identity, within};

/// Longer than a member may take to say no, so that a refusal in words is told from a time that ran out.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(5);

async fn refused(member: &Member, identity: ClientIdentity) -> (String, bool) {
    let error = within("a refusal", ask(&member.mesh(identity).with_deadline(DEADLINE))).await.expect_err("should be refused");
    let CallError::Unreachable { tried } = &error else { panic!("not about the connection: {error}") };
    assert!(tried.iter().all(|tried| tried.address == member.address), "{error}");
    assert!(error.to_string().contains(&member.address), "{error}");
    (error.to_string(), tried.iter().all(mainstay_client::error::ConnectError::is_about_certificates) && !error.is_transient())
}

fn seen(member: &Member) -> PeerIdentity {
    member.register.table().asked.last().unwrap().peer.clone().unwrap()
}

#[tokio::test]
async fn a_good_pair_connects_and_the_member_knows_by_whom() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    let identity = authority.client("cluster/prod/node/n1");
    within("an answer", ask(&member.mesh(identity.clone()))).await.unwrap();
    let leaf = &rustls_pki_types::pem::PemObject::from_pem_slice(identity.bundle().chain_pem.as_bytes()).unwrap();
    let root = identity.roots().of_chain_pem(&identity.bundle().chain_pem).map(|root| root.id);
    assert!(root.is_some());
    assert_eq!(seen(&member), PeerIdentity { root, ..PeerIdentity::of(leaf, SystemClock.wall()).unwrap() });
    assert_eq!((seen(&member).identity.to_string().as_str(), seen(&member).expired), ("cluster/prod/node/n1", false));
    assert_eq!(member.connections.count(), 1);
}

#[tokio::test]
async fn a_leaf_that_ended_less_than_30_days_ago_passes_and_is_marked() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    // Issued 30 days ago for one day: ended 29 days ago.
    for days in [2, 30] {
        let late = ClientIdentity::new(authority.bundle_at("cluster/prod/node/n1", days_ago(days))).unwrap();
        within("an answer", ask(&member.mesh(late))).await.unwrap();
        assert!(seen(&member).expired, "{days} days");
    }
}

#[tokio::test]
async fn a_leaf_that_ended_more_than_30_days_ago_is_refused() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    let late = ClientIdentity::new(authority.bundle_at("cluster/prod/node/n1", days_ago(32))).unwrap();
    let (words, certificate) = refused(&member, late).await;
    assert!(certificate, "{words}");
    assert!(words.contains("30 days") && words.contains("enrol again with a join token") && words.contains("clock"), "{words}");
    assert_eq!(member.register.table().asked.len(), 0);
}

#[tokio::test]
async fn a_leaf_of_the_future_is_refused() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    let early = ClientIdentity::new(authority.bundle_at("cluster/prod/node/n1", days_ago(-2))).unwrap();
    let (words, certificate) = refused(&member, early).await;
    assert!(certificate && words.contains("clock"), "{words}");
}

#[tokio::test]
async fn a_leaf_of_another_authority_is_refused() {
    let (authority, other) = (Authority::new("local"), Authority::new("local"));
    let member = Member::of(&authority).await;
    // Trusts the member's root, so that only the member objects.
    let bundle = Bundle { roots_pem: authority.root.cert_pem().to_owned(), ..other.bundle("operator/ana") };
    let (words, certificate) = refused(&member, ClientIdentity::new(bundle).unwrap()).await;
    assert!(certificate && words.contains("refuses this certificate") && words.contains("another mesh"), "{words}");
}

#[tokio::test]
async fn a_leaf_of_an_issuer_that_this_root_did_not_sign_is_refused() {
    let (authority, other) = (Authority::new("local"), Authority::new("local"));
    let member = Member::of(&authority).await;
    // The chain names the right issuer's certificate, and another one signed the leaf.
    let key = NewKey::generate().unwrap();
    let forged = other.issuer.issue(&key.csr_pem().unwrap(), &authority.mesh, &identity("operator/ana"), SystemClock.wall(), LEAF_LIFE).unwrap();
    let leaf = forged.split_inclusive("-----END CERTIFICATE-----").next().unwrap();
    let chain = format!("{leaf}\n{}", authority.issuer.cert_pem());
    let bundle = key.into_bundle(chain, authority.root.cert_pem().to_owned());
    let (words, certificate) = refused(&member, ClientIdentity::new(bundle).unwrap()).await;
    assert!(certificate && words.contains("refuses this certificate"), "{words}");
}

#[tokio::test]
async fn a_leaf_of_another_mesh_is_refused_though_one_root_signs_both() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    let key = NewKey::generate().unwrap();
    let csr = key.csr_pem().unwrap();
    let chain = authority.issuer.issue(&csr, &"elsewhere".parse().unwrap(), &identity("operator/ana"), SystemClock.wall(), LEAF_LIFE).unwrap();
    let bundle = key.into_bundle(chain, authority.root.cert_pem().to_owned());
    // The caller sees it first: a coordinator of another mesh than its own.
    let (words, certificate) = refused(&member, ClientIdentity::new(bundle.clone()).unwrap()).await;
    assert!(certificate && words.contains("mesh local") && words.contains("elsewhere"), "{words}");

    // And so does the member, when the caller does not look.
    let said = verdict(&member, looking_away(Some(&bundle), &rustls::version::TLS13)).await;
    assert!(said.contains("CertificateUnknown"), "{said}");
    assert_eq!(member.register.table().asked.len(), 0);
}

#[tokio::test]
async fn a_server_that_is_an_agent_is_refused_by_the_caller() {
    let authority = Authority::new("local");
    let register = Register::new(30_000, v1::LeaseKind::Ttl);
    let agent = Member::start(authority.client("cluster/prod/node/n1"), register, Limits::default()).await;
    let (words, certificate) = refused(&agent, authority.client("operator/ana")).await;
    assert!(certificate && words.contains("not a coordinator"), "{words}");
    let error = channel::connect(&agent.address, &authority.client("operator/ana")).await.unwrap_err();
    assert!(error.is_about_certificates() && error.to_string().contains("not a coordinator"), "{error}");
}

#[tokio::test]
async fn an_agent_whose_certificate_may_serve_is_still_no_coordinator() {
    let authority = Authority::new("local");
    let register = Register::new(30_000, v1::LeaseKind::Ttl);
    let agent = Member::start(authority.server("cluster/prod/node/n1"), register, Limits::default()).await;
    let (words, certificate) = refused(&agent, authority.client("operator/ana")).await;
    assert!(certificate && words.contains("not a coordinator, it is cluster/prod/node/n1"), "{words}");
    // The same certificate with a coordinator's name is taken.
    let register = Register::new(30_000, v1::LeaseKind::Ttl);
    let member = Member::start(authority.server(COORDINATOR), register, Limits::default()).await;
    within("an answer", ask(&member.mesh(authority.client("operator/ana")))).await.unwrap();
}

#[tokio::test]
async fn a_coordinator_of_another_authority_or_that_has_expired_is_refused_by_the_caller() {
    let (authority, other) = (Authority::new("local"), Authority::new("local"));
    let error = channel::connect(&Member::of(&other).await.address, &authority.client("operator/ana")).await.unwrap_err();
    assert!(error.is_about_certificates() && error.to_string().contains("another mesh"), "{error}");

    let late = ClientIdentity::new(authority.bundle_at(COORDINATOR, days_ago(3))).unwrap();
    let member = Member::start(late, Register::new(30_000, v1::LeaseKind::Ttl), Limits::default()).await;
    let error = channel::connect(&member.address, &authority.client("operator/ana")).await.unwrap_err();
    assert!(error.is_about_certificates() && error.to_string().contains("has expired") && error.to_string().contains("clock"), "{error}");
}

#[tokio::test]
async fn without_a_certificate_nobody_is_let_in() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    let said = verdict(&member, looking_away(None, &rustls::version::TLS13)).await;
    assert!(said.contains("CertificateRequired"), "{said}");
    assert_eq!(member.connections.count(), 0);
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    let said = verdict(&member, looking_away(Some(&authority.bundle("operator/ana")), &rustls::version::TLS12)).await;
    assert!(said.contains("ProtocolVersion"), "{said}");
}

#[tokio::test]
async fn what_is_not_a_coordinator_at_all_is_told_so() {
    let authority = Authority::new("local");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let error = channel::connect(&address, &authority.client("operator/ana")).await.unwrap_err();
    assert!(error.to_string().contains("does not speak TLS") && error.to_string().contains(&address), "{error}");

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let error =
        ask(&mainstay_client::Mesh::new(vec![nobody.clone()], authority.client("operator/ana")).with_deadline(std::time::Duration::from_millis(200)))
            .await
            .unwrap_err();
    assert!(error.to_string().contains(&nobody) && error.to_string().contains("refused") && error.is_transient(), "{error}");
}

/// What a member says to a client that was made by hand: how the first read after the handshake ends.
async fn verdict(member: &Member, config: ClientConfig) -> String {
    let socket = TcpStream::connect(&member.address).await.unwrap();
    let name = ServerName::try_from("mesh.mainstay.invalid").unwrap();
    let said: io::Result<usize> = within("a verdict", async {
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
        stream.read(&mut [0; 64]).await
    })
    .await;
    said.expect_err("should be refused").to_string()
}

/// A client that takes any server, with or without a certificate of its own.
fn looking_away(bundle: Option<&Bundle>, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer));
    use rustls_pki_types::pem::PemObject;
    match bundle {
        None => builder.with_no_client_auth(),
        Some(bundle) => {
            let chain = CertificateDer::pem_slice_iter(bundle.chain_pem.as_bytes()).map(Result::unwrap).collect();
            let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(bundle.key_pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Whether members may go by it decides how fast they replace a leader: it is never said of what only does not answer.
#[tokio::test]
async fn that_nothing_listens_there_is_told_from_everything_else() {
    let authority = Authority::new("local");
    let ana = authority.client("operator/ana");
    let member = Member::of(&authority).await;
    let address = member.address.clone();
    let channel = channel::connect(&address, &ana).await.unwrap();
    let get = |channel| async move { LeasesClient::new(channel).get(v1::GetLeaseRequest { name: "demo".into() }).await.map(drop) };
    get(channel.clone()).await.unwrap();
    member.answers(Answers::With(Code::Unavailable));
    assert!(!ConnectError::is_refusal(&get(channel.clone()).await.unwrap_err()));

    // As of a process that is stopped: the machine takes connections, and nobody says anything on them.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silence = channel::connect(&mute.local_addr().unwrap().to_string(), &ana).await.unwrap_err();
    assert!(matches!(silence.reason, Reason::Unreachable(_)), "{silence}");

    member.die(&identity("operator/ana")).await;
    // A connection that was open may say first that it has broken, and then dials again.
    let gone = async { while !ConnectError::is_refusal(&get(channel.clone()).await.unwrap_err()) {} };
    within("the refusal on a connection that was open", gone).await;
    let refused = channel::connect(&address, &ana).await.unwrap_err();
    assert!(matches!(refused.reason, Reason::Refused(_)), "{refused}");
}
