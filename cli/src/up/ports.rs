//! Ports for a mesh on this machine.
//!
//! They lie below the range from which the kernel takes ports of outgoing connections, so that no such
//! connection takes one of a member that is being started again. Between the look and the child's start another `up`
//! must not find the same one free: whoever has chosen a port holds its name among the abstract sockets of the network
//! namespace, which is what ports belong to as well, until its process ends.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mainstay_client::random;

use super::record::{Record, address};
use crate::error::CliError;
use crate::host;

const RANGE: Range<u16> = 20_000..32_000;
/// So many in a row are taken only when all are.
const TRIES: usize = 500;
/// How long children of an `up` that was killed may take to end.
pub const GIVEN_BACK: Duration = Duration::from_secs(6);

/// Hands out free ports, each once.
#[derive(Debug, Default)]
pub struct Ports {
    taken: BTreeSet<u16>,
}

impl Ports {
    /// Ports other than those of the record.
    #[must_use]
    pub fn besides(record: &Record) -> Ports {
        let coordinators = record.coordinators.iter().flat_map(|coordinator| [coordinator.grpc, coordinator.enrol, coordinator.http]);
        let taken: BTreeSet<u16> = coordinators.chain(record.agents.iter().map(|agent| agent.http)).collect();
        for port in &taken {
            // Somebody who has chosen a kept one will listen on it: what then comes of it is told by `reclaim`.
            reserve(*port);
        }
        Ports { taken }
    }

    pub fn free(&mut self) -> Result<u16, CliError> {
        let spread = u64::from(RANGE.end - RANGE.start);
        let any = || RANGE.start + u16::try_from(random::number() % spread).unwrap_or(0);
        let found = (0..TRIES).map(|_| any()).find(|port| !self.taken.contains(port) && reserve(*port) && host::is_free(*port));
        let port = found.ok_or_else(|| {
            CliError::failed(format!("no free port was found from {} to {}", RANGE.start, RANGE.end)).with_next("see what listens:  ss -ltn")
        })?;
        self.taken.insert(port);
        Ok(port)
    }
}

/// What this process has chosen, by port. Nothing is ever sent to or read from these.
static RESERVED: Mutex<BTreeMap<u16, UnixDatagram>> = Mutex::new(BTreeMap::new());

/// Whether no other process has chosen this port; from now on none will. Where there are no such names, all stays as it is
/// without them.
fn reserve(port: u16) -> bool {
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    if reserved.contains_key(&port) {
        return true;
    }
    match SocketAddr::from_abstract_name(format!("mainstay/port/{port}")).and_then(|name| UnixDatagram::bind_addr(&name)) {
        Ok(name) => {
            reserved.insert(port, name);
            true
        }
        Err(error) => error.kind() != io::ErrorKind::AddrInUse,
    }
}

/// Sees to it that the kept ports can be used. A port that nobody has written down elsewhere is replaced by
/// another one when it is taken; those of members are in the replicated state and have to be free. `patience`
/// is for children of an `up` that was killed, which take a moment to end.
pub async fn reclaim(record: &mut Record, patience: Duration) -> Result<(), CliError> {
    let mut ports = Ports::besides(record);
    let fixed: Vec<(String, &'static str, u16)> =
        record.coordinators.iter().flat_map(|c| [(c.name.clone(), "gRPC", c.grpc), (c.name.clone(), "enrolment", c.enrol)]).collect();
    let all_free = async {
        while fixed.iter().any(|(_, _, port)| !host::is_free(*port)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(patience, all_free).await.is_err()
        && let Some((name, purpose, port)) = fixed.into_iter().find(|(_, _, port)| !host::is_free(*port))
    {
        return Err(CliError::failed(format!(
            "{} is in use by another program: {name} needs it ({purpose}), because the other members look for it there",
            address(port)
        ))
        .with_next(format!("see who has it, and end that one:  ss -ltnp 'sport = :{port}'"))
        .with_next("or start another mesh beside it:     mainstay up --dir DIR"));
    }
    for coordinator in record.coordinators.iter_mut().filter(|coordinator| !host::is_free(coordinator.http)) {
        coordinator.http = ports.free()?;
    }
    for agent in record.agents.iter_mut().filter(|agent| !host::is_free(agent.http)) {
        agent.http = ports.free()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn ports_are_free_and_handed_out_once() {
        let mut ports = Ports::default();
        let some: BTreeSet<u16> = (0..50).map(|_| ports.free().unwrap()).collect();
        assert_eq!(some.len(), 50);
        assert!(some.iter().all(|port| RANGE.contains(port)));
    }

    #[test]
    fn a_port_that_another_has_chosen_and_does_not_use_yet_is_not_chosen() {
        let port = Ports::default().free().unwrap();
        assert!(reserve(port), "it is this one's own");
        let name = SocketAddr::from_abstract_name(format!("mainstay/port/{port}")).unwrap();
        assert_eq!(UnixDatagram::bind_addr(&name).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let another = RESERVED.lock().unwrap().remove(&port);
        assert!(!reserve(port), "another process has it");
        drop(another);
        assert!(reserve(port), "that one has ended");
    }

    #[tokio::test]
    async fn a_taken_port_is_replaced_or_named() {
        let mut record = Record::default();
        let mut ports = Ports::default();
        record.grow(1, 1, 1, || ports.free()).unwrap();
        let (grpc, http) = (record.coordinators[0].grpc, record.coordinators[0].http);

        let other = TcpListener::bind(("127.0.0.1", http)).unwrap();
        reclaim(&mut record, Duration::ZERO).await.unwrap();
        assert_ne!(record.coordinators[0].http, http);
        assert_eq!(record.coordinators[0].grpc, grpc);
        drop(other);

        let _other = TcpListener::bind(("127.0.0.1", grpc)).unwrap();
        let error = reclaim(&mut record, Duration::from_millis(1)).await.unwrap_err();
        assert!(error.message.starts_with(&format!("127.0.0.1:{grpc} is in use by another program: c1 needs it")), "{error}");
    }
}
