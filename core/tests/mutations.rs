//! Whatever is given as a plan is taken or refused in words: no text ends the reader.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mainstay_core::plan::parse;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const GOOD: [&str; 5] = [
    include_str!("plans/whole.yaml"),
    include_str!("../../deploy/plans/daily.yaml"),
    include_str!("../../deploy/examples/rolling-restart.yaml"),
    include_str!("../../deploy/examples/nightly-check.yaml"),
    include_str!("../../deploy/examples/with-approval.yaml"),
];

/// What YAML, the language or its expressions give a meaning to.
const PIECES: [&str; 48] = [
    "${{",
    "}}",
    "${{ inputs.service }}",
    "${{ \"}}\" }}",
    "&a ",
    "*a",
    "<<: *a",
    "|",
    ">-",
    "!!str ",
    "!x ",
    "- ",
    "-",
    ": ",
    ":",
    "\t",
    "{",
    "}",
    "[",
    "]",
    ",",
    "#",
    "null",
    "~",
    ".nan",
    "0x1F",
    "1e309",
    "-1",
    "99999999999999999999",
    "true",
    "on",
    "\u{feff}",
    "\u{0}",
    "\"",
    "'",
    "\\",
    "\n",
    "\n\n      ",
    "\r\n",
    "---\n",
    "...\n",
    "inputs.",
    "steps[\"",
    "steps.check.outputs.",
    "ä€🜁",
    "a.map(x, x)",
    "((((((((",
    "%",
];

/// One change of a text.
#[derive(Debug, Clone)]
enum Change {
    Delete(Index, usize),
    Insert(Index, &'static str),
    Double(Index, usize),
    Swap(Index, Index),
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), 1..12_usize).prop_map(|(at, length)| Change::Delete(at, length)),
        (any::<Index>(), select(PIECES.to_vec())).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (any::<Index>(), 1..4_usize).prop_map(|(at, lines)| Change::Double(at, lines)),
        (any::<Index>(), any::<Index>()).prop_map(|(one, other)| Change::Swap(one, other)),
        any::<Index>().prop_map(Change::Cut),
    ]
}

fn changed(text: &str, change: &Change) -> String {
    let characters: Vec<char> = text.chars().collect();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    if characters.is_empty() {
        return String::new();
    }
    match change {
        Change::Delete(at, length) => {
            let at = at.index(characters.len());
            characters[..at].iter().chain(&characters[(at + length).min(characters.len())..]).collect()
        }
        Change::Insert(at, piece) => {
            let at = at.index(characters.len());
            characters[..at].iter().copied().chain(piece.chars()).chain(characters[at..].iter().copied()).collect()
        }
        Change::Double(at, count) => {
            let at = at.index(lines.len());
            let to = (at + count).min(lines.len());
            [&lines[..to], &lines[at..]].concat().concat()
        }
        Change::Swap(one, other) => {
            let mut lines = lines;
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
            lines.concat()
        }
        Change::Cut(at) => characters[..at.index(characters.len())].iter().collect(),
    }
}

/// Taken with all that it says, or refused in words that point into it.
fn judged(text: &str) {
    match parse(text) {
        Ok(plan) => {
            assert_eq!(plan.source, text);
            assert_eq!(parse(&plan.source).as_ref(), Ok(&plan), "the same text is the same plan");
            assert!(plan.weight() > 0 && !plan.steps.is_empty());
        }
        Err(error) => {
            let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() as u64;
            assert!(!error.problems.is_empty());
            for problem in &error.problems {
                assert!(!problem.message.trim().is_empty());
                assert!(problem.line <= lines + 1, "line {} of {lines}: {}", problem.line, problem.message);
                assert!(problem.message.len() < 2_000, "{} bytes", problem.message.len());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn good_plans_that_were_changed_are_judged(good in select(GOOD.to_vec()), changes in prop::collection::vec(change(), 1..6)) {
        judged(&changes.iter().fold(good.to_owned(), |text, change| changed(&text, change)));
    }

    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        judged(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_pieces_in_an_expression_are_judged(pieces in prop::collection::vec(select(PIECES.to_vec()), 0..12), block in any::<bool>()) {
        let text = pieces.concat();
        let value = if block { format!("|\n        {}", text.replace(['\n', '\r'], " ")) } else { format!("{:?}", text) };
        judged(&format!(
            "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: p }}\nspec:\n  inputs: {{ service: {{ type: text }} }}\n  steps:\n    \
             - name: check\n      uses: node.exec\n      if: {value}\n      with:\n        command: [a, b]\n        workingDirectory: {value}\n"
        ));
    }
}
