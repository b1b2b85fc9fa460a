//! Coordinators in this process, with a throw-away CA and ports of their own.
#![allow(clippy::disallowed_methods, reason = "tests stand outside of the seams")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::failpoint::Point;
use mainstay_client::files;
use mainstay_client::identity::{Bundle, ClientIdentity, Issuer, JoinToken, LEAF_LIFE, NewKey, Root, root_sha256};
use mainstay_client::{enrol, tls};
use mainstay_coordinator::artifacts::ArtifactSettings;
use mainstay_coordinator::run::{RunError, run};
use mainstay_coordinator::settings::{Log, Settings};
use mainstay_core::id::MeshName;
use mainstay_core::state::enrolment::{JoinGrant, JoinScope};
use mainstay_core::{MemberId, WallTime};
use mainstay_proto::v1;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// For anything that should happen at all.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Between heartbeats of a link.
const HEARTBEAT: Duration = Duration::from_secs(1);

pub struct Mesh {
    root: TempDir,
    ca: Root,
    name: MeshName,
    issuer: Issuer,
    token: JoinToken,
    members: Vec<Member>,
}

struct Member {
    settings: Settings,
    enrol: String,
    running: Option<Running>,
}

/// How to ask a member to end, and the task that it runs in.
type Running = (oneshot::Sender<()>, JoinHandle<Result<(), RunError>>);

/// Looks again and again, until there is something or patience is at its end.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let search = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A port that stays free while its member is stopped: below those that connections take, and used once.
async fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(211) + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + u16::try_from(number % 12_000).unwrap();
        if tokio::net::TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return port;
        }
    }
}

/// Says now and then that an agent is there, for as long as somebody holds its end of the link.
async fn keep_heard_of(link: mpsc::WeakSender<v1::AgentMessage>) {
    let mut heartbeats = tokio::time::interval(HEARTBEAT);
    loop {
        heartbeats.tick().await;
        let Some(link) = link.upgrade() else { return };
        let heartbeat = v1::agent_message::Message::Heartbeat(v1::Heartbeat {});
        // A full queue holds what was said before; a closed one is nobody's.
        let _ = link.try_send(v1::AgentMessage { message: Some(heartbeat) });
    }
}

impl Mesh {
    /// A mesh of so many members, all started.
    pub async fn of(count: u64) -> Mesh {
        Mesh::with(count, |_, _| {}).await
    }

    /// The same, each with settings of its own; members are counted from 0.
    pub async fn with(count: u64, change: impl Fn(usize, &mut Settings)) -> Mesh {
        tls::install_provider();
        let _ = tracing_subscriber::fmt().with_env_filter(std::env::var("MAINSTAY_TEST_LOG").unwrap_or_default()).with_test_writer().try_init();
        let name: MeshName = "local".parse().unwrap();
        // Made a while ago, so that there can be certificates that have ended.
        let now = WallTime(SystemClock.wall().0 - 3 * LEAF_LIFE.0 as i64);
        let ca = Root::create(&name, now).unwrap();
        let issuer = ca.issuer("test", now).unwrap();
        let token = JoinToken::create(&root_sha256(ca.cert_pem()).unwrap());
        let mut mesh = Mesh { root: TempDir::new().unwrap(), ca, name, issuer, token, members: Vec::new() };
        let mut form = Vec::new();
        for number in 1..=count {
            form.push((MemberId(0x10 + number), format!("127.0.0.1:{}", free_port().await)));
        }
        for number in 1..=count {
            mesh.add(number, form.clone()).await;
        }
        for index in 0..mesh.members.len() {
            change(index, &mut mesh.members[index].settings);
            mesh.start(index).await;
        }
        mesh
    }

    async fn add(&mut self, number: u64, form: Vec<(MemberId, String)>) {
        let (id, listen) = form[usize::try_from(number).unwrap() - 1].clone();
        let dir = self.root.path().join(format!("c{number}"));
        files::create_private_dir(Point::StoreDirectory, &dir).unwrap();
        let issuer = self.ca.issuer(&format!("c{number}"), SystemClock.wall()).unwrap();
        self.bundle(&issuer, &format!("coordinator/{id}")).store(&dir).unwrap();
        files::write_atomic(Point::Issuer, &dir.join("issuer.pem"), issuer.cert_pem().as_bytes(), 0o600).unwrap();
        files::write_atomic(Point::Issuer, &dir.join("issuer.key"), issuer.key_pem().as_bytes(), 0o600).unwrap();
        let enrol = format!("127.0.0.1:{}", free_port().await);
        let grant =
            JoinGrant { id: self.token.id(), scope: JoinScope::Nodes("local".parse().unwrap()), expires: WallTime(i64::MAX), uses: 100, root: None };
        let settings = Settings {
            dir,
            identity: None,
            name: format!("c{number}"),
            node: None,
            listen,
            advertise: None,
            enrol_listen: enrol.clone(),
            enrol_advertise: None,
            http_listen: Some(format!("127.0.0.1:{}", free_port().await)),
            form,
            join: Vec::new(),
            enrol: Vec::new(),
            join_token: None,
            founding: None,
            admins: vec!["ana".parse().unwrap()],
            grants: vec![grant],
            artifacts: ArtifactSettings::default(),
            die_with_parent: false,
            log: Log { filter: "off".into(), json: false },
        };
        self.members.push(Member { settings, enrol, running: None });
    }

    fn bundle(&self, issuer: &Issuer, identity: &str) -> Bundle {
        let key = NewKey::generate().unwrap();
        let chain = issuer.issue(&key.csr_pem().unwrap(), &self.name, &identity.parse().unwrap(), SystemClock.wall(), LEAF_LIFE).unwrap();
        key.into_bundle(chain, self.ca.cert_pem().to_owned())
    }

    pub async fn start(&mut self, index: usize) {
        let (ask, asked) = oneshot::channel();
        let settings = self.members[index].settings.clone();
        let task = tokio::spawn(async move {
            let name = settings.name.clone();
            let outcome = run(settings, Arc::new(SystemClock), async move { drop(asked.await) }).await;
            // Whoever sees that it is gone wants to know why; a test that passes shows nothing of this.
            #[allow(clippy::print_stderr, reason = "what a test prints is shown where it fails")]
            if let Err(error) = &outcome {
                eprintln!("{name} ended: {error}");
            }
            outcome
        });
        self.members[index].running = Some((ask, task));
    }

    /// Ends a member as a signal would.
    pub async fn stop(&mut self, index: usize) {
        let (ask, task) = self.members[index].running.take().unwrap();
        ask.send(()).unwrap();
        tokio::time::timeout(PATIENCE, task).await.expect("the member ends").unwrap().unwrap();
    }

    /// The same of one that may have ended by itself, whatever it ended with.
    pub async fn stop_if_it_runs(&mut self, index: usize) {
        let (ask, task) = self.members[index].running.take().unwrap();
        let _ = ask.send(());
        drop(tokio::time::timeout(PATIENCE, task).await.expect("the member ends").unwrap());
    }

    /// Waits until a member ends by itself; why it did.
    pub async fn ends(&mut self, index: usize) -> String {
        let (_ask, task) = self.members[index].running.take().unwrap();
        tokio::time::timeout(PATIENCE, task).await.expect("the member ends").unwrap().unwrap_err().to_string()
    }

    /// Ends the members that run.
    pub async fn stop_all(&mut self) {
        for index in 0..self.members.len() {
            if self.members[index].running.is_some() {
                self.stop(index).await;
            }
        }
    }

    pub fn dir(&self, index: usize) -> PathBuf {
        self.members[index].settings.dir.clone()
    }

    pub fn lose_disk(&self, index: usize) {
        std::fs::remove_dir_all(self.dir(index).join("state")).unwrap();
    }

    pub fn addresses(&self) -> Vec<String> {
        self.members.iter().map(|member| member.settings.listen.clone()).collect()
    }

    pub fn as_identity(&self, identity: &str) -> mainstay_client::Mesh {
        self.with_bundle(self.bundle(&self.issuer, identity))
    }

    pub fn operator(&self, name: &str) -> mainstay_client::Mesh {
        self.as_identity(&format!("operator/{name}"))
    }

    pub fn client(&self, name: &str) -> mainstay_client::Mesh {
        self.as_identity(&format!("client/{name}"))
    }

    /// Waits until all members are known, and all bundled plans, which come in one by one.
    pub async fn ready(&self, admin: &mainstay_client::Mesh) {
        let count = self.members.len();
        let bundled = mainstay_coordinator::plans::bundled().unwrap().len();
        eventually("all members", async || {
            for member in &self.members {
                let ended = member.running.as_ref().is_some_and(|(_, task)| task.is_finished());
                assert!(!ended, "{} ended by itself", member.settings.name);
            }
            let status = admin.get_status(v1::GetStatusRequest {}).await.ok()?;
            let plans = admin.list_plans(v1::ListPlansRequest {}).await.ok()?.plans;
            let known = status.members.iter().filter(|member| !member.version.is_empty()).count();
            (known == count && !status.mesh.is_empty() && plans.iter().filter(|plan| plan.bundled).count() == bundled).then_some(())
        })
        .await;
    }

    pub async fn ids(&self, admin: &mainstay_client::Mesh) -> Vec<String> {
        admin.list_members(v1::ListMembersRequest {}).await.unwrap().members.into_iter().map(|member| member.id).collect()
    }

    /// Enrols with the join token that the mesh was formed with.
    pub async fn enrol(&self, identity: &str) -> mainstay_client::Mesh {
        let identity = identity.parse().unwrap();
        let bundle = eventually("enrolment", async || match enrol::enrol(&self.members[0].enrol, &self.token, &identity).await {
            Ok(bundle) => Some(bundle),
            Err(error) if error.is_transient() => None,
            Err(error) => panic!("{error}"),
        })
        .await;
        self.with_bundle(bundle)
    }

    /// Index of the member that leads.
    pub async fn leader(&self, admin: &mainstay_client::Mesh) -> usize {
        let name = eventually("a leader", async || {
            let members = admin.list_members(v1::ListMembersRequest {}).await.ok()?.members;
            members.into_iter().find(|member| member.leader).map(|member| member.name)
        })
        .await;
        self.members.iter().position(|member| member.settings.name == name).unwrap()
    }

    /// Opens a link with whoever leads; answers after the welcome. Dropping the sender ends the link; until then there are
    /// heartbeats, so that a slow machine makes no lost agent.
    pub async fn linked(&self, agent: &mainstay_client::Mesh, process: &str) -> (tonic::Streaming<v1::MeshMessage>, mpsc::Sender<v1::AgentMessage>) {
        eventually("a link", async || {
            let leader = self.members[self.leader(&self.operator("ana")).await].settings.listen.clone();
            let (send, outgoing) = mpsc::channel(8);
            let hello = v1::Hello {
                ledger: format!("ledger of {process}"),
                incarnation: process.into(),
                version: "0".into(),
                feature_level: 1,
                host: true,
                kinds: vec!["wait".into()],
                boot_id: String::new(),
                connections: Vec::new(),
            };
            send.send(v1::AgentMessage { message: Some(v1::agent_message::Message::Hello(hello)) }).await.unwrap();
            let at_leader = mainstay_client::Mesh::new(vec![leader], agent.identity().clone());
            let mut link = at_leader.link(tokio_stream::wrappers::ReceiverStream::new(outgoing)).await.ok()?;
            let welcome = link.message().await.ok()??;
            assert!(matches!(welcome.message, Some(v1::mesh_message::Message::Welcome(v1::Welcome { heartbeat_ms: 5_000, .. }))), "{welcome:?}");
            tokio::spawn(keep_heard_of(send.downgrade()));
            Some((link, send))
        })
        .await
    }

    /// A client whose certificate ended yesterday.
    pub fn expired(&self, identity: &str) -> mainstay_client::Mesh {
        let key = NewKey::generate().unwrap();
        let then = WallTime(SystemClock.wall().0 - 2 * LEAF_LIFE.0 as i64);
        let chain = self.issuer.issue(&key.csr_pem().unwrap(), &self.name, &identity.parse().unwrap(), then, LEAF_LIFE).unwrap();
        self.with_bundle(key.into_bundle(chain, self.ca.cert_pem().to_owned()))
    }

    pub fn with_bundle(&self, bundle: Bundle) -> mainstay_client::Mesh {
        mainstay_client::Mesh::new(self.addresses(), ClientIdentity::new(bundle).unwrap()).with_deadline(Duration::from_secs(20))
    }

    pub fn enrol_address(&self, index: usize) -> String {
        self.members[index].enrol.clone()
    }

    /// A directory with an identity and nothing else.
    pub fn fresh_dir(&self, identity: &str) -> PathBuf {
        let dir = self.root.path().join(identity.replace('/', "-"));
        files::create_private_dir(Point::StoreDirectory, &dir).unwrap();
        self.bundle(&self.issuer, identity).store(&dir).unwrap();
        dir
    }

    /// An empty directory.
    pub fn empty_dir(&self, name: &str) -> PathBuf {
        let dir = self.root.path().join(name);
        files::create_private_dir(Point::StoreDirectory, &dir).unwrap();
        dir
    }

    /// Runs another process, as it were, with a member's settings but for some.
    pub async fn run_copy(&self, index: usize, change: impl FnOnce(&mut Settings)) -> Result<(), RunError> {
        let mut settings = self.members[index].settings.clone();
        change(&mut settings);
        tokio::time::timeout(PATIENCE, run(settings, Arc::new(SystemClock), std::future::pending())).await.expect("it ends by itself")
    }

    /// Status and body of a plain GET.
    pub async fn http(&self, index: usize, path: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let address = self.members[index].settings.http_listen.clone().unwrap();
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}
