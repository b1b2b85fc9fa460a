//! The plan language at the command line: what `mainstay plan validate` says, and how it ends.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mainstay_tests::up::binaries;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn schema() -> PathBuf {
    root().join("deploy/schema/maintenanceplan.v1alpha1.json")
}

fn in_folder(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    files.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

/// Bundled plans, examples, and the plan with every field.
fn good() -> Vec<PathBuf> {
    let all = [in_folder("deploy/plans"), in_folder("deploy/examples"), in_folder("core/tests/plans")].concat();
    assert!(all.len() >= 5, "{all:?}");
    all
}

fn mainstay(args: &[&str]) -> Output {
    Command::new(binaries().join("mainstay")).args(args).output().expect("the CLI runs")
}

#[test]
fn validate_ends_with_what_it_found() {
    let scratch = tempfile::tempdir().expect("a directory");
    let file = scratch.path().join("weekly.yaml");
    let name = file.display().to_string();
    fs::write(&file, "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: weekly }\nspec:\n  steps:\n    - name: a\n      uses: node.services\n      if: inputs.x == 1\n")
        .expect("a plan");
    let refused = mainstay(&["plan", "validate", &name]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{words}");
    assert!(words.contains(&format!("{name}:8:18: the plan has no input `x`")), "{words}");
    assert!(words.contains("8 │       if: inputs.x == 1\n      │                  ^\n"), "{words}");
    let json = mainstay(&["plan", "validate", &name, "-o", "json"]);
    assert_eq!(json.status.code(), Some(2));
    let said: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((&said["files"][0]["valid"], &said["files"][0]["problems"][0]["line"]), (&Value::Bool(false), &Value::from(8)));
    assert_eq!(mainstay(&["plan", "validate", "/nonexistent.yaml"]).status.code(), Some(2));
    assert_eq!(mainstay(&["plan", "validate"]).status.code(), Some(2));

    let all: Vec<String> = good().iter().map(|path| path.display().to_string()).collect();
    let taken = mainstay(&[vec!["plan", "validate"], all.iter().map(String::as_str).collect()].concat());
    assert_eq!(taken.status.code(), Some(0), "{}", String::from_utf8_lossy(&taken.stderr));
    assert_eq!(String::from_utf8_lossy(&taken.stdout).lines().count(), all.len());
    let one_wrong = mainstay(&["plan", "validate", &all[0], &name]);
    assert_eq!(one_wrong.status.code(), Some(2), "one wrong file is enough");
}

#[test]
fn the_published_schema_is_printed() {
    let printed = mainstay(&["plan", "schema"]);
    assert_eq!(printed.status.code(), Some(0));
    assert!(printed.stdout == fs::read(schema()).expect("the published schema"), "mainstay plan schema prints another one");
}
