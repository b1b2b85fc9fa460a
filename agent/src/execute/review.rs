//! Which rights a step would lack: its kind is carried out as far as its own review of them, over a cluster in which
//! nothing can be changed.

use std::sync::Arc;

use futures::future::BoxFuture;
use mainstay_core::catalogue::{self, Effect, Scope};
use mainstay_core::preview::rights::Lacking;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{Context, Labels, Output, execute};
use crate::artifacts::Artifacts;

/// An attempt of no mesh: what is looked at has no number.
const NO_ATTEMPT: &str = "0.0";

/// Whoever says what a step would lack: the seam between the link and the executors.
pub trait Rights: Send + Sync + 'static {
    /// What the account lacks that would carry it out, or why that is not known.
    fn lacking(&self, kind: String, with: Map<String, Value>, undoes: bool) -> BoxFuture<'static, Result<Lacking, String>>;
}

/// Asks this agent's own executors.
pub struct Reviewer(pub Arc<Context>);

impl Rights for Reviewer {
    fn lacking(&self, kind: String, with: Map<String, Value>, undoes: bool) -> BoxFuture<'static, Result<Lacking, String>> {
        let context = Arc::clone(&self.0);
        Box::pin(async move { lacking(&kind, &with, undoes, &context).await })
    }
}

async fn lacking(kind: &str, with: &Map<String, Value>, undoes: bool, context: &Context) -> Result<Lacking, String> {
    let changes = catalogue::kind(kind).is_some_and(|kind| kind.scope == Scope::Cluster && kind.effect != Effect::Read);
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
