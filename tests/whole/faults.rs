//! What goes wrong in a seed, and when.

use std::time::Duration;

use crate::chance::Chance;
use crate::machines::{AGENTS, CLIENTS, COORDINATORS, OPERATOR};

/// Which faults a seed has, and for how long.
#[derive(Debug, Clone)]
pub struct Setting {
    pub faults: Vec<Fault>,
    /// Until then there are faults.
    pub calm: Duration,
    /// Between two of them.
    pub pace: (u64, u64),
    /// Whether clocks run fast and slow.
    pub drift: bool,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A process dies; the disk keeps what was written.
    Death,
    /// The power of a machine fails: what was not synced is lost.
    PowerCut,
    /// A machine is cut off from some others: what they send arrives when it is over.
    Delay,
    /// The same, and what is sent meanwhile is lost with the connections it was sent on.
    Cut,
    /// The same in one direction.
    OneWay,
    /// Connections between two machines are slow.
    Slow,
    /// Messages between two machines get lost, and with each its connection.
    Loss,
    /// Everything on the disk of a machine takes long.
    SlowDisk,
    /// Wall clocks are set up to an hour ahead or back: the leader's, and then it dies.
    WallClock,
    /// There is no room left on a member's disk, and it is told so.
    FullDisk,
    /// Writes and syncs of a member or an agent fail for want of room.
    NoRoom,
    /// A process stands still, and its machine's clocks go on.
    Pause,
    /// Somebody with a member's certificate tells an agent what was wanted of it before.
    OldSet,
    /// An operator takes members out, who come back as others.
    Exchange,
    /// A member loses its disk, and comes back as another.
    LostDisk,
    /// An agent loses its ledger, or finds an older one.
    OldLedger,
}

pub const ALL: [Fault; 16] = [
    Fault::Death,
    Fault::PowerCut,
    Fault::Delay,
    Fault::Cut,
    Fault::OneWay,
    Fault::Slow,
    Fault::Loss,
    Fault::SlowDisk,
    Fault::WallClock,
    Fault::FullDisk,
    Fault::NoRoom,
    Fault::Pause,
    Fault::OldSet,
    Fault::Exchange,
    Fault::LostDisk,
    Fault::OldLedger,
];

/// What has to happen in some seed, beside each of the faults: that they do something.
pub const EFFECTS: [&str; 14] = [
    "a write finds no room",
    "a sync finds no room",
    "a member stops for want of room",
    "a pause outlives a lease",
    "a leader stands still",
    "a clock is set, and another leads",
    "an old desired set is refused",
    "a member is taken out",
    "the leader is taken out",
    "a member has come back as another",
    "a ledger is lost",
    "a ledger is set back",
    "a window holds a step",
    "an approval holds a step",
];

impl Setting {
    pub fn draw(chance: &mut Chance) -> Setting {
        let mut faults: Vec<Fault> = ALL.into_iter().filter(|_| chance.percent(45)).collect();
        if faults.is_empty() {
            faults.push(*chance.one(&ALL));
        }
        let slowest = chance.between(1_500, 5_000);
        Setting { faults, calm: chance.millis(14_000, 24_000), pace: (200, slowest), drift: chance.percent(50) }
    }
}

/// A machine for a fault: coordinators are the more interesting ones.
pub fn machine(chance: &mut Chance) -> &'static str {
    match chance.between(0, 10) {
        0..=5 => chance.one::<&'static str>(&COORDINATORS),
        6..=7 => chance.one::<&'static str>(&AGENTS),
        8 => chance.one::<&'static str>(&CLIENTS),
        _ => OPERATOR,
    }
}
