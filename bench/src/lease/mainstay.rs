//! Our side: three coordinators as `mainstay up` starts them, and one agent at rest.

use std::time::Duration;

use mainstay_client::Mesh;
use mainstay_proto::v1;
use mainstay_tests::{Options, Up};
use rustix::process::Pid;

/// Longest that one call of a measurement may take.
const CALL: Duration = Duration::from_secs(30);
/// Leases that outlive a measurement.
const TTL_MS: u64 = 600_000;

pub async fn start() -> Up {
    Up::start(Options { agents: 1, ..Options::default() }).await
}

/// So many clients with connections of their own.
pub fn clients(up: &Up, count: usize) -> Vec<Mesh> {
    (0..count).map(|_| up.client().with_deadline(CALL)).collect()
}

pub fn pids(up: &Up) -> Vec<Pid> {
    ["c1", "c2", "c3"].iter().filter_map(|name| up.pid(name)).collect()
}

/// The token of a lease that nobody else has.
pub async fn acquire(mesh: &Mesh, name: String, incarnation: &str) -> String {
    let spec = Some(v1::LeaseSpec { slots: 1, ttl_ms: TTL_MS, kind: v1::LeaseKind::Ttl.into() });
    let request = v1::AcquireRequest { name, spec, incarnation: incarnation.to_owned(), ..v1::AcquireRequest::default() };
    mesh.acquire_lease(request).await.expect("the lease").token
}

pub async fn release(mesh: &Mesh, name: String, incarnation: &str) {
    let request = v1::ReleaseRequest { name, token: String::new(), incarnation: incarnation.to_owned() };
    mesh.release_lease(request).await.expect("the release");
}

/// Port of a member's health and metrics.
pub fn http_port(up: &Up, name: &str) -> u16 {
    let record = std::fs::read_to_string(up.dir().join("up.toml")).expect("the record of the mesh");
    let own = record.split("[[").find(|part| part.contains(&format!("name = \"{name}\""))).expect("the member's part");
    let port = own.lines().find_map(|line| line.strip_prefix("http = ")).expect("its port");
    port.parse().expect("a port")
}
