//! Snapshot files: written whole or not at all, checked before they are used.
//!
//! ```text
//! MAINSNAP | u32 length of header | header (sealed: what it ends with, members, length and SHA-256 of the state) | state
//! ```
//! The state is `core::codec`'s encoding, with a version of its own.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use mainstay_client::failpoint::Point;
use mainstay_client::files;
use mainstay_client::work;
use mainstay_core::{State, bounds, codec};
use sha2::{Digest, Sha256};

use super::disk::{Disk, disk};
use super::encoding::{EncodingError, FORMAT, Sink, seal, unseal};
use super::error::StartError;
use super::host::{self, Stopwatch};
use super::metrics::StoreMetrics;
use super::raft::SnapshotMeta;
use super::space::Space;

const MAGIC: &[u8; 8] = b"MAINSNAP";
/// A header holds ids and addresses of a handful of members.
const HEADER_MAX: usize = 64 << 10;
/// The bound of a state counts what weighs in it, not how it is encoded: leave room.
const STATE_MAX: u64 = 4 * bounds::STATE_BYTES as u64;
/// Snapshots that stay: the last one, and the one before as a second chance.
const KEEP: usize = 2;

/// A snapshot file that has been checked, open for reading also after it was replaced.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    pub meta: SnapshotMeta,
    /// SHA-256 of the state.
    pub digest: [u8; 32],
    /// Bytes of the whole file.
    pub total: u64,
    path: PathBuf,
    file: Arc<File>,
    state_offset: u64,
}

impl SnapshotFile {
    /// Opens a file and checks all of it.
    pub fn open(path: &Path) -> Result<SnapshotFile, SnapshotFault> {
        let file = host::open_to_read(path)?;
        let total = host::length(&file)?;
        let start = host::read_at(&file, 0, 12).map_err(short)?;
        if start[..8] != MAGIC[..] {
            return Err(SnapshotFault::Damaged("it does not begin like a snapshot".into()));
        }
        let length = u32::from_le_bytes([start[8], start[9], start[10], start[11]]) as usize;
        if length > HEADER_MAX {
            return Err(SnapshotFault::Damaged("its header is too long".into()));
        }
        let header = host::read_at(&file, 12, length).map_err(short)?;
        let mut header = unseal("the header of a snapshot", header.into())?;
        let meta = header.snapshot_meta()?;
        let state_bytes = header.u64()?;
        let digest = header.array()?;
        header.finish()?;
        let state_offset = 12 + length as u64;
        if total != state_offset.saturating_add(state_bytes) || state_bytes > STATE_MAX {
            return Err(SnapshotFault::Damaged(format!("it has {total} bytes, not the {state_bytes} of state that its header tells")));
        }
        let snapshot = SnapshotFile { meta, digest, total, path: path.to_owned(), file: Arc::new(file), state_offset };
        snapshot.check()?;
        Ok(snapshot)
    }

    fn check(&self) -> Result<(), SnapshotFault> {
        let mut hasher = Sha256::new();
        let mut offset = self.state_offset;
        while offset < self.total {
            let piece = self.piece(offset, 256 << 10)?;
            offset += piece.len() as u64;
            hasher.update(&piece);
        }
        if hasher.finalize()[..] == self.digest[..] { Ok(()) } else { Err(SnapshotFault::Damaged("its checksum is wrong".into())) }
    }

    /// At most `length` bytes of the file.
    pub fn piece(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.total.saturating_sub(offset)).unwrap_or(usize::MAX);
        host::read_at(&self.file, offset, left.min(length)).map(Bytes::from)
    }

    /// Decodes the state.
    pub fn state(&self) -> Result<State, SnapshotFault> {
        let length = usize::try_from(self.total - self.state_offset).unwrap_or(usize::MAX);
        let bytes = host::read_at(&self.file, self.state_offset, length)?;
        match codec::decode_state(&bytes) {
            Ok(state) => Ok(state),
            Err(codec::CodecError::Newer { found, .. }) => Err(SnapshotFault::Newer { found, known: codec::FORMAT }),
            Err(other) => Err(SnapshotFault::Damaged(other.to_string())),
        }
    }

    fn index(&self) -> Option<u64> {
        self.meta.last_log_id.map(|id| id.index)
    }
}

/// What is wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFault {
    #[error("{0}")]
    Damaged(String),
    #[error("it has format {found}, and this program reads up to {known}")]
    Newer { found: u8, known: u8 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<EncodingError> for SnapshotFault {
    fn from(error: EncodingError) -> SnapshotFault {
        match error {
            EncodingError::Newer { found, .. } => SnapshotFault::Newer { found, known: FORMAT },
            other => SnapshotFault::Damaged(other.to_string()),
        }
    }
}

impl From<SnapshotFault> for io::Error {
    fn from(fault: SnapshotFault) -> io::Error {
        match fault {
            SnapshotFault::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
        }
    }
}

fn short(error: io::Error) -> SnapshotFault {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => SnapshotFault::Damaged("it ends too early".into()),
        _ => SnapshotFault::Io(error),
    }
}

/// What a member starts from.
#[derive(Debug, Default)]
pub struct Restored {
    pub meta: SnapshotMeta,
    pub state: State,
}

/// The snapshots of one member.
#[derive(Debug)]
pub struct Snapshots {
    dir: PathBuf,
    current: Mutex<Option<SnapshotFile>>,
    metrics: StoreMetrics,
    space: Arc<Space>,
}

impl Snapshots {
    pub fn new(disk: &Disk, metrics: StoreMetrics, space: Arc<Space>) -> Snapshots {
        Snapshots { dir: disk.snapshot_dir(), current: Mutex::new(None), metrics, space }
    }

    /// The newest snapshot that is good, and the log goes on from. `first_index` is where the log begins.
    pub async fn restore(self: &Arc<Self>, first_index: u64) -> Result<Restored, StartError> {
        let snapshots = self.clone();
        let restored = work::blocking(move || snapshots.restore_blocking(first_index)).await;
        restored.unwrap_or_else(|_| Err(StartError::Damaged { file: self.dir.clone(), what: "a state in it makes no sense".into() }))
    }

    fn restore_blocking(&self, first_index: u64) -> Result<Restored, StartError> {
        let mut files: Vec<PathBuf> = host::list(&self.dir).map_err(disk("list", &self.dir))?.into_iter().filter(|file| is_snapshot(file)).collect();
        files.reverse();
        let mut bad: Option<(PathBuf, String)> = None;
        for path in files {
            let read = SnapshotFile::open(&path).and_then(|file| file.state().map(|state| (file, state)));
            match read {
                Ok((file, _)) if file.index().map_or(0, |index| index + 1) < first_index => break,
                Ok((file, state)) => {
                    if let Some((path, what)) = bad {
                        tracing::warn!(file = %path.display(), what, "a damaged snapshot is not needed: the one before and the log have it all");
                        host::rename(Point::SnapshotDamaged, &path, &path.with_extension("damaged")).map_err(disk("set aside", &path))?;
                    }
                    let meta = file.meta.clone();
                    self.set_current(file);
                    return Ok(Restored { meta, state });
                }
                Err(SnapshotFault::Newer { found, known }) => {
                    return Err(StartError::Newer { file: path, found: found.into(), known: known.into() });
                }
                Err(SnapshotFault::Io(source)) => return Err(StartError::Disk { doing: "read", path, source }),
                Err(SnapshotFault::Damaged(what)) => bad = bad.or(Some((path, what))),
            }
        }
        match bad {
            Some((file, what)) => Err(StartError::Damaged { file, what }),
            None if first_index > 0 => Err(StartError::Damaged {
                file: self.dir.clone(),
                what: format!("the log begins with entry {first_index}, and no snapshot holds what came before"),
            }),
            None => Ok(Restored::default()),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether another snapshot would fit on the disk.
    pub fn has_room(&self) -> bool {
        !self.space.is_full()
    }

    pub fn current(&self) -> Option<SnapshotFile> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_current(&self, file: SnapshotFile) {
        self.space.expect_snapshot(file.total);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
    }

    /// Writes a snapshot of `state` and makes it the current one. Blocks.
    pub fn build(&self, meta: SnapshotMeta, state: &State) -> io::Result<SnapshotFile> {
        let watch = Stopwatch::start();
        let encoded = codec::encode_state(state);
        let mut header = Sink::default();
        header.snapshot_meta(&meta);
        header.u64(encoded.len() as u64);
        header.raw(&Sha256::digest(&encoded));
        let header = seal(header);
        let mut start = Sink::default();
        start.raw(MAGIC);
        start.blob(&header);
        let start = start.finish();

        let path = self.path_of(&meta);
        let temporary = path.with_extension("built.tmp");
        let mut file = host::create(Point::SnapshotBuild, &temporary)?;
        file.write_all(&start)?;
        file.write_all(&encoded)?;
        file.put_in_place(Point::SnapshotBuild, &path)?;
        let snapshot = SnapshotFile::open(&path)?;
        self.set_current(snapshot.clone());
        self.remove_old();
        self.metrics.snapshots_built.inc();
        self.metrics.snapshot_seconds.observe(watch.elapsed().as_secs_f64());
        Ok(snapshot)
    }

    /// Makes a checked snapshot, received or restored, the current one. Blocks.
    pub fn adopt(&self, mut snapshot: SnapshotFile) -> io::Result<()> {
        let path = self.path_of(&snapshot.meta);
        if snapshot.path != path {
            if snapshot.path.parent() == Some(self.dir.as_path()) {
                files::put_in_place(Point::SnapshotAdopt, &snapshot.file, &snapshot.path, &path)?;
            } else {
                self.copy(&snapshot, &path)?;
            }
            snapshot.path = path;
            self.metrics.snapshots_installed.inc();
        }
        self.set_current(snapshot);
        self.remove_old();
        Ok(())
    }

    fn copy(&self, snapshot: &SnapshotFile, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("copied.tmp");
        let mut file = host::create(Point::SnapshotCopy, &temporary)?;
        let mut offset = 0;
        while offset < snapshot.total {
            let piece = snapshot.piece(offset, 256 << 10)?;
            file.write_all(&piece)?;
            offset += piece.len() as u64;
        }
        file.put_in_place(Point::SnapshotCopy, path)
    }

    /// Where a snapshot that is being received is put.
    pub fn incoming(&self) -> PathBuf {
        self.dir.join("received.tmp")
    }

    /// Names sort as what the snapshots end with.
    fn path_of(&self, meta: &SnapshotMeta) -> PathBuf {
        let (term, index) = meta.last_log_id.map_or((0, 0), |id| (id.leader_id.term, id.index));
        self.dir.join(format!("{term:016x}-{index:016x}.snap"))
    }

    fn remove_old(&self) {
        let mut files: Vec<PathBuf> = host::list(&self.dir).unwrap_or_default().into_iter().filter(|file| is_snapshot(file)).collect();
        files.reverse();
        for file in files.into_iter().skip(KEEP) {
            if let Err(error) = files::remove(Point::SnapshotOld, &file) {
                tracing::warn!(file = %file.display(), %error, "an old snapshot cannot be removed");
            }
        }
    }
}

fn is_snapshot(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "snap")
}
