//! Names and ids. A value of one of these types has been checked: it fits its grammar and its length.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest name of anything: what a Kubernetes object name may have, so that names carry over.
pub const NAME_MAX: usize = 63;
/// Longest lease name: four name parts and their slashes.
pub const LEASE_NAME_MAX: usize = 255;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {rule}")]
pub struct NameError {
    pub what: &'static str,
    pub text: String,
    pub rule: &'static str,
}

/// Lower-case letters, digits, `-` and `.`, starting and ending with a letter or digit, 1 to 63 long.
fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=NAME_MAX).contains(&bytes.len())
        && bytes.iter().copied().all(inner)
        && bytes.first().copied().is_some_and(edge)
        && bytes.last().copied().is_some_and(edge)
}

pub(crate) const LABEL_RULE: &str = "1 to 63 lower-case letters, digits, `-` and `.`, with a letter or digit at both ends";

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        name!($(#[$doc])* $type, $what, is_label, LABEL_RULE);
    };
    ($(#[$doc:meta])* $type:ident, $what:literal, $is_good:expr, $rule:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                if $is_good(text) {
                    Ok($type(text.into()))
                } else {
                    Err(NameError { what: $what, text: shortened(text), rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Name of a mesh; the host part of every SPIFFE id in it.
    MeshName, "mesh name"
);
name!(
    /// Name of a cluster: a Kubernetes cluster, or a named group of machines without one.
    ClusterName, "cluster name"
);
name!(
    /// Name of a node within its cluster.
    NodeName, "node name"
);
name!(
    /// Name of a plan: `daily`. Of one that came from a namespace of a cluster `CLUSTER/NAMESPACE/NAME`.
    PlanName, "plan name", is_plan_name, LABEL_RULE
);

/// Where a plan came from that was made as an object in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin<'a> {
    pub cluster: &'a str,
    pub namespace: &'a str,
}

fn is_plan_name(text: &str) -> bool {
    matches!(text.matches('/').count(), 0 | 2) && text.split('/').all(is_label)
}

impl PlanName {
    /// The name of a plan that is called `name` where it came from.
    pub fn of_object(origin: Origin<'_>, name: &str) -> Result<PlanName, NameError> {
        let name = name.rsplit('/').next().unwrap_or_default();
        format!("{}/{}/{name}", origin.cluster, origin.namespace).parse()
    }

    /// Nothing of a plan that an operator has applied, or that came with the program.
    #[must_use]
    pub fn origin(&self) -> Option<Origin<'_>> {
        let (rest, _) = self.0.rsplit_once('/')?;
        let (cluster, namespace) = rest.split_once('/')?;
        Some(Origin { cluster, namespace })
    }

    /// What it is called where it came from.
    #[must_use]
    pub fn last(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

name!(
    /// Name of a step within its plan.
    StepName, "step name"
);
name!(
    /// Name of a connection, as an agent's settings declare it.
    ConnectionName, "connection name"
);
name!(
    /// Name of an operator or of another program (`client`).
    PrincipalName, "operator or client name"
);

/// A Raft member: random, born with its disk, never used again after that disk is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for MemberId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError { what: "member id", text: shortened(text), rule: "16 hexadecimal digits" };
        if text.len() != 16 {
            return Err(wrong());
        }
        u64::from_str_radix(text, 16).map(MemberId).map_err(|_| wrong())
    }
}

/// An agent, by what it speaks for within its cluster. That of a node is written `CLUSTER/NODE`, its hands
/// `CLUSTER/hands/NODE`, a replica of those that speak for the cluster itself `CLUSTER/agent/ID`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentId {
    pub cluster: ClusterName,
    pub speaks_for: SpeaksFor,
}

/// What an agent speaks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpeaksFor {
    Node(NodeName),
    /// Its cluster, as one of several replicas of which one acts.
    Cluster(PrincipalName),
    /// What is changed on a node whose own agent only looks: a second agent there, which does nothing else.
    Hands(NodeName),
}

/// Between a cluster and the id of one of its cluster agents.
const CLUSTER_AGENT: &str = "agent/";
/// Between a cluster and the node whose hands an agent is.
const HANDS: &str = "hands/";

impl AgentId {
    #[must_use]
    pub fn node(cluster: ClusterName, node: NodeName) -> AgentId {
        AgentId { cluster, speaks_for: SpeaksFor::Node(node) }
    }

    #[must_use]
    pub fn replica(cluster: ClusterName, id: PrincipalName) -> AgentId {
        AgentId { cluster, speaks_for: SpeaksFor::Cluster(id) }
    }

    #[must_use]
    pub fn hands(cluster: ClusterName, node: NodeName) -> AgentId {
        AgentId { cluster, speaks_for: SpeaksFor::Hands(node) }
    }

    /// Whether it is a node's own agent.
    #[must_use]
    pub fn is_node(&self) -> bool {
        matches!(self.speaks_for, SpeaksFor::Node(_))
    }

    /// Whether it is one of those that speak for their cluster.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        matches!(self.speaks_for, SpeaksFor::Cluster(_))
    }

    /// Whether it is a node's hands.
    #[must_use]
    pub fn is_hands(&self) -> bool {
        matches!(self.speaks_for, SpeaksFor::Hands(_))
    }

    /// The node that it is on; nothing where it speaks for its cluster.
    #[must_use]
    pub fn on_node(&self) -> Option<&NodeName> {
        match &self.speaks_for {
            SpeaksFor::Node(node) | SpeaksFor::Hands(node) => Some(node),
            SpeaksFor::Cluster(_) => None,
        }
    }

    /// Its name within the cluster: `n1`, `hands/n1`, `agent/r1`.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.speaks_for {
            SpeaksFor::Node(node) => node.to_string(),
            SpeaksFor::Cluster(id) => format!("{CLUSTER_AGENT}{id}"),
            SpeaksFor::Hands(node) => format!("{HANDS}{node}"),
        }
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.name())
    }
}

impl FromStr for AgentId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError { what: "node", text: shortened(text), rule: "written CLUSTER/NODE" };
        let (cluster, name) = text.split_once('/').ok_or_else(wrong)?;
        let cluster = cluster.parse()?;
        match (name.strip_prefix(CLUSTER_AGENT), name.strip_prefix(HANDS)) {
            (Some(id), _) => Ok(AgentId::replica(cluster, id.parse()?)),
            (None, Some(node)) => Ok(AgentId::hands(cluster, node.parse()?)),
            (None, None) => Ok(AgentId::node(cluster, name.parse()?)),
        }
    }
}

impl TryFrom<String> for AgentId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<AgentId> for String {
    fn from(id: AgentId) -> String {
        id.to_string()
    }
}

/// One execution of a plan. Written `PLAN-NUMBER`; numbers of one plan grow and are never used again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId {
    pub plan: PlanName,
    pub number: u64,
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.plan, self.number)
    }
}

impl FromStr for RunId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError { what: "run", text: shortened(text), rule: "written PLAN-NUMBER, for example daily-1" };
        let (plan, number) = text.rsplit_once('-').ok_or_else(wrong)?;
        Ok(RunId { plan: plan.parse().map_err(|_| wrong())?, number: number.parse().map_err(|_| wrong())? })
    }
}

impl TryFrom<String> for RunId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> String {
        id.to_string()
    }
}

/// A number that is unique in a mesh and grows, also across a rebuild of the mesh from a snapshot: the
/// incarnation is raised above every one seen, then the counter starts again. Written `INCARNATION.COUNTER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Serial {
    pub incarnation: u64,
    pub counter: u64,
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.counter)
    }
}

impl FromStr for Serial {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError { what: "number", text: shortened(text), rule: "written INCARNATION.COUNTER" };
        let (incarnation, counter) = text.split_once('.').ok_or_else(wrong)?;
        Ok(Serial { incarnation: incarnation.parse().map_err(|_| wrong())?, counter: counter.parse().map_err(|_| wrong())? })
    }
}

macro_rules! serial {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(pub Serial);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                text.parse().map($type)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.to_string()
            }
        }
    };
}

serial!(
    /// Fencing token of one grant of a lease: a later grant always carries a greater one.
    Token
);
serial!(
    /// One try of one step on one target.
    AttemptId
);

/// Id of an agent's ledger: random, made with the ledger. Another ledger is another holder of the work.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LedgerId(pub String);

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a step is done to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// The one execution of a step that is done once for the whole mesh. Written `once`.
    Once,
    /// A node. Written `CLUSTER/NODE`.
    Node(AgentId),
    /// An outside system, by any agent that has the connection. Written `connection:NAME`.
    Connection(ConnectionName),
    /// A cluster, by the one of its cluster agents that acts. Written `cluster:NAME`.
    Cluster(ClusterName),
}

/// What a target's text begins with when it is a cluster.
const CLUSTER_PREFIX: &str = "cluster:";
/// What a target's text begins with when it is a connection.
const CONNECTION_PREFIX: &str = "connection:";

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Once => f.write_str("once"),
            Target::Node(agent) => agent.fmt(f),
            Target::Connection(name) => write!(f, "{CONNECTION_PREFIX}{name}"),
            Target::Cluster(name) => write!(f, "{CLUSTER_PREFIX}{name}"),
        }
    }
}

impl Target {
    /// As the end of a sentence: ` on prod/n1`, ` on connection orders-db`; nothing for what is done once.
    #[must_use]
    pub fn on(&self) -> String {
        match self {
            Target::Once => String::new(),
            Target::Node(agent) => format!(" on {agent}"),
            Target::Connection(name) => format!(" on connection {name}"),
            Target::Cluster(name) => format!(" in cluster {name}"),
        }
    }
}

impl FromStr for Target {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Some(name) = text.strip_prefix(CONNECTION_PREFIX) {
            return name.parse().map(Target::Connection);
        }
        if let Some(name) = text.strip_prefix(CLUSTER_PREFIX) {
            return name.parse().map(Target::Cluster);
        }
        if text == "once" {
            return Ok(Target::Once);
        }
        let agent: AgentId = text.parse()?;
        if agent.is_node() {
            Ok(Target::Node(agent))
        } else {
            Err(NameError { what: "target", text: shortened(text), rule: "CLUSTER/NODE, cluster:NAME, connection:NAME or once" })
        }
    }
}

impl TryFrom<String> for Target {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.to_string()
    }
}

/// Name of a lease: parts joined by `/`, for example `backup/prod/orders-db`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LeaseName(Arc<str>);

/// Who a lease name belongs to, by its first part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseOwner<'a> {
    /// `backup/…`, `node/…`, `workload/…`, `fleetlock/…`, `agent/…`: the mesh itself.
    Mesh(&'a str),
    /// `client/NAME/…`: the program of that name.
    Client(&'a str),
    /// Any other name.
    Operators,
}

impl LeaseName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The lease whose holder acts for a cluster.
    #[must_use]
    pub fn acting(cluster: &ClusterName) -> LeaseName {
        // A cluster's name has no character that a lease's may not have.
        LeaseName(format!("agent/{cluster}").into())
    }

    /// The claim of whoever takes a node out of use.
    #[must_use]
    pub fn node(cluster: &ClusterName, node: &NodeName) -> LeaseName {
        LeaseName(format!("node/{cluster}/{node}").into())
    }

    /// The claim of the run that has a thing of a namespace in its hands. Nothing where it is not a name that an object can
    /// have; one that is too long for a lease's name is told by its checksum.
    #[must_use]
    pub fn workload(cluster: &ClusterName, namespace: &str, kind: &str, name: &str) -> Option<LeaseName> {
        if [namespace, kind, name].iter().any(|part| part.contains('/')) {
            return None;
        }
        let prefix = LeaseName::workloads(cluster, namespace, kind);
        match format!("{prefix}{name}").parse() {
            Ok(lease) => Some(lease),
            Err(_) if prefix.len() + name.len() <= LEASE_NAME_MAX => None,
            Err(_) => {
                let digest: String = Sha256::digest(name.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
                format!("{prefix}sha256.{digest}").parse().ok()
            }
        }
    }

    /// What the claims on all things of a kind in a namespace begin with.
    #[must_use]
    pub fn workloads(cluster: &ClusterName, namespace: &str, kind: &str) -> String {
        format!("workload/{cluster}/{namespace}/{kind}/")
    }

    /// What the leases of a cluster's backups begin with.
    #[must_use]
    pub fn backups(cluster: &ClusterName) -> String {
        format!("backup/{cluster}/")
    }

    /// The lease of whoever writes to what a connection's backups are in.
    #[must_use]
    pub fn backup(cluster: &ClusterName, connection: &ConnectionName) -> LeaseName {
        LeaseName(format!("{}{connection}", LeaseName::backups(cluster)).into())
    }

    #[must_use]
    pub fn owner(&self) -> LeaseOwner<'_> {
        let (first, rest) = self.0.split_once('/').unwrap_or((&self.0, ""));
        match first {
            "backup" | "node" | "workload" | "fleetlock" | "agent" => LeaseOwner::Mesh(first),
            "client" => LeaseOwner::Client(rest.split('/').next().unwrap_or("")),
            _ => LeaseOwner::Operators,
        }
    }
}

impl FromStr for LeaseName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let part = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if text.len() <= LEASE_NAME_MAX && text.split('/').all(part) {
            Ok(LeaseName(text.into()))
        } else {
            Err(NameError {
                what: "lease name",
                text: shortened(text),
                rule: "parts of letters, digits, `-`, `.` and `_` joined by `/`, at most 255 long",
            })
        }
    }
}

impl TryFrom<String> for LeaseName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<LeaseName> for String {
    fn from(name: LeaseName) -> String {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
