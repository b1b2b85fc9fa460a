//! The file under redb: a plain file whose syncs are measured, and can be made to stall or fail by a test.

use std::io;
use std::path::Path;

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::host::{self, Host, Stopwatch};
use super::metrics::StoreMetrics;

#[derive(Debug)]
pub struct LogFile {
    file: FileBackend,
    host: Host,
    metrics: StoreMetrics,
}

impl LogFile {
    pub fn open(path: &Path, host: Host, metrics: StoreMetrics) -> io::Result<LogFile> {
        let file = FileBackend::new(host::open(path)?).map_err(io::Error::other)?;
        // A file that was just made must not vanish with its first vote in it.
        host::sync_dir_of(path)?;
        Ok(LogFile { file, host, metrics })
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
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let watch = Stopwatch::start();
        (self.host.before_sync)()?;
        let synced = self.file.sync_data();
        self.metrics.sync_seconds.observe(watch.elapsed().as_secs_f64());
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}
