//! What each backup in a store is worth, told from a listing and the records in it. Pure: who lists and reads is
//! [`mod@crate::scan`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::manifest::{Begun, Manifest, NotARecord, Outcome, digest};
use crate::name::{Id, Object, Target, Token};
use crate::receipt::{Receipt, Verify};

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
    let receipt = one.receipt.as_deref().map(crate::manifest::read::<Receipt>);
    let Some(bytes) = one.manifest.as_deref() else {
        let standing = match receipt {
            Some(_) => Standing::Damaged { what: vec!["its manifest is missing, and it has a receipt".to_owned()] },
            None => without_manifest(id, one, all),
        };
        return judged(standing, None, None);
    };
    let digest = digest(bytes);
    let holds = receipt.map(|receipt| holds(receipt, id, &digest, known));
    let outcome = crate::manifest::read::<Outcome>(bytes);
    match (outcome, holds) {
        (Ok(Outcome::Manifest(manifest)), holds) if manifest.backup == *id => {
            let standing = finished(&manifest, one, holds);
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

fn finished(manifest: &Manifest, one: &Found, holds: Option<Result<(), String>>) -> Standing {
    let lacking: Vec<String> = manifest.parts.iter().filter_map(|part| lacks(part, one)).collect();
    // What the catalogue counted had come to its end before anybody could make it void.
    if let (Some(sealed), false) = (&one.sealed, holds == Some(Ok(()))) {
        return match crate::manifest::read::<Outcome>(sealed) {
            Ok(Outcome::Void(void)) => Standing::Sealed { by: void.by, why: void.why },
            _ => damaged("sealed.json says nothing that can be understood".to_owned()),
        };
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
