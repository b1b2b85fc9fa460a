//! `kube.services`: Services that lead nowhere.
//!
//! In: Services and their EndpointSlices; of those that have nobody, the pods that they select. Out: a check for each
//! that nobody answers, with the reason: its selector fits no pod, none of its pods is ready, a port leads nowhere.
//! Headless Services are names, an ExternalName is somebody else's: neither has to have endpoints.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::params::{self, Span};
use super::super::{Context, StepError, wording};
use super::now::Now;
use crate::kube::objects::{EndpointSlice, ServedPod, Service, Workload, condition};
use crate::kube::{Cluster, ClusterError, Selected};

const KIND: &str = "kube.services";
const SERVICE_OF_SLICE: &str = "kubernetes.io/service-name";
/// Services without an endpoint whose pods are looked at. What of a cluster has more has one cause, and not its own.
const EXPLAINED_MAX: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    namespaces: Vec<String>,
    exclude_namespaces: Vec<String>,
    selector: Option<String>,
    settle_for: Span,
}

impl Default for Params {
    fn default() -> Params {
        let (exclude_namespaces, settle_for) = (Vec::new(), Span(Millis::from_secs(300)));
        Params { namespaces: super::everywhere(), exclude_namespaces, selector: None, settle_for }
    }
}

/// What the slices of one Service come to.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    ready: u64,
    known: u64,
    /// Names of ports that lead to a ready endpoint.
    ports: BTreeSet<String>,
}

impl Endpoints {
    fn add(&mut self, slice: EndpointSlice) {
        let endpoints = slice.endpoints.unwrap_or_default();
        let ready = endpoints.iter().filter(|endpoint| endpoint.conditions.ready != Some(false)).count() as u64;
        (self.ready, self.known) = (self.ready + ready, self.known + endpoints.len() as u64);
        if ready > 0 {
            self.ports.extend(slice.ports.unwrap_or_default().into_iter().map(|port| port.name.unwrap_or_default()));
        }
    }
}

/// What there is to say of a Service whose endpoints are known.
#[derive(Debug)]
pub(super) enum Judged {
    Well,
    /// Id, verdict, message, hint.
    Fault(&'static str, Verdict, String, &'static str),
    /// The pods that it selects know why.
    NobodyReady,
}

/// Looks at all Services.
///
/// # Errors
/// Refused parameters; a cluster that cannot be seen.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let cluster = super::cluster(KIND, context)?;
    let now = Now::of(KIND, context)?;
    let failed = |error| super::failed(KIND, &error);
    let wants = |namespace: &str| super::wants(&params.namespaces, &params.exclude_namespaces, namespace);
    let mut services: BTreeMap<(String, String), (Service, Endpoints)> = BTreeMap::new();
    let selected = Selected { labels: params.selector.as_deref(), ..Selected::default() };
    let kept = |service: Service| {
        if wants(&service.metadata.namespace) {
            services.insert((service.metadata.namespace.clone(), service.metadata.name.clone()), (service, Endpoints::default()));
        }
    };
    cluster.each("/api/v1/services", selected, kept).await.map_err(failed)?;
    let counted = |slice: EndpointSlice| {
        let name = slice.metadata.labels.get(SERVICE_OF_SLICE).cloned().unwrap_or_default();
        if let Some((_, endpoints)) = services.get_mut(&(slice.metadata.namespace.clone(), name)) {
            endpoints.add(slice);
        }
    };
    cluster.each("/apis/discovery.k8s.io/v1/endpointslices", Selected::default(), counted).await.map_err(failed)?;

    let (mut checks, mut explained, mut without) = (Vec::new(), 0, 0);
    for ((namespace, name), (service, endpoints)) in &services {
        let judged = match judge(service, endpoints, now, params.settle_for.0) {
            Judged::NobodyReady if explained < EXPLAINED_MAX => {
                explained += 1;
                explain(cluster, service, now, params.settle_for.0).await.map_err(failed)?
            }
            Judged::NobodyReady => Judged::Fault(ENDPOINTS, Verdict::Critical, "nobody behind it is ready".to_owned(), ""),
            judged => judged,
        };
        if let Judged::Fault(id, verdict, message, hint) = judged {
            without += u64::from(id != PORT);
            checks.push(Check::stated(id, &format!("{namespace}/Service/{name}"), verdict, message).with_hint(hint));
        }
    }
    checks.sort_by_key(|check| std::cmp::Reverse(check.verdict));
    let seen = wording::count(services.len() as u64, "Service", "Services");
    let message = if checks.is_empty() { format!("{seen}: each has somebody behind it that needs to") } else { format!("{seen} were looked at") };
    checks.push(Check::stated(KIND, "", Verdict::Ok, message));
    let outputs = [("services", services.len() as u64), ("withoutEndpoints", without)];
    let outputs = outputs.map(|(name, number)| (name.to_owned(), Value::from(number))).into();
    Ok(Report { checks, outputs, ..Report::default() })
}

const ENDPOINTS: &str = "kube.service.endpoints";
const SELECTOR: &str = "kube.service.selector";
const PORT: &str = "kube.service.port";

pub(super) fn judge(service: &Service, endpoints: &Endpoints, now: Now, settle: Millis) -> Judged {
    let spec = &service.spec;
    if spec.r#type == "ExternalName" || spec.cluster_ip == "None" || !now.is_over(service.metadata.creation_timestamp, settle) {
        return Judged::Well;
    }
    if spec.selector.is_empty() && endpoints.known == 0 {
        let message = "it has no selector, and nobody has given it endpoints".to_owned();
        return Judged::Fault(ENDPOINTS, Verdict::Warning, message, "give it a selector or an EndpointSlice, or delete it");
    }
    if endpoints.ready == 0 {
        let message = || format!("none of its {} is ready", wording::count(endpoints.known, "endpoint", "endpoints"));
        let by_hand = spec.selector.is_empty();
        return if by_hand { Judged::Fault(ENDPOINTS, Verdict::Critical, message(), "") } else { Judged::NobodyReady };
    }
    match spec.ports.iter().find(|port| !endpoints.ports.contains(&port.name)) {
        Some(port) => {
            let target = port.target_port.as_str().map_or_else(|| port.target_port.to_string(), str::to_owned);
            let message = format!("port {} leads to the port `{target}` of its pods, and none that is ready has one of that name", port.port);
            Judged::Fault(PORT, Verdict::Critical, message, "compare its targetPort with the names of the containers' ports")
        }
        None => Judged::Well,
    }
}

/// Why a Service with a selector has nobody.
async fn explain(cluster: &Cluster, service: &Service, now: Now, settle: Millis) -> Result<Judged, ClusterError> {
    let labels = service.spec.selector.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
    let namespace = &service.metadata.namespace;
    let mut pods: Vec<ServedPod> =
        cluster.list(&format!("/api/v1/namespaces/{namespace}/pods"), Selected { labels: Some(&labels), ..Selected::default() }).await?;
    pods.retain(|pod| !matches!(pod.status.phase.as_str(), "Succeeded" | "Failed"));
    if pods.is_empty() {
        for (kind, path) in [("Deployment", "deployments"), ("StatefulSet", "statefulsets")] {
            let workloads: Vec<Workload> = cluster.list(&format!("/apis/apps/v1/namespaces/{namespace}/{path}"), Selected::default()).await?;
            if workloads.iter().any(|workload| is_scaled_down(workload, service)) {
                tracing::debug!(service = service.metadata.name, kind, "it has no pods, since its workload is to have none");
                return Ok(Judged::Well);
            }
        }
    }
    Ok(of_pods(&labels, service, &pods, now, settle))
}

/// Somebody has said that it is to have no pods.
fn is_scaled_down(workload: &Workload, service: &Service) -> bool {
    let labels = &workload.spec.template.metadata.labels;
    workload.spec.replicas == Some(0) && service.spec.selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

pub(super) fn of_pods(labels: &str, service: &Service, pods: &[ServedPod], now: Now, settle: Millis) -> Judged {
    if pods.is_empty() {
        let message = format!("its selector {labels} fits no pod");
        return Judged::Fault(SELECTOR, Verdict::Critical, message, "compare its selector with the labels of the pods that are meant");
    }
    let ready = |pod: &&ServedPod| condition(&pod.status.conditions, "Ready").is_some_and(|ready| ready.status == "True");
    let names: BTreeSet<&str> =
        pods.iter().flat_map(|pod| &pod.spec.containers).flat_map(|container| &container.ports).map(|port| &*port.name).collect();
    let lost = service.spec.ports.iter().filter_map(|port| port.target_port.as_str()).find(|target| !names.contains(target));
    let since = pods.iter().filter_map(|pod| condition(&pod.status.conditions, "Ready")?.last_transition_time).max();
    match (pods.iter().filter(ready).count(), lost) {
        (1.., Some(target)) => {
            let message = format!("it leads to the port `{target}` of its pods, and none of them has one of that name");
            Judged::Fault(PORT, Verdict::Critical, message, "compare its targetPort with the names of the containers' ports")
        }
        // They may just have become ready, or ceased to be.
        _ if !now.is_over(since, settle) => Judged::Well,
        (0, _) => {
            let message = format!("none of its {} is ready", wording::count(pods.len() as u64, "pod", "pods"));
            Judged::Fault(ENDPOINTS, Verdict::Critical, message, "kube.workloads says what keeps them from it")
        }
        (ready, None) => {
            let message = format!("{} ready, and it has no endpoint", wording::count(ready as u64, "of its pods is", "of its pods are"));
            Judged::Fault(ENDPOINTS, Verdict::Critical, message, "the cluster's controllers may be down: look at kube-controller-manager")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn now() -> Now {
        Now("2026-11-28T12:00:00Z".parse().unwrap())
    }

    fn service(spec: Value, created: &str) -> Service {
        serde_json::from_value(json!({ "metadata": { "name": "web", "namespace": "shop", "creationTimestamp": created }, "spec": spec })).unwrap()
    }

    fn endpoints(slices: &[Value]) -> Endpoints {
        let mut endpoints = Endpoints::default();
        slices.iter().for_each(|slice| endpoints.add(serde_json::from_value(slice.clone()).unwrap()));
        endpoints
    }

    fn told(judged: Judged) -> (&'static str, String) {
        match judged {
            Judged::Well => ("", String::new()),
            Judged::NobodyReady => ("nobody", String::new()),
            Judged::Fault(id, _, message, _) => (id, message),
        }
    }

    const LONG_AGO: &str = "2026-11-28T11:00:00Z";
    const JUST_NOW: &str = "2026-11-28T11:59:30Z";

    #[test]
    fn who_needs_nobody_is_well_and_who_has_nobody_is_not() {
        let ports = json!([{ "port": 80, "targetPort": "http", "name": "web" }]);
        let selected = json!({ "type": "ClusterIP", "clusterIP": "10.0.0.1", "selector": { "app": "web" }, "ports": ports });
        let ready = json!({ "endpoints": [{ "conditions": { "ready": true } }, { "conditions": {} }], "ports": [{ "name": "web", "port": 8080 }] });
        let without_port = json!({ "endpoints": [{ "conditions": { "ready": true } }], "ports": null });
        let not_ready = json!({ "endpoints": [{ "conditions": { "ready": false } }], "ports": [{ "name": "web" }] });
        let nothing = json!({ "endpoints": null, "ports": null });
        for (spec, created, slices, id) in [
            (selected.clone(), LONG_AGO, vec![ready.clone()], ""),
            (selected.clone(), LONG_AGO, vec![not_ready.clone(), ready], ""),
            (selected.clone(), LONG_AGO, vec![not_ready], "nobody"),
            (selected.clone(), LONG_AGO, vec![nothing.clone()], "nobody"),
            (selected.clone(), LONG_AGO, vec![without_port], PORT),
            (selected, JUST_NOW, vec![nothing.clone()], ""),
            (json!({ "type": "ExternalName", "externalName": "db.example" }), LONG_AGO, vec![], ""),
            (json!({ "clusterIP": "None", "selector": { "app": "web" } }), LONG_AGO, vec![nothing], ""),
            (json!({ "clusterIP": "10.0.0.1" }), LONG_AGO, vec![], ENDPOINTS),
        ] {
            let judged = told(judge(&service(spec.clone(), created), &endpoints(&slices), now(), Millis::from_secs(300)));
            assert_eq!(judged.0, id, "{spec} {slices:?}: {judged:?}");
        }
    }

    #[test]
    fn the_pods_say_why_nobody_is_ready() {
        let web = service(json!({ "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": "http" }] }), LONG_AGO);
        let pod = |ready: &str, since: &str, port: &str| {
            json!({
                "spec": { "containers": [{ "ports": [{ "name": port }] }] },
                "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": ready, "lastTransitionTime": since }] },
            })
        };
        for (pods, id, message) in [
            (vec![], SELECTOR, "its selector app=web fits no pod"),
            (vec![pod("False", LONG_AGO, "http")], ENDPOINTS, "none of its 1 pod is ready"),
            (vec![pod("False", LONG_AGO, "http"), pod("False", JUST_NOW, "http")], "", ""),
            (vec![pod("True", LONG_AGO, "web")], PORT, "it leads to the port `http` of its pods, and none of them has one of that name"),
            (vec![pod("True", LONG_AGO, "http")], ENDPOINTS, "1 of its pods is ready, and it has no endpoint"),
            (vec![pod("True", JUST_NOW, "http")], "", ""),
        ] {
            let pods: Vec<ServedPod> = pods.into_iter().map(|pod| serde_json::from_value(pod).unwrap()).collect();
            let judged = told(of_pods("app=web", &web, &pods, now(), Millis::from_secs(300)));
            assert_eq!((judged.0, judged.1.as_str()), (id, message), "{pods:?}");
        }
        let stopped = json!({ "spec": { "replicas": 0, "template": { "metadata": { "labels": { "app": "web", "tier": "front" } } } } });
        let (stopped, other) = (serde_json::from_value(stopped).unwrap(), service(json!({ "selector": { "app": "other" } }), LONG_AGO));
        assert!(is_scaled_down(&stopped, &web) && !is_scaled_down(&stopped, &other) && !is_scaled_down(&Workload::default(), &web));
    }
}
