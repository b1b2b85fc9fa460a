//! `backup.run` by a worker: a pod near what is backed up writes it into the store, and this agent decides whether it counts.
//!
//! ```text
//! lease, token, target's key ─▶ Job ─▶ pod: source ─▶ store, read back ─▶ exit status 0 ─▶ the manifest of its writer counts
//! ```
//! The pod has the credentials that a Secret of its namespace gives it, and its ServiceAccount, without a token of it. It has
//! no key that signs and none that opens, and no certificate of the mesh. A Job that an earlier attempt has left is
//! ended first; what it goes on to write cannot count, since its token is the lesser one.

mod job;
mod pod;

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_backup::worker::{Told, WorkOrder};
use mainstay_backup::{Id, Target};
use serde_json::Value;

use super::super::kube::acting;
use super::super::kube::jobs::{ended, jobs};
use super::super::kube::work::{digest, name_of, text};
use super::super::{Context, StepError};
use super::store::Opened;
use super::{far, say};
use crate::connections::{Connection, Place, WorkerSettings};
use crate::kube::account::{RUNNER, Right};
use crate::kube::{Cluster, ClusterError, Selected};
use pod::{Begin, has_begun, why};

const KIND: &str = mainstay_core::catalogue::BACKUP_RUN;
/// On a worker's Job and pod: what it works at.
pub(in super::super) const WORKER: &str = "mainstay.dev/worker";
/// The same: which target, shortened.
const TARGET: &str = "mainstay.dev/backup-target";
const EVERY: Duration = Duration::from_secs(2);
/// What is read of a log: its last lines.
const LOG_LINES: usize = 20;
const LOG_BYTES: usize = 64 << 10;

/// Looks without an answer, each tried for half a minute, after which a Job is given up.
const UNSEEN_MAX: usize = 20;

/// Why nothing was made.
#[derive(Debug)]
struct Trouble {
    why: String,
    /// Nothing of it goes on.
    has_ended: bool,
}

/// What a worker said of what it has made.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub check_ms: u64,
    pub sealed: Vec<Id>,
}

/// A way to have workers.
pub(super) struct Worker<'a> {
    /// The cluster, as who makes Jobs in the namespace.
    cluster: Cluster,
    settings: &'a WorkerSettings,
    connection: &'a Connection,
    context: &'a Context,
}

/// What a worker is to do.
pub(super) struct Task<'a> {
    pub target: &'a Target,
    pub order: &'a WorkOrder,
    pub set: Option<&'a str>,
    pub limit: Option<u64>,
    pub deadline: Duration,
    pub content: bool,
    pub streams: u8,
    pub queries: &'a BTreeMap<String, String>,
}

impl<'a> Worker<'a> {
    /// The worker of a connection, where it has one.
    ///
    /// # Errors
    /// Refused, when this agent speaks for no cluster, or the store is not one that a pod can reach.
    pub fn of(connection: &'a Connection, opened: &Opened<'_>, context: &'a Context) -> Result<Option<Worker<'a>>, StepError> {
        let Some(settings) = connection.worker.as_deref() else { return Ok(None) };
        let refused = |why: &str| StepError::refused(format!("{KIND}: {}: {why}; see {}", connection.name, connection.declared_at));
        let own =
            context.cluster.as_ref().ok_or_else(|| refused("a worker is a pod, and this agent speaks for a node: declare it at a cluster agent"))?;
        if !matches!(opened.connection.address.place, Place::Bucket(_)) {
            return Err(refused(&format!(
                "a worker reaches a bucket, and the store {} is a directory of this agent's machine",
                opened.connection.name
            )));
        }
        let cluster = acting::runner(own, &settings.namespace, None);
        Ok(Some(Worker { cluster, settings, connection, context }))
    }

    /// Whether there can be one: the rights of who makes it, and its account.
    ///
    /// # Errors
    /// In words.
    pub async fn look(&self) -> Result<BTreeMap<String, String>, String> {
        let namespace = &*self.settings.namespace;
        let right = |verb, group, resource| Right { verb, group, resource, namespace };
        let mut rights: Vec<Right<'_>> = ["create", "get", "list", "delete"].map(|verb| right(verb, "batch", "jobs")).into();
        rights.extend([right("list", "", "pods"), right("get", "", "pods/log")]);
        let said = |error: ClusterError| error.to_string();
        let lacking = self.cluster.lacking(&rights).await.map_err(said)?;
        if !lacking.is_empty() {
            let lacking: Vec<String> = lacking.into_iter().map(ToString::to_string).collect();
            return Err(format!(
                "ServiceAccount {namespace}/{RUNNER} lacks the right to {}: the role mainstay-runner of deploy/kubernetes/runner.yaml gives it",
                lacking.join("; ")
            ));
        }
        let account = &self.settings.service_account;
        // Where an agent may not look, the Job's controller says it.
        let own = self.context.cluster.as_ref().unwrap_or(&self.cluster);
        if own.has_account(namespace, account).await.is_ok_and(|is| !is) {
            return Err(format!(
                "there is no ServiceAccount {namespace}/{account} for the worker:  kubectl -n {namespace} create serviceaccount {account}"
            ));
        }
        Ok([("worker".to_owned(), self.settings.image.clone())].into())
    }

    /// Has a worker make a backup.
    ///
    /// # Errors
    /// Failed, in its words; cancelled, when it is called off.
    pub async fn make(&self, task: &Task<'_>, opened: &Opened<'_>) -> Result<Made, StepError> {
        let failed = |why: &dyn std::fmt::Display| StepError::failed(format!("{KIND}: {}: its worker: {why}", self.connection.name));
        let path = jobs(&self.settings.namespace);
        self.end_earlier(&path, task.target).await.map_err(|error| failed(&error))?;
        let wanted = job::job(self.settings, self.connection, opened, task).map_err(|why| failed(&why))?;
        let job = match self.cluster.create(&path, &wanted).await {
            Ok(made) => made,
            // This request's first try has made it.
            Err(ClusterError::Conflict { .. }) => {
                self.cluster.get(&format!("{path}/{}", text(&wanted, "/metadata/name"))).await.map_err(|error| failed(&error))?
            }
            Err(error) => return Err(failed(&error)),
        };
        say(self.context, &format!("{} works at it", name_of(&job)));
        let watched = self.context.cancel.run_until_cancelled(self.watch(&path, &job)).await;
        let outcome = match watched {
            Some(Ok(made)) => return Ok(made),
            // One that has failed stays for its log, and goes by itself.
            Some(Err(Trouble { why, has_ended: true })) => return Err(failed(&why)),
            Some(Err(Trouble { why, .. })) => failed(&why),
            None => StepError::cancelled(format!("{KIND} was called off: what {} has not finished does not count", name_of(&job))),
        };
        if let Err(error) = self.cluster.delete(&format!("{path}/{}", text(&job, "/metadata/name")), text(&job, "/metadata/uid"), None).await {
            tracing::warn!(job = %name_of(&job), "it could not be deleted: {error}; its deadline ends it");
        }
        Err(outcome)
    }

    /// Ends what earlier attempts have left: the lease is this one's.
    async fn end_earlier(&self, path: &str, target: &Target) -> Result<(), ClusterError> {
        let labels = format!("{TARGET}={}", digest(&target.to_string()));
        let found: Vec<Value> = self.cluster.list(path, Selected { labels: Some(&labels), ..Selected::default() }).await?;
        for job in found.iter().filter(|job| ended(job).is_none()) {
            say(self.context, &format!("{} was left by an earlier attempt: it is ended", text(job, "/metadata/name")));
            match self.cluster.delete(&format!("{path}/{}", text(job, "/metadata/name")), text(job, "/metadata/uid"), None).await {
                Ok(_) | Err(ClusterError::Missing { .. } | ClusterError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for the end of a Job, and says meanwhile how far it is.
    async fn watch(&self, path: &str, job: &Value) -> Result<Made, Trouble> {
        let path = format!("{path}/{}", text(job, "/metadata/name"));
        let trouble = |has_ended: bool, why: String| Trouble { why, has_ended };
        let (mut last, mut begin, mut unseen) = (None, Begin::default(), 0);
        loop {
            let (now, pod) = match self.look_at(&path, job).await {
                Ok(seen) => seen,
                // It works on while the API server is away.
                Err(ClusterError::Failed { .. }) if unseen < UNSEEN_MAX => {
                    unseen += 1;
                    tokio::time::sleep(EVERY).await;
                    continue;
                }
                Err(error) => return Err(trouble(false, error.to_string())),
            };
            unseen = 0;
            let now = now.filter(|now| text(now, "/metadata/uid") == text(job, "/metadata/uid"));
            let now = now.ok_or_else(|| trouble(true, format!("{} was deleted before it had ended", name_of(job))))?;
            let state = ended(&now);
            let told = match &pod {
                Some(pod) if has_begun(pod) => self.told(pod).await,
                _ => Vec::new(),
            };
            if state == Some(true) {
                let made = told
                    .into_iter()
                    .rev()
                    .find_map(|told| if let Told::Made { check_ms, sealed } = told { Some(Made { check_ms, sealed }) } else { None });
                // What it said of times may be lost with its log. That all is well its exit status says.
                return Ok(made.unwrap_or_default());
            }
            if state == Some(false) {
                return Err(trouble(true, format!("{} failed: {}", name_of(job), why(&now, pod.as_ref()))));
            }
            if let Some(fault) = begin.look(pod.as_ref()) {
                return Err(trouble(false, format!("{} does not begin: {fault}", name_of(job))));
            }
            let far = told.into_iter().rev().find_map(|told| match told {
                Told::Writing(progress) => Some(far("writing", &progress, Duration::ZERO)),
                Told::Reading(progress) => Some(far("reading back", &progress, Duration::ZERO)),
                Told::Made { .. } => None,
            });
            if let Some(words) = far.filter(|words| last.as_ref() != Some(words)) {
                say(self.context, &words);
                last = Some(words);
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// A Job, and its newest pod.
    async fn look_at(&self, path: &str, job: &Value) -> Result<(Option<Value>, Option<Value>), ClusterError> {
        Ok((self.cluster.find(path).await?, self.pod(job).await?))
    }

    /// The newest pod of a Job.
    async fn pod(&self, job: &Value) -> Result<Option<Value>, ClusterError> {
        let labels = format!("batch.kubernetes.io/job-name={}", text(job, "/metadata/name"));
        let path = format!("/api/v1/namespaces/{}/pods", crate::kube::escaped(&self.settings.namespace));
        let pods: Vec<Value> = self.cluster.list(&path, Selected { labels: Some(&labels), ..Selected::default() }).await?;
        Ok(pods.into_iter().max_by_key(|pod| text(pod, "/metadata/creationTimestamp").to_owned()))
    }

    /// The last lines of a pod. They are for whoever watches: without them it is done all the same.
    async fn told(&self, pod: &Value) -> Vec<Told> {
        let namespace = crate::kube::escaped(&self.settings.namespace);
        let path = format!("/api/v1/namespaces/{namespace}/pods/{}/log?tailLines={LOG_LINES}&limitBytes={LOG_BYTES}", text(pod, "/metadata/name"));
        let printed = self.cluster.text(&path).await.unwrap_or_default();
        printed.lines().filter_map(Told::read).collect()
    }
}
