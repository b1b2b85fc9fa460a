//! What the state keeps, for how long, and what it lets go: replies, revisions, runs, findings, audit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use mainstay_core::state::enrolment::OperatorRole;
use mainstay_core::state::run::Outcome;
use mainstay_core::{
    Actor, AttemptId, Command, Entry, LedgerId, MeshTime, Millis, PlanName, Refusal, Reply, RequestKey, State, WallTime, bounds, plan,
};
use rig::Rig;

fn look(comment: u32) -> Box<plan::Plan> {
    let text = format!(
        "# {comment}\napiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: look }}\nspec: {{ steps: [ {{ name: a, uses: wait, with: {{ for: 1s }} }} ] }}\n"
    );
    Box::new(plan::parse(&text).unwrap())
}

fn keyed(rig: &Rig, who: &str, key: &str, command: Command) -> Entry {
    rig.entry(Actor::Identity(rig::identity(who)), Some(key), command)
}

fn start() -> Command {
    Command::start("look".parse().unwrap())
}

fn started(number: u64) -> Reply {
    Reply::Started(format!("look-{number}").parse().unwrap())
}

#[test]
fn a_key_is_one_request_for_ten_minutes() {
    let mut rig = Rig::new();
    rig.operator(Command::ApplyPlan { plan: look(1), bundled: false });
    let ask = |rig: &mut Rig, who, key| {
        let entry = keyed(rig, who, key, start());
        rig.apply(&entry)
    };
    assert_eq!([ask(&mut rig, "operator/ana", "k1"), ask(&mut rig, "operator/ana", "k1")], [started(1), started(1)]);
    assert_eq!(ask(&mut rig, "operator/ben", "k1"), started(2), "another caller's key is another key");
    assert_eq!(ask(&mut rig, "operator/ana", "k2"), started(3));
    rig.advance(Millis(bounds::REPLIES_FOR.0 - 1));
    assert_eq!(ask(&mut rig, "operator/ana", "k1"), started(1));
    rig.advance(Millis(1));
    assert_eq!(ask(&mut rig, "operator/ana", "k1"), started(4), "after that it is a new one");
    let records = rig.state.audit.records.iter().filter(|record| record.what.contains("start run")).count();
    assert_eq!(records, 4, "a repetition is not recorded again");
}

#[test]
fn a_key_is_short() {
    let mut rig = Rig::new();
    rig.operator(Command::ApplyPlan { plan: look(1), bundled: false });
    for key in ["", &"k".repeat(65)] {
        let entry = Entry { key: Some(RequestKey(key.into())), ..keyed(&rig, "operator/ana", "k", start()) };
        assert_eq!(rig.apply(&entry), Reply::Refused(Refusal::Invalid("a request key has 1 to 64 bytes".into())));
    }
    assert!(rig.state.runs.is_empty());
}

#[test]
fn a_plan_is_what_an_operator_made_of_it_until_that_is_removed() {
    let mut rig = Rig::new();
    let name: PlanName = "look".parse().unwrap();
    let apply = |rig: &mut Rig, comment, bundled| {
        let Reply::Applied { revision, changed, .. } = rig.operator(Command::ApplyPlan { plan: look(comment), bundled }) else { panic!("applied") };
        (revision, changed)
    };
    assert_eq!(apply(&mut rig, 0, true), (1, true));
    assert_eq!(apply(&mut rig, 0, true), (1, false), "the same again is no new revision");
    let remove = Command::RemovePlan { plan: "look".parse().unwrap() };
    assert!(matches!(rig.operator(remove.clone()), Reply::Refused(Refusal::Conflict(_))), "it comes with the program");
    // Far more revisions than are kept: the bundled one stays, however old.
    for comment in 1..=60 {
        assert_eq!(apply(&mut rig, comment, false), (comment + 1, true));
    }
    let current = |rig: &Rig| rig.state.plans[&name].current().map(|(number, revision)| (number, revision.bundled));
    assert_eq!(current(&rig), Some((61, false)));
    assert_eq!(apply(&mut rig, 61, true), (62, true), "an upgrade of the program");
    assert_eq!(current(&rig), Some((61, false)), "does not touch an operator's own");
    assert_eq!(rig.state.plans[&name].revisions.len(), 20);
    assert_eq!(rig.operator(start()), started(1));
    assert!(matches!(rig.operator(remove.clone()), Reply::Refused(Refusal::Conflict(_))), "it runs");
    rig.operator(Command::AbortRun { run: "look-1".parse().unwrap(), reason: "enough".into() });
    rig.settle();
    assert_eq!(rig.operator(remove), Reply::Done);
    assert_eq!(current(&rig), Some((62, true)));
    assert_eq!(rig.operator(start()), started(2), "numbers of runs go on");
}

#[test]
fn as_many_ended_runs_are_kept_as_is_said() {
    let mut rig = Rig::new();
    rig.operator(Command::ApplyPlan { plan: look(1), bundled: false });
    let weight = rig.state.weight;
    rig.connect("c/n", "l1", &["wait"]);
    for _ in 0..bounds::RUNS_KEPT as usize + 5 {
        rig.operator(start());
        rig.settle();
        let attempt: AttemptId = rig.state.attempts.values().find(|attempt| attempt.is_open()).unwrap().id;
        rig.mesh(Command::EndAttempt { attempt, ledger: LedgerId("l1".into()), outcome: Outcome::Failed { message: "no".into(), report: None } });
        rig.settle();
    }
    let kept: Vec<u64> = rig.state.runs.keys().map(|run| run.number).collect();
    assert_eq!(kept, (6..=25).collect::<Vec<u64>>());
    assert_eq!(rig.state.attempts.len(), bounds::RUNS_KEPT as usize, "attempts go with their runs");
    assert_eq!((rig.state.weight - weight) % bounds::RUNS_KEPT as usize as u64, 0);
}

#[test]
fn the_audit_log_keeps_no_more_of_a_text_than_it_has_room_for() {
    let mut rig = Rig::new();
    rig.acquire("demo", &rig::holder("a", "p"), true);
    let proof = "ü".repeat(100_000);
    rig.operator(Command::FreeClaim { name: rig::lease("demo"), token: rig::token(1), proof });
    let last = rig.state.audit.records.back().unwrap();
    assert!(last.what.starts_with("free claim demo token 1.1: üü") && last.what.len() < 1_024, "{} bytes", last.what.len());
    assert_eq!(rig.state.audit.first_broken(), None);
}

#[test]
fn a_command_of_a_later_level_waits_until_all_members_know_it() {
    let mut state = State::default();
    let entry = |command| Entry { at: MeshTime(1), wall: WallTime(1), by: Actor::Mesh, key: None, command };
    assert_eq!(state.apply(&entry(Command::FormMesh { mesh: "test".parse().unwrap(), incarnation: 1 })), Reply::Done);
    let pause = Command::PauseRun { run: "look-1".parse().unwrap(), reason: String::new() };
    assert!(state.too_early(&pause).is_some(), "it must not get into the log");
    assert!(matches!(state.apply(&entry(pause.clone())), Reply::Refused(Refusal::Unsupported(_))), "and does nothing where it has");
    assert_eq!(state.apply(&entry(Command::RaiseFeatureLevel { level: 2 })), Reply::Done);
    assert_eq!(state.too_early(&pause), None);
    assert!(matches!(state.apply(&entry(pause)), Reply::Refused(Refusal::NotFound { .. })));
}

#[test]
fn a_plan_that_the_mesh_carries_out_itself_is_not_started_before_all_members_know_how() {
    let mut state = State::default();
    let entry = |by: &Actor, command| Entry { at: MeshTime(1), wall: WallTime(1), by: by.clone(), key: None, command };
    let plan = |name: &str, uses: &str| {
        let text = format!(
            "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: {name} }}\nspec:\n  steps:\n    - {{ name: a, uses: {uses} }}\n"
        );
        Command::ApplyPlan { plan: Box::new(plan::parse(&text).unwrap()), bundled: true }
    };
    state.apply(&entry(&Actor::Mesh, Command::FormMesh { mesh: "test".parse().unwrap(), incarnation: 1 }));
    state.apply(&entry(&Actor::Mesh, plan("asks", "approval")));
    state.apply(&entry(&Actor::Mesh, plan("looks", "node.resources")));
    let start = |name: &str| Command::start(name.parse().unwrap());
    assert_eq!(state.too_early(&start("looks")), None);
    assert!(matches!(state.too_early(&start("asks")), Some(Refusal::Unsupported(_))), "an older member would give its step to an agent");
    state.apply(&entry(&Actor::Mesh, Command::RaiseFeatureLevel { level: 2 }));
    assert_eq!(state.too_early(&start("asks")), None);
}

#[test]
fn a_plan_for_admins_is_applied_by_them_and_started_by_no_schedule() {
    let spec = "  inputs: { root: { type: text } }\n  steps:\n    - { name: a, uses: root.leave, with: { certificate: \"${{ inputs.root }}\" } }\n";
    let head = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: p }\nspec:\n";
    let scheduled = format!("{head}  schedules: [{{ cron: \"0 3 * * *\", inputs: {{ root: x }} }}]\n{spec}");
    let problem = plan::parse(&scheduled).unwrap_err().to_string();
    assert!(problem.contains("root.leave is for an admin to start, and a schedule is nobody"), "{problem}");

    let mut rig = Rig::new();
    let apply = || Command::ApplyPlan { plan: Box::new(plan::parse(&format!("{head}{spec}")).unwrap()), bundled: false };
    for (role, may) in [(OperatorRole::Operator, false), (OperatorRole::Admin, true)] {
        rig.mesh(Command::PutOperator { name: "ana".parse().unwrap(), role });
        let reply = rig.operator(apply());
        assert_eq!(matches!(reply, Reply::Applied { .. }), may, "{role}: {reply:?}");
        assert!(may || matches!(&reply, Reply::Refused(Refusal::Conflict(why)) if why.contains("only an admin")), "{reply:?}");
    }
}
