//! Whether a disk that stalls is taken for a member that died: terms that come and go while each sync of a member takes
//! half a second longer.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::future::join_all;
use mainstay_tests::process;
use rustix::process::{Pid, Signal};

use super::etcd::{self, Etcd};
use super::{COMMON, PEER, mainstay, metrics};
use crate::results::Row;

/// What a sync takes longer.
const STALL: Duration = Duration::from_millis(500);
/// How long the disk of each member stalls: of the leader, then of a follower, then of all.
const PHASE: Duration = Duration::from_secs(60);
/// Writers, each of which waits for its answer before it writes again.
const WRITERS: usize = 8;
/// Longest that a write is waited for; one that fails meanwhile is no election.
const TRY: Duration = Duration::from_secs(10);

pub async fn measure() -> Row {
    let (own, peer) = (ours().await, theirs().await);
    let settings = format!(
        "{COMMON}; elections of an hour, from those in {} s in which each fsync and fdatasync took {} ms longer (strace), a third each on the leader, on a follower, on all three; {WRITERS} writers; timeouts as shipped by each",
        3 * PHASE.as_secs(),
        STALL.as_millis()
    );
    let per_hour = |elections: u64| elections as f64 * 3_600.0 / (3 * PHASE).as_secs_f64();
    Row::never("lease.failover.false_elections", "1/h", per_hour(own), (PEER, per_hour(peer)), &settings)
}

async fn ours() -> u64 {
    let up = mainstay::start().await;
    let meshes = mainstay::clients(&up, WRITERS);
    let leader = up.leader().await;
    let port = mainstay::http_port(&up, &leader);
    let names = ["c1", "c2", "c3"];
    let follower = names.into_iter().find(|name| *name != leader).expect("a follower");
    let pid = |name: &str| up.pid(name).expect("it runs");
    let term = || async { metrics::gauge(port, "mainstay_raft_term").await.expect("the term") };
    let before = term().await;
    let mut slow = Duration::ZERO;
    for stalled in [vec![pid(&leader)], vec![pid(follower)], names.map(pid).to_vec()] {
        slow = under_stalls(&stalled, |writer, number| {
            let mesh = meshes[writer].clone().with_deadline(TRY);
            async move {
                let name = format!("bench/s{writer}");
                let request = mainstay_proto::v1::AcquireRequest { name: name.clone(), incarnation: number.to_string(), ..Default::default() };
                let _ = mesh.acquire_lease(request).await;
                let request = mainstay_proto::v1::ReleaseRequest { name, token: String::new(), incarnation: number.to_string() };
                let _ = mesh.release_lease(request).await;
            }
        })
        .await;
    }
    check(slow);
    elections(before, term().await)
}

async fn theirs() -> u64 {
    let etcd = Etcd::start(etcd::DEFAULT).await;
    let clients = etcd.clients(WRITERS).await;
    let leader = etcd.leader().await;
    let before = etcd.term(leader).await;
    let mut slow = Duration::ZERO;
    for stalled in [vec![etcd.pid(leader)], vec![etcd.pid((leader + 1) % 3)], etcd.pids()] {
        slow = under_stalls(&stalled, |writer, number| {
            let client = clients[writer].clone();
            async move { drop(tokio::time::timeout(TRY, client.put(format!("s{writer}"), number.to_string(), 0)).await) }
        })
        .await;
    }
    check(slow);
    elections(before as f64, etcd.term(leader).await as f64)
}

fn elections(before: f64, after: f64) -> u64 {
    (after - before).max(0.0) as u64
}

/// Writes for one phase while the disks of these processes stall; how long the middle one of the writes took.
async fn under_stalls<F, Fut>(stalled: &[Pid], write: F) -> Duration
where
    F: Fn(usize, usize) -> Fut,
    Fut: Future<Output = ()>,
{
    let tracers: Vec<Tracer> = stalled.iter().map(|pid| Tracer::on(*pid)).collect();
    let (begun, write) = (Instant::now(), &write);
    let took = join_all((0..WRITERS).map(|writer| async move {
        let mut took = Vec::new();
        while begun.elapsed() < PHASE {
            let sent = Instant::now();
            write(writer, took.len()).await;
            took.push(sent.elapsed());
        }
        took
    }));
    let mut took = took.await.concat();
    for mut tracer in tracers {
        assert!(tracer.0.try_wait().is_ok_and(|ended| ended.is_none()), "strace ended early: is it installed, and may it trace?");
    }
    took.sort();
    took[took.len() / 2]
}

/// Where all disks stalled, no write can have been faster: else nothing was measured.
fn check(slow: Duration) {
    assert!(slow >= STALL, "the disks did not stall: half of the writes took less than {slow:?}");
}

/// Makes the syncs of one process slow until it is dropped.
struct Tracer(Child);

impl Tracer {
    fn on(pid: Pid) -> Tracer {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-e"]);
        command.arg(format!("inject=fsync,fdatasync:delay_enter={}", STALL.as_micros()));
        command.args(["-p", &pid.as_raw_nonzero().to_string(), "-o", "/dev/null"]);
        Tracer(command.stdin(Stdio::null()).spawn().expect("strace is installed"))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Asked to end, it lets the process go as it was.
        if let Some(pid) = Pid::from_raw(i32::try_from(self.0.id()).unwrap_or(0)) {
            process::signal(pid, Signal::INT);
        }
        drop(self.0.wait());
    }
}
