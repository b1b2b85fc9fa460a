//! The shape of the workspace: who may see whom.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use mainstay_client::failpoint::{ARMABLE, Point};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// What each crate may depend on within the workspace, outside of its tests.
const ALLOWED: [(&str, &[&str]); 10] = [
    ("mainstay-core", &[]),
    ("mainstay-proto", &["mainstay-core"]),
    ("mainstay-client", &["mainstay-core", "mainstay-proto"]),
    // What restores a backup needs nothing that may be lost with the mesh.
    ("mainstay-backup", &[]),
    ("mainstay-coordinator", &["mainstay-core", "mainstay-proto", "mainstay-client"]),
    ("mainstay-agent", &["mainstay-core", "mainstay-proto", "mainstay-client", "mainstay-backup"]),
    ("mainstay", &["mainstay-core", "mainstay-proto", "mainstay-client", "mainstay-backup"]),
    ("mainstay-tests", &["mainstay-core", "mainstay-proto", "mainstay-client"]),
    // Its tests see everything.
    ("mainstay-whole", &[]),
    ("mainstay-bench", &["mainstay-core", "mainstay-proto", "mainstay-client", "mainstay-backup", "mainstay-tests"]),
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

/// What a backup is stays apart from what it is kept of and by: neither the mesh's protocol, nor its log, nor a cluster.
#[test]
fn backups_know_no_mesh() {
    let own = dependencies(&packages()["mainstay-backup"]);
    let wrong: Vec<&String> =
        own.iter().filter(|dependency| ["tonic", "prost", "kube", "k8s-openapi", "redb", "openraft"].contains(&dependency.as_str())).collect();
    assert!(wrong.is_empty(), "mainstay-backup may not depend on {wrong:?}");
}

/// A store is written through its own library, which syncs and renames; nothing else of a backup touches a disk but what is
/// restored.
#[test]
fn backups_write_to_a_disk_in_few_places() {
    let may: [(&str, &[&str]); 8] = [
        ("backup/src/store.rs", &["fs::create_dir"]),
        // Reads, in larger pieces than the library does.
        ("backup/src/store/pieces.rs", &["tokio::fs"]),
        ("backup/src/place/files.rs", &["fs::create_dir"]),
        ("backup/src/place/redis.rs", &["DirBuilder", "OpenOptions::new", "fs::copy(", "fs::hard_link(", "fs::rename(", "sync_all("]),
        // All of a directory, beside it until it is whole.
        ("backup/src/place/whole.rs", &["DirBuilder", "OpenOptions::new", "fs::rename(", "fs::remove_", "fs::set_permissions(", "sync_all("]),
        // A file without a name.
        ("backup/src/place/postgres/parallel.rs", &["tokio::fs"]),
        ("backup/src/place/kubernetes.rs", &["OpenOptions::new", "fs::rename(", "sync_all("]),
        // What is thrown away afterwards.
        ("backup/src/drill/scratch.rs", &["DirBuilder", "fs::remove_"]),
    ];
    let reads = ["backup/src/source/files.rs"];
    let mut files = Vec::new();
    sources(&root().join("backup/src"), &mut files);
    for file in files {
        let name = file.strip_prefix(root()).expect("a file of the workspace").display().to_string();
        let code = without_tests(&file);
        let allowed = may.iter().find(|(allowed, _)| *allowed == name).map_or(&[][..], |(_, words)| words);
        let wrong = WRITES
            .iter()
            .find(|word| code.contains(**word) && !allowed.contains(word) && !(reads.contains(&name.as_str()) && **word == "OpenOptions::new"));
        assert_eq!(wrong, None, "{name} writes");
    }
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

/// Code that changes a disk. All of it is in one place, where each write names its failpoint.
const WRITES: [&str; 21] = [
    "File::create",
    "File::options",
    "OpenOptions::new",
    "fs::write(",
    "fs::rename(",
    "fs::remove_",
    "fs::create_dir",
    "fs::copy(",
    "fs::hard_link(",
    "fs::set_permissions(",
    "fs::symlink(",
    "tokio::fs",
    "DirBuilder",
    "sync_all(",
    ".set_len(",
    "write_all_at(",
    "fallocate(",
    "ftruncate(",
    "NamedTempFile",
    "Database::create(",
    "Database::open(",
];

/// Who may: that place, what the failpoints themselves do, and a few for what is said here.
const MAY_WRITE: [(&str, &[&str]); 9] = [
    ("client/src/files/change.rs", &WRITES),
    ("client/src/failpoint/armed.rs", &WRITES),
    ("client/src/failpoint/effects.rs", &WRITES),
    ("client/src/failpoint/trial.rs", &WRITES),
    // A file that was not finished goes; nothing is lost with it.
    ("client/src/files/stream.rs", &["fs::remove_"]),
    // Room that is taken has no content. The files are changed through `files::Output`.
    ("coordinator/src/store/host.rs", &["fallocate("]),
    ("coordinator/src/store/file.rs", &[".set_len("]),
    // To read without waiting for a writer.
    ("agent/src/host.rs", &["File::options"]),
    ("agent/src/ledger/storage.rs", &["fallocate(", ".set_len("]),
];

/// A source file up to its tests; nothing of one that is all tests.
fn without_tests(file: &Path) -> String {
    let is_tests = file.components().any(|part| part.as_os_str() == "tests") || file.ends_with("tests.rs") || file.ends_with("stand.rs");
    let text = std::fs::read_to_string(file).expect("a source file");
    let end = if is_tests { 0 } else { text.rfind("#[cfg(test)]").unwrap_or(text.len()) };
    text[..end].lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn programs() -> Vec<PathBuf> {
    let mut files = Vec::new();
    ["client", "coordinator", "agent", "cli"].iter().for_each(|name| sources(&root().join(name).join("src"), &mut files));
    files
}

#[test]
fn every_write_to_a_disk_passes_a_failpoint() {
    let mut used = std::collections::BTreeSet::new();
    for file in programs() {
        let code = without_tests(&file);
        let name = file.strip_prefix(root()).expect("a file of the workspace").display().to_string();
        let allowed = MAY_WRITE.iter().find(|(allowed, _)| *allowed == name).map_or(&[][..], |(_, words)| words);
        for word in WRITES.iter().filter(|word| code.contains(**word)) {
            assert!(allowed.contains(word), "{name} says `{word}`: write through `mainstay_client::files`, at a failpoint of its own");
            used.insert((name.clone(), *word));
        }
    }
    for (name, _) in MAY_WRITE {
        assert!(used.iter().any(|(used, _)| used == name), "{name} writes nothing: take it off the list");
    }
}

#[test]
fn every_failpoint_is_somewhere() {
    let code: String = programs().iter().filter(|file| !file.ends_with("failpoint.rs")).map(|file| without_tests(file)).collect();
    let dead: Vec<&str> = Point::ALL.iter().filter(|point| !code.contains(&format!("Point::{point:?}"))).map(|point| point.name()).collect();
    assert!(dead.is_empty(), "no write stands at {dead:?}");
}

/// A point is of use where a test has somebody die there, who comes back and is judged.
#[test]
fn somebody_dies_at_every_failpoint() {
    let dying = [
        "agent/src/artifacts/key.rs",
        "agent/src/ledger/crashes.rs",
        "cli/src/up/log.rs",
        "coordinator/src/artifacts/shelf.rs",
        "coordinator/src/ca/issuers.rs",
        "coordinator/src/store/tests/crashes.rs",
        "tests/tests/crashes/commands.rs",
        "tests/tests/crashes/dying.rs",
    ];
    let tests = dying.map(|file| {
        let text = std::fs::read_to_string(root().join(file)).expect("a test");
        text[if file.contains("/src/") { text.find("trial::").expect("trials") } else { 0 }..].to_owned()
    });
    let missed: Vec<&str> =
        Point::ALL.iter().filter(|point| !tests.iter().any(|text| text.contains(&format!("Point::{point:?}")))).map(|point| point.name()).collect();
    assert!(missed.is_empty(), "nobody dies at {missed:?}");
}

/// What ships cannot be told to die: the orders are read in modules that such a build does not have.
#[test]
fn a_build_that_ships_has_no_failpoints() {
    assert_eq!(ARMABLE, cfg!(debug_assertions));
    let reads = |file: &PathBuf| std::fs::read_to_string(file).is_ok_and(|text| text.contains(concat!("\"MAINSTAY_FAIL", "POINT")));
    let reading: Vec<PathBuf> =
        programs().into_iter().filter(|file| !["tests.rs", "trial.rs"].iter().any(|of_tests| file.ends_with(of_tests)) && reads(file)).collect();
    assert_eq!(reading, [root().join("client/src/failpoint/armed.rs")]);
    let module = std::fs::read_to_string(root().join("client/src/failpoint.rs")).expect("the module");
    assert!(module.contains("#[cfg(debug_assertions)]\nmod armed;"), "it is of a build for tests only");
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace");
    assert!(!manifest.contains("debug-assertions"), "no profile that ships turns them on");
}
