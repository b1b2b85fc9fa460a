//! `backup.run`, `backup.check`, `backup.prune`, `backup.restore` and `recovery.drill`: backups of what connections lead to.
//!
//! In: a connection that is backed up, and one of kind `store`. Out: a backup that was read back and confirmed, what the
//! store has of it, or what went. How a backup is made is another crate's; here are the ways to sources and stores, the
//! token of the lease, and words for whoever reads the run.
//!
//! ```text
//! lease backup/CLUSTER/CONNECTION ─token─▶ run: look at source and store ─▶ write ─▶ read back ─▶ catalogue ─▶ receipt
//! ```

mod catalogue;
pub(super) mod check;
pub(super) mod drill;
mod mesh;
mod objects;
pub(super) mod prune;
pub(super) mod restore;
pub(super) mod run;
mod source;
mod store;
pub(super) mod worker;

use std::future::Future;
use std::time::Duration;

use mainstay_backup::progress::{Progress, Teller};
use mainstay_backup::seam::Stopwatch;
use mainstay_backup::{Target, Token};
use mainstay_core::catalogue as kinds;
use mainstay_core::id::LeaseName;
use mainstay_core::report::{Check, Verdict};
use serde_json::{Map, Value};

use super::output::Stream;
use super::{Context, Labels, OutputLine, StepError, wording};
use crate::connections::{Connection, ConnectionKind};

pub use catalogue::{Catalogue, Clerk};

/// What can be backed up.
const SOURCES: [ConnectionKind; 5] =
    [ConnectionKind::Postgres, ConnectionKind::Redis, ConnectionKind::Files, ConnectionKind::Kubernetes, ConnectionKind::Mesh];
/// Between two lines that say how far it is.
const TELLS_EVERY: Duration = Duration::from_secs(5);
/// Parameter of what only looks.
pub(super) const DRY_RUN: &str = "dryRun";
/// A check of one backup that would be restored.
pub(super) const WOULD_RESTORE: &str = "restore.dryRun";
/// A check of one backup that goes.
pub(super) const PRUNED: &str = "backup.pruned";

/// The lease under which a step is done, where it is done under one.
#[must_use]
pub fn lease(kind: &str, with: &Map<String, Value>, labels: &Labels) -> Option<LeaseName> {
    let only_looks = with.get(DRY_RUN) == Some(&Value::Bool(true));
    let fenced = kinds::is_fenced_backup(kind) && !only_looks;
    let (cluster, connection) = (labels.cluster.as_ref()?, labels.connection.as_ref()?);
    fenced.then(|| LeaseName::backup(cluster, connection))
}

/// What is backed up, and under which name.
fn subject<'a>(kind: &str, named: Option<&str>, context: &'a Context) -> Result<(&'a Connection, Target), StepError> {
    let connection = context.connection(kind, &SOURCES, named)?;
    let cluster = context.labels.cluster.as_ref().map(ToString::to_string).unwrap_or_default();
    let target = Target::new(&cluster, connection.name.as_str()).map_err(|error| StepError::refused(format!("{kind}: {error}")))?;
    Ok((connection, target))
}

/// The token of the lease that this is done under.
fn token(kind: &str, context: &Context) -> Result<Token, StepError> {
    let text = context.labels.token.as_deref().ok_or_else(|| StepError::refused(format!("{kind} is done under a lease, and there is none")))?;
    text.parse().map_err(|error| StepError::refused(format!("{kind}: the token of its lease: {error}")))
}

/// That the mesh does not know what came of it. The store does, so that nothing is lost by it.
fn not_told(target: &Target, why: &dyn std::fmt::Display) -> Check {
    let message = format!("the mesh's catalogue was not told of it: {why}");
    Check::stated("backup.catalogue", &target.to_string(), Verdict::Warning, message)
        .with_hint("the next backup.check of it tells what the store has")
}

/// Does something that tells how far it is, in lines that whoever watches the run reads.
async fn told<T>(what: &str, context: &Context, work: impl AsyncFnOnce(&Teller) -> T) -> T {
    let (tell, look) = Teller::new();
    let watch = Stopwatch::start();
    let working = work(&tell);
    tokio::pin!(working);
    loop {
        tokio::select! {
            biased;
            ended = &mut working => return ended,
            () = tokio::time::sleep(TELLS_EVERY) => say(context, &far(what, &look.borrow(), watch.elapsed())),
        }
    }
}

/// `reading database: 1.2 GiB as it is, 214 MiB as it is stored; about 40 %, 2 min left`
fn far(what: &str, progress: &Progress, elapsed: Duration) -> String {
    let part = if progress.part.is_empty() { String::new() } else { format!(" {}", progress.part) };
    let (plain, stored) = (wording::bytes(progress.plain_bytes), wording::bytes(progress.stored_bytes));
    let done = progress.percent().map_or_else(String::new, |percent| format!("; about {percent} %"));
    let left = progress.left(elapsed).map_or_else(String::new, |left| format!(", {} left", wording::seconds(left.as_secs_f64())));
    format!("{what}{part}: {plain} as it is, {stored} as it is stored{done}{left}")
}

fn say(context: &Context, text: &str) {
    context.output.line(OutputLine { stream: Stream::Stdout, at: context.host.wall(), text: crate::redact::redact_line(text) });
}

/// Whether it is to end; what it does is given up then.
async fn unless_called_off<T>(kind: &str, context: &Context, work: impl Future<Output = T>) -> Result<T, StepError> {
    context.cancel.run_until_cancelled(work).await.ok_or_else(|| StepError::cancelled(format!("{kind} was called off")))
}

#[cfg(test)]
mod tests;
