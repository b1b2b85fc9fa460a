//! A disk that forgets: what was written, made, renamed and removed since it was last synced, and how to take it back.
//!
//! Strict: a file's bytes are safe when the file was synced, a name when its directory was. A real file system keeps
//! more than that; no program may count on it.
#![allow(clippy::disallowed_methods, reason = "this module is a seam of the tests: it takes back what was done to files")]

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::armed::{self, Loss};

/// What a sync would make last.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    /// Oldest first.
    effects: Vec<Effect>,
}

#[derive(Debug)]
enum Effect {
    Bytes { file: File, inode: Inode, offset: u64, before: Vec<u8> },
    Length { file: File, inode: Inode, before: u64 },
    Name { change: Change, dirs: Vec<Inode> },
}

#[derive(Debug)]
enum Change {
    Made(PathBuf),
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<Content> },
    Removed { path: PathBuf, content: Content },
}

/// A small file, to be put back.
#[derive(Debug)]
struct Content {
    bytes: Vec<u8>,
    mode: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inode(u64, u64);

impl Unsynced {
    /// Comes before the write.
    pub fn written(&mut self, file: &File, offset: u64, length: usize) {
        let Some((inode, end)) = inode_and_length(file) else { return };
        // What was there before the first of two writes to one place is what comes back.
        let is_known = |effect: &Effect| matches!(effect, Effect::Bytes { inode: known, offset: at, before, .. } if *known == inode && *at == offset && before.len() >= length);
        if self.effects.iter().rev().any(is_known) {
            return;
        }
        let Ok(file) = file.try_clone() else { return };
        let kept = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX).min(length);
        let mut before = vec![0; kept];
        if file.read_exact_at(&mut before, offset).is_err() {
            before.clear();
        }
        if offset + length as u64 > end
            && let Ok(file) = file.try_clone()
        {
            self.effects.push(Effect::Length { file, inode, before: end });
        }
        self.effects.push(Effect::Bytes { file, inode, offset, before });
    }

    /// Comes before the change of length.
    pub fn resized(&mut self, file: &File, length: u64) {
        let (Some((inode, end)), Ok(again)) = (inode_and_length(file), file.try_clone()) else { return };
        if length < end {
            self.written(file, length, usize::try_from(end - length).unwrap_or(usize::MAX));
        }
        self.effects.push(Effect::Length { file: again, inode, before: end });
    }

    /// Comes after a file or directory was made.
    pub fn made(&mut self, path: &Path) {
        self.named(Change::Made(path.to_owned()), &[path]);
    }

    /// Comes before the rename.
    pub fn renamed(&mut self, from: &Path, to: &Path) {
        self.named(Change::Renamed { from: from.to_owned(), to: to.to_owned(), replaced: content(to) }, &[from, to]);
    }

    /// Comes before the removal.
    pub fn removed(&mut self, path: &Path) {
        if let Some(content) = content(path) {
            self.named(Change::Removed { path: path.to_owned(), content }, &[path]);
        }
    }

    fn named(&mut self, change: Change, paths: &[&Path]) {
        let mut dirs: Vec<Inode> = paths.iter().filter_map(|path| inode_of_dir(crate::files::dir_of(path))).collect();
        dirs.dedup();
        self.effects.push(Effect::Name { change, dirs });
    }

    pub fn synced(&mut self, file: &File) {
        let Some((synced, _)) = inode_and_length(file) else { return };
        self.effects.retain(|effect| !matches!(effect, Effect::Bytes { inode, .. } | Effect::Length { inode, .. } if *inode == synced));
    }

    pub fn dir_synced(&mut self, dir: &Path) {
        let Some(synced) = inode_of_dir(dir) else { return };
        self.effects.retain_mut(|effect| match effect {
            Effect::Name { dirs, .. } => {
                dirs.retain(|dir| *dir != synced);
                !dirs.is_empty()
            }
            _ => true,
        });
    }

    /// Takes back what was not synced, newest first.
    pub fn lose(&mut self, loss: Loss) {
        for (number, effect) in std::mem::take(&mut self.effects).into_iter().enumerate().rev() {
            let kept = match (loss, &effect) {
                (Loss::Some { seed }, Effect::Bytes { .. }) => mixed(seed, number as u64).is_multiple_of(2),
                _ => false,
            };
            if !kept {
                // What cannot be taken back stays, as on a disk that was quick.
                let _ = effect.take_back();
            }
        }
    }
}

impl Effect {
    fn is_below(&self, dir: &Path) -> bool {
        match self {
            Effect::Bytes { file, .. } | Effect::Length { file, .. } => {
                // A file that has no name any more is called by its last one.
                fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).is_ok_and(|path| path.starts_with(dir))
            }
            Effect::Name { change: Change::Made(path) | Change::Renamed { to: path, .. } | Change::Removed { path, .. }, .. } => {
                whole(path).starts_with(dir)
            }
        }
    }

    fn take_back(self) -> std::io::Result<()> {
        match self {
            Effect::Bytes { file, offset, before, .. } => file.write_all_at(&before, offset),
            Effect::Length { file, before, .. } => file.set_len(before),
            Effect::Name { change: Change::Made(path), .. } if path.is_dir() => fs::remove_dir_all(path),
            Effect::Name { change: Change::Made(path), .. } => fs::remove_file(path),
            Effect::Name { change: Change::Renamed { from, to, replaced }, .. } => {
                fs::rename(&to, from)?;
                replaced.map_or(Ok(()), |content| content.put(&to))
            }
            Effect::Name { change: Change::Removed { path, content }, .. } => content.put(&path),
        }
    }
}

impl Content {
    fn put(self, path: &Path) -> std::io::Result<()> {
        File::options().write(true).create(true).truncate(true).mode(self.mode).open(path)?.write_all(&self.bytes)
    }
}

/// One of many ways to choose, the same for the same seed (the finalizer of SplitMix64).
fn mixed(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn content(path: &Path) -> Option<Content> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(Content { bytes: fs::read(path).ok()?, mode: metadata.mode() & 0o7777 })
}

fn inode_and_length(file: &File) -> Option<(Inode, u64)> {
    let metadata = file.metadata().ok()?;
    Some((Inode(metadata.dev(), metadata.ino()), metadata.len()))
}

fn inode_of_dir(dir: &Path) -> Option<Inode> {
    let metadata = fs::metadata(dir).ok()?;
    Some(Inode(metadata.dev(), metadata.ino()))
}

static UNSYNCED: Mutex<Unsynced> = Mutex::new(Unsynced { effects: Vec::new() });

/// The disk, for one change: nobody else changes it meanwhile. Nothing where it keeps everything.
#[derive(Debug)]
pub struct Held(Option<MutexGuard<'static, Unsynced>>);

/// Whether it is to be known at any time what a power cut would take.
static ACCOUNT: AtomicBool = AtomicBool::new(false);

/// From here on it is known what [`cut_power`] takes.
pub fn keep_account() {
    ACCOUNT.store(true, Ordering::SeqCst);
}

/// Takes back what was not synced below a directory, as when the power of one machine of several in this process fails.
/// Whoever still has files open there must not write to them any more.
pub fn cut_power(below: &Path, loss: Loss) {
    let mut unsynced = UNSYNCED.lock().unwrap_or_else(PoisonError::into_inner);
    let below = whole(below);
    let (lost, kept) = std::mem::take(&mut unsynced.effects).into_iter().partition(|effect| effect.is_below(&below));
    Unsynced { effects: lost }.lose(loss);
    unsynced.effects = kept;
}

/// Nothing below a directory can be lost any more: it has gone, or it is another one now.
pub fn settle(below: &Path) {
    let below = whole(below);
    UNSYNCED.lock().unwrap_or_else(PoisonError::into_inner).effects.retain(|effect| !effect.is_below(&below));
}

/// From the root on, as the system says which file is open.
fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

pub fn hold() -> Held {
    let lossy = armed::loses() || ACCOUNT.load(Ordering::Relaxed);
    Held(lossy.then(|| UNSYNCED.lock().unwrap_or_else(PoisonError::into_inner)))
}

impl Held {
    fn with(&mut self, note: impl FnOnce(&mut Unsynced)) {
        if let Some(unsynced) = &mut self.0 {
            note(unsynced);
        }
    }

    pub fn written(&mut self, file: &File, offset: u64, length: usize) {
        self.with(|unsynced| unsynced.written(file, offset, length));
    }

    pub fn resized(&mut self, file: &File, length: u64) {
        self.with(|unsynced| unsynced.resized(file, length));
    }

    pub fn made(&mut self, path: &Path) {
        self.with(|unsynced| unsynced.made(path));
    }

    pub fn renamed(&mut self, from: &Path, to: &Path) {
        self.with(|unsynced| unsynced.renamed(from, to));
    }

    pub fn removed(&mut self, path: &Path) {
        self.with(|unsynced| unsynced.removed(path));
    }

    pub fn synced(&mut self, file: &File) {
        self.with(|unsynced| unsynced.synced(file));
    }

    pub fn dir_synced(&mut self, dir: &Path) {
        self.with(|unsynced| unsynced.dir_synced(dir));
    }

    pub(super) fn lose(&mut self, loss: Loss) {
        self.with(|unsynced| unsynced.lose(loss));
    }
}
