//! `kube.workloads`: what does not run as it should.

use jiff::Timestamp;
use mainstay_core::Millis;
use mainstay_core::catalogue::fits;
use mainstay_core::report::Report;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::params::{self, Limits, Span};
use super::super::{Context, StepError};
use super::judge::{Judge, Limits as Judging};
use crate::kube::Cluster;
use crate::kube::objects::{Job, Meta, Pod, Workload};

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
            namespaces: vec!["*".to_owned()],
            exclude_namespaces: Vec::new(),
            selector: None,
            settle_for: Span(Millis::from_secs(300)),
            restarts: Limits::default(),
            since: Span(Millis::from_secs(86_400)),
        }
    }
}

impl Params {
    fn wants(&self, meta: &Meta) -> bool {
        let named = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, &meta.namespace));
        named(&self.namespaces) && !named(&self.exclude_namespaces)
    }
}

/// Looks at all pods, workloads and Jobs.
///
/// # Errors
/// Refused parameters; a cluster that cannot be seen.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let cluster = super::cluster(KIND, context)?;
    let limits = Judging { settle: params.settle_for.0, since: params.since.0, restarts: params.restarts.above(3.0, 10.0) };
    let now =
        Timestamp::from_millisecond(context.host.wall().0).map_err(|error| StepError::failed(format!("{KIND}: this machine's clock: {error}")))?;
    let mut judge = Judge::new(limits, now);
    let selector = params.selector.as_deref();
    let pods: Vec<Pod> = list(cluster, "/api/v1/pods", selector).await?;
    pods.iter().filter(|pod| params.wants(&pod.metadata)).for_each(|pod| judge.pod(pod));
    drop(pods);
    for (kind, path) in
        [("Deployment", "/apis/apps/v1/deployments"), ("StatefulSet", "/apis/apps/v1/statefulsets"), ("DaemonSet", "/apis/apps/v1/daemonsets")]
    {
        let workloads: Vec<Workload> = list(cluster, path, selector).await?;
        workloads.iter().filter(|workload| params.wants(&workload.metadata)).for_each(|workload| judge.workload(kind, workload));
    }
    let jobs: Vec<Job> = list(cluster, "/apis/batch/v1/jobs", selector).await?;
    judge.jobs(jobs.into_iter().filter(|job| params.wants(&job.metadata)).collect());
    Ok(judge.report())
}

async fn list<T: serde::de::DeserializeOwned>(cluster: &Cluster, path: &str, selector: Option<&str>) -> Result<Vec<T>, StepError> {
    cluster.list(path, selector).await.map_err(|error| StepError::failed(format!("{KIND}: {error}")))
}
