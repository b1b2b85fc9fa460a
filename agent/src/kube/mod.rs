//! A Kubernetes cluster, as the agent sees it that speaks for it.
//!
//! ```text
//!   acting: holds lease agent/CLUSTER; whoever has it is given the cluster's steps
//!   Cluster: lists objects page by page, each in a projection of its own that keeps what is looked at
//! ```

pub mod acting;
pub mod objects;

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Objects of one page: what an API server answers in one piece without effort.
const PAGE: usize = 500;
/// Most objects of one list. A cluster has at most 150,000 pods.
const OBJECTS_MAX: usize = 200_000;
/// For one page.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a list begins anew whose continuation the API server has forgotten.
const LISTS: usize = 3;

/// Why a cluster cannot be seen.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("the way to the cluster is not known: {0}: run it as a pod with a ServiceAccount, or give it --kubeconfig")]
    Config(String),
    #[error("{path}: the API server refuses it: {message}: the agent's ServiceAccount needs the right")]
    Forbidden { path: String, message: String },
    #[error("{path}: {message}")]
    Failed { path: String, message: String },
    #[error("{path}: more than {OBJECTS_MAX} objects: name fewer namespaces or a selector")]
    TooMany { path: String },
    #[error("{path}: the API server has forgotten the list {LISTS} times while it was read: it may be short of memory, or slow")]
    Forgotten { path: String },
}

/// A way into one cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
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
        let mut config = match kubeconfig {
            None => Config::incluster().map_err(|error| wrong(&error))?,
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| wrong(&error))?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(|error| wrong(&error))?
            }
        };
        config.connect_timeout = Some(PATIENCE);
        config.read_timeout = Some(PATIENCE);
        Ok(Cluster { client: Client::try_from(config).map_err(|error| wrong(&error))? })
    }

    /// All objects below an API path such as `/api/v1/pods`, read in pages.
    ///
    /// # Errors
    /// When the API server refuses, does not answer in time, or there are too many.
    pub async fn list<T: DeserializeOwned>(&self, path: &str, selector: Option<&str>) -> Result<Vec<T>, ClusterError> {
        for _ in 0..LISTS {
            if let Some(all) = self.list_once(path, selector).await? {
                return Ok(all);
            }
        }
        Err(ClusterError::Forgotten { path: path.to_owned() })
    }

    /// Nothing where the continuation is known no more: what was read is of a state that is gone.
    async fn list_once<T: DeserializeOwned>(&self, path: &str, selector: Option<&str>) -> Result<Option<Vec<T>>, ClusterError> {
        let mut all = Vec::new();
        let mut next = String::new();
        loop {
            let page: Page<T> = match self.page(path, selector, &next).await {
                Err(kube::Error::Api(status)) if status.code == 410 && !next.is_empty() => return Ok(None),
                answer => answer.map_err(|error| told(path, error))?,
            };
            all.extend(page.items);
            if all.len() > OBJECTS_MAX {
                return Err(ClusterError::TooMany { path: path.to_owned() });
            }
            if page.metadata.r#continue.is_empty() {
                return Ok(Some(all));
            }
            next = page.metadata.r#continue;
        }
    }

    async fn page<T: DeserializeOwned>(&self, path: &str, selector: Option<&str>, next: &str) -> Result<Page<T>, kube::Error> {
        let mut uri = format!("{path}?limit={PAGE}");
        for (name, value) in [("labelSelector", selector.unwrap_or_default()), ("continue", next)] {
            if !value.is_empty() {
                uri.push_str(&format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
            }
        }
        let request = http::Request::get(uri).body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }
}

fn told(path: &str, error: kube::Error) -> ClusterError {
    let path = path.to_owned();
    match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => ClusterError::Forbidden { path, message: status.message },
        kube::Error::Api(status) => ClusterError::Failed { path, message: format!("{} ({})", status.message, status.code) },
        other => ClusterError::Failed { path, message: causes(&other) },
    }
}

/// An error with what it comes from: the outermost says little of a connection that was refused.
fn causes(error: &dyn std::error::Error) -> String {
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
