//! The catalogue of backups.

use mainstay_core::backup::{BackupId, BackupName, BackupNote, BackupTarget, Drill, ListedBackup};
use mainstay_core::state::backup::{Backup, TargetBackups};
use mainstay_core::time::{Millis, WallTime};

use super::{InvalidMessage, parsed, verdict_from_wire, verdict_to_wire};
use crate::v1;
use crate::v1::note_backups_request::Note;

/// All that is known of the backups of one target, the newest first.
#[must_use]
pub fn backups_to_wire(target: &BackupTarget, known: &TargetBackups) -> v1::BackupTarget {
    let drill = known.drill.as_ref().map(|drilled| v1::BackupDrill { at_unix_ms: drilled.at.0, ..drill_to_wire(target, &drilled.drill) });
    v1::BackupTarget {
        target: target.to_string(),
        backups: known.backups.iter().rev().map(|(name, backup)| backup_to_wire(target, name, backup)).collect(),
        newest_good: known.newest_good().map(|(name, _)| id(target, name)).unwrap_or_default(),
        drill,
        removals: known.removals,
    }
}

fn backup_to_wire(target: &BackupTarget, name: &BackupName, backup: &Backup) -> v1::Backup {
    v1::Backup {
        id: id(target, name),
        begun_unix_ms: backup.begun.0,
        store: backup.store.to_string(),
        stored_bytes: backup.stored_bytes,
        checksum: backup.checksum.clone(),
        counts: backup.counts,
        good: backup.is_good(),
        read: backup.read.map_or(v1::Verdict::Unspecified, |read| verdict_to_wire(read.verdict)).into(),
        read_unix_ms: backup.read.map_or(0, |read| read.at.0),
        hold: backup.hold.as_ref().map(|hold| v1::BackupHold { by: hold.by.clone(), at_unix_ms: hold.at.0, reason: hold.reason.clone() }),
        missing_unix_ms: backup.missing.map_or(0, |since| since.0),
        erased: backup.erased.as_ref().map(|erasure| v1::BackupErasure { by: erasure.by.clone(), at_unix_ms: erasure.at.0 }),
    }
}

fn id(target: &BackupTarget, name: &BackupName) -> String {
    format!("{target}/{name}")
}

fn drill_to_wire(target: &BackupTarget, drill: &Drill) -> v1::BackupDrill {
    v1::BackupDrill {
        at_unix_ms: 0,
        backup: drill.backup.as_ref().map(|name| id(target, name)).unwrap_or_default(),
        proven: drill.proven,
        rto_ms: drill.rto.map(|rto| rto.0),
        rpo_ms: drill.rpo.map(|rpo| rpo.0),
    }
}

fn listed_to_wire(target: &BackupTarget, listed: &ListedBackup) -> v1::Backup {
    v1::Backup {
        id: id(target, &listed.name),
        begun_unix_ms: listed.begun.0,
        stored_bytes: listed.stored_bytes,
        checksum: listed.checksum.clone(),
        counts: listed.counts,
        read: listed.read.map_or(v1::Verdict::Unspecified, verdict_to_wire).into(),
        ..v1::Backup::default()
    }
}

/// What is told of a target.
#[must_use]
pub fn backup_note_to_wire(target: &BackupTarget, note: &BackupNote) -> Note {
    let ids = |names: &[BackupName]| names.iter().map(|name| id(target, name)).collect();
    match note {
        BackupNote::Made { store, backup } => Note::Made(v1::BackupMade { store: store.to_string(), backup: Some(listed_to_wire(target, backup)) }),
        BackupNote::Confirmed { backup } => Note::Confirmed(id(target, backup)),
        BackupNote::Found { store, backups, missing, removals } => Note::Found(v1::BackupsFound {
            store: store.to_string(),
            backups: backups.iter().map(|listed| listed_to_wire(target, listed)).collect(),
            missing: ids(missing),
            removals: *removals,
        }),
        BackupNote::Removed { backups } => Note::Removed(v1::BackupsRemoved { backups: ids(backups) }),
        BackupNote::Drilled { drill } => Note::Drilled(drill_to_wire(target, drill)),
    }
}

/// What is told of `target`, and of no other.
///
/// # Errors
/// What does not fit, by its field.
pub fn backup_note_from_wire(target: &BackupTarget, note: Note) -> Result<BackupNote, InvalidMessage> {
    let name = |field: &'static str, text: &str| -> Result<BackupName, InvalidMessage> {
        let id: BackupId = parsed(field, text)?;
        if id.target == *target { Ok(id.name) } else { Err(InvalidMessage::new(field, format!("{id} is no backup of {target}"))) }
    };
    let names = |field: &'static str, ids: &[String]| ids.iter().map(|id| name(field, id)).collect::<Result<Vec<BackupName>, _>>();
    let listed = |backup: &v1::Backup| -> Result<ListedBackup, InvalidMessage> {
        Ok(ListedBackup {
            name: name("id", &backup.id)?,
            begun: WallTime(backup.begun_unix_ms),
            stored_bytes: backup.stored_bytes,
            checksum: backup.checksum.clone(),
            counts: backup.counts,
            read: (backup.read != i32::from(v1::Verdict::Unspecified)).then(|| verdict_from_wire(backup.read)),
        })
    };
    Ok(match note {
        Note::Made(made) => {
            let backup = made.backup.ok_or_else(|| InvalidMessage::new("backup", "is missing"))?;
            BackupNote::Made { store: parsed("store", &made.store)?, backup: listed(&backup)? }
        }
        Note::Confirmed(id) => BackupNote::Confirmed { backup: name("confirmed", &id)? },
        Note::Found(found) => BackupNote::Found {
            store: parsed("store", &found.store)?,
            backups: found.backups.iter().map(listed).collect::<Result<_, _>>()?,
            missing: names("missing", &found.missing)?,
            removals: found.removals,
        },
        Note::Removed(removed) => BackupNote::Removed { backups: names("backups", &removed.backups)? },
        Note::Drilled(drill) => BackupNote::Drilled {
            drill: Drill {
                backup: (!drill.backup.is_empty()).then(|| name("backup", &drill.backup)).transpose()?,
                proven: drill.proven,
                rto: drill.rto_ms.map(Millis),
                rpo: drill.rpo_ms.map(Millis),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use mainstay_core::report::Verdict;

    use super::*;

    #[test]
    fn what_is_told_survives_the_wire_and_is_of_its_target_only() {
        let target: BackupTarget = "prod/orders-db".parse().unwrap();
        let store = || "backups".parse().unwrap();
        let (first, second): (BackupName, BackupName) = ("20261129T020000Z-3.41".parse().unwrap(), "20261130T020000Z-3.42".parse().unwrap());
        let listed = |read| ListedBackup { name: first.clone(), begun: WallTime(7), stored_bytes: 9, checksum: "ab".repeat(32), counts: true, read };
        for note in [
            BackupNote::Made { store: store(), backup: listed(None) },
            BackupNote::Confirmed { backup: first.clone() },
            BackupNote::Found { store: store(), backups: vec![listed(Some(Verdict::Critical))], missing: vec![second.clone()], removals: 4 },
            BackupNote::Removed { backups: vec![first.clone(), second] },
            BackupNote::Drilled { drill: Drill { backup: None, proven: false, rto: None, rpo: Some(Millis(5)) } },
            BackupNote::Drilled { drill: Drill { backup: Some(first.clone()), proven: true, rto: Some(Millis(4)), rpo: None } },
        ] {
            assert_eq!(backup_note_from_wire(&target, backup_note_to_wire(&target, &note)), Ok(note));
        }
        let of_another = Note::Confirmed("prod/cache/20261129T020000Z-3.41".into());
        assert_eq!(backup_note_from_wire(&target, of_another).unwrap_err().field, "confirmed");
    }
}
