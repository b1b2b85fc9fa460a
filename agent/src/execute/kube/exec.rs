//! `kube.exec`: runs a command in a container that is there, if the agent's own policy has a rule for it.
//!
//! In: an argument list, never a shell string. Out: its status, and what it printed, as of any command. It is begun once:
//! what a connection that broke has left behind is unknown. A command that is called off is left alone, since a cluster
//! has no way to end it; it ends with its container.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::AttachParams;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::exec::lines;
use super::super::output::Stream;
use super::super::{Context, Policy, StepError, params};
use super::acting;
use crate::kube::account::Right;
use crate::kube::objects::{Pod as Seen, condition};
use crate::kube::{Cluster, Selected, escaped};

const KIND: &str = "kube.exec";
/// Lines in the message of a failure.
const LINES_SHOWN: usize = 3;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Params {
    namespace: String,
    pod: Option<String>,
    selector: Option<String>,
    container: Option<String>,
    command: Vec<String>,
    service_account: Option<String>,
}

/// What is to be run, where the policy has it.
///
/// # Errors
/// Refused: parameters that are none, or the policy.
pub fn allowed(with: &Map<String, Value>, policy: &Policy) -> Result<Params, StepError> {
    let params: Params = params::read(KIND, with)?;
    policy.allows_command(&params.command, [])?;
    Ok(params)
}

/// Runs it.
///
/// # Errors
/// Refused parameters, policy or rights; no pod that is ready; a command that fails.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params = allowed(with, &context.policy)?;
    let own = super::cluster(KIND, context)?;
    let cluster = acting::runner(own, &params.namespace, params.service_account.as_deref());
    let right = |verb, resource| Right { verb, group: "", resource, namespace: &params.namespace };
    // The API server asks for either, by the way in which it is asked.
    let mut rights = vec![right("create", "pods/exec"), right("get", "pods/exec")];
    if params.selector.is_some() {
        rights.push(right("list", "pods"));
    }
    acting::may(KIND, &cluster, &rights).await?;
    let pod = match (&params.pod, &params.selector) {
        (Some(pod), None) => pod.clone(),
        (None, Some(selector)) => ready_pod(&cluster, &params.namespace, selector).await?,
        _ => return Err(StepError::refused(format!("{KIND} runs in one `pod`, or in the first that is ready of those that a `selector` fits"))),
    };
    let place = format!("{}/{pod}", params.namespace);
    let failed = |error: kube::Error| StepError::failed(format!("{KIND}: {place}: {error}"));
    let api: Api<Pod> = Api::namespaced(cluster.streaming().map_err(|error| super::failed(KIND, &error))?, &params.namespace);
    let how = AttachParams { container: params.container.clone(), stdin: false, stdout: true, stderr: true, tty: false, ..AttachParams::default() };
    let mut process = api.exec(&pod, &params.command, &how).await.map_err(failed)?;
    let log = context.artifacts.output_log();
    let readers = [
        process.stdout().map(|pipe| lines::forward(pipe, Stream::Stdout, context, log.clone())),
        process.stderr().map(|pipe| lines::forward(pipe, Stream::Stderr, context, log.clone())),
    ];
    let status = match process.take_status() {
        Some(status) => status.await,
        None => None,
    };
    for reader in readers.into_iter().flatten() {
        let _ = reader.await;
    }
    let not_stored = context.artifacts.put_output(log).await;
    report(&params, &place, status.as_ref(), not_stored, context)
}

async fn ready_pod(cluster: &Cluster, namespace: &str, selector: &str) -> Result<String, StepError> {
    let path = format!("/api/v1/namespaces/{}/pods", escaped(namespace));
    let selected = Selected { labels: Some(selector), ..Selected::default() };
    let pods: Vec<Seen> = cluster.list(&path, selected).await.map_err(|error| super::failed(KIND, &error))?;
    let is_ready = |pod: &&Seen| {
        pod.metadata.deletion_timestamp.is_none() && condition(&pod.status.conditions, "Ready").is_some_and(|ready| ready.status == "True")
    };
    let first = pods.iter().filter(is_ready).map(|pod| pod.metadata.name.clone()).min();
    first.ok_or_else(|| StepError::failed(format!("{KIND}: none of the {} pods of {namespace} with {selector} is ready", pods.len())))
}

fn report(params: &Params, place: &str, status: Option<&Status>, not_stored: Option<Check>, context: &Context) -> Result<Report, StepError> {
    let tail = context.output.tail();
    let mut report = Report { checks: not_stored.into_iter().collect(), output_tail: tail.clone(), ..Report::default() };
    report.outputs.insert("pod".to_owned(), Value::from(place.rsplit('/').next().unwrap_or(place)));
    let program = params.command.first().map_or("", String::as_str);
    let code = status.and_then(exit_code);
    if let Some(code) = code {
        report.outputs.insert("exitCode".to_owned(), Value::from(code));
    }
    match (code, status) {
        (Some(0), _) => {
            report.checks.push(Check::stated(KIND, place, Verdict::Ok, format!("{program} ended with status 0")));
            Ok(report)
        }
        (Some(code), _) => {
            let shown: Vec<&str> = tail.lines().rev().filter(|line| !line.trim().is_empty()).take(LINES_SHOWN).collect();
            let said = if shown.is_empty() { "it printed nothing".to_owned() } else { shown.into_iter().rev().collect::<Vec<_>>().join(" ⏎ ") };
            Err(StepError::failed(format!("{KIND}: {program} in {place} ended with status {code}: {said}")).with_report(report))
        }
        (None, Some(status)) => {
            Err(StepError::failed(format!("{KIND}: {program} in {place}: {}", status.message.as_deref().unwrap_or("it did not run")))
                .with_report(report))
        }
        (None, None) => {
            Err(StepError::failed(format!("{KIND}: {place}: the connection broke: how {program} ended is not known, and it may still run"))
                .with_report(report))
        }
    }
}

/// The status of the command, where the container runtime says one.
fn exit_code(status: &Status) -> Option<i64> {
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status.details.as_ref()?.causes.as_ref()?;
    causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode")).and_then(|cause| cause.message.as_ref()?.parse().ok())
}
