//! The randomness seam. [`SystemRandom`] is the only place of the project that draws a random number, with one
//! exception that is meant: private keys come from the crypto provider's own generator and from nowhere else.

// This module is the seam that the rest of the project is held to.
#![allow(clippy::disallowed_methods)]

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Where random numbers come from. Shared as `Arc<dyn Random>`.
pub trait Random: fmt::Debug + Send + Sync {
    /// Fills `bytes`. Of [`SystemRandom`] they are fit for secrets.
    fn fill(&self, bytes: &mut [u8]);

    /// A number from the whole range.
    fn u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number from 0 up to, and without, 1.
    fn fraction(&self) -> f64 {
        // The 53 bits that an f64 holds exactly.
        (self.u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// `duration`, longer or shorter by up to `fraction` of itself (0.2: between 80 % and 120 %). A fraction outside of
    /// 0 to 1 is taken for the nearer of the two.
    fn jitter(&self, duration: Duration, fraction: f64) -> Duration {
        let spread = fraction.clamp(0.0, 1.0) * (2.0 * self.fraction() - 1.0);
        Duration::try_from_secs_f64(duration.as_secs_f64() * (1.0 + spread)).unwrap_or(duration)
    }
}

/// `N` random bytes.
#[must_use]
pub fn bytes<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

/// The thread's cryptographic generator, seeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

/// The same numbers for the same seed, for tests and simulation. Never for a secret.
#[derive(Debug)]
pub struct SeededRandom(Mutex<StdRng>);

impl SeededRandom {
    /// A generator that starts from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        SeededRandom(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let draw = |seed| {
            let random = SeededRandom::new(seed);
            (random.u64(), random.u64(), bytes::<16>(&random))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_ne!(SystemRandom.u64(), SystemRandom.u64());
    }

    #[test]
    fn jitter_stays_within_its_fraction_and_uses_it() {
        let (random, base) = (SeededRandom::new(1), Duration::from_secs(100));
        let drawn: Vec<Duration> = (0..1_000).map(|_| random.jitter(base, 0.2)).collect();
        let (low, high) = (drawn.iter().min().copied().unwrap_or_default(), drawn.iter().max().copied().unwrap_or_default());
        assert!(low >= Duration::from_secs(80) && high <= Duration::from_secs(120), "{low:?} {high:?}");
        assert!(low < Duration::from_secs(85) && high > Duration::from_secs(115), "{low:?} {high:?}");
        assert_eq!(random.jitter(base, 0.0), base);
        assert!(random.jitter(base, f64::MAX) <= 2 * base);
        assert_eq!(random.jitter(Duration::MAX, 0.0), Duration::MAX);
    }
}
