//! What goes wrong again and again is said so that it is seen, and not again and again.

use std::time::Duration;

/// Tries after which what does not work is worth a warning: a member that does not lead, or a mesh that
/// starts at the same time, passes sooner.
const PATIENCE: u32 = 3;

/// One thing that is tried until it works.
#[derive(Debug, Default)]
pub struct Complaint {
    tries: u32,
    /// The last reason that was said aloud.
    said: String,
}

impl Complaint {
    /// Says why it did not work this time, and when the next try is.
    pub fn about(&mut self, what: &str, why: &str, pause: Duration) {
        self.tries += 1;
        if self.tries < PATIENCE || self.said == why {
            tracing::debug!(error = why, ?pause, "{what}");
        } else {
            tracing::warn!(error = why, tries = self.tries, "{what}; trying on");
            why.clone_into(&mut self.said);
        }
    }
}
