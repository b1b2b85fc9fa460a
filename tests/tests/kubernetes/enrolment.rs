//! A node's agent is let in by its pod's own token, which the real API server is asked about, and by nothing else; and a
//! cluster's agents come back by themselves after all of them were gone.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mainstay_client::Bundle;
use mainstay_client::enrol::{EnrolError, PodToken, enrol_as_pod};
use mainstay_client::identity::root_sha256;
use mainstay_tests::eventually;
use mainstay_tests::kubernetes::{Cluster, Space};
use mainstay_tests::up::{Options, Up, binaries};
use serde_json::Value;

use crate::agents::{MANIFEST, kubeconfig};

/// What the agents of cluster `vouched` may do; the Secret is one replica's.
const OBJECTS: &str = r#"
{apiVersion: v1, kind: ServiceAccount, metadata: {name: other}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: hands}}
---
{apiVersion: v1, kind: Pod, metadata: {name: hands}, spec: {nodeName: n2, serviceAccountName: hands, terminationGracePeriodSeconds: 0, containers: [{name: main, image: "mainstay.test/busybox:1"}]}}
---
{apiVersion: v1, kind: Secret, metadata: {name: r1}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r1}, rules: [{apiGroups: [""], resources: [secrets], resourceNames: [r1], verbs: [get, patch]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: r1}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r1}, subjects: [{kind: ServiceAccount, name: mainstay-cluster-agent, namespace: mainstay}]}
"#;

/// An agent's process. Ends with the value.
pub struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    pub fn start(up: &Up, cluster: &str, dir: &Path, words: &[&str]) -> Agent {
        Agent::start_through(&[], up, cluster, dir, words)
    }

    /// Started by another program, which has these words before those of the agent.
    pub fn start_through(by: &[String], up: &Up, cluster: &str, dir: &Path, words: &[&str]) -> Agent {
        fs::create_dir_all(dir).expect("a directory");
        let member = up.json(&["status"])["members"][0].clone();
        let log = File::options().create(true).append(true).open(up.scratch().join("agents.log")).expect("a log");
        let agent = binaries().join("mainstay-agent");
        let mut command = Command::new(by.first().map_or(agent.as_os_str(), |program| program.as_ref()));
        if !by.is_empty() {
            command.args(&by[1..]).arg(&agent);
        }
        let child = command
            .args(["--cluster", cluster, "--http-listen", "none", "--die-with-parent", "--log", "debug"])
            .args(["--coordinators", member["address"].as_str().expect("an address"), "--enrol", &enrol_address(up), "--dir"])
            .arg(dir)
            .args(words)
            .stderr(log)
            .spawn();
        Agent(child.expect("the agent starts"))
    }
}

fn enrol_address(up: &Up) -> String {
    up.json(&["status"])["members"][0]["enrolAddress"].as_str().expect("an address").to_owned()
}

/// As the kubelet makes it for a volume of the pod; without a pod, as anybody with rights makes it.
pub fn token(space: &Space<'_>, account: &str, audience: &str, pod: Option<&str>) -> String {
    let bound = pod.map_or_else(Vec::new, |pod| vec!["--bound-object-kind", "Pod", "--bound-object-name", pod]);
    let made = space.kubectl(&[&["create", "token", account, "--audience", audience][..], &bound].concat());
    made.expect("a token").trim().to_owned()
}

/// The same token when its time is over: with other times, and signed with the cluster's own key.
fn expired(cluster: &Cluster, token: &str) -> String {
    let [head, claims, _]: [&str; 3] = token.split('.').collect::<Vec<_>>().try_into().expect("a token has three parts");
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("its claims")).expect("its claims");
    for name in ["iat", "nbf", "exp"] {
        claims[name] = Value::from(claims[name].as_i64().expect("a time") - 86_400);
    }
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .arg(cluster.state().join("pki/accounts.key"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    openssl.stdin.take().expect("its input").write_all(signed.as_bytes()).expect("it reads");
    let made = openssl.wait_with_output().expect("its end");
    assert!(made.status.success());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(made.stdout))
}

pub struct Door {
    address: String,
    pub root_sha256: String,
}

impl Door {
    pub fn of(up: &Up) -> Door {
        mainstay_client::tls::install_provider();
        let root = fs::read_to_string(up.dir().join("ca/root.pem")).expect("the root");
        Door { address: enrol_address(up), root_sha256: root_sha256(&root).expect("a root") }
    }

    async fn knock(&self, identity: &str, token: &str) -> Result<Bundle, EnrolError> {
        let token = PodToken { root_sha256: self.root_sha256.clone(), token: token.to_owned() };
        enrol_as_pod(&self.address, &token, &identity.parse().expect("an identity")).await
    }
}

pub async fn linked(up: &Up, name: &str) {
    eventually(&format!("{name} is linked"), || async {
        let nodes = up.try_json(&["node", "list"])?;
        let found = nodes["nodes"].as_array().into_iter().flatten().any(|node| node["name"] == name && node["link"] == "up");
        if found { Ok(()) } else { Err(format!("{nodes}\n{}", fs::read_to_string(up.scratch().join("agents.log")).unwrap_or_default())) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nodes_agent_is_let_in_by_its_pods_own_token_and_by_nothing_else() {
    let cluster = Cluster::shared();
    let space = cluster.space("enrolment");
    space.apply(OBJECTS);
    space.pod("holder", Some("n2"));
    cluster.apply(MANIFEST);
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    let (door, mesh) = (Door::of(&up), "mainstay/local");
    let good = token(&space, "default", mesh, Some("holder"));
    let nobody = door.knock("cluster/vouched/node/n2", &good).await.expect_err("nobody vouches yet");
    assert!(nobody.is_transient() && nobody.to_string().contains("no agent of cluster vouched that could vouch"), "{nobody}");

    let join = up.cli(&["token", "create", "--cluster-agents", "vouched"]);
    let (join_file, dir) = (up.scratch().join("join"), up.scratch().join("r1"));
    fs::write(&join_file, &join.stdout).expect("the join token's file");
    let kubeconfig = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
    let path = |path: &PathBuf| path.display().to_string();
    let named = |name: &str| format!("{}/{name}", space.name());
    let (account, of_hands, secret) = (named("default"), named("hands"), named("r1"));
    let replica = ["--cluster-agent", "r1", "--kubeconfig", &path(&kubeconfig), "--identity-secret", &secret];
    let replica = [&replica[..], &["--vouch-for", &account, "--vouch-for-hands", &of_hands]].concat();
    let first = Agent::start(&up, "vouched", &dir, &[&replica[..], &["--join-token-file", &path(&join_file)]].concat());
    linked(&up, "agent/r1").await;

    space.wait("pod/hands", "condition=Ready");
    let hands = token(&space, "hands", mesh, Some("hands"));
    for (identity, token, words) in [
        ("cluster/vouched/node/n2/hands", good.clone(), "for which agent vouched/agent/r1 does not vouch as hands of a node"),
        ("cluster/vouched/node/n2", hands.clone(), "for which agent vouched/agent/r1 does not vouch: the chart's node agents"),
        ("cluster/vouched/node/n1/hands", hands.clone(), "on node n2, and node n1 was asked for"),
        ("cluster/vouched/node/n2/hands", token(&space, "hands", mesh, None), "is not bound to a pod and its node"),
        ("cluster/vouched/node/n2/hands", token(&space, "hands", "another", Some("hands")), "has to be a projected token of a pod that is there"),
        ("cluster/vouched/node/n1", good.clone(), "on node n2, and node n1 was asked for"),
        ("cluster/vouched/agent/r2", good.clone(), "not the identity of a node's agent"),
        ("operator/local", good.clone(), "not the identity of a node's agent"),
        ("cluster/vouched/node/n2", token(&space, "default", "another", Some("holder")), "has to be a projected token of a pod that is there"),
        ("cluster/vouched/node/n2", token(&space, "default", "mainstay/other", Some("holder")), "with audience mainstay/local"),
        ("cluster/vouched/node/n2", token(&space, "default", mesh, None), "is not bound to a pod and its node"),
        ("cluster/vouched/node/n2", token(&space, "other", mesh, None), "for which agent vouched/agent/r1 does not vouch"),
        ("cluster/vouched/node/n2", format!("{good}x"), "does not take this token"),
        ("cluster/vouched/node/n2", expired(cluster, &good), "does not take this token"),
        ("cluster/vouched/node/n2", "garbage".to_owned(), "does not take this token"),
    ] {
        let refused = door.knock(identity, &token).await.expect_err(words);
        assert!(!refused.is_transient() && refused.to_string().contains(words), "{identity}: {refused}");
    }
    let elsewhere = door.knock("cluster/elsewhere/node/n2", &good).await.expect_err("an agent vouches for its own cluster only");
    assert!(elsewhere.to_string().contains("no agent of cluster elsewhere"), "{elsewhere}");
    let agents = up.json(&["node", "list"])["nodes"].as_array().map_or(0, Vec::len);
    assert_eq!(agents, 2, "who was refused has left nothing");

    let token_file = up.scratch().join("pod-token");
    fs::write(&token_file, &good).expect("the pod's token");
    let words = ["--node", "n2", "--pod-token-file", &path(&token_file), "--root-sha256", &door.root_sha256];
    let _node = Agent::start(&up, "vouched", &up.scratch().join("n2"), &words);
    linked(&up, "n2").await;
    let audit = up.json(&["audit"]).to_string();
    let voucher = format!("enrol cluster/vouched/node/n2, vouched for by vouched/agent/r1 for pod {}/holder (", space.name());
    assert!(audit.contains(&voucher), "{audit}");

    // Its hands, with a directory of their own.
    let (token_file, words) = (up.scratch().join("hands-token"), ["--node", "n2", "--hands", "--root-sha256", &door.root_sha256]);
    fs::write(&token_file, &hands).expect("the pod's token");
    let _hands = Agent::start(&up, "vouched", &up.scratch().join("n2-hands"), &[&words[..], &["--pod-token-file", &path(&token_file)]].concat());
    linked(&up, "hands/n2").await;

    // No disk, no token any more: what the Secret has is enough.
    let kept = || {
        let secret = space.json(&["get", "secret", "r1"]).unwrap_or_default();
        std::future::ready(if secret["data"]["identity.pem"].is_string() { Ok(()) } else { Err("it is not kept".to_owned()) })
    };
    eventually("the identity is kept", kept).await;
    drop(first);
    fs::remove_dir_all(&dir).expect("its directory goes");
    let _again = Agent::start(&up, "vouched", &dir, &replica);
    eventually("its successor is linked", || async {
        let nodes = up.try_json(&["node", "list"])?;
        let log = fs::read_to_string(up.scratch().join("agents.log")).unwrap_or_default();
        let up_again = nodes["nodes"].as_array().into_iter().flatten().any(|node| node["name"] == "agent/r1" && node["link"] == "up");
        if up_again && dir.join("identity.pem").exists() { Ok(()) } else { Err(format!("{nodes}\n{log}")) }
    })
    .await;

    space.kubectl(&["delete", "pod", "holder", "--timeout=60s"]).expect("it goes");
    eventually("the token goes with its pod", || async {
        match door.knock("cluster/vouched/node/n2", &good).await {
            Err(refused) if !refused.is_transient() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let logs = fs::read_to_string(up.scratch().join("agents.log")).unwrap_or_default() + &up.log();
    let secret = good.rsplit('.').next().expect("its signature");
    assert!(!logs.contains(secret) && !up.json(&["audit"]).to_string().contains(secret), "a token is in a log");
}
