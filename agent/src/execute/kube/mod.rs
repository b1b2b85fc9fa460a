//! Steps of a cluster agent, in its Kubernetes cluster.

mod judge;
#[cfg(test)]
mod tests;
pub mod workloads;

use super::{Context, StepError};
use crate::kube::Cluster;

fn cluster<'c>(kind: &str, context: &'c Context) -> Result<&'c Cluster, StepError> {
    context.cluster.as_ref().ok_or_else(|| StepError::refused(format!("{kind}: this agent speaks for a node, and only a cluster agent does it")))
}
