//! Whom a change is made as, and whether that account may make it.
//!
//! A cluster agent has no right to change anything. It has the right to be one of two ServiceAccounts: the runner of a
//! namespace, whose rights whoever owns the namespace gives, and the one for nodes and what else belongs to none.

use std::fmt;

use serde_json::{Value, json};

use super::{Cluster, ClusterError};

/// The account of a namespace, unless a step names another.
pub const RUNNER: &str = "mainstay-runner";
/// The account for objects that are in no namespace. It is in Mainstay's own.
pub const NODE_RUNNER: &str = "mainstay-node-runner";

/// A ServiceAccount.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    pub namespace: String,
    pub name: String,
}

/// One thing to do to objects of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    /// With a subresource after a slash: `pods/exec`.
    pub resource: &'a str,
    /// Empty for objects that are in none.
    pub namespace: &'a str,
}

impl Account {
    #[must_use]
    pub fn runner(namespace: &str) -> Account {
        Account { namespace: namespace.to_owned(), name: RUNNER.to_owned() }
    }

    /// As the API server calls it.
    #[must_use]
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceAccount {}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for Right<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, " of {}", self.group)?;
        }
        if self.namespace.is_empty() { Ok(()) } else { write!(f, " in {}", self.namespace) }
    }
}

impl Cluster {
    /// Which of these the account lacks that requests are made as: asked of the API server, which knows.
    ///
    /// # Errors
    /// When it does not say, or does not let the agent be that account.
    pub async fn lacking<'r>(&self, rights: &'r [Right<'r>]) -> Result<Vec<&'r Right<'r>>, ClusterError> {
        let mut lacking = Vec::new();
        for right in rights {
            let (resource, subresource) = right.resource.split_once('/').unwrap_or((right.resource, ""));
            let asked = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                "spec": { "resourceAttributes": {
                    "verb": right.verb, "group": right.group, "resource": resource, "subresource": subresource, "namespace": right.namespace,
                } },
            });
            let answer = self.create(super::review::ASKED, &asked).await?;
            if answer.pointer("/status/allowed") != Some(&Value::Bool(true)) {
                lacking.push(right);
            }
        }
        Ok(lacking)
    }
}
