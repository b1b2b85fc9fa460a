//! Named ways to outside systems: where, as whom, with which secret, and for which plans.
//!
//! In: `[connections.NAME]` tables of the agent's settings or of a file of their own, which the mesh cannot
//! write. Out: checked connections for the steps, and their names and kinds for the mesh; where they lead and
//! what opens them stays here. A secret is a reference, read each time that it is used. The tables are read at
//! the start of the agent: a change needs a restart, a new password in a file does not.
//!
//! ```toml
//! [connections.orders-db]
//! kind = "postgres"                              # postgres, redis, prometheus, alertmanager, http, tls, files, store, kubernetes, mesh
//! url = "postgres://app@db.example/orders"       # never with a password in it
//! password = { file = "secrets/orders-db" }      # or { env = "ORDERS_DB_PASSWORD" }
//! ca = "ca.pem"                                  # files are relative to this one
//! allow = { plans = ["daily", "health*"] }       # every plan, if left out
//! ```

mod address;
mod connection;
mod declare;
mod memory;
mod objects;
mod secret;
mod store;
mod table;
mod worker;

use std::collections::BTreeMap;
use std::path::Path;

use mainstay_client::files;
use mainstay_core::id::ConnectionName;
use mainstay_core::state::agent;

pub use address::{Address, Place};
pub use connection::{Connection, ConnectionKind, NotAllowed, Tls, TlsMode};
pub use memory::Memory;
pub use objects::ObjectsSettings;
pub use secret::{Secret, SecretError, SecretRef, Secrets};
pub use store::StoreSettings;
pub use worker::WorkerSettings;

/// Connections of one agent; the mesh takes no more of them in.
const CONNECTIONS_MAX: usize = 256;
/// A file of connections larger than this is something else.
const FILE_MAX: u64 = 1 << 20;

/// All connections of this agent.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    by_name: BTreeMap<ConnectionName, Connection>,
}

impl Connections {
    /// The connections that a file declares, and everything that is wrong with it. Keys of the file that are
    /// not `connections` are not looked at.
    #[must_use]
    pub fn parse(path: &Path, text: &str) -> (Connections, Vec<String>) {
        let mut problems = Vec::new();
        let declared = declare::all(path, text, &mut problems);
        let mut by_name = BTreeMap::new();
        for connection in declared {
            by_name.insert(connection.name.clone(), connection);
        }
        if by_name.len() > CONNECTIONS_MAX {
            problems.push(format!("{}: {} connections, and at most {CONNECTIONS_MAX}", path.display(), by_name.len()));
        }
        (Connections { by_name }, problems)
    }

    /// Reads a file that has connections and nothing else.
    #[must_use]
    pub fn read(path: &Path) -> (Connections, Vec<String>) {
        match files::read_text(path, FILE_MAX) {
            Err(error) => (Connections::default(), vec![format!("the connections file {} cannot be read: {error}", path.display())]),
            Ok(text) => {
                let (connections, mut problems) = Connections::parse(path, &text);
                problems.extend(declare::strangers(path, &text));
                (connections, problems)
            }
        }
    }

    /// Both together. A name that both have is a problem: nobody could say which one is meant.
    pub fn join(&mut self, other: Connections) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, connection) in other.by_name {
            match self.by_name.get(&name) {
                Some(first) => problems.push(format!("{}: connections.{name} is declared already, at {}", connection.declared_at, first.declared_at)),
                None => drop(self.by_name.insert(name, connection)),
            }
        }
        problems
    }

    #[must_use]
    pub fn get(&self, name: &ConnectionName) -> Option<&Connection> {
        self.by_name.get(name)
    }

    /// All of a kind, by name.
    pub fn of_kind(&self, kind: ConnectionKind) -> impl Iterator<Item = &Connection> {
        self.by_name.values().filter(move |connection| connection.kind == kind)
    }

    /// What the mesh is told of them.
    #[must_use]
    pub fn told(&self) -> Vec<agent::Connection> {
        let told = |connection: &Connection| agent::Connection { name: connection.name.clone(), kind: connection.kind.as_str().to_owned() };
        self.by_name.values().map(told).collect()
    }

    /// Variables of the environment that hold a secret. No child of the agent is to have them.
    pub fn secret_variables(&self) -> impl Iterator<Item = &str> {
        self.by_name.values().flat_map(Connection::secrets).filter_map(|secret| match secret {
            SecretRef::Env(name) => Some(name.as_str()),
            SecretRef::File(_) => None,
        })
    }
}

#[cfg(test)]
mod tests;
