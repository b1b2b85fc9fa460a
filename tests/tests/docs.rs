//! What the documents say is tried.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mainstay_tests::up::binaries;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).expect("docs/").flatten().map(|entry| entry.path());
    let mut all: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    all.extend([root().join("README.md"), root().join("ARCHITECTURE.md")]);
    all
}

/// Blocks of one language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    text.split(&format!("```{language}\n")).skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

fn mainstay(args: &[&str]) -> std::process::Output {
    Command::new(binaries().join("mainstay")).args(args).output().expect("the CLI runs")
}

#[test]
fn every_plan_in_the_documents_is_valid() {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut tried = 0;
    for document in documents() {
        for plan in blocks(&fs::read_to_string(&document).expect("a document"), "yaml").iter().filter(|block| block.contains("MaintenancePlan")) {
            let file = scratch.path().join("plan.yaml");
            fs::write(&file, plan).expect("the plan");
            let output = mainstay(&["plan", "validate", &file.display().to_string()]);
            assert!(output.status.success(), "{}: {}", document.display(), String::from_utf8_lossy(&output.stderr));
            tried += 1;
        }
    }
    assert!(tried > 0, "there is a plan in the README");
}

#[test]
fn every_verb_in_the_documents_exists() {
    let mut tried = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        for command in text.split('`').skip(1).step_by(2).filter_map(|code| code.strip_prefix("mainstay ")) {
            let verbs: Vec<&str> = command
                .split_whitespace()
                .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-'))
                .take(2)
                .collect();
            let Some(first) = verbs.first() else { continue };
            let nested = ["node", "member", "run", "finding", "lease", "plan", "token", "operator", "mesh", "context"].contains(first);
            let words: Vec<&str> = if nested { verbs.clone() } else { vec![*first] };
            let output = mainstay(&[words.as_slice(), &["--help"]].concat());
            assert!(output.status.success(), "{}: `mainstay {command}`: {}", document.display(), String::from_utf8_lossy(&output.stderr));
            tried += 1;
        }
    }
    assert!(tried > 5, "the README shows verbs");
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        for target in
            text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|target| !target.contains("://") && !target.starts_with('#'))
        {
            let path = document.parent().expect("its folder").join(target);
            assert!(path.exists(), "{} links to {target}, which is not there", document.display());
        }
    }
}
