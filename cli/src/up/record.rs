//! What `up` must find again at its next start: `up.toml`.
//!
//! Ports of coordinators are kept because their addresses are in the replicated state. It holds no secret.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use mainstay_client::failpoint::Point;
use mainstay_client::{files, random};
use mainstay_core::MemberId;
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use crate::error::CliError;

/// Name of the mesh, and what the names of its clusters begin with.
pub const MESH: &str = "local";
/// The file's format; a program that finds another one leaves it alone.
const FORMAT: u32 = 1;
/// A thousand agents need less.
const FILE_MAX: u64 = 1 << 20;

/// The parts of a mesh on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    /// Whether the mesh was ready once: from then on no coordinator may start another one.
    pub formed: bool,
    clusters: u16,
    pub coordinators: Vec<Coordinator>,
    pub agents: Vec<Agent>,
}

/// One member, with its ports on the loopback address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coordinator {
    pub name: String,
    /// The id under which it was last seen, 16 hexadecimal digits. One that lost its disk takes another.
    pub id: String,
    pub grpc: u16,
    pub enrol: u16,
    pub http: u16,
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    pub name: String,
    pub cluster: String,
    pub http: u16,
}

/// `127.0.0.1:PORT`
#[must_use]
pub fn address(port: u16) -> String {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string()
}

impl Record {
    /// The record of a state directory; `None` where there is none yet.
    pub fn load(layout: &Layout) -> Result<Option<Record>, CliError> {
        let path = layout.record();
        let text = match files::read_sealed(&path, FILE_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CliError::failed(format!("{} cannot be read: {error}", path.display()))),
        };
        let another = format!("or start another mesh:  mainstay up --dir {}-2", layout.dir().display());
        let record: Record = toml::from_str(&text).map_err(|error| {
            CliError::failed(format!("{} is damaged: {}", path.display(), error.message())).with_next("mend it").with_next(&another)
        })?;
        if record.format != FORMAT {
            return Err(CliError::failed(format!("{} has format {}, and this program knows {FORMAT}", path.display(), record.format))
                .with_next("use the version of mainstay that made it")
                .with_next(another));
        }
        Ok(Some(record))
    }

    pub fn store(&self, layout: &Layout) -> Result<(), CliError> {
        let path = layout.record();
        let failed = |error: &dyn std::fmt::Display| CliError::failed(format!("{} cannot be written: {error}", path.display()));
        let text = toml::to_string(self).map_err(|error| failed(&error))?;
        let text = format!("# Written by `mainstay up`: what it needs to go on with this mesh.\n{text}");
        files::write_sealed(Point::UpRecord, &path, &text, 0o600).map_err(|error| failed(&error))
    }

    /// Adds what is missing up to the wanted numbers. A mesh grows; it never shrinks by a number, because
    /// which member or node is to go is for somebody to say.
    pub fn grow(
        &mut self,
        coordinators: usize,
        agents: u16,
        clusters: u16,
        mut free_port: impl FnMut() -> Result<u16, CliError>,
    ) -> Result<(), CliError> {
        let fresh = self.coordinators.is_empty();
        if !fresh && clusters != self.clusters {
            return Err(CliError::usage(format!("this mesh has {}, and --clusters says {clusters}", words(self.clusters.into(), "cluster")))
                .with_next("the names of its clusters depend on it: use another --dir for another mesh"));
        }
        if coordinators < self.coordinators.len() {
            return Err(CliError::usage(format!(
                "this mesh has {}, and --coordinators says {coordinators}",
                words(self.coordinators.len(), "member")
            ))
            .with_next("use another --dir for a smaller mesh"));
        }
        let agents_now = usize::from(self.agents_of_each());
        if usize::from(agents) < agents_now {
            return Err(CliError::usage(format!("this mesh has {} in each cluster, and --agents says {agents}", words(agents_now, "agent")))
                .with_next("use another --dir for a smaller mesh"));
        }
        (self.format, self.clusters) = (FORMAT, clusters);
        for number in self.coordinators.len()..coordinators {
            self.coordinators.push(Coordinator {
                name: format!("c{}", number + 1),
                id: MemberId(random::number()).to_string(),
                grpc: free_port()?,
                enrol: free_port()?,
                http: free_port()?,
            });
        }
        for cluster in 0..clusters {
            let cluster = if clusters == 1 { MESH.to_owned() } else { format!("{MESH}-{}", cluster + 1) };
            let there = self.agents.iter().filter(|agent| agent.cluster == cluster).count();
            for _ in there..usize::from(agents) {
                self.agents.push(Agent { name: format!("a{}", self.agents.len() + 1), cluster: cluster.clone(), http: free_port()? });
            }
        }
        Ok(())
    }

    /// Clusters of the mesh; zero of one that has not been made yet.
    #[must_use]
    pub fn clusters(&self) -> u16 {
        self.clusters
    }

    #[must_use]
    pub fn agents_of_each(&self) -> u16 {
        u16::try_from(self.agents.len()).unwrap_or(u16::MAX).checked_div(self.clusters).unwrap_or(0)
    }

    #[must_use]
    pub fn member_addresses(&self) -> Vec<String> {
        self.coordinators.iter().map(|coordinator| address(coordinator.grpc)).collect()
    }

    #[must_use]
    pub fn enrolment_addresses(&self) -> Vec<String> {
        self.coordinators.iter().map(|coordinator| address(coordinator.enrol)).collect()
    }

    /// One agent speaks for the machine that all of them run on.
    #[must_use]
    pub fn speaks_for_host(&self, agent: &str) -> bool {
        self.agents.first().is_some_and(|first| first.name == agent)
    }
}

fn words(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ports() -> impl FnMut() -> Result<u16, CliError> {
        let mut next = 20_000;
        move || {
            next += 1;
            Ok(next)
        }
    }

    #[test]
    fn a_mesh_is_kept_and_grows() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        assert_eq!(Record::load(&layout).unwrap(), None);
        let mut record = Record::default();
        record.grow(1, 1, 1, ports()).unwrap();
        record.store(&layout).unwrap();
        let mut kept = Record::load(&layout).unwrap().unwrap();
        assert_eq!(kept, record);
        kept.grow(3, 2, 1, ports()).unwrap();
        assert_eq!(kept.coordinators[0], record.coordinators[0], "what is there stays");
        assert_eq!(kept.coordinators.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["c1", "c2", "c3"]);
        assert_eq!(kept.agents.iter().map(|a| (a.cluster.as_str(), a.name.as_str())).collect::<Vec<_>>(), [("local", "a1"), ("local", "a2")]);
    }

    #[test]
    fn clusters_have_names_and_one_agent_speaks_for_the_host() {
        let mut record = Record::default();
        record.grow(1, 2, 2, ports()).unwrap();
        let agents: Vec<(String, String, bool)> =
            record.agents.iter().map(|a| (a.cluster.clone(), a.name.clone(), record.speaks_for_host(&a.name))).collect();
        let expected = [("local-1", "a1", true), ("local-1", "a2", false), ("local-2", "a3", false), ("local-2", "a4", false)];
        assert_eq!(agents, expected.map(|(c, a, h)| (c.to_owned(), a.to_owned(), h)));
        assert_eq!(record.agents_of_each(), 2);
    }

    #[test]
    fn a_mesh_does_not_shrink() {
        let mut record = Record::default();
        record.grow(3, 3, 1, ports()).unwrap();
        for (coordinators, agents, clusters) in [(1, 3, 1), (3, 2, 1), (3, 3, 2)] {
            let error = record.clone().grow(coordinators, agents, clusters, ports()).unwrap_err();
            assert!(error.exit.status() == 2 && error.message.starts_with("this mesh has "), "{error}");
        }
        assert_eq!(record.grow(3, 3, 1, || unreachable!()), Ok(()));
    }

    #[test]
    fn another_format_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        files::write_atomic(Point::UpRecord, &layout.record(), b"format = 9\nformed = true\nclusters = 1\ncoordinators = []\nagents = []\n", 0o600)
            .unwrap();
        assert!(Record::load(&layout).unwrap_err().message.ends_with("has format 9, and this program knows 1"));
        files::write_atomic(Point::UpRecord, &layout.record(), b"format = ", 0o600).unwrap();
        assert!(Record::load(&layout).unwrap_err().message.contains("is damaged"));
    }
}
