//! `mainstay backup`. Straight to a store, with the keys that are named: what restores a backup must not need what may be lost
//! together with what is restored. Only the mesh's own catalogue is asked of the mesh, before what somebody holds is removed,
//! and told what is erased.

mod drill;
mod erase;
mod held;
mod known;
mod list;
mod objects;
pub(super) mod places;
mod progress;
mod prune;
mod restore;
mod run;
mod worker;

use mainstay_backup::check::{Checked, CheckedPart};
use mainstay_backup::judge::{Judged, Standing};
use mainstay_backup::keys::Identities;
use mainstay_backup::receipt::PublicKey;
use mainstay_backup::scan::Scan;
use mainstay_backup::{Id, Target};
use mainstay_client::{Mesh, files};

use super::Screen;
use crate::args::backup::{Backup, Identity, Known, Store};
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::units;

/// A file of keys has a few lines.
const KEYS_MAX: u64 = 64 << 10;

/// Whether the mesh is asked, and not a store.
pub fn is_of_mesh(verb: &Backup) -> bool {
    match verb {
        Backup::List { store, .. } => store.is_none(),
        Backup::Hold { .. } => true,
        Backup::Erase(erase) => !erase.without_mesh,
        Backup::Prune(prune) => !prune.without_mesh,
        _ => false,
    }
}

/// With what can be said instead, where the mesh is not reached and the verb can do without one.
pub fn unreached(verb: &Backup, error: CliError) -> CliError {
    match verb {
        Backup::Prune(prune) if !prune.without_mesh && error.exit == Exit::Unreachable => {
            error.with_next("only if no mesh has to do with this store, or it is gone for good:  --without-mesh")
        }
        _ => error,
    }
}

/// What the mesh knows of backups, and is told of them.
pub async fn of_mesh(verb: &Backup, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    match verb {
        Backup::List { target, way, known, .. } => {
            if !known.signer.is_empty() || way.is_said() {
                return Err(
                    CliError::usage("these options are about a store, and none is named").with_next("name it:  mainstay backup list --store PLACE")
                );
            }
            known::list(target.as_deref(), mesh, screen).await
        }
        Backup::Hold { backup, reason, off, dry_run } => known::hold(backup, reason, *off, *dry_run, mesh, screen).await,
        Backup::Erase(args) => erase::run_erase(args, Some(mesh), screen).await,
        Backup::Prune(args) => prune::prune(args, Some(mesh), screen).await,
        _ => Ok(Exit::Success),
    }
}

pub async fn backup(verb: &Backup, screen: Screen) -> Result<Exit, CliError> {
    match verb {
        Backup::Run(run) => run::run(run, screen).await,
        Backup::List { store: Some(store), way, known, target } => {
            let store = Store { store: store.clone(), way: way.clone() };
            list::list(&store, known, target.as_deref(), screen).await
        }
        Backup::List { store: None, .. } | Backup::Hold { .. } => Ok(Exit::Success),
        Backup::Show { store, known, backup } => list::show(store, known, backup, screen).await,
        Backup::Keys { store, known } => list::keys(store, known, screen).await,
        Backup::Check { store, known, keys, backup } => {
            let store = places::store(store)?;
            let judged = one(&store, known, backup).await?;
            check(&store, &judged, &identities(keys)?, screen).await
        }
        Backup::Prune(prune) => prune::prune(prune, None, screen).await,
        Backup::Erase(args) => erase::run_erase(args, None, screen).await,
        Backup::Drill(args) => drill::rehearse(args, screen).await,
        Backup::Restore(restore) => restore::restore(restore, screen).await,
    }
}

/// Whose receipts count here.
fn signers(known: &Known) -> Result<Vec<PublicKey>, CliError> {
    known.signer.iter().map(|key| key.parse().map_err(|error| CliError::usage(format!("--signer: {error}")))).collect()
}

pub(super) fn identities(keys: &Identity) -> Result<Identities, CliError> {
    let file = keys.identity.display();
    let text = files::read_text(&keys.identity, KEYS_MAX).map_err(|error| CliError::usage(format!("{file}: {error}")))?;
    Identities::read(&text).map_err(|error| CliError::usage(format!("{file}: {error}")))
}

pub(super) fn target(text: &str) -> Result<Target, CliError> {
    text.parse().map_err(|error: mainstay_backup::name::NotAName| CliError::usage(error.to_string()))
}

pub(super) async fn scanned(store: &mainstay_backup::Store, target: Option<&Target>, known: &Known) -> Result<Scan, CliError> {
    mainstay_backup::scan(store, target, &signers(known)?).await.map_err(|error| CliError::failed(error.to_string()))
}

/// The one of this name.
async fn one(store: &mainstay_backup::Store, known: &Known, name: &str) -> Result<Judged, CliError> {
    let id: Id = name.parse().map_err(|error: mainstay_backup::name::NotAName| CliError::usage(error.to_string()))?;
    let found = scanned(store, Some(&id.target), known).await?.backups.into_iter().find(|judged| judged.id == id);
    found
        .ok_or_else(|| CliError::failed(format!("{}: there is no {id}", store.place())).with_next("which there are:  mainstay backup list --store …"))
}

/// Reads it to its end, and says what was found.
async fn check(store: &mainstay_backup::Store, judged: &Judged, keys: &Identities, screen: Screen) -> Result<Exit, CliError> {
    let Some(manifest) = &judged.manifest else {
        return Err(CliError::failed(format!("{}: {}", judged.id, standing(&judged.standing))));
    };
    let (tell, shown) = progress::shown(screen, "reading");
    let checked = mainstay_backup::check(store, manifest, keys, &tell).await;
    drop(shown);
    screen.show(&checked, |checked| {
        let lines: String = checked.parts.iter().map(|part| said_of(part) + "\n").collect();
        lines + &format!("{} · {} · {}\n", judged.id, standing(&judged.standing), units::duration_ms(checked.took_ms))
    })?;
    Ok(comes_to(&checked))
}

/// One part that was read, or was not: that a store did not let it be read says nothing of it.
fn said_of(part: &CheckedPart) -> String {
    match &part.wrong {
        None => format!("✔ {}  is as it was written", part.name),
        Some(wrong) if part.unread => format!("? {}  could not be read, and may be good: {wrong}", part.name),
        Some(wrong) => format!("✖ {}  {wrong}", part.name),
    }
}

/// What is damaged has failed; of what could only not be read nothing is known, as of a mesh that is not reached.
fn comes_to(checked: &Checked) -> Exit {
    let wrong = |unread: bool| checked.parts.iter().any(|part| part.wrong.is_some() && part.unread == unread);
    match (wrong(false), wrong(true)) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::Unreachable,
        (false, false) => Exit::Success,
    }
}

/// What a backup is worth, in words.
pub(super) fn standing(standing: &Standing) -> String {
    match standing {
        Standing::Good => "✔ good".to_owned(),
        Standing::Unconfirmed { why } => format!("? unconfirmed: {why}"),
        Standing::Damaged { what } => format!("✖ damaged: {}", what.join("; ")),
        Standing::Unread { why } => format!("? could not be read, and may be good: {why}"),
        Standing::Unfinished => "· unfinished: it may be under way".to_owned(),
        Standing::Sealed { by, why } => format!("· void, by {by}: {why}"),
        Standing::Leftover => "· leftover of one that did not come to its end".to_owned(),
        Standing::Erased { at, by } => format!("· erased at {at} by {by}: nobody can open it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_is_not_damaged() {
        let part = |wrong: Option<&str>, unread| CheckedPart { name: "database".into(), wrong: wrong.map(str::to_owned), unread };
        let (whole, late, changed) = (part(None, false), part(Some("no answer"), true), part(Some("its checksum"), false));
        assert_eq!(
            [&whole, &late, &changed].map(said_of),
            ["✔ database  is as it was written", "? database  could not be read, and may be good: no answer", "✖ database  its checksum"]
        );
        let exit = |parts: Vec<CheckedPart>| comes_to(&Checked { parts, took_ms: 1 });
        assert_eq!(exit(vec![whole.clone()]), Exit::Success);
        assert_eq!(exit(vec![whole, late.clone()]), Exit::Unreachable);
        assert_eq!(exit(vec![late, changed]), Exit::Failed);
    }
}
