//! The document of a plan that an object is: always the same text for the same spec, so that its digest says whether the
//! mesh has it already.

use mainstay_core::plan::{API_VERSION, DOCUMENT_KIND};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// One value or opening bracket a line, so that a line is a field.
pub fn source(name: &str, spec: &Value) -> String {
    let mut document = json!({ "apiVersion": API_VERSION, "kind": DOCUMENT_KIND, "metadata": { "name": name }, "spec": spec });
    document.sort_all_objects();
    format!("{document:#}\n")
}

/// As the mesh makes it of a plan's source.
pub fn digest(source: &str) -> String {
    Sha256::digest(source.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Which field of an object the line of its document is: `spec.steps[1].uses`. Empty where it is none.
pub fn field_at(source: &str, line: u32) -> String {
    // Of each bracket that is open: the field that it is, and for a list the number of the item.
    let mut open: Vec<(String, Option<usize>)> = Vec::new();
    for (number, text) in (1..).zip(source.lines()) {
        let text = text.trim().trim_end_matches(',');
        if let (Some((_, Some(item))), false) = (open.last_mut(), text.starts_with([']', '}'])) {
            *item += 1;
        }
        let (name, value) = named(text);
        if number == line {
            return path(&open, name);
        }
        match value {
            "{" => open.push((name.to_owned(), None)),
            "[" => open.push((name.to_owned(), Some(0))),
            "}" | "]" => drop(open.pop()),
            _ => {}
        }
    }
    String::new()
}

/// The key of a line, where it has one, and what comes after it. A key with a quote in it is no field of a plan.
fn named(text: &str) -> (&str, &str) {
    let key = text.strip_prefix('"').and_then(|rest| rest.split_once("\": "));
    key.filter(|(key, _)| !key.contains('"')).unwrap_or(("", text))
}

/// What is open on the way to a name, the last list's item being the one that the line is.
fn path(open: &[(String, Option<usize>)], name: &str) -> String {
    let mut path = String::new();
    for (field, item) in open {
        add(&mut path, field);
        if let Some(item) = item {
            // Counted from 1 as they came.
            path.push_str(&format!("[{}]", item.saturating_sub(1)));
        }
    }
    add(&mut path, name);
    path
}

fn add(path: &mut String, field: &str) {
    if field.is_empty() {
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(field);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_spec_is_the_same_document() {
        let spec = json!({ "steps": [{ "uses": "approval", "name": "a" }] });
        let other: Value = serde_json::from_str(r#"{"steps":[{"name":"a","uses":"approval"}]}"#).unwrap_or_default();
        assert_eq!(source("p", &spec), source("p", &other));
        assert_ne!(digest(&source("p", &spec)), digest(&source("q", &spec)));
        let plan = mainstay_core::plan::parse(&source("p", &spec));
        assert_eq!(plan.map(|plan| plan.digest), Ok(digest(&source("p", &spec))), "the mesh reads it, and has the same digest");
    }

    #[test]
    fn a_line_is_a_field() {
        let spec = json!({
            "gates": [{ "window": { "from": "1" } }, {}],
            "steps": [{ "name": "a", "needs": ["x", "y"] }, { "name": "b", "with": { "list": [[1, 2], [3]] } }],
        });
        let text = source("p", &spec);
        let at = |words: &str, nth: usize| {
            let found = (1..).zip(text.lines()).filter(|(_, line)| line.contains(words)).nth(nth);
            found.map(|(line, _)| field_at(&text, line))
        };
        for (words, nth, field) in [
            ("apiVersion", 0, "apiVersion"),
            ("\"name\": \"p\"", 0, "metadata.name"),
            ("\"from\"", 0, "spec.gates[0].window.from"),
            ("{}", 0, "spec.gates[1]"),
            ("\"name\": \"a\"", 0, "spec.steps[0].name"),
            ("\"y\"", 0, "spec.steps[0].needs[1]"),
            ("\"name\": \"b\"", 0, "spec.steps[1].name"),
            ("3", 0, "spec.steps[1].with.list[1][0]"),
            ("\"spec\"", 0, "spec"),
        ] {
            assert_eq!(at(words, nth).as_deref(), Some(field), "{words} in\n{text}");
        }
        assert_eq!((field_at(&text, 0), field_at(&text, 999)), (String::new(), String::new()));
    }
}
