//! What each backup in a store is worth, told from a listing and the records in it. Pure: who lists and reads is
//! [`mod@crate::scan`].

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::erase::Tombstone;
use crate::manifest::{Begun, Manifest, NotARecord, OfKey, Outcome, digest};
use crate::name::{Beside, Id, Object, Target, Token};
use crate::receipt::{Receipt, Verify};

mod sets;

pub use sets::{Set, good_of_set, newest_good_set, sets};

/// What was found of one backup.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Its objects, with their sizes.
    pub objects: BTreeMap<Object, u64>,
    /// `manifest.json`, as it is.
    pub manifest: Option<Vec<u8>>,
    /// `receipt.json`, as it is.
    pub receipt: Option<Vec<u8>>,
    /// `sealed.json`, as it is.
    pub sealed: Option<Vec<u8>>,
    /// `begun.json`, as it is.
    pub begun: Option<Vec<u8>>,
    /// Of records that are there and cannot be one, since each is larger than any: what is wrong, in words.
    pub damaged: Vec<String>,
    /// Why the store did not give a record that it has, where it did not.
    pub unread: Option<String>,
    /// Keys of its target.
    pub ring: Arc<Ring>,
}

/// What was found of the keys of a target.
#[derive(Debug, Clone, Default)]
pub struct Ring {
    /// SHA-256 of what is in `key-N.age`, by N.
    pub secrets: BTreeMap<u32, String>,
    /// Each `erased-N.json`, as it is.
    pub erased: BTreeMap<u32, Vec<u8>>,
    /// Why the store did not give `key-N.age`, which it has, by N.
    pub unread: BTreeMap<u32, String>,
}

impl Ring {
    /// Whose word it is that a key was destroyed; why the words there are do not count, where there are some.
    fn tombstone(&self, target: &Target, generation: u32, known: &dyn Verify) -> Result<Tombstone, Option<String>> {
        let mut why = None;
        for (up_to, bytes) in self.erased.range(generation..) {
            let read = crate::manifest::read::<Tombstone>(bytes).map_err(|error| error.to_string());
            match read.and_then(|said| said.holds(target, known).map(|()| said)) {
                Ok(said) if said.up_to >= generation => return Ok(said),
                Ok(_) => {}
                Err(error) => why = Some(format!("{} says that it was erased, and does not count: {error}", Beside::Erased(*up_to))),
            }
        }
        Err(why)
    }
}

/// What it is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum Standing {
    /// It was written to its end, and the catalogue counts it. What is in it has not been read by this look.
    Good,
    /// It was written to its end, and nothing says that the catalogue counts it.
    Unconfirmed {
        /// What a receipt lacks, where there is one.
        why: String,
    },
    /// It was good, or was to be, and is not as it was.
    Damaged {
        /// What is wrong, in words.
        what: Vec<String>,
    },
    /// The store has a record of it and does not give it: nothing is known of it, good or bad.
    Unread {
        /// In the store's words.
        why: String,
    },
    /// Somebody has begun it, and nobody with a later token has come since: it may be under way.
    Unfinished,
    /// It was made void.
    Sealed {
        /// By the holder of which token.
        by: Token,
        /// In their words.
        why: String,
    },
    /// Parts of one that did not come to its end, and cannot any more.
    Leftover,
    /// The target's key that opened it was destroyed, by intent: nobody can open it any more.
    Erased {
        /// When.
        at: String,
        /// Who signed that.
        by: String,
    },
}

/// A backup, and what it is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// Which.
    pub id: Id,
    /// What it is worth.
    #[serde(flatten)]
    pub standing: Standing,
    /// What it says of itself, where it came to its end.
    #[serde(skip)]
    pub manifest: Option<Manifest>,
    /// SHA-256 of its manifest, which a receipt is for.
    #[serde(skip)]
    pub digest: Option<String>,
    /// What it takes in the store.
    pub stored_bytes: u64,
}

/// Judges all that was found, in the order of targets and time.
#[must_use]
pub fn judge(found: &BTreeMap<Id, Found>, known: &dyn Verify) -> Vec<Judged> {
    found.iter().map(|(id, one)| judge_one(id, one, found, known)).collect()
}

fn judge_one(id: &Id, one: &Found, all: &BTreeMap<Id, Found>, known: &dyn Verify) -> Judged {
    let stored_bytes = one.objects.values().sum();
    let judged = |standing, manifest, digest| Judged { id: id.clone(), standing, manifest, digest, stored_bytes };
    if let Some(why) = &one.unread {
        return judged(Standing::Unread { why: why.clone() }, None, None);
    }
    if !one.damaged.is_empty() {
        return judged(Standing::Damaged { what: one.damaged.clone() }, None, None);
    }
    let receipt = one.receipt.as_deref().map(crate::manifest::read::<Receipt>);
    let Some(bytes) = one.manifest.as_deref() else {
        let standing = match receipt {
            Some(_) => Standing::Damaged { what: vec!["its manifest is missing, and it has a receipt".to_owned()] },
            None => without_manifest(id, one, all),
        };
        return judged(standing, None, None);
    };
    let digest = digest(bytes);
    // Signed by somebody whose word counts, and for something else than what stands there: it was good, and is not as it was.
    let other = receipt.as_ref().and_then(|receipt| receipt.as_ref().ok());
    let other = other.filter(|receipt| receipt.manifest != digest && receipt.holds(id, &receipt.manifest, known).is_ok());
    let changed = other.map(|receipt| format!("its manifest is not the one for which {} has signed", receipt.signer));
    let holds = receipt.map(|receipt| holds(receipt, id, &digest, known));
    let outcome = crate::manifest::read::<Outcome>(bytes);
    match (outcome, holds) {
        (Ok(Outcome::Manifest(manifest)), holds) if manifest.backup == *id => {
            let standing = changed.map_or_else(|| finished(&manifest, one, holds, known), damaged);
            judged(standing, Some(manifest), Some(digest))
        }
        (Ok(Outcome::Manifest(manifest)), _) => judged(damaged(format!("its manifest is that of {}", manifest.backup)), None, None),
        (Ok(Outcome::Void(_)), Some(Ok(()) | Err(_))) => judged(damaged("its manifest was made void, and it has a receipt".to_owned()), None, None),
        (Ok(Outcome::Void(void)), None) => judged(Standing::Sealed { by: void.by, why: void.why }, None, None),
        (Err(error), _) => judged(damaged(format!("its manifest: {error}")), None, None),
    }
}

fn damaged(what: String) -> Standing {
    Standing::Damaged { what: vec![what] }
}

/// Why a receipt does not hold.
fn holds(receipt: Result<Receipt, NotARecord>, id: &Id, digest: &str, known: &dyn Verify) -> Result<(), String> {
    receipt.map_err(|error| error.to_string())?.holds(id, digest, known)
}

fn finished(manifest: &Manifest, one: &Found, holds: Option<Result<(), String>>, known: &dyn Verify) -> Standing {
    let mut lacking: Vec<String> = manifest.parts.iter().filter_map(|part| lacks(part, one)).collect();
    // What the catalogue counted had come to its end before anybody could make it void.
    if let (Some(sealed), false) = (&one.sealed, holds == Some(Ok(()))) {
        return match crate::manifest::read::<Outcome>(sealed) {
            Ok(Outcome::Void(void)) => Standing::Sealed { by: void.by, why: void.why },
            _ => damaged("sealed.json says nothing that can be understood".to_owned()),
        };
    }
    if let Some(key) = manifest.key.as_ref().filter(|key| one.ring.secrets.get(&key.generation) != Some(&key.sha256)) {
        if let Some(why) = one.ring.unread.get(&key.generation) {
            return Standing::Unread { why: why.clone() };
        }
        match keyless(key, &manifest.backup.target, &one.ring, known) {
            Ok(said) => return Standing::Erased { at: said.at, by: said.signer },
            Err(lacks) => lacking.insert(0, lacks),
        }
    }
    if !lacking.is_empty() {
        return Standing::Damaged { what: lacking };
    }
    let other_writer = one.begun.as_deref().map(crate::manifest::read::<Begun>);
    if let Some(Ok(begun)) = other_writer
        && begun.writer != manifest.writer
    {
        return damaged("its manifest is by another writer than the one who began".to_owned());
    }
    match holds {
        Some(Ok(())) => Standing::Good,
        Some(Err(why)) => Standing::Unconfirmed { why: format!("its receipt does not count: {why}") },
        None => Standing::Unconfirmed { why: "it has no receipt".to_owned() },
    }
}

/// Who destroyed the key that is not there; else what is wrong with it.
fn keyless(key: &OfKey, target: &Target, ring: &Ring, known: &dyn Verify) -> Result<Tombstone, String> {
    let object = Beside::Secret(key.generation);
    if ring.secrets.contains_key(&key.generation) {
        return Err(format!("{object} is not the key that it was encrypted to, and nothing else opens it"));
    }
    ring.tombstone(target, key.generation, known).map_err(|why| {
        let missing = format!("its key is gone: {object} is missing, and nothing else opens it");
        why.map_or(missing.clone(), |why| format!("{missing}; {why}"))
    })
}

fn lacks(part: &crate::manifest::Part, one: &Found) -> Option<String> {
    match one.objects.get(&Object::Part(part.name.clone())) {
        None => Some(format!("{} is missing", Object::Part(part.name.clone()))),
        Some(bytes) if *bytes != part.stored.bytes => {
            Some(format!("{} has {bytes} bytes, and {} were written", Object::Part(part.name.clone()), part.stored.bytes))
        }
        Some(_) => None,
    }
}

fn without_manifest(id: &Id, one: &Found, all: &BTreeMap<Id, Found>) -> Standing {
    if let Some(Ok(Outcome::Void(void))) = one.sealed.as_deref().map(crate::manifest::read::<Outcome>) {
        return Standing::Sealed { by: void.by, why: void.why };
    }
    let later = all.keys().any(|other| other.target == id.target && other.token > id.token);
    // Without its first object it never was begun by the rules; nobody is at work there.
    if later || one.begun.is_none() { Standing::Leftover } else { Standing::Unfinished }
}

/// The newest good one of a target, as of an instant where one is named: what a recovery takes. An hour with several has one
/// answer.
#[must_use]
pub fn newest_good<'j>(judged: &'j [Judged], target: &Target, at: Option<Timestamp>) -> Option<&'j Judged> {
    let good = judged.iter().filter(|one| one.id.target == *target && one.standing == Standing::Good);
    good.filter(|one| at.is_none_or(|at| one.id.time <= at)).max_by_key(|one| (one.id.time, one.id.token))
}

#[cfg(test)]
mod tests;
