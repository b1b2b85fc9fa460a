//! The Job of a worker. All names in it are the agent's own, or were checked when its settings were read.

use std::path::Path;
use std::time::Duration;

use mainstay_backup::store::ServerSide;
use mainstay_client::files;
use mainstay_core::Millis;
use serde_json::{Value, json};

use super::super::super::kube::work::digest;
use super::super::store::Opened;
use super::{TARGET, Task, WORKER};
use crate::connections::{Connection, ConnectionKind, Place, TlsMode, WorkerSettings};

/// On the pod, for whoever looks at it.
pub const BACKUP: &str = "mainstay.dev/backup";
/// Authorities that its store's certificate ends in, and its database's.
const STORE_CA: &str = "mainstay.dev/store-ca";
const SOURCE_CA: &str = "mainstay.dev/source-ca";
/// Where the pod has them as files.
const TOLD_DIR: &str = "/etc/mainstay";
/// Of each bundle of certificates: annotations of a pod have 256 KiB.
const CA_MAX: u64 = 100 << 10;
/// Beyond the deadline of the source: for reading back.
const READS_BACK_WITHIN: Duration = Duration::from_secs(4 * 3_600);
/// The kubelet's patience with a worker that makes void what it has begun.
const GRACE_S: u64 = 60;
/// A Job stays for so long after its end, for whoever wants its log.
const KEPT_S: u64 = 3_600;

/// As it is meant: of `$(NAME)` the kubelet would make what the pod's environment has, which is the source's password and
/// the bucket's key, and of `$$` one sign.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// What a pod is made of, besides its program's arguments.
#[derive(Default)]
struct Parts {
    args: Vec<String>,
    annotations: serde_json::Map<String, Value>,
    /// What is told as files.
    items: Vec<Value>,
    env: Vec<Value>,
    mounts: Vec<Value>,
    volumes: Vec<Value>,
}

impl Parts {
    fn arg(&mut self, words: &[&str]) {
        self.args.extend(words.iter().map(|word| (*word).to_owned()));
    }

    fn env(&mut self, name: &str, value: &str) {
        self.env.push(json!({ "name": name, "value": literal(value) }));
    }

    /// Certificates of authorities, which are no secret: the pod has them as a file, out of its own annotations.
    fn tell(&mut self, name: &str, file: &str, ca: &Path) -> Result<String, String> {
        let text = files::read_text(ca, CA_MAX).map_err(|error| format!("{}: {error}", ca.display()))?;
        self.annotations.insert(name.to_owned(), json!(text));
        self.items.push(json!({ "path": file, "fieldRef": { "fieldPath": format!("metadata.annotations['{name}']") } }));
        Ok(format!("{TOLD_DIR}/{file}"))
    }

    fn store(&mut self, store: &Connection) -> Result<(), String> {
        let Place::Bucket(bucket) = &store.address.place else { return Err(format!("{} is no bucket", store.name)) };
        let prefix = &store.address.path;
        self.arg(&["--store", &if prefix.is_empty() { format!("s3://{bucket}") } else { format!("s3://{bucket}/{prefix}") }]);
        if let Some(of) = &store.store {
            of.endpoint.iter().for_each(|endpoint| self.arg(&["--endpoint", endpoint]));
            of.region.iter().for_each(|region| self.arg(&["--region", region]));
            match &of.server_side {
                None => {}
                Some(ServerSide::Own) => self.arg(&["--sse", "AES256"]),
                Some(ServerSide::Kms(key)) => {
                    self.arg(&["--sse", "aws:kms"]);
                    key.iter().for_each(|key| self.arg(&["--kms-key", key]));
                }
            }
            if of.checksums == Some(true) {
                self.arg(&["--checksums"]);
            }
        }
        if store.tls.mode == TlsMode::Off {
            self.arg(&["--allow-http"]);
        }
        if let Some(ca) = &store.tls.ca {
            let file = self.tell(STORE_CA, "store-ca.pem", ca)?;
            self.arg(&["--ca", &file]);
        }
        Ok(())
    }

    fn source(&mut self, connection: &Connection, settings: &WorkerSettings) -> Result<(), String> {
        let user = connection.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let server = connection.address.place_in_words();
        match (connection.kind, &connection.address.place) {
            (ConnectionKind::Postgres, Place::Tcp { .. }) => {
                let named = Some(connection.address.path.as_str()).filter(|path| !path.is_empty());
                let database = named.or(connection.user.as_deref()).unwrap_or_default();
                self.arg(&["--postgres", &format!("postgres://{user}{server}/{database}")]);
                let mode = match connection.tls.mode {
                    TlsMode::Off => "disable",
                    TlsMode::Require => "require",
                    TlsMode::Verify => "verify-full",
                };
                self.env("PGSSLMODE", mode);
                if let Some(ca) = &connection.tls.ca {
                    let file = self.tell(SOURCE_CA, "source-ca.pem", ca)?;
                    self.env("PGSSLROOTCERT", &file);
                }
            }
            (ConnectionKind::Redis, Place::Tcp { .. }) => self.arg(&["--redis", &format!("redis://{user}{server}")]),
            (ConnectionKind::Files, Place::Dir(dir)) => {
                let dir = dir.display().to_string();
                self.arg(&["--files", &dir]);
                self.mounts.push(json!({ "name": "files", "mountPath": dir, "readOnly": true }));
                self.volumes.push(json!({ "name": "files", "persistentVolumeClaim": { "claimName": settings.claim, "readOnly": true } }));
            }
            (kind, _) => return Err(format!("what is of kind {kind}, at {server}, is not backed up by a worker")),
        }
        Ok(())
    }
}

/// The Job that does this task.
///
/// # Errors
/// In words, when what it needs cannot be read.
pub(super) fn job(settings: &WorkerSettings, connection: &Connection, opened: &Opened<'_>, task: &Task<'_>) -> Result<Value, String> {
    let target = task.target.to_string();
    let mut parts = Parts::default();
    parts.arg(&["backup", "run", &target]);
    parts.store(opened.connection)?;
    parts.source(connection, settings)?;
    parts.arg(&["--deadline", &Millis(u64::try_from(task.deadline.as_millis()).unwrap_or(u64::MAX)).to_string()]);
    task.limit.iter().for_each(|limit| parts.arg(&["--limit", &limit.to_string()]));
    if connection.kind == ConnectionKind::Postgres {
        if task.content {
            parts.arg(&["--content"]);
        }
        if task.streams > 1 {
            parts.arg(&["--streams", &task.streams.to_string()]);
        }
        task.queries.iter().for_each(|(name, statement)| parts.arg(&["--query", &format!("{name}={statement}")]));
    } else if !task.queries.is_empty() {
        return Err(format!("`queries` are asked of a connection of kind postgres, and this is {}", connection.kind));
    }
    task.set.iter().for_each(|set| parts.arg(&["--set", set]));
    parts.arg(&["--worker", &serde_json::to_string(task.order).map_err(|error| error.to_string())?]);
    // Nothing else in it is a place to write to, and programs want one.
    parts.volumes.push(json!({ "name": "scratch", "emptyDir": { "sizeLimit": "64Mi" } }));
    parts.mounts.push(json!({ "name": "scratch", "mountPath": "/tmp" }));
    parts.env("HOME", "/tmp");
    let Parts { args, mut annotations, items, env, mut mounts, mut volumes } = parts;
    if !items.is_empty() {
        volumes.push(json!({ "name": "told", "downwardAPI": { "items": items } }));
        mounts.push(json!({ "name": "told", "mountPath": TOLD_DIR, "readOnly": true }));
    }
    annotations.insert(BACKUP.to_owned(), json!(target));
    // One that is moved to make room for others would begin anew.
    annotations.insert("cluster-autoscaler.kubernetes.io/safe-to-evict".to_owned(), json!("false"));
    let from: Vec<Value> = settings.secret.iter().map(|name| json!({ "secretRef": { "name": name } })).collect();
    let labels = json!({ WORKER: "backup", TARGET: digest(&target) });
    let container = json!({
        "name": "worker", "image": settings.image, "command": ["mainstay"], "args": args.iter().map(|arg| literal(arg)).collect::<Vec<_>>(), "env": env, "envFrom": from, "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": { "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } },
    });
    let user = settings.user;
    let pod = json!({
        "serviceAccountName": settings.service_account, "automountServiceAccountToken": false, "enableServiceLinks": false,
        "restartPolicy": "Never", "terminationGracePeriodSeconds": GRACE_S, "containers": [container], "volumes": volumes,
        "securityContext": {
            "runAsUser": user, "runAsGroup": user, "fsGroup": user, "runAsNonRoot": user != 0, "seccompProfile": { "type": "RuntimeDefault" },
        },
    });
    let name = format!("mainstay-backup-{}", digest(&task.order.writer));
    Ok(json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": name, "namespace": settings.namespace, "labels": labels, "annotations": { BACKUP: target } },
        "spec": {
            "backoffLimit": 0, "ttlSecondsAfterFinished": KEPT_S, "activeDeadlineSeconds": (task.deadline + READS_BACK_WITHIN).as_secs(),
            "template": { "metadata": { "labels": labels, "annotations": annotations }, "spec": pod },
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_environment_is_put_into_an_argument() {
        assert_eq!(literal("a=SELECT '$(PGPASSWORD)', $$x$$"), "a=SELECT '$$(PGPASSWORD)', $$$$x$$$$");
        assert_eq!(literal("backup-12"), "backup-12");
    }
}
