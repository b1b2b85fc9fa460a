//! The published JSON Schema as others use it: a validator and an editor's language server that nobody here wrote.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Map, Value};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn schema() -> PathBuf {
    root().join("deploy/schema/maintenanceplan.v1alpha1.json")
}

/// Where the tools of others are; installed if they are not there.
fn tools() -> PathBuf {
    let install = root().join("tests/editor/install");
    let installed = Command::new(&install).output().expect("the script runs");
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stdout));
    let folder = Command::new(&install).arg("--where").output().expect("the script runs");
    PathBuf::from(String::from_utf8_lossy(&folder.stdout).trim())
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

/// Plans that are wrong in a way that a schema can know, each with a word of what is said of it.
const WRONG: [(&str, &str); 14] = [
    ("steps: []", "steps"),
    ("colour: red\n  steps: [{ name: a, uses: node.services }]", "colour"),
    ("steps: [{ name: a, uses: node.servics }]", "uses"),
    ("steps: [{ name: A, uses: node.services }]", "name"),
    ("steps: [{ name: a, uses: node.services, on: node }]", "on"),
    ("steps: [{ name: a, uses: wait }]", "with"),
    ("steps: [{ name: a, uses: wait, with: { for: 5 } }]", "for"),
    ("steps: [{ name: a, uses: wait, with: { for: 5s, until: 6s } }]", "until"),
    ("steps: [{ name: a, uses: node.resources, with: { disk: { warn: 5% } } }]", "disk"),
    ("steps: [{ name: a, uses: node.services, timeout: 5 minutes }]", "timeout"),
    ("concurrency: sometimes\n  steps: [{ name: a, uses: node.services }]", "concurrency"),
    ("gates: [{ windw: { from: \"22:00\", to: \"06:00\" } }]\n  steps: [{ name: a, uses: node.services }]", "windw"),
    ("inputs: { a: { type: txt } }\n  steps: [{ name: a, uses: node.services }]", "type"),
    ("schedules: [{ zone: UTC }]\n  steps: [{ name: a, uses: node.services }]", "cron"),
];

fn wrong(scratch: &Path) -> Vec<(PathBuf, &'static str)> {
    let modeline = format!("# yaml-language-server: $schema={}\n", schema().display());
    let file = |(i, (spec, word)): (usize, &(&str, &'static str))| {
        let path = scratch.join(format!("wrong-{i}.yaml"));
        let text = format!("{modeline}apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: p }}\nspec:\n  {spec}\n");
        fs::write(&path, text).expect("a plan");
        (path, *word)
    };
    WRONG.iter().enumerate().map(file).collect()
}

fn answers(output: &Output) -> Map<String, Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
}

fn validate(files: &[PathBuf]) -> Map<String, Value> {
    let mut command = Command::new("python3");
    command.arg(root().join("tests/editor/validate.py")).arg(schema()).args(files);
    answers(&command.env("PYTHONPATH", tools().join("python")).output().expect("python3 runs"))
}

fn ask(files: &[PathBuf]) -> Map<String, Value> {
    let server = tools().join("node_modules/yaml-language-server/bin/yaml-language-server");
    let mut command = Command::new("node");
    answers(&command.arg(root().join("tests/editor/ask.mjs")).arg(server).args(files).output().expect("node runs"))
}

#[test]
fn a_validator_takes_every_good_plan_and_no_wrong_one() {
    let scratch = tempfile::tempdir().expect("a directory");
    let wrong = wrong(scratch.path());
    let said = validate(&[good(), wrong.iter().map(|(path, _)| path.clone()).collect()].concat());
    for file in good() {
        assert_eq!(said[&file.display().to_string()], Value::Array(Vec::new()), "{}", file.display());
    }
    for (file, word) in wrong {
        let problems = said[&file.display().to_string()].to_string();
        assert!(problems.contains(word), "{}\nsaid {problems}", fs::read_to_string(&file).unwrap_or_default());
    }
}

#[test]
fn an_editor_marks_wrong_plans_and_offers_the_right_words() {
    let scratch = tempfile::tempdir().expect("a directory");
    let wrong = wrong(scratch.path());
    let typing = scratch.path().join("typing.yaml");
    let modeline = format!("# yaml-language-server: $schema={}\n", schema().display());
    let text = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: p }\nspec:\n  steps:\n    - name: a\n      uses: wait\n      with:\n        \n# complete: 10:9\n";
    fs::write(&typing, format!("{modeline}{text}")).expect("a plan");
    let said = ask(&[in_folder("deploy/examples"), wrong.iter().map(|(path, _)| path.clone()).collect(), vec![typing.clone()]].concat());
    for file in in_folder("deploy/examples") {
        assert_eq!(said[&file.display().to_string()]["diagnostics"], Value::Array(Vec::new()), "{}", file.display());
    }
    for (file, _) in wrong {
        let diagnostics = said[&file.display().to_string()]["diagnostics"].as_array().cloned().unwrap_or_default();
        assert!(!diagnostics.is_empty(), "{}", fs::read_to_string(&file).unwrap_or_default());
    }
    let offered = said[&typing.display().to_string()]["completions"].to_string();
    assert!(offered.contains("for"), "{offered}");
}
