//! Members in one process, on disks of their own, joined by wires that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use mainstay_core::state::member::Member;
use mainstay_core::{Actor, Command, Entry, MemberId, MeshTime, Reply, RequestKey, WallTime};

use crate::store::host::Host;
use crate::store::{CallFuture, CallKind, Consensus, Disk, FormError, Peer, ProposeError, RaftCall, Settings, StartError, Transport, TransportError};

/// For anything that should happen at all.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Who can reach whom, and at whose address who lives.
#[derive(Default)]
pub struct Wires {
    homes: Mutex<BTreeMap<String, Consensus>>,
    cut: Mutex<BTreeSet<(MemberId, MemberId)>>,
    /// Kinds of calls that do not get through to anybody.
    silenced: Mutex<BTreeSet<u8>>,
    entries_held: AtomicBool,
    /// Every third answer to a piece of a snapshot is lost, and the tenth piece is not what was sent.
    pub bad_for_snapshots: AtomicBool,
    pub carried: Mutex<BTreeMap<&'static str, u64>>,
    /// Calls that members have begun to make, whether they got through or not.
    pub made: Mutex<BTreeMap<&'static str, u64>>,
}

impl Wires {
    pub fn cut(&self, a: MemberId, b: MemberId) {
        self.cut.lock().unwrap().extend([(a, b), (b, a)]);
    }

    pub fn heal(&self) {
        self.cut.lock().unwrap().clear();
    }

    pub fn silence(&self, kind: CallKind) {
        self.silenced.lock().unwrap().insert(kind.number());
    }

    pub fn unsilence(&self) {
        self.silenced.lock().unwrap().clear();
    }

    /// Lets heartbeats through, but no entries.
    pub fn hold_entries(&self, held: bool) {
        self.entries_held.store(held, Ordering::Relaxed);
    }

    /// How often members have asked a leader whether it still leads.
    pub fn questions(&self) -> u64 {
        self.made.lock().unwrap().get(CallKind::Leads.name()).copied().unwrap_or(0)
    }

    fn joined(&self, a: MemberId, b: MemberId) -> bool {
        !self.cut.lock().unwrap().contains(&(a, b))
    }
}

struct Wire {
    wires: Arc<Wires>,
    from: MemberId,
}

impl Transport for Wire {
    fn call(&self, to: MemberId, peer: &Peer, call: RaftCall, deadline: Duration) -> CallFuture {
        let (wires, from, address) = (self.wires.clone(), self.from, peer.address.clone());
        Box::pin(async move {
            *wires.made.lock().unwrap().entry(call.kind.name()).or_default() += 1;
            let unreachable = || TransportError::Unreachable(format!("no wire to {address}"));
            if !wires.joined(from, to) || wires.silenced.lock().unwrap().contains(&call.kind.number()) {
                return Err(unreachable());
            }
            // An append without entries ends with their number, zero.
            if call.kind == CallKind::Append && wires.entries_held.load(Ordering::Relaxed) && !call.body.ends_with(&[0; 4]) {
                return Err(unreachable());
            }
            let carried = {
                let mut carried = wires.carried.lock().unwrap();
                let count = carried.entry(call.kind.name()).or_default();
                *count += 1;
                *count
            };
            let bad = call.kind == CallKind::Snapshot && wires.bad_for_snapshots.load(Ordering::Relaxed);
            let mut call = call;
            if bad && carried == 10 {
                let mut body = call.body.to_vec();
                *body.last_mut().unwrap() ^= 1;
                call.body = body.into();
            }
            let home = wires.homes.lock().unwrap().get(&address).cloned();
            let home = home.ok_or_else(|| TransportError::Gone(format!("nobody lives at {address}")))?;
            assert!(call.body.len() < 1_200_000, "{} of {} bytes", call.kind.name(), call.body.len());
            let answer = tokio::time::timeout(deadline, home.handle(call)).await.map_err(|_| TransportError::TimedOut(deadline))?;
            if !wires.joined(to, from) || (bad && carried.is_multiple_of(3)) {
                return Err(TransportError::TimedOut(deadline));
            }
            answer.map_err(|refusal| TransportError::Refused(refusal.to_string()))
        })
    }
}

/// A group of members, and everything to disturb it with.
pub struct Mesh {
    pub wires: Arc<Wires>,
    pub settings: Settings,
    root: PathBuf,
    /// Removed with the value, where it was made for it.
    _made: Option<TempDir>,
    pub members: BTreeMap<MemberId, Consensus>,
    pub hosts: BTreeMap<MemberId, Host>,
}

pub fn settings() -> Settings {
    Settings { propose_timeout: Duration::from_secs(4), change_timeout: Duration::from_secs(10), ..Settings::default() }
}

pub fn peer(id: u64) -> Peer {
    Peer { address: format!("member-{id}:7400") }
}

/// An entry that leaves a trace in the state: member `id` with `name`.
pub fn entry(id: u64, name: &str) -> Entry {
    let member = Member { id: MemberId(id), name: name.into(), ..Member::default() };
    Entry { at: MeshTime(1), wall: WallTime(1), by: Actor::Mesh, key: None, command: Command::PutMember { member } }
}

impl Mesh {
    pub fn new(settings: Settings) -> Mesh {
        let made = TempDir::new().unwrap();
        let mesh = Mesh::at(made.path(), settings);
        Mesh { _made: Some(made), ..mesh }
    }

    /// Members whose disks are in a directory of the test's own.
    pub fn at(root: &Path, settings: Settings) -> Mesh {
        Mesh { wires: Arc::default(), settings, root: root.to_owned(), _made: None, members: BTreeMap::new(), hosts: BTreeMap::new() }
    }

    /// A formed group of members 1 to `count`.
    pub async fn of(count: u64, settings: Settings) -> Mesh {
        let mut mesh = Mesh::new(settings);
        mesh.form(count).await;
        mesh
    }

    /// Starts members 1 to `count`, and makes a group of them if they are none yet.
    pub async fn form(&mut self, count: u64) {
        for id in 1..=count {
            self.start(id).await.unwrap();
        }
        self.group(count).await;
    }

    /// Makes a group of members that have started, if they are none yet.
    pub async fn group(&self, count: u64) {
        match self.member(1).form((1..=count).map(|id| (MemberId(id), peer(id))).collect()).await {
            Ok(()) | Err(FormError::NotEmpty) => {}
            Err(error) => panic!("{error}"),
        }
        self.leader().await;
    }

    pub fn dir(&self, id: u64) -> PathBuf {
        self.root.join(format!("member-{id}"))
    }

    /// Copies a stopped member's disk.
    pub fn copy_disk(&self, id: u64, to: &str) -> PathBuf {
        let copy = self.root.join(to);
        copy_dir(&self.dir(id), &copy);
        copy
    }

    /// Puts a copy back in the place of a stopped member's disk.
    pub fn restore_disk(&self, id: u64, from: &Path) {
        std::fs::remove_dir_all(self.dir(id)).unwrap();
        copy_dir(from, &self.dir(id));
    }

    pub async fn start(&mut self, id: u64) -> Result<(), StartError> {
        let disk = Disk::open(&self.dir(id), MemberId(id))?;
        let member = disk.member();
        let host = self.hosts.entry(MemberId(id)).or_default().clone();
        let wire = Arc::new(Wire { wires: self.wires.clone(), from: member });
        let consensus = Consensus::start_on(host, disk, self.settings.clone(), wire).await?;
        self.wires.homes.lock().unwrap().insert(peer(id).address, consensus.clone());
        self.members.insert(MemberId(id), consensus);
        Ok(())
    }

    /// Ends a member as a kill would: nobody is told.
    pub async fn kill(&mut self, id: u64) {
        self.wires.homes.lock().unwrap().remove(&peer(id).address);
        if let Some(member) = self.members.remove(&MemberId(id)) {
            member.halt().await;
        }
    }

    pub fn member(&self, id: u64) -> &Consensus {
        &self.members[&MemberId(id)]
    }

    /// The one member that leads and may decide, once all others in `members` that hear it agree.
    pub async fn leader(&self) -> u64 {
        until("a settled leader", || async {
            let leaders: Vec<u64> = self.members.values().filter(|m| m.leadership_now().settled().is_some()).map(|m| m.member().0).collect();
            // A leader that was cut off may still believe that it leads: the higher term is right.
            leaders.into_iter().max_by_key(|id| self.member(*id).leadership_now().term)
        })
        .await
    }

    /// A leader other than `old`.
    pub async fn leader_after(&self, old: u64) -> u64 {
        until("another leader", || async { Some(self.leader().await).filter(|id| *id != old) }).await
    }

    /// Proposes until it is done, as a client would.
    pub async fn put(&self, id: u64, name: &str) -> u64 {
        until("a member that takes a proposal", || async {
            for (member, consensus) in &self.members {
                let mut entry = entry(id, name);
                entry.key = Some(RequestKey(format!("{id}-{}", &name[name.len().saturating_sub(32)..])));
                match consensus.propose(&entry).await {
                    Ok(reply) => {
                        assert_eq!(reply, Reply::Done);
                        return Some(member.0);
                    }
                    Err(ProposeError::Stopped(reason)) => panic!("{reason}"),
                    Err(_) => {}
                }
            }
            None
        })
        .await
    }

    /// Waits until a member has applied everything that `of` has applied.
    pub async fn caught_up(&self, id: u64, of: u64) {
        let index = self.member(of).state().index;
        let mut applied = self.member(id).applied();
        let wait = applied.wait_for(|now| now.index >= index);
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("member {id} has not caught up with {index}")).unwrap();
    }

    pub async fn shutdown(&self) {
        for member in self.members.values() {
            member.halt().await;
        }
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() { copy_dir(&item.path(), &target) } else { std::fs::copy(item.path(), target).map(|_| ()).unwrap() }
    }
}

/// Looks again and again, until there is something or patience is at its end.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
