//! What runs as it should: several Deployments behind Services, a StatefulSet with a volume, CronJobs, a certificate.

use mainstay_tests::kubernetes::{Cluster, Space};

use crate::agents::runner;
use crate::reading::certificate;

const OBJECTS: &str = r#"
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: web, image: "mainstay.test/nginx:1", ports: [{name: http, containerPort: 80}], readinessProbe: {httpGet: {port: 80}, periodSeconds: 1}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: api}, spec: {selector: {matchLabels: {app: api}}, template: {metadata: {labels: {app: api}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: api, image: "mainstay.test/nginx:1", readinessProbe: {httpGet: {port: 80}, periodSeconds: 1}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: api}, spec: {selector: {app: api}, ports: [{port: 80}]}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: worker}, spec: {selector: {matchLabels: {app: worker}}, template: {metadata: {labels: {app: worker}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: worker, image: "mainstay.test/busybox:1"}]}}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: asleep}, spec: {replicas: 0, selector: {matchLabels: {app: asleep}}, template: {metadata: {labels: {app: asleep}}, spec: {containers: [{name: asleep, image: "mainstay.test/busybox:1"}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: asleep}, spec: {selector: {app: asleep}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: store}, spec: {clusterIP: None, selector: {app: store}}}
---
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: store}, spec: {serviceName: store, selector: {matchLabels: {app: store}}, template: {metadata: {labels: {app: store}}, spec: {terminationGracePeriodSeconds: 0, volumes: [{name: data, persistentVolumeClaim: {claimName: store}}, {name: scratch, emptyDir: {medium: Memory, sizeLimit: 4Mi}}], containers: [{name: store, image: "mainstay.test/busybox:1", volumeMounts: [{name: data, mountPath: /data}, {name: scratch, mountPath: /scratch}]}]}}}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: often}, spec: {schedule: "* * * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: often, image: "mainstay.test/busybox:1", command: ["true"]}]}}}}}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: seldom}, spec: {schedule: "0 0 1 1 *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: seldom, image: "mainstay.test/busybox:1", command: ["true"]}]}}}}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: done}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: done, image: "mainstay.test/busybox:1", command: ["true"]}]}}}}
"#;

/// Puts it into its namespace, whose runner may read certificates.
pub fn put(cluster: &Cluster, space: &Space<'_>) {
    volume(cluster, space, "store", "n1", 64);
    space.apply(OBJECTS);
    secret(space, "served", 90);
    runner(
        space,
        "{apiGroups: [\"\"], resources: [secrets], verbs: [list]}, {apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [list]}",
    );
}

/// A claim, bound to a file system of its own on a node, of so many MiB.
pub fn volume(cluster: &Cluster, space: &Space<'_>, name: &str, node: &str, size: usize) {
    let of = format!("{}-{name}", space.name());
    let path = format!("/var/lib/volumes/{of}");
    let mount = format!("mkdir -p {path} && mount -t tmpfs -o size={size}m tmpfs {path}");
    cluster.on(node, &["sh", "-c", &mount]).expect("a file system");
    cluster.apply(&format!(
        "{{apiVersion: v1, kind: PersistentVolume, metadata: {{name: {of}}}, spec: {{capacity: {{storage: {size}Mi}}, accessModes: [ReadWriteOnce], \
         storageClassName: {of}, local: {{path: {path}}}, nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: \
         [{{key: kubernetes.io/hostname, operator: In, values: [{node}]}}]}}]}}}}}}}}\n"
    ));
    space.apply(&format!(
        "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: {name}}}, spec: {{accessModes: [ReadWriteOnce], \
         storageClassName: {of}, resources: {{requests: {{storage: {size}Mi}}}}}}}}\n"
    ));
}

/// A Secret with a certificate that ends in so many days.
pub fn secret(space: &Space<'_>, name: &str, days_left: i64) {
    let dir = tempfile::tempdir().expect("a directory");
    let (certificate, key) = certificate(dir.path(), name, &format!("{name}.example"), days_left);
    space.kubectl(&["create", "secret", "tls", name, "--cert", &certificate, "--key", &key]).expect("a Secret");
}
