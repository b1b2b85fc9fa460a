#![allow(clippy::unwrap_used)]

use serde_json::Map;

use super::super::super::work::{WORK, work};
use super::*;

fn wanted(from: Option<&str>) -> Wanted {
    let way = Way { kind: Kind::Service, label: "colour".to_owned() };
    Wanted { way, to: "green".to_owned(), from: from.map(str::to_owned), seen: BTreeMap::new(), shares: false, share: None }
}

fn service(colour: &str) -> Value {
    json!({
        "kind": "Service", "metadata": { "name": "web", "namespace": "shop", "resourceVersion": "7", "annotations": {} },
        "spec": { "selector": { "app": "web", "colour": colour } },
    })
}

fn undo(attempt: &str, run: &str) -> Work {
    let step = work(attempt, run);
    Work { taken_back: Some(step.name.clone()), name: format!("{}/undo", step.name), ..step }
}

/// The object after a change, as an API server merges it.
fn after(object: &Value, next: Next) -> Value {
    let (Next::Lead { fields, .. } | Next::Mark { fields }) = next else { panic!("{next:?}") };
    let mut object = object.clone();
    merge(&mut object, &fields);
    object["metadata"]["resourceVersion"] = json!("8");
    object
}

fn merge(into: &mut Value, fields: &Value) {
    let Value::Object(fields) = fields else {
        *into = fields.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    let all = into.as_object_mut().unwrap();
    for (name, value) in fields {
        if value.is_null() {
            all.remove(name);
        } else {
            merge(all.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

fn colour(object: &Value) -> &str {
    text(object, "/spec/selector/colour")
}

fn decide(object: &Value, wanted: &Wanted, work: &Work) -> Next {
    next("web", object, wanted, work).unwrap()
}

fn refused(next: Next, part: &str) {
    assert!(matches!(&next, Next::Refuse(why) if why.contains(part)), "{part}: {next:?}");
}

#[test]
fn it_is_switched_once_and_back_to_exactly_what_was_live() {
    let (before, wanted) = (service("blue"), wanted(Some("blue")));
    let first = work("1.5", "release-1");
    let left = after(&before, decide(&before, &wanted, &first));
    assert_eq!((colour(&left), text(&left, "/spec/selector/app")), ("green", "web"));
    assert_eq!(decide(&left, &wanted, &first), Next::Done { before: "blue".to_owned() });
    // The next replica finds it done, and writes that it relies on it.
    let second = work("1.6", "release-1");
    let marked = after(&left, decide(&left, &wanted, &second));
    assert_eq!(decide(&marked, &wanted, &second), Next::Done { before: "blue".to_owned() });
    assert!(given_up(&marked, &wanted, &first).unwrap_err().contains("later than this one"), "the one that was paused takes nothing back");
    let back = after(&marked, decide(&marked, &wanted, &undo("1.7", "release-1")));
    assert_eq!((colour(&back), annotation(&back, SWITCHED)), ("blue", None));
    assert!(matches!(decide(&back, &wanted, &undo("1.8", "release-1")), Next::Done { .. }), "taken back once");
    assert!(next("web", &back, &wanted, &second).unwrap_err().message.contains("later than this one"), "a late attempt does nothing");
}

#[test]
fn what_was_seen_has_to_be_there_still() {
    let first = work("1.5", "release-1");
    refused(decide(&service("red"), &wanted(Some("blue")), &first), "it leads to red, and what was to be live is blue");
    refused(decide(&service("blue"), &wanted(Some("")), &first), "what was to be live is none of them");
    let seen = Wanted { seen: [("web".to_owned(), "6".to_owned())].into(), ..wanted(Some("blue")) };
    refused(decide(&service("blue"), &seen, &first), "its version is 7, and 6 was seen");
    assert!(matches!(decide(&service("red"), &wanted(None), &first), Next::Lead { .. }), "whatever is live");
    let mut none = service("blue");
    none["spec"]["selector"] = json!({ "app": "web" });
    let left = after(&none, decide(&none, &wanted(Some("")), &first));
    assert_eq!(colour(&left), "green");
    let back = after(&left, decide(&left, &wanted(Some("")), &undo("1.6", "release-1")));
    assert_eq!(back["spec"]["selector"], json!({ "app": "web" }), "the label is gone again");
}

#[test]
fn nothing_is_taken_back_over_somebody_elses_change() {
    let (before, wanted) = (service("blue"), wanted(Some("blue")));
    let left = after(&before, decide(&before, &wanted, &work("1.5", "release-1")));
    let mut changed = left.clone();
    changed["spec"]["selector"]["colour"] = json!("red");
    refused(decide(&changed, &wanted, &undo("1.7", "release-1")), "it leads to red, and the step left green");
    let mut narrowed = left.clone();
    narrowed["spec"]["selector"]["track"] = json!("canary");
    refused(decide(&narrowed, &wanted, &undo("1.7", "release-1")), "somebody has changed it since");
    assert!(given_up(&narrowed, &wanted, &work("1.5", "release-1")).is_err());
    refused(decide(&changed, &wanted, &work("1.6", "release-1")), "while the step was under way");
    // Another run, and that taken back: then the first one can be.
    let to_blue = Wanted { to: "blue".to_owned(), from: Some("green".to_owned()), ..wanted.clone() };
    let other = after(&left, decide(&left, &to_blue, &work("1.8", "release-2")));
    refused(decide(&other, &wanted, &undo("1.9", "release-1")), "another run has switched it since (1/release-2/s)");
    let again = after(&other, decide(&other, &to_blue, &undo("1.9", "release-2")));
    assert_eq!(colour(&again), "green");
    assert_eq!(colour(&after(&again, decide(&again, &wanted, &undo("1.10", "release-1")))), "blue");
}

#[test]
fn what_was_never_done_is_fenced_and_what_gave_up_is_put_back() {
    let (before, wanted) = (service("blue"), wanted(Some("blue")));
    let fenced = after(&before, decide(&before, &wanted, &undo("1.7", "release-1")));
    assert_eq!((colour(&fenced), annotation(&fenced, WORK)), ("blue", Some("1/release-1/s/undo")));
    assert!(next("web", &fenced, &wanted, &work("1.5", "release-1")).is_err());
    let first = work("1.5", "release-1");
    assert_eq!(given_up(&before, &wanted, &first), Ok(None));
    let left = after(&before, decide(&before, &wanted, &first));
    let back = after(&left, given_up(&left, &wanted, &first).unwrap().unwrap());
    assert_eq!((colour(&back), annotation(&back, SWITCHED)), ("blue", None));
    // Another try of the same step is not kept from it by the version that it has changed itself.
    let seen = Wanted { seen: [("web".to_owned(), "7".to_owned())].into(), ..wanted };
    assert!(matches!(decide(&back, &seen, &work("1.6", "release-1")), Next::Lead { .. }));
}

#[test]
fn of_a_route_only_what_led_there_is_led_elsewhere() {
    let way = Way { kind: Kind::HttpRoute, label: String::new() };
    let backend = |name: &str| json!({ "name": name, "port": 80 });
    let route = json!({
        "kind": "HTTPRoute", "metadata": { "name": "web", "namespace": "shop", "resourceVersion": "7" },
        "spec": { "rules": [{ "backendRefs": [backend("blue")] }, { "backendRefs": [backend("api")] }] },
    });
    let wanted = Wanted { way, to: "green".to_owned(), from: Some("blue".to_owned()), seen: BTreeMap::new(), shares: false, share: None };
    let next = decide(&route, &wanted, &work("1.5", "release-1"));
    let Next::Lead { led, .. } = &next else { panic!("{next:?}") };
    assert!(matches!(behind(&wanted.way, &route, led), Behind::Services(names) if names == ["green"]));
    let left = after(&route, next);
    assert_eq!(wanted.way.in_words(&left), "api and green");
    let mut changed = left.clone();
    changed["spec"]["rules"][1]["backendRefs"][0]["weight"] = json!(2);
    refused(decide(&changed, &wanted, &undo("1.6", "release-1")), "somebody has changed it since");
    let back = after(&left, decide(&left, &wanted, &undo("1.6", "release-1")));
    assert_eq!(back["spec"], route["spec"]);
}

#[test]
fn endpoints_count_once_and_while_they_are_not_said_to_be_unready() {
    let slice =
        |ready: Value| json!({ "endpoints": [{ "addresses": ["10.0.0.1"], "conditions": { "ready": ready }, "targetRef": { "name": "web-1" } }] });
    assert_eq!(ready_endpoints(&[slice(json!(true)), slice(json!(true))]), ["web-1"]);
    assert_eq!(ready_endpoints(&[slice(json!(false)), json!({ "endpoints": null })]), Vec::<String>::new());
    assert_eq!(ready_endpoints(&[json!({ "endpoints": [{ "addresses": ["10.0.0.9"] }] })]), ["10.0.0.9"]);
}

#[test]
fn a_route_is_led_in_shares_and_put_back_exactly_from_each() {
    let rules = json!([{ "backendRefs": [{ "name": "blue", "port": 80 }, { "name": "api", "port": 81 }] }]);
    let route = json!({
        "kind": "HTTPRoute", "metadata": { "name": "web", "namespace": "shop", "resourceVersion": "7", "annotations": {} }, "spec": { "rules": rules },
    });
    let way = Way { kind: Kind::HttpRoute, label: String::new() };
    let share = |share: Option<u8>| Wanted {
        way: way.clone(),
        to: "green".to_owned(),
        from: Some("blue".to_owned()),
        seen: BTreeMap::new(),
        shares: true,
        share,
    };
    let weights = |object: &Value| {
        let backends = object.pointer("/spec/rules/0/backendRefs").and_then(Value::as_array).unwrap().clone();
        backends.iter().map(|one| (text(one, "/name").to_owned(), one["weight"].as_u64())).collect::<Vec<_>>()
    };
    let of = |all: &[(&str, u64)]| all.iter().map(|(name, weight)| ((*name).to_owned(), Some(*weight))).collect::<Vec<_>>();
    let (first, later) = (work("1.5", "release-1"), work("1.6", "release-1"));

    let tenth = after(&route, decide(&route, &share(Some(10)), &first));
    assert_eq!((weights(&tenth), share_of(&tenth, &first)), (of(&[("blue", 90), ("api", 100), ("green", 10)]), 10));
    assert_eq!(decide(&tenth, &share(Some(10)), &first), Next::Done { before: "blue".to_owned() });
    // Another attempt goes on from there, and does not go back to less.
    assert!(matches!(decide(&tenth, &share(Some(10)), &later), Next::Mark { .. }));
    let half = after(&tenth, decide(&tenth, &share(Some(50)), &later));
    assert_eq!((weights(&half), share_of(&half, &later)), (of(&[("blue", 50), ("api", 100), ("green", 50)]), 50));
    assert_eq!(decide(&half, &share(Some(10)), &later), Next::Done { before: "blue".to_owned() });
    let whole = after(&half, decide(&half, &share(None), &later));
    assert_eq!(whole["spec"]["rules"], json!([{ "backendRefs": [{ "name": "green", "port": 80 }, { "name": "api", "port": 81 }] }]));
    assert_eq!(share_of(&whole, &later), 100);

    // From each of them it is as it was.
    for led in [&tenth, &half, &whole] {
        let taken = after(led, decide(led, &share(None), &undo("1.7", "release-1")));
        assert_eq!(taken["spec"]["rules"], rules);
    }
    let given = given_up(&half, &share(Some(50)), &later).unwrap().unwrap();
    assert_eq!(after(&half, given)["spec"]["rules"], rules);
    // Not over somebody else's weights.
    let mut meddled = half.clone();
    meddled["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(1);
    refused(decide(&meddled, &share(None), &later), "somebody has switched it while the step was under way");
    assert!(given_up(&meddled, &share(Some(50)), &later).is_err());
}
