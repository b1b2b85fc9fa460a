//! `backup.check`: what a store has of a target, looking only.
//!
//! From a listing and the small records: which backups are good, how old and how large the newest is beside those before it,
//! what is damaged or has vanished, who can open it, when one was restored in a drill last. Then the newest is read to its
//! end: its checksums with no key, its content too where this agent has one. The mesh's catalogue says what was there before,
//! and is told what is there now.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mainstay_backup::check::{Checked, check, stored};
use mainstay_backup::judge::{Judged, Standing, newest_good};
use mainstay_backup::keys::Identities;
use mainstay_backup::manifest::Role;
use mainstay_backup::receipt::Verify;
use mainstay_backup::scan::Scan;
use mainstay_backup::{Id, Target};
use mainstay_core::backup::{BackupId, BackupNote, ListedBackup};
use mainstay_core::bounds;
use mainstay_core::catalogue::BACKUP_CHECK as KIND;
use mainstay_core::report::{Check, Report, Thresholds, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::params::{self, Limits, Percent, Span};
use super::super::{Context, StepError, wording};
use super::catalogue::{NotTaken, Recalled};
use super::store::Opened;
use super::{catalogue, mesh, not_told, subject, told};
use crate::connections::{Connection, ConnectionKind};

/// Backups that a report names one by one.
const NAMED: usize = 50;
/// Earlier ones that say what size is usual.
const USUAL: usize = 10;
const HOUR: f64 = 3_600.0;
/// A check of one that was there, and is not any more.
const VANISHED: &str = "backup.vanished";
/// A check of one that was read.
const CONTENT: &str = "backup.content";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    connection: Option<String>,
    store: Option<String>,
    age: Limits<Span>,
    size_change: Limits<Percent>,
    drill_within: Limits<Span>,
    read: Read,
    only_backed_up: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Read {
    #[default]
    Newest,
    All,
    None,
}

pub(in super::super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let (connection, target) = subject(KIND, params.connection.as_deref(), context)?;
    let (known, unasked) = match context.catalogue.recall(&target).await {
        Ok(known) => (known, None),
        Err(why) => (None, Some(unasked(&target, &why))),
    };
    let Some(store) = looked_at(&params, known.as_ref(), context) else {
        // Without a store there is nothing to be told of; with several, which one it is only the catalogue says.
        let has_stores = context.connections.of_kind(ConnectionKind::Store).next().is_some();
        let gone = known.as_ref().and_then(|known| known.known.backups.first()).filter(|_| has_stores);
        let gone = gone.map(|newest| {
            let message = format!(
                "its newest backup is in a store {}, which this agent has no connection to: name the one to look into, by  store",
                newest.store
            );
            Check::stated("backup.age", &target.to_string(), Verdict::Unknown, message)
        });
        return Ok(Report { checks: unasked.filter(|_| has_stores).into_iter().chain(gone).collect(), ..Report::default() });
    };
    let opened = Opened::of(KIND, store, None, context).await?;
    let (signers, identities) = (opened.signers()?, opened.identities(context)?);
    let failed = |error: &dyn std::fmt::Display| StepError::failed(format!("{KIND}: {}: {error}", connection.name));
    let Scan { backups, .. } = mainstay_backup::scan(&opened.store, Some(&target), &signers).await.map_err(|error| failed(&error))?;
    if params.only_backed_up && backups.is_empty() && known.as_ref().is_none_or(|known| known.known.backups.is_empty()) {
        return Ok(Report { checks: unasked.into_iter().collect(), ..Report::default() });
    }
    let now = Timestamp::from_millisecond(context.host.wall().0).map_err(|error| failed(&format!("the clock of this machine: {error}")))?;
    let newest = newest_good(&backups, &target, None);
    let mut checks = vec![age(newest, &backups, now, &params.age)];
    checks.extend(newest.and_then(|newest| size(newest, &backups, &params.size_change)));
    checks.extend(newest.and_then(keys));
    checks.extend(newest.and_then(|newest| mesh::judged(newest, &backups)));
    checks.extend(backups.iter().filter_map(damaged).take(NAMED));
    checks.extend(backups.iter().filter_map(unread).take(NAMED));
    // Remembered with every look, so that what is said without the catalogue is said of the last one.
    let by_memory = vanished(connection, &backups, context);
    match &known {
        Some(known) => checks.extend(gone(known, opened.connection.name.as_str(), &backups, newest)),
        None => checks.extend(by_memory),
    }
    checks.extend(known.iter().flat_map(|known| unerased(known, &backups)));
    checks.extend(known.as_ref().and_then(|known| drilled(known, now, &params.drill_within)));
    checks.extend(unasked);
    let good = backups.iter().filter(|one| one.standing == Standing::Good);
    let to_read: Vec<&Judged> = match params.read {
        Read::Newest => newest.into_iter().collect(),
        Read::All => good.clone().rev().take(NAMED).collect(),
        Read::None => Vec::new(),
    };
    let mut read = BTreeMap::new();
    for judged in to_read {
        let check = content(judged, &opened, identities.as_ref(), context).await;
        // What could not be read says nothing: what was known of it stays.
        if matches!(check.verdict, Verdict::Ok | Verdict::Critical) {
            read.insert(&judged.id, check.verdict);
        }
        checks.push(check);
    }
    if let Some(known) = &known {
        let mut told = context.catalogue.note(&target, found(known, &opened, &backups, &read)).await;
        if matches!(told, Err(NotTaken::Late(_))) {
            // Whoever removes them tells of it.
            checks.retain(|check| check.id != VANISHED);
            let second = again(&target, &opened, &signers, &read, context).await;
            told = second.map(|gone| checks.extend(gone));
        }
        let why = told.err().filter(|why| !matches!(why, NotTaken::Late(_)));
        checks.extend(why.map(|why| not_told(&target, &why)));
    }
    let damaged =
        checks.iter().filter(|check| ["backup.damaged", CONTENT].contains(&check.id.as_str()) && check.verdict == Verdict::Critical).count();
    let mut outputs: BTreeMap<String, Value> = [("good".to_owned(), Value::from(good.count())), ("damaged".to_owned(), Value::from(damaged))].into();
    if let Some(newest) = newest {
        outputs.insert("newest".to_owned(), Value::from(newest.id.to_string()));
        outputs.insert("ageSeconds".to_owned(), Value::from(seconds_since(newest, now)));
        outputs.insert("storedBytes".to_owned(), Value::from(newest.stored_bytes));
    }
    Ok(Report { checks, outputs, ..Report::default() })
}

/// The store that is looked at; nothing where the connection is left out, since nobody backs it up here. Of several stores it is
/// the one in which the mesh's catalogue has its newest backup.
fn looked_at<'p>(params: &'p Params, known: Option<&'p Recalled>, context: &Context) -> Option<Option<&'p str>> {
    let named = params.store.as_deref().filter(|named| !named.is_empty());
    if named.is_some() || !params.only_backed_up {
        return Some(named);
    }
    let mut stores = context.connections.of_kind(ConnectionKind::Store);
    match (stores.next(), stores.next()) {
        (None, _) => None,
        (Some(_), None) => Some(None),
        (Some(first), Some(second)) => {
            let newest = known?.known.backups.first()?.store.as_str();
            let is_here = [first, second].into_iter().chain(stores).any(|store| store.name.as_str() == newest);
            is_here.then_some(Some(newest))
        }
    }
}

/// That the mesh does not say what there was before.
fn unasked(target: &Target, why: &str) -> Check {
    let message = format!("the mesh's catalogue was not asked what there was before: {why}");
    Check::stated("backup.catalogue", &target.to_string(), Verdict::Unknown, message)
}

/// How old a backup is; one of the future is not old.
pub(super) fn seconds_since(judged: &Judged, now: Timestamp) -> f64 {
    now.duration_since(judged.id.time).as_secs_f64().max(0.0)
}

/// How old the newest good one is; that there is none is as bad as it gets.
fn age(newest: Option<&Judged>, all: &[Judged], now: Timestamp, limits: &Limits<Span>) -> Check {
    const ID: &str = "backup.age";
    let Some(newest) = newest else {
        let is_unconfirmed = all.iter().any(|one| matches!(one.standing, Standing::Unconfirmed { .. }));
        let check = Check::stated(ID, "", Verdict::Critical, "there is no good backup");
        let hint = if is_unconfirmed {
            "there are some that nothing confirms: name at the store  sign  or  signers"
        } else {
            "make one:  mainstay run start backup"
        };
        return check.with_hint(hint);
    };
    let age = seconds_since(newest, now);
    let message = format!("{} is {} old", newest.id, wording::seconds(age));
    Check::measured(ID, "", age.round(), "s", limits.seconds(26.0 * HOUR, 50.0 * HOUR), message)
}

/// By how much the size of the newest differs from the median of those before it.
fn size(newest: &Judged, all: &[Judged], limits: &Limits<Percent>) -> Option<Check> {
    let mut before: Vec<&Judged> = all.iter().filter(|one| one.standing == Standing::Good && one.id != newest.id).collect();
    before.sort_by_key(|one| std::cmp::Reverse((one.id.time, one.id.token)));
    let sizes = |of: &[&Judged]| of.iter().rev().map(|one| one.stored_bytes as f64).collect::<Vec<_>>();
    before.truncate(USUAL);
    let mut history = sizes(&before);
    let mut sorted = history.clone();
    sorted.sort_by(f64::total_cmp);
    let usual = sorted.get(sorted.len() / 2).copied().filter(|usual| *usual > 0.0)?;
    let is = newest.stored_bytes as f64;
    let differs = ((is - usual).abs() / usual * 1_000.0).round() / 10.0;
    let how = if is < usual { "less" } else { "more" };
    let message = format!("it takes {}, {} {how} than is usual", wording::bytes(newest.stored_bytes), wording::percent(differs));
    let thresholds = limits.from(Some(50.0), None);
    history.push(is);
    Some(Check::measured("backup.size", "", differs, "%", thresholds, message).with_history(history))
}

/// Whether somebody can open it who keeps a key offline.
fn keys(newest: &Judged) -> Option<Check> {
    let recipients = &newest.manifest.as_ref()?.recipients;
    let has = |role| recipients.iter().any(|one| one.role == role);
    Some(if has(Role::BreakGlass) {
        Check::stated("backup.keys", "", Verdict::Ok, "a break-glass key opens it")
    } else {
        Check::stated("backup.keys", "", Verdict::Warning, "no break-glass key opens it: who loses the drill key loses it")
            .with_hint("add at the store  breakGlass = [\"age1…\"]; the next backup is encrypted to it too")
    })
}

fn damaged(judged: &Judged) -> Option<Check> {
    let Standing::Damaged { what } = &judged.standing else { return None };
    let message = format!("it is not as it was: {}", what.first().map_or("", String::as_str));
    let check = Check::stated("backup.damaged", &judged.id.to_string(), Verdict::Critical, message);
    Some(
        check
            .with_details(what.iter().skip(1).take(4).cloned())
            .with_hint("look into who may write to the store; the newest good one is not this one"),
    )
}

/// That the store has it and does not give what says what it is.
fn unread(judged: &Judged) -> Option<Check> {
    let Standing::Unread { why } = &judged.standing else { return None };
    let check = Check::stated(CONTENT, &judged.id.to_string(), Verdict::Unknown, format!("it could not be read: {why}"));
    Some(check.with_hint("nothing is known to be wrong with it: mend the way to the store, and check again"))
}

/// What the catalogue has as erased, and the store lets be opened: who erased it did not come to the end.
fn unerased(known: &Recalled, all: &[Judged]) -> Vec<Check> {
    let is_whole = |judged: &&Judged| matches!(judged.standing, Standing::Good | Standing::Unconfirmed { .. });
    let whole = all.iter().filter(is_whole).filter_map(|judged| Some((judged, known.erased(&judged.id)?))).take(NAMED);
    let checks = whole.map(|(judged, erasure)| {
        let message = format!("{} had it erased, and its key is still in the store: it can be opened", erasure.by);
        let hint = format!("go on with it:  mainstay backup erase {} --store …", judged.id.target);
        Check::stated("backup.erased", &judged.id.to_string(), Verdict::Critical, message).with_hint(&hint)
    });
    checks.collect()
}

/// What the catalogue is told: the newest ones that came to their ends, and those that it had and the store has not.
fn found(known: &Recalled, opened: &Opened<'_>, all: &[Judged], read: &BTreeMap<&Id, Verdict>) -> BackupNote {
    let mut backups: Vec<ListedBackup> = all.iter().filter_map(|judged| catalogue::listed(judged, read.get(&judged.id).copied())).collect();
    backups.sort_by(|one, other| other.name.cmp(&one.name));
    backups.truncate(bounds::TARGET_BACKUPS);
    let missing = known.missing(opened.connection.name.as_str(), all).into_iter().filter_map(|backup| backup.id.parse::<BackupId>().ok());
    let missing = missing.map(|id| id.name).take(bounds::TARGET_BACKUPS).collect();
    BackupNote::Found { store: opened.connection.name.clone(), backups, missing, removals: known.known.removals }
}

/// Some were removed while it looked: looks once more, and tells what there is now with what came of reading before. What has
/// vanished then, it gives back.
async fn again(
    target: &Target,
    opened: &Opened<'_>,
    signers: &dyn Verify,
    read: &BTreeMap<&Id, Verdict>,
    context: &Context,
) -> Result<Vec<Check>, NotTaken> {
    let Some(known) = context.catalogue.recall(target).await.map_err(NotTaken::Failed)? else { return Ok(Vec::new()) };
    let scanned = mainstay_backup::scan(&opened.store, Some(target), signers).await;
    let backups = scanned.map_err(|error| NotTaken::Failed(error.to_string()))?.backups;
    context.catalogue.note(target, found(&known, opened, &backups, read)).await?;
    Ok(gone(&known, opened.connection.name.as_str(), &backups, newest_good(&backups, target, None)))
}

/// What the catalogue had and the store has not: retention tells of what it removes, so somebody else has taken it.
fn gone(known: &Recalled, store: &str, all: &[Judged], newest: Option<&Judged>) -> Vec<Check> {
    let newest = newest.map(|newest| newest.id.time.as_millisecond());
    // Nobody misses what cannot be opened any more.
    let missing = known.missing(store, all).into_iter().filter(|backup| backup.erased.is_none()).take(NAMED);
    let checks = missing.map(|backup| {
        let is_news = backup.missing_unix_ms == 0;
        let is_replaced = newest.is_some_and(|newest| newest > backup.begun_unix_ms);
        let verdict = if is_news || !is_replaced { Verdict::Critical } else { Verdict::Warning };
        let since = if is_news { "since the last look" } else { "for some time" };
        let good = if backup.counts { "it counted" } else { "it was there" };
        let message = format!("{good}, and has not been in {store} {since}; nothing that tells the mesh has removed it");
        Check::stated(VANISHED, &backup.id, verdict, message).with_hint("look into who may remove there, and make another one")
    });
    checks.collect()
}

/// How long ago one was restored; nothing where none was, and nobody asks.
fn drilled(known: &Recalled, now: Timestamp, limits: &Limits<Span>) -> Option<Check> {
    const ID: &str = "backup.drill";
    const HINT: &str = "restore one into a server of its own:  mainstay run start recovery-drill";
    let Some(drill) = &known.known.drill else {
        let is_asked = limits.warning.is_some() || limits.critical.is_some();
        let verdict = if limits.warning.is_some() { Verdict::Warning } else { Verdict::Critical };
        return is_asked.then(|| Check::stated(ID, "", verdict, "none of its backups has ever been restored in a drill").with_hint(HINT));
    };
    if !drill.proven {
        return Some(
            Check::stated(ID, "", Verdict::Critical, "the last drill did not go well")
                .with_hint("its run says what was wrong; when that is mended:  mainstay run start recovery-drill"),
        );
    }
    let age = ((now.as_millisecond() - drill.at_unix_ms) as f64 / 1_000.0).max(0.0).round();
    let seconds = |limit: Option<Span>| limit.map(|limit| limit.0.as_secs_f64());
    let thresholds = Thresholds { warning: seconds(limits.warning), critical: seconds(limits.critical), below: false };
    let check = Check::measured(ID, "", age, "s", thresholds, format!("one was restored in a drill {} ago", wording::seconds(age)));
    Some(if check.verdict == Verdict::Ok { check } else { check.with_hint(HINT) })
}

/// Without a catalogue: the newest good one of the last look is never removed by retention, so where it is gone, somebody else
/// has taken it.
fn vanished(connection: &Connection, all: &[Judged], context: &Context) -> Option<Check> {
    let newest = all.iter().filter(|one| one.standing == Standing::Good).max_by_key(|one| (one.id.time, one.id.token));
    let before = context.memory.replaced(&connection.name, KIND, newest.map(|one| one.id.to_string()));
    let gone = before.filter(|before| !all.iter().any(|one| one.id.to_string() == *before))?;
    let message = "it was the newest good one at the last look, and is not in the store any more; retention never removes that one";
    Some(Check::stated(VANISHED, &gone, Verdict::Critical, message).with_hint("look into who may remove there, and make another one"))
}

/// Reads one to its end.
async fn content(judged: &Judged, opened: &Opened<'_>, identities: Option<&Identities>, context: &Context) -> Check {
    let subject = judged.id.to_string();
    let Some(manifest) = &judged.manifest else { return Check::stated(CONTENT, &subject, Verdict::Unknown, "it has no manifest") };
    // Who can open it says more; who cannot still sees whether a byte has changed.
    let opens = identities.filter(|keys| manifest.recipients.iter().any(|one| keys.public().contains(&one.key)));
    let checked = told("reading", context, async |tell| match opens {
        Some(keys) => check(&opened.store, manifest, keys, tell).await,
        None => stored(&opened.store, manifest, tell).await,
    });
    was_read(&subject, &checked.await, opens.is_some())
}

/// What came of reading one. That a store did not let it be read says nothing of it; that one part is damaged says enough.
pub(super) fn was_read(subject: &str, checked: &Checked, is_opened: bool) -> Check {
    let of = |unread: bool| -> Vec<String> {
        let parts = checked.parts.iter().filter(|part| part.unread == unread);
        parts.filter_map(|part| Some(format!("{}: {}", part.name, part.wrong.as_ref()?))).collect()
    };
    let (damaged, unread) = (of(false), of(true));
    if let Some(first) = damaged.first() {
        return Check::stated(CONTENT, subject, Verdict::Critical, format!("it is damaged: {first}"))
            .with_details(damaged.iter().skip(1).chain(&unread).cloned())
            .with_hint("restore from an older one, and make another; look into what the store does to its bytes");
    }
    if let Some(first) = unread.first() {
        return Check::stated(CONTENT, subject, Verdict::Unknown, format!("it could not be read: {first}"))
            .with_details(unread.iter().skip(1).cloned())
            .with_hint("nothing is known to be wrong with it: mend the way to the store, and check again");
    }
    let how = if is_opened { "opened, and all of it is as it was written" } else { "its checksums are right; it was not opened" };
    let took = checked.took_ms as f64;
    Check::measured(CONTENT, subject, took, "ms", Thresholds::default(), format!("read in {}: {how}", wording::milliseconds(took)))
}
