//! Whether a step says which chart it means: what is newest today is another one tomorrow.

use serde_json::{Map, Value};

use super::Severity;
use super::look::Look;
use crate::catalogue;
use crate::plan::Step;

/// Parameter of a step that takes no chart that is not.
const PINNED: &str = "pinned";

impl Look<'_> {
    /// A chart that is not pinned.
    pub(super) fn chart(&mut self, step: &Step, with: &Map<String, Value>) {
        if step.uses != catalogue::HELM_UPGRADE {
            return;
        }
        if let Some(message) = unpinned(with) {
            let severity = if with.get(PINNED) == Some(&Value::Bool(true)) { Severity::Problem } else { Severity::Warning };
            self.remark(severity, Some(step), message, "give it one:  version: 1.2.3");
        }
    }
}

/// What is open about a chart; nothing where it is pinned, or comes with the agent.
#[must_use]
pub fn unpinned(with: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| with.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let chart = text("chart")?;
    let registry = chart.strip_prefix("oci://");
    // `host:5000/charts/web:1.2.3`, `…/web@sha256:…`
    let name = registry.map(|place| place.rsplit('/').next().unwrap_or(place));
    if name.is_some_and(|name| name.contains('@')) {
        return None;
    }
    match text("version").or(name.and_then(|name| name.split_once(':')).map(|(_, tag)| tag)) {
        Some(version) if is_exact(version) => None,
        Some(range) => Some(format!("its chart is whatever is the newest of version {range} then")),
        None if registry.is_some() || text("repository").is_some() => {
            Some("its chart has no version: it is whatever is the newest then, and another one when it is tried again".to_owned())
        }
        None => None,
    }
}

/// `1.2.3`, `v1.2.3-rc.1`, `1.2.3+build`: neither a range nor a part of a version.
fn is_exact(version: &str) -> bool {
    let version = version.strip_prefix('v').unwrap_or(version);
    let end = version.find(['-', '+']).unwrap_or(version.len());
    let (numbers, rest) = version.split_at(end);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_rest = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.'));
    numbers.split('.').count() == 3 && numbers.split('.').all(is_number) && is_rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_chart_is_pinned_by_a_whole_version_or_a_digest_or_comes_with_the_agent() {
        let is = |with: Value| unpinned(with.as_object().unwrap());
        for pinned in [
            json!({ "chart": "oci://r.example.com:5000/charts/web", "version": "3.2.0" }),
            json!({ "chart": "oci://r.example.com:5000/charts/web:3.2.0-rc.1" }),
            json!({ "chart": "oci://r.example.com/charts/web@sha256:abc" }),
            json!({ "chart": "web", "repository": "https://charts.example.com", "version": "v3.2.0+7" }),
            json!({ "chart": "https://charts.example.com/web-3.2.0.tgz" }),
            json!({ "chart": "web" }),
            json!({}),
        ] {
            assert_eq!(is(pinned.clone()), None, "{pinned}");
        }
        for (open, part) in [
            (json!({ "chart": "oci://r.example.com:5000/charts/web" }), "has no version"),
            (json!({ "chart": "web", "repository": "https://charts.example.com" }), "has no version"),
            (json!({ "chart": "web", "repository": "https://charts.example.com", "version": "" }), "has no version"),
            (json!({ "chart": "oci://r.example.com/charts/web:3" }), "newest of version 3 "),
            (json!({ "chart": "web", "repository": "https://charts.example.com", "version": "^3.2.0" }), "newest of version ^3.2.0 "),
            (json!({ "chart": "web", "repository": "https://charts.example.com", "version": "3.2.x" }), "newest of version 3.2.x "),
        ] {
            assert!(is(open.clone()).is_some_and(|message| message.contains(part)), "{open}");
        }
    }
}
