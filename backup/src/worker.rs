//! A worker writes a backup for somebody else who keeps the catalogue: near what is backed up, with its client programs, and with
//! fewer rights. It has the credentials of the source and of the store. It has no key that signs, and none that opens: the
//! target's key is chosen for it, and whether its backup counts is decided by who has sent it, out of what the store has.
//!
//! ```text
//! agent ─ WorkOrder ─▶ worker ─ source, parts, manifest, read back ─▶ store
//!   ▲                    │
//!   └────── Told ────────┘  a line each: how far it is, and at last what it was
//! ```
//! What a worker says is for whoever watches. That all is well is said by its exit status, and by the manifest of its writer.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::keys::{KeyError, Recipients};
use crate::manifest::{CanOpen, OfKey};
use crate::name::{Id, Token};
use crate::progress::Progress;
use crate::write::Order;

/// What is decided for a worker. There is no secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkOrder {
    /// As in [`Order`].
    pub time: Timestamp,
    /// As in [`Order`].
    pub token: Token,
    /// As in [`Order`].
    pub writer: String,
    /// The target's key.
    pub key: OfKey,
    /// Who can open that key.
    pub recipients: Vec<CanOpen>,
}

impl WorkOrder {
    /// As an order to write.
    ///
    /// # Errors
    /// When one of the recipients is no key.
    pub fn order(self, target: crate::Target, set: Option<String>) -> Result<Order, KeyError> {
        let recipients = Recipients::read(self.recipients.iter().map(|one| (one.role, one.key.as_str())))?;
        Ok(Order { target, time: self.time, token: self.token, writer: self.writer, set, recipients, key: Some(self.key) })
    }
}

/// A line of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Told {
    /// How far it is with writing.
    Writing(Progress),
    /// How far it is with reading back what it has written.
    Reading(Progress),
    /// All is written, and was read back as it was written.
    Made {
        /// How long reading back took.
        #[serde(rename = "checkMs")]
        check_ms: u64,
        /// Unfinished ones of the same target that were made void.
        sealed: Vec<Id>,
    },
}

impl Told {
    /// As a line.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From a line; nothing where it is one of something else.
    #[must_use]
    pub fn read(line: &str) -> Option<Told> {
        serde_json::from_str(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_and_others_are_none() {
        let far = Progress { part: "database".to_owned(), plain_bytes: 7, stored_bytes: 3, ..Progress::default() };
        let id: Id = "a/b/20261130T020000Z-1.1".parse().unwrap();
        for told in [Told::Writing(far.clone()), Told::Reading(far), Told::Made { check_ms: 12, sealed: vec![id] }] {
            assert!(!told.line().contains('\n'));
            assert_eq!(Told::read(&told.line()), Some(told));
        }
        assert_eq!(Told::read("mainstay: it failed"), None);
        assert_eq!(Told::read("{\"other\":1}"), None);
    }
}
