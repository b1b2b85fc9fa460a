//! Reads a backup back: is all of it there, is it what was written, and is it what it says it is?

use std::io;

use serde::Serialize;

use crate::decode::{self, Damage};
use crate::keys::Identities;
use crate::manifest::Manifest;
use crate::progress::Teller;
use crate::seam::Stopwatch;
use crate::store::Store;
use crate::target_key;

mod content;

/// What a check found of one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckedPart {
    /// Its name.
    pub name: String,
    /// What is wrong with it, or why it could not be read; nothing when it is as it was written.
    pub wrong: Option<String>,
    /// Whether the store did not let it be read to its end: that says nothing of the part.
    pub unread: bool,
}

impl CheckedPart {
    fn of(name: &str, looked: Result<(), Flaw>) -> CheckedPart {
        let unread = matches!(looked, Err(Flaw::Part(Damage::Store(_))));
        CheckedPart { name: name.to_owned(), wrong: looked.err().map(|flaw| flaw.to_string()), unread }
    }
}

/// Why a part is not good.
#[derive(Debug, thiserror::Error)]
enum Flaw {
    /// It is not what was written, or that cannot be told.
    #[error(transparent)]
    Part(#[from] Damage),
    /// It is not what it says it is.
    #[error(transparent)]
    Content(io::Error),
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Flaw {
        match error.downcast::<Damage>() {
            Ok(damage) => Flaw::Part(damage),
            Err(error) => Flaw::Content(error),
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Part by part, and the target's key last.
    pub parts: Vec<CheckedPart>,
    /// How long it took.
    pub took_ms: u64,
}

impl Checked {
    /// Is all of it as it was written?
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.parts.iter().all(|part| part.wrong.is_none())
    }
}

/// Reads all parts to their ends: both checksums, decryption, decompression, and the form of what is in them. Every part is
/// looked at, whatever is wrong with others.
pub async fn check(store: &Store, manifest: &Manifest, keys: &Identities, progress: &Teller) -> Checked {
    let watch = Stopwatch::start();
    progress.expect(manifest.stored_bytes());
    let mut parts = Vec::new();
    for part in &manifest.parts {
        let looked = async {
            let plain = decode::open(store, manifest, part, keys, progress).await?;
            content::look(plain, &part.content, &manifest.source.counted).await.map_err(Flaw::from)
        };
        parts.push(CheckedPart::of(&part.name, looked.await));
    }
    parts.extend(key(store, manifest).await);
    Checked { parts, took_ms: u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX) }
}

/// Reads all parts to their ends as they are stored, and compares their checksums: what somebody can say who has no key.
pub async fn stored(store: &Store, manifest: &Manifest, progress: &Teller) -> Checked {
    let watch = Stopwatch::start();
    progress.expect(manifest.stored_bytes());
    let mut parts = Vec::new();
    for part in &manifest.parts {
        let looked = decode::intact(store, manifest, part, progress).await;
        parts.push(CheckedPart::of(&part.name, looked.map_err(Flaw::from)));
    }
    parts.extend(key(store, manifest).await);
    Checked { parts, took_ms: u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX) }
}

/// Is the target's key there, as it was? Whoever reads with another key, as the check right after writing does, would not
/// miss it.
async fn key(store: &Store, manifest: &Manifest) -> Option<CheckedPart> {
    let key = manifest.key.as_ref()?;
    let looked = target_key::intact(store, &manifest.backup.target, key).await;
    Some(CheckedPart::of(&format!("key-{}", key.generation), looked.map_err(Flaw::from)))
}
