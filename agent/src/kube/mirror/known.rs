//! All that is known: objects by plan, what the mesh has of it, and which plans are to be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_core::id::PlanName;
use mainstay_proto::v1;
use tokio::sync::Notify;

use super::object::{Key, PlanObject, Raw, RunObject};
use crate::kube::view::follow::Sink;

/// Objects of one kind that are kept: some tens of MiB. What is beyond them is left alone.
const OBJECTS: usize = 20_000;

/// Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    known: Mutex<Known>,
    changed: Notify,
}

#[derive(Debug, Default)]
pub struct Known {
    plans: BTreeMap<Key, (PlanObject, u64)>,
    /// By namespace and name.
    runs: BTreeMap<(String, String), (RunObject, u64)>,
    by_plan: BTreeMap<Key, BTreeSet<String>>,
    mesh: BTreeMap<Key, v1::ObjectPlan>,
    /// Lists are counted, so that what a new one does not name is gone.
    plans_round: u64,
    runs_round: u64,
    has_plans: bool,
    has_runs: bool,
    has_mesh: bool,
    /// Some object of a plan was left out.
    left_out: bool,
    due: BTreeSet<Key>,
}

impl Known {
    pub fn plan(&self, key: &Key) -> Option<&PlanObject> {
        self.plans.get(key).map(|(plan, _)| plan)
    }

    pub fn runs(&self, key: &Key) -> Vec<&RunObject> {
        let names = self.by_plan.get(key).into_iter().flatten();
        names.filter_map(|name| self.runs.get(&(key.namespace.clone(), name.clone()))).map(|(run, _)| run).collect()
    }

    pub fn mesh(&self, key: &Key) -> Option<&v1::ObjectPlan> {
        self.mesh.get(key)
    }

    pub fn has_all_plans(&self) -> bool {
        !self.left_out
    }

    fn is_whole(&self) -> bool {
        self.has_plans && self.has_runs && self.has_mesh
    }

    fn put_plan(&mut self, raw: Raw) {
        let key = Key { namespace: raw.metadata.namespace.clone(), plan: raw.metadata.name.clone() };
        if !self.plans.contains_key(&key) && self.plans.len() >= OBJECTS {
            if !self.left_out {
                tracing::warn!("more than {OBJECTS} MaintenancePlans: what is beyond is left alone, and no plan is removed from the mesh");
            }
            self.left_out = true;
            return;
        }
        self.plans.insert(key.clone(), (raw.into_plan(), self.plans_round));
        self.due.insert(key);
    }

    fn put_run(&mut self, raw: Raw) {
        let at = (raw.metadata.namespace.clone(), raw.metadata.name.clone());
        if !self.runs.contains_key(&at) && self.runs.len() >= OBJECTS {
            return;
        }
        let run = raw.into_run();
        self.drop_run(&at);
        let key = Key { namespace: at.0.clone(), plan: run.plan.clone() };
        self.by_plan.entry(key.clone()).or_default().insert(at.1.clone());
        self.runs.insert(at, (run, self.runs_round));
        self.due.insert(key);
    }

    fn drop_run(&mut self, at: &(String, String)) {
        let Some((run, _)) = self.runs.remove(at) else { return };
        let key = Key { namespace: at.0.clone(), plan: run.plan };
        if let Some(names) = self.by_plan.get_mut(&key) {
            names.remove(&at.1);
            if names.is_empty() {
                self.by_plan.remove(&key);
            }
        }
        self.due.insert(key);
    }

    fn drop_plan(&mut self, key: &Key) {
        self.plans.remove(key);
        self.due.insert(key.clone());
    }
}

impl Objects {
    /// A plan that is to be looked at, once everything is known.
    pub async fn due(&self) -> Key {
        loop {
            {
                let mut known = self.known();
                if known.is_whole()
                    && let Some(key) = known.due.pop_first()
                {
                    return key;
                }
            }
            self.inner.changed.notified().await;
        }
    }

    /// Looks at it again.
    pub fn look_at(&self, key: Key) {
        self.change(|known| {
            known.due.insert(key);
        });
    }

    /// All plans that the mesh has; of each that is not among them nothing is left.
    pub fn mesh_has(&self, plans: BTreeMap<Key, v1::ObjectPlan>) {
        self.change(|known| {
            let both: BTreeSet<&Key> = known.mesh.keys().chain(plans.keys()).collect();
            let changed: Vec<Key> = both.into_iter().filter(|key| known.mesh.get(*key) != plans.get(*key)).cloned().collect();
            known.due.extend(changed);
            known.mesh = plans;
            known.has_mesh = true;
        });
    }

    pub fn mesh_put(&self, key: Key, plan: Option<v1::ObjectPlan>) {
        self.change(|known| {
            match plan {
                Some(plan) => drop(known.mesh.insert(key.clone(), plan)),
                None => drop(known.mesh.remove(&key)),
            }
            known.due.insert(key);
        });
    }

    /// Nobody says any more how the mesh is: nothing is decided until somebody does.
    pub fn mesh_is_away(&self) {
        self.known().has_mesh = false;
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        // Each operation leaves it whole.
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, what: impl FnOnce(&mut Known)) {
        let mut known = self.known();
        what(&mut known);
        let tell = known.is_whole() && !known.due.is_empty();
        drop(known);
        if tell {
            self.inner.changed.notify_one();
        }
    }
}

/// What belongs to a plan of the mesh; nothing of one that came from no cluster.
pub fn key_of(plan: &str) -> Option<Key> {
    let name: PlanName = plan.parse().ok()?;
    let namespace = name.origin()?.namespace.to_owned();
    Some(Key { namespace, plan: name.last().to_owned() })
}

/// Where the objects of plans go.
pub struct PlansSink(pub Objects);

impl Sink for PlansSink {
    type Object = Raw;

    fn begins(&mut self) {
        let mut known = self.0.known();
        known.plans_round += 1;
        known.left_out = false;
    }

    fn put(&mut self, raw: Raw) {
        self.0.change(|known| known.put_plan(raw));
    }

    fn gone(&mut self, raw: &Raw) {
        let key = Key { namespace: raw.metadata.namespace.clone(), plan: raw.metadata.name.clone() };
        self.0.change(|known| known.drop_plan(&key));
    }

    fn ends(&mut self) {
        self.0.change(|known| {
            let round = known.plans_round;
            let gone: Vec<Key> = known.plans.iter().filter(|(_, (_, seen))| *seen != round).map(|(key, _)| key.clone()).collect();
            gone.iter().for_each(|key| known.drop_plan(key));
            known.has_plans = true;
        });
    }

    fn version(raw: &Raw) -> &str {
        &raw.metadata.resource_version
    }
}

/// Where the objects of runs go.
pub struct RunsSink(pub Objects);

impl Sink for RunsSink {
    type Object = Raw;

    fn begins(&mut self) {
        self.0.known().runs_round += 1;
    }

    fn put(&mut self, raw: Raw) {
        self.0.change(|known| known.put_run(raw));
    }

    fn gone(&mut self, raw: &Raw) {
        let at = (raw.metadata.namespace.clone(), raw.metadata.name.clone());
        self.0.change(|known| known.drop_run(&at));
    }

    fn ends(&mut self) {
        self.0.change(|known| {
            let round = known.runs_round;
            let gone: Vec<_> = known.runs.iter().filter(|(_, (_, seen))| *seen != round).map(|(at, _)| at.clone()).collect();
            gone.iter().for_each(|at| known.drop_run(at));
            known.has_runs = true;
        });
    }

    fn version(raw: &Raw) -> &str {
        &raw.metadata.resource_version
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt as _;
    use serde_json::json;

    use super::*;

    fn raw(name: &str, spec: serde_json::Value) -> Raw {
        serde_json::from_value(json!({ "metadata": { "namespace": "shop", "name": name, "uid": name }, "spec": spec })).unwrap()
    }

    fn key(plan: &str) -> Key {
        Key { namespace: "shop".into(), plan: plan.into() }
    }

    fn due(objects: &Objects) -> Vec<String> {
        std::iter::from_fn(|| objects.due().now_or_never()).map(|key| key.plan).collect()
    }

    #[test]
    fn nothing_is_due_before_everything_is_known() {
        let objects = Objects::default();
        let (mut plans, mut runs) = (PlansSink(objects.clone()), RunsSink(objects.clone()));
        plans.begins();
        plans.put(raw("a", json!({})));
        plans.ends();
        runs.begins();
        runs.put(raw("a-1", json!({ "plan": "a", "number": 1 })));
        runs.put(raw("b-1", json!({ "plan": "b" })));
        runs.ends();
        assert_eq!(due(&objects), [""; 0], "what the mesh has is not known");
        objects.mesh_has(BTreeMap::from([(key_of("prod/shop/c").unwrap(), v1::ObjectPlan::default())]));
        assert_eq!(due(&objects), ["a", "b", "c"]);
        assert_eq!(objects.known().runs(&key("a")).len(), 1);

        // The mesh is away, and has other plans when it is back.
        objects.mesh_is_away();
        plans.put(raw("a", json!({ "x": 1 })));
        assert_eq!(due(&objects), [""; 0]);
        objects.mesh_has(BTreeMap::from([(key("d"), v1::ObjectPlan::default())]));
        assert_eq!(due(&objects), ["a", "c", "d"]);
        assert!(objects.known().mesh(&key("c")).is_none());

        // What a new list does not name is gone; a run that goes is a change of its plan.
        plans.begins();
        plans.ends();
        runs.gone(&raw("b-1", json!({})));
        assert_eq!(due(&objects), ["a", "b"]);
        assert!(objects.known().plan(&key("a")).is_none() && objects.known().runs(&key("b")).is_empty());
        assert_eq!(key_of("daily"), None);
    }

    #[test]
    fn what_is_beyond_the_bound_is_left_alone_and_nothing_counts_as_gone() {
        let objects = Objects::default();
        let mut plans = PlansSink(objects.clone());
        plans.begins();
        (0..=OBJECTS).for_each(|number| plans.put(raw(&format!("p{number:06}"), json!({}))));
        plans.ends();
        assert!(objects.known().plans.len() == OBJECTS && !objects.known().has_all_plans());
        // There is room again with the list after the one that has fewer.
        for _ in 0..2 {
            plans.begins();
            plans.put(raw("a", json!({})));
            plans.ends();
        }
        assert!(objects.known().has_all_plans() && objects.known().plans.len() == 1);
    }
}
