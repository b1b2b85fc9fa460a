//! What the documents say is tried.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mainstay_core::plan;
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

/// Inputs of the plans that come with the program, by the plans' names.
fn bundled() -> BTreeMap<String, BTreeSet<String>> {
    let files = plans().into_iter().map(|file| fs::read_to_string(file).expect("a plan"));
    let parsed = files.map(|text| plan::parse(&text).expect("a bundled plan is sound"));
    parsed.map(|plan| (plan.name.to_string(), plan.inputs.keys().cloned().collect())).collect()
}

fn plans() -> Vec<PathBuf> {
    fs::read_dir(root().join("deploy/plans")).expect("deploy/plans").flatten().map(|entry| entry.path()).collect()
}

/// Commands of a text, one a line: what goes on after a backslash is one with it, also in the comment at a plan's head.
fn commands(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines().map(|line| line.trim_start_matches(['#', '$', ' '])) {
        let so_far = open.take().unwrap_or_default() + line.trim_end_matches('\\') + " ";
        if line.ends_with('\\') { open = Some(so_far) } else { all.push(so_far) }
    }
    all
}

/// Plan and inputs of a command that starts one or shows what it would do.
fn sets(command: &str) -> Option<(&str, Vec<&str>)> {
    let rest = ["run start ", "plan preview "].iter().find_map(|verb| command.split_once(&format!("mainstay {verb}")))?.1;
    // A command within a sentence ends with its mark.
    let rest = rest.split('`').next().unwrap_or(rest);
    let names = rest.split("--set ").skip(1).filter_map(|set| set.trim_start_matches('\'').split_once('=')).map(|(name, _)| name);
    Some((rest.split_whitespace().next()?, names.collect()))
}

/// The first thing that is tried of a plan is what its page shows.
#[test]
fn every_input_that_the_documents_set_is_one_of_its_plan() {
    let bundled = bundled();
    let mut tried = BTreeSet::new();
    for document in documents().into_iter().chain(plans()) {
        for command in commands(&fs::read_to_string(&document).expect("a document")) {
            let Some((name, inputs)) = sets(&command) else { continue };
            let Some(known) = bundled.get(name) else { continue };
            for input in inputs {
                assert!(known.contains(input), "{}: `--set {input}=`: {name} has no such input: {known:?}", document.display());
                tried.insert((name.to_owned(), input.to_owned()));
            }
        }
    }
    for (name, input) in [("rolling-update", "space"), ("blue-green", "url"), ("disaster-recovery", "cacheInto"), ("node-maintenance", "command")] {
        assert!(tried.contains(&(name.to_owned(), input.to_owned())), "the documents set {input} of {name}: {tried:?}");
    }
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
