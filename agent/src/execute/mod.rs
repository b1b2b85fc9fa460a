//! Carries out one attempt of one step: one step family a file.
//!
//! In: a kind, its `with` block, and a [`Context`]. Out: a [`Report`] of checks and outputs, or why there is
//! none. It looks at the agent's own policy first, redacts and bounds whatever comes out, and ends when it
//! is cancelled. It keeps no ledger, knows no deadline (whoever calls it cancels), and does not decide what a
//! verdict means for the run: a check that is critical is a successful look at something bad.

mod alertmanager;
mod api;
pub mod backup;
mod credential;
mod dial;
pub mod exec;
pub mod helm;
mod http;
mod kube;
mod logs;
mod outgoing;
mod output;
mod packages;
mod params;
mod policy;
mod postgres;
mod prometheus;
mod reboot;
mod redis;
mod resources;
pub mod review;
mod services;
mod settings;
mod tls;
mod trust;
mod wait;
mod watch;
mod wording;

use std::sync::Arc;

use mainstay_core::PlanName;
use mainstay_core::catalogue;
use mainstay_core::id::{ClusterName, ConnectionName, NodeName};
use mainstay_core::report::Report;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

pub use outgoing::{Outgoing, OutgoingError};
pub use output::{Output, OutputLine, Stream};
pub use policy::{Denied, Policy, PolicyError};
pub use resources::kubelet;
pub use settings::{ExecuteSettings, Helm, Kubelet};

use crate::artifacts::Artifacts;
use crate::connections::{Connection, ConnectionKind, Connections, Memory, Secrets};
use crate::host::Host;
use crate::kube::Cluster;
use crate::observe::disk::Prober;
use crate::observe::pods::Pods;
use crate::observe::readings::Readings;
use crate::redact;

/// What an attempt is of; handed to children and put into messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    pub mesh: String,
    pub attempt: String,
    pub run: String,
    pub step: String,
    /// Plan of the run; a connection may be for some plans only.
    pub plan: Option<PlanName>,
    /// The connection that it is done to, where its target is one.
    pub connection: Option<ConnectionName>,
    /// The node that it is done to, where its target is one.
    pub node: Option<NodeName>,
    /// Which of its cluster's agents carries it out: in a cluster, the pod of that name.
    pub replica: Option<String>,
    /// Whether it takes its step back.
    pub undoes: bool,
    /// Of the agent.
    pub cluster: Option<ClusterName>,
    /// The machine that a node agent is on.
    pub machine: Option<NodeName>,
    /// Of the lease under which a backup is written.
    pub token: Option<String>,
    /// The node that a backup reads from, where its connection says so.
    pub source_node: Option<NodeName>,
}

/// What every executor has at hand. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    pub host: Arc<Host>,
    pub readings: Readings,
    pub prober: Prober,
    /// The pods of this node, where it is one of Kubernetes.
    pub pods: Pods,
    pub settings: Arc<ExecuteSettings>,
    pub policy: Arc<Policy>,
    pub outgoing: Outgoing,
    pub connections: Arc<Connections>,
    /// The cluster that a cluster agent speaks for.
    pub cluster: Option<Cluster>,
    /// What earlier attempts of this process have seen through connections.
    pub memory: Memory,
    /// What this attempt has read of secrets.
    pub secrets: Secrets,
    pub output: Output,
    /// Where files of the attempt go.
    pub artifacts: Artifacts,
    /// What the mesh knows of backups.
    pub catalogue: backup::Catalogue,
    pub labels: Labels,
    pub cancel: CancellationToken,
    /// Cancelled when this agent leaves: what goes on elsewhere is taken up by the next process.
    pub leaving: CancellationToken,
}

/// How an attempt ended without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was tried and did not come off.
    Failed,
    /// It was called off; its children have ended.
    Cancelled,
    /// It was not begun: wrong parameters, or the agent's policy.
    Refused,
}

/// Why an attempt has no success to report, with what it found until then.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    pub ended: Ended,
    pub message: String,
    pub report: Option<Report>,
}

impl StepError {
    #[must_use]
    pub fn failed(message: impl Into<String>) -> StepError {
        StepError { ended: Ended::Failed, message: message.into(), report: None }
    }

    #[must_use]
    pub fn refused(message: impl Into<String>) -> StepError {
        StepError { ended: Ended::Refused, message: message.into(), report: None }
    }

    #[must_use]
    pub fn cancelled(message: impl Into<String>) -> StepError {
        StepError { ended: Ended::Cancelled, message: message.into(), report: None }
    }

    #[must_use]
    pub fn with_report(mut self, report: Report) -> StepError {
        self.report = Some(report);
        self
    }
}

impl From<Denied> for StepError {
    fn from(denied: Denied) -> StepError {
        StepError::refused(denied.to_string())
    }
}

impl Context {
    /// A context for one attempt on this host, with settings and policy that have been checked.
    ///
    /// # Errors
    /// When the settings name an address that is none.
    pub fn new(host: Arc<Host>, readings: Readings, settings: Arc<ExecuteSettings>, policy: Arc<Policy>) -> Result<Context, OutgoingError> {
        let outgoing = Outgoing::new(&settings.allow_addresses)?;
        let prober = Prober::new(Arc::clone(&host));
        let (output, artifacts) = (Output::unwatched(), Artifacts::default());
        let (labels, cancel) = (Labels::default(), CancellationToken::new());
        let (connections, memory, secrets) = (Arc::default(), Memory::default(), Secrets::default());
        Ok(Context {
            host,
            readings,
            prober,
            pods: Pods::default(),
            settings,
            policy,
            outgoing,
            connections,
            cluster: None,
            memory,
            secrets,
            output,
            artifacts,
            catalogue: backup::Catalogue::default(),
            labels,
            cancel,
            leaving: CancellationToken::new(),
        })
    }

    /// Of an agent that speaks for a cluster.
    #[must_use]
    pub fn with_cluster(self, cluster: Option<Cluster>) -> Context {
        Context { cluster, ..self }
    }

    /// Of an agent that leaves when it is told so.
    #[must_use]
    pub fn with_leaving(self, leaving: CancellationToken) -> Context {
        Context { leaving, ..self }
    }

    /// On a node whose pods are told.
    #[must_use]
    pub fn with_pods(self, pods: Pods) -> Context {
        Context { pods, ..self }
    }

    /// With ways to outside systems.
    #[must_use]
    pub fn with_connections(self, connections: Connections) -> Context {
        Context { connections: Arc::new(connections), ..self }
    }

    /// The same context for another attempt. What file systems have not answered yet stays shared.
    #[must_use]
    pub fn for_attempt(&self, labels: Labels, output: Output, cancel: CancellationToken) -> Context {
        Context { labels, output, cancel, secrets: Secrets::default(), ..self.clone() }
    }

    /// The same where a step may do without: nothing when its target is none and its parameters name none.
    ///
    /// # Errors
    /// As [`Context::connection`].
    fn connection_if_named(&self, kind: &str, of: &[ConnectionKind], named: Option<&str>) -> Result<Option<&Connection>, StepError> {
        if self.labels.connection.is_none() && named.is_none() { Ok(None) } else { self.connection(kind, of, named).map(Some) }
    }

    /// The connection that this attempt is done to, or that its parameters name.
    ///
    /// # Errors
    /// Refused: there is none, it is of another kind, or the agent's owner does not let this plan use it.
    fn connection(&self, kind: &str, of: &[ConnectionKind], named: Option<&str>) -> Result<&Connection, StepError> {
        let refused = |why: String| StepError::refused(format!("{kind}: {why}"));
        let first = of.first().map_or("", |kind| kind.as_str());
        // Where the target is a connection, what the parameters say was the pattern that found it.
        let named = if self.labels.connection.is_some() { None } else { named };
        let parsed = named.map(str::parse::<ConnectionName>).transpose().map_err(|error| refused(error.to_string()))?;
        let Some(name) = self.labels.connection.as_ref().or(parsed.as_ref()) else {
            return Err(refused(format!("it is done through a connection, and none is named: connection = a name of kind {first}")));
        };
        let connection = self.connections.get(name).ok_or_else(|| {
            refused(format!("this agent has no connection {name}: add to its connections.toml  [connections.{name}]  kind = \"{first}\"  url = …"))
        })?;
        if !of.contains(&connection.kind) {
            return Err(refused(format!("the connection {name} is of kind {}, and one of kind {first} is needed", connection.kind)));
        }
        if let Some(plan) = &self.labels.plan {
            connection.allows(plan).map_err(|error| refused(error.to_string()))?;
        }
        Ok(connection)
    }

    /// The same context, with somewhere for the attempt's files to go.
    #[must_use]
    pub fn with_artifacts(self, artifacts: Artifacts) -> Context {
        Context { artifacts, ..self }
    }

    /// The same context, with the way to what the mesh knows of backups.
    #[must_use]
    pub fn with_catalogue(self, catalogue: backup::Catalogue) -> Context {
        Context { catalogue, ..self }
    }
}

/// Longest message of an error: it goes into the replicated state with the attempt.
const MESSAGE_BYTES: usize = 1_024;

fn shortened(text: &str) -> String {
    match text.char_indices().find(|(at, c)| at + c.len_utf8() > MESSAGE_BYTES - '…'.len_utf8()) {
        Some((at, _)) if text.len() > MESSAGE_BYTES => format!("{}…", &text[..at]),
        _ => text.to_owned(),
    }
}

/// The kinds that [`execute`] carries out.
#[must_use]
pub fn kinds() -> &'static [&'static str] {
    &[
        "node.resources",
        "node.services",
        "logs.errors",
        "http.check",
        "tls.check",
        "prometheus.query",
        "alertmanager.silence",
        "alertmanager.expire",
        "postgres.check",
        "redis.check",
        catalogue::BACKUP_RUN,
        catalogue::BACKUP_CHECK,
        catalogue::BACKUP_PRUNE,
        catalogue::BACKUP_RESTORE,
        catalogue::RECOVERY_DRILL,
        "kube.workloads",
        "kube.services",
        "kube.cronjobs",
        "kube.events",
        "kube.certificates",
        "kube.wait",
        "kube.watch",
        "kube.live",
        "kube.restart",
        "kube.rollout",
        "kube.scale",
        "kube.switch",
        "kube.cronjob.trigger",
        "kube.job",
        "kube.apply",
        "kube.delete",
        "kube.exec",
        "kube.cordon",
        "kube.drain",
        "kube.uncordon",
        "kube.drainable",
        "kube.node.ready",
        "helm.upgrade",
        "helm.rollback",
        "helm.uninstall",
        "wait",
        "node.exec",
        "node.reboot",
        catalogue::PACKAGES,
    ]
}

/// Whether a step may be carried out here, as far as its kind, its parameters and the policy tell.
///
/// # Errors
/// Refused, with what to change.
pub fn allowed(kind: &str, with: &Map<String, Value>, policy: &Policy) -> Result<(), StepError> {
    policy.allows_kind(kind)?;
    let judged = match kind {
        "node.exec" => exec::allowed(with, policy).map(drop),
        "node.reboot" => reboot::allowed(with, policy).map(drop),
        catalogue::PACKAGES => packages::allowed(with),
        "kube.exec" => kube::exec::allowed(with, policy).map(drop),
        _ => Ok(()),
    };
    judged.map_err(cleaned)
}

/// Without what it must not show, and within its bound.
fn cleaned(error: StepError) -> StepError {
    StepError { message: shortened(&redact::redact_line(&error.message)), ..error }
}

/// Carries out one attempt. What comes out holds no credential of a known shape and fits the bounds of a
/// report.
///
/// # Errors
/// Refused before anything was done, failed, or cancelled.
pub async fn execute(kind: &str, with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    context.policy.allows_kind(kind)?;
    let carried_out = async {
        match kind {
            "node.resources" => resources::execute(with, context).await,
            "node.services" => services::execute(with, context).await,
            "logs.errors" => logs::execute(with, context).await,
            "http.check" => http::execute(with, context).await,
            "tls.check" => tls::execute(with, context).await,
            "prometheus.query" => prometheus::execute(with, context).await,
            "alertmanager.silence" => alertmanager::silence(with, context).await,
            "alertmanager.expire" => alertmanager::expire(with, context).await,
            "postgres.check" => postgres::execute(with, context).await,
            "redis.check" => redis::execute(with, context).await,
            catalogue::BACKUP_RUN => backup::run::execute(with, context).await,
            catalogue::BACKUP_CHECK => backup::check::execute(with, context).await,
            catalogue::BACKUP_PRUNE => backup::prune::execute(with, context).await,
            catalogue::BACKUP_RESTORE => backup::restore::execute(with, context).await,
            catalogue::RECOVERY_DRILL => backup::drill::execute(with, context).await,
            "kube.workloads" => kube::workloads::execute(with, context).await,
            "kube.services" => kube::services::execute(with, context).await,
            "kube.cronjobs" => kube::cronjobs::execute(with, context).await,
            "kube.events" => kube::events::execute(with, context).await,
            "kube.certificates" => kube::certificates::execute(with, context).await,
            "kube.wait" => kube::wait::execute(with, context).await,
            "kube.watch" => kube::watch::execute(with, context).await,
            "kube.live" => kube::live::execute(with, context).await,
            "kube.restart" => kube::restart::execute(with, context).await,
            "kube.rollout" => kube::rolling::execute(with, context).await,
            "kube.scale" => kube::scale::execute(with, context).await,
            "kube.switch" => kube::switch::execute(with, context).await,
            "kube.cronjob.trigger" => kube::jobs::trigger(with, context).await,
            "kube.job" => kube::jobs::execute(with, context).await,
            "kube.apply" => kube::objects::apply(with, context).await,
            "kube.delete" => kube::objects::delete(with, context).await,
            "kube.exec" => kube::exec::execute(with, context).await,
            "kube.cordon" => kube::nodes::cordon::execute(with, context).await,
            "kube.drain" => kube::nodes::drain::execute(with, context).await,
            "kube.uncordon" => kube::nodes::cordon::uncordon(with, context).await,
            "kube.drainable" => kube::nodes::drainable::execute(with, context).await,
            "kube.node.ready" => kube::nodes::ready::execute(with, context).await,
            "helm.upgrade" => helm::upgrade::execute(with, context).await,
            "helm.rollback" => helm::rollback::execute(with, context).await,
            "helm.uninstall" => helm::uninstall::execute(with, context).await,
            "wait" => wait::execute(with, context).await,
            "node.exec" => exec::execute(with, context).await,
            "node.reboot" => reboot::execute(with, context).await,
            catalogue::PACKAGES => packages::execute(with, context).await,
            other => Err(StepError::refused(format!("this agent does not know the step kind `{other}`; it may be older than the mesh"))),
        }
    };
    let ended = if matches!(kind, "node.exec" | "node.reboot" | "kube.job" | "kube.cronjob.trigger" | "kube.rollout" | "kube.switch")
        || catalogue::is_by_helm(kind)
        || catalogue::is_fenced_backup(kind)
        || matches!(kind, catalogue::RECOVERY_DRILL | catalogue::PACKAGES)
    {
        // It ends its children, or puts back what it has begun, before it ends.
        carried_out.await
    } else {
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(StepError::cancelled(format!("{kind} was called off"))),
            ended = carried_out => ended,
        }
    };
    let clean = |report: Report| redact::redact_report(context.secrets.hide_in(report)).bounded();
    ended.map(clean).map_err(|mut error| {
        context.secrets.hide(&mut error.message);
        let report = error.report.take().map(clean);
        StepError { report, ..cleaned(error) }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn context() -> Context {
        let policy = Policy::parse("[policy]\nallow = [\"*\"]").unwrap();
        Context::new(Arc::default(), Readings::default(), Arc::default(), Arc::new(policy)).unwrap()
    }

    #[test]
    fn an_attempt_can_move_between_threads() {
        fn moves(_: impl Send) {}
        let (with, context) = (Map::new(), context());
        moves(execute("wait", &with, &context));
    }

    #[test]
    fn every_kind_is_in_the_catalogue() {
        assert!(kinds().iter().all(|kind| catalogue::kind(kind).is_some()));
    }

    #[tokio::test]
    async fn what_is_unknown_is_refused_and_what_waits_can_be_called_off() {
        let context = context();
        assert_eq!(execute("no.such", &Map::new(), &context).await.unwrap_err().ended, Ended::Refused);
        let with = json!({"for": "1h"}).as_object().cloned().unwrap();
        let waiting = execute("wait", &with, &context);
        context.cancel.cancel();
        assert_eq!(waiting.await, Err(StepError::cancelled("wait was called off")));
        let with = json!({"for": "1ms"}).as_object().cloned().unwrap();
        let context = self::context();
        assert_eq!(execute("wait", &with, &context).await, Ok(Report::default()));
        let with = json!({"for": "soon", "password": "x"}).as_object().cloned().unwrap();
        assert_eq!(execute("wait", &with, &context).await.unwrap_err().ended, Ended::Refused);
    }

    #[test]
    fn a_message_fits_the_state() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&"ü".repeat(2_000));
        assert!(long.len() <= MESSAGE_BYTES && long.ends_with("ü…"));
    }
}
