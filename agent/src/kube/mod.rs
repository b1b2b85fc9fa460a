//! A Kubernetes cluster, as the agent sees it that speaks for it.
//!
//! ```text
//!   acting: holds lease agent/CLUSTER; whoever has it is given the cluster's steps
//!   vouch:  says to the mesh whose a pod's token is
//!   kept:   this agent's identity, in a Secret
//!   view:    what the one that acts knows of the cluster, and tells the mesh of it
//!   Cluster: lists objects page by page, each in a projection of its own that keeps what is looked at
//!   conditions: what the nodes' agents see, written to the Nodes
//!   mirror:  the custom resources, both ways
//!   account: whom it is while it changes something, or reads what it may not read itself
//!   review:  what a step would lack, for whoever previews it
//! ```

pub mod account;
pub mod acting;
pub mod ask;
pub mod conditions;
pub mod kept;
pub mod mirror;
pub mod objects;
pub mod resource;
pub mod review;
pub mod view;
pub mod vouch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use account::Account;
use review::Review;

/// Objects of one page: what an API server answers in one piece without effort.
const PAGE: usize = 500;
/// Most objects of one list. A cluster has at most 150,000 pods.
const OBJECTS_MAX: usize = 200_000;
/// Mainstay's own namespace, where this is no pod that would know it.
const HOME: &str = "mainstay";
/// For one page.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a cluster cannot be seen.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("the way to the cluster is not known: {0}: run it as a pod with a ServiceAccount, or give it --kubeconfig")]
    Config(String),
    #[error("{path}: the API server refuses it: {message}: the agent's ServiceAccount needs the right")]
    Forbidden { path: String, message: String },
    #[error("{path}: the API server refuses it: {message}: {account} needs the right")]
    ForbiddenTo { path: String, message: String, account: Account },
    #[error("{path}: there is none: {message}")]
    Missing { path: String, message: String },
    /// It is there already, or not what it was when it was read.
    #[error("{path}: {message}")]
    Conflict { path: String, message: String },
    /// What it was asked to do makes no sense to it: it says so again when it is asked again.
    #[error("{path}: {message}")]
    Invalid { path: String, message: String },
    #[error("{path}: {message}")]
    Failed { path: String, message: String },
    #[error("{path}: more than {OBJECTS_MAX} objects: name fewer namespaces or a selector")]
    TooMany { path: String },
    #[error("{path}: the API server has forgotten the list while it was read: it may be short of memory, or slow")]
    Forgotten { path: String },
}

/// A way into one cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    /// For watches, which are silent for a minute, and for whoever paces what it asks: it tries nothing a second time.
    watching: Client,
    config: Config,
    /// Whom requests are made as; nothing for the agent itself.
    account: Option<Account>,
    /// Mainstay's own namespace.
    home: String,
    /// Where nothing may be changed: what a step would lack is put here instead.
    review: Option<Review>,
    /// Held by whoever decides which node goes out of use next: what it has seen of the others holds until it has written.
    pub(crate) one_node: Arc<Mutex<()>>,
}

/// Which objects of a list are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selected<'a> {
    pub labels: Option<&'a str>,
    pub fields: Option<&'a str>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMeta,
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
struct PageMeta {
    #[serde(default)]
    r#continue: String,
}

impl Cluster {
    /// The cluster of a kubeconfig's current context, or without one that of the pod that this process runs in. Nothing
    /// is asked yet.
    ///
    /// # Errors
    /// When there is no such file or context, or this is no pod.
    pub async fn of(kubeconfig: Option<&Path>) -> Result<Cluster, ClusterError> {
        let wrong = |error: &dyn std::fmt::Display| ClusterError::Config(error.to_string());
        let (mut config, home) = match kubeconfig {
            None => {
                let config = Config::incluster().map_err(|error| wrong(&error))?;
                let home = config.default_namespace.clone();
                (config, home)
            }
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| wrong(&error))?;
                let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(|error| wrong(&error))?;
                (config, HOME.to_owned())
            }
        };
        config.connect_timeout = Some(PATIENCE);
        let mut watching = config.clone();
        watching.read_timeout = None;
        watching.default_retry = false;
        config.read_timeout = Some(PATIENCE);
        let client = Client::try_from(config.clone()).map_err(|error| wrong(&error))?;
        let watching = Client::try_from(watching).map_err(|error| wrong(&error))?;
        Ok(Cluster { client, watching, config, account: None, home, review: None, one_node: Arc::default() })
    }

    /// One that a test plays.
    #[cfg(test)]
    pub(crate) fn played(client: Client) -> Cluster {
        let config = Config::new(http::Uri::from_static("http://127.0.0.1"));
        Cluster { watching: client.clone(), client, config, account: None, home: HOME.to_owned(), review: None, one_node: Arc::default() }
    }

    /// Mainstay's own namespace.
    #[must_use]
    pub fn home(&self) -> &str {
        &self.home
    }

    /// The same cluster, asked as that ServiceAccount.
    #[must_use]
    pub fn acting_as(&self, account: Account) -> Cluster {
        Cluster { account: Some(account), ..self.clone() }
    }

    /// Whom it is asked as; nothing for the agent itself.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// A client for what goes on for longer than an answer takes, as the same account. What it is silent for is not counted.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn streaming(&self) -> Result<Client, ClusterError> {
        if self.review.is_some() {
            return Err(ClusterError::Config(review::NOTHING_IS_DONE.to_owned()));
        }
        let mut config = self.config.clone();
        config.read_timeout = None;
        config.auth_info.impersonate = self.account.as_ref().map(Account::user);
        Client::try_from(config).map_err(|error| ClusterError::Config(error.to_string()))
    }

    /// All objects below an API path such as `/api/v1/pods`, read in pages.
    ///
    /// # Errors
    /// When the API server refuses, does not answer in time, or there are too many.
    pub async fn list<T: DeserializeOwned>(&self, path: &str, selected: Selected<'_>) -> Result<Vec<T>, ClusterError> {
        let mut all = Vec::new();
        self.each(path, selected, |object| all.push(object)).await?;
        Ok(all)
    }

    /// Hands on each object below an API path, and holds one page of them at a time.
    ///
    /// # Errors
    /// As [`Cluster::list`].
    pub async fn each<T: DeserializeOwned>(&self, path: &str, selected: Selected<'_>, mut take: impl FnMut(T)) -> Result<(), ClusterError> {
        let (mut next, mut count) = (String::new(), 0);
        loop {
            let page: Page<T> = match self.read(&page_of(path, selected, &next, PAGE)).await {
                // What follows is of a later moment than what was read. That is good enough to look at, and no list
                // that takes long would end otherwise. No object comes twice: they come in the order of their names.
                Err(kube::Error::Api(status)) if status.code == 410 && !next.is_empty() => {
                    let later = status.metadata.and_then(|meta| meta.continue_).filter(|later| *later != next);
                    next = later.ok_or_else(|| ClusterError::Forgotten { path: path.to_owned() })?;
                    continue;
                }
                answer => answer.map_err(|error| self.told(path, error))?,
            };
            count += page.items.len();
            page.items.into_iter().for_each(&mut take);
            if count > OBJECTS_MAX {
                return Err(ClusterError::TooMany { path: path.to_owned() });
            }
            if page.metadata.r#continue.is_empty() {
                return Ok(());
            }
            next = page.metadata.r#continue;
        }
    }

    /// One page of the objects below an API path, as they are, and what leads to the next one: empty after the last. Nothing where
    /// the API server has forgotten the list that `next` is of.
    ///
    /// # Errors
    /// When the API server refuses, or does not answer in time.
    pub async fn page(&self, path: &str, selected: Selected<'_>, next: &str, limit: usize) -> Result<Option<(Vec<Value>, String)>, ClusterError> {
        match self.read::<Page<Value>>(&page_of(path, selected, next, limit)).await {
            Ok(page) => Ok(Some((page.items, page.metadata.r#continue))),
            Err(kube::Error::Api(status)) if status.code == 410 => Ok(None),
            Err(error) => Err(self.told(path, error)),
        }
    }

    fn told(&self, path: &str, error: kube::Error) -> ClusterError {
        let path = path.split('?').next().unwrap_or(path).to_owned();
        match error {
            kube::Error::Api(status) => match (status.code, &self.account) {
                (401 | 403, None) => ClusterError::Forbidden { path, message: status.message },
                (401 | 403, Some(account)) => ClusterError::ForbiddenTo { path, message: status.message, account: account.clone() },
                (404, _) => ClusterError::Missing { path, message: status.message },
                (409, _) => ClusterError::Conflict { path, message: status.message },
                (code @ (400 | 422), _) => ClusterError::Invalid { path, message: format!("{} ({code})", without_object(&status.message)) },
                (code, _) => ClusterError::Failed { path, message: format!("{} ({code})", status.message) },
            },
            other => ClusterError::Failed { path, message: causes(&other) },
        }
    }
}

fn page_of(path: &str, selected: Selected<'_>, next: &str, limit: usize) -> String {
    let mut uri = format!("{path}?limit={limit}");
    let parts = [("labelSelector", selected.labels.unwrap_or_default()), ("fieldSelector", selected.fields.unwrap_or_default()), ("continue", next)];
    for (name, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
        uri.push_str(&format!("&{name}={}", escaped(value)));
    }
    uri
}

/// Why an object is refused, without the object: it hides the reason, and may hold what nobody else should see.
fn without_object(message: &str) -> String {
    const BEGINS: &str = "Invalid value: \"{";
    const ENDS: &str = "}\": ";
    let Some(begin) = message.find(BEGINS) else { return message.to_owned() };
    let reason = message[begin..].rfind(ENDS).map_or("its reason is not told", |end| &message[begin + end + ENDS.len()..]);
    format!("{}{reason}", &message[..begin])
}

/// Text as a part of a path or of a query.
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// An error with what it comes from: the outermost says little of a connection that was refused.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words = format!("{words}: {cause_words}");
        }
        source = cause.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::without_object;

    #[test]
    fn an_object_that_is_refused_is_not_told() {
        let whole = r#" "" is invalid: patch: Invalid value: "{\"env\":[{\"name\":\"KEY\",\"value\":\"secret\"}]}": quantities must match"#;
        assert_eq!(without_object(whole), r#" "" is invalid: patch: quantities must match"#);
        let cut = r#"patch: Invalid value: "{\"env\":[{\"value\":\"secret"#;
        assert_eq!(without_object(cut), "patch: its reason is not told");
        let short = r#"Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be greater"#;
        assert_eq!(without_object(short), short);
    }
}
