//! The twelve kinds of faults: how each is put into a cluster, and as what it is found.

use std::fmt::Write as _;

use mainstay_tests::kubernetes::{Cluster, Space};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::application::{secret, volume};

/// What is put, and into what.
pub struct Place<'a> {
    pub cluster: &'a Cluster,
    /// Of the application.
    pub space: &'a Space<'a>,
    /// Where no Job can be made.
    pub closed: &'a Space<'a>,
}

/// One of the twelve.
pub struct Kind {
    pub name: &'static str,
    /// Puts one under a name of its own, in one of its forms; the check and the subject that it is found as.
    pub put: fn(&Place<'_>, &mut StdRng, &str) -> (&'static str, String),
    /// Whether it has to wait until the mesh is installed: helm waits for all nodes.
    pub late: bool,
}

pub const KINDS: [Kind; 12] = [
    Kind { name: "crash loop", put: crash_loop, late: false },
    Kind { name: "image that cannot be pulled", put: image, late: false },
    Kind { name: "unschedulable", put: unschedulable, late: false },
    Kind { name: "not ready", put: not_ready, late: false },
    Kind { name: "Service without endpoints", put: service, late: false },
    Kind { name: "failed Job", put: job, late: false },
    Kind { name: "missed CronJob", put: missed, late: false },
    Kind { name: "full volume", put: full_volume, late: false },
    Kind { name: "OOM kill", put: memory, late: false },
    Kind { name: "expired TLS secret", put: certificate, late: false },
    Kind { name: "node not ready", put: node, late: true },
    Kind { name: "stuck rollout", put: rollout, late: false },
];

/// Pods of this container: alone, of a Deployment, or of a StatefulSet.
fn pods(place: &Place<'_>, rng: &mut StdRng, name: &str, container: &str) -> String {
    let kind = *["Pod", "Deployment", "StatefulSet"].choose(rng).expect("one of three");
    let spec = format!("{{terminationGracePeriodSeconds: 0, containers: [{container}]}}");
    if kind == "Pod" {
        place.space.apply(&format!("{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {spec}}}"));
        return format!("{}/{name}", place.space.name());
    }
    let replicas = rng.random_range(1..=2);
    place.space.apply(&controller(kind, name, replicas, "", &spec));
    format!("{}/{kind}/{name}", place.space.name())
}

fn controller(kind: &str, name: &str, replicas: usize, more: &str, spec: &str) -> String {
    let service = if kind == "StatefulSet" { format!("serviceName: {name}, ") } else { String::new() };
    format!(
        "{{apiVersion: apps/v1, kind: {kind}, metadata: {{name: {name}}}, spec: {{{service}{more}replicas: {replicas}, \
         selector: {{matchLabels: {{app: {name}}}}}, template: {{metadata: {{labels: {{app: {name}}}}}, spec: {spec}}}}}}}"
    )
}

/// A container that waits, or does this.
fn container(words: &str) -> String {
    format!("{{name: app, image: \"mainstay.test/busybox:1\"{words}}}")
}

fn crash_loop(place: &Place<'_>, rng: &mut StdRng, name: &str) -> (&'static str, String) {
    let (after, status) = (rng.random_range(0..=2), rng.random_range(1..=99));
    let words = format!(", command: [sh, -c, \"echo ERROR it does not work >&2; sleep {after}; exit {status}\"]");
    ("kube.pod.crashLoop", pods(place, rng, name, &container(&words)))
}

fn image(place: &Place<'_>, rng: &mut StdRng, name: &str) -> (&'static str, String) {
    let image = *["mainstay.test/none:1", "mainstay.test/busybox:none", "Not/An/Image"].choose(rng).expect("one of three");
    ("kube.pod.image", pods(place, rng, name, &format!("{{name: app, image: \"{image}\"}}")))
}

fn unschedulable(place: &Place<'_>, rng: &mut StdRng, name: &str) -> (&'static str, String) {
    let request = *["cpu: \"1000\"", "memory: 1000Ti", "example.com/gpu: 1"].choose(rng).expect("one of three");
    let limits = if request.contains("gpu") { ", limits: {example.com/gpu: 1}" } else { "" };
    ("kube.pod.unschedulable", pods(place, rng, name, &container(&format!(", resources: {{requests: {{{request}}}{limits}}}"))))
}

fn not_ready(place: &Place<'_>, rng: &mut StdRng, name: &str) -> (&'static str, String) {
    let probe = *["exec: {command: [\"false\"]}", "tcpSocket: {port: 81}"].choose(rng).expect("one of two");
    ("kube.pod.notReady", pods(place, rng, name, &container(&format!(", readinessProbe: {{{probe}, periodSeconds: 1}}"))))
}

fn service(place: &Place<'_>, rng: &mut StdRng, name: &str) -> (&'static str, String) {
    let (check, selector) = if rng.random() { ("kube.service.selector", "selector: {app: nobody}, ") } else { ("kube.service.endpoints", "") };
    place.space.apply(&format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{{selector}ports: [{{port: 80}}]}}}}"));
    (check, format!("{}/Service/{name}", place.space.name()))
}

/// A Job, or a CronJob whose Job it is.
fn job(place: &Place<'_>, rng: &mut StdRng, name: &str) -> (&'static str, String) {
    let job = format!("backoffLimit: 0, template: {{spec: {{restartPolicy: Never, containers: [{}]}}}}", container(", command: [\"false\"]"));
    if rng.random() {
        place.space.apply(&format!("{{apiVersion: batch/v1, kind: Job, metadata: {{name: {name}}}, spec: {{{job}}}}}"));
        return ("kube.job.failed", format!("{}/Job/{name}", place.space.name()));
    }
    cron_job(place.space, name, &job);
    ("kube.cronJob.failed", format!("{}/CronJob/{name}", place.space.name()))
}

fn cron_job(space: &Space<'_>, name: &str, job: &str) {
    let spec = format!("{{schedule: \"* * * * *\", jobTemplate: {{spec: {{{job}}}}}}}");
    space.apply(&format!("{{apiVersion: batch/v1, kind: CronJob, metadata: {{name: {name}}}, spec: {spec}}}"));
}

fn missed(place: &Place<'_>, _: &mut StdRng, name: &str) -> (&'static str, String) {
    place.closed.apply("{apiVersion: v1, kind: ResourceQuota, metadata: {name: none}, spec: {hard: {count/jobs.batch: \"0\"}}}");
    let job = format!("template: {{spec: {{restartPolicy: Never, containers: [{}]}}}}", container(", command: [\"true\"]"));
    cron_job(place.closed, name, &job);
    ("kube.cronJob.missed", format!("{}/CronJob/{name}", place.closed.name()))
}

/// A claim, or a volume in memory, that its pod has filled.
fn full_volume(place: &Place<'_>, rng: &mut StdRng, name: &str) -> (&'static str, String) {
    let node = *["n1", "n2"].choose(rng).expect("one of two");
    let is_claim: bool = rng.random();
    let (source, subject) = if is_claim {
        volume(place.cluster, place.space, name, node, 8);
        (format!("persistentVolumeClaim: {{claimName: {name}}}"), format!("{}/PersistentVolumeClaim/{name}", place.space.name()))
    } else {
        ("emptyDir: {medium: Memory, sizeLimit: 8Mi}".to_owned(), format!("{}/{name}/data", place.space.name()))
    };
    let fill =
        ", command: [sh, -c, \"cat /dev/zero > /data/zeros 2> /dev/null; exec sleep infinity\"], volumeMounts: [{name: data, mountPath: /data}]";
    place.space.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{nodeSelector: {{kubernetes.io/hostname: {node}}}, \
         terminationGracePeriodSeconds: 0, volumes: [{{name: data, {source}}}], containers: [{}]}}}}",
        container(fill)
    ));
    ("volume.used", subject)
}

/// Once: what it is then is a container that was restarted, and runs.
fn memory(place: &Place<'_>, rng: &mut StdRng, name: &str) -> (&'static str, String) {
    let kind = *["Deployment", "StatefulSet"].choose(rng).expect("one of two");
    let once = "[ -e /once/done ] && exec sleep infinity; touch /once/done; exec tail /dev/zero";
    let words = format!(
        ", command: [sh, -c, \"{once}\"], resources: {{limits: {{memory: {}Mi}}}}, volumeMounts: [{{name: once, mountPath: /once}}]",
        rng.random_range(16..=48)
    );
    let spec = format!("{{terminationGracePeriodSeconds: 0, volumes: [{{name: once, emptyDir: {{}}}}], containers: [{}]}}", container(&words));
    place.space.apply(&controller(kind, name, 1, "", &spec));
    ("kube.pod.memory", format!("{}/{kind}/{name}", place.space.name()))
}

fn certificate(place: &Place<'_>, rng: &mut StdRng, name: &str) -> (&'static str, String) {
    secret(place.space, name, -rng.random_range(1..=200));
    ("tls.daysLeft", format!("{}/Secret/{name}", place.space.name()))
}

/// A node that nobody runs, as one is whose machine has died.
fn node(place: &Place<'_>, rng: &mut StdRng, name: &str) -> (&'static str, String) {
    let status = *["Unknown", "False"].choose(rng).expect("one of two");
    let room = "{cpu: \"4\", memory: 8Gi, pods: \"110\"}";
    place.cluster.apply(&format!(
        "{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}, status: {{capacity: {room}, allocatable: {room}, \
         conditions: [{{type: Ready, status: \"{status}\", reason: Gone, message: \"nobody runs it\", \
         lastHeartbeatTime: \"2026-01-01T00:00:00Z\", lastTransitionTime: \"2026-01-01T00:00:00Z\"}}]}}}}"
    ));
    ("kube.node.notReady", format!("Node/{name}"))
}

/// A Deployment that was well, and whose new version does not come up. It is told as what keeps its pods from that.
fn rollout(place: &Place<'_>, rng: &mut StdRng, name: &str) -> (&'static str, String) {
    let spec = |container: &str| format!("{{terminationGracePeriodSeconds: 0, containers: [{container}]}}");
    let version = |container: &str| controller("Deployment", name, 2, "progressDeadlineSeconds: 5, ", &spec(container));
    place.space.apply(&version(&container("")));
    place.space.wait(&format!("deployment/{name}"), "condition=Available");
    let (check, new) = match rng.random_range(0..3) {
        0 => ("kube.pod.image", "{name: app, image: \"mainstay.test/busybox:newer\"}".to_owned()),
        1 => ("kube.pod.notReady", container(", readinessProbe: {exec: {command: [\"false\"]}}")),
        _ => ("kube.pod.crashLoop", container(", command: [\"false\"]")),
    };
    place.space.apply(&version(&new));
    (check, format!("{}/Deployment/{name}", place.space.name()))
}

/// For a message of failure: what there is, by kind, check and subject.
pub fn listed<'a>(faults: impl Iterator<Item = &'a super::Put>) -> String {
    faults.fold(String::new(), |mut text, put| {
        let _ = writeln!(text, "  {}: {} {}", put.kind, put.check, put.subject);
        text
    })
}
