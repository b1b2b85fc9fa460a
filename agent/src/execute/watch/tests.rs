#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::{ExecuteSettings, Policy};
use super::*;
use crate::observe::readings::Readings;

fn watch(gates: Value) -> Result<Watch, StepError> {
    let gates: Vec<Map<String, Value>> = serde_json::from_value(gates).unwrap();
    Watch::of("kube.watch", &gates)
}

#[test]
fn a_gate_that_failed_says_which_one_what_was_seen_and_how_many_probes_there_were() {
    let watch = watch(json!([{ "http": { "url": "http://web/health" } }, { "logErrors": { "selector": "app=web" } }])).unwrap();
    assert_eq!(watch.unasked().as_deref(), Some("http http://web/health"));
    let seen = tally::Seen { took_ms: Some(3.0), problem: Some("HTTP 500".to_owned()) };
    locked(&watch.gates[0].1).take(Duration::ZERO, seen, mainstay_core::Millis(1_000));
    let broken = Broken { place: 0, gate: watch.gates[0].0.subject(), why: "HTTP 500".to_owned(), counted: locked(&watch.gates[0].1).in_words() };
    assert!(broken.to_string().starts_with("the gate http http://web/health has failed: HTTP 500 (1 probe, 1 failed, 95 of 100"), "{broken}");
    let checks = watch.checks(Some(&broken));
    assert_eq!(checks.iter().map(|check| check.verdict).collect::<Vec<_>>(), [Verdict::Critical, Verdict::Ok]);
    assert_eq!((watch.counted().probes, watch.unasked().as_deref()), (1, Some("logErrors app=web")));
}

#[test]
fn gates_are_bounded_and_checked_before_anybody_is_asked() {
    let many: Vec<Value> = (0..21).map(|_| json!({ "http": { "url": "http://a" } })).collect();
    assert!(watch(Value::Array(many)).err().unwrap().message.contains("21 gates, and 20 is the most"));
    assert!(watch(json!([])).unwrap().is_empty());
    assert!(watch(json!([{ "newSignatures": {} }])).err().unwrap().message.contains("not until signatures"));
}

/// A server that answers 200 so often, and then as it is told.
async fn server(well: usize, then: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut count = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            count += 1;
            let answer = if count <= well { "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" } else { then };
            tokio::spawn(async move {
                let mut request = vec![0; 4_096];
                let _ = stream.read(&mut request).await;
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    format!("http://{address}")
}

/// Whoever looks, with an API server that takes a connection and says nothing.
async fn eyes() -> (Context, Cluster) {
    let settings = ExecuteSettings { allow_addresses: vec!["127.0.0.1".to_owned()], ..ExecuteSettings::default() };
    let context = Context::new(Arc::default(), Readings::default(), Arc::new(settings), Arc::new(Policy::default())).unwrap();
    let api = server(0, "").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kubeconfig");
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: c, clusters: [{{name: c, cluster: {{server: \"{api}\"}}}}], users: [{{name: u, user: {{}}}}], \
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]}}"
    );
    std::fs::write(&file, text).unwrap();
    mainstay_client::tls::install_provider();
    (context, Cluster::of(Some(&file)).await.unwrap())
}

async fn broken(gates: Value) -> (Broken, Tally) {
    let (context, cluster) = eyes().await;
    let watch = watch(gates).unwrap();
    let broken = tokio::time::timeout(Duration::from_secs(60), watch.until_failed(&context, &cluster, "shop")).await.unwrap();
    (broken, watch.counted())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_when_a_gate_has_failed_and_says_what_was_seen() {
    let url = server(3, "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let (broken, counted) = broken(json!([{ "http": { "url": url }, "every": "100ms", "failures": 2 }])).await;
    assert!(broken.why.starts_with("2 probes failed one after another, the last: HTTP 500 in "), "{broken}");
    assert!(counted.probes >= 5 && counted.failed >= 2, "{counted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_hangs_has_failed_in_time_and_does_not_keep_others_from_their_beat() {
    let (hangs, well) = (server(1, "").await, server(usize::MAX, "").await);
    let gates = json!([
        { "http": { "url": hangs }, "every": "100ms", "timeout": "400ms", "failures": 3 },
        { "http": { "url": well }, "every": "100ms" },
    ]);
    let (broken, counted) = broken(gates).await;
    assert!(broken.gate.contains(&hangs) && broken.why.ends_with("the last: no answer within 400ms"), "{broken}");
    assert!(counted.probes - counted.failed >= 3, "{counted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_says_nothing_is_no_good_answer() {
    for gate in [
        json!({ "object": { "kind": "Pod", "name": "web", "that": "object != null" }, "every": "100ms", "timeout": "200ms" }),
        json!({ "logErrors": { "selector": "app=web" }, "every": "100ms", "timeout": "200ms" }),
    ] {
        let (broken, _) = broken(json!([gate])).await;
        assert_eq!(broken.why, "2 probes failed one after another, the last: no answer within 200ms");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_asked_at_all_is_told_before_anything_is_done() {
    let (context, cluster) = eyes().await;
    let watch = watch(json!([{ "prometheus": { "connection": "prom", "query": "up", "above": { "critical": 1 } } }])).unwrap();
    let refused = watch.can_be_asked(&context, &cluster, "shop").unwrap_err().message;
    assert!(refused.contains("the gate prometheus up cannot be asked") && refused.contains("this agent has no connection prom"), "{refused}");
}
