//! Faults as they come and go.

use std::time::Duration;

use mainstay_core::State;

use super::World;
use crate::chance::Chance;
use crate::faults::{Fault, Setting, machine};
use crate::machines::{AGENTS, CLIENTS, COORDINATORS, OPERATOR};
use crate::{disk, trace, watch};

/// An hour, in milliseconds.
const HOUR: i64 = 3_600_000;
/// A member comes back as another within so long, mostly before the faults are over.
const LATEST: Duration = Duration::from_secs(12);
/// What all links have when nothing is wrong with them.
const LATENCY: Duration = Duration::from_millis(12);

/// Something that is to be mended.
enum Mend {
    Release(&'static str, &'static str),
    Repair(&'static str, &'static str),
    Latency(&'static str, &'static str),
    Loss(&'static str, &'static str),
    Disk(&'static str),
    Room(&'static str),
    Refusals(&'static str),
}

/// What a member's disk said some time ago, to be told to an agent.
struct OldSet {
    due: Duration,
    member: &'static str,
    agent: &'static str,
    state: State,
}

pub struct Trouble {
    setting: Setting,
    chance: Chance,
    next: Duration,
    mends: Vec<(Duration, Mend)>,
    /// Older copies of agents' directories.
    copies: Vec<&'static str>,
    old_set: Option<OldSet>,
}

impl Trouble {
    pub fn new(setting: Setting, chance: Chance, first: Duration) -> Trouble {
        Trouble { setting, chance, next: first, mends: Vec::new(), copies: Vec::new(), old_set: None }
    }

    /// What is due now.
    pub fn look(&mut self, world: &mut World<'_>) {
        let now = world.sim.elapsed();
        while let Some(at) = self.mends.iter().position(|(due, _)| *due <= now) {
            let (_, mend) = self.mends.swap_remove(at);
            Self::mend(world, mend);
        }
        if let Some(old) = self.old_set.take_if(|old| old.due <= now) {
            self.tell_old_set(world, old, now);
        }
        if now < self.next {
            return;
        }
        self.next = now + self.chance.millis(self.setting.pace.0, self.setting.pace.1);
        let fault = *self.chance.one(&self.setting.faults);
        self.begin(world, fault, now);
    }

    /// Everything is mended and runs again.
    pub fn end(&mut self, world: &mut World<'_>) {
        for (_, mend) in std::mem::take(&mut self.mends) {
            Self::mend(world, mend);
        }
        disk::mend();
        let now = world.sim.elapsed();
        world.down.values_mut().for_each(|at| *at = now);
        world.still.values_mut().for_each(|at| *at = now);
        for name in COORDINATORS.into_iter().chain(AGENTS).chain(CLIENTS).chain([OPERATOR]) {
            set_clock(world, name, 0);
        }
    }

    fn begin(&mut self, world: &mut World<'_>, fault: Fault, now: Duration) {
        let name = machine(&mut self.chance);
        let until = now + self.chance.millis(300, 8_000);
        match fault {
            Fault::Death => self.stop(world, name, None, fault),
            Fault::PowerCut => {
                let cut = Some(self.chance.between(0, u64::MAX));
                // Between two of its steps, or in the middle of one of the next writes.
                if self.chance.percent(70) && (COORDINATORS.contains(&name) || AGENTS.contains(&name)) {
                    struck(fault);
                    disk::doom(name, self.chance.between(1, 40) as u32, cut);
                } else {
                    self.stop(world, name, cut, fault);
                }
            }
            Fault::Delay | Fault::Cut | Fault::OneWay | Fault::Slow | Fault::Loss => self.disturb(world, fault, name, until),
            Fault::SlowDisk => {
                let times = self.chance.between(20, 600) as u32;
                trace::line(name, &format!("has a disk that is {times} times slower"));
                struck(fault);
                disk::slow_down(name, times);
                self.mends.push((until, Mend::Disk(name)));
            }
            Fault::WallClock => self.set_clock(world, name),
            Fault::FullDisk => {
                let name = self.chance.one(&COORDINATORS);
                trace::line(name, "has no room left");
                struck(fault);
                disk::fill(name, true);
                self.mends.push((until, Mend::Room(name)));
            }
            Fault::NoRoom => {
                let all: Vec<_> = COORDINATORS.into_iter().chain(AGENTS).collect();
                let (name, of_hundred) = (*self.chance.one(&all), *self.chance.one(&[4, 30, 100]));
                trace::line(name, &format!("finds no room for {of_hundred} of a hundred writes"));
                struck(fault);
                disk::refuse(name, of_hundred);
                self.mends.push((until, Mend::Refusals(name)));
            }
            Fault::Pause => {
                // Those who hold leases are the more interesting ones here.
                let name = if self.chance.percent(40) { *self.chance.one(&CLIENTS) } else { name };
                if world.stand_still(name, now + self.chance.millis(1_000, 12_000)) {
                    struck(fault);
                }
            }
            Fault::OldSet => self.keep_old_set(world, now),
            Fault::Exchange => {
                if now + LATEST < self.setting.calm {
                    struck(fault);
                    watch::with(|seen| seen.exchange = true);
                }
            }
            Fault::LostDisk => {
                // One at a time, and with all others up: a majority that has lost its disks is lost.
                let all_are_there = world.down.keys().all(|down| !COORDINATORS.contains(down)) && watch::with(|seen| seen.changes_place.is_none());
                if all_are_there && now + LATEST < self.setting.calm {
                    let name = *self.chance.one(&COORDINATORS);
                    self.stop(world, name, None, fault);
                    trace::line(name, "has lost its disk");
                    std::fs::remove_dir_all(world.machines.dir(name).join("state")).expect("a directory in memory is removed");
                    watch::with(|seen| (seen.changes_place, seen.comes_back) = (Some(name), Some(name)));
                    self.setting.faults.retain(|fault| *fault != Fault::LostDisk);
                    if self.setting.faults.is_empty() {
                        self.setting.faults.push(Fault::Death);
                    }
                }
            }
            Fault::OldLedger => self.set_back(world),
        }
    }

    fn stop(&mut self, world: &mut World<'_>, name: &'static str, power_cut: Option<u64>, fault: Fault) {
        if !world.down.contains_key(name) {
            struck(fault);
            let back = self.chance.millis(100, 6_000);
            trace::line(name, if power_cut.is_some() { "has no power" } else { "dies" });
            world.stop(name, power_cut, back);
        }
    }

    /// Between a machine and some of the others.
    fn disturb(&mut self, world: &mut World<'_>, fault: Fault, name: &'static str, until: Duration) {
        let all = COORDINATORS.into_iter().chain(AGENTS).chain(CLIENTS).chain([OPERATOR]);
        let share = *self.chance.one(&[30, 60, 100]);
        let others: Vec<&'static str> = all.filter(|other| *other != name && self.chance.percent(share)).collect();
        trace::line(name, &format!("{fault:?} between it and {others:?}"));
        if !others.is_empty() {
            struck(fault);
        }
        let (from_here, late) = (self.chance.percent(50), self.chance.millis(100, 2_000));
        for other in others {
            let mend = match fault {
                Fault::Delay => {
                    world.sim.hold(name, other);
                    Mend::Release(name, other)
                }
                Fault::Cut => {
                    world.sim.partition(name, other);
                    Mend::Repair(name, other)
                }
                Fault::OneWay => {
                    let (from, to) = if from_here { (name, other) } else { (other, name) };
                    world.sim.partition_oneway(from, to);
                    Mend::Repair(name, other)
                }
                Fault::Slow => {
                    world.sim.set_link_max_message_latency(name, other, late);
                    Mend::Latency(name, other)
                }
                _ => {
                    world.sim.set_link_fail_rate(name, other, 0.02);
                    Mend::Loss(name, other)
                }
            };
            self.mends.push((until, mend));
        }
    }

    fn set_clock(&mut self, world: &mut World<'_>, name: &'static str) {
        let leader = watch::with(|seen| COORDINATORS.into_iter().find(|name| seen.leader.as_deref() == Some(name)));
        let name = leader.unwrap_or(name);
        let ahead = self.chance.between(0, 2 * HOUR as u64) as i64 - HOUR;
        set_clock(world, name, ahead);
        struck(Fault::WallClock);
        if self.chance.percent(60) && !world.down.contains_key(name) {
            self.stop(world, name, None, Fault::Death);
            watch::with(|seen| seen.set_and_died = leader);
        }
    }

    /// Keeps what a follower's disk says.
    fn keep_old_set(&mut self, world: &mut World<'_>, now: Duration) {
        let leader = watch::with(|seen| seen.leader.clone());
        let member = *self.chance.one(&COORDINATORS);
        if self.old_set.is_some()
            || leader.as_deref() == Some(member)
            || world.down.contains_key(member)
            || watch::with(|seen| seen.changes_place.is_some())
        {
            return;
        }
        world.stop(member, None, Duration::from_millis(50));
        let Some(state) = disk::state_of(&world.machines.dir(member)) else { return };
        let agent = *self.chance.one(&AGENTS);
        self.old_set = Some(OldSet { due: now + self.chance.millis(1_500, 6_000), member, agent, state });
    }

    /// The agent finds nobody but the follower: it starts again, or its link is gone with the leader.
    fn tell_old_set(&mut self, world: &mut World<'_>, old: OldSet, now: Duration) {
        let OldSet { member, agent, state, .. } = old;
        if world.down.contains_key(member) || world.down.contains_key(agent) || watch::with(|seen| seen.changes_place == Some(member)) {
            return;
        }
        trace::line(member, &format!("tells {agent} what it knew at generation {}", state.generation));
        struck(Fault::OldSet);
        let lasts = Duration::from_secs(10);
        world.stand_in(member, agent, state, lasts);
        match watch::with(|seen| COORDINATORS.into_iter().find(|name| seen.leader.as_deref() == Some(name))) {
            Some(leader) if self.chance.percent(60) => world.stop(leader, None, lasts),
            _ => world.stop(agent, None, Duration::from_millis(100)),
        }
        for other in COORDINATORS.into_iter().filter(|other| *other != member) {
            world.sim.partition(agent, other);
            self.mends.push((now + lasts, Mend::Repair(agent, other)));
        }
        for other in world.others(member).filter(|other| *other != agent) {
            world.sim.partition(member, other);
            self.mends.push((now + lasts, Mend::Repair(member, other)));
        }
    }

    /// An agent's directory is copied, and later put back, or its ledger is lost.
    fn set_back(&mut self, world: &mut World<'_>) {
        let name = *self.chance.one(&AGENTS);
        let (dir, copy) = (world.machines.dir(name), world.machines.dir(name).with_extension("copy"));
        if world.down.contains_key(name) {
            return;
        }
        if self.copies.contains(&name) {
            self.copies.retain(|known| *known != name);
            self.stop(world, name, None, Fault::OldLedger);
            watch::struck("a ledger is set back");
            trace::line(name, "finds an older ledger");
            std::fs::remove_dir_all(&dir).expect("a directory in memory is removed");
            std::fs::rename(copy, dir).expect("a directory in memory is renamed");
        } else if self.chance.percent(40) {
            self.stop(world, name, None, Fault::OldLedger);
            watch::struck("a ledger is lost");
            trace::line(name, "has lost its ledger");
            for file in ["ledger.redb", "ledger.mark", "ledger"] {
                let _ = std::fs::remove_file(dir.join(file));
            }
        } else if disk::copy(&dir, &copy).is_ok() {
            self.copies.push(name);
        }
    }

    fn mend(world: &mut World<'_>, mend: Mend) {
        match mend {
            Mend::Release(a, b) => world.sim.release(a, b),
            Mend::Repair(a, b) => world.sim.repair(a, b),
            Mend::Latency(a, b) => world.sim.set_link_max_message_latency(a, b, LATENCY),
            Mend::Loss(a, b) => {
                world.sim.set_link_fail_rate(a, b, 0.0);
                world.sim.repair(a, b);
            }
            Mend::Disk(name) => disk::slow_down(name, 1),
            Mend::Room(name) => disk::fill(name, false),
            Mend::Refusals(name) => disk::refuse(name, 0),
        }
    }
}

fn struck(fault: Fault) {
    watch::struck(&format!("{fault:?}"));
}

/// Sets a machine's wall clock so many milliseconds ahead.
fn set_clock(world: &World<'_>, name: &'static str, ahead: i64) {
    trace::line(name, &format!("has its clock set by {ahead} ms"));
    world.machines.clock(name).set(ahead);
    watch::with(|seen| seen.clocks_set.push((name, world.sim.elapsed(), ahead)));
}
