//! `kube.drain`: the pods of a node that the run has cordoned are evicted, as their budgets allow, until none is left.
//!
//! Nothing of it is remembered: what is left to be evicted is what is there, and an eviction names the UID of its pod, so
//! that asked for twice it is asked for once. Before each round the node is looked at: one that this run does not have any
//! more is left alone. The agent's own pod goes last. It ends then, and another replica finds the node empty.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_core::Millis;
use mainstay_core::report::Report;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::super::params::{self, Span};
use super::super::super::{Context, StepError};
use super::sort::{Loss, Pod, Rules, Sorted, some, sort};
use super::stage::Stage;
use super::{Place, mark, say};
use crate::kube::account::Right;
use crate::kube::ask::Eviction;
use crate::kube::{ClusterError, Selected};

const KIND: &str = "kube.drain";
/// Between two rounds. A budget that holds is asked no more often.
const EVERY: Duration = Duration::from_secs(2);
/// Rounds after which it is looked whether the node's Lease has to be renewed.
const BOOKED_EVERY: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    #[serde(default = "ten_minutes")]
    within: Span,
    grace_period: Option<Span>,
    #[serde(default)]
    bare_pods: Loss,
    #[serde(default)]
    empty_dir: Loss,
    service_account: Option<String>,
}

fn ten_minutes() -> Span {
    Span(Millis::from_secs(600))
}

/// How far it has come.
#[derive(Debug, Default)]
struct Progress {
    /// UIDs of pods that this attempt has had evicted.
    evicted: BTreeSet<String>,
    /// What is left, and why.
    waits: Vec<String>,
    rounds: usize,
}

/// Drains a node.
///
/// # Errors
/// Refused parameters or rights; pods that would lose something; what is still there when its time is up.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let evictions = [Right { verb: "create", group: "", resource: "pods/eviction", namespace: "" }];
    let place = Place::of(KIND, params.service_account.as_deref(), &evictions, context).await?;
    let own = context.labels.replica.as_deref().map(|pod| (place.own.home(), pod));
    let rules = Rules { bare_pods: params.bare_pods, empty_dir: params.empty_dir, own };
    let grace = params.grace_period.map(|grace| grace.0.0.div_ceil(1_000));
    let mut progress = Progress::default();
    let draining = async {
        loop {
            let before = progress.waits.clone();
            if let Some((node, left)) = round(&place, context, rules, grace, &mut progress).await? {
                place.keep_booked(context, &node).await;
                place.stands(context, &node, Stage::Drained).await;
                place.tell(context, &node, "NodeDrained", "its pods have gone elsewhere").await;
                return Ok::<usize, StepError>(left);
            }
            for words in progress.waits.iter().filter(|words| !before.contains(words)) {
                say(context, words);
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    let ended = tokio::time::timeout(params.within.0.as_duration(), draining).await;
    let outputs = |left: usize| [("evicted".to_owned(), Value::from(progress.evicted.len())), ("left".to_owned(), Value::from(left))].into();
    match ended {
        Ok(Ok(left)) => {
            let message = format!("drained: {} were evicted by this attempt, and {left} stay", counted(progress.evicted.len()));
            Ok(Report { outputs: outputs(left), ..place.done(message) })
        }
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let (waits, evicted) = (some(&progress.waits), counted(progress.evicted.len()));
            Err(place.left(&format!("not drained within {}: {waits} ({evicted} were evicted)", params.within.0)))
        }
    }
}

fn counted(pods: usize) -> String {
    if pods == 1 { "1 pod".to_owned() } else { format!("{pods} pods") }
}

/// One look at the node, and a request for each pod that is to go. The node and how many stay, once no other is there.
async fn round(
    place: &Place<'_>,
    context: &Context,
    rules: Rules<'_>,
    grace: Option<u64>,
    progress: &mut Progress,
) -> Result<Option<(Value, usize)>, StepError> {
    let node = match place.cluster.find::<Value>(&place.path).await {
        Ok(found) => found.ok_or_else(|| place.left("the cluster has no node of this name any more"))?,
        Err(error) => return place.waits_for(error, progress),
    };
    place.work.may_change(KIND, &node)?;
    if let Some(why) = mark::is_not_to_drain(&node, &place.run) {
        return Err(place.left(&why));
    }
    if !place.work.is_marked(&node) {
        // An attempt that was paused sees by this that a later one is at work.
        place.change(&mark::touch(&node, &place.work)).await?;
    }
    let on_it = format!("spec.nodeName={}", place.node);
    let pods: Vec<Pod> = match place.own.list("/api/v1/pods", Selected { fields: Some(&on_it), ..Selected::default() }).await {
        Ok(pods) => pods,
        Err(error) => return place.waits_for(error, progress),
    };
    let sorted = sort(pods, rules);
    if let Some(refusal) = sorted.refusal() {
        return Err(place.left(&refusal));
    }
    if sorted.is_done() {
        return Ok(Some((node, sorted.left)));
    }
    if progress.rounds.is_multiple_of(BOOKED_EVERY) {
        place.keep_booked(context, &node).await;
    }
    progress.rounds += 1;
    place.stands(context, &node, Stage::Draining).await;
    let Sorted { evict, own, ending, working, .. } = sorted;
    progress.waits = ending.iter().map(|pod| format!("{} is ending", pod.full_name())).collect();
    // Evicted, its backup would have to begin anew. It ends by itself, at its deadline at the latest.
    progress.waits.extend(working.iter().map(|pod| format!("{} makes a backup, and is waited for", pod.full_name())));
    // Its own pod last: what comes after that is another replica's to do.
    let last = own.filter(|_| evict.is_empty() && ending.is_empty() && working.is_empty());
    for pod in evict.iter().chain(&last) {
        let asked = place.cluster.evict(&pod.metadata.namespace, &pod.metadata.name, &pod.metadata.uid, grace).await;
        match asked {
            Ok(Eviction::Accepted) => {
                progress.evicted.insert(pod.metadata.uid.clone());
                progress.waits.push(format!("{} is ending", pod.full_name()));
            }
            Ok(Eviction::Gone) => {}
            Ok(Eviction::Held(words)) => progress.waits.push(format!("eviction of {}: {words}", pod.full_name())),
            Err(error @ ClusterError::ForbiddenTo { .. }) => return Err(place.failed(&error)),
            // It may answer again in time.
            Err(error) => progress.waits.push(format!("eviction of {}: {error}", pod.full_name())),
        }
    }
    Ok(None)
}

impl Place<'_> {
    /// An API server that does not answer may answer again in time; what it refuses, it refuses.
    fn waits_for(&self, error: ClusterError, progress: &mut Progress) -> Result<Option<(Value, usize)>, StepError> {
        if !matches!(error, ClusterError::Failed { .. }) {
            return Err(self.failed(&error));
        }
        progress.waits = vec![error.to_string()];
        Ok(None)
    }
}
