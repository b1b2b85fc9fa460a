//! What the kinds that look find in a real cluster: each fault was put there, and nothing else is told.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use mainstay_tests::kubernetes::{Cluster, Space};
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::eventually_within;
use serde_json::{Value, json};

use super::agents::{MANIFEST, Replica, acts, findings, kubeconfig, plan, runner};

/// A CronJob's Job has failed within two minutes, and one has missed its time within another.
const UNTIL_FOUND: Duration = Duration::from_secs(240);

/// What leads somewhere or does not have to, and what leads nowhere, each in a way of its own.
const SERVICES: &str = r#"
{apiVersion: apps/v1, kind: Deployment, metadata: {name: well}, spec: {selector: {matchLabels: {app: well}}, template: {metadata: {labels: {app: well}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: app, image: "mainstay.test/busybox:1", ports: [{name: http, containerPort: 80}]}]}}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: sick}, spec: {selector: {matchLabels: {app: sick}}, template: {metadata: {labels: {app: sick}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: app, image: "mainstay.test/busybox:1", readinessProbe: {exec: {command: ["false"]}, periodSeconds: 1}}]}}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: idle}, spec: {replicas: 0, selector: {matchLabels: {app: idle}}, template: {metadata: {labels: {app: idle}}, spec: {containers: [{name: app, image: "mainstay.test/busybox:1"}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: well}, spec: {selector: {app: well}, ports: [{port: 80, targetPort: http}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: idle}, spec: {selector: {app: idle}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: names}, spec: {clusterIP: None, selector: {app: nobody}}}
---
{apiVersion: v1, kind: Service, metadata: {name: elsewhere}, spec: {type: ExternalName, externalName: db.example}}
---
{apiVersion: v1, kind: Service, metadata: {name: astray}, spec: {selector: {app: wel}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: sick}, spec: {selector: {app: sick}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: noport}, spec: {selector: {app: well}, ports: [{port: 80, targetPort: htpt}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: halfport}, spec: {selector: {app: well}, ports: [{name: a, port: 80, targetPort: http}, {name: b, port: 81, targetPort: admin}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: byhand}, spec: {ports: [{port: 80}]}}
"#;

/// What runs when it should, and what does not.
const CRONJOBS: &str = r#"
{apiVersion: batch/v1, kind: CronJob, metadata: {name: well}, spec: {schedule: "* * * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: app, image: "mainstay.test/busybox:1", command: ["true"]}]}}}}}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: seldom}, spec: {schedule: "0 0 1 1 *", timeZone: Asia/Tokyo, jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: app, image: "mainstay.test/busybox:1", command: ["true"]}]}}}}}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: fails}, spec: {schedule: "* * * * *", jobTemplate: {spec: {backoffLimit: 0, template: {spec: {restartPolicy: Never, containers: [{name: app, image: "mainstay.test/busybox:1", command: ["false"]}]}}}}}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: asleep}, spec: {schedule: "* * * * *", suspend: true, jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: app, image: "mainstay.test/busybox:1", command: ["true"]}]}}}}}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: blocked}, spec: {schedule: "* * * * *", concurrencyPolicy: Forbid, jobTemplate: {spec: {template: {spec: {restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: app, image: "mainstay.test/busybox:1", command: [sleep, "3600"]}]}}}}}}
"#;

/// A mesh with one cluster agent that acts, with the rights of the manifest.
async fn mesh(cluster: &Cluster) -> (Up, Replica) {
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    cluster.apply(MANIFEST);
    let kubeconfig = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
    let replica = Replica::start(&up, "prod", "r1", &kubeconfig);
    acts(&up, "r1").await;
    (up, replica)
}

/// Runs a plan again and again until its findings are these, as check and subject.
async fn finds(up: &Up, name: &str, expected: &[(&str, String)]) -> Value {
    let expected: BTreeSet<(String, String)> = expected.iter().map(|(check, subject)| ((*check).to_owned(), subject.clone())).collect();
    let looked = || async {
        let run = up.json(&["run", "start", name])["run"].as_str().expect("a run").to_owned();
        let ended = up.ended(&run).await;
        assert_eq!(ended["state"], "completed", "{ended}");
        let found = findings(up, "prod");
        if found == expected { Ok(ended) } else { Err(format!("found {found:#?}; {ended}")) }
    };
    eventually_within(UNTIL_FOUND, "each fault is found, and nothing else", looked).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_lead_nowhere_and_schedules_that_do_not_hold_are_found_and_nothing_else() {
    let cluster = Cluster::shared();
    let space = cluster.space("paths");
    space.apply(CRONJOBS);
    space.apply(SERVICES);
    let (up, _replica) = mesh(cluster).await;
    let name = space.name();
    up.apply(
        "look",
        &plan(
            "look",
            &format!(
                "    - {{name: services, uses: kube.services, with: {{namespaces: [{name}], settleFor: 3s}}}}\n    \
                 - {{name: schedules, uses: kube.cronjobs, with: {{namespaces: [{name}], lateBy: 30s}}}}\n    \
                 - {{name: events, uses: kube.events, with: {{namespaces: [{name}]}}}}\n"
            ),
        ),
    );
    let expected = [
        ("kube.service.selector", format!("{name}/Service/astray")),
        ("kube.service.endpoints", format!("{name}/Service/sick")),
        ("kube.service.port", format!("{name}/Service/noport")),
        ("kube.service.port", format!("{name}/Service/halfport")),
        ("kube.service.endpoints", format!("{name}/Service/byhand")),
        ("kube.cronJob.failed", format!("{name}/CronJob/fails")),
        ("kube.cronJob.suspended", format!("{name}/CronJob/asleep")),
        ("kube.cronJob.missed", format!("{name}/CronJob/blocked")),
    ];
    let ended = finds(&up, "look", &expected).await;
    // What the sick pod's probe says is told as an event, which is no finding.
    assert!(ended.to_string().contains("Unhealthy"), "{ended}");
    assert!(ended.to_string().contains("still runs, and forbids another"), "{ended}");

    // What is mended is told no more.
    space.kubectl(&["delete", "service/astray", "service/sick", "service/noport", "service/halfport", "service/byhand"]).expect("they go");
    space.kubectl(&["delete", "cronjob/fails", "cronjob/blocked", "--timeout=60s"]).expect("they go");
    space.kubectl(&["patch", "cronjob", "asleep", "-p", r#"{"spec":{"suspend":false}}"#]).expect("it wakes up");
    finds(&up, "look", &[]).await;
}

/// A certificate with its key, as files that `kubectl create secret tls` takes.
pub fn certificate(dir: &Path, file: &str, host: &str, days_left: i64) -> (String, String) {
    let mut params = rcgen::CertificateParams::new(vec![host.to_owned()]).expect("a name");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
    let now = time::OffsetDateTime::from_unix_timestamp(i64::try_from(now).expect("a time")).expect("a time");
    params.not_before = now - time::Duration::days(400);
    params.not_after = now + time::Duration::days(days_left) + time::Duration::hours(1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let paths = ["crt", "key"].map(|end| dir.join(format!("{file}.{end}")));
    std::fs::write(&paths[0], params.self_signed(&key).expect("a certificate").pem()).expect("its file");
    std::fs::write(&paths[1], key.serialize_pem()).expect("its file");
    let [certificate, key] = paths.map(|path| path.display().to_string());
    (certificate, key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_secrets_are_read_where_the_runner_may_and_a_wait_sees_what_it_may_see() {
    let cluster = Cluster::shared();
    let (space, closed) = (cluster.space("secrets"), cluster.space("closed"));
    let (up, _replica) = mesh(cluster).await;
    runner(
        &space,
        "{apiGroups: [\"\"], resources: [secrets], verbs: [list]}, {apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [list]}, \
         {apiGroups: [apps], resources: [deployments], verbs: [get]}",
    );
    runner(&closed, "{apiGroups: [\"\"], resources: [pods], verbs: [list]}");
    let make = |space: &Space<'_>, name: &str, certificate: &str, key: &str| {
        space.kubectl(&["create", "secret", "tls", name, "--cert", certificate, "--key", key]).expect("a secret");
    };
    let (well, its_key) = certificate(&up.scratch(), "well", "well.example", 90);
    let (ended, ended_key) = certificate(&up.scratch(), "ended", "ended.example", -3);
    let (soon, soon_key) = certificate(&up.scratch(), "soon", "soon.example", 10);
    make(&space, "well", &well, &its_key);
    make(&space, "ended", &ended, &ended_key);
    make(&space, "soon", &soon, &soon_key);
    make(&closed, "unseen", &ended, &ended_key);
    // kubectl would not make such a pair: a person does, by editing one half.
    make(&space, "mixed", &well, &its_key);
    let key = std::fs::read_to_string(&soon_key).expect("the key");
    space.kubectl(&["patch", "secret", "mixed", "-p", &json!({ "stringData": { "tls.key": key } }).to_string()]).expect("another key");
    space.apply(
        "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: shown}, spec: {tls: [{hosts: [well.example, shop.example], secretName: well}], \
         defaultBackend: {service: {name: web, port: {number: 80}}}}}\n",
    );
    let (name, other) = (space.name(), closed.name());
    up.apply("look", &plan("look", &format!("    - {{name: certificates, uses: kube.certificates, with: {{namespaces: [{name}, {other}]}}}}\n")));
    let expected = [
        ("tls.daysLeft", format!("{name}/Secret/ended")),
        ("tls.daysLeft", format!("{name}/Secret/soon")),
        ("tls.key", format!("{name}/Secret/mixed")),
        ("tls.hosts", format!("{name}/Secret/well")),
    ];
    let looked = finds(&up, "look", &expected).await;
    let text = looked.to_string();
    assert!(text.contains("not for shop.example,"), "{text}");
    assert!(text.contains("its ServiceAccount mainstay-runner may not list Secrets") && !text.contains("unseen"), "{text}");
    assert!(!text.contains("PRIVATE KEY"), "{text}");

    // A wait sees what the runner of the namespace may see, and ends when it holds.
    space.apply(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2, selector: {matchLabels: {app: web}}, \
         template: {metadata: {labels: {app: web}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: app, image: \"mainstay.test/busybox:1\"}]}}}}\n",
    );
    let wait = |name: &str, kind: &str, until: &str, within: &str| {
        format!(
            "    - {{name: {kind}-wait, uses: kube.wait, with: {{apiVersion: apps/v1, kind: Deployment, namespace: {name}, name: {kind}, until: \"{until}\", within: {within}}}}}\n"
        )
    };
    let waits = [wait(name, "web", "object.status.readyReplicas == 2", "90s"), wait(name, "gone", "object == null", "10s")].concat();
    let ended = up.ended(&up.start_run("waits", &plan("waits", &waits))).await;
    assert_eq!((&ended["state"], &ended["verdict"]), (&json!("completed"), &json!("ok")), "{ended}");
    let ended = up.ended(&up.start_run("never", &plan("never", &wait(name, "web", "object.status.readyReplicas == 3", "3s")))).await;
    assert!(ended["state"] == "failed" && ended.to_string().contains("not within 3s: web: it does not hold"), "{ended}");
    let ended = up.ended(&up.start_run("blind", &plan("blind", &wait(other, "web", "object != null", "60s")))).await;
    assert!(ended.to_string().contains(&format!("ServiceAccount {other}/mainstay-runner needs the right")), "{ended}");
}
