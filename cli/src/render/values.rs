//! Values of parameters and inputs, as somebody would write them in a plan.

use mainstay_core::certificate::RootCertificate;
use serde_json::{Map, Value};

/// Words of a value that are shown; what is longer is for `-o json`.
const TEXT_MAX: usize = 400;

/// `name value` for each parameter: the command first, as a shell shows it, then the others in YAML's short form.
#[must_use]
pub fn parameters(json: &str) -> Vec<String> {
    let with: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
    let (mut commands, others): (Vec<_>, Vec<_>) = with.iter().partition(|(name, value)| is_command(name, value));
    commands.extend(others);
    let written = |(name, value): (&String, &Value)| match value.as_str().and_then(certificate) {
        _ if is_command(name, value) => command(value),
        Some(words) => words,
        None => format!("{name} {}", short(value)),
    };
    commands.into_iter().map(written).collect()
}

fn is_command(name: &str, value: &Value) -> bool {
    name == "command" && value.is_array()
}

/// The arguments as one would type them.
fn command(value: &Value) -> String {
    let words = value.as_array().into_iter().flatten();
    let words: Vec<String> = words.map(|word| word.as_str().map_or_else(|| word.to_string(), quoted)).collect();
    cut(words.join(" "))
}

/// A word as a shell takes it for one.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,^".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// A value in YAML's short form.
#[must_use]
pub fn short(value: &Value) -> String {
    cut(flow(value))
}

/// The same, of JSON text; as it is where it is none.
#[must_use]
pub fn short_json(json: &str) -> String {
    serde_json::from_str(json).map_or_else(|_| cut(json.to_owned()), |value: Value| short(&value))
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => certificate(text).unwrap_or_else(|| scalar(text)),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {}", flow(value))).collect();
            if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) }
        }
        other => other.to_string(),
    }
}

/// A certificate by the root that it is: nobody reads its letters.
fn certificate(text: &str) -> Option<String> {
    // One that this program has written begins with the checksum of its file.
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    if !first.starts_with("-----BEGIN CERTIFICATE-----") {
        return None;
    }
    Some(RootCertificate::read(text).map_or_else(|error| error.to_string(), |root| format!("certificate of root {}", root.id)))
}

/// A text, in quotes where its ends could not be seen, or where it would be read as something else.
fn scalar(text: &str) -> String {
    let unclear =
        text.is_empty() || text.trim() != text || serde_json::from_str::<Value>(text).is_ok() || text.contains(['\n', '"', '[', ']', '{', '}']);
    if unclear && !text.contains("${{") { Value::String(text.to_owned()).to_string() } else { text.to_owned() }
}

fn cut(text: String) -> String {
    if text.chars().count() <= TEXT_MAX { text } else { text.chars().take(TEXT_MAX).chain(std::iter::once('…')).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_read_as_they_are_written() {
        let with = r#"{"since":"24h","command":["/usr/bin/logger","maintenance begins"],"disk":{"warning":"75%","critical":90},"files":["a","b c"]}"#;
        assert_eq!(parameters(with), ["/usr/bin/logger 'maintenance begins'", "disk { critical: 90, warning: 75% }", "files [a, b c]", "since 24h"]);
        assert_eq!(parameters("{}"), Vec::<String>::new());
    }

    #[test]
    fn a_certificate_is_told_by_the_root_that_it_is() {
        let pem = include_str!("../../../core/tests/fixtures/root.pem");
        let json = serde_json::json!({ "certificate": pem }).to_string();
        assert_eq!(parameters(&json), ["certificate of root a55b4a4976242c73"]);
        assert_eq!(short(&Value::String(pem.to_owned())), "certificate of root a55b4a4976242c73");
        assert_eq!(short(&Value::String(format!("# checksum 1\n{pem}"))), "certificate of root a55b4a4976242c73");
        assert!(short(&Value::String(pem[..100].to_owned())).starts_with("this is not the certificate of a root"));
    }

    #[test]
    fn a_text_that_looks_like_something_else_is_quoted() {
        for (json, text) in
            [("\"3\"", "\"3\""), ("3", "3"), ("\"\"", "\"\""), ("\"shop/web:2\"", "shop/web:2"), ("\"true\"", "\"true\""), ("[]", "[]")]
        {
            assert_eq!(short_json(json), text);
        }
        assert_eq!(short_json(r#""${{ inputs.image }}""#), "${{ inputs.image }}");
        assert!(short_json(&format!("\"{}\"", "a".repeat(1_000))).chars().count() <= 401);
    }

    #[test]
    fn a_shell_takes_a_quoted_word_for_one() {
        assert_eq!([quoted("a=b"), quoted("it's"), quoted(""), quoted("${{ x }}")], ["a=b", r"'it'\''s'", "''", "'${{ x }}'"]);
    }
}
