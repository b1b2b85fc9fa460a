//! Nodes of the cluster: out of use, and back.
//!
//! ```text
//!   mark:    what is written on a node by whoever cordons it, and when it is taken away again. Pure
//!   others:  what keeps a node from being taken out of use now: the rest of the control plane, and kured. Pure
//!   booking: the Lease by which other programs that maintain nodes see that this one is taken
//!   sort:    which pods of a node are evicted, and which are not. Pure
//!   budget: whether the disruption budgets of its pods can ever let them go. Pure
//!   room:    whether its pods would find a place on other nodes. Pure
//!   stage:   how far a node is, as conditions on it. Pure
//!   cordon, drain, drainable, ready: the steps
//! ```

mod booking;
pub(super) mod budget;
pub mod cordon;
pub mod drain;
pub mod drainable;
mod mark;
mod others;
pub mod ready;
mod room;
mod sort;
mod stage;

use mainstay_core::report::{Check, Report, Verdict};
use serde_json::{Value, json};

use super::super::output::{OutputLine, Stream};
use super::super::{Context, StepError};
use super::acting;
use super::now::Now;
use super::work::{Work, digest, text};
use crate::kube::account::Right;
use crate::kube::ask::Patch;
use crate::kube::{Cluster, ClusterError};
use mark::Cordoned;
use stage::Stage;

/// Where events are of what is in no namespace.
const EVENTS: &str = "default";
/// How often the status of a node is read again that somebody else changes all the time.
const TRIES: usize = 5;

/// A node, and the way to it.
struct Place<'c> {
    kind: &'static str,
    /// As the agent itself, which only looks.
    own: &'c Cluster,
    /// As the account that changes it.
    cluster: Cluster,
    path: String,
    node: String,
    /// The run, in one incarnation of the mesh: what it has cordoned, its steps know by this.
    run: String,
    work: Work,
}

impl<'c> Place<'c> {
    /// # Errors
    /// When the account may not do it, or it is done to no node.
    async fn of(kind: &'static str, account: Option<&str>, besides: &[Right<'_>], context: &'c Context) -> Result<Place<'c>, StepError> {
        let own = super::cluster(kind, context)?;
        let cluster = acting::runner(own, "", account);
        let on_nodes = ["get", "patch"].map(|verb| Right { verb, group: "", resource: "nodes", namespace: "" });
        acting::may(kind, &cluster, &[&on_nodes[..], besides].concat()).await?;
        let work = Work::of(kind, context)?;
        let run = format!("{}/{}", work.attempt.0.incarnation, context.labels.run);
        let node = node_of(kind, context)?;
        Ok(Place { kind, own, cluster, path: format!("/api/v1/nodes/{node}"), node, run, work })
    }

    async fn find(&self) -> Result<Option<Value>, StepError> {
        self.cluster.find(&self.path).await.map_err(|error| self.failed(&error))
    }

    async fn get(&self) -> Result<Value, StepError> {
        self.find().await?.ok_or_else(|| self.left("the cluster has no node of this name any more"))
    }

    /// Changes it, unless it is not what it was: then it is for whoever asks to read it again.
    async fn change(&self, fields: &Value) -> Result<(), StepError> {
        match self.cluster.patch(&self.path, Patch::Merge, fields).await {
            Ok(_) | Err(ClusterError::Conflict { .. }) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Tells of it on the node, once for each piece of work. That it cannot be told is no failure of the step.
    async fn tell(&self, context: &Context, node: &Value, reason: &str, note: &str) {
        let Ok(Now(at)) = Now::of(self.kind, context) else { return };
        let (name, uid) = (text(node, "/metadata/name"), text(node, "/metadata/uid"));
        let event = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "namespace": EVENTS, "name": format!("{name}.{}", digest(&[uid, &self.work.name, reason].join("\n"))) },
            "eventTime": format!("{at:.6}"),
            "reportingController": "mainstay.dev/cluster-agent",
            "reportingInstance": context.labels.replica.as_deref().unwrap_or("mainstay"),
            "action": reason,
            "reason": reason,
            "regarding": { "apiVersion": "v1", "kind": "Node", "name": name, "uid": uid },
            "note": format!("run {}: {note}", context.labels.run),
            "type": "Normal",
        });
        match self.cluster.create(&format!("/apis/events.k8s.io/v1/namespaces/{EVENTS}/events"), &event).await {
            Ok(_) | Err(ClusterError::Conflict { .. }) => {}
            Err(error) => tracing::warn!(%error, node = name, reason, "the event on the node could not be made"),
        }
    }

    /// Says on the node how far it is, as long as it is not another run's. That it cannot be said is no failure of the step.
    async fn stands(&self, context: &Context, node: &Value, stage: Stage) {
        let Ok(Now(at)) = Now::of(self.kind, context) else { return };
        let (at, mut node) = (format!("{at:.0}"), node.clone());
        for _ in 0..TRIES {
            let is_anothers = Cordoned::of(&node).is_some_and(|cordoned| cordoned.by != self.run);
            if is_anothers || self.work.may_change(self.kind, &node).is_err() {
                return;
            }
            let Some(change) = stage::change(&node, stage, &context.labels.run.to_string(), &at) else { return };
            let error = match self.cluster.patch(&format!("{}/status", self.path), Patch::Strategic, &change).await {
                Ok(_) => return,
                Err(ClusterError::Conflict { .. }) => match self.find().await {
                    Ok(Some(found)) => {
                        node = found;
                        continue;
                    }
                    Ok(None) => return,
                    Err(error) => error.message,
                },
                Err(error) => error.to_string(),
            };
            tracing::warn!(%error, node = self.node, ?stage, "the conditions of the node could not be changed");
            return;
        }
    }

    fn failed(&self, error: &ClusterError) -> StepError {
        super::failed(self.kind, error)
    }

    fn left(&self, why: &str) -> StepError {
        StepError::failed(format!("{}: node {}: {why}", self.kind, self.node))
    }

    fn done(&self, message: impl Into<String>) -> Report {
        report(self.kind, &self.node, message)
    }
}

/// Tells whoever watches the step.
fn say(context: &Context, words: &str) {
    context.output.line(OutputLine { stream: Stream::Stdout, at: context.host.wall(), text: words.to_owned() });
}

fn node_of(kind: &str, context: &Context) -> Result<String, StepError> {
    let node = context.labels.node.as_ref().map(ToString::to_string);
    node.ok_or_else(|| StepError::refused(format!("{kind} is done to a node, and this is none")))
}

fn report(kind: &str, node: &str, message: impl Into<String>) -> Report {
    Report { checks: vec![Check::stated(kind, &format!("node/{node}"), Verdict::Ok, message)], ..Report::default() }
}
