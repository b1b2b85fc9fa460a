//! One connection, checked.

use std::fmt;
use std::path::PathBuf;

use mainstay_core::PlanName;
use mainstay_core::catalogue;
use mainstay_core::id::{ConnectionName, NodeName};

use super::{Address, ObjectsSettings, SecretRef, StoreSettings, WorkerSettings};

/// A way to one outside system.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    pub name: ConnectionName,
    pub kind: ConnectionKind,
    pub address: Address,
    /// As whom, where the system has users.
    pub user: Option<String>,
    /// Password or token.
    pub secret: Option<SecretRef>,
    /// Whether the secret is a bearer token.
    pub bearer: bool,
    pub tls: Tls,
    /// Standbys or replicas that a primary is to have.
    pub replicas: Option<u32>,
    /// Patterns of the plans that may use it; all plans when `None`.
    pub plans: Option<Vec<String>>,
    /// The node of its cluster that it is on, where somebody says so.
    pub source_node: Option<NodeName>,
    /// Directory of PostgreSQL's client programs, where it is not to be the newest that are installed.
    pub programs: Option<PathBuf>,
    /// What a store says besides; nothing for other kinds.
    pub store: Option<Box<StoreSettings>>,
    /// What of a cluster is backed up; nothing for other kinds.
    pub objects: Option<Box<ObjectsSettings>>,
    /// The pod that backs it up, where it is not the agent itself.
    pub worker: Option<Box<WorkerSettings>>,
    /// File and line, for a person who is to change it.
    pub declared_at: String,
}

/// What kind of system it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionKind {
    Postgres,
    Redis,
    Prometheus,
    Alertmanager,
    Http,
    Tls,
    /// A directory of this machine.
    Files,
    /// Where backups are.
    Store,
    /// Objects of the agent's own cluster.
    Kubernetes,
    /// The mesh that the agent is of, to be backed up.
    Mesh,
}

/// How the way is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub mode: TlsMode,
    /// Authorities that the server's chain must end in; the public ones and the system's own if left out.
    pub ca: Option<PathBuf>,
    /// Name that the certificate must be for; the host if left out.
    pub server_name: Option<String>,
    /// Certificate and key that this side shows.
    pub client: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// In plain text.
    Off,
    /// Encrypted, whoever the server is.
    Require,
    /// Encrypted, and the server proves who it is.
    Verify,
}

/// The agent's owner does not let this plan use a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this agent's connection {connection} is not for the plan {plan}: allow it at {declared_at}:  allow = {{ plans = [{plans}] }}")]
pub struct NotAllowed {
    connection: ConnectionName,
    plan: PlanName,
    declared_at: String,
    plans: String,
}

impl ConnectionKind {
    pub const ALL: [ConnectionKind; 10] = [
        ConnectionKind::Postgres,
        ConnectionKind::Redis,
        ConnectionKind::Prometheus,
        ConnectionKind::Alertmanager,
        ConnectionKind::Http,
        ConnectionKind::Tls,
        ConnectionKind::Files,
        ConnectionKind::Store,
        ConnectionKind::Kubernetes,
        ConnectionKind::Mesh,
    ];

    /// Whether it is asked over HTTP.
    #[must_use]
    pub fn is_http(self) -> bool {
        matches!(self, ConnectionKind::Prometheus | ConnectionKind::Alertmanager | ConnectionKind::Http)
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ConnectionKind::Postgres => "postgres",
            ConnectionKind::Redis => "redis",
            ConnectionKind::Prometheus => "prometheus",
            ConnectionKind::Alertmanager => "alertmanager",
            ConnectionKind::Http => "http",
            ConnectionKind::Tls => "tls",
            ConnectionKind::Files => "files",
            ConnectionKind::Store => "store",
            ConnectionKind::Kubernetes => "kubernetes",
            ConnectionKind::Mesh => catalogue::MESH,
        }
    }
}

impl fmt::Display for ConnectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Connection {
    /// Where all of its secrets are.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        self.secret.iter().chain(self.store.iter().filter_map(|store| store.identity.as_ref()))
    }

    /// Whether a step of this plan may use it.
    ///
    /// # Errors
    /// Not allowed, with the line to write instead.
    pub fn allows(&self, plan: &PlanName) -> Result<(), NotAllowed> {
        let Some(plans) = &self.plans else { return Ok(()) };
        if plans.iter().any(|pattern| catalogue::fits(pattern, plan.as_str())) {
            return Ok(());
        }
        let all: Vec<String> = plans.iter().map(String::as_str).chain([plan.as_str()]).map(|plan| format!("\"{plan}\"")).collect();
        Err(NotAllowed { connection: self.name.clone(), plan: plan.clone(), declared_at: self.declared_at.clone(), plans: all.join(", ") })
    }
}
