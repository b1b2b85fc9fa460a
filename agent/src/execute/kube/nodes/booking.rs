//! The Lease by which programs that repair or maintain nodes keep out of each other's way: `node-NAME` in the namespace
//! `medik8s-leases`, as the node maintenance and node health check operators of medik8s take it.
//!
//! ```text
//!   nobody's, or its time is up   ─▶ taken, for this run         another's   ─▶ waited for
//!   this run's                    ─▶ renewed                     given back  ─▶ deleted, as they do
//! ```
//! Where the cluster has no such namespace nobody looks for one, and none is made. The Lease is for others to see; what
//! keeps two runs apart is the claim on the node.

use jiff::{SignedDuration, Timestamp};
use mainstay_core::report::{Check, Verdict};
use serde_json::{Value, json};

use super::super::super::{Context, StepError};
use super::super::acting;
use super::super::now::Now;
use super::super::work::{text, version};
use super::Place;
use crate::kube::account::Right;
use crate::kube::ask::Patch;
use crate::kube::{ClusterError, escaped};

/// Check of whether it could be looked for.
const HEEDED: &str = "kube.cordon.lease";
/// Where those operators look.
pub const NAMESPACE: &str = "medik8s-leases";
const API: &str = "/apis/coordination.k8s.io/v1";
/// For so long the Lease is this run's after the last of its steps that renewed it: the work between a drain and the
/// way back is done by others, who cannot. The plan node-maintenance gives that work 7½ h with all its attempts.
const SECONDS: i64 = 8 * 3_600;
/// One that is renewed while it is younger than that is left alone.
const RENEWED_EVERY: i64 = 600;
/// By so much clocks may differ.
const SLACK: i64 = 60;

/// What to do with a Lease as it is.
#[derive(Debug, PartialEq)]
enum Next {
    Make(Value),
    Change(Value),
    /// It is this run's, and has been renewed lately.
    Keep,
    /// Another one's, who is named.
    Wait(String),
}

/// What a step needs besides, where the cluster has the namespace.
pub const RIGHTS: [Right<'static>; 4] = [right("get"), right("create"), right("patch"), right("delete")];

const fn right(verb: &'static str) -> Right<'static> {
    Right { verb, group: "coordination.k8s.io", resource: "leases", namespace: NAMESPACE }
}

/// Whether the cluster has the namespace.
#[derive(Debug)]
pub enum Used {
    Yes,
    No,
    /// The account may not look for it, and why. It is taken for one of a cluster without, and the step says so.
    NotKnown(String),
}

/// Whether the cluster has the namespace.
///
/// # Errors
/// When the API server does not answer.
pub async fn used(kind: &str, account: Option<&str>, context: &Context) -> Result<Used, StepError> {
    let cluster = acting::runner(super::super::cluster(kind, context)?, "", account);
    match cluster.find::<Value>(&format!("/api/v1/namespaces/{NAMESPACE}")).await {
        Err(error @ ClusterError::ForbiddenTo { .. }) => Ok(Used::NotKnown(error.to_string())),
        found => found.map(|found| if found.is_some() { Used::Yes } else { Used::No }).map_err(|error| super::super::failed(kind, &error)),
    }
}

/// What the report of a cordon says where it is not known whether somebody else has the node. It is no reason to refuse:
/// most clusters have no such namespace, and rights of an earlier version do not name it.
pub fn not_heeded(used: &Used, node: &str) -> Option<Check> {
    let Used::NotKnown(why) = used else { return None };
    let message = format!("Leases by which other programs that maintain nodes have this one are not heeded: {why}");
    let check = Check::stated(HEEDED, &format!("node/{node}"), Verdict::Warning, message);
    Some(check.with_hint(format!("kubectl apply -f deploy/kubernetes/node-runner.yaml, or helm upgrade: it needs `get` on namespace {NAMESPACE}")))
}

impl Place<'_> {
    fn leases() -> String {
        format!("{API}/namespaces/{NAMESPACE}/leases")
    }

    fn booking(&self) -> String {
        format!("{}/{}", Self::leases(), escaped(&format!("node-{}", self.node)))
    }

    fn holder(&self) -> String {
        format!("mainstay/{}", self.run)
    }

    /// Takes the node's Lease for the run. Why it is not this run's yet, where it is another's.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub(super) async fn book(&self, context: &Context, node: &Value) -> Result<Option<String>, StepError> {
        let found: Option<Value> = self.cluster.find(&self.booking()).await.map_err(|error| self.failed(&error))?;
        let now = Now::of(self.kind, context)?.0;
        let written = match next(found.as_ref(), &self.holder(), node, now) {
            Next::Keep => return Ok(None),
            Next::Wait(why) => return Ok(Some(why)),
            Next::Make(lease) => self.cluster.create(&Self::leases(), &lease).await,
            Next::Change(fields) => self.cluster.patch(&self.booking(), Patch::Merge, &fields).await,
        };
        match written {
            Ok(_) => Ok(None),
            Err(ClusterError::Conflict { .. }) => Ok(Some(format!("somebody has just changed Lease {NAMESPACE}/node-{}", self.node))),
            // The namespace, or the Lease, has gone meanwhile: the next look tells which.
            Err(ClusterError::Missing { .. }) => Ok(Some(format!("Lease {NAMESPACE}/node-{} has just gone", self.node))),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Renews the node's Lease where it is this run's. That this does not come off is no failure of the step.
    pub(super) async fn keep_booked(&self, context: &Context, node: &Value) {
        let Ok(Now(now)) = Now::of(self.kind, context) else { return };
        let renewed = match self.cluster.find::<Value>(&self.booking()).await {
            Ok(Some(lease)) if text(&lease, "/spec/holderIdentity") == self.holder() => match next(Some(&lease), &self.holder(), node, now) {
                Next::Change(fields) => self.cluster.patch(&self.booking(), Patch::Merge, &fields).await.map(drop),
                _ => Ok(()),
            },
            Ok(_) | Err(ClusterError::ForbiddenTo { .. }) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = renewed {
            tracing::warn!(%error, node = self.node, "the node's Lease in {NAMESPACE} could not be renewed");
        }
    }

    /// Gives the node's Lease back where it is this run's.
    ///
    /// # Errors
    /// When the API server does not answer: somebody else would wait for it for hours.
    pub(super) async fn unbook(&self) -> Result<(), StepError> {
        let gone = match self.cluster.find::<Value>(&self.booking()).await {
            Ok(Some(lease)) if text(&lease, "/spec/holderIdentity") == self.holder() => {
                self.cluster.delete(&self.booking(), text(&lease, "/metadata/uid"), Some(version(&lease))).await.map(drop)
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match gone {
            // Another has it by now, or it is gone; or the account has no such right, and never had.
            Ok(()) | Err(ClusterError::Missing { .. } | ClusterError::Conflict { .. } | ClusterError::ForbiddenTo { .. }) => Ok(()),
            Err(error) => Err(self.left(&format!("Lease {NAMESPACE}/node-{} could not be given back: {error}", self.node))),
        }
    }
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn next(found: Option<&Value>, holder: &str, node: &Value, now: Timestamp) -> Next {
    let name = text(node, "/metadata/name");
    let Some(lease) = found else {
        return Next::Make(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": format!("node-{name}"), "namespace": NAMESPACE,
                // So that it goes with its node.
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": name, "uid": text(node, "/metadata/uid") }],
            },
            "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": SECONDS, "acquireTime": time(now), "renewTime": time(now), "leaseTransitions": 1,
            },
        }));
    };
    let held_by = text(lease, "/spec/holderIdentity");
    let renewed: Option<Timestamp> = text(lease, "/spec/renewTime").parse().ok();
    let seconds = lease.pointer("/spec/leaseDurationSeconds").and_then(Value::as_i64);
    let changed = |spec: Value| Next::Change(json!({ "metadata": { "resourceVersion": version(lease) }, "spec": spec }));
    if held_by == holder {
        let is_young = renewed.is_some_and(|renewed| (0..RENEWED_EVERY).contains(&(now.as_second() - renewed.as_second())));
        let as_long = seconds == Some(SECONDS);
        return if is_young && as_long { Next::Keep } else { changed(json!({ "leaseDurationSeconds": SECONDS, "renewTime": time(now) })) };
    }
    // One that does not say until when it counts is nobody's: so those operators read it.
    let ends = renewed
        .zip(seconds)
        .and_then(|(renewed, seconds)| renewed.checked_add(SignedDuration::from_secs(seconds.clamp(0, i64::from(i32::MAX)))).ok());
    match ends.filter(|_| !held_by.is_empty()) {
        Some(ends) if now.as_second() <= ends.as_second() + SLACK => {
            Next::Wait(format!("{held_by} holds Lease {NAMESPACE}/node-{name}, until {} unless it is renewed", ends.strftime("%Y-%m-%dT%H:%M:%SZ")))
        }
        _ => {
            let transitions = lease.pointer("/spec/leaseTransitions").and_then(Value::as_i64).unwrap_or(0) + 1;
            changed(json!({
                "holderIdentity": holder, "leaseDurationSeconds": SECONDS, "acquireTime": time(now), "renewTime": time(now), "leaseTransitions": transitions,
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kube::account::Account;

    const OURS: &str = "mainstay/1/roll-1";

    fn lease(holder: &str, renewed: &str, seconds: i64) -> Value {
        json!({
            "metadata": { "name": "node-n1", "resourceVersion": "7" },
            "spec": { "holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": seconds, "leaseTransitions": 4 },
        })
    }

    #[test]
    fn another_ones_is_waited_for_until_its_time_is_up() {
        let node = json!({ "metadata": { "name": "n1", "uid": "u1" } });
        let at = |found: Option<&Value>| next(found, OURS, &node, "2026-11-30T12:00:00Z".parse().unwrap());
        let held = "node-maintenance holds Lease medik8s-leases/node-n1, until 2026-11-30T12:10:00Z unless it is renewed";
        for (name, found, expected) in [
            ("another's", lease("node-maintenance", "2026-11-30T11:10:00.000000Z", 3_600), Some(held)),
            ("by a clock that differs a little", lease("x", "2026-11-30T10:59:10Z", 3_600), Some("x holds Lease")),
            ("its time is up", lease("node-maintenance", "2026-11-30T10:50:00.000000Z", 3_600), None),
            ("given up", lease("", "2026-11-30T11:59:00.000000Z", 3_600), None),
            ("it does not say until when", json!({ "metadata": {}, "spec": { "holderIdentity": "x" } }), None),
        ] {
            match (at(Some(&found)), expected) {
                (Next::Wait(why), Some(words)) => assert!(why.starts_with(words), "{name}: {why}"),
                (Next::Change(fields), None) => assert_eq!(fields["spec"]["holderIdentity"], OURS, "{name}"),
                (next, _) => panic!("{name}: {next:?}"),
            }
        }
        let Next::Change(fields) = at(Some(&lease("x", "2026-11-30T10:50:00Z", 60))) else { panic!("it is taken over") };
        assert_eq!((&fields["metadata"]["resourceVersion"], &fields["spec"]["leaseTransitions"]), (&json!("7"), &json!(5)));
        let Next::Make(made) = at(None) else { panic!("it is made") };
        assert_eq!((&made["metadata"]["name"], &made["metadata"]["ownerReferences"][0]["uid"]), (&json!("node-n1"), &json!("u1")));
        assert_eq!((&made["spec"]["holderIdentity"], &made["spec"]["renewTime"]), (&json!(OURS), &json!("2026-11-30T12:00:00.000000Z")));
    }

    #[test]
    fn who_may_not_look_is_told_what_to_apply() {
        let error = ClusterError::ForbiddenTo {
            path: "/api/v1/namespaces/medik8s-leases".into(),
            message: "cannot get resource \"namespaces\"".into(),
            account: Account { namespace: "mainstay".into(), name: "mainstay-node-runner".into() },
        };
        let check = not_heeded(&Used::NotKnown(error.to_string()), "n1").unwrap();
        assert_eq!((check.id.as_str(), check.subject.as_str(), check.verdict), ("kube.cordon.lease", "node/n1", Verdict::Warning));
        assert!(check.message.ends_with("ServiceAccount mainstay/mainstay-node-runner needs the right"), "{}", check.message);
        assert!(check.hint.contains("deploy/kubernetes/node-runner.yaml"), "{}", check.hint);
        assert_eq!((not_heeded(&Used::Yes, "n1"), not_heeded(&Used::No, "n1")), (None, None));
    }

    #[test]
    fn its_own_is_held_for_longer_than_the_work_of_the_plan_may_take() {
        // Of deploy/plans/node-maintenance.yaml, in seconds and attempts: packages, the command, a reboot, until it is ready.
        let pieces: [(i64, i64); 4] = [(7_200, 2), (7_200, 1), (1_800, 2), (900, 2)];
        let work: i64 = pieces.into_iter().map(|(seconds, attempts)| seconds * attempts).sum();
        assert!(SECONDS > work + RENEWED_EVERY + SLACK, "{work}");
    }

    #[test]
    fn its_own_is_renewed_when_it_has_aged() {
        let at = |renewed: &str, seconds| {
            next(Some(&lease(OURS, renewed, seconds)), OURS, &json!({ "metadata": { "name": "n1" } }), "2026-11-30T12:00:00Z".parse().unwrap())
        };
        assert_eq!(at("2026-11-30T11:55:00Z", SECONDS), Next::Keep);
        for (renewed, seconds) in [("2026-11-30T11:45:00Z", SECONDS), ("2026-11-30T11:55:00Z", 60), ("2026-11-30T13:00:00Z", SECONDS)] {
            let Next::Change(fields) = at(renewed, seconds) else { panic!("renewed: {renewed}") };
            assert!(fields["spec"].get("holderIdentity").is_none() && fields["spec"]["renewTime"] == "2026-11-30T12:00:00.000000Z", "{fields}");
        }
    }
}
