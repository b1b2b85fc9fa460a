//! `kube.live`: what is live is read, and what comes next follows from it.

use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::{Context, StepError, params, wording};
use super::acting;
use super::behind::{self, Behind};
use super::way::{self, Kind, Way};
use super::work::version;
use crate::kube::{Cluster, ClusterError};

const KIND: &str = "kube.live";
/// Of what leads, in one step.
pub const NAMES_MAX: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    namespace: String,
    #[serde(default = "service")]
    kind: Kind,
    names: Vec<String>,
    #[serde(default = "instance")]
    label: String,
    of: Vec<String>,
    service_account: Option<String>,
}

pub fn service() -> Kind {
    Kind::Service
}

/// The label by which charts say of which release a pod is.
pub fn instance() -> String {
    "app.kubernetes.io/instance".to_owned()
}

/// Reads it.
///
/// # Errors
/// Refused parameters; what is not there or may not be read; several that do not lead to the same.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let refused = |why: &str| StepError::refused(format!("{KIND}: {why}"));
    if params.names.is_empty() || params.names.len() > NAMES_MAX {
        return Err(refused(&format!("`names` has {} names, and should have 1 to {NAMES_MAX}", params.names.len())));
    }
    if params.of.len() < 2 || params.of.iter().any(String::is_empty) {
        return Err(refused("`of` has to name two that take turns, or more"));
    }
    let failed = |error| super::failed(KIND, &error);
    let own = super::cluster(KIND, context)?;
    let (api_version, of_kind) = params.kind.api();
    let resource = own.resource(api_version, of_kind).await.map_err(failed)?;
    let cluster = acting::runner(own, &params.namespace, params.service_account.as_deref());
    let way = Way { kind: params.kind, label: params.label.clone() };
    let mut read: Vec<(String, Value)> = Vec::new();
    for name in &params.names {
        let object = cluster.get(&resource.path_of(&params.namespace, name)).await.map_err(failed)?;
        read.push((name.clone(), object));
    }
    let live = live(&read, &way, &params.of).map_err(|why| StepError::failed(format!("{KIND}: {}: {why}", params.namespace)))?;
    let next = next(&live, &params.of);
    // Of several, the first says who is behind them: they are one unit.
    let Some((first, object)) = read.first() else { return Err(refused("`names` is empty")) };
    let behind_live = behind(&cluster, &params, &way, object, &live).await.map_err(failed)?;
    let behind_next = behind(&cluster, &params, &way, object, &next).await.map_err(failed)?;
    let seen = read.iter().map(|(name, object)| format!("{name}={}", version(object))).collect::<Vec<_>>().join(",");
    Ok(report(&format!("{}/{of_kind}/{first}", params.namespace), &live, &next, &behind_live, &behind_next, &seen))
}

/// What all of them lead to.
fn live(read: &[(String, Value)], way: &Way, of: &[String]) -> Result<String, String> {
    let mut live: Option<(&str, String)> = None;
    for (name, object) in read {
        let own = way.live(object, of).map_err(|why| format!("{name}: {why}"))?;
        match &live {
            Some((first, other)) if *other != own => {
                let shown = |name: &str| if name.is_empty() { "none of them".to_owned() } else { name.to_owned() };
                return Err(format!("{first} leads to {}, and {name} to {}: let them lead to the same by hand first", shown(other), shown(&own)));
            }
            Some(_) => {}
            None => live = Some((name, own)),
        }
    }
    Ok(live.map(|(_, live)| live).unwrap_or_default())
}

/// The one after it, in turns; the first, where it is none of them.
fn next(live: &str, of: &[String]) -> String {
    let at = of.iter().position(|one| one == live).map_or(0, |at| (at + 1) % of.len());
    of.get(at).cloned().unwrap_or_default()
}

/// Who would be behind it, if it led there.
async fn behind(cluster: &Cluster, params: &Params, way: &Way, object: &Value, name: &str) -> Result<Behind, ClusterError> {
    if name.is_empty() {
        return Ok(Behind::default());
    }
    let selector = match params.kind {
        Kind::Service => way::selector(&way.led(object, &way.places(object).into_keys().map(|place| (place, Some(name.to_owned()))).collect())),
        Kind::Ingress | Kind::HttpRoute => {
            let path = format!("/api/v1/namespaces/{}/services/{}", crate::kube::escaped(&params.namespace), crate::kube::escaped(name));
            cluster.find::<Value>(&path).await?.as_ref().and_then(way::selector)
        }
    };
    match selector {
        Some(selector) => behind::of(cluster, &params.namespace, &selector).await,
        None => Ok(Behind::default()),
    }
}

fn report(subject: &str, live: &str, next: &str, behind_live: &Behind, behind_next: &Behind, seen: &str) -> Report {
    let (pods, ready) = (behind_live.pods.len(), behind_live.ready.len());
    let now = if live.is_empty() {
        "it leads to none of them so far".to_owned()
    } else {
        format!("{live} is live with {}, {ready} ready", wording::count(pods as u64, "pod", "pods"))
    };
    let next_pods = behind_next.pods.len();
    let left = if next_pods == 0 {
        format!("{next} comes next")
    } else {
        format!("{next} comes next, of which {} there already", wording::count(next_pods as u64, "pod is", "pods are"))
    };
    let (kind, workload) = behind_live.workload.clone().unwrap_or(("", String::new()));
    let outputs = json!({
        "live": live, "next": next, "pods": pods, "ready": ready, "nextPods": next_pods,
        "workload": workload, "workloadKind": kind, "seen": seen,
    });
    let outputs = outputs.as_object().cloned().unwrap_or_default().into_iter().collect();
    Report { checks: vec![Check::stated(KIND, subject, Verdict::Ok, format!("{now}; {left}"))], outputs, ..Report::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(colour: &str) -> Value {
        json!({ "metadata": { "resourceVersion": "7" }, "spec": { "selector": { "colour": colour } } })
    }

    #[test]
    fn what_is_live_decides_what_comes_next() {
        let of = ["web-blue".to_owned(), "web-green".to_owned()];
        for (live, comes) in [("web-blue", "web-green"), ("web-green", "web-blue"), ("web", "web-blue"), ("", "web-blue")] {
            assert_eq!(next(live, &of), comes);
        }
        let way = Way { kind: Kind::Service, label: "colour".to_owned() };
        let read = |colours: &[&str]| colours.iter().enumerate().map(|(at, colour)| (format!("s{at}"), service(colour))).collect::<Vec<_>>();
        assert_eq!(live(&read(&["web-blue", "web-blue"]), &way, &of).as_deref(), Ok("web-blue"));
        let torn = live(&read(&["web-blue", "web-green"]), &way, &of);
        assert_eq!(torn, Err("s0 leads to web-blue, and s1 to web-green: let them lead to the same by hand first".to_owned()));
    }

    #[test]
    fn what_an_interrupted_run_left_is_told() {
        let names = |pods: usize| (0..pods).map(|at| at.to_string()).collect();
        let some = |pods: usize| Behind { pods: names(pods), ready: names(pods), workload: Some(("Deployment", "web-blue".into())) };
        let report = report("shop/Service/web", "web-blue", "web-green", &some(3), &some(1), "web=7");
        assert_eq!(report.checks[0].message, "web-blue is live with 3 pods, 3 ready; web-green comes next, of which 1 pod is there already");
        assert_eq!(
            (&report.outputs["workload"], &report.outputs["nextPods"], &report.outputs["seen"]),
            (&json!("web-blue"), &json!(1), &json!("web=7"))
        );
        let first = self::report("shop/Service/web", "", "web-blue", &Behind::default(), &Behind::default(), "web=7");
        assert_eq!(first.checks[0].message, "it leads to none of them so far; web-blue comes next");
    }
}
