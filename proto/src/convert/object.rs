//! Plans that came from the namespaces of a cluster, as the agent that acts there shows them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use mainstay_core::id::{ClusterName, PlanName};
use mainstay_core::state::run::Run;
use mainstay_core::{Refusal, State, Waits, WallTime};

use super::run::{plan_to_wire, run_summary};
use crate::v1;

/// Ended runs of a plan that are told: more than are shown, so that an object that asked for one finds it.
const ENDED_TOLD: usize = 100;

/// The plans of a cluster's namespaces, and what is left of removed ones.
#[must_use]
pub fn object_plans(state: &State, waits: &Waits, cluster: &ClusterName, wall: WallTime) -> BTreeMap<PlanName, v1::ObjectPlan> {
    let is_its = |plan: &PlanName| plan.origin().is_some_and(|origin| origin.cluster == cluster.as_str());
    let mut runs: BTreeMap<&PlanName, Vec<&Run>> = BTreeMap::new();
    for run in state.runs.values().filter(|run| is_its(&run.id.plan)) {
        runs.entry(&run.id.plan).or_default().push(run);
    }
    let plans = state.plans.iter().filter(|(name, history)| is_its(name) && (history.current().is_some() || runs.contains_key(name)));
    let told = plans.map(|(name, history)| {
        let runs = runs.get(name).map(|runs| told(runs, waits)).unwrap_or_default();
        let plan = match history.current() {
            Some((number, revision)) => {
                v1::ObjectPlan { plan: Some(plan_to_wire(state, name, number, revision, wall, false)), digest: revision.plan.digest.clone(), runs }
            }
            None => v1::ObjectPlan { plan: Some(v1::Plan { name: name.to_string(), ..v1::Plan::default() }), digest: String::new(), runs },
        };
        (name.clone(), plan)
    });
    told.collect()
}

fn told(runs: &[&Run], waits: &Waits) -> Vec<v1::ObjectRun> {
    let mut newest = runs.to_vec();
    newest.sort_by_key(|run| Reverse(run.id.number));
    let mut ended = 0;
    newest.retain(|run| {
        ended += usize::from(run.is_ended());
        !run.is_ended() || ended <= ENDED_TOLD
    });
    newest.into_iter().map(|run| run_to_wire(run, waits)).collect()
}

fn run_to_wire(run: &Run, waits: &Waits) -> v1::ObjectRun {
    let line = if run.is_ended() { None } else { waits.in_a_line(&run.id) };
    let summary = run_summary(run, run.started_at);
    v1::ObjectRun {
        // What goes by is no change.
        run: Some(v1::Run { took_ms: 0, inputs: BTreeMap::new(), approvals: Vec::new(), ..summary }),
        object: run.object.clone().unwrap_or_default(),
        asks: line.as_ref().is_some_and(|line| line.asks),
        waits_for: line.map(|line| line.text).unwrap_or_default(),
    }
}

/// A refusal, as an object's condition says it.
#[must_use]
pub fn object_refusal(refusal: &Refusal) -> v1::ObjectRefusal {
    let reason = match refusal {
        Refusal::NotFound { .. } => "NotFound",
        Refusal::Bound { .. } => "NoRoom",
        Refusal::Conflict(_) | Refusal::Changed(_) => "Conflict",
        Refusal::Invalid(_) => "Invalid",
        Refusal::Unsupported(_) => "Unsupported",
    };
    v1::ObjectRefusal { reason: reason.to_owned(), message: refusal.to_string(), problems: Vec::new() }
}
