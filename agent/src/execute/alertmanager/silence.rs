//! Silences as the API of Alertmanager has them, version 2, and which of them are whose. Pure.

use serde::{Deserialize, Serialize};

/// Who makes them.
pub(super) const CREATED_BY: &str = "mainstay";
/// Matchers of one silence.
const MATCHERS_MAX: usize = 20;

/// One condition on a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Matcher {
    name: String,
    value: String,
    is_regex: bool,
    is_equal: bool,
}

/// A silence that is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Silence {
    pub id: String,
    pub ends_at: String,
    created_by: String,
    comment: String,
    status: Status,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Status {
    state: String,
}

/// What a silence is made by: work of one mesh.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark<'a> {
    pub mesh: &'a str,
    /// A step of a run, or the run: `1/tidy-7/silence`, `1/tidy-7`.
    pub work: &'a str,
}

impl Mark<'_> {
    /// What a person reads, and the mark at its end.
    pub fn comment(&self, text: &str) -> String {
        let text = if text.trim().is_empty() { "maintenance" } else { text.trim() };
        format!("{text} {}]", self.begun())
    }

    fn begun(&self) -> String {
        format!("[mainstay {} {}", self.mesh, self.work)
    }
}

impl Silence {
    /// Whether it has not ended.
    pub fn is_open(&self) -> bool {
        self.status.state != "expired"
    }

    pub fn is_of_step(&self, mark: &Mark<'_>) -> bool {
        self.created_by == CREATED_BY && self.comment.ends_with(&format!("{}]", mark.begun()))
    }

    pub fn is_of_run(&self, mark: &Mark<'_>) -> bool {
        // The name of a step has no slash.
        let of_run = |comment: &str| comment.rsplit_once('/').is_some_and(|(before, _)| before.ends_with(&mark.begun()));
        self.created_by == CREATED_BY && self.comment.ends_with(']') && of_run(&self.comment)
    }
}

/// Reads `name=value`, `name!=value`, `name=~regex`, `name!~regex`; a value may be in quotes.
///
/// # Errors
/// In words, what cannot be one; none at all, or only such that fit every alert.
pub(super) fn matchers(texts: &[String]) -> Result<Vec<Matcher>, String> {
    if texts.is_empty() || texts.len() > MATCHERS_MAX {
        return Err(format!("1 to {MATCHERS_MAX} matchers make a silence, and there are {}", texts.len()));
    }
    let all: Vec<Matcher> = texts.iter().map(|text| matcher(text)).collect::<Result<_, _>>()?;
    // As Alertmanager has it; its own words name no step.
    let fits_none_too = |matcher: &Matcher| match (matcher.is_regex, matcher.is_equal) {
        (false, is_equal) => is_equal == matcher.value.is_empty(),
        (true, is_equal) => is_equal && matches!(matcher.value.as_str(), ".*" | ""),
    };
    if all.iter().all(fits_none_too) {
        return Err("these matchers fit alerts that have none of the labels: one must name a value".to_owned());
    }
    Ok(all)
}

fn matcher(text: &str) -> Result<Matcher, String> {
    let wrong = || format!("`{text}` is no matcher: name=value, name!=value, name=~regex or name!~regex");
    let at = text.find(['=', '!']).ok_or_else(wrong)?;
    let (name, rest) = (text[..at].trim(), &text[at..]);
    let kinds = [("=~", true, true), ("!~", true, false), ("!=", false, false), ("=", false, true)];
    let (sign, is_regex, is_equal) = kinds.into_iter().find(|(sign, ..)| rest.starts_with(sign)).ok_or_else(wrong)?;
    let is_label = !name.is_empty()
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        && !name.starts_with(|letter: char| letter.is_ascii_digit());
    if !is_label {
        return Err(wrong());
    }
    let value = rest[sign.len()..].trim();
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    if is_regex && let Err(error) = regex::Regex::new(value) {
        return Err(format!("`{text}` has no regular expression: {error}"));
    }
    Ok(Matcher { name: name.to_owned(), value: value.to_owned(), is_regex, is_equal })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(texts: &[&str]) -> Result<Vec<Matcher>, String> {
        matchers(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_matcher_is_a_name_a_sign_and_a_value() {
        let one = |text: &str| {
            let Matcher { name, value, is_regex, is_equal } = read(&["alertname=x", text]).unwrap().remove(1);
            (name, value, is_regex, is_equal)
        };
        assert_eq!(one("namespace=shop"), ("namespace".into(), "shop".into(), false, true));
        assert_eq!(one("severity != \"critical\""), ("severity".into(), "critical".into(), false, false));
        assert_eq!(one("pod=~web-.*"), ("pod".into(), "web-.*".into(), true, true));
        assert_eq!(one("pod!~a=b"), ("pod".into(), "a=b".into(), true, false));
        for (texts, part) in [
            (&[][..], "and there are 0"),
            (&["shop"][..], "is no matcher"),
            (&["=shop"][..], "is no matcher"),
            (&["a b=shop"][..], "is no matcher"),
            (&["7=shop"][..], "is no matcher"),
            (&["a!shop"][..], "is no matcher"),
            (&["a=~("][..], "has no regular expression"),
            (&["a="][..], "must name a value"),
            (&["a=~.*", "b!=c"][..], "must name a value"),
        ] {
            let error = read(texts).unwrap_err();
            assert!(error.contains(part), "{texts:?}: {error}");
        }
        assert!(read(&vec!["a=b"; MATCHERS_MAX + 1]).is_err());
    }

    #[test]
    fn what_a_step_a_run_and_a_mesh_have_made_is_told_apart() {
        let silence = |created_by: &str, comment: String| Silence {
            id: "1".into(),
            ends_at: String::new(),
            created_by: created_by.into(),
            comment,
            status: Status { state: "active".into() },
        };
        let mark = |mesh, work| Mark { mesh, work };
        let own = silence(CREATED_BY, mark("prod", "1/tidy-7/quiet").comment("a [new] disk"));
        assert!(own.comment.starts_with("a [new] disk [mainstay prod"));
        assert!(own.is_of_step(&mark("prod", "1/tidy-7/quiet")) && own.is_of_run(&mark("prod", "1/tidy-7")));
        for (mesh, step, run) in [
            ("prod", "1/tidy-7/quie", "1/tidy-"),
            ("prod", "1/tidy-7/quiet/undo", "1/tidy"),
            ("prod", "1/tidy-17/quiet", "1/tidy-17"),
            ("prod", "11/tidy-7/quiet", "1/tidy-7/quiet"),
            ("pro", "1/tidy-7/quiet", "tidy-7"),
            ("d", "tidy-7/quiet", "2/tidy-7"),
        ] {
            assert!(!own.is_of_step(&mark(mesh, step)) && !own.is_of_run(&mark(mesh, run)), "{mesh} {step} {run}");
        }
        let theirs = silence("ana", own.comment.clone());
        assert!(!theirs.is_of_step(&mark("prod", "1/tidy-7/quiet")) && !theirs.is_of_run(&mark("prod", "1/tidy-7")));
        assert_eq!(mark("m", "w").comment("  "), "maintenance [mainstay m w]");
    }

    #[test]
    fn a_silence_is_read_as_the_api_has_it() {
        let text = r#"{"id":"8f1c","status":{"state":"expired"},"updatedAt":"2026-01-01T00:00:00.000Z","comment":"c","createdBy":"ana",
            "endsAt":"2026-01-01T01:00:00.000Z","startsAt":"2026-01-01T00:00:00.000Z","matchers":[{"isEqual":true,"isRegex":false,"name":"a","value":"b"}]}"#;
        let silence: Silence = serde_json::from_str(text).unwrap();
        assert!(!silence.is_open() && silence.ends_at.starts_with("2026-01-01T01"));
    }
}
