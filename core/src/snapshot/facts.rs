//! What a snapshot has, in numbers: kept beside a backup of it, so that a check has something to judge by, and a rehearsal
//! something to compare with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{About, SnapshotError, decode};
use crate::id::MemberId;
use crate::invariant;
use crate::state::State;
use crate::state::recovery::Recovery;

/// Numbers of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    pub mesh: String,
    pub incarnation: u64,
    /// The last entry of the log that is in it.
    pub applied: u64,
    pub feature_level: u32,
    /// By the leader's clock.
    pub taken_unix_ms: i64,
    /// How many there are: plans, runs, leases, …
    pub has: BTreeMap<String, u64>,
}

impl Facts {
    /// Those of a state, and of what its snapshot says of itself.
    #[must_use]
    pub fn of(about: &About, state: &State) -> Facts {
        let has = [
            ("plans", state.plans.len()),
            ("runs", state.runs.len()),
            ("attempts", state.attempts.len()),
            ("leases", state.leases.len()),
            ("agents", state.agents.len()),
            ("operators", state.operators.len()),
            ("members", state.members.len()),
            ("revoked", state.revoked.len()),
            ("auditRecords", state.audit.records.len()),
        ];
        Facts {
            mesh: about.mesh.to_string(),
            incarnation: about.incarnation,
            applied: about.applied,
            feature_level: about.feature_level,
            taken_unix_ms: about.taken.0,
            has: has.into_iter().map(|(what, count)| (what.to_owned(), count as u64)).collect(),
        }
    }

    /// As a manifest has them.
    #[must_use]
    pub fn counted(&self) -> BTreeMap<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields.into_iter().collect(),
            _ => BTreeMap::new(),
        }
    }

    /// Out of what a manifest has; nothing where these are no facts of a snapshot.
    #[must_use]
    pub fn read(counted: &BTreeMap<String, Value>) -> Option<Facts> {
        serde_json::from_value(Value::Object(counted.clone().into_iter().collect())).ok()
    }

    /// How it differs from what was written down, in words. What only one of them counts is left out: a later version may
    /// count more.
    #[must_use]
    pub fn differs(&self, was: &Facts) -> Vec<String> {
        let mut differs = Vec::new();
        if (&self.mesh, self.incarnation) != (&was.mesh, was.incarnation) {
            differs.push(format!(
                "it is mesh {} of incarnation {}, and was mesh {} of incarnation {}",
                self.mesh, self.incarnation, was.mesh, was.incarnation
            ));
        }
        if self.applied != was.applied {
            differs.push(format!("it has {} entries, and had {}", self.applied, was.applied));
        }
        let counts = self.has.iter().filter_map(|(what, is)| Some((what, is, was.has.get(what)?)));
        differs.extend(counts.filter(|(_, is, was)| is != was).map(|(what, is, was)| format!("it has {is} {what}, and had {was}")));
        differs
    }

    /// What is odd about a backup after the one before it, in words: a mesh goes on, and does not go back.
    #[must_use]
    pub fn odd_after(&self, before: &Facts) -> Option<String> {
        if self.mesh != before.mesh {
            return Some(format!("it is of mesh {}, and the one before it of mesh {}", self.mesh, before.mesh));
        }
        let went_back = (self.incarnation, self.applied) < (before.incarnation, before.applied);
        went_back.then(|| {
            format!(
                "it has {} entries of incarnation {}, and the one before it had {} of incarnation {}: the mesh has gone back",
                self.applied, self.incarnation, before.applied, before.incarnation
            )
        })
    }
}

/// Begins the mesh again from a snapshot, in memory and for nobody: every checksum is looked at, the state is loaded, what
/// must hold of it is asked, it is recovered, and it is compared with what was written down of it.
///
/// Gives back what it has, and what differs in words; nothing differs in one that is good.
///
/// # Errors
/// When it cannot be read at all.
pub fn rehearse(bytes: &[u8], was: Option<&Facts>) -> Result<(Facts, Vec<String>), SnapshotError> {
    let (about, mut state) = decode(bytes)?;
    let facts = Facts::of(&about, &state);
    let mut differs = was.map_or_else(|| vec!["nothing was written down of what it had".to_owned()], |was| facts.differs(was));
    let recovery = Recovery { incarnation: about.incarnation.saturating_add(1), wall: about.taken, taken: about.taken, member: MemberId(u64::MAX) };
    differs.extend(state.recover(&recovery).err().map(|refusal| format!("no mesh begins from it: {refusal}")));
    differs.extend(invariant::broken(&state).into_iter().map(|(name, what)| format!("{name} does not hold of it: {what}")));
    Ok((facts, differs))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{file, state};
    use super::*;

    fn facts(incarnation: u64, applied: u64) -> Facts {
        let has = [("plans".to_owned(), 9), ("runs".to_owned(), 3)].into();
        Facts { mesh: "prod".into(), incarnation, applied, feature_level: 5, taken_unix_ms: 8, has }
    }

    #[test]
    fn a_manifest_gives_back_what_it_was_given() {
        assert_eq!(Facts::read(&facts(1, 91).counted()), Some(facts(1, 91)));
        assert_eq!(facts(1, 91).counted()["applied"], 91);
        assert_eq!(Facts::read(&BTreeMap::from([("files".to_owned(), Value::from(3))])), None);
    }

    #[test]
    fn what_is_not_as_it_was_is_named() {
        assert_eq!(facts(1, 91).differs(&facts(1, 91)), Vec::<String>::new());
        let mut is = facts(2, 90);
        is.has.insert("runs".into(), 2);
        is.has.insert("counted later".into(), 1);
        assert_eq!(
            is.differs(&facts(1, 91)),
            ["it is mesh prod of incarnation 2, and was mesh prod of incarnation 1", "it has 90 entries, and had 91", "it has 2 runs, and had 3"]
        );
    }

    #[test]
    fn a_mesh_goes_on_and_not_back() {
        let after = |newest: Facts| newest.odd_after(&facts(5, 100));
        assert_eq!([after(facts(5, 100)), after(facts(5, 101)), after(facts(6, 90))], [None, None, None], "a recovered one begins anew");
        assert!(after(facts(5, 99)).unwrap().contains("gone back") && after(facts(4, 200)).unwrap().contains("gone back"));
        let other = Facts { mesh: "test".into(), ..facts(5, 101) };
        assert_eq!(after(other).as_deref(), Some("it is of mesh test, and the one before it of mesh prod"));
    }

    #[test]
    fn a_snapshot_is_rehearsed_without_a_mesh() {
        let bytes = file(&state());
        let (about, loaded) = decode(&bytes).unwrap();
        let was = Facts::of(&about, &loaded);
        assert_eq!(rehearse(&bytes, Some(&was)).unwrap(), (was.clone(), Vec::new()));
        let more = Facts { applied: 78, ..was };
        assert_eq!(rehearse(&bytes, Some(&more)).unwrap().1, ["it has 77 entries, and had 78"]);
        assert_eq!(rehearse(&bytes, None).unwrap().1.len(), 1);
        assert!(rehearse(&bytes[..bytes.len() - 1], Some(&more)).is_err());
    }

    #[test]
    fn one_of_a_mesh_that_was_at_work_is_rehearsed_too() {
        let bytes = include_bytes!("../../tests/fixtures/mesh-format-1.snapshot");
        let (about, loaded) = decode(bytes).unwrap();
        assert_eq!(rehearse(bytes, Some(&Facts::of(&about, &loaded))).unwrap().1, Vec::<String>::new());
    }
}
