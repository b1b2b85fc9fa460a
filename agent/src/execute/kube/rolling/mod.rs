//! `kube.rollout`: other pods for a workload, by its own rolling update; and back.
//!
//! ```text
//!  read ─▶ tried dry ─▶ changed, with a record of what was there ─▶ followed until all pods are new ─▶ done
//!                                  │ stuck, late, called off
//!                                  └─▶ put back, and followed until all pods are what they were ─▶ failed
//! ```
//! What is decided is decided by pure functions: [`template`] what is to be changed, [`record`] what to do with the
//! workload as it is, [`super::why`] why it does not move, [`lint`] what about it will be noticed. It ends by itself when it is
//! called off: what it has begun it puts back first.

mod back;
mod begin;
mod changes;
mod lint;
mod merge;
mod preview;
mod record;
mod template;
#[cfg(test)]
mod tests;

use std::time::Duration;

use mainstay_core::redact::redact_line;
use mainstay_core::report::{Check, Report, Verdict};
use serde_json::{Map, Value};

use super::super::output::{OutputLine, Stream};
use super::super::watch::Watch;
use super::super::{Context, StepError, params};
use super::acting;
use super::now::Now;
use super::rollout::{self, Rollout};
use super::why;
use super::work::{Work, number};
use crate::kube::account::Right;
use crate::kube::ask::Patch;
use crate::kube::objects::{Event, Pod};
use crate::kube::{Cluster, ClusterError, Selected, escaped};
use lint::Lint;
use record::{Next, Record, Stopped};
use template::{Change, Params};

const KIND: &str = "kube.rollout";
/// How often a workload is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// For a first probe of each gate, where the pods were faster.
const UNTIL_ASKED: Duration = Duration::from_secs(60);

/// A workload, and the way to it.
struct Site<'c> {
    context: &'c Context,
    /// As the agent itself.
    own: &'c Cluster,
    /// As the account that acts.
    cluster: Cluster,
    path: String,
    /// `shop/Deployment/web`.
    subject: String,
    params: Params,
    change: Change,
    work: Work,
}

/// Why a rollout goes no further.
enum Halt {
    /// There is nothing to be put back, or it is not this attempt's any more.
    End(StepError),
    /// What it has begun is to be put back.
    Stop(Stopped),
}

/// How a rollout has come to its end.
enum Done {
    /// As it stands, with what is written on it.
    Here(Value, Box<Record>),
    /// Before somebody else's, which is there now.
    Passed(String),
}

impl From<StepError> for Halt {
    fn from(error: StepError) -> Halt {
        Halt::End(error)
    }
}

/// What has been seen so far.
#[derive(Debug, Default)]
struct Seen {
    /// For what it waits, in words.
    last: String,
    /// Whether something of this step may be there.
    is_begun: bool,
    /// A fault that does not go by itself, and since when, by the host's clock that never goes back.
    fault: Option<Duration>,
    lints: Vec<Lint>,
    changes: Vec<String>,
}

/// Rolls it out, or takes that back.
///
/// # Errors
/// Refused parameters or rights; a rollout that was stopped; what somebody else has changed since.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let watch = Watch::of(KIND, &params.gates)?;
    let called_off = || StepError::cancelled(format!("{KIND} was called off before anything was done"));
    let site = tokio::select! {
        biased;
        () = context.cancel.cancelled() => return Err(called_off()),
        site = Site::of(params, context) => site?,
    };
    if site.work.taken_back.is_some() {
        return site.take_back().await;
    }
    watch.can_be_asked(context, &site.cluster, &site.params.namespace)?;
    let (mut seen, mut broken_gate) = (Seen::default(), None);
    let ended = {
        let halt = |why: String, is_final| Err(Halt::Stop(Stopped { why, is_final }));
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => halt("it was called off".to_owned(), false),
            broken = watch.until_failed(context, &site.cluster, &site.params.namespace) => {
                let why = broken.to_string();
                broken_gate = Some(broken);
                halt(why, true)
            }
            ended = site.watched(&watch, &mut seen) => ended,
        }
    };
    let gates = watch.checks(broken_gate.as_ref());
    match ended {
        Ok(Done::Here(workload, record)) => Ok(site.done(&seen, gates, &workload, &record)),
        Ok(Done::Passed(words)) => Ok(seen.report(&site.subject, vec![Check::stated(KIND, &site.subject, Verdict::Ok, words)])),
        Err(Halt::End(error)) => Err(error.with_report(seen.report(&site.subject, gates))),
        Err(Halt::Stop(stopped)) => Err(site.stop(stopped, &seen).await.with_report(seen.report(&site.subject, gates))),
    }
}

impl<'c> Site<'c> {
    async fn of(params: Params, context: &'c Context) -> Result<Site<'c>, StepError> {
        let change = params.change().map_err(|why| StepError::refused(format!("{KIND}: {why}")))?;
        if !rollout::KINDS.contains(&params.kind.as_str()) {
            return Err(StepError::refused(format!("{KIND}: a {} does not roll out: one of {}", params.kind, rollout::KINDS.join(", "))));
        }
        let work = Work::of(KIND, context)?;
        let own = super::cluster(KIND, context)?;
        let resource = own.resource("apps/v1", &params.kind).await.map_err(|error| super::failed(KIND, &error))?;
        let cluster = acting::runner(own, &params.namespace, params.service_account.as_deref());
        let mut rights = acting::rights(&resource, &params.namespace, &["get", "patch"]);
        if work.taken_back.is_none() {
            rights.push(Right { verb: "list", group: "policy", resource: "poddisruptionbudgets", namespace: &params.namespace });
        }
        let may = acting::may(KIND, &cluster, &rights).await;
        let path = resource.path_of(&params.namespace, &params.name);
        let subject = format!("{}/{}/{}", params.namespace, params.kind, params.name);
        let site = Site { context, own, cluster, path, subject, params, change, work };
        if let Err(error) = may {
            // Of a step that is only looked at, that is all that is done.
            site.look_ahead().await;
            return Err(error);
        }
        Ok(site)
    }

    async fn look(&self) -> Result<Value, ClusterError> {
        self.cluster.get(&self.path).await
    }

    fn failed(&self, why: impl std::fmt::Display) -> StepError {
        StepError::failed(format!("{KIND}: {}: {why}", self.subject))
    }

    /// Until all pods are new and available, and each gate has held for long enough after that.
    async fn watched(&self, watch: &Watch, seen: &mut Seen) -> Result<Done, Halt> {
        let late = |why: String| Halt::Stop(Stopped { why, is_final: true });
        let within = self.params.within.0;
        let rolled = tokio::time::timeout(within.as_duration(), self.go(seen)).await;
        let rolled = rolled.unwrap_or_else(|_| Err(late(format!("not within {within}"))))?;
        if matches!(rolled, Done::Passed(_)) {
            return Ok(rolled);
        }
        if !watch.is_empty() {
            tokio::time::sleep(self.params.watch_for.0.as_duration()).await;
        }
        let asked = async {
            while watch.unasked().is_some() {
                tokio::time::sleep(EVERY).await;
            }
        };
        if tokio::time::timeout(UNTIL_ASKED, asked).await.is_err() {
            return Err(late(format!("nobody knows whether the gate {} holds: no probe of it has ended", watch.unasked().unwrap_or_default())));
        }
        Ok(rolled)
    }

    /// Until all pods are new and available.
    async fn go(&self, seen: &mut Seen) -> Result<Done, Halt> {
        loop {
            match self.look().await {
                Ok(workload) => match record::next(KIND, &workload, &self.work)? {
                    Next::Begin => {
                        if self.begin(&workload, seen).await? {
                            continue;
                        }
                    }
                    Next::Claim(fields) => {
                        seen.is_begun = true;
                        match self.cluster.patch(&self.path, Patch::Merge, &fields).await {
                            Ok(_) | Err(ClusterError::Conflict { .. }) => continue,
                            Err(error) => self.passing(error, seen)?,
                        }
                    }
                    Next::Follow(record) => {
                        seen.is_begun = true;
                        if self.follow(&workload, &record, seen).await? {
                            return Ok(Done::Here(workload, Box::new(record)));
                        }
                    }
                    Next::Hold(words) => self.tell(seen, words),
                    Next::Passed(words) => return Ok(Done::Passed(words)),
                    Next::Ended(words) | Next::Refuse(words) => return Err(Halt::End(self.failed(words))),
                },
                Err(error) => self.passing(error, seen)?,
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// What may pass is waited for.
    fn passing(&self, error: ClusterError, seen: &mut Seen) -> Result<(), Halt> {
        match error {
            ClusterError::Failed { .. } | ClusterError::Forgotten { .. } => {
                self.tell(seen, format!("the API server: {error}"));
                Ok(())
            }
            ClusterError::Forbidden { .. } | ClusterError::ForbiddenTo { .. } if seen.is_begun => {
                Err(Halt::End(self.failed(format!("{error}: its rollout goes on by itself; {}", self.what_is_left()))))
            }
            error => Err(Halt::End(super::failed(KIND, &error))),
        }
    }

    /// Whether all of its pods are new and available. Else why not; what does not go by itself stops it.
    async fn follow(&self, workload: &Value, record: &Record, seen: &mut Seen) -> Result<bool, Halt> {
        let stop = |why: String| Err(Halt::Stop(Stopped { why, is_final: true }));
        seen.lints = lint::lints(workload);
        let (words, is_stuck) = match rollout::of(workload) {
            Rollout::Done => return Ok(true),
            Rollout::Under(words) => (words, false),
            Rollout::Stuck(words) => (words, !why::is_stale(workload, record.since)),
        };
        let fault = self.fault(workload, record).await;
        let words = fault.as_ref().map_or(words.clone(), |fault| format!("{words}: {}", fault.message));
        if is_stuck {
            return stop(format!("its rollout does not move: {words}"));
        }
        let now = self.context.host.monotonic();
        seen.fault = fault.filter(|fault| fault.is_lasting).map(|_| seen.fault.unwrap_or(now));
        let patience = self.params.patience.0;
        if seen.fault.is_some_and(|since| now.saturating_sub(since) >= patience.as_duration()) {
            return stop(format!("its rollout does not move for {patience}: {words}"));
        }
        self.tell(seen, words);
        Ok(false)
    }

    /// What is wrong with the new pods, as the agent itself may see it. That they cannot be seen is no fault of theirs.
    async fn fault(&self, workload: &Value, record: &Record) -> Option<why::Fault> {
        let now = Now::of(KIND, self.context).ok()?;
        let below = |what: &str| format!("/api/v1/namespaces/{}/{what}", escaped(&self.params.namespace));
        let labels = why::selector(workload);
        let pods = self.own.list::<Pod>(&below("pods"), Selected { labels: Some(&labels), ..Selected::default() }).await;
        let fields = format!("involvedObject.kind={},involvedObject.name={}", self.params.kind, self.params.name);
        let events = self.own.list::<Event>(&below("events"), Selected { fields: Some(&fields), ..Selected::default() }).await;
        why::fault(workload, &pods.unwrap_or_default(), &events.unwrap_or_default(), record.since, now)
    }

    fn done(&self, seen: &Seen, gates: Vec<Check>, workload: &Value, record: &Record) -> Report {
        let count = if self.params.kind == "DaemonSet" { "/status/updatedNumberScheduled" } else { "/status/replicas" };
        let (pods, is_changed) = (number(workload, count), record.is_change(workload));
        let message = match (is_changed, pods) {
            (false, _) => "it is what the plan says, and all of its pods are available".to_owned(),
            (true, 1) => "rolled out: its pod is new and available".to_owned(),
            (true, pods) => format!("rolled out: all of its {pods} pods are new and available"),
        };
        let images = (template::images(&record.before), template::images(record::template(workload)));
        // What it was is on the workload, for whoever goes on after another attempt has begun.
        let changes = changes::changes(&record.before, record::template(workload));
        let check = Check::stated(KIND, &self.subject, Verdict::Ok, message).with_details(changes);
        let mut report = seen.report(&self.subject, std::iter::once(check).chain(gates).collect());
        report.outputs = [
            ("changed".to_owned(), Value::from(is_changed)),
            ("pods".to_owned(), Value::from(pods)),
            ("before".to_owned(), Value::from(images.0)),
            ("images".to_owned(), Value::from(images.1)),
        ]
        .into();
        report
    }

    /// For what it waits: printed when that is something else than before.
    fn tell(&self, seen: &mut Seen, words: String) {
        if seen.last != words {
            self.print(&words);
            seen.last = words;
        }
    }

    fn print(&self, words: &str) {
        let text = redact_line(&format!("{}: {words}", self.subject));
        self.context.output.line(OutputLine { stream: Stream::Stdout, at: self.context.host.wall(), text });
    }
}

impl Seen {
    fn report(&self, subject: &str, mut checks: Vec<Check>) -> Report {
        let told = |lint: &Lint| Check::stated(lint.id, subject, Verdict::Warning, lint.message.clone()).with_hint(lint.hint);
        checks.extend(self.lints.iter().map(told));
        Report { checks, ..Report::default() }
    }
}
