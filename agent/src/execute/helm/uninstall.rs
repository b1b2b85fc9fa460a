//! `helm.uninstall`: a release goes, with its history or without.

use mainstay_core::report::Report;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::params::{self, Span};
use super::super::{Context, StepError};
use super::decide;
use super::lock::Lock;
use super::release::Release;
use super::rollback::carry_out;
use super::{How, Wait, ten_minutes, yes};

const KIND: &str = mainstay_core::catalogue::HELM_UNINSTALL;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    namespace: String,
    release: String,
    #[serde(default = "yes")]
    keep_history: bool,
    #[serde(default = "yes")]
    hooks: bool,
    #[serde(default)]
    wait: Wait,
    #[serde(default = "ten_minutes")]
    within: Span,
    service_account: Option<String>,
}

/// Uninstalls it, or installs it again from its history.
///
/// # Errors
/// Refused parameters or rights; somebody else at the release; what helm complains of.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let how = How { hooks: params.hooks, wait: params.wait, wait_for_jobs: false, within: params.within };
    let release = Release::of(KIND, (&params.namespace, &params.release), params.service_account.as_deref(), context).await?;
    let lock = release.lock(&how).await?;
    let ended = act(&release, &params, &how, &lock).await;
    lock.release().await;
    ended
}

async fn act(release: &Release<'_>, params: &Params, how: &How, lock: &Lock) -> Result<Report, StepError> {
    let history = release.unless_called_off(release.history()).await?;
    let written = Release::uninstalls(lock);
    let next = match &release.work.taken_back {
        Some(step) => decide::install_again(&history, &release.work, step, written.as_ref()),
        None => decide::uninstall(&history, &release.work, written.as_ref(), params.keep_history),
    };
    carry_out(release, &history, next, how, lock).await
}
