//! Lines that steps print, on their way from agents to whoever watches. Nobody waits for a slow watcher: it
//! loses lines, and is told how many.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use mainstay_core::RunId;
use mainstay_proto::v1::OutputLine;
use tokio::sync::broadcast;

/// Lines that may wait for one watcher.
const LINES: usize = 1_024;

/// One channel for each run that somebody watches.
#[derive(Debug, Default)]
pub struct Outputs {
    watched: Mutex<BTreeMap<RunId, broadcast::Sender<OutputLine>>>,
}

impl Outputs {
    /// Lines of the run's steps from here on.
    pub fn watch(&self, run: &RunId) -> broadcast::Receiver<OutputLine> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|_, lines| lines.receiver_count() > 0);
        watched.entry(run.clone()).or_insert_with(|| broadcast::channel(LINES).0).subscribe()
    }

    /// Hands lines to those who watch the run; `make` is asked only if somebody does.
    pub fn send<I: IntoIterator<Item = OutputLine>>(&self, run: &RunId, make: impl FnOnce() -> I) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = watched.get(run).filter(|lines| lines.receiver_count() > 0) {
            for line in make() {
                // An error says that the last watcher has just left.
                let _ = lines.send(line);
            }
        }
    }
}
