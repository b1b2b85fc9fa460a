//! What is to be done about one plan's objects, given all that is known of them here and in the mesh. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use mainstay_core::plan::API_VERSION;
use mainstay_proto::v1;
use serde_json::{Value, json};

use super::event::{self, Event};
use super::object::{Key, MAINSTAY, MANAGED_BY, Meta, PlanObject, RunObject};
use super::status::{self, PLAN, RUN};

/// Ended runs of a plan that have an object made for them. What the mesh keeps is for its own history.
pub const SHOWN: usize = 10;
/// Objects that are made at one look: what else there is to do does not wait for all of them.
const MADE: usize = 5;
/// For so long after it was made an object asks for a run that the mesh refuses: its plan may come a little later.
const ASKS_FOR: SignedDuration = SignedDuration::from_mins(10);
/// How soon it is asked again for what was refused, where time may change it.
const AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// The same where only another document, or another version of the mesh, would.
const AGAIN_INVALID: SignedDuration = SignedDuration::from_mins(10);
/// What ended longer ago is no news, wherever it is seen first.
const NEWS: SignedDuration = SignedDuration::from_mins(10);
/// Conflicts of a name after which it is somebody else's.
const CONFLICTS: u32 = 3;

/// What is known of a plan.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    pub key: &'a Key,
    pub plan: Option<&'a PlanObject>,
    pub runs: &'a [&'a RunObject],
    pub mesh: Option<&'a v1::ObjectPlan>,
    pub memory: &'a Memory,
    /// No plan's object was left out, so that one that is not here is not there.
    pub all_plans: bool,
    pub now: Timestamp,
}

/// What the mesh has refused, as long as this process lives: asked again, it says it again.
#[derive(Debug, Default)]
pub struct Memory {
    pub plan: Option<Refused>,
    /// By the UID of the object.
    pub runs: BTreeMap<String, Refused>,
    pub removal: Option<Refused>,
    /// How often the name of an object to be made was taken.
    pub conflicts: BTreeMap<String, u32>,
}

/// One refusal.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Digest of the document that it is about.
    pub digest: String,
    pub refusal: v1::ObjectRefusal,
    pub at: Timestamp,
}

impl Refused {
    /// When it is asked again.
    pub fn again(&self) -> Timestamp {
        self.at + if self.refusal.reason == "Invalid" { AGAIN_INVALID } else { AGAIN }
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Have the mesh take the plan as its object is.
    Apply {
        uid: String,
    },
    /// Have it forget the plan.
    Remove,
    /// Have it start the run that an object asks for, of the revision that the plan's object is.
    Start {
        name: String,
        uid: String,
        revision: u32,
    },
    /// Write a status, if the object is still what was looked at.
    Write {
        kind: &'static str,
        meta: Written,
        status: Value,
    },
    /// Make the object of a run.
    Make {
        name: String,
        object: Value,
    },
    /// Delete one that was made here.
    Drop {
        name: String,
        uid: String,
    },
    Tell(Event),
}

/// Which object a status is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub name: String,
    pub uid: String,
    pub version: String,
}

impl Written {
    fn of(meta: &Meta) -> Written {
        Written { name: meta.name.clone(), uid: meta.uid.clone(), version: meta.resource_version.clone() }
    }
}

/// All that there is to do, in this order.
pub fn decide(seen: &Seen<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    match seen.living_plan() {
        Some(plan) => of_plan(seen, plan, &mut steps),
        None if seen.revision() > 0 && seen.all_plans && seen.memory.removal.as_ref().is_none_or(|refused| refused.again() <= seen.now) => {
            steps.push(Step::Remove);
        }
        None => {}
    }
    for object in seen.runs.iter().filter(|object| object.meta.lives()) {
        of_run(seen, object, &mut steps);
    }
    if let Some(plan) = seen.living_plan() {
        made_and_dropped(seen, plan, &mut steps);
    }
    steps
}

/// When it is to be looked at again though nothing has changed.
pub fn again(seen: &Seen<'_>) -> Option<Timestamp> {
    let (plan, removal) = (seen.memory.plan.as_ref(), seen.memory.removal.as_ref());
    let asks = |object: &&&RunObject| seen.memory.runs.contains_key(&object.meta.uid) || is_refused_here(seen);
    let over = seen.runs.iter().filter(asks).map(|object| object.meta.creation_timestamp + ASKS_FOR);
    let all = plan.into_iter().chain(removal).chain(seen.memory.runs.values()).map(Refused::again).chain(over);
    all.filter(|at| *at > seen.now).min()
}

impl<'a> Seen<'a> {
    fn living_plan(&self) -> Option<&'a PlanObject> {
        self.plan.filter(|plan| plan.meta.lives())
    }

    /// Of the plan in the mesh; 0 where there is none.
    fn revision(&self) -> u32 {
        self.mesh.and_then(|mesh| mesh.plan.as_ref()).map_or(0, |plan| plan.revision)
    }

    fn is_applied(&self, plan: &PlanObject) -> bool {
        self.revision() > 0 && self.mesh.is_some_and(|mesh| mesh.digest == plan.digest)
    }

    /// Why the mesh does not take the plan as its object is.
    fn refusal(&self, plan: &PlanObject) -> Option<&'a Refused> {
        self.memory.plan.as_ref().filter(|refused| refused.digest == plan.digest)
    }

    fn runs_of_mesh(&self) -> impl Iterator<Item = (&'a v1::ObjectRun, u64)> {
        self.mesh.into_iter().flat_map(|mesh| &mesh.runs).map(|run| (run, number(run)))
    }
}

/// Of a run's id, PLAN-NUMBER.
fn number(run: &v1::ObjectRun) -> u64 {
    run.run.as_ref().and_then(|run| run.id.rsplit_once('-')?.1.parse().ok()).unwrap_or(0)
}

fn of_plan(seen: &Seen<'_>, plan: &PlanObject, steps: &mut Vec<Step>) {
    let wanted = match (seen.mesh, seen.refusal(plan)) {
        (Some(mesh), _) if seen.is_applied(plan) => status::accepted(plan, mesh, seen.now),
        (mesh, Some(refused)) => {
            if refused.again() <= seen.now {
                steps.push(Step::Apply { uid: plan.meta.uid.clone() });
            }
            status::refused(plan, mesh, &refused.refusal, seen.now)
        }
        // What it says is of before; it is looked at again when the mesh has answered.
        _ => return steps.push(Step::Apply { uid: plan.meta.uid.clone() }),
    };
    if !status::is(&plan.status, &wanted) {
        steps.extend(event::of_plan(&plan.meta, &plan.status, &wanted).map(Step::Tell));
        steps.push(Step::Write { kind: PLAN, meta: Written::of(&plan.meta), status: wanted });
    }
}

/// Whether no run can be asked for, without asking.
fn is_refused_here(seen: &Seen<'_>) -> bool {
    seen.living_plan().is_none_or(|plan| !seen.is_applied(plan) && seen.refusal(plan).is_some())
}

/// Why no run of this plan is asked for now.
fn not_now(seen: &Seen<'_>) -> v1::ObjectRefusal {
    let (reason, message) = match seen.living_plan().and_then(|plan| seen.refusal(plan)) {
        Some(refused) => ("NotAccepted", format!("MaintenancePlan {} is not accepted as it is now: {}", seen.key.plan, refused.refusal.message)),
        None => ("NotFound", format!("there is no MaintenancePlan {} in namespace {}", seen.key.plan, seen.key.namespace)),
    };
    v1::ObjectRefusal { reason: reason.to_owned(), message, problems: Vec::new() }
}

fn of_run(seen: &Seen<'_>, object: &RunObject, steps: &mut Vec<Step>) {
    let is_its = |(run, of): &(&v1::ObjectRun, u64)| match object.number {
        Some(number) => number == *of,
        None => run.object == object.meta.uid,
    };
    let shown = seen.runs_of_mesh().find(is_its).map(|(run, _)| run);
    let was_shown = object.status["run"].is_string();
    let wanted = match (shown, object.number) {
        (Some(run), _) => status::shown(object, run, seen.now),
        // What it says stays: the mesh has the run no more. One that was refused for good is not asked for again.
        (None, _) if was_shown => return,
        (None, None) if super::condition::holds(&object.status, "Failed") => return,
        (None, Some(number)) => {
            let message = format!("plan {} has no run {number}: the mesh has never had it, or has it no more", seen.key.plan);
            let refusal = v1::ObjectRefusal { reason: "NotFound".to_owned(), message, problems: Vec::new() };
            status::not_started(object, &refusal, true, seen.now)
        }
        (None, None) => {
            let refusal = match (seen.memory.runs.get(&object.meta.uid), is_refused_here(seen)) {
                (_, true) => not_now(seen),
                (Some(refused), false) if refused.again() > seen.now || is_late(object, seen.now) => refused.refusal.clone(),
                // Not before the mesh has the plan as it is now: whoever made both means that one.
                (_, false) => {
                    if seen.living_plan().is_some_and(|plan| seen.is_applied(plan)) {
                        let (name, uid) = (object.meta.name.clone(), object.meta.uid.clone());
                        steps.push(Step::Start { name, uid, revision: seen.revision() });
                    }
                    return;
                }
            };
            status::not_started(object, &refusal, is_late(object, seen.now), seen.now)
        }
    };
    if status::is(&object.status, &wanted) {
        return;
    }
    let ended = shown.and_then(|run| run.run.as_ref()).map_or(0, |run| run.ended_unix_ms);
    let is_news = ended == 0 || Timestamp::from_millisecond(ended).is_ok_and(|ended| seen.now.duration_since(ended) < NEWS);
    if is_news {
        let told = event::of_run(&object.status, &wanted);
        steps.extend(event::on(RUN, &object.meta, &told).into_iter().map(Step::Tell));
        if let Some(plan) = seen.living_plan() {
            steps.extend(event::on(PLAN, &plan.meta, &told).into_iter().map(Step::Tell));
        }
    }
    steps.push(Step::Write { kind: RUN, meta: Written::of(&object.meta), status: wanted });
}

fn is_late(object: &RunObject, now: Timestamp) -> bool {
    now.duration_since(object.meta.creation_timestamp) >= ASKS_FOR
}

/// Objects for runs that have none, and away with those that show what is not shown any more.
fn made_and_dropped(seen: &Seen<'_>, plan: &PlanObject, steps: &mut Vec<Step>) {
    let mut ended = 0;
    let mut shown: BTreeSet<u64> = BTreeSet::new();
    for (run, number) in seen.runs_of_mesh().filter(|(_, number)| *number > 0) {
        let has_ended = run.run.as_ref().is_some_and(|run| run.ended_unix_ms != 0);
        ended += usize::from(has_ended);
        if !has_ended || ended <= SHOWN {
            shown.insert(number);
        }
    }
    let asked: BTreeSet<&str> = seen.runs.iter().filter(|object| object.number.is_none()).map(|object| object.meta.uid.as_str()).collect();
    let by_asking: BTreeSet<u64> = seen.runs_of_mesh().filter(|(run, _)| asked.contains(run.object.as_str())).map(|(_, number)| number).collect();
    let theirs = seen.runs.iter().filter(|object| !object.meta.is_ours()).filter_map(|object| object.number);
    let mut have: BTreeSet<u64> = by_asking.into_iter().chain(theirs).collect();
    for object in seen.runs.iter().filter(|object| object.meta.is_ours()) {
        let Some(number) = object.number else { continue };
        // One is enough; the first by name stays.
        let is_wanted = shown.contains(&number) && have.insert(number);
        if !is_wanted && object.meta.lives() {
            steps.push(Step::Drop { name: object.meta.name.clone(), uid: object.meta.uid.clone() });
        }
    }
    for number in shown.iter().rev().filter(|number| !have.contains(number)).take(MADE) {
        let usual = format!("{}-{number}", seen.key.plan);
        let is_taken = seen.memory.conflicts.get(&usual).is_some_and(|times| *times >= CONFLICTS);
        let name = if is_taken { format!("{}-run-{number}", seen.key.plan) } else { usual };
        steps.push(Step::Make { object: object_of(seen.key, plan, &name, *number), name });
    }
}

/// It goes with the plan's object.
fn object_of(key: &Key, plan: &PlanObject, name: &str, number: u64) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": RUN,
        "metadata": {
            "namespace": key.namespace,
            "name": name,
            "labels": { MANAGED_BY: MAINSTAY },
            "ownerReferences": [{ "apiVersion": API_VERSION, "kind": PLAN, "name": plan.meta.name, "uid": plan.meta.uid }],
        },
        "spec": { "plan": key.plan, "number": number },
    })
}

#[cfg(test)]
mod tests;
