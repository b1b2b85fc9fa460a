//! The machines of a simulated mesh: their directories, certificates, clocks and settings.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use mainstay_agent::settings::{Logging, Settings as AgentSettings};
use mainstay_client::Mesh;
use mainstay_client::clock::Clock;
use mainstay_client::failpoint::{Point, outage};
use mainstay_client::files;
use mainstay_client::identity::{Bundle, ClientIdentity, Issuer, LEAF_LIFE, NewKey, Root};
use mainstay_client::random;
use mainstay_coordinator::artifacts::ArtifactSettings;
use mainstay_coordinator::settings::{Log, Settings};
use mainstay_core::id::MeshName;
use mainstay_core::{AgentId, MemberId, WallTime};

use crate::chance::Chance;
use crate::clock::MachineClock;
use crate::library;

pub const COORDINATORS: [&str; 3] = ["c1", "c2", "c3"];
pub const AGENTS: [&str; 2] = ["a1", "a2"];
pub const CLIENTS: [&str; 4] = ["k1", "k2", "k3", "k4"];
/// Where the operator sits.
pub const OPERATOR: &str = "op";
/// Beyond what a lease allows for, a clock must not run fast or slow: millionths.
const DRIFT: u64 = 15_000;

/// What all machines have in common.
pub struct Machines {
    ca: Root,
    name: MeshName,
    issuer: Issuer,
    clocks: Vec<(&'static str, MachineClock)>,
    /// Those that were set up anew, to join a mesh that there is.
    joining: RefCell<BTreeSet<String>>,
}

impl Machines {
    /// Makes what an installer would make, in the directory that this process is in, which is empty.
    pub fn new(chance: &mut Chance, drifts: bool) -> Machines {
        let all = COORDINATORS.iter().chain(&AGENTS).chain(&CLIENTS).chain([&OPERATOR]);
        let drift = |chance: &mut Chance| if drifts { chance.between(0, 2 * DRIFT) as i64 - DRIFT as i64 } else { 0 };
        let clocks: Vec<_> = all.map(|name| (*name, MachineClock::new(drift(chance)))).collect();
        let name: MeshName = "local".parse().unwrap();
        let now = issued();
        let ca = Root::create(&name, now).unwrap();
        let issuer = ca.issuer("test", now).unwrap();
        let machines = Machines { ca, name, issuer, clocks, joining: RefCell::default() };
        for (index, coordinator) in COORDINATORS.iter().enumerate() {
            machines.set_up(coordinator, member(index));
        }
        for agent in AGENTS {
            files::create_private_dir(Point::AgentDirectory, &machines.observed(agent)).unwrap();
            let dir = machines.dir(agent);
            files::create_private_dir(Point::AgentDirectory, &dir).unwrap();
            machines.bundle(&machines.issuer, &format!("cluster/local/node/{agent}")).store(&dir).unwrap();
        }
        machines
    }

    /// Makes the directory of a coordinator, with a certificate of its own.
    fn set_up(&self, coordinator: &str, id: MemberId) {
        let dir = self.dir(coordinator);
        files::create_private_dir(Point::StoreDirectory, &dir).unwrap();
        let issuer = self.ca.issuer(coordinator, issued()).unwrap();
        self.bundle(&issuer, &format!("coordinator/{id}")).store(&dir).unwrap();
        files::write_atomic(Point::Issuer, &dir.join("issuer.pem"), issuer.cert_pem().as_bytes(), 0o600).unwrap();
        files::write_atomic(Point::Issuer, &dir.join("issuer.key"), issuer.key_pem().as_bytes(), 0o600).unwrap();
    }

    /// Has a coordinator that was taken out come back as another one; nothing is left of what was there.
    pub fn set_up_anew(&self, coordinator: &str) {
        fs::remove_dir_all(self.dir(coordinator)).unwrap();
        outage::settle(&self.dir(coordinator));
        let mut joining = self.joining.borrow_mut();
        joining.insert(coordinator.to_owned());
        self.set_up(coordinator, MemberId(0x100 + random::number() % 0xFFFF));
        outage::settle(&self.dir(coordinator));
    }

    /// What an agent observes: a machine that says nothing of itself.
    pub fn observed(&self, machine: &str) -> PathBuf {
        PathBuf::from(format!("{machine}-observed"))
    }

    pub fn dir(&self, machine: &str) -> PathBuf {
        PathBuf::from(machine)
    }

    pub fn clock(&self, machine: &str) -> MachineClock {
        self.clocks.iter().find(|(name, _)| *name == machine).expect("a machine").1.clone()
    }

    /// Of a coordinator.
    pub fn settings(&self, machine: &str) -> Settings {
        let joins = self.joining.borrow().contains(machine);
        Settings {
            dir: self.dir(machine),
            identity: None,
            name: machine.to_owned(),
            node: None,
            listen: "0.0.0.0:7400".into(),
            advertise: Some(format!("{machine}:7400")),
            enrol_listen: "0.0.0.0:7401".into(),
            enrol_advertise: Some(format!("{machine}:7401")),
            http_listen: None,
            form: if joins {
                Vec::new()
            } else {
                COORDINATORS.iter().enumerate().map(|(index, name)| (member(index), format!("{name}:7400"))).collect()
            },
            join: if joins { addresses() } else { Vec::new() },
            enrol: Vec::new(),
            join_token: None,
            founding: None,
            admins: vec!["ana".parse().unwrap()],
            grants: Vec::new(),
            artifacts: ArtifactSettings::default(),
            die_with_parent: false,
            log: Log { filter: "off".into(), json: false },
        }
    }

    /// Of an agent.
    pub fn agent_settings(&self, machine: &str) -> AgentSettings {
        AgentSettings {
            agent: agent(machine),
            kubeconfig: None,
            dir: self.dir(machine),
            coordinators: addresses(),
            enrol: Vec::new(),
            join_token: None,
            pod_token: None,
            vouch_for: Vec::new(),
            vouch_for_hands: Vec::new(),
            identity_secret: None,
            custom_resources: false,
            node_conditions: true,
            identity: None,
            host: false,
            execute: Default::default(),
            policy: mainstay_agent::execute::Policy::parse(
                "[policy]\nallow = [\"*\"]\n[[policy.exec]]\ncommand = [\"/do\", \"**\"]\n[[policy.exec]]\ncommand = [\"/undo\", \"**\"]\n",
            )
            .unwrap(),
            connections: Default::default(),
            http: None,
            http_root_path: String::new(),
            log: Logging { filter: "off".into(), json: false },
            drain: std::time::Duration::from_secs(5),
            die_with_parent: false,
        }
    }

    /// The mesh, as somebody at a machine sees it.
    pub fn mesh(&self, machine: &str, identity: &str) -> Mesh {
        let clock: Arc<dyn Clock> = Arc::new(self.clock(machine));
        Mesh::new(addresses(), ClientIdentity::with_clock(self.bundle(&self.issuer, identity), clock).unwrap())
    }

    fn bundle(&self, issuer: &Issuer, identity: &str) -> Bundle {
        let key = NewKey::generate().unwrap();
        let now = issued();
        let chain = issuer.issue(&key.csr_pem().unwrap(), &self.name, &identity.parse().unwrap(), now, LEAF_LIFE).unwrap();
        key.into_bundle(chain, self.ca.cert_pem().to_owned())
    }
}

/// A while ago, so that a machine whose clock is behind takes no certificate for one of tomorrow.
fn issued() -> WallTime {
    WallTime(library::BEGIN.as_millis() as i64 - 2 * 3_600_000)
}

fn member(index: usize) -> MemberId {
    MemberId(0x11 + index as u64)
}

/// The agent of a machine.
pub fn agent(machine: &str) -> AgentId {
    AgentId::node("local".parse().unwrap(), machine.parse().unwrap())
}

pub fn addresses() -> Vec<String> {
    COORDINATORS.iter().map(|name| format!("{name}:7400")).collect()
}
