//! `kube.watch`: watches the whole of a time, and fails as soon as a gate has failed.

use mainstay_core::Millis;
use mainstay_core::report::Report;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::params::{self, Span};
use super::super::watch::Watch;
use super::super::{Context, StepError, wording};
use super::acting;

const KIND: &str = "kube.watch";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    namespace: String,
    #[serde(default = "five_minutes")]
    r#for: Span,
    gates: Vec<Map<String, Value>>,
    service_account: Option<String>,
}

fn five_minutes() -> Span {
    Span(Millis::from_secs(300))
}

/// Watches.
///
/// # Errors
/// Refused parameters; a gate that has failed, or that was never asked.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let watch = Watch::of(KIND, &params.gates)?;
    if watch.is_empty() {
        return Err(StepError::refused(format!("{KIND}: there is nothing to watch: name some `gates`")));
    }
    let cluster = acting::runner(super::cluster(KIND, context)?, &params.namespace, params.service_account.as_deref());
    watch.can_be_asked(context, &cluster, &params.namespace)?;
    let watched = tokio::time::timeout(params.r#for.0.as_duration(), watch.until_failed(context, &cluster, &params.namespace)).await;
    let broken = watched.ok();
    let report = Report { checks: watch.checks(broken.as_ref()), outputs: watch.counted().outputs().into_iter().collect(), ..Report::default() };
    if let Some(broken) = broken {
        return Err(StepError::failed(format!("{KIND}: {broken}")).with_report(report));
    }
    match watch.unasked() {
        Some(gate) => {
            let span = wording::span(params.r#for.0);
            Err(StepError::failed(format!("{KIND}: no probe of the gate {gate} has ended within {span}: nobody knows whether it holds"))
                .with_report(report))
        }
        None => Ok(report),
    }
}
