//! Who of Mainstay's is at a release: a Lease of its namespace, held while helm runs.
//!
//! ```text
//!  mainstay-helm-web: holder 1.512, for 30 s, renewed every 8 s; mainstay.dev/fence: the last attempt that had it
//! ```
//! helm itself knows no holder: what it left pending may be under way, or its helm may have died. Whoever has this lease
//! knows that no other agent's helm is at the release. An attempt that is earlier than the last one that had it does
//! nothing any more. How long another's has not been renewed is counted here, by no other machine's clock.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::super::StepError;
use super::super::kube::work::{Work, annotation, text, version};
use crate::host::Host;
use crate::kube::ask::Patch;
use crate::kube::{Cluster, ClusterError, escaped};

/// How long a holder that has fallen silent keeps it.
const TTL: Duration = Duration::from_secs(30);
/// Longest that a lease of somebody else's may say.
const TTL_MAX: Duration = Duration::from_secs(120);
const RENEWED_EVERY: Duration = Duration::from_secs(8);
/// How long one renewal is tried. With the pause before it, and the end of helm after it, that is less than the TTL.
const RENEWED_WITHIN: Duration = Duration::from_secs(14);
const EVERY: Duration = Duration::from_secs(1);
/// For giving it back: less than an attempt gets that is called off.
const RELEASED_WITHIN: Duration = Duration::from_secs(2);
/// How often a lease is read again that changes between reading and writing.
const TRIES: usize = 20;
const API: &str = "/apis/coordination.k8s.io/v1";

/// A release that this attempt is at. Given back by [`Lock::release`]; else it ends with its time.
pub struct Lock {
    cluster: Cluster,
    path: String,
    holder: String,
    /// Cancelled when it cannot be renewed: helm has to end.
    pub lost: CancellationToken,
    renewing: Option<AbortOnDropHandle<()>>,
    /// The Lease as it was when it was taken.
    pub found: Value,
}

impl Lock {
    /// Waits until nobody else has it, at most for `patience`.
    ///
    /// # Errors
    /// A later attempt has had it; it is held all the time; the API server does not answer.
    pub async fn take(
        kind: &str,
        cluster: &Cluster,
        (namespace, release): (&str, &str),
        work: &Work,
        host: &Host,
        patience: Duration,
    ) -> Result<Lock, StepError> {
        let name = format!("mainstay-helm-{release}");
        let parent = format!("{API}/namespaces/{}/leases", escaped(namespace));
        let path = format!("{parent}/{}", escaped(&name));
        let holder = work.attempt.to_string();
        let mut last = String::new();
        let taking = async {
            loop {
                let Some(lease) = cluster.find::<Value>(&path).await? else {
                    let made = json!({
                        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                        "metadata": { "name": name, "annotations": work.marks() }, "spec": spec(&holder, host),
                    });
                    match cluster.create(&parent, &made).await {
                        Ok(made) => return Ok(Ok(made)),
                        Err(ClusterError::Conflict { .. }) => continue,
                        Err(error) => return Err(error),
                    }
                };
                if let Err(refused) = work.may_change(kind, &lease) {
                    return Ok(Err(refused));
                }
                let held_by = text(&lease, "/spec/holderIdentity");
                // The process that had it as the same attempt has ended, and its helm with it.
                if !held_by.is_empty() && held_by != holder {
                    last = format!("attempt {held_by} ({}) is at it", annotation(&lease, super::super::kube::work::WORK).unwrap_or("of nobody"));
                    if !fell_silent(cluster, &path, &lease).await? {
                        continue;
                    }
                }
                let fields = json!({
                    "metadata": { "resourceVersion": version(&lease), "annotations": work.marks() }, "spec": spec(&holder, host),
                });
                match cluster.patch(&path, Patch::Merge, &fields).await {
                    Ok(taken) => {
                        // What an earlier work has written on it is still of use.
                        let mut found = lease;
                        found["metadata"]["resourceVersion"] = json!(version(&taken));
                        return Ok(Ok(found));
                    }
                    Err(ClusterError::Conflict { .. } | ClusterError::Missing { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        };
        let found = match tokio::time::timeout(patience, taking).await {
            Ok(Ok(found)) => found?,
            Ok(Err(error)) => return Err(StepError::failed(format!("{kind}: {error}"))),
            Err(_) => {
                return Err(StepError::failed(format!(
                    "{kind}: {namespace}/{release}: not within {} s: {last}: nothing was done",
                    patience.as_secs()
                )));
            }
        };
        let lost = CancellationToken::new();
        let renewing = tokio::spawn(renew(cluster.clone(), path.clone(), holder.clone(), host.clone(), lost.clone()));
        Ok(Lock { cluster: cluster.clone(), path, holder, lost, renewing: Some(AbortOnDropHandle::new(renewing)), found })
    }

    /// Writes something on it, for those who have it later.
    ///
    /// # Errors
    /// When it is another's by now, or the API server does not answer.
    pub async fn write(&self, name: &str, value: Option<&str>) -> Result<(), ClusterError> {
        let metadata = json!({ "annotations": { name: value } });
        change(&self.cluster, &self.path, &self.holder, |_| json!({ "metadata": metadata })).await
    }

    /// Gives it back. Where that cannot be said, it ends by its time.
    pub async fn release(mut self) {
        self.renewing = None;
        let given_back = change(&self.cluster, &self.path, &self.holder, |_| json!({ "spec": { "holderIdentity": "" } }));
        if !matches!(tokio::time::timeout(RELEASED_WITHIN, given_back).await, Ok(Ok(()))) {
            tracing::debug!(path = self.path, "the lease of a release could not be given back: it ends by its time");
        }
    }
}

fn spec(holder: &str, host: &Host) -> Value {
    let now = Timestamp::from_millisecond(host.wall().0).unwrap_or(Timestamp::UNIX_EPOCH);
    json!({ "holderIdentity": holder, "leaseDurationSeconds": TTL.as_secs(), "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string() })
}

/// Whether a lease stays as it is for as long as it says that its holder may be silent. Looks until that is known.
async fn fell_silent(cluster: &Cluster, path: &str, lease: &Value) -> Result<bool, ClusterError> {
    let seconds = lease.pointer("/spec/leaseDurationSeconds").and_then(Value::as_u64).unwrap_or(TTL.as_secs());
    let changed = async {
        loop {
            tokio::time::sleep(EVERY).await;
            match cluster.find::<Value>(path).await {
                Ok(Some(now)) if version(&now) == version(lease) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    };
    match tokio::time::timeout(Duration::from_secs(seconds).min(TTL_MAX), changed).await {
        Ok(changed) => changed.map(|()| false),
        Err(_) => Ok(true),
    }
}

/// Changes the lease as its holder.
async fn change(cluster: &Cluster, path: &str, holder: &str, fields: impl Fn(&Value) -> Value) -> Result<(), ClusterError> {
    let gone = |message: &str| ClusterError::Conflict { path: path.to_owned(), message: message.to_owned() };
    for _ in 0..TRIES {
        let lease: Value = cluster.get(path).await?;
        if text(&lease, "/spec/holderIdentity") != holder {
            return Err(gone("another attempt is at the release"));
        }
        let mut fields = fields(&lease);
        fields["metadata"]["resourceVersion"] = json!(version(&lease));
        match cluster.patch(path, Patch::Merge, &fields).await {
            Ok(_) => return Ok(()),
            Err(ClusterError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(gone("it was changed by somebody else each time between reading and changing it"))
}

async fn renew(cluster: Cluster, path: String, holder: String, host: Host, lost: CancellationToken) {
    loop {
        tokio::time::sleep(RENEWED_EVERY).await;
        let renewed = change(&cluster, &path, &holder, |_| json!({ "spec": spec(&holder, &host) }));
        match tokio::time::timeout(RENEWED_WITHIN, renewed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return give_up(&lost, &error.to_string()),
            Err(_) => return give_up(&lost, "no answer"),
        }
    }
}

fn give_up(lost: &CancellationToken, error: &str) {
    tracing::warn!(error, "the lease of a release was lost: helm is ended");
    lost.cancel();
}
