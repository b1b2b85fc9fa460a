//! Objects of the agent's own cluster: which may be listed, asked before anything is written, and their pages.
//!
//! They are read as the runner of their namespace, so that whoever owns the namespace says what of it may be taken away, Secrets
//! above all; a cluster agent itself may read none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mainstay_backup::source::kubernetes::{Api, KIND, Kind, Kubernetes, NoPage, Page, Wanted};
use mainstay_backup::source::{Source, SourceError};
use serde_json::Value;

use super::super::Context;
use super::super::kube::acting;
use crate::connections::{Connection, ObjectsSettings};
use crate::kube::account::{RUNNER, Right};
use crate::kube::resource::Resource;
use crate::kube::{Cluster, ClusterError, Selected};

/// Objects of one page: each may have 1.5 MiB, and two pages are in memory at most.
const PAGE: usize = 16;
/// The account that each namespace has.
const DEFAULT: &str = "default";
/// Where an API server says its version.
const VERSION: &str = "/version";

/// What is exported, and the way to it.
struct Objects {
    cluster: Cluster,
    settings: ObjectsSettings,
    /// File and line, for whoever is to change something.
    declared_at: String,
    /// What was found when it was looked at.
    looked: Mutex<Option<Looked>>,
}

#[derive(Clone)]
struct Looked {
    resources: BTreeMap<Kind, Resource>,
    versions: BTreeMap<String, String>,
}

/// What is read of a connection to objects.
///
/// # Errors
/// In words, when this is no agent of a cluster.
pub(super) fn source(connection: &Connection, deadline: Duration, context: &Context) -> Result<Box<dyn Source>, String> {
    let settings = connection.objects.as_deref().ok_or_else(|| "it names no objects".to_owned())?.clone();
    let own = context.cluster.as_ref().ok_or_else(|| {
        let at = &connection.declared_at;
        format!("this agent speaks for a node, and objects are exported by a cluster agent: declare it there, and take it out at {at}")
    })?;
    let wanted = Wanted {
        namespaces: settings.namespaces.iter().cloned().collect(),
        kinds: settings.kinds.iter().cloned().collect(),
        exclude: settings.exclude.clone(),
        allow_empty: settings.allow_empty,
    };
    let objects = Objects { cluster: own.clone(), settings, declared_at: connection.declared_at.clone(), looked: Mutex::default() };
    Ok(Box::new(Kubernetes::new(Arc::new(objects), wanted, deadline)))
}

impl Objects {
    fn found(&self) -> Option<Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The cluster, asked as who reads the objects of a namespace.
    fn runner(&self, namespace: &str) -> Cluster {
        acting::runner(&self.cluster, namespace, self.settings.service_account.as_deref())
    }

    fn selected(&self) -> Selected<'_> {
        Selected { labels: self.settings.label_selector.as_deref(), ..Selected::default() }
    }

    async fn looked(&self) -> Result<Looked, String> {
        let said = |error: ClusterError| error.to_string();
        let version: Option<Value> = self.cluster.find(VERSION).await.map_err(said)?;
        let version = version.as_ref().and_then(|version| version["gitVersion"].as_str()).unwrap_or("unknown").to_owned();
        let mut resources = BTreeMap::new();
        for kind in &self.settings.kinds {
            let resource = self.cluster.resource(&kind.api_version, &kind.kind).await.map_err(|error| match error {
                ClusterError::Missing { message, .. } => format!("{message}: see `kinds` at {}", self.declared_at),
                error => said(error),
            })?;
            if !resource.namespaced {
                return Err(format!("a {} is in no namespace, and only what is in one is exported: see `kinds` at {}", kind.kind, self.declared_at));
            }
            resources.insert(kind.clone(), resource);
        }
        let mut lacking = Vec::new();
        for namespace in &self.settings.namespaces {
            self.is_there(namespace).await?;
            lacking.extend(self.lacks(namespace, &resources).await?);
        }
        if !lacking.is_empty() {
            let role = "kubectl -n NAMESPACE create rolebinding mainstay-runner-export --clusterrole mainstay-runner-export --serviceaccount NAMESPACE:ACCOUNT";
            return Err(format!("{}; the roles of deploy/kubernetes/runner.yaml give it:  {role}", lacking.join("; ")));
        }
        // What an API server does not understand of a selector it says now.
        if let (Some((_, resource)), Some(namespace)) = (resources.first_key_value(), self.settings.namespaces.first()) {
            let path = resource.path(namespace);
            self.runner(namespace).page(&path, self.selected(), "", 1).await.map_err(said)?;
        }
        Ok(Looked { resources, versions: BTreeMap::from([("kubernetes".to_owned(), version)]) })
    }

    /// Every namespace has an account of its own from the beginning, and accounts are what an agent may list everywhere.
    async fn is_there(&self, namespace: &str) -> Result<(), String> {
        match self.cluster.has_account(namespace, DEFAULT).await {
            Ok(false) => Err(format!("there is no namespace {namespace} in the cluster: see `namespaces` at {}", self.declared_at)),
            // Where an agent may not look, the rights say what is wrong.
            Ok(true) | Err(_) => Ok(()),
        }
    }

    /// What whoever reads there may not list, in words.
    async fn lacks(&self, namespace: &str, resources: &BTreeMap<Kind, Resource>) -> Result<Option<String>, String> {
        let runner = self.runner(namespace);
        let rights: Vec<Right<'_>> = resources.values().flat_map(|resource| acting::rights(resource, namespace, &["list"])).collect();
        let lacking = runner.lacking(&rights).await.map_err(|error| error.to_string())?;
        if lacking.is_empty() {
            return Ok(None);
        }
        let name =
            |right: &&Right<'_>| if right.group.is_empty() { right.resource.to_owned() } else { format!("{}.{}", right.resource, right.group) };
        let names: BTreeSet<String> = lacking.iter().map(name).collect();
        let account = self.settings.service_account.as_deref().unwrap_or(RUNNER);
        let exists = self.cluster.has_account(namespace, account).await.unwrap_or(true);
        let is_there = if exists { "" } else { ", which does not exist," };
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        Ok(Some(format!("ServiceAccount {namespace}/{account}{is_there} lacks the right to list {names} in {namespace}")))
    }
}

impl Api for Objects {
    fn look(&self) -> BoxFuture<'_, Result<BTreeMap<String, String>, SourceError>> {
        async {
            if let Some(looked) = self.found() {
                return Ok(looked.versions);
            }
            let looked = self.looked().await.map_err(|why| SourceError::new(KIND, why))?;
            *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(looked.clone());
            Ok(looked.versions)
        }
        .boxed()
    }

    fn page<'a>(&'a self, kind: &'a Kind, namespace: &'a str, next: &'a str) -> BoxFuture<'a, Result<Page, NoPage>> {
        async move {
            let resource = self.found().and_then(|looked| looked.resources.get(kind).cloned());
            let path = resource.ok_or_else(|| NoPage::Failed("where its objects are was not looked up".to_owned()))?.path(namespace);
            match self.runner(namespace).page(&path, self.selected(), next, PAGE).await {
                Ok(Some((objects, next))) => Ok(Page { objects, next }),
                Ok(None) => Err(NoPage::Forgotten),
                Err(error) => Err(NoPage::Failed(error.to_string())),
            }
        }
        .boxed()
    }
}
