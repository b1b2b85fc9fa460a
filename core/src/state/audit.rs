//! The audit log: every change that somebody asked for, chained by hashes.
//!
//! The hash of a record covers the hash before it, so that a record that was changed or left out shows.
//! Old records leave the state; the hash that the oldest kept one follows stays, and so does the chain.

use imbl::Vector;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bounds;
use crate::command::{Actor, Command};
use crate::reply::Reply;
use crate::time::WallTime;

/// Longest of a record's texts; a reason or proof may be as long as a command.
const TEXT_MAX: usize = 1_024;

/// The log and where its kept part begins.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Audit {
    pub records: Vector<Record>,
    /// Number of the last record that was dropped.
    pub dropped: u64,
    /// Hash that the oldest kept record follows.
    pub anchor: [u8; 32],
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Counts from 1 without gaps.
    pub number: u64,
    pub wall: WallTime,
    pub by: String,
    pub what: String,
    /// `done`, or why it was refused.
    pub outcome: String,
    pub hash: [u8; 32],
}

impl Audit {
    pub(super) fn record(&mut self, wall: WallTime, by: &Actor, command: &Command, reply: &Reply) {
        let outcome = match reply {
            Reply::Refused(refusal) => format!("refused: {refusal}"),
            Reply::Started(run) => format!("started {run}"),
            Reply::Applied { revision, changed, .. } => format!("revision {revision}{}", if *changed { "" } else { ", as before" }),
            _ => "done".to_owned(),
        };
        self.note(wall, by, command.to_string(), outcome);
    }

    /// Records a change that came by no command.
    pub(super) fn note(&mut self, wall: WallTime, by: &Actor, what: String, outcome: String) {
        let number = self.records.back().map_or(self.dropped, |last| last.number) + 1;
        let mut record = Record { number, wall, by: by.to_string(), what: shortened(what), outcome: shortened(outcome), hash: [0; 32] };
        record.hash = record.digest(&self.head());
        self.records.push_back(record);
        while self.records.len() > bounds::AUDIT {
            if let Some(old) = self.records.pop_front() {
                self.dropped = old.number;
                self.anchor = old.hash;
            }
        }
    }

    /// Hash of the newest record.
    #[must_use]
    pub fn head(&self) -> [u8; 32] {
        self.records.back().map_or(self.anchor, |last| last.hash)
    }

    /// Walks the kept part of the chain; the number of the first record that does not fit, if any.
    #[must_use]
    pub fn first_broken(&self) -> Option<u64> {
        let mut before = self.anchor;
        let mut number = self.dropped;
        for record in &self.records {
            number += 1;
            if record.number != number || record.hash != record.digest(&before) {
                return Some(number);
            }
            before = record.hash;
        }
        None
    }
}

fn shortened(text: String) -> String {
    if text.len() <= TEXT_MAX { text } else { text.chars().take(TEXT_MAX / 4).collect::<String>() + "…" }
}

impl Record {
    fn digest(&self, before: &[u8; 32]) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(before);
        hasher.update(self.number.to_le_bytes());
        hasher.update(self.wall.0.to_le_bytes());
        for field in [&self.by, &self.what, &self.outcome] {
            hasher.update((field.len() as u64).to_le_bytes());
            hasher.update(field.as_bytes());
        }
        hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(records: usize) -> Audit {
        let mut audit = Audit::default();
        for level in 0..records {
            audit.record(WallTime(level as i64), &Actor::Mesh, &Command::RaiseFeatureLevel { level: level as u32 }, &Reply::Done);
        }
        audit
    }

    #[test]
    fn a_changed_or_missing_record_shows() {
        assert_eq!(audit(10).first_broken(), None);
        let mut changed = audit(10);
        changed.records[4].by = "somebody".into();
        assert_eq!(changed.first_broken(), Some(5));
        let mut missing = audit(10);
        missing.records.remove(4);
        assert_eq!(missing.first_broken(), Some(5));
    }

    #[test]
    fn the_chain_goes_on_when_old_records_leave() {
        let audit = audit(bounds::AUDIT + 10);
        assert_eq!(audit.records.len(), bounds::AUDIT);
        assert_eq!(audit.dropped, 10);
        assert_eq!(audit.first_broken(), None);
    }
}
