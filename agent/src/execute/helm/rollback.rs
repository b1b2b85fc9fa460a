//! `helm.rollback`, and what takes a step back by one.

use mainstay_core::report::Report;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::params::{self, Span};
use super::super::{Context, StepError};
use super::decide::{self, Next};
use super::history::History;
use super::lock::Lock;
use super::release::Release;
use super::{How, Wait, ten_minutes, yes};

const KIND: &str = mainstay_core::catalogue::HELM_ROLLBACK;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    namespace: String,
    release: String,
    revision: Option<u32>,
    #[serde(default)]
    over_pending: bool,
    #[serde(default = "yes")]
    hooks: bool,
    #[serde(default)]
    wait: Wait,
    #[serde(default)]
    wait_for_jobs: bool,
    #[serde(default = "ten_minutes")]
    within: Span,
    service_account: Option<String>,
}

/// Brings a release back, or takes that back.
///
/// # Errors
/// Refused parameters or rights; somebody else at the release; what helm complains of.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let how = How { hooks: params.hooks, wait: params.wait, wait_for_jobs: params.wait_for_jobs, within: params.within };
    let release = Release::of(KIND, (&params.namespace, &params.release), params.service_account.as_deref(), context).await?;
    let lock = release.lock(&how).await?;
    let ended = act(&release, &params, &how, &lock).await;
    lock.release().await;
    ended
}

async fn act(release: &Release<'_>, params: &Params, how: &How, lock: &Lock) -> Result<Report, StepError> {
    let history = release.unless_called_off(release.history()).await?;
    let next = match &release.work.taken_back {
        Some(step) => decide::take_back(&history, &release.work, step),
        None => decide::rollback(&history, &release.work, params.revision, params.over_pending),
    };
    carry_out(release, &history, next, how, lock).await
}

/// Carries out what does not need a chart.
///
/// # Errors
/// As of the kinds.
pub async fn carry_out(release: &Release<'_>, history: &History, next: Next, how: &How, lock: &Lock) -> Result<Report, StepError> {
    match next {
        Next::Done(revision, words) => {
            let to = revision.and_then(|number| history.get(number)).and_then(|revision| revision.rollback_to);
            let outputs = [("revision", revision), ("to", to)].into_iter().filter_map(|(name, value)| Some((name, Value::from(value?))));
            let words = revision.map_or_else(|| words.clone(), |revision| format!("revision {revision}: {words}"));
            Ok(release.done(outputs, words))
        }
        Next::Refuse(why) | Next::Failed(why) => Err(release.failed(&why)),
        Next::Rollback { to, from } => {
            let made = release.roll_back((to, from), how, lock).await?;
            let message = format!("revision {} has the content of revision {to} again, after revision {from}: {}", made.number, made.chart);
            Ok(release.done([("revision", Value::from(made.number)), ("to", Value::from(to))], message))
        }
        Next::Uninstall { keeps } => {
            release.uninstall(history, keeps, how, lock).await?;
            let last = history.last().map(|last| last.number);
            let kept = if keeps { "its history is kept" } else { "nothing of it is left" };
            Ok(release.done(last.map(|last| ("revision", Value::from(last))), format!("it is uninstalled: {kept}")))
        }
        Next::Upgrade { .. } => Err(release.failed("an upgrade is of another kind: a fault of the agent")),
    }
}
