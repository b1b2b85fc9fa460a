//! The executor of this agent: every step kind it knows.

use std::sync::Arc;

use mainstay_client::Mesh;
use mainstay_core::catalogue::{self, Scope};
use mainstay_core::id::SpeaksFor;
use mainstay_core::reconcile::DesiredAttempt;
use mainstay_core::report::Report;
use mainstay_core::state::run::Direction;
use mainstay_core::{AgentId, Target};
use tokio_util::sync::CancellationToken;

use super::coordination::Executor;
use crate::artifacts::ArtifactStore;
use crate::execute::backup::Catalogue;
use crate::execute::{self, Context, Labels, Output, Policy, StepError};
use crate::hold;

/// Kinds of `execute`, and the one that needs the mesh.
pub struct Steps {
    agent: AgentId,
    context: Context,
    mesh: Mesh,
    artifacts: Arc<ArtifactStore>,
}

impl Steps {
    #[must_use]
    pub fn new(agent: AgentId, context: Context, mesh: Mesh, artifacts: Arc<ArtifactStore>) -> Steps {
        Steps { agent, context, mesh, artifacts }
    }
}

/// What the agent says that it can do: kinds that it knows, that are done to what it speaks for, and that its own
/// policy allows; those of helm, if it has one.
#[must_use]
pub fn kinds(policy: &Policy, agent: &AgentId, has_helm: bool) -> Vec<String> {
    let known = execute::kinds().iter().copied().chain([hold::KIND]).filter(|kind| is_its_own(kind, agent));
    let can = |kind: &&str| has_helm || !catalogue::is_by_helm(kind);
    known.filter(can).filter(|kind| policy.allows_kind(kind).is_ok()).map(str::to_owned).collect()
}

/// Whether a kind is done to what the agent speaks for. Hands do what changes their node, and nothing else, whatever
/// their policy says and whoever asks.
fn is_its_own(kind: &str, agent: &AgentId) -> bool {
    let Some(kind) = catalogue::kind(kind) else { return false };
    match (&agent.speaks_for, kind.scope) {
        (SpeaksFor::Hands(_), _) => kind.is_by_hands(),
        (SpeaksFor::Node(_), Scope::Host) | (SpeaksFor::Cluster(_), Scope::Cluster | Scope::Node) => true,
        (SpeaksFor::Node(_), Scope::Cluster | Scope::Node) | (SpeaksFor::Cluster(_), Scope::Host) => false,
        (_, Scope::View | Scope::Any) => true,
        (_, Scope::Mesh) => false,
    }
}

impl Executor for Steps {
    fn refuses(&self, attempt: &DesiredAttempt) -> Option<StepError> {
        execute::allowed(&attempt.kind, &attempt.with, &self.context.policy).err()
    }

    async fn execute(&self, attempt: DesiredAttempt, output: Output, cancel: CancellationToken) -> Result<Report, StepError> {
        if self.agent.is_hands() && !is_its_own(&attempt.kind, &self.agent) {
            return Err(StepError::refused(format!("{}: the hands of a node do what changes it, and nothing else", attempt.kind)));
        }
        let connection = match &attempt.target {
            Target::Connection(name) => Some(name.clone()),
            Target::Node(_) | Target::Cluster(_) | Target::Once => None,
        };
        let node = if let Target::Node(node) = &attempt.target { node.on_node().cloned() } else { None };
        let source_node = connection.as_ref().and_then(|name| self.context.connections.get(name)?.source_node.clone());
        let replica = if let SpeaksFor::Cluster(id) = &self.agent.speaks_for { Some(id.to_string()) } else { None };
        let labels = Labels {
            mesh: self.mesh.identity().mesh().to_string(),
            attempt: attempt.id.to_string(),
            run: attempt.run.to_string(),
            step: attempt.step.to_string(),
            plan: Some(attempt.run.plan.clone()),
            connection,
            node,
            replica,
            undoes: attempt.direction == Direction::Undo,
            cluster: Some(self.agent.cluster.clone()),
            machine: if let SpeaksFor::Node(node) = &self.agent.speaks_for { Some(node.clone()) } else { None },
            token: None,
            source_node,
        };
        if attempt.kind == hold::KIND {
            self.context.policy.allows_kind(hold::KIND)?;
            return hold::execute(&attempt.with, attempt.timeout, &labels, &self.mesh, &cancel).await;
        }
        let files = self.artifacts.of(&attempt, cancel.clone());
        let (kind, with) = (&attempt.kind, &attempt.with);
        let catalogue = Catalogue::of(Arc::new(self.mesh.clone()), attempt.id, self.artifacts.ledger().clone());
        let Some(lease) = execute::backup::lease(kind, with, &labels) else {
            let context = self.context.for_attempt(labels, output, cancel).with_artifacts(files).with_catalogue(catalogue);
            return execute::execute(kind, with, &context).await;
        };
        self.context.policy.allows_kind(kind)?;
        let work = |token, stop| async {
            let fenced = Labels { token: Some(token), ..labels.clone() };
            let context = self.context.for_attempt(fenced, output, stop).with_artifacts(files).with_catalogue(catalogue);
            execute::execute(kind, with, &context).await
        };
        hold::under(&lease, attempt.timeout, &labels, &self.mesh, &cancel, work).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_agent_offers_what_its_policy_allows() {
        let node: AgentId = "prod/n1".parse().unwrap();
        let replica: AgentId = "prod/agent/r1".parse().unwrap();
        let by = |text: &str, agent: &AgentId| kinds(&Policy::parse(text).unwrap(), agent, true);
        let offered = |text: &str| by(text, &node);
        assert!(offered("").contains(&"node.resources".to_owned()));
        assert!(!offered("").contains(&"lease.hold".to_owned()));
        assert!(offered("[policy]\nallow = [\"lease.hold\"]").contains(&"lease.hold".to_owned()));
        let everything = "[policy]\nallow = [\"*\"]";
        assert!(by("", &replica).contains(&"kube.workloads".to_owned()) && !offered(everything).contains(&"kube.workloads".to_owned()));
        assert!(!by(everything, &replica).contains(&"node.resources".to_owned()));
        let hands: AgentId = "prod/hands/n1".parse().unwrap();
        assert_eq!(
            (by(everything, &hands), by("", &hands)),
            (["node.exec", "node.reboot", "node.packages"].map(str::to_owned).to_vec(), Vec::new()),
            "they look at nothing"
        );
        let without = kinds(&Policy::parse(everything).unwrap(), &replica, false);
        assert!(by(everything, &replica).contains(&"helm.upgrade".to_owned()) && !without.iter().any(|kind| catalogue::is_by_helm(kind)));
        let all = [offered(everything), by(everything, &replica)].concat();
        let by_agents = catalogue::KINDS.iter().filter(|kind| kind.scope != Scope::Mesh);
        let declared: Vec<&str> = by_agents.map(|kind| kind.name).collect();
        assert!(
            declared.iter().all(|kind| all.iter().any(|known| known == kind)),
            "the catalogue declares {declared:?}, and this agent knows {all:?}"
        );
    }
}
