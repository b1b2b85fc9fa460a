//! What differs between two plans, in the plan's own words: steps by name, gates, schedules, inputs and the rest.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::render::values::short;

/// One thing that is there in one of two plans only, or in both and not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    pub change: Kind,
    /// `step smoke`, `gate approval { by: admin }`
    pub what: String,
    /// What of it, where it is in both.
    pub details: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    Added,
    Removed,
    Changed,
}

/// From the old document to the new one.
#[must_use]
pub fn changes(old: &Value, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    fields("", old.get("metadata"), new.get("metadata"), &[], &mut changes);
    let (old, new) = (old.get("spec"), new.get("spec"));
    let part = |document: Option<&'_ Value>, name: &str| document.and_then(|document| document.get(name)).cloned();
    named("input", &by_key(part(old, "inputs")), &by_key(part(new, "inputs")), &mut changes);
    let (before, after) = (by_name(part(old, "steps")), by_name(part(new, "steps")));
    named("step", &before, &after, &mut changes);
    order(&before, &after, &mut changes);
    for (list, noun) in [("gates", "gate"), ("schedules", "schedule"), ("notify", "notice")] {
        for (change, entry) in entries(part(old, list).as_ref(), part(new, list).as_ref()) {
            changes.push(Change { change, what: format!("{noun} {entry}"), details: Vec::new() });
        }
    }
    fields("", old, new, &["inputs", "steps", "gates", "schedules", "notify"], &mut changes);
    changes
}

/// Things that have a name, in the order of their document.
type Named = Vec<(String, Value)>;

fn by_name(list: Option<Value>) -> Named {
    let name = |entry: &Value| entry.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    list.as_ref().and_then(Value::as_array).into_iter().flatten().map(|entry| (name(entry), entry.clone())).collect()
}

fn by_key(map: Option<Value>) -> Named {
    match map {
        Some(Value::Object(fields)) => fields.into_iter().collect(),
        _ => Vec::new(),
    }
}

fn named(noun: &str, old: &Named, new: &Named, changes: &mut Vec<Change>) {
    let find = |all: &Named, name: &str| all.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
    for (name, value) in new {
        let uses = value.get("uses").and_then(Value::as_str).map_or_else(String::new, |uses| format!(" ({uses})"));
        match find(old, name) {
            None => changes.push(Change { change: Kind::Added, what: format!("{noun} {name}{uses}"), details: Vec::new() }),
            Some(before) => {
                let mut details = Vec::new();
                differences("", Some(&before), Some(value), &mut details);
                if !details.is_empty() {
                    changes.push(Change { change: Kind::Changed, what: format!("{noun} {name}"), details });
                }
            }
        }
    }
    for (name, _) in old.iter().filter(|(name, _)| find(new, name).is_none()) {
        changes.push(Change { change: Kind::Removed, what: format!("{noun} {name}"), details: Vec::new() });
    }
}

/// Steps that are in both, and change places.
fn order(old: &Named, new: &Named, changes: &mut Vec<Change>) {
    let in_both = |one: &Named, other: &Named| -> Vec<String> {
        one.iter().map(|(name, _)| name).filter(|name| other.iter().any(|(own, _)| own == *name)).cloned().collect()
    };
    let (before, after) = (in_both(old, new), in_both(new, old));
    if before != after {
        changes.push(Change { change: Kind::Changed, what: "order of steps".to_owned(), details: vec![after.join(", ")] });
    }
}

/// Entries of two lists that are in one of them only.
fn entries(old: Option<&Value>, new: Option<&Value>) -> Vec<(Kind, String)> {
    let all = |list: Option<&Value>| list.and_then(Value::as_array).into_iter().flatten().map(short).collect::<Vec<_>>();
    let (old, new) = (all(old), all(new));
    let added = new.iter().filter(|entry| !old.contains(entry)).map(|entry| (Kind::Added, entry.clone()));
    let removed = old.iter().filter(|entry| !new.contains(entry)).map(|entry| (Kind::Removed, entry.clone()));
    removed.chain(added).collect()
}

/// Fields of a document's part, each a change of its own.
fn fields(prefix: &str, old: Option<&Value>, new: Option<&Value>, except: &[&str], changes: &mut Vec<Change>) {
    let empty = Map::new();
    let map = |part: Option<&'_ Value>| part.and_then(Value::as_object).cloned().unwrap_or_else(|| empty.clone());
    let (old, new) = (map(old), map(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).filter(|name| !except.contains(&name.as_str())).collect();
    for name in names {
        let mut details = Vec::new();
        differences(&format!("{prefix}{name}"), old.get(name), new.get(name), &mut details);
        if let [first, ..] = details.as_slice() {
            let whole = details.len() == 1 && !old.get(name).is_some_and(Value::is_object);
            let what = if whole { first.clone() } else { name.clone() };
            changes.push(Change { change: Kind::Changed, what, details: if whole { Vec::new() } else { details } });
        }
    }
}

/// What is not the same, by its path.
fn differences(path: &str, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (old, new) {
        (old, new) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            names.into_iter().for_each(|name| differences(&below(name), old.get(name), new.get(name), out));
        }
        (old, new) if path == "gates" => {
            for (kind, entry) in entries(old, new) {
                out.push(format!("gate {}: {entry}", if kind == Kind::Added { "added" } else { "removed" }));
            }
        }
        (None, Some(new)) => out.push(format!("{path} added: {}", short(new))),
        (Some(old), None) => out.push(format!("{path} removed: {}", short(old))),
        (Some(old), Some(new)) => out.push(format!("{path}: {} → {}", short(old), short(new))),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn between(old: &str, new: &str) -> Vec<String> {
        let read = |text: &str| yaml::read::<Value>(text).unwrap_or_else(|error| panic!("{error:?}"));
        changes(&read(old), &read(new))
            .into_iter()
            .map(|change| {
                format!("{:?} {}{}{}", change.change, change.what, if change.details.is_empty() { "" } else { ": " }, change.details.join("; "))
            })
            .collect()
    }

    const OLD: &str = "
metadata: { name: weekly, description: as it was }
spec:
  concurrency: forbid
  strategy: { maxUnavailable: 1, soak: 5m }
  gates:
    - window: { from: '22:00', to: '06:00', zone: UTC }
  inputs:
    service: { type: text }
  schedules:
    - cron: 0 3 * * *
  steps:
    - { name: look, uses: node.resources }
    - { name: restart, uses: node.exec, needs: [look], timeout: 5m, with: { command: [a, b] } }
    - { name: old, uses: wait, with: { for: 1s } }
";

    #[test]
    fn each_change_is_named_in_the_plans_words() {
        let new = "
metadata: { name: weekly, description: as it is }
spec:
  strategy: { maxUnavailable: 25%, soak: 5m }
  gates:
    - window: { from: '22:00', to: '05:00', zone: UTC }
  inputs:
    service: { type: text, default: web }
    batch: { type: integer, default: 5 }
  schedules:
    - cron: 0 4 * * *
  steps:
    - name: restart
      uses: node.exec
      needs: [look]
      timeout: 10m
      gates: [{ approval: { by: admin } }]
      with: { command: [a, c] }
    - { name: look, uses: node.resources }
    - { name: smoke, uses: http.check, with: { url: 'https://shop.example' } }
";
        assert_eq!(
            between(OLD, new),
            [
                "Changed description: as it was → as it is",
                "Added input batch",
                "Changed input service: default added: web",
                "Changed step restart: gate added: { approval: { by: admin } }; timeout: 5m → 10m; with.command: [a, b] → [a, c]",
                "Added step smoke (http.check)",
                "Removed step old",
                "Changed order of steps: restart, look",
                "Removed gate { window: { from: 22:00, to: 06:00, zone: UTC } }",
                "Added gate { window: { from: 22:00, to: 05:00, zone: UTC } }",
                "Removed schedule { cron: 0 3 * * * }",
                "Added schedule { cron: 0 4 * * * }",
                "Changed concurrency removed: forbid",
                "Changed strategy: strategy.maxUnavailable: 1 → 25%",
            ]
        );
    }

    #[test]
    fn what_is_only_written_otherwise_is_no_change() {
        assert_eq!(
            between(OLD, &format!("# a comment\n{OLD}").replace("{ maxUnavailable: 1, soak: 5m }", "{soak: 5m,  maxUnavailable: 1}")),
            [""; 0]
        );
    }
}
