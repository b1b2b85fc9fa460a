//! As whom a step acts: the account that its parameters name, and whether that may do what the step will do.

use super::super::StepError;
use crate::kube::Cluster;
use crate::kube::account::{Account, NODE_RUNNER, RUNNER, Right};
use crate::kube::resource::Resource;

/// The cluster, asked as the account that acts on objects of this namespace; on objects that are in none, where it is
/// empty.
pub fn runner(cluster: &Cluster, namespace: &str, named: Option<&str>) -> Cluster {
    let account = if namespace.is_empty() {
        Account { namespace: cluster.home().to_owned(), name: named.unwrap_or(NODE_RUNNER).to_owned() }
    } else {
        Account { namespace: namespace.to_owned(), name: named.unwrap_or(RUNNER).to_owned() }
    };
    cluster.acting_as(account)
}

/// Refuses a step whose account lacks a right, before anything is done, and names each that it lacks.
pub async fn may(kind: &str, cluster: &Cluster, rights: &[Right<'_>]) -> Result<(), StepError> {
    let lacking = cluster.lacking(rights).await.map_err(|error| super::failed(kind, &error))?;
    if let Some(review) = cluster.review() {
        review.put(cluster.account(), &lacking);
        return Err(StepError::refused(format!("{kind}: {}", crate::kube::review::NOTHING_IS_DONE)));
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let account = cluster.account().map_or_else(|| "the agent".to_owned(), ToString::to_string);
    let lacking = lacking.into_iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    Err(StepError::refused(format!("{kind}: {account} lacks the right to {lacking}: bind a Role with it to that account")))
}

/// The rights to do these things to objects of one kind.
pub fn rights<'r>(resource: &'r Resource, namespace: &'r str, verbs: &[&'r str]) -> Vec<Right<'r>> {
    verbs.iter().map(|verb| Right { verb, group: resource.group(), resource: &resource.plural, namespace }).collect()
}
