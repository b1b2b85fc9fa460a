//! What a child prints: into a file of bounded size, and its last lines into an error.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_client::failpoint::Point;
use mainstay_client::files::{self, Output};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::host;

/// A file of this size becomes NAME.log.1, in the place of the one before.
const ROTATED_AT: u64 = 8 << 20;
/// Lines kept for an error.
const LAST_LINES: usize = 12;
/// Of each of them.
const LINE_CHARS: usize = 400;

/// The log of one child. Clones write to the same file.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    path: PathBuf,
    file: Output,
    length: u64,
    last: VecDeque<String>,
    partial: String,
}

impl Log {
    pub fn open(path: &Path) -> io::Result<Log> {
        let (file, length) = host::append(path)?;
        let inner = Inner { path: path.to_owned(), file, length, last: VecDeque::new(), partial: String::new() };
        Ok(Log { inner: Arc::new(Mutex::new(inner)) })
    }

    /// Copies until the other end closes. A disk that is full loses lines of the log, and nothing else.
    pub async fn copy(self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 8 << 10];
        loop {
            match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(length) => self.write(&buffer[..length]),
            }
        }
    }

    fn write(&self, bytes: &[u8]) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.remember(bytes);
        if let Err(error) = inner.append(bytes) {
            tracing::debug!(%error, path = %inner.path.display(), "lines of a log are lost");
        }
    }

    /// The last lines, oldest first.
    #[must_use]
    pub fn last_lines(&self) -> Vec<String> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let partial = (!inner.partial.is_empty()).then(|| inner.partial.clone());
        inner.last.iter().cloned().chain(partial).collect()
    }
}

impl Inner {
    fn remember(&mut self, bytes: &[u8]) {
        self.partial += &String::from_utf8_lossy(bytes);
        while let Some(end) = self.partial.find('\n') {
            let line: String = self.partial[..end].chars().take(LINE_CHARS).collect();
            self.partial.drain(..=end);
            self.last.push_back(line);
            if self.last.len() > LAST_LINES {
                self.last.pop_front();
            }
        }
        if self.partial.len() > 4 * LINE_CHARS {
            self.partial = self.partial.chars().take(LINE_CHARS).collect();
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.length + bytes.len() as u64 > ROTATED_AT {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            files::rename(Point::UpLogTurn, &self.path, Path::new(&old))?;
            (self.file, self.length) = host::append(&self.path)?;
        }
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use mainstay_client::failpoint::trial::{self, Trial};

    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(&dir.path().join("c1.log")).unwrap();
        for number in 0..20 {
            log.write(format!("line {number}\n").as_bytes());
        }
        log.write(b"unfin");
        let lines = log.last_lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[12].as_str()), (13, "line 8", "unfin"));
        assert_eq!(std::fs::read_to_string(dir.path().join("c1.log")).unwrap().lines().count(), 21);
    }

    /// Runs only as a child of the test below.
    #[test]
    fn child() {
        let Some((_, place)) = trial::asked() else { return };
        let log = Log::open(&place.join("c1.log")).unwrap();
        let mib = vec![b'x'; 1 << 20];
        (0..9).for_each(|_| log.write(&mib));
    }

    #[test]
    fn a_log_goes_on_whenever_its_process_died() {
        let judge = |place: &Path| {
            let log = Log::open(&place.join("c1.log")).map_err(|error| error.to_string())?;
            log.write(b"afterwards\n");
            let text = std::fs::read_to_string(place.join("c1.log")).map_err(|error| error.to_string())?;
            if text.ends_with("afterwards\n") { Ok(()) } else { Err("the log does not go on".to_owned()) }
        };
        let trial = Trial { test: "up::log::tests::child", job: "log" };
        trial.everywhere(&[Point::UpLog, Point::UpLogTurn], &["", ":lose"], || tempfile::tempdir().unwrap(), judge);
    }

    #[test]
    fn a_file_is_turned_over_once_and_then_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c1.log");
        let log = Log::open(&path).unwrap();
        let mib = vec![b'x'; 1 << 20];
        for _ in 0..19 {
            log.write(&mib);
        }
        let length = |path: PathBuf| std::fs::metadata(path).unwrap().len();
        assert_eq!([length(path), length(dir.path().join("c1.log.1"))], [3 << 20, 8 << 20]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(log.last_lines().iter().all(|line| line.len() <= 2_000));
    }
}
