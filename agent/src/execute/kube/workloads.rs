//! `kube.workloads`: what does not run as it should.

use mainstay_core::Millis;
use mainstay_core::report::Report;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::params::{self, Limits, Span};
use super::super::{Context, StepError};
use super::judge::{Judge, Limits as Judging};
use super::now::Now;
use crate::kube::objects::{Job, Meta, Node, Pod, Workload};
use crate::kube::{ClusterError, Selected};

const KIND: &str = "kube.workloads";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    namespaces: Vec<String>,
    exclude_namespaces: Vec<String>,
    selector: Option<String>,
    settle_for: Span,
    restarts: Limits<f64>,
    since: Span,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            namespaces: super::everywhere(),
            exclude_namespaces: Vec::new(),
            selector: None,
            settle_for: Span(Millis::from_secs(300)),
            restarts: Limits::default(),
            since: Span(Millis::from_secs(86_400)),
        }
    }
}

/// Looks at all pods, workloads and Jobs, and where it looks everywhere, at the nodes that they are on.
///
/// # Errors
/// Refused parameters; a cluster that cannot be seen.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let cluster = super::cluster(KIND, context)?;
    let limits = Judging { settle: params.settle_for.0, since: params.since.0, restarts: params.restarts.above(3.0, 10.0) };
    let mut judge = Judge::new(limits, Now::of(KIND, context)?);
    let selected = Selected { labels: params.selector.as_deref(), ..Selected::default() };
    let wants = |meta: &Meta| super::wants(&params.namespaces, &params.exclude_namespaces, &meta.namespace);
    let failed = |error| super::failed(KIND, &error);
    // A node is of no namespace and has no workload's labels: who looks at a part of the cluster does not ask for it.
    if params.selector.is_none() && params.namespaces == super::everywhere() {
        match cluster.each("/api/v1/nodes", Selected::default(), |node: Node| judge.node(&node)).await {
            Ok(()) => {}
            Err(error @ ClusterError::Forbidden { .. }) => judge.nodes_unseen(error.to_string()),
            Err(error) => return Err(failed(error)),
        }
    }
    let judged = |pod: Pod| {
        if wants(&pod.metadata) {
            judge.pod(&pod)
        }
    };
    cluster.each("/api/v1/pods", selected, judged).await.map_err(failed)?;
    for (kind, path) in
        [("Deployment", "/apis/apps/v1/deployments"), ("StatefulSet", "/apis/apps/v1/statefulsets"), ("DaemonSet", "/apis/apps/v1/daemonsets")]
    {
        let judged = |workload: Workload| {
            if wants(&workload.metadata) {
                judge.workload(kind, &workload)
            }
        };
        cluster.each(path, selected, judged).await.map_err(failed)?;
    }
    let judged = |job: Job| {
        if wants(&job.metadata) {
            judge.job(&job)
        }
    };
    cluster.each("/apis/batch/v1/jobs", selected, judged).await.map_err(failed)?;
    Ok(judge.report())
}
