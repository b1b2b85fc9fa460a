//! One seed, from the first start of a mesh to the end of everything that was begun.

mod trouble;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mainstay_agent::host::Host;
use mainstay_core::State;
use turmoil::Sim;

use self::trouble::Trouble;
use crate::chance::{self, Chance};
use crate::faults::Setting;
use crate::machines::{self, AGENTS, CLIENTS, COORDINATORS, Machines, OPERATOR};
use crate::network::Simulated;
use crate::process::Process;
use crate::{client, commands, disk, invariants, kernel, library, operator, stand_in, trace, watch};

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
    pub const ORDER: u64 = 5;
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
    /// How often what has struck.
    pub strikes: BTreeMap<String, usize>,
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
    /// What runs.
    processes: BTreeMap<&'static str, Process>,
    /// Machines that do not run, and when they are started again.
    pub down: BTreeMap<&'static str, Duration>,
    /// Machines whose process stands still, and until when.
    pub still: BTreeMap<&'static str, Duration>,
    seed: u64,
    starts: u64,
    order: Chance,
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
    let order = Chance::new(seed, purpose::ORDER);
    let mut world = World { sim, machines, processes: BTreeMap::new(), down: BTreeMap::new(), still: BTreeMap::new(), seed, starts: 0, order };
    world.begin();

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
        let unserved = unserved.map(|name| format!("a lease for {name}"));
        let away = seen.changes_place.map(|name| format!("{name}, which is to come back as another member"));
        unserved.or(away).or_else(|| seen.waits_for.clone())
    })
}

impl World<'_> {
    /// Connects all machines and starts what runs on them.
    fn begin(&mut self) {
        for name in all() {
            self.sim.host(name, move || kernel::run(name));
            self.start(name);
        }
        watch::with(|seen| seen.waits_for = Some("the operator".into()));
    }

    fn start(&mut self, name: &'static str) {
        self.starts += 1;
        invariants::forward::begins(name);
        let chance = Chance::new(self.seed, purpose::SOFTWARE + self.starts);
        kernel::begin(name);
        let process = Process::start(name, software(name, self.machines.clone(), chance));
        self.processes.insert(name, process);
    }

    /// A moment passes.
    fn step(&mut self) -> Result<(), String> {
        let now = self.sim.elapsed();
        library::set_now(now);
        let due =
            |waiting: &BTreeMap<&'static str, Duration>| waiting.iter().filter(|(_, at)| **at <= now).map(|(name, _)| *name).collect::<Vec<_>>();
        for name in due(&self.down) {
            self.down.remove(name);
            trace::line(name, "is started");
            // Whoever stood in for it.
            self.processes.remove(name);
            self.sim.bounce(name);
            self.start(name);
        }
        for name in due(&self.still) {
            self.still.remove(name);
            trace::line(name, "goes on");
            if watch::with(|seen| seen.held.get(name).is_some_and(|held| held.is_lost())) {
                watch::struck("a pause outlives a lease");
            }
        }
        if let Some(name) = watch::with(|seen| seen.set_up_anew.take()) {
            self.stop(name, None, RESTART);
            trace::line(name, "is set up anew");
            self.machines.set_up_anew(name);
            watch::with(|seen| seen.comes_back = Some(name));
        }
        for name in self.in_any_order() {
            self.run(name, now);
        }
        self.sim.step().map_err(|error| format!("a machine broke down: {error}"))?;
        library::set_now(self.sim.elapsed());
        trace::no_machine();
        invariants::look();
        watch::with(|seen| if seen.broken.is_empty() { Ok(()) } else { Err(std::mem::take(&mut seen.broken).join("\n")) })
    }

    fn in_any_order(&mut self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self.processes.keys().copied().collect();
        for last in (1..names.len()).rev() {
            names.swap(last, self.order.between(0, last as u64 + 1) as usize);
        }
        names
    }

    /// The process of a machine runs for a moment, and perhaps ends in it.
    fn run(&mut self, name: &'static str, now: Duration) {
        let Some(process) = self.processes.get_mut(name) else { return };
        if self.still.contains_key(name) {
            return process.stand_still(TICK);
        }
        process.run(now, TICK);
        if disk::take_dying(name) {
            trace::line(name, "has no power, in the middle of a write");
            self.processes.remove(name);
            // Nobody hears of it from the machine itself.
            self.others(name).for_each(|other| self.sim.partition(name, other));
            self.sim.crash(name);
            disk::put_back(&self.machines.dir(name));
            self.others(name).for_each(|other| self.sim.repair(name, other));
            self.down.insert(name, now + RESTART);
        } else if process.has_ended() {
            self.processes.remove(name);
            self.sim.crash(name);
            self.down.insert(name, now + RESTART);
        }
    }

    pub fn others(&self, name: &str) -> impl Iterator<Item = &'static str> + use<> {
        let name = name.to_owned();
        all().filter(move |other| *other != name)
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
        self.still.remove(name);
        self.processes.remove(name);
        self.sim.crash(name);
        if has_disk {
            disk::put_back(&dir);
        }
        self.down.insert(name, self.sim.elapsed() + back_after);
    }

    /// The process of a machine does nothing until then; says whether it had been doing something.
    pub fn stand_still(&mut self, name: &'static str, until: Duration) -> bool {
        if !self.processes.contains_key(name) || self.still.contains_key(name) {
            return false;
        }
        trace::line(name, "stands still");
        if watch::with(|seen| seen.leader.as_deref() == Some(name)) {
            watch::struck("a leader stands still");
        }
        self.still.insert(name, until);
        true
    }

    /// For so long, what a member once knew is told to an agent in its place.
    pub fn stand_in(&mut self, member: &'static str, agent: &'static str, state: State, lasts: Duration) {
        self.stop(member, None, lasts);
        self.sim.bounce(member);
        let (dir, clock) = (self.machines.dir(member), Arc::new(self.machines.clock(member)));
        kernel::begin(member);
        let process = Process::start(member, async move {
            let ended = stand_in::run(&dir, clock, state, machines::agent(agent)).await;
            trace::line(member, &format!("stood in: {ended:?}"));
        });
        self.processes.insert(member, process);
    }

    /// Everybody stops, and what is on the disks of the members is compared.
    fn end(mut self) -> Result<Outcome, String> {
        for name in COORDINATORS {
            self.stop(name, None, Duration::ZERO);
        }
        self.processes.clear();
        let disks: Vec<_> = COORDINATORS.iter().map(|name| (*name, self.machines.dir(name))).collect();
        watch::with(|seen| seen.held.clear());
        invariants::replicas::look(&disks)?;
        let (grants, commands, runs) = watch::with(|seen| (seen.grants.len(), seen.works.begun.len(), seen.started.len()));
        let strikes = watch::with(|seen| std::mem::take(&mut seen.strikes));
        Ok(Outcome { sum: trace::sum(), grants, commands, runs, took: self.sim.elapsed(), strikes })
    }
}

fn all() -> impl Iterator<Item = &'static str> {
    COORDINATORS.into_iter().chain(AGENTS).chain(CLIENTS).chain([OPERATOR])
}

/// What runs on a machine.
async fn software(name: &'static str, machines: Rc<Machines>, chance: Chance) {
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
}
