//! The peer: three members of etcd with mutual TLS on both sides and fsync, as its authors ship it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use mainstay_tests::servers::certificates::{Authority, LONG, Leaf};
use mainstay_tests::servers::{Place, Program, free_port};
use rustix::process::{Pid, Signal};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use self::api::etcdserverpb::kv_client::KvClient;
use self::api::etcdserverpb::lease_client::LeaseClient;
use self::api::etcdserverpb::maintenance_client::MaintenanceClient;
use self::api::etcdserverpb::{LeaseGrantRequest, PutRequest, RangeRequest, StatusRequest};
use self::api::v3lockpb::lock_client::LockClient;
use self::api::v3lockpb::{LockRequest, UnlockRequest};

/// Its calls, as far as they are used here.
pub mod api {
    #![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
    pub mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
    pub mod v3lockpb {
        tonic::include_proto!("v3lockpb");
    }
}

/// Names that its certificates are for.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
/// Longest that one call of a measurement may take.
const CALL: Duration = Duration::from_secs(30);

/// Longest that making a connection may take.
const CONNECT: Duration = Duration::from_secs(1);

/// How long it waits for a leader.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub heartbeat_ms: u32,
    pub election_ms: u32,
}

/// What etcd has where nothing is said.
pub const DEFAULT: Timeouts = Timeouts { heartbeat_ms: 100, election_ms: 1_000 };

pub struct Etcd {
    members: Vec<Member>,
    leaf: Leaf,
    root: String,
    config: Arc<ClientConfig>,
    timeouts: Timeouts,
    program: PathBuf,
}

struct Member {
    program: Option<Program>,
    client_port: u16,
    peer_port: u16,
    place: Place,
}

impl Etcd {
    /// Starts three members and waits until they answer.
    pub async fn start(timeouts: Timeouts) -> Etcd {
        let authority = Authority::new();
        let leaf = authority.both_ways(&NAMES, LONG);
        let members = (0..3).map(|_| Member { program: None, client_port: free_port(), peer_port: free_port(), place: Place::new("etcd") }).collect();
        let config = Arc::new(config(&authority.root(), &leaf));
        let mut etcd = Etcd { members, leaf, root: authority.root(), config, timeouts, program: built() };
        for place in 0..3 {
            etcd.launch(place);
        }
        for place in 0..3 {
            etcd.ready(place).await;
        }
        etcd
    }

    /// Starts a member, on its data where it has some.
    pub fn launch(&mut self, place: usize) {
        let cluster: Vec<String> =
            self.members.iter().enumerate().map(|(i, member)| format!("e{i}=https://127.0.0.1:{}", member.peer_port)).collect();
        let member = &mut self.members[place];
        let [chain, key, root] = [("chain.pem", self.leaf.chain()), ("key.pem", self.leaf.key.clone()), ("root.pem", self.root.clone())]
            .map(|(name, text)| member.place.write(name, &text).display().to_string());
        let (client, peer) = (format!("https://127.0.0.1:{}", member.client_port), format!("https://127.0.0.1:{}", member.peer_port));
        let mut command = Command::new(&self.program);
        command.args(["--name", &format!("e{place}"), "--data-dir"]).arg(member.place.make_dir("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new", "--logger", "zap", "--log-level", "warn"]);
        command.args(["--client-cert-auth", "--trusted-ca-file", &root, "--cert-file", &chain, "--key-file", &key]);
        command.args(["--peer-client-cert-auth", "--peer-trusted-ca-file", &root, "--peer-cert-file", &chain, "--peer-key-file", &key]);
        command.args(["--heartbeat-interval", &self.timeouts.heartbeat_ms.to_string(), "--election-timeout", &self.timeouts.election_ms.to_string()]);
        member.program = Some(Program::start(&format!("etcd-{place}"), &member.place, command, Signal::TERM));
    }

    /// Waits until a member gives linearizable answers.
    pub async fn ready(&self, place: usize) {
        mainstay_tests::eventually("a member of etcd answers", || async {
            let client = self.client(place).await?;
            client.get("ready").await.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    /// The place of the leader.
    pub async fn leader(&self) -> usize {
        mainstay_tests::eventually("etcd has a leader", || async {
            for place in 0..self.members.len() {
                let Ok(client) = self.client(place).await else { continue };
                if client.leads().await.is_ok_and(|leads| leads) {
                    return Ok(place);
                }
            }
            Err("none yet".to_owned())
        })
        .await
    }

    /// The term that a member is in.
    pub async fn term(&self, place: usize) -> u64 {
        let client = self.client(place).await.expect("a connection to etcd");
        client.term().await.expect("the status of etcd")
    }

    /// A connection of its own to one member.
    pub async fn client(&self, place: usize) -> Result<Client, String> {
        let (port, config) = (self.members[place].client_port, self.config.clone());
        let endpoint = Endpoint::from_static("http://localhost").connect_timeout(CONNECT).timeout(CALL);
        let connector = service_fn(move |_: Uri| {
            let config = config.clone();
            async move {
                let socket = TcpStream::connect(("127.0.0.1", port)).await?;
                socket.set_nodelay(true)?;
                let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
                TlsConnector::from(config).connect(name, socket).await.map(TokioIo::new)
            }
        });
        endpoint.connect_with_connector(connector).await.map(Client).map_err(|error| error.to_string())
    }

    /// So many connections to the leader, which spares it the way from a follower.
    pub async fn clients(&self, count: usize) -> Vec<Client> {
        let leader = self.leader().await;
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(self.client(leader).await.expect("a connection to etcd"));
        }
        clients
    }

    pub fn pids(&self) -> Vec<Pid> {
        self.members.iter().filter_map(|member| member.program.as_ref().map(Program::pid)).collect()
    }

    pub fn pid(&self, place: usize) -> Pid {
        self.members[place].program.as_ref().expect("it runs").pid()
    }

    /// Ends what is left of a member that was killed.
    pub fn bury(&mut self, place: usize) {
        self.members[place].program = None;
    }

    /// From the start of a member that was stopped until it answers.
    pub async fn started_again(&mut self, place: usize) {
        self.launch(place);
        self.ready(place).await;
    }
}

/// One connection.
#[derive(Clone)]
pub struct Client(Channel);

impl Client {
    pub async fn put(&self, key: String, value: String, lease: i64) -> Result<(), tonic::Status> {
        let request = PutRequest { key: key.into_bytes(), value: value.into_bytes(), lease };
        KvClient::new(self.0.clone()).put(request).await.map(drop)
    }

    /// Linearizable, as it is by default.
    pub async fn get(&self, key: &str) -> Result<i64, tonic::Status> {
        let request = RangeRequest { key: key.as_bytes().to_vec() };
        Ok(KvClient::new(self.0.clone()).range(request).await?.into_inner().count)
    }

    /// Id of a new lease.
    pub async fn grant(&self, seconds: i64) -> Result<i64, tonic::Status> {
        Ok(LeaseClient::new(self.0.clone()).lease_grant(LeaseGrantRequest { ttl: seconds }).await?.into_inner().id)
    }

    pub fn leases(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.0.clone())
    }

    /// The key by which a lock is held.
    pub async fn lock(&self, name: String, lease: i64) -> Result<Vec<u8>, tonic::Status> {
        let request = LockRequest { name: name.into_bytes(), lease };
        Ok(LockClient::new(self.0.clone()).lock(request).await?.into_inner().key)
    }

    pub async fn unlock(&self, key: Vec<u8>) -> Result<(), tonic::Status> {
        LockClient::new(self.0.clone()).unlock(UnlockRequest { key }).await.map(drop)
    }

    async fn term(&self) -> Result<u64, tonic::Status> {
        let status = MaintenanceClient::new(self.0.clone()).status(StatusRequest {}).await?.into_inner();
        Ok(status.header.map_or(0, |header| header.raft_term))
    }

    /// Whether the member leads that this is a connection to.
    async fn leads(&self) -> Result<bool, tonic::Status> {
        let status = MaintenanceClient::new(self.0.clone()).status(StatusRequest {}).await?.into_inner();
        Ok(status.header.is_some_and(|header| header.member_id == status.leader))
    }
}

fn config(root: &str, leaf: &Leaf) -> ClientConfig {
    let chain = leaf.chain();
    let certificates = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>().expect("the chain");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).expect("the root")).expect("a root");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider())).with_safe_default_protocol_versions();
    let builder = builder.expect("its versions of TLS").with_root_certificates(roots);
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("the key");
    let mut config = builder.with_client_auth_cert(certificates, key).expect("a pair of certificate and key");
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

fn built() -> PathBuf {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("etcd/build");
    let output = Command::new(script).stderr(Stdio::inherit()).output().expect("bench/etcd/build runs");
    assert!(output.status.success(), "etcd is not built: Go is needed");
    String::from_utf8_lossy(&output.stdout).trim().into()
}
