//! `backup.restore`: a backup is put where nothing is, whole or not at all, and held against what its source had counted.
//!
//! Everything that can be known is looked at first: the rights to open it, the place, every byte of it. A second try after
//! an agent's death tells by a mark at the place what the first one came to. Objects of a cluster, which it cannot be given all
//! at once, are made one after the other, and taken back where one cannot be made.
//!
//! ```text
//! lease backup/CLUSTER/CONNECTION ─▶ which, who opens it, is the place free? ─▶ read to its end ─▶ put ─▶ compared
//! ```

mod objects;
mod place;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use mainstay_backup::check::Checked;
use mainstay_backup::judge::{Judged, Standing, good_of_set, newest_good};
use mainstay_backup::keys::Identities;
use mainstay_backup::manifest::Manifest;
use mainstay_backup::place::postgres::{Dump, JOBS_MAX, Parallel, room};
use mainstay_backup::seam::Stopwatch;
use mainstay_backup::{Id, Target};
use mainstay_core::Millis;
use mainstay_core::catalogue::BACKUP_RESTORE as KIND;
use mainstay_core::report::{Check, Report, Thresholds, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::params::{self, Limits, Span};
use super::super::{Context, StepError, wording};
use super::check::seconds_since;
use super::store::Opened;
use super::{WOULD_RESTORE, told, unless_called_off};
use crate::connections::{Connection, ConnectionKind};
use objects::Asked;
use place::{Compared, Is, Not, NotPut, Only, Order, Place};

/// What a backup can be put into: a database, a directory, or namespaces of a cluster.
const PLACES: [ConnectionKind; 3] = [ConnectionKind::Postgres, ConnectionKind::Files, ConnectionKind::Kubernetes];
const DONE: &str = "restore.done";
/// Where scratch space is, if nobody says where.
const SCRATCH: &str = "/var/tmp";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    connection: Option<String>,
    backup: String,
    at: Option<String>,
    set: Option<String>,
    store: Option<String>,
    overwrite: Option<String>,
    #[serde(default)]
    without_owners: bool,
    #[serde(default = "one")]
    jobs: u8,
    scratch: Option<PathBuf>,
    #[serde(default)]
    tables: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    namespace: Vec<String>,
    #[serde(default)]
    only: Vec<String>,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    rto_within: Limits<Span>,
    #[serde(default)]
    rpo_within: Limits<Span>,
    #[serde(default = "four_hours")]
    deadline: Span,
    #[serde(default)]
    dry_run: bool,
}

/// In one transaction.
fn one() -> u8 {
    1
}

fn four_hours() -> Span {
    Span(Millis::from_secs(4 * 3_600))
}

/// Which backup is wanted.
#[derive(Debug, PartialEq)]
struct Wanted {
    target: Target,
    named: Option<Id>,
    at: Option<Timestamp>,
    set: Option<String>,
}

impl Wanted {
    /// The one of a set, where a set is named: those of a set were made together.
    fn of_set(self, set: Option<&str>) -> Result<Wanted, String> {
        let Some(set) = set.filter(|set| !set.is_empty()) else { return Ok(self) };
        if self.named.is_some() || self.at.is_some() {
            return Err("`set` says which backup it is, and so does a whole name or `at`: say one of them".to_owned());
        }
        Ok(Wanted { set: Some(set.to_owned()), ..self })
    }
}

pub(in super::super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let watch = Stopwatch::start();
    let params: Params = params::read(KIND, with)?;
    let into = context.connection(KIND, &PLACES, params.connection.as_deref())?;
    let cluster = context.labels.cluster.as_ref().map(ToString::to_string).unwrap_or_default();
    let wanted = wanted(&params.backup, params.at.as_deref(), &cluster).and_then(|wanted| wanted.of_set(params.set.as_deref()));
    let wanted = wanted.map_err(|why| StepError::refused(format!("{KIND}: {why}")))?;
    let asked = Asked { namespaces: params.namespace, only: params.only, labels: params.labels };
    let only = Only::of(&params.tables, &params.paths, asked).map_err(|why| StepError::refused(format!("{KIND}: {why}")))?;
    named_twice(into, &wanted.target, params.overwrite.as_deref(), &cluster, context)?;
    let opened = unless_called_off(KIND, context, Opened::of(KIND, params.store.as_deref(), None, context)).await??;
    let keys = opened.identities(context)?.ok_or_else(|| {
        let (name, at) = (&opened.connection.name, &opened.connection.declared_at);
        StepError::refused(format!("{KIND}: {name} has no key that opens backups: at {at}:  identity = {{ file = \"restore.txt\" }}"))
    })?;
    let signers = opened.signers()?;
    let failed = |why: &dyn std::fmt::Display| StepError::failed(format!("{KIND}: {}: {why}", into.name));
    let scanned = unless_called_off(KIND, context, mainstay_backup::scan(&opened.store, Some(&wanted.target), &signers)).await?;
    let backups = scanned.map_err(|error| failed(&error))?.backups;
    let (judged, manifest) = chosen(&backups, &wanted).map_err(|why| failed(&why))?;
    let name = judged.id.to_string();
    if !opens(&keys, manifest) {
        let to: Vec<&str> = manifest.recipients.iter().map(|one| one.key.as_str()).collect();
        return Err(StepError::refused(format!(
            "{KIND}: the identity of {} does not open {name}, and nothing was touched: it is encrypted to {}; see {}",
            opened.connection.name,
            to.join(", "),
            opened.connection.declared_at
        )));
    }
    let now = Timestamp::from_millisecond(context.host.wall().0).map_err(|error| failed(&format!("the clock of this machine: {error}")))?;
    let rpo = seconds_since(judged, now).round();
    let refused = |why: String| StepError::refused(format!("{KIND}: {}: {why}", into.name));
    let place = Place::of(into, manifest, &only, context).await.map_err(refused)?;
    place.takes(manifest, &only).map_err(refused)?;
    let is_of_here = wanted.target.to_string().starts_with(&format!("{cluster}/"));
    if place.is_its_own(is_of_here) && params.overwrite.as_deref() != Some(into.name.as_str()) {
        return Err(named_once(into, &wanted.target));
    }
    let deadline = params.deadline.0.as_duration();
    let scratch = params.scratch.unwrap_or_else(|| SCRATCH.into());
    let parallel = (params.jobs > 1).then(|| Parallel { jobs: params.jobs.min(JOBS_MAX), scratch });
    if parallel.is_some() && !matches!(place, Place::Database(..)) {
        return Err(refused("`jobs` is for a database: it goes into a connection of kind postgres".to_owned()));
    }
    let order = Order { opened: &opened, manifest, keys: &keys, only: &only, without_owners: params.without_owners, parallel, deadline };
    let is = unless_called_off(KIND, context, place.is(&order)).await?.map_err(|not| match not {
        Not::Refused(why) => refused(why),
        Not::Failed(why) => failed(&why),
    })?;
    let (details, left_out) = place.remarks();
    if params.dry_run {
        let takes = order.parallel.as_ref().and_then(|how| {
            let needs = room(&Dump::of(manifest).ok()?);
            Some(format!(", by way of {} of scratch space in {}", wording::bytes(needs), how.scratch.display()))
        });
        let size = place.size(manifest) + &takes.unwrap_or_default();
        let mut checks = vec![would(&name, is, &place, &size, rpo).with_details(details)];
        checks.extend(left_out);
        return Ok(Report { checks, ..Report::default() });
    }
    let is_new = is.is_open();
    let mut packed = None;
    if is_new {
        place.has_room(&order).map_err(|why| failed(&why))?;
        let verified = told("verifying", context, async |tell| {
            let reading = mainstay_backup::check(&opened.store, manifest, &keys, tell);
            context.cancel.run_until_cancelled(reading).await
        });
        let verified = verified.await.ok_or_else(|| StepError::cancelled(format!("{KIND} was called off; nothing was touched")))?;
        is_sound(&name, &verified).map_err(|why| failed(&why))?;
        let put = told("restoring", context, async |tell| place.put(&order, tell, &context.cancel).await).await;
        packed = put.map_err(|not| match not {
            NotPut::Failed(why) => failed(&format!("{name}: {why}")),
            NotPut::CalledOff(left) => StepError::cancelled(format!("{KIND} was called off; {left}")),
        })?;
    }
    let rto = watch.elapsed().as_secs_f64();
    let compared = unless_called_off(KIND, context, place.compared(manifest, deadline, &only, packed)).await?.map_err(|why| failed(&why))?;
    if is == Is::Begun {
        // The transaction of who died has come to its end, or somebody else was faster.
        if !compared.is_same() {
            return Err(failed(&format!(
                "an earlier try had begun to restore {name} here, and what is there is something else{}; nothing was touched: make the database anew (dropdb, createdb)",
                compared.differs.first().map_or_else(String::new, |first| format!(": {first}"))
            )));
        }
        place.settle(manifest, &only).await.map_err(|why| failed(&why))?;
    }
    let mut checks = vec![done(&name, &place, &compared, is_new).with_details(details)];
    checks.extend(left_out);
    if is_new {
        let message = format!("all of it was there after {}", wording::seconds(rto));
        checks.push(Check::measured("restore.rto", "", rounded(rto), "s", limits(&params.rto_within), message));
    }
    checks.push(Check::measured(
        "restore.rpo",
        "",
        rpo,
        "s",
        limits(&params.rpo_within),
        format!("what was restored is {} old", wording::seconds(rpo)),
    ));
    let outputs = outputs(&name, rpo, is_new.then_some(rto), &compared);
    Ok(Report { checks, outputs, ..Report::default() })
}

/// The backup that is named, or whose newest one is.
fn wanted(backup: &str, at: Option<&str>, cluster: &str) -> Result<Wanted, String> {
    const NAMES: &str = "CLUSTER/CONNECTION, CONNECTION of this cluster, or CLUSTER/CONNECTION/TIME-TOKEN";
    if backup.is_empty() {
        return Err(format!("no backup is named: backup = {NAMES}"));
    }
    let at = at.filter(|at| !at.is_empty()).map(|at| at.parse::<Timestamp>().map_err(|error| format!("`at` is {at}: {error}"))).transpose()?;
    if let Ok(id) = backup.parse::<Id>() {
        return match at {
            None => Ok(Wanted { target: id.target.clone(), named: Some(id), at, set: None }),
            Some(_) => Err("a backup is named, and `at` chooses one: say one of the two".to_owned()),
        };
    }
    let target = if backup.contains('/') { backup.parse::<Target>() } else { Target::new(cluster, backup) };
    let target = target.map_err(|error| format!("`backup` is {backup}, and should be {NAMES}: {error}"))?;
    Ok(Wanted { target, named: None, at, set: None })
}

/// What was backed up is restored into only by who says so twice, and then only where it is empty, as everything is.
fn named_twice(into: &Connection, target: &Target, overwrite: Option<&str>, cluster: &str, context: &Context) -> Result<(), StepError> {
    let is_itself = Target::new(cluster, into.name.as_str()).is_ok_and(|own| own == *target) || is_the_same_place(into, target, cluster, context);
    // Whether objects go where they came from, only the backup tells.
    if !is_itself || overwrite == Some(into.name.as_str()) || into.kind == ConnectionKind::Kubernetes {
        return Ok(());
    }
    Err(named_once(into, target))
}

fn named_once(into: &Connection, target: &Target) -> StepError {
    StepError::refused(format!(
        "{KIND}: {} is what was backed up as {target}; nothing was touched. If it is lost, and empty, name it twice:  overwrite: {}",
        into.name, into.name
    ))
}

/// Whether what was backed up is reached under another name too.
fn is_the_same_place(into: &Connection, target: &Target, cluster: &str, context: &Context) -> bool {
    let same = |source: &Connection| source.kind == into.kind && source.address == into.address;
    let is_source = |source: &&Connection| Target::new(cluster, source.name.as_str()).is_ok_and(|own| own == *target);
    context.connections.of_kind(into.kind).filter(is_source).any(same)
}

/// The one that is wanted, with what it says of itself.
fn chosen<'j>(backups: &'j [Judged], wanted: &Wanted) -> Result<(&'j Judged, &'j Manifest), String> {
    let target = &wanted.target;
    if let Some(set) = &wanted.set {
        let of_set = good_of_set(backups, target, set).and_then(|good| Some((good, good.manifest.as_ref()?)));
        return of_set.ok_or_else(|| format!("{target} has no good backup in the set {set}; which sets there are:  mainstay backup list --store …"));
    }
    let Some(id) = &wanted.named else {
        let until = wanted.at.map_or_else(String::new, |at| format!(" at or before {at}"));
        let newest = newest_good(backups, target, wanted.at).and_then(|newest| Some((newest, newest.manifest.as_ref()?)));
        return newest.ok_or_else(|| format!("{target} has no good backup{until}; which there are:  mainstay backup list {target}"));
    };
    let named = backups.iter().find(|judged| judged.id == *id);
    let named = named.ok_or_else(|| format!("there is no {id} in the store; which there are:  mainstay backup list {target}"))?;
    match (&named.standing, &named.manifest) {
        (Standing::Good | Standing::Unconfirmed { .. }, Some(manifest)) => Ok((named, manifest)),
        (Standing::Damaged { what }, _) => Err(format!("{id} is damaged: {}", what.join("; "))),
        (Standing::Unread { why }, _) => Err(format!("{id} could not be read, which says nothing of it: {why}")),
        _ => Err(format!("{id} did not come to its end")),
    }
}

/// Whether one of these keys is one that it was encrypted to.
fn opens(keys: &Identities, manifest: &Manifest) -> bool {
    let own = keys.public();
    manifest.recipients.iter().any(|one| own.contains(&one.key))
}

/// Nothing is put anywhere that is not known to be whole.
fn is_sound(name: &str, read: &Checked) -> Result<(), String> {
    let wrong = |unread: bool| read.parts.iter().filter(move |part| part.unread == unread).find_map(|part| Some((&part.name, part.wrong.as_ref()?)));
    match (wrong(false), wrong(true)) {
        (Some((part, wrong)), _) => {
            Err(format!("{name} is damaged: {part}: {wrong}; nothing was touched: an older one may do, by  at  (mainstay backup list)"))
        }
        (None, Some((part, wrong))) => Err(format!("{name} could not be read: {part}: {wrong}; nothing was touched: mend the way to the store")),
        (None, None) => Ok(()),
    }
}

fn would(name: &str, is: Is, place: &Place, size: &str, rpo: f64) -> Check {
    let old = wording::seconds(rpo);
    let message = match is {
        Is::Free => format!("it is {old} old, and would be restored into {place}: {size}; nothing was changed"),
        Is::Half => format!("it is {old} old; an earlier try has put some of it into {place}: the rest would be, of {size}"),
        Is::Restored => format!("it is {old} old, and was restored into {place} before: nothing would be touched"),
        Is::Begun => format!("it is {old} old; an earlier try has begun to restore it into {place}: what is there would be compared"),
    };
    Check::stated(WOULD_RESTORE, name, Verdict::Ok, message)
}

fn done(name: &str, place: &Place, compared: &Compared, is_new: bool) -> Check {
    let before = "an earlier try has restored it";
    match (compared.differs.split_first(), is_new) {
        (None, true) => Check::stated(DONE, name, Verdict::Ok, format!("restored into {place}, and is what it was: {}", compared.words)),
        (None, false) => Check::stated(DONE, name, Verdict::Ok, format!("{before} into {place}, and it is what it was: {}", compared.words)),
        (Some((first, others)), true) => {
            let check = Check::stated(DONE, name, Verdict::Critical, format!("restored into {place}, and is not what it was: {first}"));
            check.with_details(others.iter().cloned())
        }
        // Who uses it writes.
        (Some((first, others)), false) => {
            let check = Check::stated(DONE, name, Verdict::Warning, format!("{before} into {place}, and it has changed since: {first}"));
            check.with_details(others.iter().cloned())
        }
    }
}

fn limits(limits: &Limits<Span>) -> Thresholds {
    let seconds = |limit: Option<Span>| limit.map(|limit| limit.0.as_secs_f64());
    Thresholds { warning: seconds(limits.warning), critical: seconds(limits.critical), below: false }
}

/// To milliseconds.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1_000.0).round() / 1_000.0
}

fn outputs(name: &str, rpo: f64, rto: Option<f64>, compared: &Compared) -> BTreeMap<String, Value> {
    let outputs = [
        ("backup", Some(Value::from(name))),
        ("rpoSeconds", Some(Value::from(rpo))),
        ("rtoSeconds", rto.map(|rto| Value::from(rounded(rto)))),
        ("counted", compared.counted.map(Value::from)),
        ("same", Some(Value::from(compared.differs.is_empty()))),
    ];
    outputs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests;
