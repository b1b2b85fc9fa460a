//! The shape of the workspace: who may see whom.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// What each crate may depend on within the workspace, outside of its tests.
const ALLOWED: [(&str, &[&str]); 8] = [
    ("mainstay-core", &[]),
    ("mainstay-proto", &["mainstay-core"]),
    ("mainstay-client", &["mainstay-core", "mainstay-proto"]),
    ("mainstay-coordinator", &["mainstay-core", "mainstay-proto", "mainstay-client"]),
    ("mainstay-agent", &["mainstay-core", "mainstay-proto", "mainstay-client"]),
    ("mainstay", &["mainstay-core", "mainstay-proto", "mainstay-client"]),
    ("mainstay-tests", &["mainstay-core", "mainstay-proto", "mainstay-client"]),
    ("mainstay-bench", &["mainstay-core", "mainstay-proto", "mainstay-client", "mainstay-tests"]),
];

/// What the pure core may not see: anything with I/O, tasks, a clock or randomness.
const NOT_IN_CORE: [&str; 11] = ["tokio", "tonic", "openraft", "kube", "rustls", "reqwest", "rand", "redb", "chrono", "time", "mainstay-client"];

fn packages() -> BTreeMap<String, Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata answers JSON");
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    packages.into_iter().map(|package| (package["name"].as_str().unwrap_or_default().to_owned(), package)).collect()
}

fn dependencies(package: &Value) -> Vec<String> {
    let all = package["dependencies"].as_array().into_iter().flatten();
    all.filter(|dependency| dependency["kind"].is_null()).filter_map(|dependency| dependency["name"].as_str()).map(str::to_owned).collect()
}

#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    assert_eq!(packages.len(), ALLOWED.len(), "a new crate is entered here, with what it may see: {:?}", packages.keys());
    for (name, allowed) in ALLOWED {
        let own: Vec<String> = dependencies(&packages[name]).into_iter().filter(|dependency| packages.contains_key(dependency)).collect();
        let wrong: Vec<&String> = own.iter().filter(|dependency| !allowed.contains(&dependency.as_str())).collect();
        assert!(wrong.is_empty(), "{name} may not depend on {wrong:?}");
    }
}

#[test]
fn the_core_is_pure() {
    let own = dependencies(&packages()["mainstay-core"]);
    let wrong: Vec<&String> = own.iter().filter(|dependency| NOT_IN_CORE.contains(&dependency.as_str())).collect();
    assert!(wrong.is_empty(), "mainstay-core may not depend on {wrong:?}");
}

/// Without `std` the calendar's library has neither a clock nor files, and takes its zones from the program.
#[test]
fn the_calendar_of_the_core_has_no_clock() {
    let packages = packages();
    let all = packages["mainstay-core"]["dependencies"].as_array().into_iter().flatten();
    let jiff = all.filter(|dependency| dependency["name"] == "jiff" && dependency["kind"].is_null()).collect::<Vec<_>>();
    let [jiff] = jiff.as_slice() else { panic!("mainstay-core depends on jiff once: {jiff:?}") };
    assert_eq!(jiff["uses_default_features"], false);
    let features: Vec<&str> = jiff["features"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert!(features.contains(&"tzdb-bundle-always"), "{features:?}");
    let wrong: Vec<&&str> = features.iter().filter(|feature| !["alloc", "serde", "tzdb-bundle-always"].contains(feature)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Members of different versions apply the same entries: what they compute may not hang on a library's
/// reading of an expression, or on the rules of a time zone.
#[test]
fn the_state_evaluates_nothing() {
    let state = root().join("core/src/state");
    let mut files = Vec::new();
    sources(&state, &mut files);
    assert!(!files.is_empty(), "no state in {}", state.display());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let mut words = code.flat_map(|line| line.split(|c: char| !(c.is_alphanumeric() || c == '_')));
        let wrong = words.find(|word| ["expr", "calendar", "cel", "jiff", "croner", "regex", "serde_saphyr"].contains(word));
        assert_eq!(wrong, None, "{} evaluates", file.display());
    }
}

#[test]
fn only_the_store_names_openraft() {
    let mut files = Vec::new();
    sources(&root().join("coordinator"), &mut files);
    let store = root().join("coordinator/src/store");
    let wrong: Vec<PathBuf> = files
        .into_iter()
        .filter(|file| !file.starts_with(&store))
        .filter(|file| std::fs::read_to_string(file).is_ok_and(|text| text.contains("openraft::")))
        .collect();
    assert!(wrong.is_empty(), "openraft is named outside of the store: {wrong:?}");
}

#[test]
fn nothing_reads_files_of_this_machine_at_build_time() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let absolute = text.lines().find(|line| line.contains(concat!("include_", "str!(\"/")) || line.contains(concat!("include_", "bytes!(\"/")));
        assert_eq!(absolute, None, "{}", file.display());
    }
}
