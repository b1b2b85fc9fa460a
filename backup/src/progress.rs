//! How far a backup is: latest values on a watch channel, so that nobody who looks holds up the work.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Before that, a pace tells nothing.
const TELLS_AFTER: Duration = Duration::from_secs(2);

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Which part is on its way.
    pub part: String,
    /// Read from the source, or given back by a restore.
    pub plain_bytes: u64,
    /// Sent to the store, or read from it.
    pub stored_bytes: u64,
    /// Of how many bytes in the store, where that is known: by who reads, and not by who writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
}

impl Progress {
    /// How much of it is done, in percent, where it is known how much there is.
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        let of = self.of.filter(|of| *of > 0)?;
        // What broke off and was read again counts twice.
        Some(u64::try_from(u128::from(self.stored_bytes) * 100 / u128::from(of)).unwrap_or(100).min(100))
    }

    /// How long the rest takes at the pace of so far, where something can be said of that.
    #[must_use]
    pub fn left(&self, elapsed: Duration) -> Option<Duration> {
        let rest = self.of?.saturating_sub(self.stored_bytes);
        if self.stored_bytes == 0 || rest == 0 || elapsed < TELLS_AFTER {
            return None;
        }
        let millis = elapsed.as_millis().saturating_mul(u128::from(rest)) / u128::from(self.stored_bytes);
        Some(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
    }
}

/// Whoever does the work tells it here.
#[derive(Debug, Clone)]
pub struct Teller(watch::Sender<Progress>);

impl Default for Teller {
    /// Nobody looks.
    fn default() -> Teller {
        Teller::new().0
    }
}

impl Teller {
    /// With the end that is looked at.
    #[must_use]
    pub fn new() -> (Teller, watch::Receiver<Progress>) {
        let (tell, look) = watch::channel(Progress::default());
        (Teller(tell), look)
    }

    /// So many bytes in the store are read, all in all.
    pub fn expect(&self, of: u64) {
        self.0.send_modify(|progress| progress.of = Some(of));
    }

    pub(crate) fn part(&self, name: &str) {
        self.0.send_modify(|progress| name.clone_into(&mut progress.part));
    }

    pub(crate) fn plain(&self, bytes: usize) {
        self.0.send_modify(|progress| progress.plain_bytes += bytes as u64);
    }

    pub(crate) fn stored(&self, bytes: usize) {
        self.0.send_modify(|progress| progress.stored_bytes += bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(stored_bytes: u64, of: Option<u64>) -> Progress {
        Progress { stored_bytes, of, ..Progress::default() }
    }

    #[test]
    fn what_is_left_is_told_by_the_pace_of_so_far() {
        let half = after(50, Some(200));
        assert_eq!((half.percent(), half.left(Duration::from_secs(10))), (Some(25), Some(Duration::from_secs(30))));
        assert_eq!(half.left(Duration::from_secs(1)), None, "too early to tell");
        assert_eq!((after(50, None).percent(), after(50, None).left(Duration::from_secs(10))), (None, None));
        assert_eq!((after(0, Some(0)).percent(), after(0, Some(9)).left(Duration::from_secs(10))), (None, None));
        let over = after(300, Some(200));
        assert_eq!((over.percent(), over.left(Duration::from_secs(10))), (Some(100), None), "a part of it was read twice");
    }
}
