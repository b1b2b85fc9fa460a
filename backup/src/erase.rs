//! Erases what was backed up of a target: destroys its keys, so that nobody can open its backups, wherever copies of them are.
//! The backups themselves are noise from then on, and go by retention.
//!
//! Keys go first, and are read back; then a signed word says so. A store that keeps what it is told to remove has not erased
//! anything, and that is said.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::manifest::{self, NotARecord, RECORD_MAX, VERSION};
use crate::name::{Beside, Target, beside};
use crate::receipt::{Sign, Verify, signed, verified};
use crate::store::{Created, Removed, Store, StoreError, Why};
use crate::target_key::KeyRecord;

/// What is signed begins with this, so that no signature of something else passes for one.
const DOMAIN: &str = "mainstay backup erased 1";

/// That keys of a target are destroyed, by intent: `erased-N.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tombstone {
    /// Of the format.
    pub version: u32,
    /// Of which target.
    pub target: Target,
    /// All keys up to this generation.
    pub up_to: u32,
    /// When, in UTC.
    pub at: String,
    /// Who signed.
    pub signer: String,
    /// Over all of this, in hexadecimal.
    pub signature: String,
}

impl Tombstone {
    fn sign(target: &Target, up_to: u32, at: Timestamp, by: &dyn Sign) -> Result<Tombstone, String> {
        let at = Timestamp::from_second(at.as_second()).unwrap_or(at).to_string();
        let (signer, signature) = signed(by, |signer| message(target, up_to, &at, signer))?;
        Ok(Tombstone { version: VERSION, target: target.clone(), up_to, at, signer, signature })
    }

    /// Is it about this target, by somebody whose word counts?
    ///
    /// # Errors
    /// In words, when it is not.
    pub fn holds(&self, target: &Target, known: &dyn Verify) -> Result<(), String> {
        if self.target != *target {
            return Err(format!("it is about {}", self.target));
        }
        if self.at.contains('\n') {
            return Err("its time is none".to_owned());
        }
        verified(known, &self.signer, &message(target, self.up_to, &self.at, &self.signer), &self.signature)
    }
}

/// What a signature is over: each on a line of its own, and none of them can have a line break.
fn message(target: &Target, up_to: u32, at: &str, signer: &str) -> Vec<u8> {
    format!("{DOMAIN}\n{target}\n{up_to}\n{at}\n{signer}\n").into_bytes()
}

/// Why nothing is erased, or not all.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// There is nothing to destroy.
    #[error("{place}: {target} has no key of its own there, so there is nothing to destroy: what of it is there is removed by retention, or by hand")]
    NoKey {
        /// Where.
        place: String,
        /// Of what.
        target: Target,
    },
    /// The store still has a key.
    #[error("NOT erased: {}", .0.join("; "))]
    Remains(Vec<String>),
    /// The store did not answer; doing it again goes on where it ended.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys are destroyed, and that could not be written down.
    #[error("the keys are destroyed, and {object} could not be written, so that their backups are called damaged: {why}; say it again")]
    NotSaid {
        /// What is missing.
        object: String,
        /// Why.
        why: String,
    },
    /// A record that is none.
    #[error("{object}: {source}")]
    Record {
        /// Which.
        object: String,
        /// Why.
        #[source]
        source: NotARecord,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Erased {
    /// Generations of keys that went now.
    pub destroyed: Vec<u32>,
    /// What says so.
    pub tombstone: Tombstone,
    /// Whether it had been done before, and nothing was left to do.
    pub was_done: bool,
}

/// Destroys all keys of a target. Whoever calls it sees to it that nobody writes there meanwhile.
///
/// # Errors
/// When something of a key is left, or that cannot be told.
pub async fn erase(store: &Store, target: &Target, at: Timestamp, by: &dyn Sign) -> Result<Erased, EraseError> {
    let listed = store.list(&target.to_string()).await?;
    let there: Vec<Beside> = listed.iter().filter_map(|listed| beside(&listed.name)).filter(|(of, _)| of == target).map(|(_, one)| one).collect();
    let up_to = there.iter().map(|one| one.generation()).max();
    let up_to = up_to.ok_or_else(|| EraseError::NoKey { place: store.place().to_owned(), target: target.clone() })?;
    let (mut destroyed, mut remains) = (Vec::new(), Vec::new());
    for one in &there {
        match one {
            Beside::Secret(generation) => match destroy(store, &one.of(target)).await? {
                None => destroyed.push(*generation),
                Some(why) => remains.push(why),
            },
            // What the store kept of one that is gone, now or by an earlier try.
            Beside::Public(generation) => remains.extend(kept_version(store, target, *generation).await?),
            Beside::Erased(_) => {}
        }
    }
    remains.sort();
    remains.dedup();
    if !remains.is_empty() {
        return Err(EraseError::Remains(remains));
    }
    // A backup that began before this was asked may have made another key meanwhile.
    let again = store.list(&target.to_string()).await?;
    let is_new = |one: &Beside| matches!(one, Beside::Secret(_));
    if let Some((_, one)) = again.iter().filter_map(|listed| beside(&listed.name)).find(|(of, one)| of == target && is_new(one)) {
        return Err(EraseError::Remains(vec![format!("{} was made meanwhile: somebody writes there; say it again", one.of(target))]));
    }
    let object = Beside::Erased(up_to).of(target);
    if destroyed.is_empty()
        && let Some(bytes) = store.read(&object, RECORD_MAX).await?
    {
        let tombstone = manifest::read(&bytes).map_err(|source| EraseError::Record { object, source })?;
        return Ok(Erased { destroyed, tombstone, was_done: true });
    }
    let unsaid = |why: String| EraseError::NotSaid { object: object.clone(), why };
    let tombstone = Tombstone::sign(target, up_to, at, by).map_err(unsaid)?;
    let bytes = manifest::bytes_of(&tombstone).map_err(|error| unsaid(error.to_string()))?;
    let created = store.create(&object, &bytes).await.map_err(|error| unsaid(error.to_string()))?;
    if created == Created::Exists {
        return Err(unsaid("something else is there under its name: look into who may write there, and remove it".to_owned()));
    }
    Ok(Erased { destroyed, tombstone, was_done: false })
}

/// Removes the object of a key, and looks whether it is gone; what is left of it, in words.
async fn destroy(store: &Store, object: &str) -> Result<Option<String>, EraseError> {
    let version = store.version(object, None, RECORD_MAX).await?.and_then(|there| there.version);
    if let Removed::Locked(why) = store.remove(object).await? {
        return Ok(Some(format!("the store keeps {object}, by a lock or a rule of its own, or these credentials may not remove it: {why}")));
    }
    if store.read(object, RECORD_MAX).await?.is_some() {
        return Ok(Some(format!("{object} can still be read after it was removed: this store keeps what it is told to remove")));
    }
    match version {
        Some(version) => version_left(store, object, &version).await,
        None => Ok(None),
    }
}

/// Whether the version is left under which a key was stored first.
async fn kept_version(store: &Store, target: &Target, generation: u32) -> Result<Option<String>, EraseError> {
    let Some(bytes) = store.read(&Beside::Public(generation).of(target), RECORD_MAX).await? else { return Ok(None) };
    // One that cannot be read names no version; whether there is one was asked before the key was removed.
    let Some(version) = manifest::read::<KeyRecord>(&bytes).ok().and_then(|record| record.stored_version) else { return Ok(None) };
    version_left(store, &Beside::Secret(generation).of(target), &version).await
}

/// Removes a version that the store keeps, where it lets one do that, and looks whether it is gone; what is left of it, in words.
async fn version_left(store: &Store, object: &str, version: &str) -> Result<Option<String>, EraseError> {
    match store.version(object, Some(version), RECORD_MAX).await {
        Ok(None) => return Ok(None),
        Ok(Some(_)) => {}
        Err(error) if error.why == Why::Refused => {
            return Ok(Some(format!(
                "the store keeps versions, and whether version {version} of {object} is left these credentials may not ask: {error}"
            )));
        }
        Err(error) => return Err(error.into()),
    }
    let why = match store.remove_version(object, version).await? {
        None => String::new(),
        Some(Removed::Locked(why)) => format!(", since it is locked, or these credentials may not remove it ({why})"),
        Some(Removed::Gone) => match store.version(object, Some(version), RECORD_MAX).await? {
            None => return Ok(None),
            Some(_) => " after it was removed".to_owned(),
        },
    };
    Ok(Some(format!(
        "the store keeps versions, and version {version} of {object} can still be read{why}: remove that version too, as soon as its lock lets you, and say this again"
    )))
}
