//! Everything that a step prints, as it may be seen. What fits a report anyway stays in memory and goes no
//! further; more than that goes to the spool, up to a limit, and the rest is counted.

use std::sync::Arc;

use bytes::Bytes;
use mainstay_core::bounds;
use tokio::sync::Mutex;

use super::ArtifactError;
use super::spool::{Spool, Spooled, Spooling};

/// Bytes that are kept; nobody reads more than that.
pub(super) const OUTPUT_MAX: u64 = 16 << 20;
/// For the line that says what was cut.
const LAST_LINE: u64 = 256;

/// Takes lines. Clones write to one log, in the order in which they come.
#[derive(Debug, Clone)]
pub struct OutputLog {
    /// Nothing where nobody stores it.
    log: Option<Arc<Mutex<Log>>>,
}

#[derive(Debug)]
struct Log {
    spool: Arc<Spool>,
    limit: u64,
    kept: u64,
    cut_lines: u64,
    cut_bytes: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Small(Vec<u8>),
    Spooling(Spooling),
    /// It cannot be kept, and this is why.
    Broken(ArtifactError),
}

impl OutputLog {
    pub(super) fn new(spool: Option<Arc<Spool>>) -> OutputLog {
        OutputLog::limited(spool, OUTPUT_MAX)
    }

    pub(super) fn limited(spool: Option<Arc<Spool>>, limit: u64) -> OutputLog {
        let log = |spool| Log { spool, limit: limit - LAST_LINE, kept: 0, cut_lines: 0, cut_bytes: 0, state: State::Small(Vec::new()) };
        OutputLog { log: spool.map(|spool| Arc::new(Mutex::new(log(spool)))) }
    }

    /// Takes whole lines, each with its end. Waits while the disk is behind.
    pub async fn write(&self, lines: Vec<u8>) {
        if let Some(log) = self.log.as_ref().filter(|_| !lines.is_empty()) {
            log.lock().await.write(lines).await;
        }
    }

    /// The file; nothing where a report holds all of it.
    pub(super) async fn finish(self) -> Result<Option<Spooled>, ArtifactError> {
        let Some(log) = self.log else { return Ok(None) };
        let mut log = log.lock().await;
        let last = (log.cut_lines > 0).then(|| {
            let Log { cut_lines, cut_bytes, limit, .. } = &*log;
            format!("… {cut_lines} more lines, {cut_bytes} bytes, are not kept: of an output the first {limit} bytes are\n")
        });
        // A clone that still writes finds it ended.
        match std::mem::replace(&mut log.state, State::Broken(ArtifactError::Nowhere)) {
            State::Small(_) => Ok(None),
            State::Broken(error) => Err(error),
            State::Spooling(mut spooling) => {
                if let Some(last) = last {
                    spooling.write(last.into()).await?;
                }
                Ok(Some(spooling.finish().await?))
            }
        }
    }
}

impl Log {
    async fn write(&mut self, lines: Vec<u8>) {
        let bytes = lines.len() as u64;
        if matches!(self.state, State::Broken(_)) {
            return;
        }
        // Once something is left out, everything after it is: what is kept has no holes.
        if self.cut_lines > 0 || self.kept + bytes > self.limit {
            self.cut_lines += lines.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.cut_bytes += bytes;
            return;
        }
        self.kept += bytes;
        if let Err(error) = self.keep(lines).await {
            self.state = State::Broken(error);
        }
    }

    async fn keep(&mut self, lines: Vec<u8>) -> Result<(), ArtifactError> {
        match &mut self.state {
            State::Small(small) if small.len() + lines.len() <= bounds::OUTPUT_BYTES => small.extend(lines),
            State::Small(small) => {
                small.extend(lines);
                let all = std::mem::take(small);
                let mut spooling = self.spool.begin(self.limit + LAST_LINE)?;
                spooling.write(Bytes::from(all)).await?;
                self.state = State::Spooling(spooling);
            }
            State::Spooling(spooling) => spooling.write(Bytes::from(lines)).await?,
            State::Broken(_) => {}
        }
        Ok(())
    }
}
