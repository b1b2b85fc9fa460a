//! Objects of Kubernetes: the API server is asked for them a page at a time, and each is written on a line of its own as soon as
//! it is there, without what only the cluster that it came from knows. `kubectl apply -f -` takes the stream as it is.
//!
//! ```text
//! kind by kind, in the order in which they can be made again ─▶ namespace by namespace ─▶ page by page ─▶ one line an object
//! ```
//!
//! Whoever makes this source brings the way to the API server: this crate knows none.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Source, SourceError, Stream};
use crate::pipe::{self, Mouth};

mod clean;
mod kind;
mod tally;

pub use clean::{LeftOut, clean};
pub use kind::{Kind, NotAKind, fits_object, usual};
pub use tally::{Lines, Tally};

/// What its part is.
pub const CONTENT: &str = "application/vnd.kubernetes.objects";
/// As in manifests.
pub const KIND: &str = "kube.export";
/// Under this name it is counted what is in it: by namespace, then by kind.
pub const OBJECTS: &str = "objects";
/// Under this name it is counted what is not in it, by why.
const LEFT_OUT: &str = "leftOut";
/// Most objects of one backup, with those that are left out.
const OBJECTS_MAX: u64 = 200_000;
/// Times that the list of one kind in one namespace is begun again.
const AGAIN_MAX: u32 = 5;

/// The way to an API server.
pub trait Api: Send + Sync + 'static {
    /// Whether all that is wanted may be listed, before anything is written. The versions of what takes part.
    fn look(&self) -> BoxFuture<'_, Result<BTreeMap<String, String>, SourceError>>;

    /// The first page of a list where `next` is empty, else the one that `next` of the page before leads to.
    fn page<'a>(&'a self, kind: &'a Kind, namespace: &'a str, next: &'a str) -> BoxFuture<'a, Result<Page, NoPage>>;
}

/// Objects of one kind in one namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// As the API server has them.
    pub objects: Vec<Value>,
    /// Leads to the next page; empty after the last.
    pub next: String,
}

/// Why there is no page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPage {
    /// The API server has forgotten the list that the page is of (410).
    Forgotten,
    /// Anything else, in words.
    Failed(String),
}

/// What is wanted of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The namespaces.
    pub namespaces: BTreeSet<String>,
    /// The kinds.
    pub kinds: BTreeSet<Kind>,
    /// Objects that are left out, each a pattern such as `ConfigMap/cache-*`.
    pub exclude: Vec<String>,
    /// Whether a backup of nothing is one.
    pub allow_empty: bool,
}

/// Objects of a cluster.
pub struct Kubernetes {
    api: Arc<dyn Api>,
    wanted: Arc<Wanted>,
    /// For all of it.
    deadline: Duration,
    given: bool,
    counted: Arc<Mutex<Option<Counted>>>,
}

/// What was written, and what was not.
#[derive(Debug, Clone, Default)]
struct Counted {
    objects: Tally,
    left_out: BTreeMap<&'static str, u64>,
    seen: u64,
}

impl Kubernetes {
    /// What is wanted, from there, within that time.
    #[must_use]
    pub fn new(api: Arc<dyn Api>, wanted: Wanted, deadline: Duration) -> Kubernetes {
        Kubernetes { api, wanted: Arc::new(wanted), deadline, given: false, counted: Arc::default() }
    }
}

impl Source for Kubernetes {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn look(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, String>, SourceError>> {
        self.api.look()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Stream>, SourceError>> {
        async {
            if std::mem::replace(&mut self.given, true) {
                return Ok(None);
            }
            let (mouth, flow) = pipe::to_task();
            let (api, wanted, counted, deadline) = (Arc::clone(&self.api), Arc::clone(&self.wanted), Arc::clone(&self.counted), self.deadline);
            tokio::spawn(async move {
                let outcome = tokio::select! {
                    outcome = tokio::time::timeout(deadline, give(&*api, &wanted, &mouth)) => outcome,
                    () = mouth.unread() => return,
                };
                let outcome = outcome.unwrap_or_else(|_| Err(format!("not all objects came within {} s", deadline.as_secs())));
                let outcome = outcome.map(|all| *counted.lock().unwrap_or_else(PoisonError::into_inner) = Some(all));
                mouth.end(outcome.map_err(io::Error::other)).await;
            });
            Ok(Some(Stream { name: "objects".to_owned(), content: CONTENT, reader: Box::new(flow) }))
        }
        .boxed()
    }

    fn end(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, Value>, SourceError>> {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        async move {
            let counted = counted.ok_or_else(|| SourceError::new(KIND, "its objects did not come to an end"))?;
            let left_out = counted.left_out.into_iter().map(|(why, count)| (why.to_owned(), Value::from(count))).collect();
            Ok(BTreeMap::from([(OBJECTS.to_owned(), counted.objects.counted()), (LEFT_OUT.to_owned(), Value::Object(left_out))]))
        }
        .boxed()
    }
}

/// Everything that is wanted, or why not: what cannot be listed in the middle ends it.
async fn give(api: &dyn Api, wanted: &Wanted, mouth: &Mouth) -> Result<Counted, String> {
    let mut kinds: Vec<&Kind> = wanted.kinds.iter().collect();
    kinds.sort_by_key(|kind| kind.place());
    let mut counted = Counted::default();
    for kind in kinds {
        for namespace in &wanted.namespaces {
            list(api, wanted, (kind, namespace), &mut counted, mouth).await?;
        }
    }
    let empty: Vec<&str> = wanted.namespaces.iter().map(String::as_str).filter(|namespace| !counted.objects.has(namespace)).collect();
    if !empty.is_empty() && !wanted.allow_empty {
        let what = if counted.seen == 0 { "nothing" } else { "nothing that does not come by itself, is being deleted or is left out" };
        return Err(format!(
            "there is {what} of these kinds in {}: look at  namespaces, kinds, selector  and  exclude; if that is right:  allowEmpty = true",
            empty.join(", ")
        ));
    }
    Ok(counted)
}

/// One kind in one namespace. A list that the API server forgets meanwhile is begun again; what was written then is not written
/// a second time.
async fn list(api: &dyn Api, wanted: &Wanted, (kind, namespace): (&Kind, &str), counted: &mut Counted, mouth: &Mouth) -> Result<(), String> {
    let (mut names, mut next, mut begun_again) = (HashSet::new(), String::new(), 0);
    loop {
        let page = match api.page(kind, namespace, &next).await {
            Ok(page) => page,
            Err(NoPage::Forgotten) if begun_again < AGAIN_MAX => {
                begun_again += 1;
                next.clear();
                continue;
            }
            Err(NoPage::Forgotten) => {
                return Err(format!(
                    "{kind} in {namespace}: the API server has forgotten the list before it was read, {} times: it may be short of memory, or the store \
                     takes too little at a time",
                    begun_again + 1
                ));
            }
            Err(NoPage::Failed(why)) => return Err(format!("{kind} in {namespace}: {why}")),
        };
        for object in page.objects {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if !names.insert(name.clone()) {
                continue;
            }
            counted.seen += 1;
            if counted.seen > OBJECTS_MAX {
                return Err(format!("there are more than {OBJECTS_MAX} objects: name fewer namespaces or kinds, or a selector"));
            }
            let is_excluded = wanted.exclude.iter().any(|pattern| fits_object(pattern, &kind.kind, &name));
            let cleaned = if is_excluded { Err(LeftOut::Excluded) } else { clean(object, kind, &wanted.kinds) };
            match cleaned {
                Ok(object) => {
                    counted.objects.count_one(namespace, &kind.name());
                    let line = serde_json::to_vec(&object).map_err(|error| format!("{kind} {name} in {namespace}: {error}"))?;
                    mouth.send(Bytes::from([line, b"\n".to_vec()].concat())).await.map_err(|unread| io::Error::from(unread).to_string())?;
                }
                Err(why) => *counted.left_out.entry(why.as_str()).or_default() += 1,
            }
        }
        if page.next.is_empty() {
            return Ok(());
        }
        next = page.next;
    }
}

#[cfg(test)]
mod tests;
