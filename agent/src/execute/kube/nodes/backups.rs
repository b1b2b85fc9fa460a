//! Pods of a node that a backup reads from: while it does, the node is not taken out of use.
//!
//! Who holds the lease of a backup says which pod it reads from. On which node that pod is the mesh does not know, and the
//! pod may move: whoever acts for the cluster looks when it matters.

use std::fmt;
use std::sync::Arc;

use mainstay_client::Mesh;
use mainstay_core::id::LeaseName;
use mainstay_proto::v1;

use super::super::super::{Context, StepError};
use super::Place;
use super::sort::Pod;
use crate::hold::SOURCE_POD;
use crate::kube::Selected;

/// The way to the mesh's leases; an agent without a mesh has none. Cheap to clone.
#[derive(Clone, Default)]
pub struct Leases(Option<Arc<Mesh>>);

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leases").field(&self.0.is_some()).finish()
    }
}

/// A backup that reads from a pod.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// As `NAMESPACE/NAME`.
    pod: String,
    lease: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a backup reads from pod {} there, and is waited for: see `mainstay lease show {}`", self.pod, self.lease)
    }
}

impl Leases {
    #[must_use]
    pub fn of(mesh: Arc<Mesh>) -> Leases {
        Leases(Some(mesh))
    }

    /// The pods that backups of the attempt's cluster read from.
    ///
    /// # Errors
    /// In words, where the mesh was not asked: that is not taken for none.
    async fn sources(&self, context: &Context) -> Result<Vec<Source>, String> {
        let (Some(mesh), Some(cluster)) = (&self.0, &context.labels.cluster) else { return Ok(Vec::new()) };
        let request = v1::ListLeasesRequest { prefix: LeaseName::backups(cluster) };
        match mesh.list_leases(request).await {
            Ok(answer) => Ok(sources(&answer.leases)),
            Err(error) => Err(format!("whether a backup reads from a pod there cannot be told: {error}")),
        }
    }
}

fn sources(leases: &[v1::Lease]) -> Vec<Source> {
    let held = leases.iter().flat_map(|lease| lease.held.iter().map(move |holder| (lease, holder)));
    held.filter_map(|(lease, holder)| Some(Source { pod: holder.attributes.get(SOURCE_POD)?.clone(), lease: lease.name.clone() })).collect()
}

fn among<'p>(sources: Vec<Source>, pods: impl Iterator<Item = &'p Pod>) -> Option<Source> {
    let names: Vec<String> = pods.map(Pod::full_name).collect();
    sources.into_iter().find(|source| names.contains(&source.pod))
}

/// What keeps these pods where they are, in words.
pub async fn reads_from<'p>(pods: impl Iterator<Item = &'p Pod>, context: &Context) -> Option<String> {
    match context.leases.sources(context).await {
        Ok(sources) => among(sources, pods).map(|source| source.to_string()),
        Err(words) => Some(words),
    }
}

/// The same of all pods of a node, which are asked for only where somebody reads from a pod.
///
/// # Errors
/// Where the cluster does not say which pods those are.
pub(super) async fn keeps(place: &Place<'_>, context: &Context) -> Result<Option<String>, StepError> {
    let sources = match context.leases.sources(context).await {
        Ok(sources) => sources,
        Err(words) => return Ok(Some(words)),
    };
    if sources.is_empty() {
        return Ok(None);
    }
    let on_it = format!("spec.nodeName={}", place.node);
    let pods: Vec<Pod> =
        place.own.list("/api/v1/pods", Selected { fields: Some(&on_it), ..Selected::default() }).await.map_err(|error| place.failed(&error))?;
    Ok(among(sources, pods.iter()).map(|source| source.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn lease(name: &str, attribute: &str, value: &str) -> v1::Lease {
        let holder = |attribute: &str| v1::LeaseHolder { attributes: [(attribute.to_owned(), value.to_owned())].into(), ..Default::default() };
        v1::Lease { name: name.into(), held: vec![holder(attribute)], waiting: vec![holder(SOURCE_POD)], ..Default::default() }
    }

    fn pods(names: &[&str]) -> Vec<Pod> {
        let all = names.iter().map(|name| json!({ "metadata": { "namespace": "shop", "name": name } }));
        all.map(|pod| serde_json::from_value(pod).unwrap()).collect()
    }

    #[test]
    fn a_pod_counts_that_a_holder_reads_from_and_none_that_is_elsewhere() {
        let leases = [lease("backup/prod/cache", "node", "n1"), lease("backup/prod/orders", SOURCE_POD, "shop/db-0")];
        let found = |names: &[&str]| among(sources(&leases), pods(names).iter()).map(|source| source.to_string());
        let words = "a backup reads from pod shop/db-0 there, and is waited for: see `mainstay lease show backup/prod/orders`";
        assert_eq!(found(&["web-1", "db-0"]).as_deref(), Some(words));
        assert_eq!((found(&["db-1", "db-00"]), found(&[])), (None, None));
        assert_eq!(among(sources(&leases[..1]), pods(&["db-0"]).iter()), None, "who waits for a lease reads nothing yet");
    }
}
