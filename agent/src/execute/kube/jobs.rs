//! `kube.job` and `kube.cronjob.trigger`: a Job of the step's own, from its begin to its end, with what it printed.
//!
//! A Job's name is made of the work and a count: `backup-1f3c…-0`. Whoever comes first makes it, and everybody later
//! finds it: a replica that takes over waits for the Job that there is. Only where that has failed, and the step is
//! tried again, is there another, with the next count. A Job is deleted when its step is called off, not when the agent
//! leaves.

use std::io::Cursor;
use std::time::Duration;

use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::exec::lines;
use super::super::output::Stream;
use super::super::params::{self, Span};
use super::super::{Context, StepError, wording};
use super::acting;
use super::now::Now;
use super::work::{FENCE, Work, annotation, name_of, text};
use crate::kube::account::Right;
use crate::kube::{Cluster, ClusterError, Selected};

const JOB: &str = "kube.job";
const TRIGGER: &str = "kube.cronjob.trigger";
/// Jobs of one piece of work: more tries than a step has.
const JOBS_MAX: usize = 50;
/// A name with its count and digest is a label too.
const NAME_MAX: usize = 63 - 15;
const EVERY: Duration = Duration::from_secs(1);
/// What is read of the log of one container: its end.
const LOG_BYTES: usize = 1 << 20;
/// Pods whose logs are read: the newest.
const PODS_MAX: usize = 3;
/// Lines in the message of a failure.
const LINES_SHOWN: usize = 3;
/// How long a Job stays that has ended: at least, so that a replica that takes over still finds it.
const KEPT_AT_LEAST_S: u64 = 3_600;
/// The same, where its template says nothing.
const KEPT_S: u64 = 86_400;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JobParams {
    namespace: String,
    name: String,
    spec: Map<String, Value>,
    #[serde(default = "one_hour")]
    within: Span,
    service_account: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TriggerParams {
    namespace: String,
    name: String,
    #[serde(default = "one_hour")]
    within: Span,
    service_account: Option<String>,
}

fn one_hour() -> Span {
    Span(Millis::from_secs(3_600))
}

/// A Job to be made, but for its name.
#[derive(Debug)]
struct Wanted {
    kind: &'static str,
    namespace: String,
    /// What its name begins with.
    base: String,
    /// What `metadata` has besides.
    metadata: Value,
    spec: Value,
    within: Millis,
}

/// Runs a Job from its specification.
///
/// # Errors
/// Refused parameters or rights; a Job that fails, or does not end in time.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: JobParams = params::read(JOB, with)?;
    let own = super::cluster(JOB, context)?;
    let cluster = acting::runner(own, &params.namespace, params.service_account.as_deref());
    may(JOB, &cluster, &params.namespace, false).await?;
    let wanted = Wanted {
        kind: JOB,
        namespace: params.namespace,
        base: params.name,
        metadata: json!({}),
        spec: Value::Object(params.spec),
        within: params.within.0,
    };
    run(&cluster, wanted, context).await
}

/// Runs a Job from a CronJob's template, as its schedule would.
///
/// # Errors
/// As [`execute`], and when there is no such CronJob.
pub async fn trigger(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: TriggerParams = params::read(TRIGGER, with)?;
    let own = super::cluster(TRIGGER, context)?;
    let cluster = acting::runner(own, &params.namespace, params.service_account.as_deref());
    may(TRIGGER, &cluster, &params.namespace, true).await?;
    let path = format!("/apis/batch/v1/namespaces/{}/cronjobs/{}", crate::kube::escaped(&params.namespace), crate::kube::escaped(&params.name));
    let cron: Value = cluster.get(&path).await.map_err(|error| super::failed(TRIGGER, &error))?;
    let template = |pointer: &str| cron.pointer(&format!("/spec/jobTemplate{pointer}")).cloned().unwrap_or_else(|| json!({}));
    let mut annotations = template("/metadata/annotations");
    annotations["cronjob.kubernetes.io/instantiate"] = json!("manual");
    let owner = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "name": params.name, "uid": text(&cron, "/metadata/uid"), "controller": true,
    });
    let wanted = Wanted {
        kind: TRIGGER,
        namespace: params.namespace,
        base: params.name,
        metadata: json!({ "labels": template("/metadata/labels"), "annotations": annotations, "ownerReferences": [owner] }),
        spec: template("/spec"),
        within: params.within.0,
    };
    run(&cluster, wanted, context).await
}

async fn may(kind: &str, cluster: &Cluster, namespace: &str, from_cron_job: bool) -> Result<(), StepError> {
    let right = |verb, group, resource| Right { verb, group, resource, namespace };
    let mut rights: Vec<Right<'_>> = ["create", "get", "delete"].map(|verb| right(verb, "batch", "jobs")).into();
    rights.extend([right("list", "", "pods"), right("get", "", "pods/log")]);
    if from_cron_job {
        rights.push(right("get", "batch", "cronjobs"));
    }
    acting::may(kind, cluster, &rights).await
}

async fn run(cluster: &Cluster, wanted: Wanted, context: &Context) -> Result<Report, StepError> {
    let kind = wanted.kind;
    let work = Work::of(kind, context)?;
    let job = tokio::select! {
        biased;
        () = context.cancel.cancelled() => return Err(StepError::cancelled(format!("{kind} was called off before its Job was made"))),
        made = make(cluster, &wanted, &work) => made?,
    };
    let path = format!("{}/{}", jobs(&wanted.namespace), text(&job, "/metadata/name"));
    let mut last = job.clone();
    let ended = tokio::select! {
        biased;
        () = context.cancel.cancelled() => None,
        ended = tokio::time::timeout(wanted.within.as_duration(), wait(cluster, &path, &mut last, kind)) => Some(ended),
    };
    match ended {
        Some(Ok(ended)) => told(cluster, &wanted, &ended?, context).await,
        Some(Err(_)) => {
            let gone = take_away(cluster, &path, &last).await;
            Err(StepError::failed(format!("{kind}: {} has not ended within {}: {gone}", name_of(&last), wanted.within)))
        }
        // The next process, or another replica, goes on with it.
        None if context.leaving.is_cancelled() => Err(StepError::cancelled(format!("{kind}: the agent leaves, and {} goes on", name_of(&last)))),
        None => {
            let gone = take_away(cluster, &path, &last).await;
            Err(StepError::cancelled(format!("{kind} was called off: {} {gone}", name_of(&last))))
        }
    }
}

/// Where the Jobs of a namespace are.
pub fn jobs(namespace: &str) -> String {
    format!("/apis/batch/v1/namespaces/{}/jobs", crate::kube::escaped(namespace))
}

/// The Job of this work: the one that there is, or a new one.
async fn make(cluster: &Cluster, wanted: &Wanted, work: &Work) -> Result<Value, StepError> {
    let failed = |error| super::failed(wanted.kind, &error);
    let path = jobs(&wanted.namespace);
    for count in 0..JOBS_MAX {
        let name = name(&wanted.base, work, count);
        let found = match cluster.find::<Value>(&format!("{path}/{name}")).await.map_err(failed)? {
            Some(found) => found,
            None => match cluster.create(&path, &job(wanted, work, &name)).await {
                Ok(made) => made,
                // Somebody was faster, or this request's first try was.
                Err(ClusterError::Conflict { .. }) => cluster.get(&format!("{path}/{name}")).await.map_err(failed)?,
                Err(error) => return Err(failed(error)),
            },
        };
        if is_taken_up(wanted.kind, work, &found)? {
            return Ok(found);
        }
    }
    Err(StepError::failed(format!("{}: {JOBS_MAX} Jobs of this step have failed already", wanted.kind)))
}

/// Whether a Job of this name is the one to wait for. One that failed in an earlier attempt is not.
fn is_taken_up(kind: &str, work: &Work, job: &Value) -> Result<bool, StepError> {
    if !work.has_changed(job) {
        return Err(StepError::failed(format!("{kind}: {} is there already, and is not of this step: nothing was done", name_of(job))));
    }
    work.may_change(kind, job)?;
    let is_own = annotation(job, FENCE) == Some(&work.attempt.to_string());
    Ok(is_own || ended(job) != Some(false))
}

fn name(base: &str, work: &Work, count: usize) -> String {
    let base: String = base.chars().take(NAME_MAX).collect();
    format!("{}-{}-{count}", base.trim_end_matches(['-', '.']), work.digest())
}

fn job(wanted: &Wanted, work: &Work, name: &str) -> Value {
    let mut metadata = wanted.metadata.clone();
    metadata["name"] = json!(name);
    let mut annotations = metadata["annotations"].as_object().cloned().unwrap_or_default();
    annotations.extend(work.marks());
    metadata["annotations"] = Value::Object(annotations);
    let mut spec = wanted.spec.clone();
    let kept = spec.pointer("/ttlSecondsAfterFinished").and_then(Value::as_u64).unwrap_or(KEPT_S);
    spec["ttlSecondsAfterFinished"] = json!(kept.max(KEPT_AT_LEAST_S));
    json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec })
}

/// Whether a Job has ended, and then whether it succeeded.
pub fn ended(job: &Value) -> Option<bool> {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array)?;
    let is = |state: &str| conditions.iter().any(|condition| condition["type"] == state && condition["status"] == "True");
    if is("Complete") { Some(true) } else { is("Failed").then_some(false) }
}

async fn wait(cluster: &Cluster, path: &str, last: &mut Value, kind: &str) -> Result<Value, StepError> {
    let uid = text(last, "/metadata/uid").to_owned();
    loop {
        let Some(job) = cluster.find::<Value>(path).await.map_err(|error| super::failed(kind, &error))? else {
            return Err(StepError::failed(format!("{kind}: {} was deleted before it had ended", name_of(last))));
        };
        if text(&job, "/metadata/uid") != uid {
            return Err(StepError::failed(format!("{kind}: {} was deleted, and somebody has made another of that name", name_of(last))));
        }
        *last = job;
        if ended(last).is_some() {
            return Ok(last.clone());
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Deletes a Job with its pods, and says what came of that.
async fn take_away(cluster: &Cluster, path: &str, job: &Value) -> String {
    match cluster.delete(path, text(job, "/metadata/uid"), None).await {
        Ok(_) | Err(ClusterError::Missing { .. }) => "it was deleted with its pods".to_owned(),
        Err(error) => format!("it could not be deleted: {error}"),
    }
}

/// What it printed, and how it ended.
async fn told(cluster: &Cluster, wanted: &Wanted, job: &Value, context: &Context) -> Result<Report, StepError> {
    let log = context.artifacts.output_log();
    let unread = print(cluster, &wanted.namespace, job, context, &log).await.err();
    let mut checks: Vec<Check> = context.artifacts.put_output(log).await.into_iter().collect();
    let name = name_of(job);
    if let Some(error) = unread {
        checks.push(Check::stated("kube.job.log", &name, Verdict::Skipped, format!("what it printed cannot be read: {error}")));
    }
    let outputs = [("job".to_owned(), Value::from(text(job, "/metadata/name")))].into();
    let tail = context.output.tail();
    let mut report = Report { checks, outputs, output_tail: tail.clone(), ..Report::default() };
    if ended(job) == Some(true) {
        report.checks.push(Check::stated(JOB, &name, Verdict::Ok, format!("completed{}", took(job))));
        return Ok(report);
    }
    let shown: Vec<&str> = tail.lines().rev().filter(|line| !line.trim().is_empty()).take(LINES_SHOWN).collect();
    let said = if shown.is_empty() { "it printed nothing".to_owned() } else { shown.into_iter().rev().collect::<Vec<_>>().join(" ⏎ ") };
    let failed = job.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten().find(|condition| condition["type"] == "Failed");
    let why = failed.and_then(|condition| condition["message"].as_str()).unwrap_or_default();
    Err(StepError::failed(format!("{}: {name} failed: {why}: {said}", wanted.kind)).with_report(report))
}

fn took(job: &Value) -> String {
    let at = |pointer: &str| text(job, pointer).parse::<jiff::Timestamp>().ok();
    match (at("/status/startTime"), at("/status/completionTime")) {
        (Some(began), Some(done)) => format!(" after {}", wording::span(Now(done).age(began))),
        _ => String::new(),
    }
}

/// Prints the logs of the Job's newest pods, the oldest of these first.
async fn print(cluster: &Cluster, namespace: &str, job: &Value, context: &Context, log: &crate::artifacts::OutputLog) -> Result<(), ClusterError> {
    let labels = format!("batch.kubernetes.io/job-name={}", text(job, "/metadata/name"));
    let path = format!("/api/v1/namespaces/{}/pods", crate::kube::escaped(namespace));
    let mut pods: Vec<Value> = cluster.list(&path, Selected { labels: Some(&labels), ..Selected::default() }).await?;
    pods.sort_by_key(|pod| text(pod, "/metadata/creationTimestamp").to_owned());
    for pod in pods.iter().skip(pods.len().saturating_sub(PODS_MAX)) {
        let name = text(pod, "/metadata/name");
        for container in pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten() {
            let container = container["name"].as_str().unwrap_or_default();
            let query = format!("container={}&tailLines=10000&limitBytes={LOG_BYTES}", crate::kube::escaped(container));
            let printed = match cluster.text(&format!("{path}/{name}/log?{query}")).await {
                Ok(printed) => printed,
                // It may never have begun.
                Err(ClusterError::Missing { .. } | ClusterError::Invalid { .. } | ClusterError::Failed { .. }) => continue,
                Err(error) => return Err(error),
            };
            // Redacted and bounded as whatever a step prints is.
            let _ = lines::forward(Cursor::new(printed), Stream::Stdout, context, log.clone()).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::work::work;
    use super::*;

    fn wanted() -> Wanted {
        let spec = json!({ "template": {}, "ttlSecondsAfterFinished": 10 });
        let (namespace, base) = ("shop".to_owned(), "backup".to_owned());
        Wanted { kind: JOB, namespace, base, metadata: json!({ "labels": { "a": "b" } }), spec, within: Millis::from_secs(60) }
    }

    fn with_state(job: &Value, state: &str) -> Value {
        let mut job = job.clone();
        job["status"] = json!({ "conditions": [{ "type": state, "status": "True" }] });
        job
    }

    #[test]
    fn a_job_is_found_by_its_name_and_made_again_only_when_it_has_failed() {
        let (first, again, other) = (work("1.5", "tidy-1"), work("1.6", "tidy-1"), work("1.7", "tidy-2"));
        assert_eq!(name("backup", &first, 0), name("backup", &again, 0));
        assert_ne!(name("backup", &first, 0), name("backup", &other, 0));
        let long = name(&"backup-".repeat(20), &first, 49);
        assert!(long.len() <= 63 && !long.contains("--"), "{long}");
        let made = job(&wanted(), &first, "backup-x-0");
        assert_eq!((&made["metadata"]["labels"]["a"], &made["spec"]["ttlSecondsAfterFinished"]), (&json!("b"), &json!(KEPT_AT_LEAST_S)));
        let taken_up = |work: &Work, job: &Value| is_taken_up("k", work, job);
        assert_eq!(taken_up(&again, &made), Ok(true), "it still runs");
        assert_eq!(taken_up(&again, &with_state(&made, "Complete")), Ok(true));
        assert_eq!(taken_up(&again, &with_state(&made, "Failed")), Ok(false), "the next try has a Job of its own");
        assert_eq!(taken_up(&first, &with_state(&made, "Failed")), Ok(true), "its own failure is its own");
        assert!(taken_up(&other, &made).unwrap_err().message.contains("is not of this step"));
        let later = job(&wanted(), &again, "backup-x-0");
        assert!(taken_up(&first, &later).unwrap_err().message.contains("later than this one"), "given up, and awake again");
    }
}
