//! `mainstay backup restore`

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use mainstay_backup::decode::verify;
use mainstay_backup::judge::{Judged, Standing, good_of_set, newest_good};
use mainstay_backup::keys::Identities;
use mainstay_backup::manifest::Manifest;
use mainstay_backup::place::postgres::{Dump, Parallel, room};
use mainstay_backup::place::some::{Paths, Tables};
use mainstay_backup::source::postgres::queries;
use mainstay_backup::source::{files, kubernetes, postgres, redis};
use mainstay_backup::{Id, Store, open, place};
use mainstay_client::files::free_bytes;
use serde_json::json;

use super::run::note;
use super::{check, identities, objects, one, places, progress, scanned, standing, target};
use crate::args::{self, backup::Known};
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::units;
use crate::verbs::Screen;

pub async fn restore(args: &args::backup::Restore, screen: Screen) -> Result<Exit, CliError> {
    let keys = identities(&args.keys)?;
    let store = places::store(&args.store)?;
    let wanted = Wanted { verb: "restore", backup: &args.backup, at: args.at, set: args.set.as_deref(), known: &args.known };
    let judged = chosen(&wanted, &store).await?;
    let id = judged.id.clone();
    let Some(manifest) = judged.manifest.clone().filter(|_| may_be_restored(&judged.standing)) else {
        return Err(CliError::failed(format!("{id} is not restored: {}", standing(&judged.standing))));
    };
    let parallel = parallel(args, &manifest, screen)?;
    if args.dry_run {
        return check(&store, &judged, &keys, screen).await;
    }
    if manifest.source.kind == kubernetes::KIND {
        return objects::restore(args, &store, &judged, &manifest, &keys, screen).await;
    }
    if args.objects.is_said() || args.to == "-" {
        return Err(CliError::usage(format!(
            "--namespace, --only, --label and --to - are for objects of Kubernetes, and this is {}",
            manifest.source.kind
        )));
    }
    let differs = put(args, &store, &manifest, &keys, parallel, screen).await?;
    let words = match differs.as_deref() {
        None => format!("✔ {id} is restored to {}; every checksum was right", args.to),
        Some([]) => format!("✔ {id} is restored to {}; every checksum was right, and every table has the rows that it had", args.to),
        Some(differs) => format!("✖ {id} is restored to {}, and is not what it was: {}", args.to, differs.join("; ")),
    };
    screen.done(&json!({ "backup": id, "to": args.to, "standing": judged.standing, "differs": differs }), &words)?;
    Ok(if differs.is_some_and(|differs| !differs.is_empty()) { Exit::Failed } else { Exit::Success })
}

pub(super) fn may_be_restored(standing: &Standing) -> bool {
    matches!(standing, Standing::Good | Standing::Unconfirmed { .. })
}

/// Which backup is wanted.
pub(super) struct Wanted<'a> {
    pub verb: &'static str,
    /// By its whole name, or its target.
    pub backup: &'a str,
    pub at: Option<Timestamp>,
    pub set: Option<&'a str>,
    pub known: &'a Known,
}

/// The one that is named, or the newest good one.
pub(super) async fn chosen(wanted: &Wanted<'_>, store: &Store) -> Result<Judged, CliError> {
    if wanted.backup.parse::<Id>().is_ok() {
        if wanted.at.is_some() || wanted.set.is_some() {
            return Err(CliError::usage("a backup is named, and --at or --set chooses one: say one of the two"));
        }
        return one(store, wanted.known, wanted.backup).await;
    }
    let target = target(wanted.backup)?;
    if wanted.known.signer.is_empty() {
        let name = format!("name one:  mainstay backup {} CLUSTER/TARGET/TIME-TOKEN …", wanted.verb);
        return Err(CliError::usage("which one is good is not known without --signer")
            .with_next(format!("{name}; which there are:  mainstay backup list --store …")));
    }
    let found = scanned(store, Some(&target), wanted.known).await?.backups;
    let newest = match wanted.set {
        Some(set) => good_of_set(&found, &target, set),
        None => newest_good(&found, &target, wanted.at),
    };
    newest.cloned().ok_or_else(|| {
        let which = match (wanted.set, wanted.at) {
            (Some(set), _) => format!(" in the set {set}"),
            (None, Some(at)) => format!(" at or before {at}"),
            (None, None) => String::new(),
        };
        CliError::failed(format!("{}: {target} has no good backup{which}", store.place()))
            .with_next("which there are:  mainstay backup list --store … --signer …")
    })
}

/// What of it is wanted, where not all is.
fn some(args: &args::backup::Restore, content: &str) -> Result<(Option<Tables>, Option<Paths>), CliError> {
    let is_fitting =
        (args.table.is_empty() || [postgres::CONTENT, postgres::SCHEMA].contains(&content)) && (args.path.is_empty() || content == files::CONTENT);
    if !is_fitting {
        return Err(CliError::usage("--table is for a database, and --path for a directory"));
    }
    let tables = if args.table.is_empty() { None } else { Some(Tables::of(&args.table).map_err(CliError::usage)?) };
    let paths = if args.path.is_empty() { None } else { Some(Paths::of(&args.path).map_err(CliError::usage)?) };
    Ok((tables, paths))
}

/// Puts it there. What differs from what the source counted, where that can be compared.
async fn put(
    args: &args::backup::Restore,
    store: &Store,
    manifest: &Manifest,
    keys: &Identities,
    parallel: Option<Parallel>,
    screen: Screen,
) -> Result<Option<Vec<String>>, CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::failed(error.to_string());
    let known = [files::CONTENT, redis::CONTENT, postgres::CONTENT, postgres::SCHEMA];
    let part = manifest.parts.iter().find(|part| known.contains(&part.content.as_str()));
    let part = part
        .ok_or_else(|| CliError::failed(format!("{} has no part that is known here; docs/backup-format.md says how to open it", manifest.backup)))?;
    let (tables, paths) = some(args, &part.content)?;
    if [postgres::CONTENT, postgres::SCHEMA].contains(&part.content.as_str()) {
        return put_database(args, store, manifest, keys, (tables, parallel), screen).await;
    }
    if args.to.contains("://") {
        return Err(CliError::usage(format!("{} is restored into an empty directory: --to DIR", manifest.source.kind)));
    }
    let into = Path::new(&args.to);
    let (tell, _shown) = progress::shown(screen, "restoring");
    tell.expect(manifest.stored_bytes());
    if part.content == redis::CONTENT {
        // One snapshot, or one of each shard of a cluster.
        return place::redis::write_all(store, manifest, keys, &tell, into).await.map(|_| None).map_err(|error| failed(&error));
    }
    let plain = open(store, manifest, part, keys, &tell).await.map_err(|error| failed(&error))?;
    let put = match &paths {
        None => place::files::unpack(plain, into).await,
        Some(paths) => place::files::unpack_some(plain, into, paths).await.map(drop),
    };
    put.map(|()| None).map_err(|error| failed(&error))
}

/// By several connections, where that is asked for and there is room for it, which is told.
fn parallel(args: &args::backup::Restore, manifest: &Manifest, screen: Screen) -> Result<Option<Parallel>, CliError> {
    if args.jobs < 2 {
        return Ok(None);
    }
    let Ok(dump) = Dump::of(manifest) else {
        return Err(CliError::usage(format!("--jobs is for a database, and this is {}", manifest.source.kind)));
    };
    let (scratch, needs) = (&args.scratch, room(&dump));
    let free = free_bytes(scratch).map_err(|error| CliError::failed(format!("--scratch {}: {error}", scratch.display())))?;
    if free < needs {
        return Err(CliError::failed(format!(
            "--scratch {} has {} left, and {} are needed; nothing was touched",
            scratch.display(),
            units::bytes(free as f64),
            units::bytes(needs as f64)
        ))
        .with_next("name a directory with more room, or restore by one connection, which needs none:  --jobs 1"));
    }
    let takes = format!("it takes {} of scratch space in {} while it restores", units::bytes(needs as f64), scratch.display());
    note(screen, true, &takes)?;
    Ok(Some(Parallel { jobs: args.jobs, scratch: scratch.clone() }))
}

/// Restores a database; what differs from what was counted, where it was.
async fn put_database(
    args: &args::backup::Restore,
    store: &Store,
    manifest: &Manifest,
    keys: &Identities,
    (tables, parallel): (Option<Tables>, Option<Parallel>),
    screen: Screen,
) -> Result<Option<Vec<String>>, CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::failed(error.to_string());
    let deadline = Duration::from_millis(args.deadline.0);
    let dump = Dump::of(manifest).map_err(CliError::failed)?;
    let before = match &dump {
        // Whoever takes a part of a dump reads no further, and is done before the last checksum is known. Scratch space has all
        // of it before.
        Dump::One(part) if tables.is_some() && parallel.is_none() => vec![*part],
        // Without a transaction, what is damaged is to be known before the first row is there.
        Dump::Several { data, .. } if parallel.is_some() => data.clone(),
        _ => Vec::new(),
    };
    if !before.is_empty() {
        let (tell, _shown) = progress::shown(screen, "verifying");
        tell.expect(before.iter().map(|part| part.stored.bytes).sum());
        for part in before {
            verify(store, manifest, part, keys, &tell).await.map_err(|error| failed(&error))?;
        }
    }
    let (tell, _shown) = progress::shown(screen, "restoring");
    tell.expect(manifest.stored_bytes());
    let into = places::postgres(&args.to)?;
    let options = place::postgres::Options { without_owners: args.without_owners, deadline, tables: tables.clone(), parallel };
    let open = place::postgres::stored(store, manifest, keys, &tell);
    place::postgres::restore_dump(&dump, open, &into, None, &options).await.map_err(|error| failed(&error))?;
    let Some(counted) = manifest.source.counted.get("tables") else { return Ok(None) };
    let chosen = tables.as_ref().map(|tables| tables.only(counted)).transpose().map_err(CliError::failed)?;
    let compared = place::postgres::compare(chosen.as_ref().unwrap_or(counted), &into, None, deadline).await;
    let mut differs = compared.map_err(|error| failed(&error))?;
    if let (Some(answers), None) = (manifest.source.counted.get(queries::NAME), &tables) {
        let asked = place::postgres::compare_queries(answers, &into, None, deadline).await;
        differs.extend(asked.map_err(|error| failed(&error))?);
    }
    Ok(Some(differs))
}
