//! The mesh in its real home: installed by the chart, looked at, upgraded, taken back, robbed of a disk, of all its pods,
//! uninstalled and installed again. One installation for all of it.

use mainstay_tests::kubernetes::{Cluster, Space};
use serde_json::Value;

use crate::agents::{plan, runner};
use crate::installed::{Home, IMAGE, image};

impl Home<'_> {
    /// A pod beside the chart's that holds a lease for as long as it runs.
    async fn lease_held(&self) -> String {
        let added = self.json(&["operator", "add", "holder", "--role", "operator"]).expect("an operator");
        let token = added["token"].as_str().expect("a token");
        self.space.kubectl(&["create", "secret", "generic", "holder", &format!("--from-literal=token={token}")]).expect("a Secret");
        self.space.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: holder}}\nspec:\n  restartPolicy: Never\n  terminationGracePeriodSeconds: 0\n  \
             volumes: [{{name: token, secret: {{secretName: holder}}}}]\n  containers:\n    - name: holder\n      image: {IMAGE}\n      \
             env: [{{name: XDG_CONFIG_HOME, value: /tmp}}]\n      volumeMounts: [{{name: token, mountPath: /etc/token}}]\n      \
             command: [/bin/sh, -c, \"mainstay login --token-file /etc/token/token && exec mainstay lease run held --ttl 30s -- /bin/sleep 100000\"]\n"
        ));
        self.until("the lease is held", || self.token()).await
    }

    /// Of the grant of the lease.
    fn token(&self) -> Result<String, String> {
        let lease = self.json(&["lease", "show", "held"])?;
        lease["held"][0]["token"].as_str().map(str::to_owned).ok_or_else(|| lease.to_string())
    }
}

/// Does what the policy of its values allows, and waits on each node's agent, for less than an agent that is asked to end goes on.
const WAITS: &str = r#"
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: {name: waits}
spec:
  steps:
    - {name: allowed, uses: node.exec, with: {command: [/bin/sh, -c, read x < /etc/mainstay/secrets/beside/file; test $x = known]}}
    - {name: wait, uses: wait, with: {for: 8s}, needs: [allowed]}
"#;

/// What an agent of a node may do there, which is that one command, and the Secret whose file the command reads; and helm
/// for the cluster's agents, with the charts of their image.
const VALUES: [&str; 4] = [
    r#"clusterAgent.settings="helm = \"/usr/bin/helm\"\nhelm_charts = \"/charts\"\n""#,
    r#"clusterAgent.policy="[policy]\nallow = [\"helm.upgrade\"]\n""#,
    r#"nodeAgent.secrets=["beside"]"#,
    r#"nodeAgent.policy="[policy]\nallow = [\"node.exec\"]\n[[policy.exec]]\ncommand = [\"/bin/sh\", \"-c\", \"read x < /etc/mainstay/secrets/beside/file; test $x = known\"]\n""#,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_lives_in_the_cluster_that_it_looks_after() {
    let cluster = Cluster::shared();
    image(cluster);
    let space = cluster.space("home");
    let home = Home { cluster, space: &space, custom_resources: false, values: &VALUES };
    space.kubectl(&["create", "secret", "generic", "beside", "--from-literal=file=known"]).expect("a Secret");
    let notes = home.put("install", "first");
    assert!(notes.contains("OUT OF THE CLUSTER"), "{notes}");
    let login = home.cli(&["login", "--token-file", "/etc/mainstay/operator/token"]);
    login.unwrap_or_else(|error| panic!("{error}\n{}", home.look()));
    home.whole().await;
    let audit = home.cli(&["audit", "-o", "json"]).expect("the audit log");
    assert!(audit.contains("enrol cluster/prod/node/n2, vouched for by prod/agent/mainstay-cluster-agent-"), "{audit}");
    let installer = space.kubectl(&["get", "role,job,serviceaccount", "-o", "name"]).expect("what is there");
    assert!(!installer.contains("installer"), "the right to make Secrets has gone with the installer: {installer}");
    space.kubectl(&["delete", "secret", "mainstay-root"]).expect("the root's key is taken away");
    for (account, may) in [
        ("coordinator", &[][..]),
        ("node-agent", &["nodes/healthz [get]", "nodes/stats [get]"]),
        ("cluster-agent", &["pods [list watch]", "secrets [get patch]", "tokenreviews.authentication.k8s.io [create]"]),
    ] {
        let rights = rights(&space, &format!("mainstay-{account}"));
        let is_all = account == "cluster-agent" || rights.len() == may.len();
        assert!(is_all && may.iter().all(|right| rights.iter().any(|found| found == right)), "{account}: {rights:#?}");
        let too_much =
            rights.iter().find(|right| right.contains('*') || ["delete", "escalate", "bind", "exec"].iter().any(|word| right.contains(word)));
        assert_eq!(too_much, None, "{account}: {rights:#?}");
    }

    let daily = home.start("daily", &[]).await;
    let looked = home.completed(&daily).await;
    let attempts = looked["work"].as_array().into_iter().flatten().flat_map(|work| work["attempts"].as_array().into_iter().flatten());
    let checks = attempts.flat_map(|attempt| attempt["outcome"]["report"]["checks"].as_array().into_iter().flatten());
    let health = |check: &&Value| check["id"] == "kubelet.health" || check["id"] == "runtime.health";
    let well = checks.clone().filter(health).filter(|check| check["verdict"] == "ok").count();
    assert_eq!(well, 4, "both nodes' kubelets and runtimes are well: {looked}");
    let used: Vec<&Value> = checks.filter(|check| check["id"] == "pods.used").collect();
    assert!(used.len() == 2 && used.iter().all(|check| check["verdict"] == "ok"), "both nodes' agents see what pods use: {used:#?}");
    let lease = home.lease_held().await;
    helm_in_its_pod(&home).await;
    apply(&home, WAITS);
    let waits = home.start("waits", &[]).await;

    home.put("upgrade", "second");
    home.whole().await;
    let ended = home.completed(&waits).await;
    let attempts = ended["work"].as_array().into_iter().flatten().map(|work| work["attempts"].as_array().map_or(0, Vec::len)).max();
    assert_eq!(attempts, Some(1), "nothing was begun twice: {ended}");
    assert_eq!(home.token(), Ok(lease.clone()), "the lease was held all the time");
    home.helm(&["rollback", "mainstay", "1", "--wait", "--timeout", "300s"]);
    home.whole().await;
    assert_eq!(home.token(), Ok(lease.clone()));

    // A disk is lost, long after the mesh was formed: its member joins as another one.
    space.kubectl(&["patch", "secret", "mainstay-founding", "-p", "{\"stringData\":{\"until\":\"0\"}}"]).expect("an hour goes by");
    let before = members(&home);
    space.kubectl(&["delete", "pvc", "state-mainstay-coordinator-2", "--wait=false"]).expect("the claim goes");
    space.kubectl(&["delete", "pod", "mainstay-coordinator-2", "--grace-period=0", "--force"]).expect("and its pod");
    home.until("another one has taken its place", || {
        let now = members(&home);
        let kept = now.iter().filter(|id| before.contains(id)).count();
        if now.len() == 3 && kept == 2 { Ok(()) } else { Err(format!("{before:?} {now:?}")) }
    })
    .await;
    home.whole().await;
    assert_eq!(home.token(), Ok(lease));

    // All pods at once: the disks are there, and the cluster's agents have kept who they are.
    space.kubectl(&["delete", "pods", "-l", "app.kubernetes.io/instance=mainstay", "--grace-period=0", "--force"]).expect("they go");
    home.whole().await;
    home.completed(&daily).await;
    let again = home.start("daily", &[]).await;
    home.completed(&again).await;

    home.helm(&["uninstall", "mainstay", "--wait", "--timeout", "300s"]);
    let left = space.kubectl(&["get", "pvc,secret,statefulset,daemonset", "-o", "name"]).expect("what is left");
    assert!(left.matches("persistentvolumeclaim/state-mainstay-coordinator-").count() == 3 && left.contains("mainstay-founding"), "{left}");
    assert!(!left.contains("statefulset") && !left.contains("daemonset"), "{left}");
    home.put("install", "third");
    home.whole().await;
    home.completed(&again).await;
}

/// What an account may in the namespace, beyond what everybody may: resource and verbs.
fn rights(space: &Space<'_>, account: &str) -> Vec<String> {
    let list = |who: &str| -> Vec<String> {
        let account = format!("--as=system:serviceaccount:{}:{who}", space.name());
        let listed = space.kubectl(&["auth", "can-i", "--list", "--no-headers", &account]).expect("its rights");
        let rows = listed.lines().filter(|line| !line.starts_with(' '));
        let row = |line: &str| Some(format!("{} {}", line.split_whitespace().next()?, &line[line.rfind('[')?..]));
        rows.filter_map(row).collect()
    };
    let everybody = list("default");
    list(account).into_iter().filter(|right| !everybody.contains(right)).collect()
}

fn members(home: &Home<'_>) -> Vec<String> {
    let list = home.json(&["member", "list"]).unwrap_or_default();
    list["members"].as_array().into_iter().flatten().filter_map(|member| member["id"].as_str()).map(str::to_owned).collect()
}

/// A release by the helm of the agents' image, in a container whose root cannot be written to.
async fn helm_in_its_pod(home: &Home<'_>) {
    runner(
        home.space,
        "{apiGroups: [\"\"], resources: [secrets, configmaps], verbs: [get, list, watch, create, update, patch, delete]}, \
         {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, patch]}",
    );
    let step =
        "{name: upgrade, uses: helm.upgrade, with: {namespace: NAMESPACE, release: notes, chart: notes, within: 60s, values: {text: by the pod}}}";
    apply(home, &plan("notes", &format!("    - {}\n", step.replace("NAMESPACE", home.space.name()))));
    let run = home.start("notes", &[]).await;
    let ended = home.ended(&run).await;
    assert!(ended.to_string().contains("revision 1, notes-1.2.3: it was installed"), "{ended}");
    let notes = home.space.json(&["get", "configmap", "notes"]).expect("it");
    assert_eq!(notes["data"]["text"], "by the pod");
}

fn apply(home: &Home<'_>, plan: &str) {
    let words = ["exec", "-i", "mainstay-coordinator-0", "--", "mainstay", "plan", "apply", "-f", "-"];
    home.space.kubectl_with(&words, plan).unwrap_or_else(|error| panic!("{error}\n{}", home.look()));
}
