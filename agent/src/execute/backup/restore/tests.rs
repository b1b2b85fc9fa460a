#![allow(clippy::unwrap_used)]
use mainstay_backup::check::CheckedPart;

use super::*;

const ID: &str = "prod/orders-db/20261130T020000Z-3.42";

#[test]
fn a_backup_is_named_or_its_target_is() {
    let target = |text: &str| text.parse::<Target>().unwrap();
    let of = |backup: &str, at: Option<&str>| wanted(backup, at, "dr");
    assert_eq!(of("prod/orders-db", None), Ok(Wanted { target: target("prod/orders-db"), named: None, at: None, set: None }));
    assert_eq!(of("orders-db", Some("")).unwrap().target, target("dr/orders-db"));
    assert_eq!(of(ID, None), Ok(Wanted { target: target("prod/orders-db"), named: Some(ID.parse().unwrap()), at: None, set: None }));
    assert_eq!(of("prod/orders-db", Some("2026-11-30T02:00:00Z")).unwrap().at, Some("2026-11-30T02:00:00Z".parse().unwrap()));
    for (backup, at, why) in [
        ("", None, "no backup is named"),
        (ID, Some("2026-11-30T02:00:00Z"), "say one of the two"),
        ("prod/orders-db", Some("yesterday"), "`at` is yesterday"),
        ("a b", None, "should be CLUSTER/CONNECTION"),
        ("prod/orders-db/newest", None, "should be CLUSTER/CONNECTION"),
    ] {
        let said = of(backup, at).unwrap_err();
        assert!(said.contains(why), "{backup} {at:?}: {said}");
    }
}

#[test]
fn a_set_says_which_one_by_itself() {
    let of = |backup: &str, at: Option<&str>, set: &str| wanted(backup, at, "dr").and_then(|wanted| wanted.of_set(Some(set)));
    assert_eq!(of("orders-db", None, "night-1").unwrap().set.as_deref(), Some("night-1"));
    assert_eq!(of("orders-db", Some("2026-11-30T02:00:00Z"), "").unwrap().set, None, "none is named");
    for (backup, at) in [(ID, None), ("orders-db", Some("2026-11-30T02:00:00Z"))] {
        assert!(of(backup, at, "night-1").unwrap_err().contains("say one of them"));
    }
    let none = chosen(&[], &of("orders-db", None, "night-1").unwrap()).unwrap_err();
    assert!(none.contains("dr/orders-db has no good backup in the set night-1"), "{none}");
}

#[test]
fn only_what_is_whole_is_put_anywhere() {
    let part = |wrong: Option<&str>, unread| CheckedPart { name: "database".into(), wrong: wrong.map(str::to_owned), unread };
    let sound = |parts: Vec<CheckedPart>| is_sound(ID, &Checked { parts, took_ms: 1 });
    assert_eq!(sound(vec![part(None, false)]), Ok(()));
    let late = sound(vec![part(None, false), part(Some("no answer"), true)]).unwrap_err();
    assert!(late.contains("could not be read: database: no answer; nothing was touched"), "{late}");
    let changed = sound(vec![part(Some("no answer"), true), part(Some("its checksum"), false)]).unwrap_err();
    assert!(changed.contains("is damaged: database: its checksum; nothing was touched"), "{changed}");
}

#[test]
fn goals_that_are_missed_are_findings() {
    let goal =
        |warning, critical| limits(&Limits { warning: Some(Span(Millis::from_secs(warning))), critical: Some(Span(Millis::from_secs(critical))) });
    let judged = |seconds| Check::measured("restore.rto", "", seconds, "s", goal(60, 600), "").verdict;
    assert_eq!([1.0, 61.0, 601.0].map(judged), [Verdict::Ok, Verdict::Warning, Verdict::Critical]);
    assert_eq!(Check::measured("restore.rpo", "", 1e9, "s", limits(&Limits::default()), "").verdict, Verdict::Ok);
}
