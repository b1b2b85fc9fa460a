//! Objects of Kubernetes as a place: each object of a backup is made in the agent's own cluster, as the runner of the namespace
//! that it goes into, and none that is there already is changed.
//!
//! ```text
//! read which there are ─▶ kinds, namespaces, rights ─▶ is one there already? ─▶ would each be made? ─▶ made, in the backup's order
//!                                                                               what fails takes back what was made ◀──┘
//! ```
//!
//! Each object says of which backup it is, and which work has made it. So a try after a death finds what was made and goes on,
//! and a try that fails takes away what this work has made, and nothing else.

mod back;
mod make;
mod may;
mod planned;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use mainstay_backup::manifest::Manifest;
use mainstay_backup::place::kubernetes::{Choice, Each};
use mainstay_backup::progress::Teller;
use mainstay_backup::source::kubernetes::{CONTENT, Kind, OBJECTS, Tally};
use mainstay_core::report::{Check, Verdict};
use serde_json::Value;
use tokio::io::AsyncRead;

use super::super::super::Context;
use super::super::super::kube::acting;
use super::super::super::kube::work::{Work, annotation};
use super::KIND;
use super::place::{Compared, Is, Not, Order};
use crate::connections::{Connection, ObjectsSettings};
use crate::kube::account::RUNNER;
use crate::kube::resource::Resource;
use crate::kube::{Cluster, ClusterError};
use planned::{Name, Planned, some};

/// Of which backup an object is. An export leaves it out.
const RESTORED: &str = "mainstay.dev/restored";
/// Objects that are asked for at a time.
const AT_ONCE: usize = 8;
/// How often an object is read again that somebody else changes all the time.
const TRIES: usize = 5;

/// What of the objects of a backup is wanted, and where.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    pub namespaces: Vec<String>,
    pub only: Vec<String>,
    pub labels: Vec<String>,
}

impl Asked {
    pub fn is_said(&self) -> bool {
        !(self.namespaces.is_empty() && self.only.is_empty() && self.labels.is_empty())
    }
}

/// Namespaces of the agent's own cluster, and what is put there.
pub(super) struct Objects {
    cluster: Cluster,
    settings: ObjectsSettings,
    choice: Choice,
    /// Where they go.
    namespaces: BTreeSet<String>,
    /// Whether some go where they came from, if this is the cluster that they are of.
    stays: bool,
    work: Work,
    backup: String,
    /// What was found when it was looked at.
    looked: Mutex<Option<Arc<Looked>>>,
}

struct Looked {
    planned: Planned,
    resources: BTreeMap<Kind, Resource>,
    /// Those that an earlier try has made.
    earlier: usize,
}

/// What is there under the name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    /// This backup's.
    Own,
    /// This backup's, and about to go.
    Going,
    Others,
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.namespaces.iter().map(String::as_str).collect();
        write!(f, "{} {}", if names.len() == 1 { "namespace" } else { "namespaces" }, names.join(", "))
    }
}

impl Objects {
    /// Where a connection leads, if this backup can be put there.
    ///
    /// # Errors
    /// In words.
    pub fn of(into: &Connection, manifest: &Manifest, asked: &Asked, context: &Context) -> Result<Objects, String> {
        let at = &into.declared_at;
        let settings = into.objects.as_deref().ok_or_else(|| "it names no namespaces".to_owned())?.clone();
        let cluster = context.cluster.clone();
        let cluster = cluster.ok_or_else(|| {
            format!("this agent speaks for a node, and objects are put back by a cluster agent: declare it there, and take it out at {at}")
        })?;
        let counted = Tally::of(manifest.source.counted.get(OBJECTS).unwrap_or(&Value::Null));
        let has: Vec<&str> = counted.namespaces().collect();
        if has.is_empty() {
            return Err(format!("{} has no objects", manifest.backup));
        }
        let namespaces = match (asked.namespaces.as_slice(), has.as_slice(), settings.namespaces.as_slice()) {
            // What a connection leads to is where it goes.
            ([], [_], [only]) => vec![only.clone()],
            (named, ..) => named.to_vec(),
        };
        let choice = Choice::read(&namespaces, &asked.only, &asked.labels, &has).map_err(|error| error.to_string())?;
        let moves: Vec<(&str, &str)> = has.iter().filter_map(|old| Some((*old, choice.place_of(old)?))).collect();
        let stays = moves.iter().any(|(old, new)| old == new);
        let namespaces: BTreeSet<String> = moves.iter().map(|(_, new)| (*new).to_owned()).collect();
        if let Some(foreign) = namespaces.iter().find(|namespace| !settings.namespaces.contains(namespace)) {
            let names = settings.namespaces.join(", ");
            return Err(format!(
                "it leads to {names}, and not to {foreign}: name one of those, by  namespace: [NEW]  or [OLD=NEW]; or name {foreign} too, under `namespaces` at {at}"
            ));
        }
        let work = Work::of(KIND, context).map_err(|error| error.message)?;
        Ok(Objects { cluster, settings, choice, namespaces, stays, work, backup: manifest.backup.to_string(), looked: Mutex::default() })
    }

    /// Whether some of them go where they came from, if this is the cluster that they are of.
    pub fn stays(&self) -> bool {
        self.stays
    }

    /// `12 objects`, once it was looked at.
    pub fn size(&self) -> Option<String> {
        self.found().map(|looked| counted(looked.planned.names.len()))
    }

    /// What is not put back though it is in the backup, and what an earlier try has done.
    pub fn remarks(&self) -> (Vec<String>, Option<Check>) {
        let Some(looked) = self.found() else { return (Vec::new(), None) };
        let Planned { runners, given, .. } = &looked.planned;
        let mut details = Vec::new();
        if looked.earlier > 0 {
            details.push(format!("{} of them were there already, made of this backup by an earlier try", looked.earlier));
        }
        if !runners.is_empty() {
            details.push(format!("left to whoever owns the namespace, as who restores and its rights: {}", some(runners)));
        }
        let warning = (!given.is_empty()).then(|| {
            let message = "every namespace has one already, and what is there is not changed: what somebody had given it is given by hand";
            Check::stated("restore.leftOut", &some(given), Verdict::Warning, message)
        });
        (details, warning)
    }

    fn found(&self) -> Option<Arc<Looked>> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn looked(&self) -> Result<Arc<Looked>, String> {
        self.found().ok_or_else(|| "where its objects go was not looked at".to_owned())
    }

    fn account(&self) -> &str {
        self.settings.service_account.as_deref().unwrap_or(RUNNER)
    }

    /// The cluster, asked as who makes the objects of a namespace.
    fn runner(&self, namespace: &str) -> Cluster {
        acting::runner(&self.cluster, namespace, self.settings.service_account.as_deref())
    }

    /// The objects of the backup, as they are put.
    async fn each(&self, order: &Order<'_>, progress: &Teller) -> Result<Each<impl AsyncRead + Send + Unpin + 'static>, String> {
        let part = order.manifest.parts.iter().find(|part| part.content == CONTENT);
        let part = part.ok_or_else(|| format!("{} has no part with objects", self.backup))?;
        let plain = mainstay_backup::open(&order.opened.store, order.manifest, part, order.keys, progress).await;
        Ok(Each::of(plain.map_err(|damage| damage.to_string())?, self.choice.clone()))
    }

    /// What is there. Nothing of it is changed.
    ///
    /// # Errors
    /// What is in the way.
    pub async fn is(&self, order: &Order<'_>) -> Result<Is, Not> {
        let planned = self.planned(order).await.map_err(Not::Failed)?;
        if planned.names.is_empty() {
            return Err(Not::Refused(format!("none of the objects of {} is one that was asked for", self.backup)));
        }
        let resources = self.resources(&planned).await?;
        self.may(&planned, &resources).await?;
        let mut looked = Looked { planned, resources, earlier: 0 };
        let mut others = Vec::new();
        let mut missing = BTreeSet::new();
        for names in looked.planned.names.chunks(AT_ONCE) {
            let all = join_all(names.iter().map(|name| self.find(&looked, name))).await;
            for (name, object) in names.iter().zip(all) {
                match self.sort(object.map_err(|error| Not::Failed(error.to_string()))?.as_ref()) {
                    Found::Nothing => {
                        missing.insert(name.clone());
                    }
                    Found::Own => {}
                    Found::Going => return Err(Not::Failed(format!("{name} is about to go, as an earlier try has left it: try again then"))),
                    Found::Others => others.push(name.clone()),
                }
            }
        }
        if !others.is_empty() {
            return Err(Not::Refused(format!(
                "{} there already, and nothing was touched: {}: remove what is not wanted, name another namespace (namespace), or fewer objects (only, labels)",
                if others.len() == 1 { "one of its objects is".to_owned() } else { format!("{} are", counted(others.len())) },
                some(&others)
            )));
        }
        looked.earlier = looked.planned.names.len() - missing.len();
        self.would_be_made(order, &looked, &missing).await?;
        let is = match (looked.earlier, missing.len()) {
            (0, _) => Is::Free,
            (_, 0) => Is::Restored,
            _ => Is::Half,
        };
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(looked));
        Ok(is)
    }

    async fn find(&self, looked: &Looked, name: &Name) -> Result<Option<Value>, ClusterError> {
        let Some(resource) = looked.resources.get(&name.kind) else { return Ok(None) };
        self.runner(&name.namespace).find(&resource.path_of(&name.namespace, &name.name)).await
    }

    fn sort(&self, object: Option<&Value>) -> Found {
        let Some(object) = object else { return Found::Nothing };
        match (annotation(object, RESTORED) == Some(self.backup.as_str()), object.pointer("/metadata/deletionTimestamp").is_some()) {
            (true, false) => Found::Own,
            (true, true) => Found::Going,
            (false, _) => Found::Others,
        }
    }

    /// Whether every object is there.
    ///
    /// # Errors
    /// In words, when that cannot be looked at.
    pub async fn compared(&self) -> Result<Compared, String> {
        let looked = self.looked()?;
        let mut differs = Vec::new();
        for names in looked.planned.names.chunks(AT_ONCE) {
            let all = join_all(names.iter().map(|name| self.find(&looked, name))).await;
            for (name, object) in names.iter().zip(all) {
                match self.sort(object.map_err(|error| error.to_string())?.as_ref()) {
                    Found::Own => {}
                    Found::Nothing | Found::Going => differs.push(format!("{name} is not there")),
                    Found::Others => differs.push(format!("{name} is not the one that was restored")),
                }
            }
        }
        let count = looked.planned.names.len();
        Ok(Compared { words: format!("{} in {self}", counted(count)), counted: u64::try_from(count).ok(), differs })
    }
}

/// `12 objects`
fn counted(count: usize) -> String {
    if count == 1 { "one object".to_owned() } else { format!("{count} objects") }
}
