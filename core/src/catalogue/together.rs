//! What the parameters of a kind have to be together: which of them a step cannot do without, and which do not go
//! with each other. Held before a plan is accepted, so that no run finds it out.

use serde_json::{Map, Value, json};

/// A rule over several parameters of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Together {
    /// At least one of them is given.
    AnyOf(&'static [&'static str]),
    /// With the first, none of the others: why not.
    Excludes(&'static str, &'static [&'static str], &'static str),
    /// One of the first is given only with the second.
    Requires(&'static [&'static str], &'static str),
}

impl Together {
    /// What is wrong with a block: the parameter that it is said of, none where one is missing, and the words.
    pub(super) fn problem(&self, kind: &str, with: &Map<String, Value>) -> Option<(String, String)> {
        match *self {
            Together::AnyOf(names) => {
                let some = names.iter().any(|name| is_given(with, name));
                (!some).then(|| (String::new(), format!("{kind} needs {}", quoted(names, "or"))))
            }
            Together::Excludes(first, others, why) => {
                let other = others.iter().find(|other| is_given(with, first) && is_given(with, other))?;
                Some(((*other).to_owned(), format!("`{other}` does not go with `{first}`: {why}")))
            }
            Together::Requires(names, needed) => {
                let name = names.iter().find(|name| is_given(with, name) && !is_given(with, needed))?;
                Some(((*name).to_owned(), format!("`{name}` goes with `{needed}`, and there is none")))
            }
        }
    }

    /// In words, for the reference.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Together::AnyOf(names) => format!("{} is needed", quoted(names, "or")),
            Together::Excludes(first, others, why) => format!("{} not with `{first}`: {why}", quoted(others, "and")),
            Together::Requires(names, needed) => format!("{} only with `{needed}`", quoted(names, "and")),
        }
    }

    /// The rule as a schema of the block.
    pub(super) fn schema(&self) -> Value {
        let given = |name: &&str| json!({ "required": [name] });
        match self {
            Together::AnyOf(names) => json!({ "anyOf": names.iter().map(given).collect::<Vec<_>>() }),
            Together::Excludes(first, others, _) => {
                json!({ "not": { "allOf": [given(first), { "anyOf": others.iter().map(given).collect::<Vec<_>>() }] } })
            }
            Together::Requires(names, needed) => {
                json!({ "anyOf": [given(needed), { "not": { "anyOf": names.iter().map(given).collect::<Vec<_>>() } }] })
            }
        }
    }
}

/// An empty list names nothing.
fn is_given(with: &Map<String, Value>, name: &str) -> bool {
    with.get(name).is_some_and(|value| !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty()))
}

/// "`a`, `b` or `c`".
fn quoted(names: &[&str], and: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} {and} {last}", first.join(", ")),
        _ => quoted.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(rule: Together, with: Value) -> Option<(String, String)> {
        rule.problem("k", with.as_object().unwrap())
    }

    #[test]
    fn each_rule_holds_and_is_broken() {
        let any = Together::AnyOf(&["a", "b"]);
        assert_eq!(problem(any, json!({ "c": 1 })), Some((String::new(), "k needs `a` or `b`".into())));
        assert!(problem(any, json!({ "a": [] })).is_some() && problem(any, json!({ "b": ["x"] })).is_none());
        let not = Together::Excludes("a", &["b", "c"], "one says where");
        assert_eq!(problem(not, json!({ "a": 1, "c": 1 })), Some(("c".into(), "`c` does not go with `a`: one says where".into())));
        assert!(problem(not, json!({ "b": 1, "c": 1 })).is_none());
        let needs = Together::Requires(&["p"], "a");
        assert_eq!(problem(needs, json!({ "p": ["/"] })), Some(("p".into(), "`p` goes with `a`, and there is none".into())));
        assert!(problem(needs, json!({ "p": ["/"], "a": "x" })).is_none());
    }
}
