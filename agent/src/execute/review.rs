//! Which rights a step would lack: its kind is carried out as far as its own review of them, over a cluster in which
//! nothing can be changed. And what stands in the way of a backup, which is carried out as a dry run, or of nodes that are to
//! be drained, which are looked at as the step itself would.

use std::sync::Arc;

use futures::future::BoxFuture;
use mainstay_core::catalogue::{self, Effect, Scope};
use mainstay_core::id::ClusterName;
use mainstay_core::preview::rights::{Lacking, NOTICED_MAX, Noticed};
use mainstay_core::report::{Check, Verdict};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{Context, Labels, Output, backup, execute};
use crate::artifacts::Artifacts;

/// An attempt of no mesh: what is looked at has no number.
const NO_ATTEMPT: &str = "0.0";

/// Whoever says what a step would lack: the seam between the link and the executors.
pub trait Rights: Send + Sync + 'static {
    /// What the account lacks that would carry it out, or why that is not known.
    fn lacking(&self, kind: String, with: Map<String, Value>, undoes: bool) -> BoxFuture<'static, Result<Lacking, String>>;
}

/// Asks this agent's own executors.
pub struct Reviewer {
    pub context: Arc<Context>,
    /// The agent's own.
    pub cluster: ClusterName,
}

impl Rights for Reviewer {
    fn lacking(&self, kind: String, with: Map<String, Value>, undoes: bool) -> BoxFuture<'static, Result<Lacking, String>> {
        let (context, cluster) = (Arc::clone(&self.context), self.cluster.clone());
        Box::pin(async move {
            if catalogue::is_fenced_backup(&kind) {
                return Ok(in_the_way(&kind, with, cluster, &context).await);
            }
            if catalogue::looks_ahead(&kind) {
                return Ok(ahead(&kind, &with, &context).await);
            }
            lacking(&kind, &with, undoes, &context).await
        })
    }
}

/// What a dry run says: that it could be done, or why not.
async fn in_the_way(kind: &str, mut with: Map<String, Value>, cluster: ClusterName, context: &Context) -> Lacking {
    with.insert(backup::DRY_RUN.to_owned(), Value::Bool(true));
    let connection = with.get(catalogue::CONNECTION_PARAM).and_then(Value::as_str).and_then(|name| name.parse().ok());
    let labels = Labels {
        attempt: NO_ATTEMPT.to_owned(),
        run: "preview".to_owned(),
        step: "preview".to_owned(),
        connection,
        cluster: Some(cluster),
        ..Labels::default()
    };
    let looked = context.for_attempt(labels, Output::unwatched(), CancellationToken::new());
    let told = |check: &Check| Noticed {
        is_warning: !matches!(check.verdict, Verdict::Ok | Verdict::Skipped),
        // Of which target it is, whoever asks has said.
        message: if [backup::PRUNED, backup::WOULD_RESTORE].contains(&check.id.as_str()) {
            format!("{}: {}", check.subject, check.message)
        } else {
            check.message.clone()
        },
    };
    let noticed = match execute(kind, &with, &looked).await {
        Ok(report) => report.checks.iter().take(NOTICED_MAX).map(told).collect(),
        Err(error) => vec![Noticed { is_warning: true, message: error.message }],
    };
    Lacking { noticed, ..Lacking::default() }
}

/// What a step finds that only looks: of what is well, nothing but the sum.
async fn ahead(kind: &str, with: &Map<String, Value>, context: &Context) -> Lacking {
    let labels = Labels { attempt: NO_ATTEMPT.to_owned(), run: "preview".to_owned(), step: "preview".to_owned(), ..Labels::default() };
    let looked = context.for_attempt(labels, Output::unwatched(), CancellationToken::new());
    let told = |check: &Check| {
        let is_warning = !matches!(check.verdict, Verdict::Ok | Verdict::Skipped);
        let of = if check.subject.is_empty() { String::new() } else { format!("{}: ", check.subject) };
        Noticed { is_warning, message: format!("{of}{}", check.message) }
    };
    let noticed = match execute(kind, with, &looked).await {
        Ok(report) => report.checks.iter().take(NOTICED_MAX).map(told).collect(),
        Err(error) => vec![Noticed { is_warning: true, message: error.message }],
    };
    Lacking { noticed, ..Lacking::default() }
}

async fn lacking(kind: &str, with: &Map<String, Value>, undoes: bool, context: &Context) -> Result<Lacking, String> {
    let changes = catalogue::kind(kind).is_some_and(|kind| matches!(kind.scope, Scope::Cluster | Scope::Node) && kind.effect != Effect::Read);
    let own = context.cluster.as_ref().filter(|_| changes).ok_or_else(|| format!("this agent does not ask for the rights of {kind}"))?;
    let (cluster, review) = own.only_looked_at();
    let directions: &[bool] = if undoes { &[false, true] } else { &[false] };
    for undoes in directions {
        let labels =
            Labels { attempt: NO_ATTEMPT.to_owned(), run: "preview".to_owned(), step: "preview".to_owned(), undoes: *undoes, ..Labels::default() };
        let looked = context.for_attempt(labels, Output::unwatched(), CancellationToken::new());
        let looked = Context { cluster: Some(cluster.clone()), artifacts: Artifacts::default(), ..looked };
        let ended = execute(kind, with, &looked).await;
        if review.found().is_none() {
            // It did not come as far as its review: its parameters, this agent's policy, or a cluster that says nothing.
            return Err(ended.err().map_or_else(|| format!("{kind} asks for no rights"), |error| error.message));
        }
    }
    let mut found = review.found().unwrap_or_default();
    if !found.rights.is_empty() {
        // Who may not list ServiceAccounts does not know: then nothing is said of it.
        found.missing = !own.has_account(&found.namespace, &found.account).await.unwrap_or(true);
    }
    Ok(found)
}
