//! Rollouts in a real cluster: to their end, back by themselves, taken back by their run, and gone on with by another replica.

use std::time::{Duration, Instant};

use mainstay_tests::kubernetes::{Cluster, Proxy, Space, Trouble};
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::{PATIENCE, eventually_within};
use serde_json::{Value, json};

use super::agents::{Replica, acts, plan, runner};
use super::switching::is_asked_by_an_undo;
use super::view::through;
use super::writing::{deployment, mesh, never, revisions, starts};

const RIGHTS: &str = "{apiGroups: [apps], resources: [deployments, statefulsets, daemonsets], verbs: [get, patch]}, \
     {apiGroups: [policy], resources: [poddisruptionbudgets], verbs: [list]}, {apiGroups: [\"\"], resources: [configmaps], verbs: [get]}";
/// A lease that nobody renews any more ends, and the other replica goes on.
const UNTIL_TAKEN_OVER: Duration = Duration::from_secs(120);

/// A step that rolls out Deployment `name`.
fn rollout(space: &Space<'_>, name: &str, with: &str) -> String {
    let namespace = space.name();
    format!(
        "    - {{name: rollout, uses: kube.rollout, retry: {{attempts: 4, backoff: 1s}}, with: {{namespace: {namespace}, name: {name}, within: 3m, {with}}}}}\n"
    )
}

fn level(to: &str) -> String {
    format!("env: {{app: {{LEVEL: {to}}}}}")
}

/// What a Deployment's pods are made of.
fn template(space: &Space<'_>, name: &str) -> Value {
    space.json(&["get", "deployment", name]).expect("it")["spec"]["template"].clone()
}

fn level_of(template: &Value) -> &Value {
    template.pointer("/spec/containers/0/env/0/value").unwrap_or(&Value::Null)
}

/// Waits until all pods are of the level.
async fn reaches(space: &Space<'_>, name: &str, level: &str) {
    let is = |web: &Value| {
        let of = |field: &str| web.pointer(&format!("/status/{field}")).and_then(Value::as_i64);
        let is_whole = of("updatedReplicas") == Some(2) && of("replicas") == Some(2) && of("availableReplicas") == Some(2);
        let is_seen = of("observedGeneration") == web.pointer("/metadata/generation").and_then(Value::as_i64);
        (level_of(&web["spec"]["template"]) == level && is_whole && is_seen).then_some(())
    };
    space.until(PATIENCE, &["deployment", name], is).await;
}

fn remarks(up: &Up, words: &[&str]) -> Vec<(String, String)> {
    let preview = up.json(&[&["plan", "preview"], words].concat());
    let text = |remark: &Value, field: &str| remark[field].as_str().unwrap_or_default().to_owned();
    preview["remarks"].as_array().into_iter().flatten().map(|remark| (text(remark, "severity"), text(remark, "message"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_is_previewed_done_and_taken_back_to_the_exact_template_unless_somebody_has_changed_it() {
    let cluster = Cluster::shared();
    let space = cluster.space("rollout");
    let (up, _first, _second) = mesh(cluster).await;
    deployment(&space, "web", 0);
    let name = space.name();
    let first = template(&space, "web");

    // What the account may not do is named, and nothing is done.
    let ended = up.ended(&starts(&up, "forbidden", &rollout(&space, "web", &level("debug")))).await;
    let lacks = format!(
        "ServiceAccount {name}/mainstay-runner lacks the right to get deployments of apps in {name}; patch deployments of apps in {name}; list poddisruptionbudgets"
    );
    assert!(ended["state"] == "failed" && ended.to_string().contains(&lacks), "{ended}");
    runner(&space, RIGHTS);

    // What is wrong is said before anything is changed.
    let wrong = [
        ("none", level("debug"), "there is none"),
        ("web", "images: {web: \"x:1\"}".to_owned(), "it has no container `web`: it has app"),
        ("web", "resources: {app: {requests: {cpu: much}}}".to_owned(), "quantities must match"),
        ("web", "object: {spec: {template: {spec: {containers: [{name: app, image: \"x:1\"}]}}}}".to_owned(), "takeOver: true"),
    ];
    for (number, (of, with, words)) in wrong.iter().enumerate() {
        let ended = up.ended(&starts(&up, &format!("wrong-{number}"), &rollout(&space, of, with))).await;
        assert!(ended["state"] == "failed" && ended.to_string().contains(words), "{words}: {ended}");
    }
    assert_eq!((revisions(&space, "web"), template(&space, "web")), (1, first.clone()));

    // A preview says what would be changed, and what will be noticed.
    let file = up.scratch().join("rollout.yaml");
    std::fs::write(&file, plan("previewed", &rollout(&space, "web", "images: {app: \"mainstay.test/busybox:latest\"}"))).expect("the plan's file");
    let seen = remarks(&up, &["-f", &file.display().to_string()]);
    for (severity, words) in [
        ("note", "spec.containers[app].image: mainstay.test/busybox:1 → mainstay.test/busybox:latest"),
        ("warning", "terminationGracePeriodSeconds is 0"),
        ("warning", "mainstay.test/busybox:latest: whatever is newest"),
    ] {
        assert!(seen.iter().any(|(found, message)| found == severity && message.contains(words)), "{words}: {seen:?}");
    }
    assert_eq!(template(&space, "web"), first, "a preview changes nothing");

    // To its end; what is so already is left as it is.
    let ended = up.ended(&starts(&up, "done", &rollout(&space, "web", &level("debug")))).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    assert!(ended.to_string().contains("rolled out: all of its 2 pods are new and available"), "{ended}");
    reaches(&space, "web", "debug").await;
    let second = template(&space, "web");
    let ended = up.ended(&starts(&up, "again", &rollout(&space, "web", &level("debug")))).await;
    assert!(ended["state"] == "completed" && ended.to_string().contains("it is what the plan says"), "{ended}");
    assert_eq!(revisions(&space, "web"), 2, "one rollout");
    let inputs = [format!("space={name}"), "cluster=prod".to_owned(), "name=web".to_owned(), "image=mainstay.test/busybox:1".to_owned()];
    let set: Vec<&str> = inputs.iter().flat_map(|input| ["--set", input.as_str()]).collect();
    let run = up.json(&[&["run", "start", "rolling-update"], set.as_slice()].concat())["run"].as_str().expect("a run").to_owned();
    let ended = up.ended(&run).await;
    assert!(ended["state"] == "completed" && ended.to_string().contains("it is what the plan says"), "{ended}");

    // Taken back, though the earlier revisions are gone.
    let then_fails = |to: &str| [rollout(&space, "web", &level(to)), never(name, "rollout", "40s")].concat();
    let run = starts(&up, "back", &then_fails("trace"));
    reaches(&space, "web", "trace").await;
    let sets = space.json(&["get", "replicasets", "-l", "app=web"]).expect("its ReplicaSets");
    for set in sets["items"].as_array().expect("a list").iter().filter(|set| set["spec"]["replicas"] == 0) {
        space.kubectl(&["delete", "replicaset", set["metadata"]["name"].as_str().expect("a name")]).expect("it goes");
    }
    let ended = up.ended(&run).await;
    assert_eq!((&ended["state"], template(&space, "web")), (&json!("failed"), second), "{ended}");
    assert!(ended.to_string().contains("it is what it was, and so are all of its pods"), "{ended}");
    reaches(&space, "web", "debug").await;

    // Somebody changes it in between: it is left to a person.
    let run = starts(&up, "meddled", &then_fails("trace"));
    reaches(&space, "web", "trace").await;
    space.kubectl(&["set", "env", "deployment/web", "LEVEL=mine"]).expect("somebody changes it");
    let ended = up.ended(&run).await;
    assert!(ended.to_string().contains("has changed it since: it is left as it is"), "{ended}");
    assert_eq!(level_of(&template(&space, "web")), "mine");
}

/// Starts rollouts that do not move, each of a Deployment and for a reason of its own: the run, the Deployment, what its pods
/// were made of, and what it has to say.
fn do_not_move(up: &Up, space: &Space<'_>) -> Vec<(String, &'static str, Value, Vec<&'static str>)> {
    const BACK: &str = "it was put back, and all of its pods are what they were";
    let changed = |what: &str| format!("object: {{spec: {{template: {{spec: {{containers: [{{name: app, {what}}}]}}}}}}}}, takeOver: true");
    let all = [
        (
            "crashes",
            format!("{}, patience: 3s", changed("command: [sh, -c, exit 3]")),
            vec!["does not move for 3s", "app ends again and again: ", ", the last time with exit status 3", BACK],
        ),
        (
            "huge",
            "resources: {app: {requests: {cpu: \"100000\"}}}, patience: 3s".to_owned(),
            vec!["does not move for 3s", "no node takes it for ", "Insufficient cpu", BACK],
        ),
        (
            "unready",
            format!("{}, within: 25s", changed("readinessProbe: {exec: {command: [\"false\"]}}")),
            vec!["not within 25s", "runs and has not been ready for ", BACK],
        ),
        ("held", format!("{}, within: 6s", level("debug")), vec!["not within 6s: the disruption budget held lets no pod go", "nothing was changed"]),
    ];
    let objects = all.iter().map(|(name, ..)| {
        // Where a pod may go before its replacement is there, its budget is asked.
        let strategy = if *name == "held" { "strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}, " } else { "" };
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{replicas: 2, {strategy}selector: {{matchLabels: {{app: {name}}}}}, template: \
             {{metadata: {{labels: {{app: {name}}}}}, spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: app, image: \"mainstay.test/busybox:1\", \
             readinessProbe: {{exec: {{command: [\"true\"]}}, periodSeconds: 1}}}}]}}}}}}}}\n---\n"
        )
    });
    let budget =
        "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: held}, spec: {minAvailable: 2, selector: {matchLabels: {app: held}}}}\n";
    space.apply(&[objects.collect::<String>(), budget.to_owned()].concat());
    space.kubectl(&["wait", "deployment", "--all", "--for=condition=Available", "--timeout=180s"]).expect("they come");
    let begun = |(name, with, said): (&'static str, String, Vec<&'static str>)| {
        let step = rollout(space, name, &with).replace("attempts: 4", "attempts: 1");
        let step = if with.contains("within: ") { step.replace("within: 3m, ", "") } else { step };
        let before = template(space, name);
        (starts(up, name, &step), name, before, said)
    };
    all.into_iter().map(begun).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_whose_pods_do_not_come_or_that_is_called_off_comes_back_by_itself() {
    let cluster = Cluster::shared();
    let space = cluster.space("comesback");
    let (up, _first, _second) = mesh(cluster).await;
    runner(&space, RIGHTS);
    deployment(&space, "web", 0);
    let name = space.name();
    let first = template(&space, "web");
    // They go beside all that follows.
    let still = do_not_move(&up, &space);
    let inputs = [
        format!("space={name}"),
        "cluster=prod".to_owned(),
        "name=web".to_owned(),
        "image=mainstay.test/none:2".to_owned(),
        "patience=3s".to_owned(),
    ];
    let set: Vec<&str> = inputs.iter().flat_map(|input| ["--set", input.as_str()]).collect();
    let run = up.json(&[&["run", "start", "rolling-update"], set.as_slice()].concat())["run"].as_str().expect("a run").to_owned();
    let ended = up.ended(&run).await;
    assert_eq!((&ended["state"], template(&space, "web")), (&json!("failed"), first.clone()), "{ended}");
    let text = ended.to_string();
    for words in [
        "the image mainstay.test/none:2 of app cannot be pulled",
        "it was put back, and all of its pods are what they were",
        "an earlier attempt has stopped it",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(revisions(&space, "web"), 2, "it was not begun a second time");

    // Called off in the middle.
    let run = starts(&up, "aborted", &rollout(&space, "web", "image: \"mainstay.test/none:2\""));
    space.until(PATIENCE, &["deployment", "web"], |web| (web.pointer("/status/updatedReplicas")? == 1).then_some(())).await;
    let aborted = up.cli(&["run", "abort", &run, "--reason", "enough"]);
    assert!(aborted.status.success(), "{}", String::from_utf8_lossy(&aborted.stderr));
    let ended = up.ended(&run).await;
    assert_eq!(template(&space, "web"), first, "{ended}");
    assert!(ended.to_string().contains("it was called off") && ended.to_string().contains("it was put back"), "{ended}");

    // A gate that fails in the middle.
    space.kubectl(&["create", "configmap", "state", "--from-literal=is=well"]).expect("it is made");
    let gate = "gates: [{object: {kind: ConfigMap, name: state, that: \"object.data.is == 'well'\"}}]";
    let run = starts(&up, "gated", &rollout(&space, "web", &format!("image: \"mainstay.test/none:2\", {gate}")));
    space.until(PATIENCE, &["deployment", "web"], |web| (web.pointer("/status/updatedReplicas")? == 1).then_some(())).await;
    space.kubectl(&["patch", "configmap", "state", "-p", r#"{"data":{"is":"ill"}}"#]).expect("it is ill");
    let ended = up.ended(&run).await;
    assert_eq!((&ended["state"], template(&space, "web")), (&json!("failed"), first.clone()), "{ended}");
    let text = ended.to_string();
    assert!(text.contains("ConfigMap") && text.contains("has failed: ") && text.contains("it was put back"), "{text}");
    // Whether it was ill before or became so, it is what it was.
    let ended = up.ended(&starts(&up, "ill", &rollout(&space, "web", &format!("{}, {gate}", level("ill"))))).await;
    assert_eq!((&ended["state"], template(&space, "web")), (&json!("failed"), first.clone()), "{ended}");

    // Error lines of the new pods, which are read as the runner of the namespace.
    let talks = "object: {spec: {template: {spec: {containers: [{name: app, command: [sh, -c, \"while sleep 1; do echo ERROR no database; done\"], \
         readinessProbe: {exec: {command: [\"false\"]}}}]}}}}, takeOver: true, gates: [{logErrors: {selector: app=web, most: 2}, every: 1s}]";
    let ended = up.ended(&starts(&up, "deaf", &rollout(&space, "web", talks))).await;
    assert!(ended["state"] == "failed" && ended.to_string().contains("mainstay-runner needs the right"), "{ended}");
    assert_eq!(template(&space, "web"), first, "what cannot be watched does not stay: {ended}");
    runner(
        &space,
        &format!("{RIGHTS}, {{apiGroups: [\"\"], resources: [pods], verbs: [list]}}, {{apiGroups: [\"\"], resources: [pods/log], verbs: [get]}}"),
    );
    let ended = up.ended(&starts(&up, "talks", &rollout(&space, "web", talks))).await;
    assert_eq!((&ended["state"], template(&space, "web")), (&json!("failed"), first.clone()), "{ended}");
    let text = ended.to_string();
    for words in ["logErrors app=web has failed: ", "and 2 is the most, such as web-", ": ERROR no database", "it was put back"] {
        assert!(text.contains(words), "{words}: {text}");
    }

    // Each of those that do not move has said why, and is what it was.
    for (run, name, before, said) in still {
        let ended = up.ended(&run).await;
        assert_eq!((&ended["state"], template(&space, name)), (&json!("failed"), before), "{name}: {ended}");
        let text = ended.to_string();
        said.iter().for_each(|words| assert!(text.contains(words), "{name}: {words}: {text}"));
    }

    // A quota that leaves no room for new pods.
    space.apply("{apiVersion: v1, kind: ResourceQuota, metadata: {name: small}, spec: {hard: {pods: 2}}}\n");
    let ended = up.ended(&starts(&up, "full", &rollout(&space, "web", &format!("{}, patience: 3s", level("debug"))))).await;
    assert_eq!((&ended["state"], template(&space, "web")), (&json!("failed"), first), "{ended}");
    assert!(ended.to_string().contains("its pods cannot be made") && ended.to_string().contains("exceeded quota: small"), "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_rolls_out_and_a_replica_that_dies_in_the_middle_is_followed_by_one_that_goes_on() {
    let cluster = Cluster::shared();
    let space = cluster.space("followed");
    let (up, first, _second) = mesh(cluster).await;
    runner(&space, RIGHTS);
    deployment(&space, "slow", 12);
    let name = space.name();
    for (kind, of, more) in [("StatefulSet", "store", "replicas: 2, serviceName: store, "), ("DaemonSet", "each", "")] {
        space.apply(&format!(
            "{{apiVersion: apps/v1, kind: {kind}, metadata: {{name: {of}}}, spec: {{{more}selector: {{matchLabels: {{app: {of}}}}}, template: {{metadata: {{labels: {{app: {of}}}}}, \
             spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: app, image: \"mainstay.test/busybox:1\"}}]}}}}}}}}\n"
        ));
        space.kubectl(&["rollout", "status", &format!("{kind}/{of}"), "--timeout=120s"]).expect("it comes");
        let step = rollout(&space, of, &format!("kind: {kind}, {}", level("debug")));
        let run = up.start_run(of, &plan(of, &[step, never(name, "rollout", "2s")].concat()));
        let ended = up.ended(&run).await;
        let text = ended.to_string();
        assert!(text.contains("pods are new and available") || text.contains("its pod is new and available"), "{kind}: {text}");
        assert!(text.contains("it is what it was, and so are all of its pods"), "{kind}: {text}");
        let now = space.json(&["get", kind, of]).expect("it");
        assert_eq!(level_of(&now["spec"]["template"]), &Value::Null, "{kind}: {now}");
    }

    let run = starts(&up, "followed", &rollout(&space, "slow", &level("debug")));
    space.until(PATIENCE, &["deployment", "slow"], |slow| (slow.pointer("/status/updatedReplicas")? == 1).then_some(())).await;
    drop(first);
    acts(&up, "r2").await;
    let is_done = || {
        let ended = up.json(&["run", "show", &run]);
        std::future::ready(if ended["state"] == "completed" { Ok(()) } else { Err(ended.to_string()) })
    };
    eventually_within(UNTIL_TAKEN_OVER, "it comes to its end", is_done).await;
    let ended = up.json(&["run", "show", &run]);
    let by = ended["work"][0]["attempts"].as_array().expect("attempts");
    assert!(
        by.first().is_some_and(|first| first["agent"] == "prod/agent/r1") && by.last().is_some_and(|last| last["agent"] == "prod/agent/r2"),
        "{ended}"
    );
    reaches(&space, "slow", "debug").await;
    assert_eq!(revisions(&space, "slow"), 2, "one rollout");

    // Two at a time wait for each other.
    let one = starts(&up, "one", &rollout(&space, "slow", &level("one")));
    space.until(PATIENCE, &["deployment", "slow"], |slow| (level_of(&slow["spec"]["template"]) == "one").then_some(())).await;
    let two = starts(&up, "two", &rollout(&space, "slow", &level("two")));
    let [one, two] = [up.ended(&one).await, up.ended(&two).await];
    assert!(one["state"] == "completed" && two["state"] == "completed", "{one} {two}");
    reaches(&space, "slow", "two").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_waits_for_an_api_server_that_refuses() {
    let cluster = Cluster::shared();
    let space = cluster.space("refused");
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    let proxy = Proxy::of(cluster).await;
    let kubeconfig = through(&proxy, cluster, &up);
    let _replica = Replica::start_with(&up, "prod", "r1", &kubeconfig, "[policy]\nallow = [\"*\"]\n");
    acts(&up, "r1").await;
    runner(&space, RIGHTS);
    deployment(&space, "slow", 6);
    let steps = [rollout(&space, "slow", &level("debug")), never(space.name(), "rollout", "6s")];
    let run = starts(&up, "patient", &steps.concat());
    space.until(PATIENCE, &["deployment", "slow"], |slow| (slow.pointer("/status/updatedReplicas")? == 1).then_some(())).await;
    for refusal in ["429 Too Many Requests\r\nRetry-After: 1", "500 Internal Server Error"] {
        let begun = Instant::now();
        proxy.is(Trouble::Refused(refusal));
        proxy.cut();
        let asked = || {
            let asked = proxy.asked_since(begun).iter().filter(|line| line.contains("deployments/slow")).count();
            std::future::ready(if asked >= 3 { Ok(()) } else { Err(asked.to_string()) })
        };
        eventually_within(PATIENCE, "it is asked more than once", asked).await;
        proxy.is(Trouble::Nothing);
    }
    let done = up.work_is(&run, "rollout", &["succeeded"]).await;
    assert!(done.to_string().contains("rolled out: all of its 2 pods are new and available"), "{done}");
    assert_eq!((level_of(&template(&space, "slow")), revisions(&space, "slow")), (&json!("debug"), 2), "one rollout");

    // So does what takes it back.
    proxy.is(Trouble::Refused("503 Service Unavailable"));
    up.work_is(&run, "never", &["failed"]).await;
    is_asked_by_an_undo(&proxy, "deployments/slow").await;
    assert_eq!((&up.run(&run)["state"], level_of(&template(&space, "slow"))), (&json!("undoing"), &json!("debug")), "it could not be taken back yet");
    proxy.is(Trouble::Nothing);
    let ended = up.ended(&run).await;
    assert_eq!((&ended["state"], level_of(&template(&space, "slow"))), (&json!("failed"), &Value::Null), "{ended}");
    assert!(ended.to_string().contains("it is what it was, and so are all of its pods"), "{ended}");
    assert_eq!(revisions(&space, "slow"), 2, "one rollout, and back");
}
