//! The file under redb: a plain file whose syncs are measured, and can be made to stall or fail by a test.

use std::io;
use std::path::Path;

use mainstay_client::failpoint::{Doing, Point};
use mainstay_client::files::{self, Output, dir_of};
use redb::StorageBackend;
use redb::backends::FileBackend;

use super::host::{self, Host, Stopwatch};
use super::metrics::StoreMetrics;

#[derive(Debug)]
pub struct LogFile {
    /// To read it.
    file: FileBackend,
    /// The same file, to change it.
    output: Output,
    host: Host,
    metrics: StoreMetrics,
}

impl LogFile {
    /// Opens the file, and empties it first where this is a new one that was never finished. The writes count for whatever `doing` says then.
    pub fn open(path: &Path, is_new: bool, doing: Doing, host: Host, metrics: StoreMetrics) -> io::Result<LogFile> {
        let output = Output::open(doing, path, 0o600)?;
        // Nothing that counts has been written into a new one, but a part of a log may be here that was being made: how
        // it begins is written last.
        if is_new && host::read_at(output.file(), 0, 8).map_or(true, |start| start.iter().all(|byte| *byte == 0)) {
            output.set_len(0)?;
        }
        let file = FileBackend::new(output.file().try_clone()?).map_err(io::Error::other)?;
        // A file that was just made must not vanish with its first vote in it.
        files::sync_dir(Point::LogOpen, dir_of(path))?;
        Ok(LogFile { file, output, host, metrics })
    }
}

// No range locks: the directory's own lock keeps other processes out.
impl StorageBackend for LogFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.output.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let watch = Stopwatch::start();
        (self.host.before_sync)()?;
        let synced = self.output.sync_data();
        self.metrics.sync_seconds.observe(watch.elapsed().as_secs_f64());
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.output.write_at(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}
