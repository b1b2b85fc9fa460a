//! `mainstay backup prune`

use mainstay_backup::judge::{Judged, Standing};
use mainstay_backup::prune::Pruned;
use mainstay_backup::retention::{Fate, Policy, There, Worth, decide};
use serde_json::json;

use super::{places, scanned, target};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::units;
use crate::verbs::{Screen, zone};

pub async fn prune(args: &args::backup::Prune, screen: Screen) -> Result<Exit, CliError> {
    let args::backup::Prune { last, daily, weekly, monthly, yearly, maximum, .. } = *args;
    let policy = Policy { last, daily, weekly, monthly, yearly, maximum }.checked().map_err(|error| CliError::usage(error.to_string()))?;
    if args.known.signer.is_empty() {
        return Err(CliError::usage("without --signer no backup is known to be good, and nothing may go")
            .with_next("the key that `mainstay backup run --sign` printed:  --signer ed25519:…"));
    }
    let store = places::store(&args.store)?;
    let of = args.target.as_deref().map(target).transpose()?;
    let mainstay_backup::scan::Scan { backups: found, keys, .. } = scanned(&store, of.as_ref(), &args.known).await?;
    let there: Vec<There> = found.iter().map(there).collect();
    let fates = decide(policy, &zone(), &there).map_err(|error| CliError::usage(error.to_string()))?;
    let (mut lines, mut told, mut gone) = (String::new(), Vec::new(), 0);
    for judged in &found {
        let Some(fate) = fates.get(&judged.id) else { continue };
        let (mark, why) = match fate {
            Fate::Stays(why) => ("stays", why.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            Fate::Goes(why) if args.dry_run => ("would go", why.to_string()),
            Fate::Goes(why) => {
                let removed = mainstay_backup::prune::remove(&store, &judged.id).await.map_err(|error| CliError::failed(error.to_string()))?;
                match removed {
                    Pruned::Gone => {
                        gone += 1;
                        ("gone", why.to_string())
                    }
                    // It goes when its lock has ended.
                    Pruned::Locked { why } => ("locked", why),
                }
            }
        };
        lines.push_str(&format!("{mark:8}  {}  {why}\n", judged.id));
        told.push(json!({ "backup": judged.id, "fate": fate, "is": mark }));
    }
    // Which backups a key opens only their manifests say, and one of those may be what is damaged.
    let stay = units::count(keys.iter().filter(|key| key.secret.is_some()).count() as u64, "key of a target stays", "keys of targets stay");
    let stay = format!("{stay}: only  mainstay backup erase  destroys one\n");
    let end = if args.dry_run { format!("{stay}nothing was removed\n") } else { format!("{gone} removed\n") };
    screen.show(&json!({ "backups": told, "removed": gone, "dryRun": args.dry_run }), |_| lines + &end)?;
    Ok(Exit::Success)
}

fn there(judged: &Judged) -> There {
    let worth = match judged.standing {
        Standing::Good => Worth::Good,
        Standing::Unconfirmed { .. } => Worth::Unconfirmed,
        Standing::Damaged { .. } => Worth::Damaged,
        Standing::Unfinished => Worth::Unfinished,
        Standing::Sealed { .. } | Standing::Leftover => Worth::Dead,
        Standing::Erased { .. } => Worth::Erased,
    };
    There { id: judged.id.clone(), worth, set: judged.manifest.as_ref().and_then(|manifest| manifest.set.clone()), held: None }
}
