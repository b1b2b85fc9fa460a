//! `kube.cronjobs`: whether what is to run by the clock does, and what came of it.
//!
//! In: CronJobs and the Jobs that they made. Out: a check for each that has missed its time, whose last Job failed, that
//! is suspended, or of which too many run at once. A Job that has completed is how it should be.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mainstay_core::calendar::Cron;
use mainstay_core::report::{Check, Report, Thresholds, Verdict};
use mainstay_core::{Millis, WallTime};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::params::{self, Limits, Span};
use super::super::{Context, StepError, wording};
use super::now::Now;
use crate::kube::Selected;
use crate::kube::objects::{CronJob, Job};

const KIND: &str = "kube.cronjobs";
/// Missed times that are counted; more are "at least" so many.
const COUNTED_MAX: usize = 100;
/// Where a CronJob names none, its schedule is in the zone of kube-controller-manager, which is this one almost always.
const ZONE: &str = "UTC";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    namespaces: Vec<String>,
    exclude_namespaces: Vec<String>,
    selector: Option<String>,
    late_by: Span,
    active: Limits<f64>,
    suspended: Suspended,
}

/// What it means that a CronJob is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Suspended {
    Ok,
    Warning,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            namespaces: super::everywhere(),
            exclude_namespaces: Vec::new(),
            selector: None,
            late_by: Span(Millis::from_secs(300)),
            active: Limits::default(),
            suspended: Suspended::Warning,
        }
    }
}

/// From where on something counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judging {
    pub now: Now,
    pub late_by: Millis,
    pub active: Thresholds,
    pub suspended: Suspended,
}

/// The newest Job of each CronJob that has ended.
#[derive(Debug, Default)]
pub(super) struct Ended(BTreeMap<(String, String), Job>);

impl Ended {
    pub(super) fn add(&mut self, job: Job) {
        let Some(owner) = job.metadata.controller().filter(|owner| owner.kind == "CronJob") else { return };
        if job.ended().is_none() {
            return;
        }
        let key = (job.metadata.namespace.clone(), owner.name.clone());
        let is_newer = self.0.get(&key).is_none_or(|other| other.metadata.creation_timestamp <= job.metadata.creation_timestamp);
        if is_newer {
            self.0.insert(key, job);
        }
    }
}

/// Looks at all CronJobs.
///
/// # Errors
/// Refused parameters; a cluster that cannot be seen.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let cluster = super::cluster(KIND, context)?;
    let judging =
        Judging { now: Now::of(KIND, context)?, late_by: params.late_by.0, active: params.active.above(3.0, 10.0), suspended: params.suspended };
    let failed = |error| super::failed(KIND, &error);
    let wants = |namespace: &str| super::wants(&params.namespaces, &params.exclude_namespaces, namespace);
    // Jobs first: what is made in between is of a CronJob that has not missed anything.
    let mut ended = Ended::default();
    let kept = |job: Job| {
        if wants(&job.metadata.namespace) {
            ended.add(job)
        }
    };
    cluster.each("/apis/batch/v1/jobs", Selected::default(), kept).await.map_err(failed)?;
    let mut crons = Vec::new();
    let selected = Selected { labels: params.selector.as_deref(), ..Selected::default() };
    let kept = |cron: CronJob| {
        if wants(&cron.metadata.namespace) {
            crons.push(cron)
        }
    };
    cluster.each("/apis/batch/v1/cronjobs", selected, kept).await.map_err(failed)?;
    Ok(report(&crons, &ended, judging))
}

pub(super) fn report(crons: &[CronJob], ended: &Ended, judging: Judging) -> Report {
    let mut checks: Vec<Check> = crons.iter().flat_map(|cron| judge(cron, ended, judging)).collect();
    let count = |id: &str| checks.iter().filter(|check| check.id == id).count();
    let outputs = [
        ("cronJobs", crons.len()),
        ("missed", count(MISSED)),
        ("failed", count(FAILED)),
        ("suspended", crons.iter().filter(|cron| cron.spec.suspend == Some(true)).count()),
    ];
    let outputs = outputs.map(|(name, number)| (name.to_owned(), Value::from(number))).into();
    checks.sort_by_key(|check| std::cmp::Reverse(check.verdict));
    let seen = wording::count(crons.len() as u64, "CronJob", "CronJobs");
    let message = if checks.is_empty() { format!("{seen}: all run when they should, and succeed") } else { format!("{seen} were looked at") };
    checks.push(Check::stated(KIND, "", Verdict::Ok, message));
    Report { checks, outputs, ..Report::default() }
}

const MISSED: &str = "kube.cronJob.missed";
const FAILED: &str = "kube.cronJob.failed";

fn judge(cron: &CronJob, ended: &Ended, judging: Judging) -> Vec<Check> {
    let (meta, now) = (&cron.metadata, judging.now);
    let subject = format!("{}/CronJob/{}", meta.namespace, meta.name);
    let mut checks = Vec::new();
    if cron.spec.suspend == Some(true) {
        if judging.suspended == Suspended::Warning {
            let last = cron.status.last_schedule_time.map_or_else(|| "and has never run".to_owned(), |last| format!("and ran {} ago", now.ago(last)));
            let message = format!("is suspended, {last}");
            let resume = format!("kubectl -n {} patch cronjob {} -p '{{\"spec\":{{\"suspend\":false}}}}'", meta.namespace, meta.name);
            checks.push(Check::stated("kube.cronJob.suspended", &subject, Verdict::Warning, message).with_hint(resume));
        }
    } else {
        checks.extend(missed(cron, &subject, judging));
    }
    let active = cron.status.active.len() as u64;
    let verdict = judging.active.judge(active as f64);
    if verdict != Verdict::Ok {
        let message = format!("{} at once", wording::count(active, "of its Jobs runs", "of its Jobs run"));
        let check = Check::measured("kube.cronJob.active", &subject, active as f64, "", judging.active, message);
        checks.push(check.with_hint("they may wait for one another, or take longer than from one to the next"));
    }
    let newest = ended.0.get(&(meta.namespace.clone(), meta.name.clone()));
    if let Some((job, (false, state))) = newest.and_then(|job| Some((job, job.ended()?))) {
        let when = state.last_transition_time.map_or_else(String::new, |at| format!(" {} ago", now.ago(at)));
        let success =
            cron.status.last_successful_time.map_or_else(|| "none has succeeded".to_owned(), |at| format!("the last success is {} old", now.ago(at)));
        let message = format!("its last Job {} failed{when}: {}; {success}", job.metadata.name, state.message.trim());
        let hint = format!("kubectl -n {} logs job/{} shows how it ended", meta.namespace, job.metadata.name);
        checks.push(Check::stated(FAILED, &subject, Verdict::Critical, message).with_hint(hint));
    }
    checks
}

/// A time that has come and gone without a Job.
fn missed(cron: &CronJob, subject: &str, judging: Judging) -> Option<Check> {
    let (spec, now) = (&cron.spec, judging.now);
    let zone = spec.time_zone.as_deref().filter(|zone| !zone.is_empty()).unwrap_or(ZONE);
    let schedule = match Cron::parse(&spec.schedule, zone) {
        Ok(schedule) => schedule,
        // An interval from when its controller began; nobody else can say when that ends.
        Err(_) if spec.schedule.starts_with("@every ") => return None,
        Err(error) => return Some(Check::stated(MISSED, subject, Verdict::Unknown, format!("its schedule cannot be read: {error}"))),
    };
    let wall = |at: Timestamp| WallTime(at.as_millisecond());
    let from = cron.status.last_schedule_time.max(cron.metadata.creation_timestamp)?;
    let until = WallTime(wall(now.0).0.saturating_sub(i64::try_from(judging.late_by.0).unwrap_or(i64::MAX)));
    let due = schedule.between(wall(from), until, COUNTED_MAX);
    let newest = due.newest?;
    let newest = Timestamp::from_millisecond(newest.0).map_or_else(|_| String::new(), |newest| format!(", the last of them {} ago", now.ago(newest)));
    let times = if due.count < COUNTED_MAX { wording::count(due.count as u64, "time", "times") } else { format!("at least {COUNTED_MAX} times") };
    let last = cron.status.last_schedule_time.map_or_else(|| "it has never run".to_owned(), |last| format!("it ran {} ago", now.ago(last)));
    let (why, hint) = match (spec.concurrency_policy.as_str(), cron.status.active.first()) {
        ("Forbid", Some(running)) => (format!(": Job {} still runs, and forbids another", running.name), "look at what that Job waits for"),
        _ => (String::new(), "kubectl describe cronjob shows why none was made: a quota, an admission webhook, startingDeadlineSeconds"),
    };
    let message = format!("has missed its time {times}{newest}; {last}{why}");
    Some(Check::stated(MISSED, subject, Verdict::Critical, message).with_hint(hint))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-11-28T12:00:00Z";

    fn told(cron: Value, jobs: &[Value]) -> Vec<(String, Verdict, String)> {
        let mut ended = Ended::default();
        jobs.iter().for_each(|job| ended.add(serde_json::from_value(job.clone()).unwrap()));
        let judging = Judging {
            now: Now(NOW.parse().unwrap()),
            late_by: Millis::from_secs(300),
            active: Thresholds::above(3.0, 10.0),
            suspended: Suspended::Warning,
        };
        let report = report(&[serde_json::from_value(cron).unwrap()], &ended, judging);
        report.checks.into_iter().filter(|check| check.id != KIND).map(|check| (check.id, check.verdict, check.message)).collect()
    }

    fn cron(spec: Value, status: Value) -> Value {
        json!({ "metadata": { "name": "backup", "namespace": "shop", "creationTimestamp": "2026-11-01T00:00:00Z" }, "spec": spec, "status": status })
    }

    fn job(name: &str, created: &str, state: &str) -> Value {
        json!({
            "metadata": { "name": name, "namespace": "shop", "creationTimestamp": created, "ownerReferences": [{ "kind": "CronJob", "name": "backup", "controller": true }] },
            "status": { "conditions": [{ "type": state, "status": "True", "lastTransitionTime": created, "message": "it reached its limit" }] },
        })
    }

    #[test]
    fn a_time_that_has_passed_without_a_job_is_missed_in_the_zone_that_it_is_in() {
        let status = |last: &str| json!({ "lastScheduleTime": last });
        let missed = |times: &str| [(MISSED.to_owned(), Verdict::Critical, times.to_owned())];
        // At two in the morning in New York it is seven in London.
        let in_zone = |zone: &str| cron(json!({ "schedule": "0 2 * * *", "timeZone": zone }), status("2026-11-28T02:00:00Z"));
        assert_eq!(told(in_zone("Etc/UTC"), &[]), []);
        assert_eq!(told(in_zone("America/New_York"), &[]), missed("has missed its time 1 time, the last of them 5 h ago; it ran 10 h ago"));
        let hourly = |last: &str, policy: &str, active: Value| {
            let mut status = status(last);
            status["active"] = active;
            cron(json!({ "schedule": "@hourly", "concurrencyPolicy": policy }), status)
        };
        assert_eq!(told(hourly("2026-11-28T11:00:00Z", "Allow", json!([])), &[]), [], "noon is within what may be late");
        assert_eq!(
            told(hourly("2026-11-28T08:00:00Z", "Allow", json!([])), &[]),
            missed("has missed its time 3 times, the last of them 60 min ago; it ran 4 h ago")
        );
        assert_eq!(
            told(hourly("2026-11-28T08:00:00Z", "Forbid", json!([{ "name": "backup-1" }])), &[]),
            missed("has missed its time 3 times, the last of them 60 min ago; it ran 4 h ago: Job backup-1 still runs, and forbids another")
        );
        let never = cron(json!({ "schedule": "*/5 * * * *" }), json!({}));
        assert_eq!(told(never, &[])[0].2, "has missed its time at least 100 times, the last of them 5 min ago; it has never run");
        assert_eq!(told(cron(json!({ "schedule": "@every 1h" }), json!({})), &[]), []);
        assert_eq!(told(cron(json!({ "schedule": "often" }), json!({})), &[])[0].1, Verdict::Unknown);
    }

    #[test]
    fn the_newest_job_that_has_ended_counts_and_a_completed_one_is_no_fault() {
        let at = |status: Value| cron(json!({ "schedule": "0 11 * * *" }), status);
        let status = json!({ "lastScheduleTime": "2026-11-28T11:00:00Z", "lastSuccessfulTime": "2026-11-27T12:00:00Z" });
        let (failed, done) = (job("backup-1", "2026-11-28T11:00:00Z", "Failed"), job("backup-2", "2026-11-28T11:30:00Z", "Complete"));
        assert_eq!(
            told(at(status.clone()), std::slice::from_ref(&failed)),
            [(
                FAILED.to_owned(),
                Verdict::Critical,
                "its last Job backup-1 failed 60 min ago: it reached its limit; the last success is 24 h old".to_owned()
            )]
        );
        assert_eq!(told(at(status.clone()), &[done, failed.clone()]), [], "a later one has succeeded");
        let running = json!({ "metadata": { "name": "backup-3", "namespace": "shop", "creationTimestamp": "2026-11-28T11:50:00Z", "ownerReferences": [{ "kind": "CronJob", "name": "backup", "controller": true }] } });
        assert_eq!(told(at(status), &[failed, running]).len(), 1, "one that runs has not mended it");
    }

    #[test]
    fn what_is_suspended_or_runs_too_often_at_once_is_told() {
        let suspended = cron(json!({ "schedule": "@hourly", "suspend": true }), json!({ "lastScheduleTime": "2026-11-26T12:00:00Z" }));
        assert_eq!(told(suspended, &[]), [("kube.cronJob.suspended".to_owned(), Verdict::Warning, "is suspended, and ran 2 d ago".to_owned())]);
        let active = vec![json!({ "name": "x" }); 3];
        let busy = cron(json!({ "schedule": "@hourly" }), json!({ "lastScheduleTime": "2026-11-28T12:00:00Z", "active": active }));
        assert_eq!(told(busy, &[]), [("kube.cronJob.active".to_owned(), Verdict::Warning, "3 of its Jobs run at once".to_owned())]);
    }
}
