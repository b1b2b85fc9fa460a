//! `recovery.drill`: a backup is not good until it has been restored.
//!
//! That a backup cannot be restored, or is not what it was, is what a drill is for to find: a critical verdict. That it could
//! not be tried here says nothing of the backup: the step fails.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mainstay_backup::drill::{DrillError, Drilled, Order, drill};
use mainstay_backup::judge::newest_good;
use mainstay_backup::manifest::Manifest;
use mainstay_client::files;
use mainstay_core::Millis;
use mainstay_core::backup::{BackupNote, Drill};
use mainstay_core::catalogue::RECOVERY_DRILL as KIND;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::params::{self, Limits, Span};
use super::super::{Context, StepError, wording};
use super::check::seconds_since;
use super::store::Opened;
use super::{catalogue, mesh, not_told, subject, told, unless_called_off};

const VERDICT: &str = "drill.restored";
const HOUR: f64 = 3_600.0;
/// A database takes more room than its dump: indexes are made anew, and what is written is logged first.
const ROOM: u64 = 3;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    connection: Option<String>,
    store: Option<String>,
    rto: Limits<Span>,
    rpo: Limits<Span>,
    scratch: PathBuf,
    deadline: Span,
}

impl Default for Params {
    fn default() -> Params {
        let deadline = Span(Millis::from_secs(4 * 3_600));
        Params { connection: None, store: None, rto: Limits::default(), rpo: Limits::default(), scratch: "/var/tmp".into(), deadline }
    }
}

pub(in super::super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let (connection, target) = subject(KIND, params.connection.as_deref(), context)?;
    let opened = unless_called_off(KIND, context, Opened::of(KIND, params.store.as_deref(), None, context)).await??;
    let failed = |why: &dyn std::fmt::Display| StepError::failed(format!("{KIND}: {}: {why}", connection.name));
    let keys = opened.identities(context)?.ok_or_else(|| {
        let at = &opened.connection.declared_at;
        StepError::refused(format!(
            "{KIND}: {} has no key that opens backups: at {at}:  identity = {{ file = \"drill.txt\" }}",
            opened.connection.name
        ))
    })?;
    let signers = opened.signers()?;
    let scanned = unless_called_off(KIND, context, mainstay_backup::scan(&opened.store, Some(&target), &signers)).await?;
    let backups = scanned.map_err(|error| failed(&error))?.backups;
    let Some((newest, manifest)) = newest_good(&backups, &target, None).and_then(|newest| Some((newest, newest.manifest.as_ref()?))) else {
        let check = Check::stated(VERDICT, &target.to_string(), Verdict::Critical, "there is no good backup to restore");
        let mut checks = vec![check.with_hint("make one:  mainstay run start backup")];
        let told = context.catalogue.note(&target, BackupNote::Drilled { drill: Drill { backup: None, proven: false, rto: None, rpo: None } }).await;
        checks.extend(told.err().map(|why| not_told(&target, &why)));
        return Ok(Report { checks, ..Report::default() });
    };
    let now = Timestamp::from_millisecond(context.host.wall().0).map_err(|error| failed(&format!("the clock of this machine: {error}")))?;
    let rpo = seconds_since(newest, now).round();
    let deadline = params.deadline.0.as_duration();
    let drilled = if mesh::is_of(manifest) {
        told("restoring", context, async |tell| mesh::drill(&opened.store, manifest, &keys, deadline, tell, &context.cancel).await).await
    } else {
        has_room(&params.scratch, manifest).map_err(|why| failed(&why))?;
        let order = Order { store: &opened.store, manifest, keys: &keys, programs: None, within: &params.scratch, deadline };
        told("restoring", context, async |tell| drill(&order, tell, &context.cancel).await).await
    };
    let name = newest.id.to_string();
    let (verdict, rto) = match drilled {
        Ok(drilled) => (judged(&name, &drilled), Some(drilled.restored_ms)),
        Err(DrillError::Unread(why)) => return Ok(unread(&name, &why, rpo)),
        Err(DrillError::NotRestored(why)) => {
            let check = Check::stated(VERDICT, &name, Verdict::Critical, format!("it could not be restored: {why}"));
            (check.with_hint("make another one, and drill again; an older one may do:  mainstay backup restore --at TIME"), None)
        }
        Err(DrillError::NotTried(why)) => return Err(failed(&format!("{name} was not tried: {why}"))),
        Err(DrillError::Cancelled) => return Err(StepError::cancelled(format!("{KIND} was called off; what it had restored is removed"))),
    };
    let proven = verdict.verdict == Verdict::Ok;
    let mut checks = vec![verdict];
    let drill = Drill { backup: catalogue::name(&newest.id), proven, rto: rto.map(Millis), rpo: Some(Millis((rpo * 1_000.0) as u64)) };
    let told = context.catalogue.note(&target, BackupNote::Drilled { drill }).await;
    checks.extend(told.err().map(|why| not_told(&target, &why)));
    checks.extend(rto.map(|ms| time_to_recover(ms, &params.rto)));
    checks.push(Check::measured(
        "drill.rpo",
        "",
        rpo,
        "s",
        params.rpo.seconds(26.0 * HOUR, 50.0 * HOUR),
        format!("what would be restored is {} old", wording::seconds(rpo)),
    ));
    let outputs = [
        ("backup", Some(Value::from(name))),
        ("proven", Some(Value::from(proven))),
        ("rtoMs", rto.map(Value::from)),
        ("rpoSeconds", Some(Value::from(rpo))),
    ];
    let outputs = outputs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Ok(Report { checks, outputs, ..Report::default() })
}

/// That a store did not let it be read says nothing of it: what the mesh knew of its drills stays.
fn unread(name: &str, why: &str, rpo: f64) -> Report {
    let check = Check::stated(VERDICT, name, Verdict::Unknown, format!("it could not be read: {why}"));
    let check = check.with_hint("nothing is known to be wrong with it: mend the way to the store, and drill again");
    let outputs = [("backup".to_owned(), Value::from(name)), ("rpoSeconds".to_owned(), Value::from(rpo))];
    Report { checks: vec![check], outputs: outputs.into(), ..Report::default() }
}

fn judged(name: &str, drilled: &Drilled) -> Check {
    match drilled.differs.split_first() {
        None => Check::stated(VERDICT, name, Verdict::Ok, format!("it was restored, and is what it was: {}", drilled.compared)),
        Some((first, others)) => {
            let check = Check::stated(VERDICT, name, Verdict::Critical, format!("it was restored, and is not what it was: {first}"));
            check.with_details(others.iter().cloned())
        }
    }
}

fn time_to_recover(ms: u64, limits: &Limits<Span>) -> Check {
    let seconds = Millis(ms).as_secs_f64();
    let thresholds = mainstay_core::report::Thresholds {
        warning: limits.warning.map(|span| span.0.as_secs_f64()),
        critical: limits.critical.map(|span| span.0.as_secs_f64()),
        below: false,
    };
    Check::measured("drill.rto", "", seconds, "s", thresholds, format!("all of it was there after {}", wording::milliseconds(ms as f64)))
}

/// Whether there is room for what is restored.
fn has_room(scratch: &Path, manifest: &Manifest) -> Result<(), String> {
    let plain: u64 = manifest.parts.iter().map(|part| part.plain.bytes).sum();
    let (needs, free) = (plain.saturating_mul(ROOM), files::free_bytes(scratch).map_err(|error| format!("{}: {error}", scratch.display()))?);
    if free >= needs {
        return Ok(());
    }
    let (needs, free) = (wording::bytes(needs), wording::bytes(free));
    Err(format!("{} has {free} left, and about {needs} are needed: make room, or name another directory, by  scratch", scratch.display()))
}
