//! An HTTPRoute is led to another Service in shares. Its definition is the Gateway API's own; no gateway acts on it here.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use mainstay_tests::kubernetes::{Cluster, Proxy, Space, Trouble};
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::{PATIENCE, eventually};
use serde_json::{Value, json};

use super::agents::{MANIFEST, Replica, acts, kubeconfig, plan, runner};
use super::switching::colour;

const RIGHTS: &str = "{apiGroups: [gateway.networking.k8s.io], resources: [httproutes], verbs: [get, patch]}, \
     {apiGroups: [\"\"], resources: [services, configmaps], verbs: [get, list, watch]}, {apiGroups: [\"\"], resources: [pods], verbs: [list]}, \
     {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list]}";
const POLICY: &str = "[policy]\nallow = [\"*\"]\n";

/// The kinds of the Gateway API, which stay: they are the cluster's.
fn gateway_api(cluster: &Cluster) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes/gateway-api");
    let output = Command::new(script).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    cluster.kubectl(&["apply", "--server-side", "-f", &format!("{folder}/gateway.networking.k8s.io_httproutes.yaml")]).expect("the definitions");
    cluster.kubectl(&["wait", "--for=condition=Established", "crd/httproutes.gateway.networking.k8s.io", "--timeout=60s"]).expect("they are there");
}

/// Name and weight of each backend of the route's only rule.
fn backends(route: &Value) -> Vec<(String, u64)> {
    let backends = route.pointer("/spec/rules/0/backendRefs").and_then(Value::as_array).cloned().unwrap_or_default();
    backends.iter().map(|one| (one["name"].as_str().unwrap_or_default().to_owned(), one["weight"].as_u64().unwrap_or(1))).collect()
}

fn are(list: &[(&str, u64)]) -> Vec<(String, u64)> {
    list.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
}

/// Whether somebody says that it goes well.
fn well(space: &Space<'_>, says: bool) {
    space.apply(&format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: verdict}}, data: {{well: \"{says}\"}}}}\n"));
}

fn shift(space: &Space<'_>, shares: &str, each: &str) -> String {
    let name = space.name();
    format!(
        "    - {{name: switch, uses: kube.switch, retry: {{attempts: 4, backoff: 1s}}, with: {{namespace: {name}, kind: HTTPRoute, names: [web], from: web-blue, to: web-green, \
         shares: [{shares}], each: {each}, settle: 1s, gates: [{{object: {{kind: ConfigMap, name: verdict, that: 'object.data.well == \"true\"'}}, every: 1s, failures: 1}}]}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_is_led_elsewhere_in_shares_and_back_as_it_was_when_a_gate_fails_or_the_run() {
    let cluster = Cluster::shared();
    let space = cluster.space("routes");
    gateway_api(cluster);
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    cluster.apply(MANIFEST);
    let settings = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
    let proxy = Proxy::of(cluster).await;
    proxy.leads(&settings);
    let first = Replica::start_with(&up, "prod", "r1", &settings, POLICY);
    acts(&up, "r1").await;
    runner(&space, RIGHTS);
    for which in ["blue", "green"] {
        colour(&space, which, 1);
        space.apply(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: web-{which}}}, spec: {{selector: {{app: web, colour: {which}}}, ports: [{{port: 80}}]}}}}\n"
        ));
    }
    well(&space, true);
    space.apply(
        "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: web}, spec: {rules: [{backendRefs: [{name: web-blue, port: 80}, {name: api, port: 80, weight: 2}]}]}}\n",
    );
    let route = || space.json(&["get", "httproute", "web"]).expect("the route");
    let before = route()["spec"]["rules"].clone();
    let led = async |list: &[(&str, u64)]| {
        let wanted = are(list);
        space.until(PATIENCE, &["httproute", "web"], |route| (backends(route) == wanted).then_some(())).await;
    };

    // A gate fails at the second share, which has to last until somebody says so: all goes back at once.
    let run = up.start_run("fails", &plan("fails", &shift(&space, "10, 50", "15s").replace("attempts: 4", "attempts: 1")));
    led(&[("web-blue", 90), ("api", 200), ("web-green", 10)]).await;
    led(&[("web-blue", 50), ("api", 200), ("web-green", 50)]).await;
    well(&space, false);
    let ended = up.ended(&run).await;
    assert!(ended["state"] == "failed" && ended.to_string().contains("at 50 %: the gate"), "{ended}");
    assert_eq!(route()["spec"]["rules"], before, "{ended}");
    well(&space, true);

    // So it does where the API server is away just then: it is asked until it is back.
    let run = up.start_run("away", &plan("away", &shift(&space, "30", "60s").replace("attempts: 4", "attempts: 1")));
    led(&[("web-blue", 70), ("api", 200), ("web-green", 30)]).await;
    let begun = Instant::now();
    proxy.is(Trouble::Refused("503 Service Unavailable"));
    let is_asked = || {
        let asked = proxy.asked_since(begun).iter().filter(|line| line.contains("httproutes/web")).count();
        std::future::ready(if asked > 0 { Ok(()) } else { Err("it has not been asked for the route".to_owned()) })
    };
    eventually("the gate has failed, and the route is to be put back", is_asked).await;
    assert_eq!(up.run(&run)["state"], "running");
    proxy.is(Trouble::Nothing);
    let ended = up.ended(&run).await;
    assert!(ended["state"] == "failed" && ended.to_string().contains("what was switched is switched back"), "{ended}");
    assert_eq!(route()["spec"]["rules"], before, "{ended}");

    // A replica that dies at a share is followed by one that goes on from there; then all of it, and back with the run.
    let never = format!(
        "    - {{name: never, needs: [switch], uses: kube.wait, with: {{kind: ConfigMap, namespace: {}, name: none, until: \"object != null\", within: 3s}}}}\n",
        space.name()
    );
    let run = up.start_run("taken-back", &plan("taken-back", &[shift(&space, "20", "6s"), never].concat()));
    led(&[("web-blue", 80), ("api", 200), ("web-green", 20)]).await;
    let _first = first.again();
    led(&[("web-green", 1), ("api", 2)]).await;
    let ended = up.ended(&run).await;
    assert_eq!(ended["state"], json!("failed"), "{ended}");
    assert_eq!(route()["spec"]["rules"], before, "{ended}");

    // What cannot be said is refused before anything is done.
    let refused = |name: &str, steps: &str| up.start_run(name, &plan(name, steps));
    for (name, steps, part) in [
        ("service", shift(&space, "10", "1s").replace("HTTPRoute", "Service"), "`shares` are for HTTPRoutes"),
        ("order", shift(&space, "50, 10", "1s"), "each more than the one before"),
        ("gates", shift(&space, "", "1s"), "after a switch use kube.watch"),
        ("nobody", shift(&space, "10", "1s").replace("web-green", "none"), "endpoints of Service none: 0 ready"),
    ] {
        let ended = up.ended(&refused(name, &steps)).await;
        assert!(ended["state"] == "failed" && ended.to_string().contains(part), "{name}: {ended}");
    }
    assert_eq!(route()["spec"]["rules"], before);
}
