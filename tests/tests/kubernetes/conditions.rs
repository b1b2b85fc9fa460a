//! Conditions on a real Node: raised, mended, put back, and gone with the agent that saw them.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mainstay_tests::eventually;
use mainstay_tests::kubernetes::{self, Cluster};
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::{PATIENCE, eventually_within};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::agents::{MANIFEST, Replica, acts, kubeconfig};

/// A real node with a real kubelet; its agent is told of another one.
const NODE: &str = "n2";
const KUBELET: &str = "MainstayKubeletUnhealthy";
/// An agent is silent for three minutes before that counts.
const SILENCE: Duration = Duration::from_secs(180);

/// What is asked as a kubelet, and says that all is well. Ends with the value.
struct Kubelet(tokio::task::JoinHandle<()>);

impl Kubelet {
    async fn at(address: SocketAddr) -> Kubelet {
        mainstay_client::tls::install_provider();
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(vec!["kubelet".to_owned()]).expect("a name").self_signed(&key).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).expect("TLS");
        let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind(address).await.expect("its port"));
        Kubelet(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut read = vec![0; 4_096];
                    // One that breaks is the client's to notice.
                    let _ = stream.read(&mut read).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").await;
                    let _ = stream.shutdown().await;
                });
            }
        }))
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn conditions(cluster: &Cluster) -> Vec<Value> {
    let node = cluster.json(&["get", "node", NODE]);
    node.ok().and_then(|node| node["status"]["conditions"].as_array().cloned()).unwrap_or_default()
}

fn own(cluster: &Cluster) -> Vec<Value> {
    conditions(cluster).into_iter().filter(|condition| condition["type"].as_str().is_some_and(|kind| kind.starts_with("Mainstay"))).collect()
}

/// Waits until the one of the kubelet has this status, and answers it.
async fn is(cluster: &Cluster, patience: Duration, status: &str) -> Value {
    eventually_within(patience, &format!("{KUBELET} is {status}"), || {
        let all = own(cluster);
        let found = all.iter().find(|condition| condition["type"] == KUBELET && condition["status"] == status).cloned();
        std::future::ready(found.ok_or_else(|| Value::from(all).to_string()))
    })
    .await
}

async fn is_gone(cluster: &Cluster, patience: Duration) {
    eventually_within(patience, "no condition of Mainstay's stands there", || {
        let all = own(cluster);
        std::future::ready(if all.is_empty() { Ok(()) } else { Err(Value::from(all).to_string()) })
    })
    .await;
    let ready = conditions(cluster).into_iter().find(|condition| condition["type"] == "Ready").expect("the kubelet's own");
    assert_eq!(ready["status"], "True");
}

/// Somebody with the right to writes into them.
fn edit(cluster: &Cluster, changes: &[Value]) {
    let patch = json!({ "status": { "conditions": changes } }).to_string();
    cluster.kubectl(&["patch", "node", NODE, "--subresource=status", "--type=strategic", "-p", &patch]).expect("it may");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_nodes_agent_sees_stands_on_the_node_and_clears_itself() {
    let cluster = Cluster::start(0);
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    cluster.apply(MANIFEST);
    let settings = kubeconfig(&cluster, &up, "mainstay", "mainstay-cluster-agent");
    let replica = Replica::start(&up, "prod", "r1", &settings);
    acts(&up, "r1").await;

    // Nobody listens at its kubelet's address.
    let address = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("its address");
    let token = up.scratch().join("kubelet-token");
    fs::write(&token, "token").expect("a token");
    let flags = ["--kubelet".to_owned(), address.to_string(), "--kubelet-token-file".to_owned(), token.display().to_string()];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let agent = kubernetes::Replica::of_node_told(&up, "prod", NODE, &flags);
    let raised = is(&cluster, PATIENCE, "True").await;
    assert_eq!(raised["reason"], "KubeletNotListening");
    let all = conditions(&cluster);
    assert!(all.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True"), "the kubelet's own are left alone: {all:?}");
    eventually("the mesh knows it as the API server does", || {
        let shown = up.try_json(&["node", "show", &format!("prod/{NODE}")]);
        let is_known = |shown: Value| if shown.to_string().contains(KUBELET) { Ok(()) } else { Err(shown.to_string()) };
        std::future::ready(shown.and_then(is_known))
    })
    .await;

    let kubelet = Kubelet::at(address).await;
    let mended = is(&cluster, PATIENCE, "False").await;
    assert_eq!(mended["reason"], "KubeletWell");
    assert_ne!(mended["lastTransitionTime"], raised["lastTransitionTime"]);

    edit(&cluster, &[json!({ "type": KUBELET, "status": "True", "reason": "Edited", "message": "by hand" })]);
    assert_eq!(is(&cluster, PATIENCE, "False").await["reason"], "KubeletWell", "what somebody else writes into them is put back");

    // Its agent is gone for good.
    drop(agent);
    let unknown = is(&cluster, SILENCE + PATIENCE, "Unknown").await;
    assert_eq!(unknown["reason"], "AgentSilent");
    let hours_ago: Vec<Value> =
        own(&cluster).iter().map(|condition| json!({ "type": condition["type"], "lastHeartbeatTime": "2026-01-01T00:00:00Z" })).collect();
    edit(&cluster, &hours_ago);
    is_gone(&cluster, PATIENCE).await;

    // It is back, and then they are switched off.
    let _agent = kubernetes::Replica::of_node_told(&up, "prod", NODE, &flags);
    is(&cluster, PATIENCE, "False").await;
    drop(replica);
    let _off = Replica::start_told(&up, "prod", "r2", &settings, "", &["--node-conditions", "false"]);
    is_gone(&cluster, PATIENCE).await;
    drop(kubelet);
    cluster.end();
}
