#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures::StreamExt;
use mainstay_client::CallError;
use mainstay_client::clock::SystemClock;
use mainstay_core::condition::{Kind, Status};
use mainstay_core::id::LedgerId;
use mainstay_proto::convert::conditions_to_wire;
use mainstay_proto::v1;
use mainstay_proto::v1::agent_message::Message as ToMesh;
use mainstay_proto::v1::mesh_message::Message as FromMesh;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::kube::conditions::Word;

/// One link, from the mesh's side.
struct Accepted {
    incoming: ReceiverStream<v1::AgentMessage>,
    outgoing: mpsc::Sender<Result<v1::MeshMessage, tonic::Status>>,
}

/// A mesh that accepts links, or is away.
struct Door {
    accepted: mpsc::Sender<Accepted>,
}

impl Connector for Door {
    async fn open(&self, outgoing: ReceiverStream<v1::AgentMessage>) -> Result<LinkStream, CallError> {
        let (sender, receiver) = mpsc::channel(16);
        let accepted = self.accepted.send(Accepted { incoming: outgoing, outgoing: sender });
        accepted.await.map_err(|_| CallError::Unreachable { tried: Vec::new() })?;
        Ok(ReceiverStream::new(receiver).boxed())
    }
}

impl Accepted {
    async fn hears(&mut self) -> ToMesh {
        let heard = tokio::time::timeout(Duration::from_secs(60), self.incoming.next()).await;
        heard.expect("something is said").expect("the link is open").message.unwrap()
    }

    async fn says(&self, message: FromMesh) {
        self.outgoing.send(Ok(v1::MeshMessage { message: Some(message) })).await.unwrap();
    }

    async fn welcomes(&mut self) -> v1::Hello {
        let ToMesh::Hello(hello) = self.hears().await else { panic!("no hello") };
        self.says(FromMesh::Welcome(v1::Welcome { epoch: 1, heartbeat_ms: 1_000 })).await;
        hello
    }

    async fn wants(&self, incarnation: u64, generation: u64) {
        self.says(FromMesh::Desired(v1::Desired { incarnation, generation, attempts: Vec::new() })).await;
    }
}

struct Bench {
    _dir: tempfile::TempDir,
    metrics: LinkMetrics,
    links: mpsc::Receiver<Accepted>,
    handle: LinkHandle,
    /// What the agent sees of its node.
    sees: watch::Sender<Option<Arc<[Condition]>>>,
    told: Told,
    running: JoinHandle<LinkError>,
}

impl Bench {
    fn start() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path(), LedgerId("ledger".into())).unwrap();
        let hello = Hello {
            ledger: ledger.id().clone(),
            incarnation: "own".into(),
            version: "1".into(),
            feature_level: 1,
            host: true,
            kinds: vec!["wait".into()],
            boot_id: String::new(),
            connections: Vec::new(),
        };
        let (accepted, links) = mpsc::channel(1);
        let metrics = LinkMetrics::default();
        let (link, handle) =
            Link::new(Door { accepted }, hello, ledger, Arc::new(SystemClock), metrics.clone(), super::Exchange::open().0, Default::default());
        let ((sees, seen), told) = (watch::channel(None), Told::default());
        let link = link.with_conditions(seen).with_told(told.clone());
        Bench { _dir: dir, metrics, links, handle, sees, told, running: tokio::spawn(link.run()) }
    }

    async fn link(&mut self) -> Accepted {
        tokio::time::timeout(Duration::from_secs(60), self.links.recv()).await.expect("a link is opened").unwrap()
    }

    /// The newest desired set that was let in, once so many have been refused.
    async fn after_refusals(&self, refused: u64) -> (u64, u64) {
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            while self.metrics.refused.get() < refused {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert!(waited.await.is_ok(), "never: {refused} refusals");
        let wanted = self.handle.wanted.borrow().clone().unwrap();
        (wanted.desired.incarnation, wanted.desired.generation)
    }

    /// The newest desired set that was let in, once its generation is this.
    async fn until_wanted(&mut self, generation: u64) -> Arc<Wanted> {
        let wanted = self.handle.wanted.wait_for(|wanted| wanted.as_ref().is_some_and(|wanted| wanted.desired.generation == generation));
        tokio::time::timeout(Duration::from_secs(60), wanted).await.expect("the desired set is let in").unwrap().clone().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn it_says_hello_first_is_up_with_the_welcome_and_then_beats() {
    let mut bench = Bench::start();
    let mut link = bench.link().await;
    assert!(!*bench.handle.up.borrow());
    let hello = link.welcomes().await;
    assert_eq!(
        (hello.ledger.as_str(), hello.incarnation.as_str(), hello.host, hello.kinds.as_slice()),
        ("ledger", "own", true, ["wait".to_owned()].as_slice())
    );
    bench.handle.up.wait_for(|up| *up).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(link.hears().await, ToMesh::Heartbeat(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_desired_set_is_refused_also_over_another_link() {
    let mut bench = Bench::start();
    let mut link = bench.link().await;
    link.welcomes().await;
    link.wants(1, 10).await;
    assert_eq!(bench.until_wanted(10).await.link, 1);
    link.wants(1, 9).await;
    assert_eq!(bench.after_refusals(1).await, (1, 10));
    drop(link);
    let mut link = bench.link().await;
    link.welcomes().await;
    link.wants(1, 9).await;
    link.wants(0, 99).await;
    assert_eq!(bench.after_refusals(3).await, (1, 10));
    link.wants(2, 1).await;
    let seen = bench.until_wanted(1).await;
    assert_eq!((seen.link, seen.desired.incarnation), (2, 2), "a new incarnation counts from the start");
    link.wants(1, 12).await;
    assert_eq!(bench.after_refusals(4).await, (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_ends_is_opened_again_and_down_meanwhile() {
    let mut bench = Bench::start();
    for _ in 0..5 {
        let mut link = bench.link().await;
        link.welcomes().await;
        bench.handle.up.wait_for(|up| *up).await.unwrap();
        link.outgoing.send(Err(tonic::Status::unavailable("another one leads now"))).await.unwrap();
        bench.handle.up.wait_for(|up| !*up).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_welcome_it_does_not_wait_for_ever() {
    let mut bench = Bench::start();
    let mut silent = bench.link().await;
    assert!(matches!(silent.hears().await, ToMesh::Hello(_)));
    let mut link = bench.link().await;
    link.welcomes().await;
    bench.handle.up.wait_for(|up| *up).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_process_with_its_identity_ends_this_one() {
    let mut bench = Bench::start();
    let mut link = bench.link().await;
    link.welcomes().await;
    link.says(FromMesh::Superseded(v1::Superseded { incarnation: "other".into() })).await;
    let error = bench.running.await.unwrap().to_string();
    assert!(error.contains("another process with the identity of this agent has connected (incarnation other)"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn its_own_newer_link_does_not() {
    let mut bench = Bench::start();
    let mut link = bench.link().await;
    link.welcomes().await;
    link.says(FromMesh::Superseded(v1::Superseded { incarnation: "own".into() })).await;
    bench.link().await.welcomes().await;
}

#[tokio::test(start_paused = true)]
async fn what_this_version_does_not_know_goes_past_it() {
    let mut bench = Bench::start();
    let mut link = bench.link().await;
    link.welcomes().await;
    link.outgoing.send(Ok(v1::MeshMessage { message: None })).await.unwrap();
    link.wants(1, 3).await;
    assert_eq!(bench.until_wanted(3).await.link, 1);
}

#[tokio::test(start_paused = true)]
async fn output_goes_over_the_link_also_what_came_before_it() {
    let mut bench = Bench::start();
    let attempt = "1.1".parse().unwrap();
    bench.handle.outbox.push(attempt, "before".into());
    let mut link = bench.link().await;
    link.welcomes().await;
    let mut lines = Vec::new();
    bench.handle.outbox.push(attempt, "after".into());
    while lines.len() < 2 {
        if let ToMesh::Output(output) = link.hears().await {
            assert_eq!(output.attempt, "1.1");
            lines.extend(output.lines);
        }
    }
    assert_eq!(lines, ["before", "after"]);
}

fn conditions(status: Status) -> Arc<[Condition]> {
    vec![Condition { kind: Kind::Disk, status, reason: "Reason".into(), message: String::new() }].into()
}

impl Accepted {
    /// The next word on conditions, between heartbeats.
    async fn hears_conditions(&mut self) -> String {
        loop {
            match self.hears().await {
                ToMesh::Heartbeat(_) => {}
                ToMesh::NodeConditions(said) => return said.conditions.iter().map(|condition| condition.status.as_str()).collect(),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_nodes_conditions_are_told_on_each_link_and_when_they_change() {
    let mut bench = Bench::start();
    let mut link = bench.link().await;
    link.welcomes().await;
    for _ in 0..3 {
        assert!(matches!(link.hears().await, ToMesh::Heartbeat(_)), "there is nothing to say yet");
    }
    bench.sees.send_replace(Some(conditions(Status::True)));
    assert_eq!(link.hears_conditions().await, "True");
    bench.sees.send_replace(Some(conditions(Status::False)));
    assert_eq!(link.hears_conditions().await, "False");
    for _ in 0..3 {
        assert!(matches!(link.hears().await, ToMesh::Heartbeat(_)), "once");
    }
    drop(link);
    let mut link = bench.link().await;
    link.welcomes().await;
    assert_eq!(link.hears_conditions().await, "False", "another leader knows nothing of it");
}

#[tokio::test(start_paused = true)]
async fn what_nodes_say_is_known_for_as_long_as_the_link_that_told_it() {
    let mut bench = Bench::start();
    let mut link = bench.link().await;
    link.welcomes().await;
    let node = conditions_to_wire("n1", &conditions(Status::True));
    link.says(FromMesh::ConditionsKnown(v1::ConditionsKnown { begins: true, ends: true, nodes: vec![node], silent: Vec::new() })).await;
    bench.told.changed().await;
    assert_eq!(bench.told.of("n1"), Word::Said(conditions(Status::True)));
    drop(link);
    bench.link().await.welcomes().await;
    assert_eq!(bench.told.of("n1"), Word::Unknown);
}
