//! What is done to a workload, by whom, in which order.

use serde_json::{Map, Value, json};

use super::super::super::work::{FENCE, Work, annotation, work};
use super::super::record::{self, Back, Next, ROLLOUT, Record, Stopped};
use super::{begun, patched, rolled_out, workload};

fn undo(attempt: &str) -> Work {
    let step = work(attempt, "up-1").name;
    Work { name: format!("{step}/undo"), taken_back: Some(step), ..work(attempt, "up-1") }
}

fn stopped(is_final: bool) -> Stopped {
    Stopped { why: "no pod came".to_owned(), is_final }
}

fn next(workload: &Value, work: &Work) -> Next {
    record::next("k", workload, work).unwrap()
}

fn back(workload: &Value, work: &Work, is_final: bool) -> Back {
    record::back("k", workload, work, &stopped(is_final))
}

/// The workload after what is to be written to put it back.
fn written(workload: &Value, back: Back) -> Value {
    let Back::Change(fields) = back else { panic!("{back:?}") };
    patched(workload, &fields)
}

fn edited(workload: &Value, by: &str) -> Value {
    let mut workload = workload.clone();
    workload["spec"]["template"]["spec"]["containers"][0]["image"] = json!("shop/web:9");
    workload["metadata"]["managedFields"] = json!([
        { "manager": "mainstay", "time": "2026-11-30T02:00:00Z" },
        { "manager": by, "time": "2026-11-30T02:00:01Z" },
        { "manager": "kube-controller-manager", "time": "2026-11-30T02:00:02Z", "subresource": "status" },
    ]);
    workload
}

fn image() -> Value {
    json!({ "container": "app", "image": "shop/web:2" })
}

#[test]
fn it_is_begun_once_followed_by_whoever_comes_and_put_back_exactly() {
    let (first, second) = (work("1.5", "up-1"), work("1.6", "up-1"));
    let before = workload();
    assert_eq!(next(&before, &first), Next::Begin);
    let left = begun(&before, &first, image());
    assert_eq!(left["spec"]["template"]["spec"]["containers"][0]["image"], "shop/web:2");
    let Next::Follow(record) = next(&left, &first) else { panic!("it is followed") };
    assert_eq!(record.before, before["spec"]["template"], "the exact earlier template");
    assert!(record.is_change(&left) && record.besides.is_null());

    // The next attempt says that it goes on with it, and the earlier one has no say any more.
    let Next::Claim(fields) = next(&left, &second) else { panic!("it is claimed") };
    let left = patched(&left, &fields);
    assert!(matches!(next(&left, &second), Next::Follow(_)));
    assert!(record::next("k", &left, &first).unwrap_err().message.contains("later than this one"));
    assert!(matches!(back(&left, &first, true), Back::Refuse(words) if words.contains("later than this one")));

    // Taken back, by its own step: once.
    let taken = written(&left, back(&left, &undo("1.7"), false));
    let template = |workload: &Value| {
        let mut template = record::template(workload).clone();
        template["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
        template
    };
    assert_eq!(template(&taken), template(&before));
    assert_eq!(back(&taken, &undo("1.7"), false), Back::Follow);
    let claimed = written(&taken, back(&taken, &undo("1.8"), false));
    assert_eq!(back(&claimed, &undo("1.8"), false), Back::Follow, "by whoever comes next");
    assert!(record::next("k", &claimed, &second).is_err(), "a late attempt does nothing");
}

#[test]
fn a_rollout_that_was_stopped_is_begun_anew_only_when_it_was_called_off() {
    let (first, second) = (work("1.5", "up-1"), work("1.6", "up-1"));
    let left = begun(&workload(), &first, image());
    for (is_final, outcome) in [(false, Next::Begin), (true, Next::Ended(String::new()))] {
        let stopped = written(&left, back(&left, &first, is_final));
        assert_eq!(back(&stopped, &first, is_final), Back::Follow);
        assert!(matches!(next(&stopped, &second), Next::Hold(_)), "its pods are not back yet");
        match (next(&rolled_out(&stopped), &second), &outcome) {
            (Next::Ended(words), Next::Ended(_)) => assert!(words.contains("an earlier attempt has stopped it: no pod came"), "{words}"),
            (next, outcome) => assert_eq!(next, *outcome),
        }
        let record = Record::read(&stopped).unwrap();
        assert!(record.before.is_null(), "what is back needs no room on the workload");
        // What is back is not taken back again, and is nobody else's matter.
        assert_eq!(next(&rolled_out(&stopped), &work("1.7", "up-2")), Next::Begin);
        let taken = written(&stopped, back(&stopped, &undo("1.8"), false));
        assert_eq!((&taken["spec"], back(&taken, &undo("1.8"), false)), (&stopped["spec"], Back::Follow));
    }
}

#[test]
fn what_somebody_has_changed_since_is_left_alone() {
    let first = work("1.5", "up-1");
    let left = begun(&workload(), &first, image());
    let changed = edited(&left, "kubectl-edit");
    let words = "somebody (kubectl-edit) has changed it since";
    assert!(matches!(next(&changed, &first), Next::Refuse(said) if said.contains(words)));
    assert!(matches!(back(&changed, &first, true), Back::Refuse(said) if said.contains(words)));
    assert!(matches!(back(&changed, &undo("1.7"), true), Back::Refuse(said) if said.contains("what it is to be is for a person to say")));
    // Another run of this mesh.
    let other = begun(&rolled_out(&left), &work("1.6", "up-2"), json!({ "images": { "app": "shop/web:3" } }));
    assert!(matches!(back(&other, &undo("1.7"), true), Back::Refuse(said) if said.contains("step up-2/s has changed it since")));
    // Somebody who changes what the rollout did not touch is in nobody's way.
    let mut scaled = left.clone();
    scaled["spec"]["replicas"] = json!(7);
    scaled["metadata"]["labels"]["team"] = json!("b");
    let taken = written(&scaled, back(&scaled, &undo("1.7"), false));
    assert_eq!((&taken["spec"]["replicas"], &taken["metadata"]["labels"]["team"]), (&json!(7), &json!("b")));
}

#[test]
fn whoever_scales_it_in_the_middle_neither_ends_it_nor_loses_the_fence() {
    let (first, second) = (work("1.5", "up-1"), work("1.7", "up-1"));
    let mut left = begun(&workload(), &first, image());
    left["spec"]["replicas"] = json!(5);
    left["metadata"]["annotations"][FENCE] = json!("1.6");
    assert!(matches!(next(&left, &first), Next::Follow(_)));
    let stopped = written(&left, back(&left, &first, true));
    assert_eq!((annotation(&stopped, FENCE), back(&stopped, &first, true)), (Some("1.6"), Back::Follow));
    assert_eq!(stopped["spec"]["replicas"], 5);
    // It is begun over nothing that a later attempt has changed.
    let called_off = rolled_out(&written(&left, back(&left, &first, false)));
    assert!(record::next("k", &called_off, &first).unwrap_err().message.contains("was changed by attempt 1.6"));
    assert_eq!(next(&called_off, &second), Next::Begin);
    let Next::Claim(fields) = next(&left, &second) else { panic!("it is claimed") };
    assert_eq!(annotation(&patched(&left, &fields), FENCE), Some("1.7"));
}

#[test]
fn two_rollouts_of_one_workload_do_not_overlap() {
    let left = begun(&workload(), &work("1.5", "up-1"), image());
    let other = work("1.6", "up-2");
    assert!(matches!(next(&left, &other), Next::Hold(words) if words == "the rollout of step up-1/s is under way"));
    assert_eq!(next(&rolled_out(&left), &other), Next::Begin);
    // One that will not come to its end, and one over which somebody has gone, is nobody's any more.
    let mut stuck = rolled_out(&left);
    stuck["status"]["availableReplicas"] = json!(1);
    stuck["status"]["conditions"] = json!([{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }]);
    assert_eq!(next(&stuck, &other), Next::Begin);
    assert_eq!(next(&edited(&left, "kubectl"), &other), Next::Begin);
}

#[test]
fn a_rollout_that_another_one_was_begun_over_is_not_begun_again() {
    let (first, again, other) = (work("1.5", "up-1"), work("1.7", "up-1"), work("1.6", "up-2"));
    let second = json!({ "images": { "app": "shop/web:3" } });
    let left = begun(&workload(), &first, image());
    // It had come to its end, and had no time to see it.
    let over = begun(&rolled_out(&left), &other, second.clone());
    for late in [&over, &rolled_out(&over)] {
        for own in [&first, &again] {
            assert!(matches!(next(late, own), Next::Passed(words) if words == "rolled out; since then step up-2/s has rolled out something else"));
        }
    }
    assert!(matches!(back(&over, &undo("1.8"), true), Back::Refuse(_)), "it is not put back over the other");
    // It had not: nobody knows what it would have come to.
    let mut stuck = rolled_out(&left);
    stuck["status"]["availableReplicas"] = json!(1);
    let over = begun(&stuck, &other, second.clone());
    assert!(matches!(next(&over, &again), Next::Refuse(words) if words.contains("before it had come to its end")));
    // Further ones are remembered too, and one that was called off may begin again.
    let third = begun(&rolled_out(&over), &work("1.8", "up-3"), image());
    assert!(matches!(next(&third, &work("1.9", "up-1")), Next::Refuse(_)) && matches!(next(&third, &work("1.9", "up-2")), Next::Passed(_)));
    let called_off = rolled_out(&written(&left, back(&left, &first, false)));
    let over = rolled_out(&begun(&called_off, &other, second));
    assert_eq!(next(&over, &again), Next::Begin);
}

#[test]
fn what_was_never_begun_is_fenced_off() {
    let (before, first) = (workload(), work("1.5", "up-1"));
    // What the attempt may have sent finds another version.
    let fenced = written(&before, back(&before, &first, true));
    assert_eq!((&fenced["spec"], annotation(&fenced, ROLLOUT)), (&before["spec"], None));
    assert_ne!(fenced["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    assert_eq!(back(&fenced, &first, true), Back::Nothing);
    let fenced = written(&before, back(&before, &undo("1.7"), true));
    assert_eq!(back(&fenced, &undo("1.7"), true), Back::Nothing);
    assert!(record::next("k", &fenced, &first).is_err(), "a late attempt does nothing");
}

#[test]
fn what_an_object_changes_besides_its_template_is_put_back_too() {
    let (first, before) = (work("1.5", "up-1"), workload());
    let mut after = before.clone();
    after["spec"]["template"]["spec"]["containers"][1]["image"] = json!("shop/proxy:2");
    after["spec"]["strategy"] = json!({ "type": "Recreate" });
    after["spec"]["minReadySeconds"] = json!(5);
    after["metadata"]["labels"]["new"] = json!("1");
    after["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("2");
    let record = Record::of(&first, &before, &after);
    let rolling = json!({ "maxSurge": "25%", "maxUnavailable": "25%" });
    let besides = json!({
        "metadata": { "labels": { "new": null } },
        "spec": { "strategy": { "type": "RollingUpdate", "rollingUpdate": rolling }, "minReadySeconds": null },
    });
    assert_eq!(record.besides, besides);
    let mut fields = json!({ "spec": after["spec"], "metadata": { "labels": after["metadata"]["labels"] } });
    fields["spec"]["strategy"]["rollingUpdate"] = Value::Null;
    record::merge_marks(&mut fields, &before, &first, record.marks(&first));
    let left = patched(&before, &fields);
    let taken = written(&left, back(&left, &undo("1.7"), false));
    assert_eq!((&taken["spec"]["strategy"], &taken["metadata"]["labels"]), (&before["spec"]["strategy"], &before["metadata"]["labels"]));
    assert_eq!(taken["spec"].get("minReadySeconds"), None);
    // One of these that somebody has changed since is theirs.
    let mut changed = left.clone();
    changed["metadata"]["labels"]["new"] = json!("2");
    assert!(matches!(back(&changed, &undo("1.7"), false), Back::Refuse(_)));
}

#[test]
fn a_rollout_that_changes_nothing_is_known_all_the_same() {
    let (first, before) = (work("1.5", "up-1"), workload());
    let left = begun(&before, &first, json!({ "container": "app", "image": "shop/web:1" }));
    assert_eq!(left["spec"], before["spec"]);
    let Next::Follow(record) = next(&left, &first) else { panic!("it is followed") };
    assert!(!record.is_change(&left));
    let taken = written(&left, back(&left, &undo("1.7"), false));
    assert_eq!(taken["spec"], before["spec"]);
    assert_eq!(back(&taken, &undo("1.7"), false), Back::Follow);
    // A template says the same with and without what is null.
    let mut without = left.clone();
    without["spec"]["template"]["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
    assert!(matches!(next(&without, &first), Next::Follow(_)));
    assert_eq!(Record::read(&json!({ "metadata": { "annotations": { ROLLOUT: "?" } } })), None);
    let mut fields = Value::Null;
    record::merge_marks(&mut fields, &before, &first, Map::new());
    assert_eq!(fields, json!({ "metadata": { "resourceVersion": "10", "annotations": { FENCE: "1.5" } } }));
}
