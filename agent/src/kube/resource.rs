//! Where objects of a kind are found: asked of the API server, which knows its custom resources too.

use serde::Deserialize;

use super::{Cluster, ClusterError, escaped};

/// One kind of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// `v1`, `apps/v1`.
    pub api_version: String,
    pub kind: String,
    /// `deployments`.
    pub plural: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
}

#[derive(Deserialize)]
struct Known {
    #[serde(default)]
    resources: Vec<KnownResource>,
}

#[derive(Deserialize)]
struct KnownResource {
    name: String,
    kind: String,
    namespaced: bool,
}

impl Resource {
    /// Of an API group; empty for the first ones.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Where its objects are; in a namespace, if it has any.
    #[must_use]
    pub fn path(&self, namespace: &str) -> String {
        let root = root(&self.api_version);
        if self.namespaced && !namespace.is_empty() {
            format!("{root}/namespaces/{}/{}", escaped(namespace), self.plural)
        } else {
            format!("{root}/{}", self.plural)
        }
    }

    /// Where one of them is.
    #[must_use]
    pub fn path_of(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.path(namespace), escaped(name))
    }
}

fn root(api_version: &str) -> String {
    if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") }
}

impl Cluster {
    /// The kind of that name.
    ///
    /// # Errors
    /// When the cluster knows none, or does not answer.
    pub async fn resource(&self, api_version: &str, kind: &str) -> Result<Resource, ClusterError> {
        let path = root(api_version);
        let unknown = |message: &str| ClusterError::Missing { path: path.clone(), message: message.to_owned() };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '/');
        if api_version.matches('/').count() > 1 || !api_version.chars().all(is_plain) {
            return Err(unknown(&format!("`{api_version}` is no version of an API, such as apps/v1")));
        }
        let known: Option<Known> = self.find(&path).await?;
        let known = known.ok_or_else(|| unknown(&format!("the cluster knows no {api_version}")))?;
        let found = known.resources.into_iter().find(|resource| resource.kind == kind && !resource.name.contains('/'));
        let found = found.ok_or_else(|| unknown(&format!("the cluster knows no {kind} in {api_version}")))?;
        Ok(Resource { api_version: api_version.to_owned(), kind: found.kind, plural: found.name, namespaced: found.namespaced })
    }
}
