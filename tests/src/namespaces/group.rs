//! The coordinators of a mesh, each on a host, with a clock and a disk, of its own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::failpoint::Point;
use mainstay_client::identity::{LEAF_LIFE, NewKey, Root};
use mainstay_client::{Bundle, ClientIdentity, Mesh, files};
use mainstay_core::id::MeshName;
use mainstay_core::time::WallTime;
use mainstay_core::{Identity, MemberId};
use mainstay_proto::v1;
use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::far::Way;
use super::network::{self, Fault};
use crate::faults::Tmpfs;
use crate::up::binaries;
use crate::{clock, process};

/// Room on the disk of a member, in KiB.
const DISK: u32 = 192 << 10;
/// Certificates are so much older than the mesh, in milliseconds: a clock that is an hour behind takes them too.
const AGED: i64 = 2 * 3_600_000;
/// For one call of the harness's own.
const CALL: Duration = Duration::from_secs(2);

struct Member {
    name: String,
    id: MemberId,
    host: usize,
    /// Where others call it.
    address: String,
    disk: Tmpfs,
    way: Option<Way>,
    child: Option<Child>,
}

/// A mesh without agents. Members are counted from 0.
pub struct Group {
    place: PathBuf,
    members: Vec<Member>,
    operator: Bundle,
    /// The mesh was begun again: nobody forms one any more.
    is_recovered: bool,
}

impl Group {
    /// Starts a mesh and waits until it is ready. The last of its members is reached by a way that can become long.
    pub async fn start(members: usize) -> Group {
        mainstay_client::tls::install_provider();
        let place = PathBuf::from("/run/mesh");
        let mesh: MeshName = "namespaces".parse().expect("a name");
        let now = WallTime(SystemClock.wall().0 - AGED);
        let root = Root::create(&mesh, now).expect("a root");
        let mut group = Group {
            place,
            members: Vec::new(),
            operator: Bundle { key_pem: String::new(), chain_pem: String::new(), roots_pem: String::new() },
            is_recovered: false,
        };
        for number in 1..=members {
            let member = group.member(number, number == members).await;
            let issuer = root.issuer(&member.name, now).expect("an issuer");
            let issued = |identity: &Identity| {
                let key = NewKey::generate().expect("a key");
                let chain = issuer.issue(&key.csr_pem().expect("a request"), &mesh, identity, now, LEAF_LIFE).expect("a certificate");
                key.into_bundle(chain, root.cert_pem().to_owned())
            };
            let dir = member.disk.path();
            for (name, text) in [("issuer.pem", issuer.cert_pem()), ("issuer.key", &issuer.key_pem()), ("roots.pem", root.cert_pem())] {
                files::write_atomic(Point::Issuer, &dir.join(name), text.as_bytes(), 0o600).expect("what a member signs with");
            }
            issued(&Identity::Coordinator(member.id)).store(dir).expect("its identity");
            group.operator = issued(&"operator/tester".parse().expect("an operator"));
            group.members.push(member);
        }
        for member in 0..members {
            group.begin(member);
        }
        group.ready().await;
        group
    }

    async fn member(&self, number: usize, is_far: bool) -> Member {
        let name = format!("c{number}");
        let near = format!("{}:7400", network::host(number));
        let (address, way) = if is_far {
            let far = format!("{}:7400", network::far_address(number));
            let way = Way::open(&far, &near).await;
            (far, Some(way))
        } else {
            (near, None)
        };
        let disk = Tmpfs::mount(&self.place.join(&name), DISK).unwrap_or_else(|error| panic!("a disk for {name}: {error}"));
        let member = Member { id: MemberId(number as u64), host: number, name, address, disk, way, child: None };
        self.set_clock_of(&member, "+0");
        member
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A member's id.
    #[must_use]
    pub fn id(&self, member: usize) -> String {
        self.members[member].id.to_string()
    }

    fn clock(&self, member: &Member) -> PathBuf {
        self.place.join(format!("{}.clock", member.name))
    }

    fn set_clock_of(&self, member: &Member, by: &str) {
        files::write_atomic(Point::Saved, &self.clock(member), by.as_bytes(), 0o600).expect("a member's clock");
    }

    /// The command that a member's machine starts it with.
    fn command(&self, member: &Member) -> Command {
        let mut command = network::on(member.host, &binaries().join("mainstay-coordinator"));
        command.arg("--dir").arg(member.disk.path()).args(["--name", &member.name]);
        let host = format!("10.77.0.{}", member.host);
        command.args(["--listen", &format!("{host}:7400"), "--advertise", &member.address, "--enrol-listen", &format!("{host}:7401")]);
        if self.is_recovered {
            clock::by_file(&mut command, &self.clock(member));
            return command;
        }
        let all: Vec<String> = self.members.iter().map(|other| format!("{}={}", other.id, other.address)).collect();
        command.args(["--form", &all.join(","), "--admin", "tester"]);
        clock::by_file(&mut command, &self.clock(member));
        command
    }

    /// Starts a member that does not run.
    pub fn begin(&mut self, member: usize) {
        let log = File::options().create(true).append(true).open(self.log_file(&self.members[member])).expect("a log");
        let mut command = self.command(&self.members[member]);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().expect("the same log")).stderr(log).spawn();
        self.members[member].child = Some(child.expect("a coordinator starts"));
    }

    /// Starts a member that has ended by itself, as systemd does.
    pub fn begin_if_ended(&mut self, member: usize) {
        let child = self.members[member].child.as_mut();
        if child.is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some())) {
            self.begin(member);
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.members[member].child.take() {
            child.kill().and_then(|()| child.wait()).expect("it is killed");
        }
    }

    /// All but one are lost for good, with their disks. The one that is left is member 0 from then on.
    pub fn lose_all_but(&mut self, survivor: usize) {
        (0..self.len()).filter(|member| *member != survivor).for_each(|member| self.kill(member));
        self.members.swap(0, survivor);
        self.members.truncate(1);
    }

    /// Begins the mesh again from the one member that is left, as docs/backup.md says, up to the point where that is
    /// started: what the coordinator said of what it had, and what `mainstay mesh recover` said, as JSON.
    pub fn recover(&mut self) -> (String, Value) {
        self.kill(0);
        let file = self.place.join("survivor.snapshot").display().to_string();
        let member = &self.members[0];
        let salvaged = text(self.command(member).args(["--salvage", &file]).output());
        let mut recover = self.on_host(0, "mainstay");
        recover.env("XDG_CONFIG_HOME", self.place.join("config")).arg("--dir").arg(member.disk.path());
        let told = text(recover.args(["mesh", "recover", "--from", &file, "--name", &member.name, "--replace", "-o", "json"]).output());
        self.is_recovered = true;
        (salvaged, serde_json::from_str(&told).expect("JSON"))
    }

    /// SIGSTOP and SIGCONT.
    pub fn signal(&self, member: usize, signal: Signal) {
        let child = self.members[member].child.as_ref().expect("it runs");
        process::signal(Pid::from_child(child), signal);
    }

    /// What is wrong with its network from now on.
    pub fn network(&self, member: usize, fault: Option<Fault>) {
        network::set_fault(self.members[member].host, fault);
    }

    /// The way to the last member takes so long, in each direction.
    pub fn set_delay(&self, delay: Duration) {
        self.members.iter().filter_map(|member| member.way.as_ref()).for_each(|way| way.set_delay(delay));
    }

    /// A member's disk.
    pub fn disk(&self, member: usize) -> &Tmpfs {
        &self.members[member].disk
    }

    /// Its wall clock is off by so much from now on, as libfaketime writes it: `+1h`. Returns when the member says so.
    pub async fn set_clock(&self, member: usize, by: &str, off: Duration) {
        self.set_clock_of(&self.members[member], by);
        let alone = self.client_at(member).with_deadline(CALL);
        crate::eventually("its clock has jumped", || async {
            let told = alone.describe_member(v1::DescribeMemberRequest {}).await.map_err(|error| error.to_string())?;
            let away = SystemClock.wall().0.abs_diff(told.wall_unix_ms);
            if away.abs_diff(off.as_millis() as u64) < 60_000 { Ok(()) } else { Err(format!("it is {away} ms off")) }
        })
        .await;
    }

    fn identity(&self) -> ClientIdentity {
        ClientIdentity::new(self.operator.clone()).expect("the operator's certificate")
    }

    /// A client of its own, with connections of its own.
    pub fn client(&self) -> Mesh {
        Mesh::new(self.members.iter().map(|member| member.address.clone()).collect(), self.identity())
    }

    /// The same, which knows of one member only, until that one names another.
    pub fn client_at(&self, member: usize) -> Mesh {
        Mesh::new(vec![self.members[member].address.clone()], self.identity())
    }

    /// Members, as the one sees it that leads.
    async fn seen(&self, mesh: &Mesh) -> Result<Vec<v1::Member>, String> {
        mesh.list_members(v1::ListMembersRequest {}).await.map(|list| list.members).map_err(|error| error.to_string())
    }

    /// Waits until all members vote, are heard of and have all that was agreed on, and one of them leads.
    pub async fn ready(&self) {
        let mesh = self.client().with_deadline(CALL);
        crate::eventually("all members are there", || async {
            let seen = self.seen(&mesh).await?;
            let good = seen.iter().filter(|member| member.role() == v1::MemberRole::Voter && member.reachable).count();
            if good == self.members.len() && seen.iter().any(|member| member.leader) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    }

    /// The member that leads.
    pub async fn leader(&self) -> usize {
        let mesh = self.client().with_deadline(CALL);
        crate::eventually("somebody leads", || async {
            let seen = self.seen(&mesh).await?;
            let leads = seen.iter().find(|member| member.leader).ok_or("nobody leads")?;
            self.members.iter().position(|member| member.name == leads.name).ok_or_else(|| format!("who is {}?", leads.name))
        })
        .await
    }

    /// Waits until another one leads.
    pub async fn another_leads(&self, than: usize) -> usize {
        let others = self.members.iter().enumerate().filter(|(number, _)| *number != than).map(|(_, member)| member.address.clone()).collect();
        let mesh = Mesh::new(others, self.identity()).with_deadline(CALL);
        crate::eventually("another one leads", || async {
            let seen = self.seen(&mesh).await?;
            let leads = seen.iter().find(|member| member.leader).ok_or("nobody leads")?;
            let place = self.members.iter().position(|member| member.name == leads.name).ok_or("who is that?")?;
            if place == than { Err("the same one leads".to_owned()) } else { Ok(place) }
        })
        .await
    }

    fn log_file(&self, member: &Member) -> PathBuf {
        self.place.join(format!("{}.log", member.name))
    }

    /// Runs a program of the product on the host of a member, with that member's clock.
    pub fn on_host(&self, member: usize, program: &str) -> Command {
        let member = &self.members[member];
        let mut command = network::on(member.host, &binaries().join(program));
        clock::by_file(&mut command, &self.clock(member));
        command.stdin(Stdio::null());
        command
    }
}

/// What a program printed that ended well.
fn text(output: std::io::Result<Output>) -> String {
    let output = output.expect("it runs");
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Drop for Group {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for member in &self.members {
                let log = fs::read_to_string(self.log_file(member)).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(40).collect();
                eprintln!("== {}\n{}", member.name, tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
        for member in 0..self.members.len() {
            self.kill(member);
        }
    }
}
