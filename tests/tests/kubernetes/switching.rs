//! Traffic is led elsewhere in a real cluster, under a client that never stops and never retries.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mainstay_tests::kubernetes::steady::{Asked, CLIENTS, Sort, Steady, failures};
use mainstay_tests::kubernetes::{Cluster, Proxy, Space, Trouble};
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::{PATIENCE, eventually, eventually_within};
use serde_json::{Value, json};

use super::agents::{MANIFEST, Replica, acts, kubeconfig, plan, runner};

/// A lease that nobody renews any more ends, and the other replica takes up what is to be done again.
const UNTIL_TAKEN_OVER: Duration = Duration::from_secs(120);
/// From the first failure on, what may still fail: two probes, what takes the switch back, and the proxies.
pub const UNTIL_BACK: Duration = Duration::from_secs(3);

pub const RIGHTS: &str = "{apiGroups: [apps], resources: [deployments, statefulsets], verbs: [get, list, patch]}, \
     {apiGroups: [\"\"], resources: [services], verbs: [get, patch]}, {apiGroups: [\"\"], resources: [pods], verbs: [list]}, \
     {apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [get, patch]}, \
     {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list]}";

/// A mesh whose cluster has one replica.
async fn mesh(cluster: &Cluster) -> (Up, Replica) {
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    cluster.apply(MANIFEST);
    let kubeconfig = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
    let first = Replica::start_with(&up, "prod", "r1", &kubeconfig, "[policy]\nallow = [\"*\"]\n");
    acts(&up, "r1").await;
    (up, first)
}

/// Servers of one colour, which say who they are, and go on for a while when they are to end.
pub fn colour(space: &Space<'_>, colour: &str, replicas: u32) {
    space.apply(&format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web-{colour}}}, spec: {{replicas: {replicas}, \
         selector: {{matchLabels: {{app: web, colour: {colour}}}}}, template: {{metadata: {{labels: {{app: web, colour: {colour}}}}}, spec: {{\
         containers: [{{name: web, image: \"mainstay.test/nginx:1\", lifecycle: {{preStop: {{sleep: {{seconds: 4}}}}}}, \
         readinessProbe: {{httpGet: {{port: 80}}, periodSeconds: 1}}}}]}}}}}}}}\n"
    ));
    space.wait(&format!("deployment/web-{colour}"), "condition=Available");
}

/// A Service that leads to blue, and its address.
pub async fn service(space: &Space<'_>, name: &str) -> SocketAddr {
    space.apply(&format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{selector: {{app: web, colour: blue}}, ports: [{{port: 80}}]}}}}\n"
    ));
    let address = space.until(PATIENCE, &["service", name], |service| service.pointer("/spec/clusterIP")?.as_str()?.parse().ok()).await;
    let address = SocketAddr::new(address, 80);
    let reached = || async { tokio::net::TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string()) };
    eventually("the Service is reached", reached).await;
    address
}

pub fn leads_to(space: &Space<'_>, name: &str) -> String {
    let service = space.json(&["get", "service", name]).expect("it");
    service.pointer("/spec/selector/colour").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Reads what is live, and leads the Services to the other.
pub fn switch(space: &Space<'_>, names: &str, more: &str) -> String {
    let name = space.name();
    format!(
        "    - {{name: live, uses: kube.live, with: {{namespace: {name}, names: [{names}], label: colour, of: [blue, green]}}}}\n    \
         - {{name: switch, uses: kube.switch, needs: [live], retry: {{attempts: 4, backoff: 1s}}, with: {{namespace: {name}, names: [{names}], label: colour, \
         from: \"${{{{ steps.live.outputs.live }}}}\", to: \"${{{{ steps.live.outputs.next }}}}\", seen: \"${{{{ steps.live.outputs.seen }}}}\", \
         ready: \"${{{{ steps.live.outputs.pods }}}}\"{more}}}}}\n"
    )
}

pub fn watch(space: &Space<'_>, address: SocketAddr, window: &str) -> String {
    format!(
        "    - {{name: watch, uses: kube.watch, needs: [switch], with: {{namespace: {}, for: {window}, \
         gates: [{{http: {{url: \"http://{address}/\", contains: web-}}, every: 1s, failures: 2}}]}}}}\n",
        space.name()
    )
}

/// A step that fails, so that what was done before it is taken back. It gives time to look, and to meddle.
fn never(space: &Space<'_>, within: &str) -> String {
    let name = space.name();
    format!(
        "    - {{name: never, needs: [switch], uses: kube.wait, with: {{apiVersion: apps/v1, kind: Deployment, namespace: {name}, name: none, until: \"object != null\", within: {within}}}}}\n"
    )
}

/// New connections that were answered by somebody of that colour.
pub fn by<'a>(asked: &'a [Asked], colour: &str) -> Vec<&'a Asked> {
    let prefix = format!("web-{colour}-");
    asked.iter().filter(|one| one.sort == Sort::New && one.answer.as_ref().is_ok_and(|body| body.starts_with(&prefix))).collect()
}

/// Whether a few new connections, one after another, all lead there.
async fn all_by(address: SocketAddr, colour: &str) -> Result<(), String> {
    let steady = Steady::of(address);
    let enough = || std::future::ready(if steady.asked().len() > 40 { Ok(()) } else { Err("few answers".to_owned()) });
    eventually("there are answers", enough).await;
    let asked = steady.end().await;
    let (own, new) = (by(&asked, colour).len(), asked.iter().filter(|one| one.sort == Sort::New).count());
    if own == new { Ok(()) } else { Err(format!("{own} of {new}")) }
}

/// What takes a step back has asked from here on: what the API server knows, for its rights, or for what it is about.
pub async fn is_asked_by_an_undo(proxy: &Proxy, about: &str) {
    let since = Instant::now();
    let own = ["GET /api/v1 ", "GET /apis/apps/v1 ", "selfsubjectaccessreviews", about];
    let is_asked = || {
        let asked = proxy.asked_since(since);
        let is_own = |line: &String| own.iter().any(|part| line.contains(part));
        std::future::ready(if asked.iter().any(is_own) { Ok(()) } else { Err(format!("{asked:?}")) })
    };
    eventually("the undo asks, and is refused", is_asked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_that_is_kept_fails_no_request_and_one_whose_green_fails_is_back_within_seconds() {
    let cluster = Cluster::shared();
    let space = cluster.space("switching");
    let (up, _replica) = mesh(cluster).await;
    runner(&space, RIGHTS);
    colour(&space, "blue", 2);
    colour(&space, "green", 2);
    let address = service(&space, "web").await;
    let name = space.name();

    // Switched, watched, kept; then blue loses its pods.
    let steady = Steady::of(address);
    let end = format!(
        "    - {{name: end, needs: [watch], uses: kube.scale, with: {{namespace: {name}, name: \"${{{{ steps.live.outputs.workload }}}}\", replicas: 0, notBehind: [web], within: 90s}}}}\n"
    );
    let run = up.start_run("keep", &plan("keep", &[switch(&space, "web", ""), watch(&space, address, "5s"), end].concat()));
    up.work_is(&run, "switch", &["succeeded"]).await;
    let switched = Instant::now();
    let ended = up.ended(&run).await;
    assert_eq!((&ended["state"], &ended["verdict"]), (&json!("completed"), &json!("ok")), "{ended}");
    let asked = steady.end().await;
    let failed = failures(&asked, Sort::New);
    assert!(failed.is_empty(), "{failed:?} of {} requests", asked.len());
    let cut: usize = failures(&asked, Sort::Kept).values().sum();
    assert!(cut <= CLIENTS, "kept connections moved to green: {:?}", failures(&asked, Sort::Kept));
    let (blue, green) = (by(&asked, "blue"), by(&asked, "green"));
    assert!(blue.len() > 20 && green.len() > 20, "{} and {}", blue.len(), green.len());
    assert!(blue.iter().all(|one| one.at < switched), "a new connection was led to blue after the switch");
    assert!(ended.to_string().contains("it leads to green in place of blue"), "{ended}");
    assert_eq!(leads_to(&space, "web"), "green");

    // Nobody is behind blue any more: the other way is refused, and so is taking pods from under the Service.
    let ended = up.ended(&up.start_run("empty", &plan("empty", &switch(&space, "web", "")))).await;
    assert!(ended.to_string().contains("0 of 0 pods ready, and 2 should be"), "{ended}");
    let scale = format!("    - {{name: end, uses: kube.scale, with: {{namespace: {name}, name: web-green, replicas: 0, notBehind: [web]}}}}\n");
    let ended = up.ended(&up.start_run("under", &plan("under", &scale))).await;
    assert!(ended["state"] == "failed" && ended.to_string().contains("Service web leads to its pods"), "{ended}");
    assert_eq!(leads_to(&space, "web"), "green");

    // Green begins to fail a while after the switch: it is switched back at once.
    space.kubectl(&["scale", "deployment", "web-blue", "web-green", "--replicas=1"]).expect("they are scaled");
    space.kubectl(&["patch", "service", "web", "-p", "{\"spec\":{\"selector\":{\"colour\":\"blue\"}}}"]).expect("it leads to blue");
    let one =
        |deployment: &Value| (deployment.pointer("/status/replicas")? == 1 && deployment.pointer("/status/availableReplicas")? == 1).then_some(());
    space.until(PATIENCE, &["deployment", "web-blue"], one).await;
    space.until(PATIENCE, &["deployment", "web-green"], one).await;
    eventually("all is led to blue", || all_by(address, "blue")).await;
    let green = space.json(&["get", "pods", "-l", "colour=green"]).expect("pods");
    let alive = green["items"].as_array().into_iter().flatten().find(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
    let pod = alive.and_then(|pod| pod.pointer("/metadata/name")?.as_str()).expect("green's pod").to_owned();
    let steady = Steady::of(address);
    let run = up.start_run("fails", &plan("fails", &[switch(&space, "web", ""), watch(&space, address, "2m")].concat()));
    up.work_is(&run, "watch", &["active"]).await;
    let green_answers = || {
        let count = by(&steady.asked(), "green").len();
        std::future::ready(if count > 100 { Ok(()) } else { Err(format!("{count} answers by green")) })
    };
    eventually("green has answered for a while", green_answers).await;
    space.exec(&pod, &["sh", "-c", "> /tmp/index.html"]).expect("it begins to fail");
    let ended = up.ended(&run).await;
    assert_eq!(ended["state"], "failed", "{ended}");
    assert!(ended.to_string().contains("2 probes failed one after another") && ended.to_string().contains("it leads to blue again"), "{ended}");
    let asked = steady.end().await;
    let failed = failures(&asked, Sort::New);
    assert!(failed.is_empty(), "what failed is what green answered, besides {failed:?}");
    let wrong: Vec<&Asked> = asked.iter().filter(|one| one.sort == Sort::New && one.answer.as_ref().is_ok_and(String::is_empty)).collect();
    let (first, last) = (wrong.first().expect("green failed").at, wrong.last().expect("green failed").at);
    assert!(last - first < UNTIL_BACK, "{} failures over {:?}", wrong.len(), last - first);
    assert_eq!(leads_to(&space, "web"), "blue");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_services_are_one_unit_whoever_dies_and_nothing_is_taken_back_over_somebody_else() {
    let cluster = Cluster::shared();
    let space = cluster.space("units");
    let (up, first) = mesh(cluster).await;
    let name = space.name();
    colour(&space, "blue", 1);
    colour(&space, "green", 1);
    service(&space, "web").await;
    service(&space, "admin").await;

    // What the account may not do is named, and nothing was done.
    runner(&space, &RIGHTS.replace("resources: [services], verbs: [get, patch]", "resources: [services], verbs: [get]"));
    let ended = up.ended(&up.start_run("forbidden", &plan("forbidden", &switch(&space, "web", "")))).await;
    assert!(ended.to_string().contains(&format!("ServiceAccount {name}/mainstay-runner lacks the right to patch services in {name}")), "{ended}");
    runner(&space, RIGHTS);
    let refused = async |plan_name: &str, steps: String, part: &str| {
        let ended = up.ended(&up.start_run(plan_name, &plan(plan_name, &steps))).await;
        assert!(ended["state"] == "failed" && ended.to_string().contains(part), "{part}: {ended}");
    };
    let straight = |names: &str, to: &str, more: &str| {
        format!("    - {{name: switch, uses: kube.switch, with: {{namespace: {name}, names: [{names}], label: colour, to: {to}{more}}}}}\n")
    };
    refused("missing", straight("none", "green", ""), "services \\\"none\\\" not found").await;
    refused("nobody", straight("\"web\", admin", "red", ""), "pods with app=web,colour=red: 0 of 0 pods ready, and 1 should be").await;
    refused("stale", straight("web", "green", ", from: green"), "`to` has to name somebody else than `from`").await;
    refused("moved", straight("web", "green", ", from: red"), "it leads to blue, and what was to be live is red").await;
    refused("older", straight("web", "green", ", seen: web=1"), "it was changed since it was looked at").await;
    assert_eq!((leads_to(&space, "web").as_str(), leads_to(&space, "admin").as_str()), ("blue", "blue"));

    // One of two cannot be: neither is.
    refused("half", straight("web, none", "green", ""), "services \\\"none\\\" not found").await;
    space.kubectl(&["patch", "service", "admin", "-p", "{\"spec\":{\"selector\":{\"colour\":\"green\"}}}"]).expect("they differ");
    refused("torn", switch(&space, "web, admin", ""), "web leads to blue, and admin to green").await;
    space.kubectl(&["patch", "service", "admin", "-p", "{\"spec\":{\"selector\":{\"colour\":\"blue\"}}}"]).expect("they do not");

    // The replica dies amid it, and the next one goes on.
    let kubeconfig = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
    let _second = Replica::start_with(&up, "prod", "r2", &kubeconfig, "[policy]\nallow = [\"*\"]\n");
    let run = up.start_run("work", &plan("work", &switch(&space, "web, admin", ", settle: 20s, within: 2m")));
    let both = || {
        let is = leads_to(&space, "web") == "green" && leads_to(&space, "admin") == "green";
        std::future::ready(if is { Ok(()) } else { Err("not yet".to_owned()) })
    };
    eventually_within(UNTIL_TAKEN_OVER, "both are switched", both).await;
    drop(first);
    let ended = up.ended(&run).await;
    assert_eq!((&ended["state"], &ended["verdict"]), (&json!("completed"), &json!("ok")), "{ended}");
    assert_eq!((leads_to(&space, "web").as_str(), leads_to(&space, "admin").as_str()), ("green", "green"));

    // It is taken back, by the other replica, to what was live; and an abort amid it leaves nothing half done.
    let undone = up.cli(&["run", "undo", &run, "--reason", "enough"]);
    assert!(undone.status.success(), "{}", String::from_utf8_lossy(&undone.stderr));
    eventually("both are switched back", || {
        let is = leads_to(&space, "web") == "blue" && leads_to(&space, "admin") == "blue";
        std::future::ready(if is { Ok(()) } else { Err(up.run(&run).to_string()) })
    })
    .await;
    up.ended(&run).await;
    let run = up.start_run("aborted", &plan("aborted", &switch(&space, "web, admin", ", settle: 90s, within: 3m")));
    eventually_within(UNTIL_TAKEN_OVER, "both are switched again", both).await;
    let aborted = up.cli(&["run", "abort", &run, "--reason", "enough"]);
    assert!(aborted.status.success(), "{}", String::from_utf8_lossy(&aborted.stderr));
    up.ended(&run).await;
    assert_eq!((leads_to(&space, "web").as_str(), leads_to(&space, "admin").as_str()), ("blue", "blue"), "{}", up.run(&run));

    // Somebody changes one of them in between: both are left to a person.
    let run = up.start_run("meddled", &plan("meddled", &[switch(&space, "web, admin", ""), never(&space, "15s")].concat()));
    up.work_is(&run, "switch", &["succeeded"]).await;
    space.kubectl(&["patch", "service", "admin", "-p", "{\"spec\":{\"selector\":{\"tier\":\"back\"}}}"]).expect("somebody edits it");
    let ended = up.ended(&run).await;
    assert!(ended.to_string().contains("somebody has changed it since: it leads to green, and the step left green"), "{ended}");
    assert_eq!((leads_to(&space, "web").as_str(), leads_to(&space, "admin").as_str()), ("green", "green"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingress_is_led_from_one_service_to_another_and_back() {
    let cluster = Cluster::shared();
    let space = cluster.space("ingresses");
    let (up, _replica) = mesh(cluster).await;
    runner(&space, RIGHTS);
    let name = space.name();
    for colour_of in ["blue", "green"] {
        colour(&space, colour_of, 1);
        space.apply(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: web-{colour_of}}}, spec: {{selector: {{app: web, colour: {colour_of}}}, ports: [{{port: 80}}]}}}}\n"
        ));
    }
    let path =
        |path: &str, service: &str| format!("{{path: {path}, pathType: Prefix, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}");
    space.apply(&format!(
        "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: web}}, spec: {{rules: [{{host: shop.example, http: {{paths: [{}, {}]}}}}]}}}}\n",
        path("/", "web-blue"),
        path("/api", "api")
    ));
    let led = || {
        let ingress = space.json(&["get", "ingress", "web"]).expect("it");
        let at = |n: usize| {
            ingress.pointer(&format!("/spec/rules/0/http/paths/{n}/backend/service/name")).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        (at(0), at(1))
    };
    let steps = format!(
        "    - {{name: live, uses: kube.live, with: {{namespace: {name}, kind: Ingress, names: [web], of: [web-blue, web-green]}}}}\n    \
         - {{name: switch, uses: kube.switch, needs: [live], with: {{namespace: {name}, kind: Ingress, names: [web], settle: 1s, \
         from: \"${{{{ steps.live.outputs.live }}}}\", to: \"${{{{ steps.live.outputs.next }}}}\"}}}}\n"
    );
    let ended = up.ended(&up.start_run("ingress", &plan("ingress", &steps))).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    assert_eq!(led(), ("web-green".to_owned(), "api".to_owned()));
    let ended = up.ended(&up.start_run("ingress-back", &plan("ingress-back", &[steps, never(&space, "1s")].concat()))).await;
    assert_eq!(ended["state"], "failed", "{ended}");
    assert_eq!(led(), ("web-green".to_owned(), "api".to_owned()), "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_overloaded_is_waited_for_and_one_that_fails_leaves_nothing_half_done() {
    let cluster = Cluster::shared();
    let space = cluster.space("overloaded");
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    cluster.apply(MANIFEST);
    runner(&space, RIGHTS);
    colour(&space, "blue", 1);
    colour(&space, "green", 1);
    service(&space, "web").await;
    let proxy = Proxy::of(cluster).await;
    let file = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
    let mut settings: Value = serde_json::from_str(&std::fs::read_to_string(&file).expect("the settings")).expect("JSON");
    settings["clusters"][0]["cluster"] = json!({ "server": proxy.url() });
    std::fs::write(&file, settings.to_string()).expect("the settings' file");
    let _replica = Replica::start_with(&up, "prod", "r1", &file, "[policy]\nallow = [\"*\"]\n");
    acts(&up, "r1").await;

    proxy.is(Trouble::Refused("429 Too Many Requests\r\nRetry-After: 1"));
    let begun = Instant::now();
    let run = up.start_run("overloaded", &plan("overloaded", &switch(&space, "web", "")));
    let is_asked = || {
        let asked = proxy.asked_since(begun).iter().filter(|line| line.contains("/api/v1")).count();
        std::future::ready(if asked > 3 { Ok(()) } else { Err(format!("{asked} times")) })
    };
    eventually("the API server is asked and refuses", is_asked).await;
    proxy.is(Trouble::Nothing);
    let ended = up.ended(&run).await;
    assert_eq!((&ended["state"], leads_to(&space, "web").as_str()), (&json!("completed"), "green"), "{ended}");

    proxy.is(Trouble::Refused("500 Internal Server Error"));
    let name = space.name();
    let straight = format!("    - {{name: switch, uses: kube.switch, with: {{namespace: {name}, names: [web], label: colour, to: blue}}}}\n");
    let ended = up.ended(&up.start_run("fails", &plan("fails", &straight.replace("to: blue", "to: blue, within: 8s")))).await;
    let words = "kube.switch: the API server has not answered within 8s, or refused each time: this attempt has switched nothing";
    assert!(ended["state"] == "failed" && ended.to_string().contains(words), "{ended}");
    assert_eq!(leads_to(&space, "web"), "green");
    // One that takes in what it is asked and never answers is not waited for without end.
    proxy.is(Trouble::Hangs);
    let ended = up.ended(&up.start_run("hangs", &plan("hangs", &straight.replace("to: blue", "to: blue, within: 5s")))).await;
    let words = "kube.switch: the API server has not answered within 5s, or refused each time: this attempt has switched nothing";
    assert!(ended["state"] == "failed" && ended.to_string().contains(words), "{ended}");
    assert_eq!(leads_to(&space, "web"), "green");
    proxy.is(Trouble::Nothing);
    proxy.cut();

    // The undo waits for it too.
    let run = up.start_run("back", &plan("back", &[switch(&space, "web", ""), never(&space, "8s")].concat()));
    up.work_is(&run, "switch", &["succeeded"]).await;
    assert_eq!(leads_to(&space, "web"), "blue");
    proxy.is(Trouble::Refused("503 Service Unavailable"));
    up.work_is(&run, "never", &["failed"]).await;
    is_asked_by_an_undo(&proxy, "/services").await;
    assert_eq!((&up.run(&run)["state"], leads_to(&space, "web").as_str()), (&json!("undoing"), "blue"), "it could not be taken back yet");
    proxy.is(Trouble::Nothing);
    let ended = up.ended(&run).await;
    assert_eq!((&ended["state"], leads_to(&space, "web").as_str()), (&json!("failed"), "green"), "{ended}");
}
