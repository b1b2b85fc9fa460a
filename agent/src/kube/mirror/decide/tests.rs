//! What is decided, from literal objects and literal words of the mesh.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::super::object::Raw;
use super::super::source::{digest, source};
use super::*;

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn ago(seconds: i64) -> String {
    Timestamp::from_second(NOW - seconds).unwrap().to_string()
}

fn spec() -> Value {
    json!({ "steps": [{ "name": "look", "uses": "kube.workloads" }] })
}

fn plan_object(generation: i64, status: Value) -> PlanObject {
    let meta = json!({ "namespace": "shop", "name": "renew", "uid": "plan-uid", "generation": generation, "resourceVersion": "7" });
    let raw: Raw = serde_json::from_value(json!({ "metadata": meta, "spec": spec(), "status": status })).unwrap();
    raw.into_plan()
}

/// Made so many seconds ago.
fn run_object(name: &str, spec: Value, age: i64, status: Value) -> RunObject {
    let meta = json!({
        "namespace": "shop", "name": name, "uid": format!("{name}-uid"), "generation": 1, "resourceVersion": "8", "creationTimestamp": ago(age),
    });
    let mut raw = json!({ "metadata": meta, "spec": spec, "status": status });
    raw["spec"]["plan"] = json!("renew");
    serde_json::from_value::<Raw>(raw).unwrap().into_run()
}

fn ours(number: u64, status: Value) -> RunObject {
    let meta = json!({
        "namespace": "shop", "name": format!("renew-{number}"), "uid": format!("{number}-uid"), "generation": 1,
        "labels": { "app.kubernetes.io/managed-by": "mainstay" },
    });
    let raw: Raw = serde_json::from_value(json!({ "metadata": meta, "spec": { "plan": "renew", "number": number }, "status": status })).unwrap();
    raw.into_run()
}

fn run(number: u64, state: v1::RunState, ended: bool) -> v1::ObjectRun {
    let run = v1::Run {
        id: format!("prod/shop/renew-{number}"),
        revision: 3,
        state: state.into(),
        verdict: if ended { v1::Verdict::Ok.into() } else { 0 },
        started_by: "operator/ana".into(),
        started_unix_ms: (NOW - 60) * 1_000,
        ended_unix_ms: if ended { (NOW - 5) * 1_000 } else { 0 },
        ..v1::Run::default()
    };
    v1::ObjectRun { run: Some(run), ..v1::ObjectRun::default() }
}

fn in_mesh(runs: Vec<v1::ObjectRun>) -> v1::ObjectPlan {
    let plan = v1::Plan { name: "prod/shop/renew".into(), revision: 3, ..v1::Plan::default() };
    v1::ObjectPlan { plan: Some(plan), digest: digest(&source("renew", &spec())), runs }
}

fn refusal(reason: &str, digest: &str, age: i64) -> Refused {
    let refusal = v1::ObjectRefusal {
        reason: reason.into(),
        message: "no such kind".into(),
        problems: vec![v1::ObjectProblem { field: "spec.steps[0].uses".into(), message: "no such kind".into(), line: 1 }],
    };
    Refused { digest: digest.into(), refusal, at: Timestamp::from_second(NOW - age).unwrap() }
}

/// What one decision is made of.
#[derive(Default)]
struct World {
    plan: Option<PlanObject>,
    runs: Vec<RunObject>,
    mesh: Option<v1::ObjectPlan>,
    memory: Memory,
    left_out: bool,
}

impl World {
    fn seen<T>(&self, look: impl FnOnce(&Seen<'_>) -> T) -> T {
        let key = Key { namespace: "shop".into(), plan: "renew".into() };
        let runs: Vec<&RunObject> = self.runs.iter().collect();
        look(&Seen {
            key: &key,
            plan: self.plan.as_ref(),
            runs: &runs,
            mesh: self.mesh.as_ref(),
            memory: &self.memory,
            all_plans: !self.left_out,
            now: now(),
        })
    }

    fn steps(&self) -> Vec<Step> {
        self.seen(decide)
    }

    /// In a word each.
    fn words(&self) -> Vec<String> {
        let word = |step: Step| match step {
            Step::Apply { uid } => format!("apply {uid}"),
            Step::Remove => "remove".to_owned(),
            Step::Start { name, revision, .. } => format!("start {name} of {revision}"),
            Step::Write { kind, meta, .. } => format!("write {kind} {}", meta.name),
            Step::Make { name, .. } => format!("make {name}"),
            Step::Drop { name, .. } => format!("drop {name}"),
            Step::Tell(event) => format!("tell {} {} {}", event.kind, event.name, event.reason),
        };
        self.steps().into_iter().map(word).collect()
    }

    /// The statuses that are written, as the API server has them afterwards, are put into the objects.
    fn settle(&mut self) {
        for step in self.steps() {
            let Step::Write { meta, status, .. } = step else { continue };
            if let Some(plan) = self.plan.as_mut().filter(|plan| plan.meta.uid == meta.uid) {
                plan.status = pruned(&status);
            }
            for run in self.runs.iter_mut().filter(|run| run.meta.uid == meta.uid) {
                run.status = pruned(&status);
            }
        }
    }
}

fn pruned(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), pruned(value))).collect(),
        other => other.clone(),
    }
}

fn condition(status: &Value, of: &str) -> String {
    let found = status["conditions"].as_array().unwrap().iter().find(|condition| condition["type"] == of);
    found.map_or("none".to_owned(), |found| {
        format!("{} {}", found["status"].as_str().unwrap_or_default(), found["reason"].as_str().unwrap_or_default())
    })
}

#[test]
fn a_plan_is_applied_until_the_mesh_has_it_and_says_so_once() {
    let mut world = World { plan: Some(plan_object(2, Value::Null)), ..World::default() };
    assert_eq!(world.words(), ["apply plan-uid"]);
    world.mesh = Some(v1::ObjectPlan { digest: "of before".into(), ..in_mesh(vec![]) });
    assert_eq!(world.words(), ["apply plan-uid"], "the mesh has an earlier one");
    world.mesh = Some(in_mesh(vec![]));
    assert_eq!(world.words(), ["tell MaintenancePlan renew PlanAccepted", "write MaintenancePlan renew"]);
    world.settle();
    let status = world.plan.as_ref().unwrap().status.clone();
    assert_eq!((&status["revision"], &status["plan"], &status["observedGeneration"]), (&json!(3), &json!("prod/shop/renew"), &json!(2)));
    assert_eq!((condition(&status, "Accepted"), condition(&status, "Stalled")), ("True Applied".into(), "none".into()));
    assert_eq!(world.words(), [""; 0], "what is so is not written again");

    // What somebody writes into it is put back, and is no news.
    let plan = world.plan.as_mut().unwrap();
    plan.status["revision"] = json!(99);
    plan.status["lastRun"] = json!({ "run": "made up" });
    assert_eq!(world.words(), ["write MaintenancePlan renew"]);
    world.settle();
    assert_eq!(world.plan.as_ref().unwrap().status, status);

    // It was removed in the mesh by somebody, and the object still asks for it.
    world.mesh = None;
    assert_eq!(world.words(), ["apply plan-uid"]);
    // The object is gone, or goes.
    world.mesh = Some(in_mesh(vec![]));
    world.plan.as_mut().unwrap().meta.deletion_timestamp = Some(now());
    assert_eq!(world.words(), ["remove"]);
    world.plan = None;
    assert_eq!(world.words(), ["remove"]);
    world.left_out = true;
    assert_eq!(world.words(), [""; 0], "it may be one that was left out");
    world = World { memory: Memory { removal: Some(refusal("Conflict", "", 5)), ..Memory::default() }, left_out: false, ..world };
    assert_eq!(world.words(), [""; 0], "a run of it is open");
    world.memory.removal = Some(refusal("Conflict", "", 31));
    assert_eq!(world.words(), ["remove"]);
}

#[test]
fn what_is_wrong_with_a_plan_is_on_its_object_until_it_is_another_one() {
    let object = plan_object(4, Value::Null);
    let mut world = World { memory: Memory { plan: Some(refusal("Invalid", &object.digest, 5)), ..Memory::default() }, ..World::default() };
    world.plan = Some(object);
    world.mesh = Some(v1::ObjectPlan { digest: "of before".into(), ..in_mesh(vec![]) });
    assert_eq!(world.words(), ["tell MaintenancePlan renew PlanRefused", "write MaintenancePlan renew"]);
    world.settle();
    let status = &world.plan.as_ref().unwrap().status;
    assert_eq!(["Accepted", "Ready", "Stalled"].map(|of| condition(status, of)), ["False Invalid", "False Invalid", "True Invalid"]);
    assert_eq!(status["problems"], json!([{ "field": "spec.steps[0].uses", "message": "no such kind" }]));
    assert_eq!((&status["observedGeneration"], &status["revision"]), (&json!(4), &json!(3)));
    assert!(status["conditions"][0]["message"].as_str().unwrap().contains("(revision 3, as it was before, is in force)"));
    assert_eq!(world.words(), [""; 0]);
    assert_eq!(world.seen(again), Some(now() + SignedDuration::from_secs(595)));
    world.memory.plan.as_mut().unwrap().at = Timestamp::from_second(NOW - 601).unwrap();
    assert_eq!(world.words(), ["apply plan-uid"]);
    world.memory.plan.as_mut().unwrap().digest = "of another".into();
    assert_eq!(world.words(), ["apply plan-uid"], "another document is another question");
    // Once it is taken nothing of that is left.
    world.mesh = Some(in_mesh(vec![]));
    world.settle();
    let status = &world.plan.as_ref().unwrap().status;
    assert_eq!((status.get("problems"), condition(status, "Stalled"), condition(status, "Ready")), (None, "none".into(), "True Applied".into()));
}

/// A plan that is applied and says so.
fn settled(runs: Vec<RunObject>, in_the_mesh: Vec<v1::ObjectRun>) -> World {
    let mut world = World { plan: Some(plan_object(1, Value::Null)), mesh: Some(in_mesh(vec![])), ..World::default() };
    world.settle();
    world.mesh = Some(in_mesh(in_the_mesh));
    // The last run stands on the plan, too.
    world.settle();
    world.runs = runs;
    world
}

#[test]
fn an_object_asks_for_a_run_once_and_shows_what_becomes_of_it() {
    let asks = || run_object("now", json!({}), 5, Value::Null);
    let mut world = settled(vec![asks()], vec![]);
    assert_eq!(world.words(), ["start now of 3"]);
    // The mesh has it, and says for whom.
    let started = v1::ObjectRun {
        object: "now-uid".into(),
        waits_for: "step look: approval by an operator".into(),
        asks: true,
        ..run(4, v1::RunState::Running, false)
    };
    world = settled(vec![asks()], vec![started.clone()]);
    assert_eq!(
        world.words(),
        [
            "tell MaintenanceRun now RunStarted",
            "tell MaintenanceRun now WaitsForApproval",
            "tell MaintenancePlan renew RunStarted",
            "tell MaintenancePlan renew WaitsForApproval",
            "write MaintenanceRun now",
        ]
    );
    world.settle();
    let status = &world.runs[0].status;
    assert_eq!(
        (&status["run"], &status["state"], &status["waitsFor"]),
        (&json!("prod/shop/renew-4"), &json!("running"), &json!("step look: approval by an operator"))
    );
    let all = |status: &Value| ["Accepted", "Complete", "Failed", "Ready", "AwaitsApproval", "Stalled"].map(|of| condition(status, of));
    assert_eq!(all(status), ["True Started", "False Running", "False Running", "False Running", "True AwaitsApproval", "none"]);
    assert_eq!(world.words(), [""; 0]);

    // It ends.
    for (state, verdict, complete, reason, told) in [
        (v1::RunState::Completed, v1::Verdict::Ok, true, "Completed", "RunCompleted"),
        (v1::RunState::Completed, v1::Verdict::Critical, false, "BadVerdict", "RunFailed"),
        (v1::RunState::Failed, v1::Verdict::Critical, false, "Failed", "RunFailed"),
        (v1::RunState::Aborted, v1::Verdict::Ok, false, "Aborted", "RunAborted"),
    ] {
        let mut ended = run(4, state, true);
        ended.object = "now-uid".into();
        ended.run.as_mut().unwrap().verdict = verdict.into();
        let mut world = World { runs: vec![asks()], ..settled(vec![], vec![ended]) };
        world.runs[0].status = status.clone();
        assert!(world.words().contains(&format!("tell MaintenanceRun now {told}")), "{:?}", world.words());
        world.settle();
        let status = &world.runs[0].status;
        let of = |holds: bool| format!("{} {reason}", if holds { "True" } else { "False" });
        assert_eq!((condition(status, "Complete"), condition(status, "Failed")), (of(complete), of(!complete)));
        assert_eq!((condition(status, "Stalled") == "none", condition(status, "AwaitsApproval")), (complete, "none".into()));
        assert_eq!(status["endedAt"], json!(ago(5)));
        assert_eq!(world.words(), [""; 0]);
        // The mesh forgets it some day: what the object says stays, and it asks for no other.
        world.mesh = Some(in_mesh(vec![]));
        world.plan = None;
        assert_eq!(world.words(), ["remove"]);
    }
}

#[test]
fn an_object_that_is_made_anew_asks_anew_and_one_whose_status_was_lost_does_not() {
    let old = v1::ObjectRun { object: "the first one".into(), ..run(1, v1::RunState::Completed, true) };
    let world = settled(vec![run_object("now", json!({}), 5, Value::Null)], vec![old]);
    assert!(world.words().contains(&"start now of 3".to_owned()), "another UID: {:?}", world.words());
    let its = v1::ObjectRun { object: "now-uid".into(), ..run(1, v1::RunState::Completed, true) };
    let world = settled(vec![run_object("now", json!({}), 5, Value::Null)], vec![its]);
    assert!(!world.words().iter().any(|word| word.starts_with("start") || word.starts_with("make")), "{:?}", world.words());
}

#[test]
fn an_object_asks_for_no_run_of_a_plan_that_is_not_there_or_not_as_it_is() {
    let asks = |age| run_object("now", json!({}), age, Value::Null);
    let said = |world: &mut World| {
        world.settle();
        let status = &world.runs[0].status;
        ["Accepted", "Failed", "Stalled"].map(|of| condition(status, of))
    };
    // It may come, for a while.
    let mut world = World { runs: vec![asks(5)], ..World::default() };
    assert_eq!(said(&mut world), ["False NotFound", "False NotFound", "none"]);
    assert_eq!(world.seen(again), Some(now() + SignedDuration::from_secs(595)), "then it is over");
    let mut world = World { runs: vec![asks(601)], ..World::default() };
    assert_eq!(world.words(), ["tell MaintenanceRun now RunRefused", "write MaintenanceRun now"]);
    assert_eq!(said(&mut world), ["False NotFound", "True NotFound", "True NotFound"]);
    assert_eq!(world.words(), [""; 0]);
    // What was refused for good is not begun when its plan comes.
    let mut late = settled(vec![], vec![]);
    late.runs = world.runs;
    assert_eq!(late.words(), [""; 0]);
    // It is asked for late, and for the first time, as when nobody was there before.
    assert_eq!(settled(vec![asks(9_999)], vec![]).words(), ["start now of 3"]);

    // A plan that is not taken as it is now; one of which nothing is known yet is waited for.
    let mut world = settled(vec![asks(5)], vec![]);
    world.mesh.as_mut().unwrap().digest = "of before".into();
    assert_eq!(world.words(), ["apply plan-uid"]);
    world.memory.plan = Some(refusal("Invalid", &world.plan.as_ref().unwrap().digest, 5));
    assert_eq!(said(&mut world), ["False NotAccepted", "False NotAccepted", "none"]);

    // The mesh's own no, asked again after a while, for as long as it asks.
    let mut world = settled(vec![asks(60)], vec![]);
    world.memory.runs.insert("now-uid".into(), refusal("NoRoom", "", 5));
    assert_eq!(said(&mut world), ["False NoRoom", "False NoRoom", "none"]);
    world.memory.runs.insert("now-uid".into(), refusal("NoRoom", "", 31));
    assert_eq!(world.words(), ["start now of 3"]);
    world.runs = vec![asks(601)];
    assert_eq!(said(&mut world), ["False NoRoom", "True NoRoom", "True NoRoom"]);
}

#[test]
fn runs_that_nobody_asked_for_have_objects_up_to_a_bound() {
    // Open ones all, of the ended ones the newest.
    let ended = (1..=15).rev().map(|number| run(number, v1::RunState::Completed, true));
    let all: Vec<_> = [run(17, v1::RunState::Running, false), run(16, v1::RunState::Undoing, false)].into_iter().chain(ended).collect();
    let mut world = settled(vec![], all.clone());
    assert_eq!(world.words(), ["make renew-17", "make renew-16", "make renew-15", "make renew-14", "make renew-13"]);
    let Some(Step::Make { object, .. }) = world.steps().into_iter().next() else { panic!("it is made") };
    assert_eq!(object["spec"], json!({ "plan": "renew", "number": 17 }));
    assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "plan-uid", "it goes with the plan's object");
    world.runs = (6..=17).map(|number| ours(number, Value::Null)).collect();
    assert!(!world.words().iter().any(|word| word.starts_with("make") || word.starts_with("drop")), "{:?}", world.words());
    world.settle();
    assert_eq!(world.words(), [""; 0]);
    // One that was deleted comes back; one that is no longer among the newest goes; one number has one object.
    world.runs.retain(|object| object.number != Some(10));
    world.runs.push(ours(5, Value::Null));
    let mut twice = ours(17, world.runs.last().unwrap().status.clone());
    twice.meta.uid = "twice".into();
    twice.meta.name = "renew-run-17".into();
    world.runs.push(twice);
    let words = world.words();
    for word in ["make renew-10", "drop renew-5", "drop renew-run-17"] {
        assert!(words.contains(&word.to_owned()), "{word}: {words:?}");
    }
    // An object that asked for one, or that somebody made to see one, shows it.
    let mut world = settled(
        vec![],
        vec![v1::ObjectRun { object: "now-uid".into(), ..run(2, v1::RunState::Completed, true) }, run(1, v1::RunState::Failed, true)],
    );
    world.runs = vec![run_object("now", json!({}), 60, Value::Null), run_object("look", json!({ "number": 1 }), 60, Value::Null)];
    assert!(!world.words().iter().any(|word| word.starts_with("make")), "{:?}", world.words());
    // Without a plan's object none is made; nor is somebody's own object deleted.
    world.plan = None;
    world.settle();
    assert_eq!(world.words(), ["remove"]);
    world.runs = vec![run_object("look", json!({ "number": 9 }), 60, Value::Null)];
    world.settle();
    assert_eq!(condition(&world.runs[0].status, "Failed"), "True NotFound");
    assert_eq!(world.words(), ["remove"]);
}

#[test]
fn a_name_that_is_somebody_elses_is_left_to_them() {
    let mut world = settled(vec![], vec![run(1, v1::RunState::Running, false)]);
    world.memory.conflicts.insert("renew-1".into(), CONFLICTS - 1);
    assert_eq!(world.words(), ["make renew-1"]);
    world.memory.conflicts.insert("renew-1".into(), CONFLICTS);
    assert_eq!(world.words(), ["make renew-run-1"]);
}

#[test]
fn what_ended_long_ago_is_no_news() {
    let mut old = run(1, v1::RunState::Failed, true);
    old.run.as_mut().unwrap().ended_unix_ms = (NOW - 700) * 1_000;
    let world = settled(vec![ours(1, Value::Null)], vec![old]);
    assert_eq!(world.words(), ["write MaintenanceRun renew-1"]);
}

#[test]
fn an_event_is_told_under_the_name_of_what_it_says() {
    let mut world = settled(vec![run_object("now", json!({}), 5, Value::Null)], vec![]);
    world.mesh = Some(in_mesh(vec![v1::ObjectRun { object: "now-uid".into(), ..run(4, v1::RunState::Completed, true) }]));
    let bodies = |at: i64| -> Vec<Value> {
        let at = Timestamp::from_second(at).unwrap();
        world.steps().into_iter().filter_map(|step| if let Step::Tell(event) = step { Some(event.body(at, "prod/agent/r1")) } else { None }).collect()
    };
    let (first, again) = (bodies(NOW), bodies(NOW + 60));
    let names = |bodies: &[Value]| bodies.iter().map(|body| body["metadata"]["name"].clone()).collect::<Vec<_>>();
    assert!(first.len() == 4 && names(&first) == names(&again), "{first:#?}");
    assert_eq!(
        (&first[1]["reason"], &first[1]["regarding"]["uid"], &first[1]["type"]),
        (&json!("RunCompleted"), &json!("now-uid"), &json!("Normal"))
    );
    assert_eq!(first[0]["eventTime"], "2027-01-15T08:00:00.000000Z");
    let differing: BTreeSet<String> = names(&first).iter().map(ToString::to_string).collect();
    assert_eq!(differing.len(), 4);
}
