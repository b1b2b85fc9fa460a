//! The identity of a cluster agent, kept in a Secret: its pod has no disk of its own.
//!
//! ```text
//!   start:  Secret ─▶ the state directory, where that is empty
//!   later:  the identity in use ─▶ Secret, now and after each renewal
//! ```
//! So that a cluster whose agents were all gone at once comes back without a new join token.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use mainstay_client::identity::{Bundle, IdentityError};
use mainstay_client::random::Backoff;
use mainstay_client::{ClientIdentity, Mesh};
use serde_json::json;

use super::{Cluster, ClusterError};

/// Its key in the Secret, as the file's name is.
const KEY: &str = "identity.pem";
/// Between tries that failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// `NAMESPACE/NAME` of a Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretName {
    pub namespace: String,
    pub name: String,
}

impl FromStr for SecretName {
    type Err = String;

    fn from_str(text: &str) -> Result<SecretName, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(SecretName { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("`{text}` is not NAMESPACE/NAME")),
        }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Why there is no identity to be had from the Secret.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error("Secret {secret}: {source}")]
    Cluster {
        secret: SecretName,
        #[source]
        source: ClusterError,
    },
    #[error("Secret {secret} has an {KEY} that cannot be used: {source}; take it out, and have the agent enrol again")]
    Damaged {
        secret: SecretName,
        #[source]
        source: IdentityError,
    },
}

/// The Secret of one replica.
#[derive(Clone)]
pub struct Kept {
    secret: SecretName,
    cluster: Cluster,
    api: Api<Secret>,
}

impl Kept {
    #[must_use]
    pub fn new(cluster: &Cluster, secret: SecretName) -> Kept {
        Kept { api: Api::namespaced(cluster.client.clone(), &secret.namespace), cluster: cluster.clone(), secret }
    }

    /// What an earlier pod has kept; nothing where none has.
    ///
    /// # Errors
    /// When the API server does not answer, or what is there is damaged.
    pub async fn load(&self) -> Result<Option<Bundle>, KeptError> {
        let found = self.api.get_opt(&self.secret.name).await.map_err(|error| self.failed(error))?;
        let Some(text) = found.and_then(|secret| secret.data).and_then(|mut data| data.remove(KEY)) else { return Ok(None) };
        let text = String::from_utf8_lossy(&text.0).into_owned();
        Bundle::parse(&text).map(Some).map_err(|source| KeptError::Damaged { secret: self.secret.clone(), source })
    }

    async fn store(&self, bundle: &Bundle) -> Result<(), KeptError> {
        let change = Patch::Merge(json!({ "stringData": { KEY: bundle.text() } }));
        self.api.patch(&self.secret.name, &PatchParams::default(), &change).await.map(drop).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: kube::Error) -> KeptError {
        KeptError::Cluster { secret: self.secret.clone(), source: self.cluster.told("secrets", error) }
    }

    /// Keeps what is in use. Ends with the task that runs it.
    pub async fn keep(self, mesh: Mesh) {
        let identity: ClientIdentity = mesh.identity().clone();
        let mut replacements = identity.replacements();
        let mut pauses = Backoff::new(PAUSES.0, PAUSES.1);
        loop {
            replacements.borrow_and_update();
            while let Err(error) = self.store(&identity.bundle()).await {
                let pause = pauses.pause();
                tracing::warn!(%error, ?pause, "this agent's identity is not kept yet: when its pod goes now, the next one has to enrol again");
                tokio::time::sleep(pause).await;
            }
            pauses.reset();
            if replacements.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_with_its_namespace() {
        assert_eq!("a/b".parse::<SecretName>().map(|name| name.to_string()), Ok("a/b".to_owned()));
        for wrong in ["", "b", "/b", "a/", "a/b/c"] {
            assert!(wrong.parse::<SecretName>().is_err(), "{wrong}");
        }
    }
}
