//! Each state in which a release can be found, and what comes of it.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::super::super::kube::work::{Work, work};
use super::super::history::{Described, Marks, Revision, Said};
use super::*;

const RUN: &str = "tidy-1";

fn own(attempt: &str) -> Work {
    work(attempt, RUN)
}

fn undo(attempt: &str) -> Work {
    let step = own(attempt);
    Work { name: format!("{}/undo", step.name), taken_back: Some(step.name.clone()), ..step }
}

fn labels(work: &Work, base: u32, before: Option<u32>) -> Value {
    let argument = Marks::new(work, base, before).argument();
    argument.split(',').filter_map(|pair| pair.split_once('=')).filter(|(_, value)| *value != "null").map(|(k, v)| (k.to_owned(), json!(v))).collect()
}

/// A revision of somebody's.
fn revision(number: u32, status: &str) -> Revision {
    said(number, status, 0, "Upgrade complete", json!({ "owner": "helm" }))
}

fn said(number: u32, status: &str, rollback: u32, description: &str, labels: Value) -> Revision {
    let said: Said = serde_json::from_value(json!({
        "revision": number, "status": status, "chart": "web-1.0.0", "app_version": "7", "rollback_revision": rollback,
        "description": description, "updated": "2026-11-29T10:00:00Z",
    }))
    .unwrap();
    Revision::of(
        said,
        &json!({ "name": format!("sh.helm.release.v1.web.v{number}"), "uid": format!("u{number}"), "resourceVersion": "9", "labels": labels }),
    )
}

fn upgraded(number: u32, status: &str, by: &Work, base: u32, before: Option<u32>) -> Revision {
    said(number, status, 0, "Upgrade \"web\" failed: no room", labels(by, base, before))
}

fn brought_back(number: u32, status: &str, by: &Work, to: u32) -> Revision {
    said(number, status, to, &Described::written(by, number - 1), json!({}))
}

fn history(revisions: impl IntoIterator<Item = Revision>) -> History {
    History(revisions.into_iter().collect())
}

fn refused(next: Next) -> String {
    match next {
        Next::Refuse(why) => why,
        other => panic!("{other:?}"),
    }
}

fn upgrades(next: Next) -> (Option<u32>, u32, Option<u32>) {
    match next {
        Next::Upgrade { discard, marks } => (discard, marks.base, marks.before),
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_is_installed_where_there_is_nothing_and_upgraded_where_there_is() {
    let next = |revisions: Vec<Revision>| upgrade(&history(revisions), &own("1.5"), true);
    assert_eq!(upgrades(next(vec![])), (None, 0, Some(0)));
    assert_eq!(upgrades(next(vec![revision(1, "superseded"), revision(2, "deployed")])), (None, 2, Some(2)));
    assert_eq!(upgrades(next(vec![revision(1, "deployed"), revision(2, "failed")])), (None, 2, Some(1)), "over one that failed");
    assert_eq!(upgrades(next(vec![revision(1, "superseded"), revision(2, "failed")])), (None, 2, Some(1)), "none is in force now");
    assert_eq!(upgrades(next(vec![revision(1, "failed")])), (None, 1, None), "none ever was");
    assert_eq!(upgrades(next(vec![revision(1, "superseded"), revision(2, "uninstalled")])), (None, 2, Some(0)), "again");
    assert!(refused(upgrade(&history([]), &own("1.5"), false)).contains("`install` is false"));
    assert!(refused(upgrade(&history([revision(1, "uninstalled")]), &own("1.5"), false)).contains("`install` is false"));
}

#[test]
fn a_second_try_finds_what_the_first_one_did() {
    let first = own("1.5");
    let found =
        |status: &str, attempt: &str| upgrade(&history([revision(1, "deployed"), upgraded(2, status, &first, 1, Some(1))]), &own(attempt), true);
    for attempt in ["1.5", "1.6"] {
        assert_eq!(found("deployed", attempt), Next::Done(Some(2), "it is in force".to_owned()));
        assert_eq!(upgrades(found("pending-upgrade", attempt)), (Some(2), 1, Some(1)), "whoever was at it has died");
    }
    assert_eq!(found("failed", "1.5"), Next::Failed("Upgrade \"web\" failed: no room".to_owned()), "it has been tried");
    assert_eq!(upgrades(found("failed", "1.6")), (None, 2, Some(1)), "and is tried again by the next");
    assert!(refused(found("deployed", "1.4")).contains("attempt 1.5, which is later than this one, 1.4"));
    let install = history([upgraded(1, "pending-install", &first, 0, Some(0))]);
    assert_eq!(upgrades(upgrade(&install, &own("1.6"), true)), (Some(1), 0, Some(0)));
    assert_eq!(upgrades(upgrade(&install, &own("1.6"), true)), upgrades(upgrade(&install, &own("1.5"), true)));
    // It was in force, and somebody has gone on since.
    let over = history([upgraded(2, "superseded", &first, 1, Some(1)), revision(3, "deployed")]);
    assert!(matches!(upgrade(&over, &own("1.6"), true), Next::Done(Some(2), words) if words.contains("somebody has changed")));
    // It died over it, and somebody has helped the release on since: it is done over that.
    let helped = history([revision(1, "superseded"), upgraded(2, "pending-upgrade", &first, 1, Some(1)), revision(3, "deployed")]);
    assert_eq!(upgrades(upgrade(&helped, &own("1.6"), true)), (None, 3, Some(3)));
    // helm has taken back by itself what failed.
    let back = said(3, "deployed", 1, "Rollback to 1", json!({}));
    let failed = history([revision(1, "superseded"), upgraded(2, "failed", &first, 1, Some(1)), back]);
    assert!(matches!(upgrade(&failed, &own("1.5"), true), Next::Failed(_)));
    assert_eq!(upgrades(upgrade(&failed, &own("1.6"), true)), (None, 3, Some(3)));
}

#[test]
fn what_somebody_else_has_pending_is_left_alone() {
    for status in ["pending-install", "pending-upgrade", "pending-rollback"] {
        let why = refused(upgrade(&history([revision(1, "deployed"), revision(2, status)]), &own("1.5"), true));
        assert!(why.contains(&format!("revision 2 is {status} since 2026-11-29T10:00:00Z: somebody else is at it")), "{why}");
        assert!(why.contains("helm.rollback"), "{why}");
    }
    let other = history([revision(1, "deployed"), upgraded(2, "pending-upgrade", &work("1.4", "other-7"), 1, Some(1))]);
    assert!(refused(upgrade(&other, &own("1.5"), true)).contains("attempt 1.4 of another run is at it"));
    // Somebody's upgrade after ours has our labels.
    let inherited =
        history([upgraded(2, "deployed", &work("1.4", "other-7"), 1, Some(1)), upgraded(3, "pending-upgrade", &work("1.4", "other-7"), 1, Some(1))]);
    assert!(refused(upgrade(&inherited, &own("1.5"), true)).contains("somebody else is at it"));
    assert!(refused(upgrade(&history([revision(1, "uninstalling")]), &own("1.5"), true)).contains("is being uninstalled"));
}

#[test]
fn labels_that_were_inherited_are_nobodys_word() {
    let first = own("1.5");
    let ours = |number: u32| upgraded(number, "deployed", &first, 1, Some(1));
    let all = history([revision(1, "superseded"), upgraded(2, "superseded", &first, 1, Some(1)), ours(3)]);
    assert_eq!(all.made_by(&first.name).map(|(revision, _)| revision.number), Some(2), "the first that has them");
    // Ours is not in the history any more, or somebody was faster and it came after theirs.
    assert_eq!(history([ours(3)]).made_by(&first.name).map(|(revision, _)| revision.number), None);
    let after = history([revision(1, "superseded"), revision(2, "superseded"), ours(3)]);
    assert_eq!(after.made_by(&first.name).map(|(revision, _)| revision.number), Some(3));
    assert_eq!(history([ours(4_000_000_000)]).made_by(&first.name), None);
    assert_eq!(all.made_by(&work("1.5", "tidy-2").name), None);
    assert!(
        matches!(take_back(&all, &undo("1.7"), &first.name), Next::Refuse(why) if why.contains("revision 3 is deployed, and the step left revision 2"))
    );
}

#[test]
fn a_rollback_goes_to_what_is_named_or_to_the_newest_that_was_in_force() {
    let next = |revisions: Vec<Revision>, to: Option<u32>| rollback(&history(revisions), &own("1.5"), to, false);
    let usual = || vec![revision(1, "superseded"), revision(2, "failed"), revision(3, "superseded"), revision(4, "deployed")];
    assert_eq!(next(usual(), None), Next::Rollback { to: 3, from: 4 });
    assert_eq!(next(usual(), Some(1)), Next::Rollback { to: 1, from: 4 });
    assert!(refused(next(usual(), Some(9))).contains("it has no revision 9 any more: there are 1, 2, 3, 4"));
    assert_eq!(next(usual(), Some(4)), Next::Done(Some(4), "it is in force already".to_owned()));
    assert_eq!(next(vec![revision(1, "deployed"), revision(2, "failed")], None), Next::Rollback { to: 1, from: 2 });
    let failed = said(3, "failed", 1, "Release \"web\" failed", json!({}));
    assert_eq!(next(vec![revision(1, "superseded"), revision(2, "deployed"), failed], None), Next::Rollback { to: 1, from: 3 }, "on its way there");
    assert_eq!(next(vec![revision(1, "superseded"), revision(2, "uninstalled")], None), Next::Rollback { to: 2, from: 2 });
    assert!(refused(next(vec![revision(1, "deployed")], None)).contains("none of its revisions"));
    assert!(refused(next(vec![], None)).contains("no such release"));
}

#[test]
fn a_rollback_that_died_is_gone_on_with_and_one_of_somebody_else_only_when_that_is_said() {
    let base = || [revision(1, "superseded"), revision(2, "deployed")];
    let with = |last: Revision| history(base().into_iter().chain([last]));
    let first = own("1.5");
    assert_eq!(rollback(&with(brought_back(3, "deployed", &first, 1)), &own("1.6"), None, false), Next::Done(Some(3), "it is in force".to_owned()));
    assert_eq!(rollback(&with(brought_back(3, "pending-rollback", &first, 1)), &own("1.6"), None, false), Next::Rollback { to: 1, from: 3 });
    assert!(matches!(rollback(&with(brought_back(3, "superseded", &first, 1)), &own("1.6"), None, false), Next::Done(Some(3), _)));
    assert!(refused(rollback(&with(brought_back(3, "deployed", &first, 1)), &own("1.4"), None, false)).contains("attempt 1.5, which is later"));
    let theirs = with(revision(3, "pending-upgrade"));
    assert!(refused(rollback(&theirs, &own("1.5"), None, false)).contains("`overPending: true` brings the release back"));
    assert_eq!(rollback(&theirs, &own("1.5"), None, true), Next::Rollback { to: 2, from: 3 });
    let others = with(brought_back(3, "pending-rollback", &work("1.4", "other-7"), 1));
    assert!(refused(rollback(&others, &own("1.5"), None, false)).contains("attempt 1.4 of another run"));
}

#[test]
fn an_upgrade_is_taken_back_to_what_was_in_force_where_nobody_has_changed_it_since() {
    let first = own("1.5");
    let next = |revisions: Vec<Revision>| take_back(&history(revisions), &undo("1.7"), &first.name);
    let ours = |status: &str| upgraded(2, status, &first, 1, Some(1));
    assert_eq!(next(vec![revision(1, "superseded"), ours("deployed")]), Next::Rollback { to: 1, from: 2 });
    assert_eq!(next(vec![revision(1, "deployed"), ours("pending-upgrade")]), Next::Rollback { to: 1, from: 2 }, "the step died over it");
    assert_eq!(next(vec![upgraded(1, "deployed", &first, 0, Some(0))]), Next::Uninstall { keeps: false });
    assert_eq!(next(vec![revision(1, "uninstalled"), upgraded(2, "deployed", &first, 1, Some(0))]), Next::Uninstall { keeps: true });
    assert!(matches!(next(vec![revision(1, "uninstalled"), upgraded(2, "uninstalled", &first, 1, Some(0))]), Next::Done(Some(2), _)));
    assert!(matches!(next(vec![revision(1, "deployed")]), Next::Done(None, words) if words == "there is nothing to take back"));
    assert!(matches!(next(vec![]), Next::Done(None, _)));
    // How far an earlier attempt at it has come.
    let back = |status: &str| vec![revision(1, "superseded"), ours("superseded"), brought_back(3, status, &undo("1.6"), 1)];
    assert_eq!(next(back("deployed")), Next::Done(Some(3), "it is in force".to_owned()));
    assert_eq!(next(back("pending-rollback")), Next::Rollback { to: 1, from: 3 });
    // Not over somebody else.
    assert!(refused(next(vec![revision(1, "superseded"), ours("superseded"), revision(3, "deployed")])).contains("somebody has changed it since"));
    let pending = vec![revision(1, "superseded"), ours("superseded"), revision(3, "pending-upgrade")];
    assert!(refused(next(pending)).contains("revision 3 is pending-upgrade"));
    assert!(matches!(next([back("superseded"), vec![revision(4, "deployed")]].concat()), Next::Done(Some(3), words) if words.contains("since")));
    // By helm itself.
    let by_helm = said(3, "deployed", 1, "Rollback to 1", json!({}));
    assert!(
        matches!(next(vec![revision(1, "superseded"), ours("failed"), by_helm]), Next::Done(Some(3), words) if words.contains("helm has taken it back"))
    );
    // Nothing good to go back to.
    assert!(refused(next(vec![revision(1, "failed"), upgraded(2, "deployed", &first, 1, None)])).contains("no revision before it was in force"));
    assert!(
        refused(next(vec![upgraded(2, "deployed", &first, 1, Some(1))])).contains("revision 1, which was in force before, is not in its history")
    );
    // The step comes too late.
    let after = history([revision(1, "superseded"), ours("superseded"), brought_back(3, "deployed", &undo("1.7"), 1)]);
    assert!(refused(upgrade(&after, &own("1.6"), true)).contains("later than this one"));
}

#[test]
fn a_rollback_is_taken_back_to_the_revision_before() {
    let first = own("1.5");
    let next = |before: &str| {
        let all = [revision(1, "superseded"), revision(2, before), brought_back(3, "deployed", &first, 1)];
        take_back(&history(all), &undo("1.7"), &first.name)
    };
    assert_eq!(next("superseded"), Next::Rollback { to: 2, from: 3 });
    assert_eq!(next("uninstalled"), Next::Uninstall { keeps: true });
    for status in ["failed", "pending-upgrade"] {
        assert!(refused(next(status)).contains("no revision before it was in force"), "{status}");
    }
}

#[test]
fn it_is_uninstalled_once_and_not_again_when_somebody_has_installed_another() {
    let (work, first) = (own("1.6"), own("1.5"));
    let written = |revision: u32| Uninstalls { work: first.digest(), revision, uid: format!("u{revision}") };
    let next = |revisions: Vec<Revision>, written: Option<&Uninstalls>, keeps: bool| uninstall(&history(revisions), &work, written, keeps);
    let run = |keeps: bool| Next::Uninstall { keeps };
    assert!(matches!(next(vec![], None, true), Next::Done(None, _)));
    assert_eq!(next(vec![revision(1, "superseded"), revision(2, "deployed")], None, true), run(true));
    assert_eq!(next(vec![revision(2, "failed")], None, false), run(false));
    assert_eq!(next(vec![revision(2, "uninstalling")], Some(&written(2)), true), run(true), "this work died over it");
    assert_eq!(next(vec![revision(2, "deployed")], Some(&written(2)), true), run(true), "or before it");
    assert_eq!(next(vec![revision(2, "superseded"), revision(3, "deployed")], Some(&written(2)), true), run(true), "and somebody upgraded it");
    assert!(matches!(next(vec![revision(2, "uninstalled")], Some(&written(2)), true), Next::Done(Some(2), _)));
    assert!(matches!(next(vec![revision(2, "uninstalled")], None, true), Next::Done(Some(2), _)));
    assert_eq!(next(vec![revision(2, "uninstalled")], None, false), run(false), "its history goes too");
    let again = next(vec![revision(1, "deployed")], Some(&Uninstalls { uid: "gone".to_owned(), ..written(1) }), true);
    assert!(matches!(again, Next::Done(Some(1), words) if words.contains("installed another")));
    let again = next(vec![revision(2, "uninstalled"), revision(3, "deployed")], Some(&written(2)), true);
    assert!(matches!(again, Next::Done(Some(2), words) if words.contains("installed it again")));
    let others = Uninstalls { work: "other".to_owned(), ..written(2) };
    assert!(refused(next(vec![revision(2, "uninstalling")], Some(&others), true)).contains("by somebody else"));
    assert!(refused(next(vec![revision(2, "pending-upgrade")], None, true)).contains("somebody else is at it"));
    let later = brought_back(3, "deployed", &undo("1.7"), 2);
    assert!(refused(next(vec![revision(2, "uninstalled"), later], Some(&written(2)), true)).contains("later than this one"));
}

#[test]
fn what_was_uninstalled_is_installed_again_from_its_history() {
    let first = own("1.5");
    let written = Uninstalls { work: first.digest(), revision: 2, uid: "u2".to_owned() };
    let next = |revisions: Vec<Revision>| install_again(&history(revisions), &undo("1.7"), &first.name, Some(&written));
    for status in ["uninstalled", "uninstalling"] {
        assert_eq!(next(vec![revision(1, "superseded"), revision(2, status)]), Next::Rollback { to: 2, from: 2 }, "{status}");
    }
    assert!(matches!(next(vec![revision(2, "deployed")]), Next::Done(Some(2), words) if words.contains("was not uninstalled")));
    let back = |status: &str| vec![revision(2, "uninstalled"), brought_back(3, status, &undo("1.6"), 2)];
    assert!(matches!(next(back("deployed")), Next::Done(Some(3), _)));
    assert_eq!(next(back("pending-rollback")), Next::Rollback { to: 2, from: 3 });
    assert!(refused(next(vec![revision(2, "uninstalled"), revision(3, "deployed")])).contains("somebody has changed it since"));
    assert!(refused(next(vec![])).contains("its history is gone"));
    let nothing = install_again(&history([revision(2, "uninstalled")]), &undo("1.7"), &first.name, None);
    assert!(matches!(nothing, Next::Done(None, _)), "the step did nothing");
}

#[test]
fn a_description_is_read_back_and_fits() {
    let long = Work { name: format!("1/{}-7/step", "x".repeat(400)), ..own("1.512") };
    let written = Described::written(&long, 41);
    assert!(written.chars().count() <= 256, "{written}");
    let read = said(42, "pending-rollback", 3, &written, json!({})).described().unwrap();
    assert_eq!((read.work, read.attempt, read.from), (long.digest(), long.attempt, 41));
    for other in ["Rollback to 1", "Mainstay work", "Mainstay work x attempt y from 1", ""] {
        assert_eq!(said(2, "deployed", 1, other, json!({})).described(), None, "{other}");
    }
}
