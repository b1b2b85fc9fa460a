//! How far a backup is: latest values on a watch channel, so that nobody who looks holds up the work.

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

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
