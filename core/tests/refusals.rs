//! What is refused, and how it is told: a table of wrong documents with every problem of each, by line and
//! column. The cases are text files in `refusals/`: a line `=== what it is about`, the document, a line
//! `>>>`, the problems. A document that begins with `spec:` stands below a good header of three lines.
//! `UPDATE=1 cargo test -p mainstay-core --test refusals` writes what is said now; read it before it is kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};

use mainstay_core::plan::parse;

const HEADER: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: p }\n";

struct Case {
    title: String,
    document: String,
    problems: String,
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/refusals");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn cases(text: &str) -> Vec<Case> {
    let sections = text.split("\n=== ").map(|section| section.trim_start_matches("=== "));
    let case = |section: &str| {
        let section = format!("{section}\n");
        let (title, rest) = section.split_once('\n').unwrap();
        let (document, problems) = rest.split_once("\n>>>\n").unwrap_or((rest, ""));
        Case { title: title.to_owned(), document: format!("{}\n", document.trim_end()), problems: problems.trim_end().to_owned() }
    };
    sections.map(case).collect()
}

/// Each problem as a person reads it.
fn told(case: &Case) -> String {
    let source = if case.document.starts_with("spec:") { format!("{HEADER}{}", case.document) } else { case.document.clone() };
    match parse(&source) {
        Ok(_) => "taken".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_wrong_document_is_told_as_the_table_says() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut written = String::new();
        for case in cases(&text) {
            count += 1;
            let said = told(&case);
            written += &format!("=== {}\n{}>>>\n{said}\n\n", case.title, case.document);
            if said == "taken" || said != case.problems {
                wrong.push(format!("{}: {}\n  expected\n{}\n  said\n{said}", file.display(), case.title, case.problems));
            }
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, format!("{}\n", written.trim_end())).unwrap();
        }
    }
    assert!(count >= 60, "{count} cases");
    assert!(wrong.is_empty() || std::env::var_os("UPDATE").is_some(), "{}", wrong.join("\n\n"));
}
