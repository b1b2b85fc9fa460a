//! What a rollout changes, in words. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::work::text;

/// Lines that are shown.
const LINES_MAX: usize = 20;
/// Longest value that is shown.
const SHOWN: usize = 80;

/// One line for each place that differs, such as `containers[app].image: shop/web:1 → shop/web:2`. What a variable is set
/// to is not shown: it may be a secret.
pub fn changes(before: &Value, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", before, after, &mut lines);
    let more = lines.len().saturating_sub(LINES_MAX);
    lines.truncate(LINES_MAX);
    lines.extend((more > 0).then(|| format!("and {more} more")));
    lines
}

fn compare(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(before), Value::Object(after)) => {
            let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let of = |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(&path, &of(before), &of(after), lines);
            }
        }
        (Value::Array(one), Value::Array(other)) => match (by_name(one), by_name(other)) {
            (Some(one), Some(other)) => {
                let mut names: Vec<&&str> = one.keys().chain(other.keys()).collect();
                names.sort();
                names.dedup();
                for name in names {
                    let of = |all: &BTreeMap<&str, &Value>| all.get(*name).map_or(Value::Null, |item| (*item).clone());
                    compare(&format!("{path}[{name}]"), &of(&one), &of(&other), lines);
                }
            }
            _ => lines.push(line(path, before, after)),
        },
        _ => lines.push(line(path, before, after)),
    }
}

/// The items of a list by their names, where each has one of its own.
fn by_name(items: &[Value]) -> Option<BTreeMap<&str, &Value>> {
    let all: BTreeMap<&str, &Value> = items.iter().map(|item| (text(item, "/name"), item)).collect();
    (all.len() == items.len() && !all.contains_key("")).then_some(all)
}

fn line(path: &str, before: &Value, after: &Value) -> String {
    let is_hidden = path.contains(".env[") || path.ends_with(".env") || path.ends_with(".command") || path.ends_with(".args");
    let shown = |value: &Value| {
        let whole = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match whole.char_indices().nth(SHOWN) {
            Some((at, _)) => format!("{}…", &whole[..at]),
            None => whole,
        }
    };
    match (before, after) {
        (Value::Null, _) if is_hidden => format!("{path}: set"),
        (_, Value::Null) if is_hidden => format!("{path}: taken away"),
        _ if is_hidden => format!("{path}: changed"),
        (Value::Null, after) => format!("{path}: {}", shown(after)),
        (before, Value::Null) => format!("{path}: {} → taken away", shown(before)),
        (before, after) => format!("{path}: {} → {}", shown(before), shown(after)),
    }
}
