//! Whether the objects of a backup could be made: asked before the first of them is.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_backup::progress::Teller;
use mainstay_backup::source::kubernetes::Kind;

use super::super::super::super::kube::acting;
use super::super::place::{Not, Order};
use super::planned::{Name, Plan, Planned, role};
use super::{Looked, Objects};
use crate::kube::ClusterError;
use crate::kube::account::Right;
use crate::kube::resource::Resource;

/// What is done to each object: found, made, marked as this attempt's, and taken back.
const VERBS: [&str; 4] = ["get", "create", "patch", "delete"];
/// How an API server says that one of its webhooks cannot be asked what it would say.
const NOT_ASKED: &str = "does not support dry run";

impl Objects {
    pub(super) async fn planned(&self, order: &Order<'_>) -> Result<Planned, String> {
        let (mut each, mut plan) = (self.each(order, &Teller::default()).await?, Plan::of(self.account()));
        while let Some(object) = each.next().await.map_err(|error| error.to_string())? {
            plan.add(&object)?;
        }
        Ok(plan.done())
    }

    pub(super) async fn resources(&self, planned: &Planned) -> Result<BTreeMap<Kind, Resource>, Not> {
        let kinds: BTreeSet<&Kind> = planned.names.iter().map(|name| &name.kind).collect();
        let mut resources = BTreeMap::new();
        for kind in kinds {
            let resource = self.cluster.resource(&kind.api_version, &kind.kind).await.map_err(|error| match error {
                ClusterError::Missing { message, .. } => {
                    Not::Refused(format!("{message}, and nothing was touched: install what brings it, or restore other objects, by  only"))
                }
                error => Not::Failed(error.to_string()),
            })?;
            if !resource.namespaced {
                return Err(Not::Refused(format!("a {} is in no namespace here, and was in one where it was backed up", kind.kind)));
            }
            resources.insert(kind.clone(), resource);
        }
        Ok(resources)
    }

    /// Whether the namespaces are there, and their runners may do it.
    pub(super) async fn may(&self, planned: &Planned, resources: &BTreeMap<Kind, Resource>) -> Result<(), Not> {
        let mut lacking = Vec::new();
        for namespace in planned.namespaces() {
            // Where an agent may not look, the rights say what is wrong.
            if self.cluster.has_account(namespace, "default").await.is_ok_and(|exists| !exists) {
                return Err(Not::Refused(format!(
                    "there is no namespace {namespace} in the cluster, and nothing was touched: make it, with its runner:  kubectl create namespace {namespace}"
                )));
            }
            let here: Vec<&Resource> = planned.kinds_in(namespace).into_iter().filter_map(|kind| resources.get(kind)).collect();
            let rights: Vec<Right<'_>> = here.iter().flat_map(|resource| acting::rights(resource, namespace, &VERBS)).collect();
            let runner = self.runner(namespace);
            let missing = runner.lacking(&rights).await.map_err(|error| Not::Failed(error.to_string()))?;
            if !missing.is_empty() {
                let exists = self.cluster.has_account(namespace, self.account()).await.unwrap_or(true);
                let is_there = if exists { "" } else { ", which does not exist," };
                let account = format!("ServiceAccount {namespace}/{}{is_there}", self.account());
                lacking.push(format!("{account} lacks the right to {} in {namespace}", in_words(&missing)));
            }
        }
        if lacking.is_empty() {
            return Ok(());
        }
        let role =
            "kubectl -n NAMESPACE create rolebinding mainstay-runner-import --clusterrole mainstay-runner-import --serviceaccount NAMESPACE:ACCOUNT";
        Err(Not::Refused(format!("{}; nothing was touched; the roles of deploy/kubernetes/runner.yaml give it:  {role}", lacking.join("; "))))
    }

    /// Asks of each that is missing whether it would be made. What gives a Role that is not there yet cannot be asked for.
    pub(super) async fn would_be_made(&self, order: &Order<'_>, looked: &Looked, missing: &BTreeSet<Name>) -> Result<(), Not> {
        let mut each = self.each(order, &Teller::default()).await.map_err(Not::Failed)?;
        while let Some(object) = each.next().await.map_err(|error| Not::Failed(error.to_string()))? {
            let name = Name::of(&object).map_err(Not::Failed)?;
            let resource = looked.resources.get(&name.kind).filter(|_| missing.contains(&name));
            let Some(resource) = resource.filter(|_| !(name.is_binding() && role(&object).is_some())) else { continue };
            match self.runner(&name.namespace).try_create(&resource.path(&name.namespace), &self.marked(object)).await {
                Ok(_) => {}
                Err(ClusterError::Invalid { message, .. } | ClusterError::Failed { message, .. }) if message.contains(NOT_ASKED) => {}
                Err(ClusterError::Failed { message, .. }) => return Err(Not::Failed(format!("{name}: {message}; nothing was touched"))),
                Err(error) => return Err(Not::Refused(format!("{name} would not be made, and nothing was touched: {error}"))),
            }
        }
        Ok(())
    }
}

/// `create, patch configmaps, secrets; create deployments.apps`
fn in_words(missing: &[&Right<'_>]) -> String {
    let mut verbs: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for right in missing {
        let name = if right.group.is_empty() { right.resource.to_owned() } else { format!("{}.{}", right.resource, right.group) };
        verbs.entry(name).or_default().push(right.verb);
    }
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, verbs) in verbs {
        names.entry(verbs.join(", ")).or_default().push(name);
    }
    names.into_iter().map(|(verbs, names)| format!("{verbs} {}", names.join(", "))).collect::<Vec<_>>().join("; ")
}
