//! The writer against an API server that keeps nodes in memory, and refuses as it is told.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests count on the clock that sleeps go by")]

use std::collections::VecDeque;
use std::sync::Mutex;

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use mainstay_client::clock::Clock;
use mainstay_core::condition::{Condition, Kind, Status};
use mainstay_proto::convert::conditions_to_wire;
use mainstay_proto::v1;
use prometheus_client::metrics::counter::Counter;

use super::*;
use crate::kube::conditions::Told;
use crate::kube::view::follow::Sink;

const MANAGER: &str = "mainstay-conditions-prod";
const MINUTE: Duration = Duration::from_secs(60);

/// Goes with the clock of the sleeps.
struct Paused(Instant);

impl Clock for Paused {
    fn wall(&self) -> WallTime {
        WallTime(1_800_000_000_000 + i64::try_from(self.monotonic().as_millis()).unwrap())
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// An answer in place of the write.
#[derive(Clone, Copy)]
enum Refusal {
    Status(u16, Option<u64>),
    /// Nobody is there.
    Away,
}

#[derive(Default)]
struct Api {
    asked: Vec<(Duration, String, Value)>,
    refusals: VecDeque<Refusal>,
    /// Nodes to which nothing can be written, and why not.
    refused: BTreeMap<String, u16>,
}

struct Bench {
    api: Arc<Mutex<Api>>,
    nodes: Nodes,
    told: Told,
    begun: Instant,
    _writing: tokio_util::task::AbortOnDropHandle<()>,
}

/// As the API server has it after the write; `by` is who has written.
fn object(name: &str, uid: &str, conditions: &Value, by: &str) -> Value {
    let keys = conditions.as_array().into_iter().flatten().map(|condition| (format!("k:{{\"type\":{}}}", condition["type"]), json!({})));
    let fields: serde_json::Map<String, Value> = keys.collect();
    let managed = json!([{ "manager": by, "fieldsV1": { "f:status": { "f:conditions": fields } } }]);
    let conditions = conditions.as_array().cloned().unwrap_or_default();
    json!({ "metadata": { "name": name, "uid": uid, "managedFields": managed }, "status": { "conditions": conditions } })
}

impl Bench {
    fn start(enabled: bool) -> Bench {
        let (api, nodes, told, begun) = (Arc::<Mutex<Api>>::default(), Nodes::managed_by(MANAGER.into()), Told::default(), Instant::now());
        let conditions = Conditions { enabled, told: told.clone(), clock: Arc::new(Paused(begun)), manager: MANAGER.into() };
        let (serving, seen) = (api.clone(), nodes.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (api, mut nodes) = (serving.clone(), seen.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body: Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
                let name = parts.uri.path().split('/').nth(4).unwrap_or_default().to_owned();
                let mut api = api.lock().unwrap();
                api.asked.push((begun.elapsed(), format!("{} {}", parts.method, parts.uri), body.clone()));
                let refused = api.refused.get(&name).map(|code| Refusal::Status(*code, None));
                let (code, retry_after) = match api.refusals.pop_front().or(refused) {
                    Some(Refusal::Away) => return Err("connection refused".into()),
                    Some(Refusal::Status(code, retry_after)) => (code, retry_after),
                    None => {
                        let uid = body["metadata"]["uid"].as_str().unwrap_or_default();
                        // What a watch would say.
                        let removes = body["status"]["conditions"][0]["$patch"] == "delete";
                        let conditions = if removes { &Value::Null } else { &body["status"]["conditions"] };
                        nodes.put(serde_json::from_value(object(&name, uid, conditions, MANAGER))?);
                        (200, None)
                    }
                };
                let mut response = Response::builder().status(code);
                if let Some(seconds) = retry_after {
                    response = response.header("Retry-After", seconds);
                }
                Ok::<_, tower::BoxError>(response.body(Body::from(b"{}".to_vec()))?)
            }
        });
        let client = Client::new(service, "default");
        let written = nodes.clone();
        let writing = tokio::spawn(async move {
            let writer = Writer::new(&conditions, &written, Ask::new(client, Counter::default()));
            match writer.run().await {}
        });
        Bench { api, nodes, told, begun, _writing: tokio_util::task::AbortOnDropHandle::new(writing) }
    }

    fn node(&mut self, name: &str, uid: &str, conditions: Value, by: &str) {
        self.nodes.put(serde_json::from_value(object(name, uid, &conditions, by)).unwrap());
    }

    /// All that is said of nodes.
    fn all(&self, said: &[(&str, Status)]) {
        self.told.put(v1::ConditionsKnown { begins: true, ends: true, ..of(said) });
    }

    fn now_said(&self, said: &[(&str, Status)]) {
        self.told.put(of(said));
    }

    fn falls_silent(&self, node: &str) {
        self.told.put(v1::ConditionsKnown { silent: vec![node.to_owned()], ..v1::ConditionsKnown::default() });
    }

    /// What was asked since the last time, after a while: when, of which node, and which status stands there then.
    async fn asked(&self, after: Duration) -> Vec<(u64, String, String)> {
        tokio::time::sleep(after).await;
        let asked = std::mem::take(&mut self.api.lock().unwrap().asked);
        let row = |(at, line, body): (Duration, String, Value)| {
            let status = body["status"]["conditions"][0]["status"].as_str().unwrap_or("-").to_owned();
            (at.as_secs(), line.split('/').nth(4).unwrap_or_default().to_owned(), status)
        };
        asked.into_iter().map(row).collect()
    }
}

fn of(said: &[(&str, Status)]) -> v1::ConditionsKnown {
    let nodes = said.iter().map(|(node, status)| {
        let condition = Condition { kind: Kind::Kubelet, status: *status, reason: "Reason".into(), message: "words".into() };
        conditions_to_wire(node, &[condition])
    });
    v1::ConditionsKnown { nodes: nodes.collect(), ..v1::ConditionsKnown::default() }
}

fn row(at: u64, node: &str, status: &str) -> (u64, String, String) {
    (at, node.to_owned(), status.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_condition_is_raised_once_clears_becomes_unknown_and_goes() {
    let mut bench = Bench::start(true);
    bench.node("n1", "u1", json!([]), "");
    assert_eq!(bench.asked(MINUTE).await, [], "nothing is known yet");
    bench.all(&[("n1", Status::True)]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (_, line, body) = bench.api.lock().unwrap().asked[0].clone();
    assert_eq!(line, format!("PATCH /api/v1/nodes/n1/status?fieldManager={}&force=true", escaped(MANAGER)));
    let at = "2027-01-15T08:01:00Z";
    let condition = json!({
        "type": "MainstayKubeletUnhealthy", "status": "True", "reason": "Reason", "message": "words", "lastHeartbeatTime": at, "lastTransitionTime": at,
    });
    let expected = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1", "uid": "u1" }, "status": { "conditions": [condition] } });
    assert_eq!(body, expected);

    assert_eq!(bench.asked(9 * MINUTE).await, [row(60, "n1", "True")], "nothing changes, and nothing is written");
    tokio::time::sleep(2 * MINUTE).await;
    let heartbeat = bench.api.lock().unwrap().asked[0].2["status"]["conditions"][0].clone();
    assert_eq!((&heartbeat["lastHeartbeatTime"], &heartbeat["lastTransitionTime"]), (&json!("2027-01-15T08:11:00Z"), &json!(at)));
    assert_eq!(bench.asked(Duration::ZERO).await, [row(660, "n1", "True")]);

    bench.now_said(&[("n1", Status::False)]);
    assert_eq!(bench.asked(MINUTE).await, [row(720, "n1", "False")], "it clears itself");
    bench.falls_silent("n1");
    let silent_since = bench.begun.elapsed().as_secs();
    assert_eq!(bench.asked(5 * MINUTE).await, [row(silent_since + 180, "n1", "Unknown")]);
    let gone = bench.asked(2 * 60 * MINUTE).await;
    assert_eq!(gone, [row(silent_since + 180 + 3_600, "n1", "-")], "after an hour it goes");
    bench.now_said(&[("n1", Status::True)]);
    assert_eq!(bench.asked(MINUTE).await.len(), 1, "its agent is back");
    // A node made anew under its name has nothing of the other's.
    bench.node("n1", "u2", json!([]), "");
    assert_eq!(bench.asked(MINUTE).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn switched_off_it_takes_away_what_it_wrote_and_nothing_else() {
    let mut bench = Bench::start(false);
    let conditions = json!([{ "type": "MainstayKubeletUnhealthy", "status": "True", "reason": "R", "message": "" }]);
    bench.node("own", "u1", conditions.clone(), MANAGER);
    bench.node("theirs", "u2", conditions, "mainstay-conditions-other");
    bench.node("none", "u3", json!([{ "type": "Ready", "status": "True" }]), "kubelet");
    bench.all(&[("own", Status::True), ("theirs", Status::True), ("none", Status::True)]);
    assert_eq!(bench.asked(30 * MINUTE).await, [row(0, "own", "-")]);
}

#[tokio::test(start_paused = true)]
async fn news_goes_before_what_can_wait_and_all_of_it_at_a_bounded_pace() {
    let mut bench = Bench::start(true);
    let names: Vec<String> = (0..200).map(|node| format!("n{node:03}")).collect();
    for name in &names {
        bench.node(name, "u", json!([]), "");
    }
    let mut said: Vec<(&str, Status)> = names.iter().map(|name| (name.as_str(), Status::False)).collect();
    said[199].1 = Status::True;
    bench.all(&said);
    let first = bench.asked(Duration::from_millis(500)).await;
    assert_eq!(first[0], row(0, "n199", "True"));
    assert!((10..=16).contains(&first.len()), "{}", first.len());
    bench.now_said(&[("n150", Status::True)]);
    let second = bench.asked(Duration::from_secs(1)).await;
    assert!(second[..2].iter().any(|row| row.1 == "n150"), "{second:?}");
    assert!(second.len() <= 11, "{second:?}");
    let rest = bench.asked(2 * MINUTE).await;
    assert_eq!(first.len() + second.len() + rest.len(), 200, "each of them once");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_has_enough_or_is_away_is_asked_again_slowly() {
    let mut bench = Bench::start(true);
    for name in ["a", "b", "c"] {
        bench.node(name, "u", json!([]), "");
    }
    bench.api.lock().unwrap().refusals.extend([Refusal::Status(429, Some(7))]);
    bench.all(&[("a", Status::True), ("b", Status::True), ("c", Status::True)]);
    let asked = bench.asked(MINUTE).await;
    assert_eq!(asked.iter().map(|(at, ..)| *at).collect::<Vec<_>>(), [0, 7, 7, 7], "nobody asks before the time that it said: {asked:?}");

    for refusal in [Refusal::Status(500, None), Refusal::Status(403, None), Refusal::Away] {
        bench.api.lock().unwrap().refusals.extend([refusal; 12]);
        bench.now_said(&[("a", Status::False), ("b", Status::False)]);
        let asked = bench.asked(5 * MINUTE).await;
        assert!((5..=12).contains(&asked.len()), "five minutes of refusals: {}", asked.len());
        bench.asked(20 * MINUTE).await;
        assert_eq!(bench.api.lock().unwrap().refusals.len(), 0);
        let standing = ["a", "b"].map(|name| bench.nodes.marks(name).unwrap().present[0].condition.status);
        assert_eq!(standing, [Status::False, Status::False], "it comes off in the end");
        bench.now_said(&[("a", Status::True), ("b", Status::True)]);
        bench.asked(MINUTE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_written_to_holds_up_no_other() {
    let mut bench = Bench::start(true);
    for name in ["a", "b"] {
        bench.node(name, "u", json!([]), "");
    }
    for code in [409, 422, 404] {
        bench.api.lock().unwrap().refused = [("a".to_owned(), code)].into();
        bench.all(&[("a", Status::True), ("b", Status::True)]);
        let asked = bench.asked(5 * MINUTE).await;
        let count = |node: &str| asked.iter().filter(|row| row.1 == node).count();
        assert!((4..=20).contains(&count("a")), "{code}: {asked:?}");
        assert_eq!(count("b"), 1, "{code}: {asked:?}");
        bench.api.lock().unwrap().refused.clear();
        bench.asked(5 * MINUTE).await;
        assert_eq!(bench.nodes.marks("a").unwrap().present.len(), 1, "{code}");
        bench.node("a", "u", json!([]), "");
        bench.node("b", "u", json!([]), "");
    }
    let mut node = bench.nodes.clone();
    node.gone(&serde_json::from_value(json!({ "metadata": { "name": "a" } })).unwrap());
    bench.all(&[("a", Status::False)]);
    assert!(bench.asked(30 * MINUTE).await.iter().all(|row| row.1 == "b"), "one that is gone is left");
}
