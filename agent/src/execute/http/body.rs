//! Rules for a body, held against it piece by piece as it comes, so that it need not be kept.

use memchr::memmem;
use serde_json::{Map, Value};

use crate::execute::wording;

/// Read of a body; what a check looks for stands before this.
const READ_BYTES: usize = 1 << 20;
/// Kept of a body whose JSON is looked at: many are at once.
const JSON_BYTES: usize = 256 << 10;
/// Shown of a text of the plan's or the body's.
const SHOWN_CHARS: usize = 80;

/// What a body must be like.
#[derive(Debug, Clone, Default)]
pub(super) struct BodyRules {
    contains: Option<String>,
    not_contains: Option<String>,
    /// JSON pointer and value.
    json: Vec<(String, Value)>,
    max_bytes: Option<usize>,
}

/// One body that is coming in.
pub(super) struct Body<'a> {
    rules: &'a BodyRules,
    seen: usize,
    contains: Option<Search<'a>>,
    not_contains: Option<Search<'a>>,
    /// The body as far as its JSON is looked at.
    kept: Vec<u8>,
}

impl BodyRules {
    /// # Errors
    /// A pointer that is none.
    pub(super) fn new(
        contains: Option<String>,
        not_contains: Option<String>,
        json: Map<String, Value>,
        max_bytes: Option<u64>,
    ) -> Result<BodyRules, String> {
        if let Some(pointer) = json.keys().find(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            return Err(format!("`{pointer}` in `json` is not a JSON pointer: did you mean `/{}`?", pointer.replace('.', "/")));
        }
        if let Some((pointer, _)) = json.iter().find(|(_, value)| value.is_object() || value.is_array()) {
            return Err(format!("`{pointer}` in `json` is compared with one value, not with a list or a map"));
        }
        let max_bytes = max_bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(BodyRules { contains, not_contains, json: json.into_iter().collect(), max_bytes })
    }

    /// Whether there is a rule that needs a body.
    pub(super) fn looks_inside(&self) -> bool {
        self.contains.is_some() || self.not_contains.is_some() || !self.json.is_empty()
    }

    pub(super) fn begin(&self) -> Body<'_> {
        Body {
            rules: self,
            seen: 0,
            contains: self.contains.as_deref().map(Search::new),
            not_contains: self.not_contains.as_deref().map(Search::new),
            kept: Vec::new(),
        }
    }

    /// How much of a body is read.
    fn enough(&self) -> usize {
        self.max_bytes.map_or(READ_BYTES, |most| READ_BYTES.max(most.saturating_add(1)))
    }
}

impl Body<'_> {
    /// Takes the next piece; whether more of the body is wanted.
    pub(super) fn take(&mut self, piece: &[u8]) -> bool {
        self.seen = self.seen.saturating_add(piece.len());
        for search in [&mut self.contains, &mut self.not_contains].into_iter().flatten() {
            search.take(piece);
        }
        if !self.rules.json.is_empty() && self.kept.len() <= JSON_BYTES {
            self.kept.extend_from_slice(&piece[..piece.len().min(JSON_BYTES + 1 - self.kept.len())]);
        }
        self.seen < self.rules.enough()
    }

    /// What is wrong with it.
    pub(super) fn problems(self) -> Vec<String> {
        let mut problems = Vec::new();
        let part = if self.seen >= self.rules.enough() {
            format!("the first {} of the body", wording::bytes(self.rules.enough() as u64))
        } else {
            "the body".to_owned()
        };
        if let Some(most) = self.rules.max_bytes.filter(|most| self.seen > *most) {
            problems.push(format!("the body is larger than {}", wording::bytes(most as u64)));
        }
        if let (Some(text), Some(false)) = (&self.rules.contains, self.contains.map(|search| search.found)) {
            problems.push(format!("{part} does not contain {}", quoted(text)));
        }
        if let (Some(text), Some(true)) = (&self.rules.not_contains, self.not_contains.map(|search| search.found)) {
            problems.push(format!("the body contains {}", quoted(text)));
        }
        if !self.rules.json.is_empty() {
            if self.kept.len() > JSON_BYTES {
                problems.push(format!("the body is larger than {}, and its JSON is not looked at", wording::bytes(JSON_BYTES as u64)));
            } else {
                match serde_json::from_slice(&self.kept) {
                    Ok(value) => problems.extend(self.rules.json.iter().filter_map(|(pointer, wanted)| compare(&value, pointer, wanted))),
                    Err(error) => problems.push(format!("the body is not JSON: {error}")),
                }
            }
        }
        problems
    }
}

/// Looks for a text in pieces, and keeps no more of them than one that spans two needs.
struct Search<'a> {
    finder: memmem::Finder<'a>,
    end: Vec<u8>,
    found: bool,
}

impl<'a> Search<'a> {
    fn new(text: &'a str) -> Search<'a> {
        Search { finder: memmem::Finder::new(text), end: Vec::new(), found: text.is_empty() }
    }

    fn take(&mut self, piece: &[u8]) {
        if self.found {
            return;
        }
        self.end.extend_from_slice(piece);
        self.found = self.finder.find(&self.end).is_some();
        let kept = self.finder.needle().len() - 1;
        self.end.drain(..self.end.len().saturating_sub(kept));
    }
}

fn compare(body: &Value, pointer: &str, wanted: &Value) -> Option<String> {
    let at = if pointer.is_empty() { "the body" } else { pointer };
    let Some(found) = body.pointer(pointer) else { return Some(format!("the body has no {at}, which should be {}", shown(wanted))) };
    let equal = match (found.as_f64(), wanted.as_f64()) {
        // 1 and 1.0 are one number, however the two were written.
        (Some(found), Some(wanted)) => found == wanted,
        _ => found == wanted,
    };
    (!equal).then(|| format!("{at} is {} and not {}", shown(found), shown(wanted)))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Object(_) => "a map".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        plain => plain.to_string(),
    }
}

/// A text in quotes, shortened.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{:?}…", &text[..at]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn rules(contains: Option<&str>, not_contains: Option<&str>, json: Value, max_bytes: Option<u64>) -> BodyRules {
        BodyRules::new(contains.map(str::to_owned), not_contains.map(str::to_owned), json.as_object().cloned().unwrap(), max_bytes).unwrap()
    }

    fn judge(rules: &BodyRules, pieces: &[&[u8]]) -> Vec<String> {
        let mut body = rules.begin();
        for piece in pieces {
            if !body.take(piece) {
                break;
            }
        }
        body.problems()
    }

    #[test]
    fn texts_are_found_across_pieces() {
        let wanted = rules(Some("all is well"), Some("error"), json!({}), None);
        assert_eq!(judge(&wanted, &[b"so al", b"l is", b" ", b"well"]), Vec::<String>::new());
        assert_eq!(
            judge(&wanted, &[b"all is we", b"l", b"er", b"ror"]),
            ["the body does not contain \"all is well\"", "the body contains \"error\""]
        );
        assert_eq!(judge(&rules(Some(""), None, json!({}), None), &[]), Vec::<String>::new());
    }

    #[test]
    fn values_of_json_are_compared_by_pointer() {
        let wanted = rules(None, None, json!({"/status": "ok", "/db/0/up": true, "/n": 1, "/x": null}), None);
        assert_eq!(judge(&wanted, &[br#"{"status":"ok","db":[{"up":true}],"#, br#""n":1.0,"x":null}"#]), Vec::<String>::new());
        assert_eq!(
            judge(&wanted, &[br#"{"status":"down","db":{},"n":"1","x":{"a":1}}"#]),
            [
                "the body has no /db/0/up, which should be true",
                "/n is \"1\" and not 1",
                "/status is \"down\" and not \"ok\"",
                "/x is a map and not null"
            ]
        );
        assert_eq!(judge(&wanted, &[b"<html>"]), ["the body is not JSON: expected value at line 1 column 1"]);
        let long = format!("{{\"status\":\"{}\"}}", "x".repeat(200));
        assert!(judge(&rules(None, None, json!({"/status": "ok"}), None), &[long.as_bytes()])[0].len() < 120);
    }

    #[test]
    fn a_body_is_bounded() {
        let small = rules(None, None, json!({}), Some(4));
        assert_eq!(judge(&small, &[b"four"]), Vec::<String>::new());
        assert_eq!(judge(&small, &[b"four", b"5"]), ["the body is larger than 4 B"]);
        let megabyte = vec![b'x'; READ_BYTES];
        assert_eq!(judge(&rules(Some("y"), None, json!({}), None), &[&megabyte, b"y"]), ["the first 1.0 MiB of the body does not contain \"y\""]);
        assert_eq!(judge(&rules(None, None, json!({"": 1}), None), &[&megabyte]), ["the body is larger than 256 KiB, and its JSON is not looked at"]);
        let large = rules(None, None, json!({}), Some(2 << 20));
        assert_eq!(judge(&large, &[&megabyte, &megabyte, b"y"]), ["the body is larger than 2.0 MiB"]);
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        let error = |json: Value| BodyRules::new(None, None, json.as_object().cloned().unwrap(), None).unwrap_err();
        assert_eq!(error(json!({"db.up": true})), "`db.up` in `json` is not a JSON pointer: did you mean `/db/up`?");
        assert!(error(json!({"/db": {}})).contains("one value"));
    }
}
