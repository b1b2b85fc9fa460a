//! `backup.prune`: removes what no rule keeps. What goes is decided from all that the store has of the target; nothing goes
//! while it is not known whose word counts, since then no backup is known to be good.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use mainstay_backup::judge::{Judged, Standing};
use mainstay_backup::prune::{Pruned, remove};
use mainstay_backup::retention::{Fate, Policy, There, Worth, decide};
use mainstay_backup::{Id, Target};
use mainstay_core::bounds;
use mainstay_core::catalogue::BACKUP_PRUNE as KIND;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::{Context, StepError, params};
use super::catalogue::Recalled;
use super::store::Opened;
use super::{PRUNED, not_told, say, subject, token, unless_called_off};

/// Backups that a report names one by one; the others are counted.
const NAMED: usize = 100;
/// Those that one note names: they are gone before the next note, so that the catalogue forgets none that stays because a later
/// note was refused.
const TOLD_AT_ONCE: usize = if cfg!(test) { 2 } else { bounds::TARGET_BACKUPS };

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    connection: Option<String>,
    store: Option<String>,
    #[serde(default = "seven")]
    last: u32,
    #[serde(default)]
    daily: u32,
    #[serde(default)]
    weekly: u32,
    #[serde(default)]
    monthly: u32,
    #[serde(default)]
    yearly: u32,
    maximum: Option<u32>,
    zone: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

fn seven() -> u32 {
    7
}

#[derive(Default)]
struct Counts {
    removed: u64,
    kept: u64,
    locked: u64,
}

pub(in super::super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let (connection, target) = subject(KIND, params.connection.as_deref(), context)?;
    let refused = |why: String| StepError::refused(format!("{KIND}: {why}"));
    let Params { last, daily, weekly, monthly, yearly, maximum, .. } = params;
    let policy = Policy { last, daily, weekly, monthly, yearly, maximum }.checked().map_err(|error| refused(error.to_string()))?;
    let zone = params.zone.as_deref().unwrap_or("UTC");
    let zone = TimeZone::get(zone).map_err(|_| refused(format!("`{zone}` is no time zone such as Europe/Berlin")))?;
    if !params.dry_run {
        // Removing carries no token; that there is a lease is what keeps a writer away.
        token(KIND, context)?;
    }
    let opened = unless_called_off(KIND, context, Opened::of(KIND, params.store.as_deref(), None, context)).await??;
    let signers = opened.signers()?;
    if signers.is_empty() {
        let at = &opened.connection.declared_at;
        return Err(refused(format!("no backup is known to be good, so nothing may go: say whose word counts, at {at}:  signers = [\"ed25519:…\"]")));
    }
    let failed = |error: &dyn std::fmt::Display| StepError::failed(format!("{KIND}: {}: {error}", connection.name));
    let scanned = unless_called_off(KIND, context, mainstay_backup::scan(&opened.store, Some(&target), &signers)).await?;
    let found = scanned.map_err(|error| failed(&error))?.backups;
    let recalled =
        context.catalogue.recall(&target).await.map_err(|why| failed(&format!("the mesh was not asked what is held, so nothing goes: {why}")))?;
    let there: Vec<There> = found.iter().map(|judged| there(judged, recalled.as_ref())).collect();
    let mut fates = decide(policy, &zone, &there).map_err(|error| refused(error.to_string()))?;
    if there.iter().any(|one| one.set.is_some() && matches!(fates.get(&one.id), Some(Fate::Goes(_)))) {
        // Whether another target's backup of the set stays, only a look at all of them says; by the same rules, near enough.
        let scanned = unless_called_off(KIND, context, mainstay_backup::scan(&opened.store, None, &signers)).await?;
        let others = scanned.map_err(|error| failed(&error))?.backups;
        let mut all = there.clone();
        let sets: BTreeSet<Option<&str>> = there.iter().map(|one| one.set.as_deref()).filter(Option::is_some).collect();
        let targets: BTreeSet<&Target> =
            others.iter().filter(|judged| judged.id.target != target && sets.contains(&set_of(judged))).map(|judged| &judged.id.target).collect();
        for other in targets {
            // What somebody holds of another target keeps its set whole, too. Of another cluster an agent is not told.
            let recalled = if other.cluster() == target.cluster() { context.catalogue.recall(other).await } else { Ok(None) };
            let recalled = recalled.map_err(|why| failed(&format!("the mesh was not asked what is held, so nothing goes: {why}")))?;
            all.extend(others.iter().filter(|judged| judged.id.target == *other).map(|judged| self::there(judged, recalled.as_ref())));
        }
        fates = decide(policy, &zone, &all).map_err(|error| refused(error.to_string()))?;
    }
    let (mut checks, mut counts) = (Vec::new(), Counts::default());
    let is_to_go = |id: &&Id| matches!(fates.get(*id), Some(Fate::Goes(_)));
    let goes: Vec<&Id> = found.iter().map(|judged| &judged.id).filter(is_to_go).collect();
    let mut notes = goes.chunks(TOLD_AT_ONCE).peekable();
    for judged in &found {
        let Some(Fate::Goes(why)) = fates.get(&judged.id) else {
            counts.kept += 1;
            continue;
        };
        let message = if params.dry_run {
            counts.removed += 1;
            format!("would go: {why}")
        } else {
            if let Some(next) = notes.next_if(|next| next.first() == Some(&&judged.id)) {
                // Before the first of them is gone, so that nobody misses it; one that is held by now is refused here.
                let more = if counts.removed + counts.locked == 0 { "" } else { " more" };
                let told = context.catalogue.removed(&target, next).await;
                told.map_err(|why| failed(&format!("the mesh's catalogue was not told what goes, so nothing{more} does: {why}")))?;
            }
            // One that is half removed counts for nothing, and goes with the next run.
            match unless_called_off(KIND, context, remove(&opened.store, &judged.id)).await?.map_err(|error| failed(&error))? {
                Pruned::Gone => {
                    counts.removed += 1;
                    format!("gone: {why}")
                }
                Pruned::Locked { why } => {
                    counts.locked += 1;
                    format!("it goes when the store lets it: {why}")
                }
            }
        };
        say(context, &format!("{}: {message}", judged.id));
        if checks.len() < NAMED {
            checks.push(Check::stated(PRUNED, &judged.id.to_string(), Verdict::Ok, message));
        }
    }
    if !params.dry_run && !goes.is_empty() {
        // Who looked in the meantime may have told of them anew.
        checks.extend(context.catalogue.removed(&target, &goes).await.err().map(|why| not_told(&target, &why)));
    }
    checks.insert(0, summary(&target.to_string(), &counts, params.dry_run));
    let outputs = [("removed", counts.removed), ("kept", counts.kept), ("locked", counts.locked)];
    Ok(Report { checks, outputs: outputs.map(|(name, count)| (name.to_owned(), Value::from(count))).into(), ..Report::default() })
}

fn summary(target: &str, counts: &Counts, dry_run: bool) -> Check {
    let did = if dry_run { "would be removed, and nothing was" } else { "removed" };
    let locked = if counts.locked == 0 { String::new() } else { format!(", {} locked by the store", counts.locked) };
    Check::stated("backup.retention", target, Verdict::Ok, format!("{} kept, {} {did}{locked}", counts.kept, counts.removed))
}

/// What a backup belongs to.
fn set_of(judged: &Judged) -> Option<&str> {
    judged.manifest.as_ref().and_then(|manifest| manifest.set.as_deref())
}

/// What retention is told of one.
fn there(judged: &Judged, recalled: Option<&Recalled>) -> There {
    let worth = match judged.standing {
        Standing::Good => Worth::Good,
        Standing::Unconfirmed { .. } => Worth::Unconfirmed,
        Standing::Damaged { .. } => Worth::Damaged,
        Standing::Unread { .. } => Worth::Unread,
        Standing::Unfinished => Worth::Unfinished,
        Standing::Sealed { .. } | Standing::Leftover => Worth::Dead,
        Standing::Erased { .. } => Worth::Erased,
    };
    let held = recalled.and_then(|recalled| recalled.held(&judged.id));
    There { id: judged.id.clone(), worth, set: set_of(judged).map(str::to_owned), held }
}
