//! The randomness seam: the only place that draws random numbers outside of key generation.
#![allow(clippy::disallowed_methods, reason = "this module is the seam")]

use std::time::Duration;

use rand::RngExt;

/// A number from the whole range.
#[must_use]
pub fn number() -> u64 {
    rand::rng().random()
}

/// Random bytes as lower-case hexadecimal; 16 or more make it unguessable.
#[must_use]
pub fn token(bytes: usize) -> String {
    let mut rng = rand::rng();
    (0..bytes).map(|_| format!("{:02x}", rng.random::<u8>())).collect()
}

/// `base` and up to `share` of it more.
#[must_use]
pub fn jitter(base: Duration, share: f64) -> Duration {
    base.mul_f64(1.0 + share * rand::rng().random::<f64>())
}

/// Pauses between tries: doubling from `first` to `ceiling`, each with up to half more by chance.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    next: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Pauses that begin with `first` and grow to `ceiling`.
    #[must_use]
    pub fn new(first: Duration, ceiling: Duration) -> Backoff {
        Backoff { first, next: first, ceiling }
    }

    /// The pause before the next try.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.ceiling);
        jitter(pause, 0.5)
    }

    /// It worked: the next failure begins with the first pause again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}
