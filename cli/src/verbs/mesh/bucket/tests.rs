//! Which backup a mesh begins again from, and when nobody is left to say so but a person.

use std::collections::BTreeMap;

use mainstay_backup::manifest::{Manifest, OfSource};

use super::*;

const FIRST: &str = "prod/mesh/20261130T010000Z-1.1";
const SECOND: &str = "prod/mesh/20261130T020000Z-1.2";
const THIRD: &str = "prod/mesh/20261130T030000Z-1.3";
const OTHER: &str = "test/mesh/20261130T040000Z-9.1";
const DATABASE: &str = "prod/orders-db/20261130T050000Z-1.4";

fn good() -> Standing {
    Standing::Good
}

fn unconfirmed() -> Standing {
    Standing::Unconfirmed { why: "it has no receipt".into() }
}

fn damaged() -> Standing {
    Standing::Damaged { what: vec!["mesh.zst.age is missing".into()] }
}

fn judged(id: &str, standing: Standing) -> Judged {
    let id: Id = id.parse().unwrap();
    let kind = if id.target.to_string().ends_with("/mesh") { mesh::KIND } else { "postgres.dump" };
    let source = OfSource { kind: kind.to_owned(), versions: BTreeMap::new(), counted: BTreeMap::new() };
    let manifest = Manifest {
        backup: id.clone(),
        writer: "w".into(),
        set: None,
        source,
        parts: Vec::new(),
        recipients: Vec::new(),
        took_ms: 1,
        key: None,
        taken: None,
    };
    let has_one = !matches!(standing, Standing::Unfinished | Standing::Sealed { .. } | Standing::Leftover);
    Judged { id, standing, manifest: has_one.then_some(manifest), digest: None, stored_bytes: 1 }
}

fn taken(found: &[Judged], only: Option<&str>, at: Option<&str>) -> Result<String, NotChosen> {
    let only: Option<Target> = only.map(|only| only.parse().unwrap());
    newest(found, only.as_ref(), at.map(|at| at.parse().unwrap()), "/backups").map(|judged| judged.id.to_string())
}

fn refused<T: std::fmt::Debug>(chosen: Result<T, NotChosen>) -> String {
    let NotChosen { words, instead } = chosen.unwrap_err();
    format!("{words}\n{}", instead.join("\n"))
}

#[test]
fn the_newest_good_one_of_a_mesh_is_taken() {
    let found = [judged(FIRST, good()), judged(SECOND, good()), judged(DATABASE, good())];
    assert_eq!(taken(&found, None, None).as_deref(), Ok(SECOND));
    assert_eq!(taken(&found, Some("prod/mesh"), None).as_deref(), Ok(SECOND));
    assert_eq!(taken(&found, None, Some("2026-11-30T01:30:00Z")).as_deref(), Ok(FIRST));
    let text = refused(taken(&found, Some("prod/orders-db"), None));
    assert!(text.contains("prod/orders-db has no backup of a mesh"), "{text}");
    let text = refused(taken(&found, None, Some("2026-11-30T00:00:00Z")));
    assert!(text.contains("no good backup at or before 2026-11-30T00:00:00Z") && text.contains("mainstay backup list prod/mesh"), "{text}");
    assert!(refused(taken(&found[2..], None, None)).contains("/backups has no backup of a mesh"));
}

#[test]
fn of_several_meshes_one_is_said() {
    let found = [judged(FIRST, good()), judged(OTHER, good())];
    let text = refused(taken(&found, None, None));
    assert!(text.contains("of 2 meshes") && text.contains("--target prod/mesh\n--target test/mesh"), "{text}");
    assert_eq!(taken(&found, Some("test/mesh"), None).as_deref(), Ok(OTHER));
}

#[test]
fn what_never_counted_is_passed_over_and_told() {
    for (standing, why) in [
        (Standing::Unfinished, "unfinished"),
        (Standing::Sealed { by: "1.4".parse().unwrap(), why: "1.4 has begun".into() }, "void"),
        (Standing::Leftover, "leftover"),
        (unconfirmed(), "unconfirmed"),
    ] {
        let found = [judged(FIRST, good()), judged(SECOND, standing), judged(OTHER, unconfirmed())];
        assert_eq!(taken(&found, Some("prod/mesh"), None).as_deref(), Ok(FIRST));
        let told = newer(&found, &found[0], None);
        assert!(told.len() == 1 && told[0].id == SECOND && told[0].why.contains(why), "{told:?}");
        assert_eq!(newer(&found, &found[0], Some("2026-11-30T01:30:00Z".parse().unwrap())), Vec::new());
    }
}

#[test]
fn what_was_good_and_is_damaged_is_not_passed_over() {
    let found = [judged(FIRST, good()), judged(SECOND, damaged()), judged(THIRD, Standing::Unfinished)];
    let text = refused(taken(&found, None, None));
    assert!(text.contains(SECOND) && text.contains("mesh.zst.age is missing") && text.contains(&format!("--backup {FIRST}")), "{text}");
    // Nor is one of which nothing is known: it may be good.
    let unread = [judged(FIRST, good()), judged(SECOND, Standing::Unread { why: "not for you".into() })];
    let text = refused(taken(&unread, None, None));
    assert!(text.contains(SECOND) && text.contains("nothing is known of it") && text.contains(&format!("--backup {FIRST}")), "{text}");
    // Who names it, or an instant before the other, has said so.
    assert_eq!(taken(&found, None, Some("2026-11-30T01:30:00Z")).as_deref(), Ok(FIRST));
    assert_eq!(by_name(&found, &FIRST.parse().unwrap(), "/backups").unwrap().id.to_string(), FIRST);
    // Before a good one it is of no account.
    assert_eq!(taken(&[judged(FIRST, damaged()), judged(SECOND, good())], None, None).as_deref(), Ok(SECOND));
}

#[test]
fn one_without_a_receipt_is_taken_by_its_name_only() {
    let found = [judged(FIRST, unconfirmed()), judged(SECOND, unconfirmed()), judged(DATABASE, good())];
    let text = refused(taken(&found, None, None));
    assert!(text.contains("nothing says that it counts") && text.contains(&format!("--backup {SECOND}")), "{text}");
    let named = |name: &str| by_name(&found, &name.parse().unwrap(), "/backups");
    assert_eq!(named(FIRST).unwrap().id.to_string(), FIRST);
    assert!(refused(named(THIRD)).contains("there is no prod/mesh/20261130T030000Z-1.3"));
    assert!(refused(named(DATABASE)).contains("is no backup of a mesh"));
    let found = [judged(FIRST, good()), judged(SECOND, damaged())];
    let text = refused(by_name(&found, &SECOND.parse().unwrap(), "/backups"));
    assert!(text.contains("is missing") && text.contains(&format!("--backup {FIRST}")), "{text}");
}
