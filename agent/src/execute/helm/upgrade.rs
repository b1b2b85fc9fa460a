//! `helm.upgrade`: a release is installed or upgraded, or that is taken back.

use mainstay_core::Millis;
use mainstay_core::report::Report;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::kube::why::{self, Seen};
use super::super::params::{self, Span};
use super::super::{Context, StepError, wording};
use super::chart::Chart;
use super::decide::{self, Next};
use super::history::{Marks, Revision, Status};
use super::lock::Lock;
use super::release::Release;
use super::rollback::carry_out;
use super::values::{self, Source};
use super::{How, Wait, objects, ten_minutes, yes};

const KIND: &str = mainstay_core::catalogue::HELM_UPGRADE;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    namespace: String,
    release: String,
    chart: String,
    repository: Option<String>,
    version: Option<String>,
    #[serde(default)]
    pinned: bool,
    #[serde(default)]
    values: Map<String, Value>,
    #[serde(default)]
    values_from: Vec<Source>,
    #[serde(default)]
    reuse_values: bool,
    #[serde(default = "yes")]
    install: bool,
    #[serde(default = "yes")]
    rollback_on_failure: bool,
    #[serde(default)]
    take_over: bool,
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

/// Installs or upgrades it, or takes that back.
///
/// # Errors
/// Refused parameters or rights; somebody else at the release; what helm complains of.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let how = How { hooks: params.hooks, wait: params.wait, wait_for_jobs: params.wait_for_jobs, within: params.within };
    if let Some(why) = mainstay_core::preview::unpinned(with).filter(|_| params.pinned && !context.labels.undoes) {
        return Err(StepError::refused(format!("{KIND}: {why}; nothing was done: give it one:  version: 1.2.3")));
    }
    let release = Release::of(KIND, (&params.namespace, &params.release), params.service_account.as_deref(), context).await?;
    let version = params.version.as_deref().filter(|version| !version.is_empty());
    let chart = Chart::of(KIND, &params.chart, params.repository.as_deref(), version, release.program.charts())?;
    let lock = release.lock(&how).await?;
    let ended = act(&release, &params, &chart, &how, &lock).await;
    lock.release().await;
    ended
}

async fn act(release: &Release<'_>, params: &Params, chart: &Chart, how: &How, lock: &Lock) -> Result<Report, StepError> {
    let history = release.unless_called_off(release.history()).await?;
    let next = match &release.work.taken_back {
        Some(step) => decide::take_back(&history, &release.work, step),
        None => decide::upgrade(&history, &release.work, params.install),
    };
    match next {
        Next::Done(Some(number), words) if release.work.taken_back.is_none() => {
            let made = history.get(number).ok_or_else(|| release.failed("a revision is gone while it was looked at"))?;
            Ok(told(release, made, made.marks.as_ref().and_then(|marks| marks.before), &words))
        }
        Next::Upgrade { discard, marks } => {
            if let Some(number) = discard {
                tracing::info!(release = release.subject(), number, "an attempt died over this revision: its record is taken away");
                release.discard(&history, number).await?;
            }
            let made = upgrade(release, params, chart, &marks, how, lock).await?;
            let words = match (marks.before, discard) {
                (_, Some(number)) => format!("it is in force, after an attempt that had died over revision {number}"),
                (Some(0), None) => "it was installed".to_owned(),
                (before, None) => format!("it is in force, in place of revision {}", before.unwrap_or(marks.base)),
            };
            Ok(told(release, &made, marks.before, &words))
        }
        next => carry_out(release, &history, next, how, lock).await,
    }
}

async fn upgrade(release: &Release<'_>, params: &Params, chart: &Chart, marks: &Marks, how: &How, lock: &Lock) -> Result<Revision, StepError> {
    let prepared = async {
        chart.may_be_reached(KIND, release.context).await?;
        let files = values::files(release, &params.values, &params.values_from).await?;
        let mut words = vec!["upgrade".to_owned(), "--hide-notes".to_owned()];
        words.extend(params.install.then(|| "--install".to_owned()));
        words.push(if params.reuse_values { "--reset-then-reuse-values" } else { "--reset-values" }.to_owned());
        words.extend(params.take_over.then(|| "--force-conflicts".to_owned()));
        words.extend(files.iter().flat_map(|file| ["--values".to_owned(), file.path()]));
        words.extend(chart.options());
        words.extend(how.arguments());
        let place = ["--".to_owned(), release.name.clone(), chart.place()];
        objects::may_be_changed(release, &words, &place, how.wait).await?;
        Ok((files, words, place))
    };
    // The files are there as long as helm is.
    let (_files, mut words, place) = release.unless_called_off(prepared).await?;
    words.extend(params.rollback_on_failure.then(|| "--rollback-on-failure".to_owned()));
    words.extend([
        "--labels".to_owned(),
        marks.argument(),
        "--description".to_owned(),
        format!("Mainstay: {}, attempt {}", release.work.name, marks.attempt),
    ]);
    words.extend(place);
    let labels = format!("app.kubernetes.io/instance={}", release.name);
    let mut seen = None;
    // helm itself says only that they have not come.
    let ended = tokio::select! {
        biased;
        ended = release.act(&words, how, lock) => ended,
        never = why::follow(KIND, release.context, &release.namespace, &labels, &mut seen) => match never {},
    };
    let history = release.history().await?;
    let own = history.made_by(&release.work.name).filter(|(_, own)| own.attempt == marks.attempt).map(|(revision, _)| revision);
    match (ended, own) {
        (Ok(()), Some(own)) if own.status == Status::Deployed => Ok(own.clone()),
        (Ok(()), _) => {
            Err(release.failed("helm says that it has done it, and no revision of its history says so: somebody was at it at the same time"))
        }
        (Err(mut error), own) => {
            if let Some(Seen { fault, at }) = seen {
                let ago = release.context.host.monotonic().saturating_sub(at);
                let ago = wording::span(Millis(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)));
                error.message = format!("{}; what was wrong with its pods last, {ago} before: {fault}", error.message);
            }
            let last = history.last().filter(|last| own.is_some_and(|own| last.number > own.number) && last.status == Status::Deployed);
            if let Some(to) = last.and_then(|last| last.rollback_to) {
                error.message = format!("{}: helm has brought it back to revision {to}", error.message);
            } else if own.is_none() && marks.before == Some(0) && params.rollback_on_failure && history.last().is_none() {
                error.message = format!("{}: helm has taken away what it had installed", error.message);
            }
            Err(error)
        }
    }
}

fn told(release: &Release<'_>, made: &Revision, before: Option<u32>, words: &str) -> Report {
    let outputs = [
        ("revision", Some(Value::from(made.number))),
        ("before", before.map(Value::from)),
        ("chart", Some(Value::from(made.chart.clone()))),
        ("appVersion", Some(Value::from(made.app_version.clone()))),
    ];
    let outputs = outputs.into_iter().filter_map(|(name, value)| Some((name, value?)));
    release.done(outputs, format!("revision {}, {}: {words}", made.number, made.chart))
}
