//! One seed, from the first start of a mesh to the end of everything that was begun.

mod trouble;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mainstay_agent::host::Host;
use turmoil::Sim;

use self::trouble::Trouble;
use crate::chance::{self, Chance};
use crate::faults::Setting;
use crate::machines::{AGENTS, CLIENTS, COORDINATORS, Machines, OPERATOR};
use crate::network::Simulated;
use crate::{client, commands, disk, invariants, library, operator, trace, watch};

/// What time goes by in.
const TICK: Duration = Duration::from_millis(2);
/// Before that, nothing goes wrong: a mesh is being formed.
const FORMED: Duration = Duration::from_secs(3);
/// Within so long after the last fault everything has to end.
const BOUND: Duration = Duration::from_secs(150);
/// A member or an agent that ended by itself is started again after so long, as a supervisor does.
const RESTART: Duration = Duration::from_secs(1);

/// What each part draws for.
mod purpose {
    pub const NETWORK: u64 = 1;
    pub const SETTING: u64 = 2;
    pub const WORK: u64 = 3;
    pub const TROUBLE: u64 = 4;
    pub const SOFTWARE: u64 = 100;
}

/// What a run came to.
pub struct Outcome {
    pub sum: u64,
    pub grants: usize,
    pub commands: usize,
    pub runs: usize,
    /// Simulated.
    pub took: Duration,
}

/// A directory that goes with the simulation.
struct Root(PathBuf);

impl Drop for Root {
    fn drop(&mut self) {
        // What is left in memory ends with the machine.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub struct World<'a> {
    pub sim: Sim<'a>,
    pub machines: Rc<Machines>,
    /// Machines that do not run, and when they are started again.
    pub down: BTreeMap<&'static str, Duration>,
}

/// Runs a seed. One for a process.
pub fn run(seed: u64, all: bool) -> Result<Outcome, String> {
    library::seed(seed);
    trace::begin(all);
    mainstay_client::tls::install_provider();
    mainstay_client::network::join(Box::new(Simulated));

    let mut drawn = Chance::new(seed, purpose::SETTING);
    let setting = Setting::draw(&mut drawn);
    trace::line("", &format!("{setting:?}"));
    let root = Root(PathBuf::from(format!("/dev/shm/mainstay-whole-{}", std::process::id())));
    std::fs::create_dir(&root.0).map_err(|error| format!("{} cannot be made: {error}", root.0.display()))?;
    // Programs know their directories from here: what they say of them does not tell one process from the next.
    std::env::set_current_dir(&root.0).map_err(|error| format!("{} cannot be entered: {error}", root.0.display()))?;
    disk::begin(chance::mixed(seed, purpose::WORK));
    let machines = Rc::new(Machines::new(&mut drawn, setting.drift));
    let sim = turmoil::Builder::new()
        .epoch(SystemTime::UNIX_EPOCH + library::BEGIN)
        .simulation_duration(Duration::from_secs(1 << 20))
        .tick_duration(TICK)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(12))
        .tcp_capacity(1 << 16)
        .enable_random_order()
        .rng_seed(chance::mixed(seed, purpose::NETWORK))
        .build();
    let mut world = World { sim, machines, down: BTreeMap::new() };
    world.begin(seed);

    let mut trouble = Trouble::new(setting.clone(), Chance::new(seed, purpose::TROUBLE), FORMED);
    while world.sim.elapsed() < setting.calm {
        world.step()?;
        if watch::with(|seen| seen.is_formed) {
            trouble.look(&mut world);
        }
    }
    trouble.end(&mut world);
    trace::line("", "the faults are over");
    watch::with(|seen| seen.is_calm = true);
    let bound = world.sim.elapsed() + BOUND;
    while let Some(what) = waits_for() {
        if world.sim.elapsed() > bound {
            return Err(format!("[ends] {BOUND:?} after the last fault the mesh still waits for {what}"));
        }
        world.step()?;
    }
    world.end()
}

/// What has not come to its end yet.
fn waits_for() -> Option<String> {
    watch::with(|seen| {
        let unserved = CLIENTS.iter().find(|name| !seen.served.contains(**name));
        unserved.map(|name| format!("a lease for {name}")).or_else(|| seen.waits_for.clone())
    })
}

impl World<'_> {
    /// Connects all machines and starts what runs on them.
    fn begin(&mut self, seed: u64) {
        for (index, name) in COORDINATORS.iter().chain(&AGENTS).chain(&CLIENTS).chain([&OPERATOR]).enumerate() {
            let machines = self.machines.clone();
            let starts = std::cell::Cell::new(0);
            self.sim.host(*name, move || {
                starts.set(starts.get() + 1);
                software(name, machines.clone(), Chance::new(seed, purpose::SOFTWARE + index as u64 + (starts.get() << 16)))
            });
        }
        watch::with(|seen| seen.waits_for = Some("the operator".into()));
    }

    /// A moment passes.
    fn step(&mut self) -> Result<(), String> {
        let now = self.sim.elapsed();
        library::set_now(now);
        let due: Vec<&'static str> = self.down.iter().filter(|(_, at)| **at <= now).map(|(name, _)| *name).collect();
        for name in due {
            self.down.remove(name);
            trace::line(name, "is started");
            self.sim.bounce(name);
        }
        self.sim.step().map_err(|error| format!("a machine broke down: {error}"))?;
        library::set_now(self.sim.elapsed());
        trace::no_machine();
        for name in COORDINATORS.iter().chain(&AGENTS).filter(|name| disk::take_dying(name)) {
            trace::line(name, "has no power, in the middle of a write");
            self.sim.crash(*name);
            disk::put_back(&self.machines.dir(name));
            self.others(name).for_each(|other| self.sim.repair(*name, other));
            self.down.insert(name, now + RESTART);
        }
        for name in COORDINATORS.iter().chain(&AGENTS) {
            if !self.sim.is_host_running(*name) && !self.down.contains_key(name) {
                self.down.insert(name, now + RESTART);
            }
        }
        invariants::look();
        watch::with(|seen| if seen.broken.is_empty() { Ok(()) } else { Err(std::mem::take(&mut seen.broken).join("\n")) })
    }

    fn others(&self, name: &str) -> impl Iterator<Item = &'static str> + use<> {
        let name = name.to_owned();
        COORDINATORS.into_iter().chain(AGENTS).chain(CLIENTS).chain([OPERATOR]).filter(move |other| *other != name)
    }

    /// A machine stops at once; `power_cut` says what its disk loses.
    pub fn stop(&mut self, name: &'static str, power_cut: Option<u64>, back_after: Duration) {
        if self.down.contains_key(name) {
            return;
        }
        let dir = self.machines.dir(name);
        let has_disk = dir.exists();
        if has_disk {
            disk::keep(&dir, power_cut);
        }
        watch::with(|seen| seen.held.remove(name));
        self.sim.crash(name);
        if has_disk {
            disk::put_back(&dir);
        }
        self.down.insert(name, self.sim.elapsed() + back_after);
    }

    /// Everybody stops, and what is on the disks of the members is compared.
    fn end(mut self) -> Result<Outcome, String> {
        for name in COORDINATORS {
            self.stop(name, None, Duration::ZERO);
        }
        let disks: Vec<_> = COORDINATORS.iter().map(|name| (*name, self.machines.dir(name))).collect();
        watch::with(|seen| seen.held.clear());
        invariants::replicas::look(&disks)?;
        let (grants, commands, runs) = watch::with(|seen| (seen.grants.len(), seen.works.begun.len(), seen.started.len()));
        Ok(Outcome { sum: trace::sum(), grants, commands, runs, took: self.sim.elapsed() })
    }
}

/// What runs on a machine.
async fn software(name: &'static str, machines: Rc<Machines>, chance: Chance) -> turmoil::Result {
    let clock = machines.clock(name);
    if COORDINATORS.contains(&name) {
        let ended = mainstay_coordinator::run::run(machines.settings(name), Arc::new(clock), std::future::pending()).await;
        invariants::judge_end(name, &ended);
    } else if AGENTS.contains(&name) {
        let host = Host::below(machines.observed(name)).with_clock(Arc::new(clock)).with_commands(Arc::new(commands::Simulated::new(name, chance)));
        let ended = mainstay_agent::run::run(machines.agent_settings(name), host, Default::default()).await;
        trace::line(name, &format!("ended: {ended:?}"));
    } else if name == OPERATOR {
        operator::run(name, machines.mesh(name, "operator/ana"), chance).await;
    } else {
        client::run(name, machines.mesh(name, "client/app"), chance).await;
    }
    Ok(())
}
