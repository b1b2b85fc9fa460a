#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::io::Read;

use mainstay_core::WallTime;
use mainstay_proto::v1::{Attempt, AwaitedStep, Check, Outcome, Report, Run, Wait, WantedApproval, WhyResponse, Work};
use serde_json::json;

use super::*;

const NOW: WallTime = WallTime(1_764_590_400_000);

/// Files of an archive, with the mode of each.
fn unpacked(bytes: &[u8]) -> BTreeMap<String, (String, u32)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let (name, mode) = (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap());
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(name, (text, mode));
    }
    files
}

#[test]
fn the_manifest_says_what_is_in_it_and_what_is_not() {
    let mut bundle = Bundle::default();
    bundle.json("status.json", "the mesh at a glance", &json!({ "mesh": "prod" }));
    bundle.text("logs/c1.log", "the end of its log", "one\ntwo\n");
    bundle.leave_out("metrics/c2.txt", &"127.0.0.1:7402: connection refused");
    manifest::never_in(&mut bundle);
    let text = manifest(&bundle, NOW, "1.2.0");
    let files = unpacked(&pack(&bundle, "mainstay-support-1", &text, NOW).unwrap());
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["mainstay-support-1/MANIFEST", "mainstay-support-1/logs/c1.log", "mainstay-support-1/status.json"]);
    assert_eq!(files["mainstay-support-1/logs/c1.log"], ("one\ntwo\n".to_owned(), 0o600));
    insta::assert_snapshot!(files["mainstay-support-1/MANIFEST"].0);
    bundle.left_out.truncate(1);
    let told = crate::verbs::bundle::told(Some(std::path::Path::new("/tmp/x.tar.gz")), 512, &bundle);
    insta::assert_snapshot!("json", crate::render::json::json(&told).unwrap());
}

#[test]
fn credentials_go_out_of_texts_values_names_and_reasons() {
    let mut bundle = Bundle::default();
    bundle.text("a", "", "dial postgres://app:s3cr3t@db/orders\nkey -----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nafter\n");
    bundle.json(
        "b",
        "",
        &json!({ "x": ["PGPASSWORD=hunter2 psql"], "dbPassword": "two words", "apiKey": { "v": "k" }, "joinToken": 7, "secret": "" }),
    );
    bundle.leave_out("c", &"redis://:p@ss@cache refused");
    let texts: Vec<&str> = bundle.entries.iter().map(|entry| entry.text.as_str()).collect();
    assert_eq!(texts[0], "dial postgres://[redacted]@db/orders\nkey [redacted]\nafter\n");
    let value: serde_json::Value = serde_json::from_str(texts[1]).unwrap();
    let expected =
        json!({ "x": ["PGPASSWORD=[redacted] psql"], "dbPassword": "[redacted]", "apiKey": "[redacted]", "joinToken": "[redacted]", "secret": "" });
    assert_eq!(value, expected);
    assert_eq!(bundle.left_out[0].why, "redis://[redacted]@cache refused");
}

#[test]
fn the_end_of_a_log_may_begin_within_a_key() {
    assert_eq!(clean::text("AAAA\nBBBB\n-----END RSA PRIVATE KEY-----\nafter\n"), "after\n");
    assert_eq!(clean::text("AAAA\n-----END PRIVATE KEY-----"), "");
    assert_eq!(clean::text("before\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\nafter\n"), "before\n[redacted]\nafter\n");
}

#[test]
fn of_settings_there_is_what_says_how_it_works() {
    let text = r#"
# the password is hunter2
listen = "0.0.0.0:7400"
join_token_file = "/etc/mainstay/join-token"
join_token = "mst1.a.b"
[connections.orders]
kind = "postgres"
url = "postgres://app@db/orders"
password = { env = "ORDERS" }
[[policy.exec]]
command = ["/usr/bin/psql", "postgres://app:pw@db"]
"#;
    let clean = clean::settings(text).unwrap();
    assert_eq!(
        clean.parse::<toml::Table>().unwrap(),
        r#"
listen = "0.0.0.0:7400"
join_token_file = "/etc/mainstay/join-token"
join_token = "[redacted]"
connections.orders = { kind = "postgres", and = "left out" }
policy.exec = [{ command = ["/usr/bin/psql", "postgres://[redacted]@db"] }]
"#
        .parse::<toml::Table>()
        .unwrap()
    );
    assert!(!clean.contains("hunter2"), "{clean}");
    let refused = clean::settings("password = hunter2").unwrap_err();
    assert!(!refused.contains("hunter2"), "{refused}");
}

/// What a run was given and what it printed is its owner's; how it went is there.
#[test]
fn of_a_run_there_is_how_it_went() {
    let check = Check { message: "slow".into(), details: vec!["GET /ana 200".into()], ..Check::default() };
    let report = Report {
        checks: vec![check],
        outputs: [("id".to_owned(), "\"x7\"".to_owned())].into(),
        output_tail: "what it printed".into(),
        ..Report::default()
    };
    let outcome = Outcome { message: "exit status 3".into(), report: Some(report), ..Outcome::default() };
    let work = Work { step: "look".into(), attempts: vec![Attempt { outcome: Some(outcome), ..Attempt::default() }], ..Work::default() };
    let run = Run { id: "nightly-7".into(), inputs: [("who".to_owned(), "\"ana\"".to_owned())].into(), work: vec![work], ..Run::default() };
    let text = serde_json::to_string(&mesh::without_contents(run)).unwrap();
    for there in ["nightly-7", "who", "look", "exit status 3", "slow", "id"] {
        assert!(text.contains(there), "{there} is in {text}");
    }
    for gone in ["ana", "x7", "what it printed", "GET"] {
        assert!(!text.contains(gone), "{gone} is in {text}");
    }
}

#[test]
fn what_somebody_is_asked_to_approve_is_there_without_its_values() {
    let step = AwaitedStep { name: "switch".into(), with: "{\"command\":[\"/bin/x\",\"ana\"]}".into(), ..AwaitedStep::default() };
    let approval = WantedApproval { step: "ask".into(), message: "shall ana go?".into(), steps: vec![step], ..WantedApproval::default() };
    let waits = vec![Wait { step: "ask".into(), approval: Some(approval), ..Wait::default() }];
    let why = WhyResponse { run: Some(Run { id: "ana-1".into(), ..Run::default() }), waits, ..WhyResponse::default() };
    let text = serde_json::to_string(&mesh::waits_alone(why)).unwrap();
    assert!(text.contains("switch") && text.contains("ask") && !text.contains("ana"), "{text}");
}

#[test]
fn a_bundle_has_its_bounds_and_says_what_they_cost() {
    let mut bundle = Bundle::default();
    for number in 0..20 {
        bundle.add(&format!("logs/{number}"), "", "ü\n".repeat(ENTRY_MAX / 2));
    }
    assert_eq!(bundle.entries.len(), TOTAL_MAX / ENTRY_MAX);
    assert!(bundle.entries.iter().all(|entry| entry.text.len() <= ENTRY_MAX));
    assert!(bundle.left_out.iter().any(|left| left.what == "the end of logs/0"), "{:?}", bundle.left_out);
    assert!(bundle.left_out.iter().any(|left| left.what == "logs/19" && left.why.contains("already")), "{:?}", bundle.left_out);
}

#[test]
fn the_end_of_a_file_begins_with_a_whole_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    mainstay_client::files::write_atomic(mainstay_client::failpoint::Point::Saved, &path, b"first\nsecond\nthird\n", 0o600).unwrap();
    assert_eq!(crate::host::tail(&path, 100).unwrap(), "first\nsecond\nthird\n");
    assert_eq!(crate::host::tail(&path, 9).unwrap(), "third\n");
}
