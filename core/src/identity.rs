//! Who somebody is: the SPIFFE URI in a certificate, parsed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{AgentId, ClusterName, MemberId, MeshName, NameError, NodeName, PrincipalName, RunId, SpeaksFor};

/// An identity within a mesh. Written as the path of its SPIFFE URI, for example `operator/ana`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Identity {
    /// `coordinator/ID`
    Coordinator(MemberId),
    /// `cluster/C/node/N`
    Node(AgentId),
    /// `cluster/C/node/N/hands`: the second agent of a node, which changes it.
    Hands { cluster: ClusterName, node: NodeName },
    /// `cluster/C/agent/ID`: one replica of a cluster agent.
    ClusterAgent { cluster: ClusterName, id: PrincipalName },
    /// `cluster/C/worker/ATTEMPT`
    Worker { cluster: ClusterName, attempt: PrincipalName },
    /// `operator/NAME`
    Operator(PrincipalName),
    /// `client/NAME`
    Client(PrincipalName),
    /// `run/RUN`: a run that holds a lease. Nobody has a certificate of it.
    Run(RunId),
}

impl Identity {
    /// The whole URI, `spiffe://MESH/…`.
    #[must_use]
    pub fn uri(&self, mesh: &MeshName) -> String {
        format!("spiffe://{mesh}/{self}")
    }

    /// Parses a whole URI into the mesh it names and the identity in it.
    pub fn from_uri(uri: &str) -> Result<(MeshName, Identity), NameError> {
        let rest = uri.strip_prefix("spiffe://").ok_or_else(|| wrong(uri))?;
        let (mesh, path) = rest.split_once('/').ok_or_else(|| wrong(uri))?;
        match path.parse()? {
            Identity::Run(_) => Err(wrong(uri)),
            identity => Ok((mesh.parse()?, identity)),
        }
    }

    /// The identity of an agent.
    #[must_use]
    pub fn of_agent(agent: &AgentId) -> Identity {
        match &agent.speaks_for {
            SpeaksFor::Node(_) => Identity::Node(agent.clone()),
            SpeaksFor::Cluster(id) => Identity::ClusterAgent { cluster: agent.cluster.clone(), id: id.clone() },
            SpeaksFor::Hands(node) => Identity::Hands { cluster: agent.cluster.clone(), node: node.clone() },
        }
    }

    /// The agent that it is of, if it is an agent's that links to the mesh.
    #[must_use]
    pub fn agent(&self) -> Option<AgentId> {
        match self {
            Identity::Node(agent) => Some(agent.clone()),
            Identity::Hands { cluster, node } => Some(AgentId::hands(cluster.clone(), node.clone())),
            Identity::ClusterAgent { cluster, id } => Some(AgentId::replica(cluster.clone(), id.clone())),
            _ => None,
        }
    }

    /// The noun for messages and metrics.
    #[must_use]
    pub fn role(&self) -> &'static str {
        match self {
            Identity::Coordinator(_) => "coordinator",
            Identity::Node(_) => "node agent",
            Identity::Hands { .. } => "node's hands",
            Identity::ClusterAgent { .. } => "cluster agent",
            Identity::Worker { .. } => "worker",
            Identity::Operator(_) => "operator",
            Identity::Client(_) => "client",
            Identity::Run(_) => "run",
        }
    }
}

fn wrong(text: &str) -> NameError {
    NameError {
        what: "identity",
        text: text.chars().take(160).collect(),
        rule: "spiffe://MESH/ followed by coordinator/ID, cluster/C/node/N, cluster/C/node/N/hands, cluster/C/agent/ID, operator/NAME or client/NAME",
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Coordinator(id) => write!(f, "coordinator/{id}"),
            Identity::Node(agent) => write!(f, "cluster/{}/node/{}", agent.cluster, agent.name()),
            Identity::Hands { cluster, node } => write!(f, "cluster/{cluster}/node/{node}/hands"),
            Identity::ClusterAgent { cluster, id } => write!(f, "cluster/{cluster}/agent/{id}"),
            Identity::Worker { cluster, attempt } => write!(f, "cluster/{cluster}/worker/{attempt}"),
            Identity::Operator(name) => write!(f, "operator/{name}"),
            Identity::Client(name) => write!(f, "client/{name}"),
            Identity::Run(run) => write!(f, "run/{run}"),
        }
    }
}

impl FromStr for Identity {
    type Err = NameError;

    fn from_str(path: &str) -> Result<Identity, NameError> {
        let parts: Vec<&str> = path.split('/').collect();
        Ok(match parts.as_slice() {
            ["coordinator", id] => Identity::Coordinator(id.parse()?),
            ["cluster", cluster, "node", node] => Identity::Node(AgentId::node(cluster.parse()?, node.parse()?)),
            ["cluster", cluster, "node", node, "hands"] => Identity::Hands { cluster: cluster.parse()?, node: node.parse()? },
            ["cluster", cluster, "agent", id] => Identity::ClusterAgent { cluster: cluster.parse()?, id: id.parse()? },
            ["cluster", cluster, "worker", attempt] => Identity::Worker { cluster: cluster.parse()?, attempt: attempt.parse()? },
            ["operator", name] => Identity::Operator(name.parse()?),
            ["client", name] => Identity::Client(name.parse()?),
            ["run", run] => Identity::Run(run.parse()?),
            _ => return Err(wrong(path)),
        })
    }
}

impl TryFrom<String> for Identity {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> String {
        identity.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_identity_survives_its_uri() {
        let mesh: MeshName = "local".parse().unwrap();
        for path in [
            "coordinator/00000000000000ff",
            "cluster/prod/node/n1",
            "cluster/prod/node/n1/hands",
            "cluster/prod/agent/r1",
            "cluster/prod/worker/1.42",
            "operator/ana",
            "client/ci",
        ] {
            let identity: Identity = path.parse().unwrap();
            assert_eq!(identity.to_string(), path);
            assert_eq!(Identity::from_uri(&identity.uri(&mesh)), Ok((mesh.clone(), identity)));
        }
    }

    #[test]
    fn what_only_looks_like_an_identity_is_refused() {
        for uri in [
            "",
            "spiffe://",
            "spiffe://local",
            "spiffe://local/",
            "https://local/operator/ana",
            "spiffe://local/operator/ana/x",
            "spiffe://local/operator/",
            "spiffe://local/cluster/p/node/../x",
            "spiffe://local/run/daily-1",
        ] {
            assert!(Identity::from_uri(uri).is_err(), "{uri}");
        }
    }
}
