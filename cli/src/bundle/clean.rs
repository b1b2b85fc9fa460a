//! Takes out what nobody else is to see: by its shape, as everywhere, and where a field's name says what it is.

use mainstay_core::redact::{MARK, Redactor, redact, visible};
use serde_json::Value;

/// Lines without their credentials; a private key goes over all of its lines.
pub fn text(text: &str) -> String {
    let mut redactor = Redactor::default();
    after_cut_key(text).lines().filter_map(|line| redactor.line(line)).fold(String::with_capacity(text.len()), |all, line| all + &line + "\n")
}

/// What follows a private key whose beginning was cut off: nothing else says that its lines are one.
fn after_cut_key(text: &str) -> &str {
    let end = text.find("PRIVATE KEY-----").filter(|at| text[..*at].rsplit('\n').next().is_some_and(|line| line.contains("-----END ")));
    match end {
        Some(end) if !text[..end].contains("-----BEGIN ") => text[end..].split_once('\n').map_or("", |(_, rest)| rest),
        _ => text,
    }
}

/// Every text of a value without its credentials, and no value of a field that is named like one.
pub fn json(value: &mut Value) {
    match value {
        Value::String(text) => *text = redact(&visible(text)).into_owned(),
        Value::Array(items) => items.iter_mut().for_each(json),
        Value::Object(fields) => {
            for (name, field) in std::mem::take(fields) {
                let mut field = if is_secret(&name) && !is_empty(&field) { Value::String(MARK.to_owned()) } else { field };
                json(&mut field);
                fields.insert(redact(&visible(&name)).into_owned(), field);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Settings as TOML: without comments, without secrets, and of each connection its kind alone.
pub fn settings(text: &str) -> Result<String, String> {
    // The parser's own message shows the line, and a secret may be in it.
    let unread = |_| "it is not TOML, so what is secret in it cannot be told".to_owned();
    let table: toml::Table = toml::from_str(text).map_err(unread)?;
    let mut value = serde_json::to_value(table).map_err(|error| error.to_string())?;
    if let Some(Value::Object(connections)) = value.get_mut("connections") {
        for connection in connections.values_mut() {
            let kind = connection.get("kind").cloned().unwrap_or(Value::Null);
            *connection = serde_json::json!({ "kind": kind.as_str().unwrap_or("?"), "and": "left out" });
        }
    }
    json(&mut value);
    toml::to_string(&value).map_err(|error| error.to_string())
}

/// The redactor knows which names are those of secrets.
fn is_secret(name: &str) -> bool {
    redact(&format!("{name}=x")).ends_with(MARK)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Null | Value::Bool(_) => true,
        Value::Number(_) => false,
    }
}
