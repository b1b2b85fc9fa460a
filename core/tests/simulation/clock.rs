//! Clocks. Simulated time is nobody's: every process has a monotonic clock that runs a little fast or slow,
//! and every member a wall clock that somebody may set.

use mainstay_core::WallTime;

use crate::chance::Chance;

/// Wall time when a simulation begins: Wednesday 25 November 2026, 08:40 UTC.
pub const BEGINS: i64 = 1_795_596_000_000;
/// How fast or slow a clock may run, in millionths. A holder stops a tenth of the TTL early; two clocks that
/// differ by twice this stay far within it.
const DRIFT: u64 = 15_000;
const HOUR: i64 = 3_600_000;

/// A process's own progress.
#[derive(Debug, Clone, Copy)]
pub struct Monotonic {
    offset: u64,
    millionths: i64,
}

impl Monotonic {
    pub fn draw(chance: &mut Chance) -> Monotonic {
        Monotonic { offset: chance.between(0, 1_000_000), millionths: chance.between(0, 2 * DRIFT) as i64 - DRIFT as i64 }
    }

    pub fn at(self, now: u64) -> u64 {
        let progress = now as i64 + now as i64 * self.millionths / 1_000_000;
        self.offset + progress as u64
    }
}

/// What a member's machine takes for the time of day.
#[derive(Debug, Clone, Copy)]
pub struct Wall {
    ahead: i64,
}

impl Wall {
    pub fn draw(chance: &mut Chance) -> Wall {
        Wall { ahead: chance.between(0, 6_000) as i64 - 3_000 }
    }

    pub fn at(self, now: u64) -> WallTime {
        WallTime(BEGINS + now as i64 + self.ahead)
    }

    /// An hour forth or back, or set right again.
    pub fn jump(&mut self, chance: &mut Chance) {
        self.ahead = [HOUR, -HOUR, 0][chance.place(3)];
    }

    pub fn set_right(&mut self) {
        self.ahead = 0;
    }
}
