//! The seams: the only place of this crate that reads a clock, starts a thread's work or draws a random number.
#![allow(clippy::disallowed_methods, reason = "this module is the seam")]

use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::task::JoinHandle;

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    #[must_use]
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Since it began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Does work that computes, or waits for a disk, where it holds up nobody.
pub(crate) fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(work)
}

/// Random bytes as lower-case hexadecimal; 16 or more make it unguessable. Nothing where the system has none.
#[must_use]
pub fn token(bytes: usize) -> Option<String> {
    let mut drawn = vec![0; bytes];
    SystemRandom::new().fill(&mut drawn).ok()?;
    Some(hex(&drawn))
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Pauses between tries: doubling from `first` to `ceiling`, each with up to half more by chance.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
    ceiling: Duration,
}

impl Backoff {
    pub fn new(first: Duration, ceiling: Duration) -> Backoff {
        Backoff { next: first, ceiling }
    }

    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.ceiling);
        let mut drawn = [0];
        // Without randomness the pause is the plain one.
        let chance = SystemRandom::new().fill(&mut drawn).map_or(0, |()| drawn[0]);
        pause.mul_f64(1.0 + f64::from(chance) / 512.0)
    }
}
