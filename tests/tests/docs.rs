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
            let nested =
                ["backup", "node", "member", "run", "finding", "lease", "plan", "token", "operator", "mesh", "context", "connection"].contains(first);
            let words: Vec<&str> = if nested { verbs.clone() } else { vec![*first] };
            let output = mainstay(&[words.as_slice(), &["--help"]].concat());
            assert!(output.status.success(), "{}: `mainstay {command}`: {}", document.display(), String::from_utf8_lossy(&output.stderr));
            tried += 1;
        }
    }
    assert!(tried > 5, "the README shows verbs");
}

/// What links to a heading call it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let mut tried = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.contains("://")) {
            let (file, place) = link.split_once('#').map_or((link, None), |(file, place)| (file, Some(place)));
            let path = if file.is_empty() { document.clone() } else { document.parent().expect("its folder").join(file) };
            assert!(path.exists(), "{} links to {link}, which is not there", document.display());
            let Some(place) = place else { continue };
            let there = fs::read_to_string(&path).expect("a document");
            let found = there.lines().any(|line| line.starts_with('#') && anchor(line) == place);
            assert!(found, "{} links to {link}, and no heading of {} is called so", document.display(), path.display());
            tried += 1;
        }
    }
    assert!(tried > 5, "documents link to headings: {tried}");
}

/// Words of the system itself, which no program of the mesh has in its text.
const SYSTEM: [&str; 1] = ["Connection refused"];

/// Who looks for a symptom searches for what they saw: the words stand in a program as the page has them.
#[test]
fn what_the_page_of_symptoms_quotes_is_what_programs_say() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).expect("the page");
    let sources = sources();
    let mut tried = 0;
    for row in page.split("| it says | then |").skip(1).flat_map(|table| table.lines().skip(1).take_while(|line| line.starts_with('|'))) {
        let cell = row.split('|').nth(1).unwrap_or_default();
        for quote in cell.split('`').skip(1).step_by(2) {
            // What follows is filled in.
            let quote = quote.trim_end_matches('…').trim_end();
            assert!(SYSTEM.contains(&quote) || sources.contains(quote), "no program says `{quote}`");
            tried += 1;
        }
    }
    assert!(tried > 15, "the page has {tried} symptoms");
}

/// The text of all programs, tests of theirs left out as far as they are files of their own.
fn sources() -> String {
    let mut text = String::new();
    let mut folders: Vec<PathBuf> = ["core", "client", "coordinator", "agent", "cli"].map(|part| root().join(part).join("src")).into();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("a folder of sources").flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && path.file_name().is_some_and(|name| name != "tests.rs") {
                text += &fs::read_to_string(path).expect("a source");
            }
        }
    }
    text
}
