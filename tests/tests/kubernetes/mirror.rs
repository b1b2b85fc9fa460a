//! The custom resources, acted on: from `kubectl apply` to a run and back, while replicas die.

use std::process::Output;
use std::time::{Duration, Instant};

use mainstay_tests::eventually;
use mainstay_tests::kubernetes::{Cluster, Proxy, Space, Trouble};
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::{PATIENCE, eventually_within};
use serde_json::{Value, json};

use super::agents::{MANIFEST, Replica, acts, kubeconfig};

/// A lease that nobody renews any more ends, and the other replica acts.
const UNTIL_TAKEN_OVER: Duration = Duration::from_secs(120);
/// How often the mirror asks in vain before the trouble ends.
const ASKED: usize = 3;
/// A schedule has minutes.
const NEXT_MINUTE: Duration = Duration::from_secs(120);

/// Plans of a namespace: one that looks, one that asks a person, one that goes by a clock.
fn plans(namespace: &str) -> String {
    let head = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\n";
    let look = format!("{{name: look, uses: kube.workloads, with: {{namespaces: [{namespace}]}}}}");
    [
        format!("{head}metadata: {{name: look}}\nspec: {{inputs: {{pods: {{type: integer, default: 3}}}}, steps: [{look}]}}\n"),
        format!("{head}metadata: {{name: ask}}\nspec: {{steps: [{{name: ask, uses: approval}}, {look}]}}\n")
            .replace(", with", ", needs: [ask], with"),
        format!("{head}metadata: {{name: often}}\nspec: {{schedules: [{{cron: \"* * * * *\"}}], steps: [{look}]}}\n"),
    ]
    .join("---\n")
}

fn run(name: &str, plan: &str, more: &str) -> String {
    format!("apiVersion: mainstay.dev/v1alpha1\nkind: MaintenanceRun\nmetadata: {{name: {name}}}\nspec: {{plan: {plan}{more}}}\n")
}

fn done(output: &Output) {
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

/// What an object's condition says: status, reason and message.
fn condition<'v>(object: &'v Value, of: &str) -> (&'v str, &'v str, &'v str) {
    let all = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |found: &'v Value, field: &str| found[field].as_str().unwrap_or_default();
    all.iter().find(|found| found["type"] == of).map_or(("", "", ""), |found| (text(found, "status"), text(found, "reason"), text(found, "message")))
}

/// Reasons of the events on an object.
fn told(space: &Space<'_>, name: &str) -> Vec<String> {
    let events = space.json(&["get", "events", "--field-selector", &format!("involvedObject.name={name}")]).expect("events");
    events["items"].as_array().into_iter().flatten().filter_map(|event| event["reason"].as_str().map(str::to_owned)).collect()
}

async fn is_told(space: &Space<'_>, name: &str, reasons: &[&str]) {
    eventually(&format!("{reasons:?} is told of {name}"), || {
        let told = told(space, name);
        std::future::ready(if reasons.iter().all(|reason| told.iter().any(|found| found == reason)) { Ok(()) } else { Err(format!("{told:?}")) })
    })
    .await;
}

/// How many runs the mesh has of a plan.
fn runs(up: &Up, plan: &str) -> usize {
    up.json(&["run", "list", "--plan", plan])["runs"].as_array().map_or(0, Vec::len)
}

/// What is asked for while the way to the API server fails is done when it leads there again, and told once.
async fn whatever_lies_on_the_way(space: &Space<'_>, proxy: &Proxy) {
    let troubles = [Trouble::Refused("429 Too Many Requests\r\nRetry-After: 1"), Trouble::Refused("500 Internal Server Error"), Trouble::Away];
    for (number, trouble) in troubles.into_iter().enumerate() {
        let name = format!("troubled-{number}");
        proxy.is(trouble.clone());
        proxy.cut();
        let begun = Instant::now();
        space.apply(&run(&name, "look", ""));
        eventually(&format!("the mirror asks again: {trouble:?}"), || {
            let asked = proxy.asked_since(begun).into_iter().filter(|line| line.contains("maintenanceruns")).count();
            std::future::ready(if asked >= ASKED { Ok(()) } else { Err(asked.to_string()) })
        })
        .await;
        proxy.is(Trouble::Nothing);
        space.wait(&format!("mrun/{name}"), "condition=Complete");
    }
    // What it writes is written, and it does not hear of it. Watches are cut besides.
    proxy.is(Trouble::AnswersLost);
    proxy.cut();
    space.apply(&run("unheard", "look", ""));
    space.wait("mrun/unheard", "condition=Complete");
    is_told(space, "unheard", &["RunStarted", "RunCompleted"]).await;
    proxy.is(Trouble::Nothing);
    let lost = proxy.lost();
    for what in ["maintenanceruns/unheard/status", "/events"] {
        assert!(lost.iter().any(|line| line.contains(what)), "the answer of {what} was not lost: {lost:?}");
    }
    let told = told(space, "unheard");
    assert_eq!(told.iter().filter(|reason| *reason == "RunCompleted").count(), 1, "{told:?}");
}

/// The definitions are there; nobody acts on them yet.
pub async fn goes_both_ways(cluster: &Cluster) {
    let (space, other) = (cluster.space("mirror"), cluster.space("beside"));
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    cluster.apply(MANIFEST);
    let kubeconfig = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
    let proxy = Proxy::of(cluster).await;
    proxy.leads(&kubeconfig);
    let replica = |id: &str| Replica::start_told(&up, "prod", id, &kubeconfig, "", &["--custom-resources"]);
    let first = replica("r1");
    acts(&up, "r1").await;
    let in_mesh = |name: &str| format!("prod/{}/{name}", space.name());

    // A plan is applied, and asked for by an object.
    space.apply(&plans(space.name()));
    space.wait("mplan/look", "condition=Accepted");
    let listed = up.json(&["plan", "list"]).to_string();
    assert!(listed.contains(&in_mesh("look")), "{listed}");
    space.apply(&run("now", "look", ", inputs: {pods: 4}"));
    space.wait("mrun/now", "condition=Complete");
    let object = space.json(&["get", "mrun", "now"]).expect("the object");
    assert_eq!((&object["status"]["run"], &object["status"]["state"]), (&json!(in_mesh("look-1")), &json!("completed")), "{object}");
    let shown = up.run(&in_mesh("look-1"));
    assert_eq!((&shown["inputs"]["pods"], &shown["startedBy"]), (&json!(4), &json!("cluster/prod/agent/r1")), "{shown}");
    is_told(&space, "now", &["RunStarted", "RunCompleted"]).await;
    is_told(&space, "look", &["PlanAccepted", "RunStarted", "RunCompleted"]).await;

    // A run that somebody started has an object; what is written into that is put back, and where it is deleted, it is made again.
    let started = up.json(&["run", "start", &in_mesh("look")])["run"].as_str().expect("a run").to_owned();
    assert_eq!(started, in_mesh("look-2"));
    space.until(PATIENCE, &["mrun"], |all| all["items"].as_array()?.iter().any(|one| one["metadata"]["name"] == "look-2").then_some(())).await;
    space.wait("mrun/look-2", "condition=Complete");
    let uid = space.json(&["get", "mrun", "look-2"]).expect("it")["metadata"]["uid"].clone();
    space
        .kubectl(&["patch", "mrun", "look-2", "--subresource=status", "--type=merge", "-p", r#"{"status":{"state":"lost","verdict":null}}"#])
        .expect("it may");
    let is_as_it_was = |one: &Value| (one["status"]["state"] == "completed" && one["status"]["verdict"].is_string()).then_some(());
    space.until(PATIENCE, &["mrun", "look-2"], is_as_it_was).await;
    space.kubectl(&["delete", "mrun", "look-2", "--timeout=60s"]).expect("it goes");
    let is_another =
        |all: &Value| all["items"].as_array()?.iter().any(|one| one["metadata"]["name"] == "look-2" && one["metadata"]["uid"] != uid).then_some(());
    space.until(PATIENCE, &["mrun"], is_another).await;
    assert_eq!(up.run(&started)["state"], "completed", "it is the object that was deleted");
    let plan = space.until(PATIENCE, &["mplan", "look"], |plan| (plan["status"]["lastRun"]["run"] == started).then(|| plan.clone())).await;
    assert_eq!((&plan["status"]["revision"], &plan["status"]["observedGeneration"]), (&json!(1), &json!(1)), "{plan}");

    // What is wrong with a plan is said on it, at its field. Nothing of another namespace is touched, by a plan or by a run.
    let refused = plans(space.name()).split("---").next().expect("a plan").replace("name: look}\n", "name: bad}\n");
    for (from, to, field) in [("steps:", "gatess: [], steps:", "spec.gatess"), (space.name(), other.name(), "spec.steps[0].with.namespaces")] {
        assert!(refused.contains(from), "{refused}");
        space.apply(&refused.replace(from, to));
        let is_refused = |plan: &Value| {
            let is_its = plan["status"]["problems"].as_array()?.iter().any(|problem| problem["field"] == field);
            (is_its && plan["status"]["observedGeneration"] == plan["metadata"]["generation"]).then(|| plan.clone())
        };
        let plan = space.until(PATIENCE, &["mplan", "bad"], is_refused).await;
        assert_eq!((condition(&plan, "Accepted").0, condition(&plan, "Stalled").1), ("False", "Invalid"), "{plan}");
    }
    is_told(&space, "bad", &["PlanRefused"]).await;
    other.apply(&run("now", "look", ""));
    let missing = |object: &Value| (condition(object, "Accepted").1 == "NotFound").then(|| object.clone());
    let object = other.until(PATIENCE, &["mrun", "now"], missing).await;
    assert!(condition(&object, "Ready").2.contains(&format!("there is no MaintenancePlan look in namespace {}", other.name())), "{object}");

    // A run waits for a person; its agent dies, and while nobody acts another is asked for.
    space.apply(&run("asks", "ask", ""));
    space.wait("mrun/asks", "condition=AwaitsApproval");
    let object = space.json(&["get", "mrun", "asks"]).expect("the object");
    let waits_for = object["status"]["waitsFor"].as_str().unwrap_or_default();
    assert!(waits_for.contains(&format!("mainstay run approve {}", in_mesh("ask-1"))), "{object}");
    is_told(&space, "asks", &["RunStarted", "WaitsForApproval"]).await;
    let _second = replica("r2");
    drop(first);
    space.apply(&run("later", "look", ""));
    done(&up.cli(&["run", "approve", &in_mesh("ask-1"), "--yes"]));
    acts(&up, "r2").await;
    for object in ["mrun/asks", "mrun/later"] {
        let name = object.trim_start_matches("mrun/");
        space.until(UNTIL_TAKEN_OVER, &["mrun", name], |object| (condition(object, "Complete").0 == "True").then_some(())).await;
    }
    assert_eq!((runs(&up, &in_mesh("look")), runs(&up, &in_mesh("ask"))), (3, 1), "nothing was begun twice");
    let told = told(&space, "now");
    assert_eq!(told.iter().filter(|reason| *reason == "RunCompleted").count(), 1, "nor told twice: {told:?}");

    let before = runs(&up, &in_mesh("look"));
    whatever_lies_on_the_way(&space, &proxy).await;
    assert_eq!(runs(&up, &in_mesh("look")), before + 4, "each was begun once");

    // What a schedule starts is shown.
    let by_schedule = |all: &Value| {
        let all = all["items"].as_array()?;
        let own = all.iter().find(|one| one["spec"]["plan"] == "often" && one["status"]["state"] == "completed")?;
        Some(own["status"]["startedBy"].clone())
    };
    let by = space.until(NEXT_MINUTE, &["mrun"], by_schedule).await;
    assert!(by.as_str().is_some_and(|by| by.starts_with("schedule * * * * *")), "{by}");
    let often = space.json(&["get", "mplan", "often"]).expect("the plan");
    assert!(often["status"]["nextRun"].is_string(), "{often}");

    // The objects go: a run's changes nothing in the mesh, a plan's takes the plan and what shows its runs along.
    space.kubectl(&["delete", "mrun", "now", "--timeout=60s"]).expect("it goes");
    space.until(PATIENCE, &["mrun"], |all| all["items"].as_array()?.iter().any(|one| one["metadata"]["name"] == "look-1").then_some(())).await;
    assert_eq!(up.run(&in_mesh("look-1"))["state"], "completed");
    space.kubectl(&["delete", "mplan", "look", "often", "--timeout=60s"]).expect("they go");
    eventually_within(UNTIL_TAKEN_OVER, "the plans and what shows their runs are gone", || {
        let plans = up.json(&["plan", "list"]).to_string();
        let left = space.kubectl(&["get", "mrun", "-o", "name"]).unwrap_or_else(|error| error);
        let is_left = plans.contains(&in_mesh("look")) || plans.contains(&in_mesh("often")) || left.contains("/look-") || left.contains("/often-");
        std::future::ready(if is_left { Err(format!("{plans}\n{left}")) } else { Ok(()) })
    })
    .await;
    space.kubectl(&["get", "mrun", "later"]).expect("what somebody made stays");
}
