//! One release, and what is done to it while its lock is held.

use std::time::Duration;

use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::Value;

use super::super::kube::work::Work;
use super::super::kube::{self, acting};
use super::super::{Context, StepError};
use super::decide::Uninstalls;
use super::history::{Described, History, Revision, Said};
use super::lock::Lock;
use super::program::{End, Program, plain};
use super::{How, objects};
use crate::kube::account::Right;
use crate::kube::{Cluster, ClusterError, Selected, escaped};

/// Says on the lock of a release what is being uninstalled, or was.
const UNINSTALLS: &str = "mainstay.dev/uninstalls";
/// What helm keeps of a release, unless somebody told it otherwise.
const REVISIONS_MAX: usize = 256;
/// Lines of output in the message of a failure.
const LINES_SHOWN: usize = 3;
/// Metadata of a revision whose Secret is gone by now.
static UNKNOWN: Value = Value::Null;
/// Beside twice what helm may wait for: a chart's download, and what is small.
const MARGIN: Duration = Duration::from_secs(60);

/// A release, as the account that acts on it.
pub struct Release<'c> {
    pub kind: &'static str,
    pub context: &'c Context,
    pub cluster: Cluster,
    pub work: Work,
    pub namespace: String,
    pub name: String,
    pub program: Program<'c>,
}

#[derive(Deserialize)]
struct Metadata {
    metadata: Value,
}

impl<'c> Release<'c> {
    /// After a review of the rights that helm needs for its own records.
    ///
    /// # Errors
    /// This is no cluster agent or has no helm; a name that is none; rights that are missing.
    pub async fn of(
        kind: &'static str,
        (namespace, name): (&str, &str),
        account: Option<&str>,
        context: &'c Context,
    ) -> Result<Release<'c>, StepError> {
        let is_name = |text: &str, most: usize| {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
            !text.is_empty() && text.len() <= most && text.bytes().all(is_plain) && !text.starts_with(['-', '.']) && !text.ends_with(['-', '.'])
        };
        // helm takes 53 characters, and reads what begins with a hyphen as something else.
        if !is_name(name, 53) || !is_name(namespace, 63) {
            return Err(StepError::refused(format!("{kind}: {namespace}/{name} is no release: small letters, digits and hyphens, at most 53")));
        }
        let own = kube::cluster(kind, context)?;
        let cluster = acting::runner(own, namespace, account);
        let acts_as = cluster.account().cloned().ok_or_else(|| StepError::refused(format!("{kind}: there is no account to act as")))?;
        let right = |verb, group, resource| Right { verb, group, resource, namespace };
        let mut rights = ["get", "list", "create", "update", "delete"].map(|verb| right(verb, "", "secrets")).to_vec();
        rights.extend(["get", "create", "patch"].map(|verb| right(verb, "coordination.k8s.io", "leases")));
        acting::may(kind, &cluster, &rights).await?;
        let program = Program::new(kind, acts_as, namespace, context).await?;
        let work = Work::of(kind, context)?;
        Ok(Release { kind, context, cluster, work, namespace: namespace.to_owned(), name: name.to_owned(), program })
    }

    /// Waits for the lock. Whoever has it gives it back.
    ///
    /// # Errors
    /// A later attempt has had it; it is not free in time; called off.
    pub async fn lock(&self, how: &How) -> Result<Lock, StepError> {
        let (of, host) = ((self.namespace.as_str(), self.name.as_str()), &self.context.host);
        self.unless_called_off(Lock::take(self.kind, &self.cluster, of, &self.work, host, how.within.0.as_duration())).await
    }

    /// For what changes nothing yet, and may be left at any time.
    ///
    /// # Errors
    /// Of what is done, or that it was called off.
    pub async fn unless_called_off<T>(&self, asked: impl Future<Output = Result<T, StepError>>) -> Result<T, StepError> {
        tokio::select! {
            biased;
            () = self.context.cancel.cancelled() => Err(StepError::cancelled(format!("{} was called off before helm had begun", self.kind))),
            answer = asked => answer,
        }
    }

    /// All revisions that helm keeps.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn history(&self) -> Result<History, StepError> {
        let path = format!("/api/v1/namespaces/{}/secrets", escaped(&self.namespace));
        let labels = format!("owner=helm,name={}", self.name);
        let secrets: Vec<Metadata> = self
            .cluster
            .list(&path, Selected { labels: Some(&labels), ..Selected::default() })
            .await
            .map_err(|error| self.failed(&error.to_string()))?;
        if secrets.is_empty() {
            return Ok(History::default());
        }
        let words = ["history", "--max", &REVISIONS_MAX.to_string(), "--output", "json", "--", &self.name].map(str::to_owned);
        let said = self.program.ask(&words).await?;
        let said: Vec<Said> =
            serde_json::from_slice(&said).map_err(|error| self.failed(&format!("its history is not as helm 4 writes it: {error}")))?;
        let metadata = |number: u32| {
            let version = number.to_string();
            let of = secrets.iter().find(|secret| secret.metadata.pointer("/labels/version").and_then(Value::as_str) == Some(&version));
            of.map_or(&UNKNOWN, |secret| &secret.metadata)
        };
        let mut revisions: Vec<Revision> = said
            .into_iter()
            .map(|said| {
                let of = metadata(said.revision);
                Revision::of(said, of)
            })
            .collect();
        revisions.sort_by_key(|revision| revision.number);
        Ok(History(revisions))
    }

    /// Takes away the record of a revision that a dead attempt of this work has left pending.
    ///
    /// # Errors
    /// When it is not what it was, or the API server does not let it.
    pub async fn discard(&self, history: &History, number: u32) -> Result<(), StepError> {
        let Some(revision) = history.get(number).filter(|revision| !revision.secret.uid.is_empty()) else {
            return Err(self.failed(&format!("revision {number} has no Secret that could be taken away")));
        };
        let path = format!("/api/v1/namespaces/{}/secrets/{}", escaped(&self.namespace), escaped(&revision.secret.name));
        match self.cluster.delete(&path, &revision.secret.uid, Some(&revision.secret.version)).await {
            Ok(_) | Err(ClusterError::Missing { .. }) => Ok(()),
            Err(error) => Err(self.failed(&format!("revision {number}, which a dead attempt left pending, cannot be taken away: {error}"))),
        }
    }

    /// Has helm do something.
    ///
    /// # Errors
    /// When it does not come off, with the last that helm said; called off; not in time.
    pub async fn act(&self, words: &[String], how: &How, lock: &Lock) -> Result<(), StepError> {
        let subject = format!("helm {} of {}/{}", words.first().map_or("", String::as_str), self.namespace, self.name);
        let within = how.within.0.as_duration() * 2 + MARGIN;
        let end = self.program.act(words, within, &lock.lost).await?;
        let tail = self.context.output.tail();
        let report = Report { output_tail: tail.clone(), ..Report::default() };
        let said: Vec<&str> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
        let said = plain(&said[said.len().saturating_sub(LINES_SHOWN)..].join("\n"));
        let pending = "what it leaves pending the next attempt of this step takes up";
        match end {
            End::Status(status) if status.success() => Ok(()),
            End::Status(_) => Err(StepError::failed(format!("{}: {subject}: {said}", self.kind)).with_report(report)),
            End::CalledOff => {
                Err(StepError::cancelled(format!("{}: {subject} was called off, and helm has ended: {pending}", self.kind)).with_report(report))
            }
            End::Left => Err(StepError::cancelled(format!("{}: the agent leaves, and helm ends with it: {pending}", self.kind)).with_report(report)),
            End::Lost => Err(StepError::failed(format!("{}: {subject}: the lease on the release was lost, so helm was ended: {pending}", self.kind))
                .with_report(report)),
            End::TimedOut => {
                let seconds = within.as_secs();
                Err(StepError::failed(format!("{}: {subject}: not within {seconds} s: {said}: {pending}", self.kind)).with_report(report))
            }
        }
    }

    /// Brings it back to a revision, and says which one that made.
    ///
    /// # Errors
    /// As of [`Release::act`].
    pub async fn roll_back(&self, (to, from): (u32, u32), how: &How, lock: &Lock) -> Result<Revision, StepError> {
        self.unless_called_off(objects::of_revision(self, to, how.wait)).await?;
        let mut words = vec!["rollback".to_owned(), "--description".to_owned(), Described::written(&self.work, from)];
        words.extend(how.arguments());
        words.extend(["--".to_owned(), self.name.clone(), to.to_string()]);
        self.act(&words, how, lock).await?;
        let history = self.history().await?;
        let own = history.brought_back_by(&self.work.name).map(|(revision, _)| revision.clone());
        own.ok_or_else(|| {
            self.failed("helm says that it has brought it back, and no revision of its history says so: somebody was at it at the same time")
        })
    }

    /// Uninstalls it, after writing down what.
    ///
    /// # Errors
    /// As of [`Release::act`].
    pub async fn uninstall(&self, history: &History, keeps: bool, how: &How, lock: &Lock) -> Result<(), StepError> {
        let Some(last) = history.last() else { return Ok(()) };
        self.unless_called_off(objects::of_revision(self, last.number, how.wait)).await?;
        let written = Uninstalls { work: self.work.digest(), revision: last.number, uid: last.secret.uid.clone() };
        let text = serde_json::to_string(&written).map_err(|error| self.failed(&error.to_string()))?;
        lock.write(UNINSTALLS, Some(&text)).await.map_err(|error| self.failed(&format!("nothing was done: {error}")))?;
        let mut words = vec!["uninstall".to_owned()];
        words.extend(keeps.then(|| "--keep-history".to_owned()));
        words.extend(How { wait_for_jobs: false, ..*how }.arguments());
        words.extend(["--".to_owned(), self.name.clone()]);
        self.act(&words, how, lock).await
    }

    /// What an earlier attempt has written down of what it uninstalls.
    pub fn uninstalls(lock: &Lock) -> Option<Uninstalls> {
        let text = super::super::kube::work::annotation(&lock.found, UNINSTALLS)?;
        serde_json::from_str(text).ok()
    }

    pub fn subject(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub fn failed(&self, why: &str) -> StepError {
        StepError::failed(format!("{}: {}: {why}", self.kind, self.subject()))
    }

    pub fn done(&self, outputs: impl IntoIterator<Item = (&'static str, Value)>, message: impl Into<String>) -> Report {
        let outputs = outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let checks = vec![Check::stated(self.kind, &self.subject(), Verdict::Ok, message)];
        Report { checks, outputs, output_tail: self.context.output.tail(), ..Report::default() }
    }
}
