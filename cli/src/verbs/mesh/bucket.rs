//! The mesh's snapshot out of a store alone: which backup of it is taken, and why no other.
//!
//! ```text
//! listing, manifests, receipts ─▶ the newest good one ─▶ decrypted and summed up in memory ─▶ as a file of `mainstay mesh snapshot`
//! ```
//! What was good once and is not as it was is never passed over in silence: who begins a mesh from the one before it loses
//! what lies between, and says so by naming it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use mainstay_backup::judge::{Judged, Standing, newest_good};
use mainstay_backup::progress::Teller;
use mainstay_backup::source::mesh;
use mainstay_backup::{Id, Store, Target, decode, open};
use mainstay_core::snapshot::BYTES_MAX;
use serde::Serialize;
use tokio::io::AsyncReadExt;

use crate::args;
use crate::args::backup::Identity;
use crate::args::mesh::Bucket;
use crate::error::CliError;
use crate::render::progress::Waiting;
use crate::verbs::Screen;
use crate::verbs::backup::{identities, places, scanned, standing, target};

/// The backup that a mesh begins again from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Of the store.
    #[serde(rename = "store")]
    pub place: String,
    pub id: String,
    /// Those of the same target that are newer, and are not good.
    pub newer: Vec<Newer>,
}

/// One that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Newer {
    pub id: String,
    /// What it is instead of good.
    pub why: String,
}

/// The snapshot, whole and as it was written, and which backup it is.
///
/// # Errors
/// In words: which one it is not, what is wrong with it, and how another one is named.
pub async fn read(args: &Bucket, screen: Screen) -> Result<(Taken, Vec<u8>), CliError> {
    let (Some(place), Some(identity)) = (&args.from_store, &args.identity) else {
        return Err(CliError::usage("a store needs a key that opens what is in it: --from-store PLACE --identity FILE"));
    };
    let keys = identities(&Identity { identity: identity.clone() })?;
    let store = places::store(&args::backup::Store { store: place.clone(), way: args.way.clone() })?;
    if args.known.signer.is_empty() && args.backup.is_none() {
        return Err(CliError::usage("which one is good is not known without --signer")
            .with_next("the key is in the settings of whoever made them, and `mainstay backup run --sign` prints it")
            .with_next("or name one:  --backup CLUSTER/CONNECTION/TIME-TOKEN"));
    }
    let waiting = Waiting::on(screen.notes, "looking for backups of the mesh");
    let named: Option<Id> =
        args.backup.as_deref().map(str::parse::<Id>).transpose().map_err(|error| CliError::usage(format!("--backup: {error}")))?;
    let only: Option<Target> = args.target.as_deref().map(target).transpose()?;
    let within = named.as_ref().map(|named| &named.target).or(only.as_ref());
    let found = scanned(&store, within, &args.known).await?.backups;
    drop(waiting);
    let chosen = match &named {
        Some(named) => by_name(&found, named, store.place()),
        None => newest(&found, only.as_ref(), args.at, store.place()),
    };
    let chosen = chosen.map_err(|no| next(CliError::failed(no.words), &no.instead))?;
    let taken = Taken { place: store.place().to_owned(), id: chosen.id.to_string(), newer: newer(&found, chosen, args.at) };
    let waiting = Waiting::on(screen.notes, "reading the mesh's snapshot");
    let bytes = plain(&store, chosen, &keys).await.map_err(|why| {
        let before = before(&found, chosen).map(|before| before.id.to_string());
        next(CliError::failed(format!("{} is not recovered from: {why}", chosen.id)), &before.map(instead).into_iter().collect::<Vec<_>>())
    })?;
    drop(waiting);
    Ok((taken, bytes))
}

fn next(error: CliError, lines: &[String]) -> CliError {
    lines.iter().fold(error, |error, line| error.with_next(line.clone()))
}

fn instead(id: String) -> String {
    format!("the one before it, without what came after:  --backup {id}")
}

/// Why none is taken, and what can be said instead.
#[derive(Debug, PartialEq, Eq)]
struct NotChosen {
    words: String,
    instead: Vec<String>,
}

impl NotChosen {
    fn because(words: String, instead: impl IntoIterator<Item = String>) -> NotChosen {
        NotChosen { words, instead: instead.into_iter().collect() }
    }
}

/// Whether its manifest says that it is one of a mesh.
fn is_of_mesh(judged: &Judged) -> bool {
    judged.manifest.as_ref().is_some_and(|manifest| manifest.source.kind == mesh::KIND)
}

/// The one that is named. One without a receipt may be taken so: the mesh may have been lost before it was signed.
fn by_name<'j>(found: &'j [Judged], named: &Id, place: &str) -> Result<&'j Judged, NotChosen> {
    let judged = found.iter().find(|judged| judged.id == *named);
    let judged = judged.ok_or_else(|| NotChosen::because(format!("{place}: there is no {named}"), [list(&named.target, place)]))?;
    match &judged.standing {
        Standing::Good | Standing::Unconfirmed { .. } if is_of_mesh(judged) => Ok(judged),
        Standing::Good | Standing::Unconfirmed { .. } => Err(NotChosen::because(format!("{named} is no backup of a mesh"), [])),
        other => Err(NotChosen::because(
            format!("{named} is not recovered from: {}", standing(other)),
            before(found, judged).map(|before| instead(before.id.to_string())),
        )),
    }
}

/// The newest good one of the one target that is a mesh, unless one that was to be good and is not as it was is newer.
fn newest<'j>(found: &'j [Judged], only: Option<&Target>, at: Option<Timestamp>, place: &str) -> Result<&'j Judged, NotChosen> {
    let targets: BTreeSet<&Target> = found.iter().filter(|judged| is_of_mesh(judged)).map(|judged| &judged.id.target).collect();
    let target = match (only, targets.len(), targets.first().copied()) {
        (Some(only), _, _) if targets.contains(only) => only,
        (Some(only), _, _) => return Err(NotChosen::because(format!("{place}: {only} has no backup of a mesh"), [list(only, place)])),
        (None, 1, Some(target)) => target,
        (None, 0, _) | (None, _, None) => {
            let line = format!("what is there:  mainstay backup list --store {place}");
            return Err(NotChosen::because(format!("{place} has no backup of a mesh"), [line]));
        }
        (None, _, Some(_)) => {
            let names = targets.iter().map(|target| format!("--target {target}"));
            return Err(NotChosen::because(format!("{place} has backups of {} meshes: say which", targets.len()), names));
        }
    };
    let until = at.map_or_else(String::new, |at| format!(" at or before {at}"));
    let good = newest_good(found, target, at);
    let is_after = |one: &&Judged| good.is_none_or(|good| order(one) > order(good));
    let of_it = found.iter().filter(|one| one.id.target == *target && at.is_none_or(|at| one.id.time <= at)).filter(is_after);
    let is_doubtful = |one: &&Judged| matches!(one.standing, Standing::Damaged { .. } | Standing::Unread { .. });
    if let Some(newest) = of_it.clone().filter(is_doubtful).max_by_key(|one| order(one)) {
        let what = if matches!(newest.standing, Standing::Damaged { .. }) { "is not as it was" } else { "nothing is known of it" };
        return Err(NotChosen::because(
            format!("{} is the newest one of {target}{until}, and {what}: {}", newest.id, standing(&newest.standing)),
            good.map(|good| instead(good.id.to_string())),
        ));
    }
    if let Some(good) = good {
        return Ok(good);
    }
    let unconfirmed = of_it.filter(|one| matches!(one.standing, Standing::Unconfirmed { .. })).max_by_key(|one| order(one));
    match unconfirmed {
        Some(one) => Err(NotChosen::because(
            format!("{target} has no good backup{until}; {} came to its end, and nothing says that it counts: {}", one.id, standing(&one.standing)),
            [
                "another key may have signed it:  --signer KEY".to_owned(),
                format!("the mesh may have been lost before it was signed; if that is so, take it:  --backup {}", one.id),
            ],
        )),
        None => Err(NotChosen::because(format!("{place}: {target} has no good backup{until}"), [list(target, place)])),
    }
}

fn list(target: &Target, place: &str) -> String {
    format!("which there are:  mainstay backup list {target} --store {place}")
}

fn order(judged: &Judged) -> (Timestamp, mainstay_backup::Token) {
    (judged.id.time, judged.id.token)
}

/// The newest good one before this.
fn before<'j>(found: &'j [Judged], than: &Judged) -> Option<&'j Judged> {
    let good = found.iter().filter(|one| one.id.target == than.id.target && one.standing == Standing::Good);
    good.filter(|one| order(one) < order(than)).max_by_key(|one| order(one))
}

/// What is newer than the one that is taken, of those that were looked at, and is not good.
fn newer(found: &[Judged], than: &Judged, at: Option<Timestamp>) -> Vec<Newer> {
    let of_it = found.iter().filter(|one| one.id.target == than.id.target && order(one) > order(than) && at.is_none_or(|at| one.id.time <= at));
    let not_good = of_it.filter(|one| one.standing != Standing::Good);
    not_good.map(|one| Newer { id: one.id.to_string(), why: standing(&one.standing) }).collect()
}

/// What is in it, decrypted: as it was written, or an error.
async fn plain(store: &Store, judged: &Judged, keys: &mainstay_backup::keys::Identities) -> Result<Vec<u8>, String> {
    let manifest = judged.manifest.as_ref().ok_or("it has no manifest")?;
    let part = manifest.parts.iter().find(|part| part.content == mesh::CONTENT).ok_or_else(|| format!("it has no part of {}", mesh::CONTENT))?;
    if part.plain.bytes > BYTES_MAX {
        return Err(format!("it has {} bytes, and no snapshot has more than {BYTES_MAX}", part.plain.bytes));
    }
    let reader = open(store, manifest, part, keys, &Teller::default()).await.map_err(|damage| damage.to_string())?;
    let mut bytes = Vec::new();
    // One that says less than it has is found by its checksum; it is not read on for that.
    let read = reader.take(BYTES_MAX + 1).read_to_end(&mut bytes).await;
    read.map_err(|error| decode::damage(error, &part.name).to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
