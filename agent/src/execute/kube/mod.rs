//! Steps of a cluster agent, in its Kubernetes cluster.

pub(super) mod acting;
mod behind;
mod budget;
pub mod certificates;
pub mod cronjobs;
pub mod events;
pub mod exec;
pub mod jobs;
mod judge;
pub mod live;
pub mod nodes;
mod now;
pub mod objects;
pub mod restart;
pub mod rolling;
mod rollout;
pub mod scale;
pub mod services;
pub mod switch;
#[cfg(test)]
mod tests;
pub mod wait;
pub mod watch;
mod way;
pub(super) mod why;
pub(super) mod work;
pub mod workloads;

use mainstay_core::catalogue::fits;

use super::{Context, StepError};
use crate::kube::{Cluster, ClusterError};

pub(super) fn cluster<'c>(kind: &str, context: &'c Context) -> Result<&'c Cluster, StepError> {
    context.cluster.as_ref().ok_or_else(|| StepError::refused(format!("{kind}: this agent speaks for a node, and only a cluster agent does it")))
}

pub(super) fn failed(kind: &str, error: &ClusterError) -> StepError {
    StepError::failed(format!("{kind}: {error}"))
}

/// Whether a namespace is one of those that are named, and none of those that are left out.
fn wants(namespaces: &[String], excluded: &[String], namespace: &str) -> bool {
    let named = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, namespace));
    named(namespaces) && !named(excluded)
}

fn everywhere() -> Vec<String> {
    vec!["*".to_owned()]
}
