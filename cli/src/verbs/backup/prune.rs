//! `mainstay backup prune`: the store says what there is, and the mesh what somebody holds of it.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_backup::judge::{Judged, Standing};
use mainstay_backup::prune::Pruned;
use mainstay_backup::retention::{Fate, Policy, There, Worth, decide};
use mainstay_backup::{Id, Store, Target};
use mainstay_client::Mesh;
use serde_json::json;

use super::held::{self, Holds};
use super::{places, scanned, target};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::progress::note;
use crate::render::units;
use crate::verbs::{Screen, zone};

/// What is said where no mesh was asked.
const NOT_ASKED: &str = "▲ no mesh was asked: what is held there, and who makes or removes backups at this moment, is not known";

/// Removes what no rule keeps. `mesh` is asked what is held, and whether somebody is at it.
pub async fn prune(args: &args::backup::Prune, mesh: Option<&Mesh>, screen: Screen) -> Result<Exit, CliError> {
    let args::backup::Prune { last, daily, weekly, monthly, yearly, maximum, .. } = *args;
    let policy = Policy { last, daily, weekly, monthly, yearly, maximum }.checked().map_err(|error| CliError::usage(error.to_string()))?;
    if args.known.signer.is_empty() {
        return Err(CliError::usage("without --signer no backup is known to be good, and nothing may go")
            .with_next("the key that `mainstay backup run --sign` printed:  --signer ed25519:…"));
    }
    let store = places::store(&args.store)?;
    let of = args.target.as_deref().map(target).transpose()?;
    // Whether another target's backup of a set stays, only a look at all of them says.
    let mainstay_backup::scan::Scan { backups: all, keys, .. } = scanned(&store, None, &args.known).await?;
    let is_wanted = |target: &Target| of.as_ref().is_none_or(|of| of == target);
    let mut holds = BTreeMap::new();
    if let Some(mesh) = mesh {
        for target in all.iter().map(|judged| &judged.id.target).collect::<BTreeSet<&Target>>() {
            holds.insert(target, held::holds(mesh, target).await?);
        }
    }
    let there: Vec<There> = all.iter().map(|judged| there(judged, holds.get(&judged.id.target))).collect();
    let fates = decide(policy, &zone(), &there).map_err(|error| CliError::usage(error.to_string()))?;
    let found: Vec<&Judged> = all.iter().filter(|judged| is_wanted(&judged.id.target)).collect();
    let goes = |id: &Id| matches!(fates.get(id), Some(Fate::Goes(_)));
    let thinned: BTreeSet<&Target> = found.iter().map(|judged| &judged.id).filter(|id| goes(id)).map(|id| &id.target).collect();
    if let (Some(mesh), false) = (mesh, args.dry_run) {
        // Before the first of any is gone.
        for target in &thinned {
            held::is_free(mesh, target).await?;
        }
    }
    if mesh.is_none() && !args.dry_run && !thinned.is_empty() {
        note(screen.notes, NOT_ASKED);
    }
    let (mut lines, mut told, mut gone) = (String::new(), Vec::new(), 0);
    let mut asked = None;
    for judged in found {
        let Some(fate) = fates.get(&judged.id) else { continue };
        let (mark, why) = match fate {
            Fate::Stays(why) => ("stays", why.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            Fate::Goes(why) if args.dry_run => ("would go", why.to_string()),
            Fate::Goes(why) => match removed(&store, judged, mesh, &mut asked).await.map_err(|error| ended(error, gone))? {
                Removed::Held(why) => ("stays", why),
                Removed::Store(Pruned::Gone) => {
                    gone += 1;
                    ("gone", why.to_string())
                }
                // It goes when its lock has ended.
                Removed::Store(Pruned::Locked { why }) => ("locked", why),
            },
        };
        lines.push_str(&format!("{mark:8}  {}  {why}\n", judged.id));
        told.push(json!({ "backup": judged.id, "fate": fate, "is": mark }));
    }
    // Which backups a key opens only their manifests say, and one of those may be what is damaged.
    let stay = units::count(
        keys.iter().filter(|key| key.secret.is_some() && is_wanted(&key.target)).count() as u64,
        "key of a target stays",
        "keys of targets stay",
    );
    let stay = format!("{stay}: only  mainstay backup erase  destroys one\n");
    let end = if args.dry_run { format!("{stay}nothing was removed\n") } else { format!("{gone} removed\n") };
    let asked = if mesh.is_none() { format!("{NOT_ASKED}\n") } else { String::new() };
    screen.show(&json!({ "backups": told, "removed": gone, "dryRun": args.dry_run, "holdsKnown": mesh.is_some() }), |_| lines + &asked + &end)?;
    Ok(Exit::Success)
}

/// What came of one that no rule keeps.
enum Removed {
    Store(Pruned),
    /// It is held by now; why.
    Held(String),
}

/// Removes one. Whoever has come to its target since is asked for before the first one of it goes: `asked` is the target that
/// was asked for last, with what is held of it.
async fn removed<'j>(store: &Store, judged: &'j Judged, mesh: Option<&Mesh>, asked: &mut Option<(&'j Target, Holds)>) -> Result<Removed, CliError> {
    if let Some(mesh) = mesh {
        let target = &judged.id.target;
        if asked.as_ref().is_none_or(|(last, _)| *last != target) {
            held::is_free(mesh, target).await?;
            *asked = Some((target, held::holds(mesh, target).await?));
        }
        if let Some(why) = asked.as_ref().and_then(|(_, holds)| holds.of_backup(&judged.id)) {
            return Ok(Removed::Held(why));
        }
    }
    let pruned = mainstay_backup::prune::remove(store, &judged.id).await;
    pruned.map(Removed::Store).map_err(|error| CliError::failed(error.to_string()))
}

/// It went no further: what is gone already is said.
fn ended(error: CliError, gone: u64) -> CliError {
    if gone == 0 { error } else { error.while_doing(&format!("{} removed, and then", units::count(gone, "backup", "backups"))) }
}

fn there(judged: &Judged, holds: Option<&Holds>) -> There {
    let worth = match judged.standing {
        Standing::Good => Worth::Good,
        Standing::Unconfirmed { .. } => Worth::Unconfirmed,
        Standing::Damaged { .. } => Worth::Damaged,
        Standing::Unread { .. } => Worth::Unread,
        Standing::Unfinished => Worth::Unfinished,
        Standing::Sealed { .. } | Standing::Leftover => Worth::Dead,
        Standing::Erased { .. } => Worth::Erased,
    };
    let set = judged.manifest.as_ref().and_then(|manifest| manifest.set.clone());
    There { id: judged.id.clone(), worth, set, held: holds.and_then(|holds| holds.of_backup(&judged.id)) }
}
