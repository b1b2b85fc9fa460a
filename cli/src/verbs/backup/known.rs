//! `mainstay backup list` without a store, and `hold`: the mesh's catalogue

use mainstay_client::Mesh;
use mainstay_core::WallTime;
use mainstay_proto::v1::{Backup, BackupTarget, HoldBackupRequest, ListBackupsRequest, Verdict};

use crate::error::CliError;
use crate::exit::Exit;
use crate::render::{Entry, Table, Terminal, Tone, time, units};
use crate::verbs::{Screen, now};

/// All that the mesh knows of. A backup that is missing or damaged is a failure.
pub async fn list(of: Option<&str>, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let of = of.map(super::target).transpose()?;
    let target = of.as_ref().map(ToString::to_string).unwrap_or_default();
    let known = mesh.list_backups(ListBackupsRequest { target: target.clone() }).await?;
    screen.show(&known, |known| render(&known.targets, &target, screen.terminal, now()))?;
    let is_bad = known.targets.iter().flat_map(|target| &target.backups).any(|backup| matches!(worth(backup).1, Tone::Bad));
    Ok(if is_bad { Exit::Failed } else { Exit::Success })
}

/// Has one kept, or lets it go.
pub async fn hold(id: &str, reason: &str, off: bool, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let answer = mesh.hold_backup(HoldBackupRequest { id: id.to_owned(), reason: reason.to_owned(), off, dry_run }).await?;
    let words = match (off, dry_run) {
        (false, false) => format!("✔ {id} is held: retention does not remove it"),
        (true, false) => format!("✔ {id} is not held any more: it goes when no rule keeps it"),
        (false, true) => format!("✔ {id} would be held; nothing was changed"),
        (true, true) => format!("✔ {id} would be let go; nothing was changed"),
    };
    screen.done(&answer, &words)?;
    Ok(Exit::Success)
}

fn render(targets: &[BackupTarget], wanted: &str, terminal: Terminal, now: WallTime) -> String {
    if targets.is_empty() {
        let of = if wanted.is_empty() { String::new() } else { format!(" of {wanted}") };
        return format!(
            "the mesh knows of no backups{of}: make one with  mainstay run start backup; what a store has:  mainstay backup list --store PLACE\n"
        );
    }
    let mut table = Table::new(terminal, &["backup", "age", "size", "store", "is"]).wrapping(&[4]);
    for backup in targets.iter().flat_map(|target| &target.backups) {
        let (words, tone) = worth(backup);
        let age = if backup.begun_unix_ms > now.0 { "–".to_owned() } else { time::ago(backup.begun_unix_ms, now) };
        table.row(vec![
            backup.id.as_str().into(),
            age.into(),
            units::bytes(backup.stored_bytes as f64).into(),
            backup.store.as_str().into(),
            Entry::toned(format!("{words}{}", held(backup)), tone),
        ]);
    }
    let drills: String = targets.iter().map(|target| format!("{}  {}\n", target.target, drilled(target, now))).collect();
    format!("{}\n{drills}", table.render())
}

/// What one is worth, as far as anybody has seen.
fn worth(backup: &Backup) -> (String, Tone) {
    if let Some(erasure) = &backup.erased {
        return (format!("· erased by {}: nobody can open it", erasure.by), Tone::Plain);
    }
    match backup.read() {
        _ if backup.missing_unix_ms != 0 => ("✖ missing in the store".to_owned(), Tone::Bad),
        Verdict::Critical => ("✖ damaged".to_owned(), Tone::Bad),
        _ if !backup.counts => ("? unconfirmed".to_owned(), Tone::Plain),
        Verdict::Unspecified => ("✔ good, not read yet".to_owned(), Tone::Good),
        Verdict::Unknown => ("? it could not be read".to_owned(), Tone::Plain),
        _ => ("✔ good".to_owned(), Tone::Good),
    }
}

fn held(backup: &Backup) -> String {
    match &backup.hold {
        None => String::new(),
        Some(hold) if hold.reason.is_empty() => format!(", held by {}", hold.by),
        Some(hold) => format!(", held by {}: {}", hold.by, hold.reason),
    }
}

fn drilled(target: &BackupTarget, now: WallTime) -> String {
    match &target.drill {
        None => "? never restored in a drill:  mainstay run start recovery-drill".to_owned(),
        Some(drill) => {
            let when = time::ago(drill.at_unix_ms, now);
            let took = drill.rto_ms.map_or_else(String::new, |ms| format!(" · RTO {}", units::duration_ms(ms)));
            let old = drill.rpo_ms.map_or_else(String::new, |ms| format!(" · RPO {}", units::duration_ms(ms)));
            if drill.proven {
                format!("✔ restored in a drill {when}{took}{old}")
            } else {
                format!("✖ the drill {when} did not go well{took}{old}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_proto::v1::{BackupDrill, BackupErasure, BackupHold};

    use super::*;

    fn backup(token: u32) -> Backup {
        Backup {
            id: format!("prod/orders-db/20261130T020000Z-3.{token}"),
            begun_unix_ms: 3_600_000,
            store: "backups".into(),
            stored_bytes: 3 << 20,
            counts: true,
            good: true,
            read: Verdict::Ok.into(),
            ..Backup::default()
        }
    }

    #[test]
    fn a_list_says_what_each_is_worth_and_when_one_was_restored() {
        let hold = BackupHold { by: "operator/ana".into(), at_unix_ms: 1, reason: "the audit".into() };
        let orders = BackupTarget {
            target: "prod/orders-db".into(),
            backups: vec![
                backup(5),
                Backup { read: Verdict::Unspecified.into(), ..backup(4) },
                Backup { counts: false, ..backup(3) },
                Backup { read: Verdict::Critical.into(), hold: Some(hold), ..backup(2) },
                Backup { missing_unix_ms: 7, ..backup(1) },
                Backup { erased: Some(BackupErasure { by: "operator/ana".into(), at_unix_ms: 9 }), missing_unix_ms: 9, ..backup(0) },
            ],
            drill: Some(BackupDrill { at_unix_ms: 7_200_000, proven: true, rto_ms: Some(90_000), rpo_ms: Some(3_600_000), ..BackupDrill::default() }),
            ..BackupTarget::default()
        };
        let cache = BackupTarget { target: "prod/cache".into(), ..BackupTarget::default() };
        let now = WallTime(4 * 3_600_000);
        insta::assert_snapshot!(render(&[orders, cache], "", Terminal::PIPE, now));
        assert!(render(&[], "prod/x", Terminal::PIPE, now).starts_with("the mesh knows of no backups of prod/x: make one"));
    }
}
