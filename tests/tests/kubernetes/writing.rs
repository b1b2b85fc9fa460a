//! What changes something, in a real cluster: as the runner of a namespace, once, whoever dies in between, and back.

use std::process::Command;
use std::time::Duration;

use mainstay_tests::kubernetes::{Cluster, Space};
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::{PATIENCE, eventually_within};
use serde_json::{Value, json};

use super::agents::{MANIFEST, Replica, acts, kubeconfig, plan, runner};

/// A lease that nobody renews any more ends, and the other replica takes up what is to be done again.
const UNTIL_TAKEN_OVER: Duration = Duration::from_secs(120);

pub const RIGHTS: &str = "{apiGroups: [apps], resources: [deployments, statefulsets], verbs: [get, list, patch]}, \
     {apiGroups: [policy], resources: [poddisruptionbudgets], verbs: [list]}, \
     {apiGroups: [batch], resources: [jobs], verbs: [create, get, delete]}, {apiGroups: [batch], resources: [cronjobs], verbs: [get]}, \
     {apiGroups: [\"\"], resources: [pods], verbs: [list]}, {apiGroups: [\"\"], resources: [pods/log], verbs: [get]}";

/// A mesh whose cluster has two replicas, the first of which acts.
pub async fn mesh(cluster: &Cluster) -> (Up, Replica, Replica) {
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    cluster.apply(MANIFEST);
    let kubeconfig = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
    let first = Replica::start_with(&up, "prod", "r1", &kubeconfig, "[policy]\nallow = [\"*\"]\n");
    acts(&up, "r1").await;
    let second = Replica::start_with(&up, "prod", "r2", &kubeconfig, "[policy]\nallow = [\"*\"]\n");
    (up, first, second)
}

/// A Deployment whose pods take a while to become ready, so that there is a middle of its rollout.
pub fn deployment(space: &Space<'_>, name: &str, seconds: u32) {
    space.apply(&format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{replicas: 2, selector: {{matchLabels: {{app: {name}}}}}, \
         template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: app, image: \"mainstay.test/busybox:1\", \
         readinessProbe: {{exec: {{command: [\"true\"]}}, initialDelaySeconds: {seconds}, periodSeconds: 1}}}}]}}}}}}}}\n"
    ));
    space.wait(&format!("deployment/{name}"), "condition=Available");
}

/// How often its pods were replaced, counting the first ones.
pub fn revisions(space: &Space<'_>, name: &str) -> usize {
    let sets = space.json(&["get", "replicasets", "-l", &format!("app={name}")]).expect("its ReplicaSets");
    sets["items"].as_array().expect("a list").len()
}

pub fn replicas(space: &Space<'_>, name: &str) -> i64 {
    space.json(&["get", "deployment", name]).expect("it")["spec"]["replicas"].as_i64().expect("a number")
}

pub fn starts(up: &Up, name: &str, steps: &str) -> String {
    up.start_run(name, &plan(name, steps))
}

pub async fn succeeds(up: &Up, run: &str) -> Value {
    let ended = up.ended(run).await;
    assert_eq!((&ended["state"], &ended["verdict"]), (&json!("completed"), &json!("ok")), "{ended}");
    ended
}

/// What a preview of these steps says of rights: severity, message and hint.
fn rights_of(up: &Up, steps: &str) -> Vec<(String, String, String)> {
    let file = up.scratch().join("previewed.yaml");
    std::fs::write(&file, plan("previewed", steps)).expect("the plan's file");
    let preview = up.json(&["plan", "preview", "-f", &file.display().to_string()]);
    let text = |remark: &Value, field: &str| remark[field].as_str().unwrap_or_default().to_owned();
    let all = preview["remarks"].as_array().into_iter().flatten();
    let told = all.map(|remark| (text(remark, "severity"), text(remark, "message"), text(remark, "hint")));
    told.filter(|(_, message, _)| message.contains("right")).collect()
}

/// By which replicas the first step was tried.
fn tried_by(ended: &Value) -> Vec<&str> {
    let attempts = ended["work"][0]["attempts"].as_array().expect("attempts");
    attempts.iter().map(|attempt| attempt["agent"].as_str().expect("an agent")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_and_a_scaling_are_done_once_and_a_scaling_is_taken_back_unless_somebody_has_changed_it() {
    let cluster = Cluster::shared();
    let space = cluster.space("changes");
    let (up, _first, _second) = mesh(cluster).await;
    deployment(&space, "web", 0);
    let name = space.name();
    let restart = format!("    - {{name: restart, uses: kube.restart, with: {{namespace: {name}, name: web, within: 90s}}}}\n");

    // What the runner may not do is named by a preview, with the commands that give it, and before anything is done.
    let scale_to =
        |to: u32| format!("    - {{name: scale, uses: kube.scale, with: {{namespace: {name}, name: web, replicas: {to}, within: 90s}}}}\n");
    let remarks = rights_of(&up, &[restart.clone(), scale_to(1)].concat());
    assert_eq!(remarks.len(), 2, "of each step: {remarks:?}");
    let (severity, message, hint) = &remarks[0];
    assert_eq!(severity, "problem");
    let lacks = format!(
        "ServiceAccount {name}/mainstay-runner of cluster prod, which does not exist, lacks the right to get, patch deployments.apps in {name}; \
         list poddisruptionbudgets.policy in {name}"
    );
    assert_eq!(*message, lacks);
    // As somebody would who is told so, and to the letter.
    let programs = cluster.program("kubectl");
    let given = Command::new("sh")
        .args(["-euc", hint])
        .env("PATH", format!("{}:/usr/bin:/bin", programs.parent().expect("its folder").display()))
        .env("KUBECONFIG", cluster.kubeconfig())
        .output()
        .expect("a shell");
    assert!(given.status.success(), "{hint}\n{}", String::from_utf8_lossy(&given.stderr));
    let none = || {
        let remarks = rights_of(&up, &[restart.clone(), scale_to(1)].concat());
        std::future::ready(if remarks.is_empty() { Ok(()) } else { Err(format!("{remarks:?}")) })
    };
    eventually_within(PATIENCE, "nothing is lacking any more", none).await;
    assert_eq!((revisions(&space, "web"), replicas(&space, "web")), (1, 2), "nothing was done");
    space.kubectl(&["delete", "role,rolebinding", "--all"]).expect("they go");

    // It is also named where it is to be done.
    let ended = up.ended(&starts(&up, "forbidden", &restart)).await;
    let text = ended.to_string();
    assert_eq!(ended["state"], "failed", "{ended}");
    let lacks = format!(
        "ServiceAccount {name}/mainstay-runner lacks the right to get deployments of apps in {name}; patch deployments of apps in {name}; list poddisruptionbudgets"
    );
    assert!(text.contains(&lacks), "{text}");
    assert_eq!(revisions(&space, "web"), 1);

    runner(&space, RIGHTS);
    succeeds(&up, &starts(&up, "restart", &restart)).await;
    assert_eq!(revisions(&space, "web"), 2);
    succeeds(&up, &starts(&up, "restart-again", &restart)).await;
    assert_eq!(revisions(&space, "web"), 3, "another run restarts it again");

    // A budget that lets nobody go is waited for.
    space.apply(
        "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: web}, spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}}\n",
    );
    let closed =
        |budget: &Value| (budget.pointer("/status/currentHealthy")? == 2 && budget.pointer("/status/disruptionsAllowed")? == 0).then_some(());
    space.until(PATIENCE, &["pdb", "web"], closed).await;
    let hasty = restart.replace("90s", "4s");
    let ended = up.ended(&starts(&up, "hasty", &hasty)).await;
    assert!(ended.to_string().contains("the disruption budget web lets no pod go"), "{ended}");
    assert_eq!(revisions(&space, "web"), 3);
    space.kubectl(&["delete", "pdb", "web"]).expect("it goes");

    // Scaled, and taken back when a later step fails.
    let scale = |to: u32| format!("    - {{name: scale, uses: kube.scale, with: {{namespace: {name}, name: web, replicas: {to}, within: 90s}}}}\n");
    let ended = succeeds(&up, &starts(&up, "scale", &scale(3))).await;
    assert_eq!(replicas(&space, "web"), 3);
    assert!(ended.to_string().contains("it has 3 in place of 2"), "{ended}");
    let then_fails = format!("{}{}", scale(1), never(name, "scale", "2s"));
    let ended = up.ended(&starts(&up, "back", &then_fails)).await;
    assert_eq!((&ended["state"], replicas(&space, "web")), (&json!("failed"), 3), "{ended}");
    assert!(ended.to_string().contains("it has 3, as before"), "{ended}");

    // Somebody changes it in between: it is left to a person.
    let run = starts(&up, "meddled", &then_fails.replace("within: 2s", "within: 20s"));
    space.until(PATIENCE, &["deployment", "web"], |web| (web.pointer("/spec/replicas")? == 1).then_some(())).await;
    space.kubectl(&["scale", "deployment", "web", "--replicas=4"]).expect("somebody scales it");
    let ended = up.ended(&run).await;
    assert_eq!(replicas(&space, "web"), 4, "{ended}");
    assert!(ended.to_string().contains("it has 4, and the step left 1"), "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_in_the_middle_of_a_restart_or_a_job_is_followed_by_one_that_does_nothing_twice() {
    let cluster = Cluster::shared();
    let space = cluster.space("takeover");
    let (up, first, second) = mesh(cluster).await;
    runner(&space, RIGHTS);
    deployment(&space, "slow", 15);
    let name = space.name();
    space.apply(
        "{apiVersion: batch/v1, kind: CronJob, metadata: {name: backup}, spec: {schedule: \"0 0 1 1 *\", suspend: true, jobTemplate: {spec: {backoffLimit: 0, \
         template: {spec: {restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: app, image: \"mainstay.test/busybox:1\", \
         command: [sh, -c, \"echo begun; sleep 25; echo the backup is written, password=hunter2\"]}]}}}}}}\n",
    );
    let steps = format!(
        "    - {{name: restart, uses: kube.restart, retry: {{attempts: 4, backoff: 1s}}, with: {{namespace: {name}, name: slow, within: 3m}}}}\n    \
         - {{name: backup, uses: kube.cronjob.trigger, retry: {{attempts: 4, backoff: 1s}}, with: {{namespace: {name}, name: backup, within: 3m}}}}\n    \
         - {{name: scale, uses: kube.scale, needs: [restart], retry: {{attempts: 4, backoff: 1s}}, with: {{namespace: {name}, name: slow, replicas: 3, within: 3m}}}}\n"
    );
    let run = starts(&up, "work", &steps);
    // Both are under way: the first new pod is there and not ready, the Job's pod runs.
    space.until(PATIENCE, &["deployment", "slow"], |slow| (slow.pointer("/status/updatedReplicas")? == 1).then_some(())).await;
    space.until(PATIENCE, &["jobs"], |jobs| (jobs.pointer("/items/0/status/active")? == 1).then_some(())).await;
    drop(first);
    acts(&up, "r2").await;
    // The second one dies too, in the middle of the scaling, and comes back with its ledger.
    let scaled = || {
        let is = replicas(&space, "slow") == 3;
        std::future::ready(if is { Ok(()) } else { Err(up.json(&["run", "show", &run]).to_string()) })
    };
    eventually_within(UNTIL_TAKEN_OVER, "it is scaled", scaled).await;
    let _second = second.again();
    let ended = up.ended(&run).await;
    assert_eq!((&ended["state"], &ended["verdict"]), (&json!("completed"), &json!("ok")), "{ended}");
    let by = tried_by(&ended);
    assert!(by.first() == Some(&"prod/agent/r1") && by.last() == Some(&"prod/agent/r2"), "{ended}");
    assert_eq!((revisions(&space, "slow"), replicas(&space, "slow")), (2, 3), "one restart, one scaling");
    let jobs = space.json(&["get", "jobs"]).expect("jobs");
    assert_eq!(jobs["items"].as_array().map(Vec::len), Some(1), "one backup: {jobs}");
    let text = ended.to_string();
    assert!(text.contains("the backup is written") && !text.contains("hunter2"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_fails_is_tried_again_as_another_and_one_that_is_called_off_goes() {
    let cluster = Cluster::shared();
    let space = cluster.space("jobs");
    let (up, _first, _second) = mesh(cluster).await;
    runner(&space, RIGHTS);
    let name = space.name();
    let job = |name_of: &str, script: &str, more: &str| {
        format!(
            "    - name: {name_of}\n      uses: kube.job\n{more}      with:\n        namespace: {name}\n        name: {name_of}\n        within: 2m\n        \
             spec: {{backoffLimit: 0, template: {{spec: {{restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{{name: app, image: \"mainstay.test/busybox:1\", \
             command: [sh, -c, \"{script}\"]}}]}}}}}}\n"
        )
    };
    let ended = succeeds(&up, &starts(&up, "fine", &job("fine", "echo all is fine", ""))).await;
    assert!(ended.to_string().contains("all is fine"), "{ended}");
    let ended = up.ended(&starts(&up, "sad", &job("sad", "echo no room; exit 3", "      retry: {attempts: 2, backoff: 1s}\n"))).await;
    assert_eq!(ended["state"], "failed", "{ended}");
    assert!(ended.to_string().contains("no room"), "{ended}");
    let names = |prefix: &str| {
        let jobs = space.json(&["get", "jobs"]).expect("jobs");
        let names = jobs["items"].as_array().expect("a list").iter().map(|job| job["metadata"]["name"].as_str().expect("a name").to_owned());
        names.filter(|name| name.starts_with(prefix)).collect::<Vec<_>>()
    };
    let sad = names("sad-");
    assert!(sad.len() == 2 && sad[0].ends_with("-0") && sad[1].ends_with("-1"), "{sad:?}");

    let run = starts(&up, "long", &job("long", "sleep 600", ""));
    space.until(PATIENCE, &["jobs"], |jobs| jobs["items"].as_array()?.iter().any(|job| job["status"]["active"] == 1).then_some(())).await;
    let aborted = up.cli(&["run", "abort", &run, "--reason", "enough"]);
    assert!(aborted.status.success(), "{}", String::from_utf8_lossy(&aborted.stderr));
    up.ended(&run).await;
    assert_eq!(names("long-"), Vec::<String>::new(), "it goes with its step");
}

/// A step that fails, so that what was done before it is taken back. It gives time to look, and to meddle.
pub fn never(namespace: &str, needs: &str, within: &str) -> String {
    format!(
        "    - {{name: never, needs: [{needs}], uses: kube.wait, with: {{apiVersion: apps/v1, kind: Deployment, namespace: {namespace}, name: none, until: \"object != null\", within: {within}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_applied_or_deleted_once_and_put_back_where_nobody_has_changed_it_since() {
    let cluster = Cluster::shared();
    let space = cluster.space("objects");
    let (up, first, _second) = mesh(cluster).await;
    let rights = format!("{RIGHTS}, {{apiGroups: [\"\"], resources: [configmaps], verbs: [get, create, patch, delete]}}");
    runner(&space, &rights);
    let name = space.name();
    let apply = |of: &str, text: &str, more: &str| {
        format!(
            "    - {{name: apply, uses: kube.apply, with: {{object: {{apiVersion: v1, kind: ConfigMap, metadata: {{name: {of}, namespace: {name}}}, data: {{text: {text}}}}}{more}}}}}\n"
        )
    };
    let delete = |of: &str| format!("    - {{name: delete, uses: kube.delete, with: {{kind: ConfigMap, namespace: {name}, name: {of}}}}}\n");
    let data = |of: &str| space.json(&["get", "configmap", of]).map(|object| object["data"].clone()).ok();

    // Made, and made something else by another run.
    succeeds(&up, &starts(&up, "make", &apply("banner", "soon", ""))).await;
    assert_eq!(data("banner"), Some(json!({ "text": "soon" })));
    succeeds(&up, &starts(&up, "change", &apply("banner", "now", ""))).await;
    assert_eq!(data("banner"), Some(json!({ "text": "now" })));
    // What is somebody else's is theirs, unless the step says otherwise.
    space.kubectl(&["create", "configmap", "theirs", "--from-literal=text=theirs", "--from-literal=more=1"]).expect("somebody's");
    let ended = up.ended(&starts(&up, "theirs", &apply("theirs", "ours", ""))).await;
    assert!(ended["state"] == "failed" && ended.to_string().contains("takeOver: true"), "{ended}");
    assert_eq!(data("theirs"), Some(json!({ "text": "theirs", "more": "1" })));

    // Taken back: what was there, what was not there, what was deleted.
    let failing = [apply("theirs", "ours", ", takeOver: true"), never(name, "apply", "2s")].concat();
    let ended = up.ended(&starts(&up, "back", &failing)).await;
    assert_eq!((&ended["state"], data("theirs")), (&json!("failed"), Some(json!({ "text": "theirs", "more": "1" }))), "{ended}");
    let ended = up.ended(&starts(&up, "fresh", &[apply("fresh", "new", ""), never(name, "apply", "2s")].concat())).await;
    assert!(data("fresh").is_none() && ended.to_string().contains("it is gone again"), "{ended}");
    let ended = up.ended(&starts(&up, "gone", &[delete("theirs"), never(name, "delete", "2s")].concat())).await;
    assert!(ended.to_string().contains("it was made again, as it was"), "{ended}");
    assert_eq!(data("theirs"), Some(json!({ "text": "theirs", "more": "1" })));

    // Not over what somebody has changed since.
    let run = starts(&up, "meddled", &[apply("banner", "later", ""), never(name, "apply", "20s")].concat());
    space.until(PATIENCE, &["configmap", "banner"], |banner| (banner.pointer("/data/text")? == "later").then_some(())).await;
    space.kubectl(&["patch", "configmap", "banner", "-p", r#"{"data":{"text":"somebody's"}}"#]).expect("somebody changes it");
    let ended = up.ended(&run).await;
    assert_eq!(data("banner"), Some(json!({ "text": "somebody's" })), "{ended}");
    assert!(ended.to_string().contains("was changed since"), "{ended}");

    // A replica that dies while what it deletes waits for a finalizer: the next one waits for that, and deletes no other.
    space.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: held, finalizers: [example.com/held]}, data: {text: first}}\n");
    let retried = delete("held").replace("uses: kube.delete", "retry: {attempts: 4, backoff: 1s}, uses: kube.delete");
    let run = starts(&up, "held", &retried);
    space.until(PATIENCE, &["configmap", "held"], |held| held.pointer("/metadata/deletionTimestamp").map(|_| ())).await;
    drop(first);
    acts(&up, "r2").await;
    space.kubectl(&["patch", "configmap", "held", "-p", r#"{"metadata":{"finalizers":null}}"#]).expect("nothing holds it");
    space.kubectl(&["wait", "configmap/held", "--for=delete", "--timeout=60s"]).expect("it goes");
    space.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: held}, data: {text: second}}\n");
    let ended = up.ended(&run).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    assert_eq!(data("held"), Some(json!({ "text": "second" })), "what somebody has made since is not deleted: {ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_in_a_pod_runs_if_the_policy_has_a_rule_and_ends_with_its_own_status() {
    let cluster = Cluster::shared();
    let space = cluster.space("commands");
    space.pod("main", None);
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    cluster.apply(MANIFEST);
    let kubeconfig = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
    let policy = "[policy]\nallow = [\"kube.exec\"]\n[[policy.exec]]\ncommand = [\"/bin/sh\", \"-c\", \"*\"]\n";
    let _replica = Replica::start_with(&up, "prod", "r1", &kubeconfig, policy);
    acts(&up, "r1").await;
    runner(&space, "{apiGroups: [\"\"], resources: [pods/exec], verbs: [create, get]}, {apiGroups: [\"\"], resources: [pods], verbs: [list]}");
    let name = space.name();
    let exec =
        |command: &str| format!("    - {{name: exec, uses: kube.exec, with: {{namespace: {name}, selector: app=main, command: [{command}]}}}}\n");
    let ended = succeeds(&up, &starts(&up, "fine", &exec("/bin/sh, \"-c\", \"echo here is $(hostname)\""))).await;
    assert!(ended.to_string().contains("here is main"), "{ended}");
    let ended = up.ended(&starts(&up, "sad", &exec("/bin/sh, \"-c\", \"echo no room >&2; exit 7\""))).await;
    assert!(ended.to_string().contains("ended with status 7: no room"), "{ended}");
    let ended = up.ended(&starts(&up, "denied", &exec("/bin/rm, /tmp/x"))).await;
    assert!(ended.to_string().contains("policy has no rule for this command"), "{ended}");
}
