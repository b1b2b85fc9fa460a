//! Typed parameters of step kinds.

use serde_json::{Map, Value};

use crate::bounds;
use crate::certificate::RootCertificate;
use crate::expr::Expression;
use crate::expr::template::has_template;
use crate::time::Millis;

/// One parameter of a kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Param {
    pub name: &'static str,
    pub ty: ParamType,
    pub required: bool,
    /// As written in a plan; empty where there is none.
    pub default: &'static str,
    pub doc: &'static str,
}

/// Whether `${{ }}` in a value is still to be filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is: as the plan was written.
    Written,
    /// It has been: what is left of such text is text like any other.
    Filled,
}

/// What a parameter's value may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParamType {
    Text,
    /// A whole number from and to, both included.
    Integer(i64, i64),
    Boolean,
    /// `500ms`, `90s`, `1h30m`.
    Duration,
    /// A number, or text with a percent sign.
    Percent,
    /// `{ warning: …, critical: … }` of this type, either may be left out.
    Thresholds(&'static ParamType),
    /// A number of whatever the unit of the check is.
    Number,
    /// Bytes: a number, or `64Mi`, `10Gi`.
    Size,
    List(&'static ParamType),
    /// Text to text.
    Map,
    /// Text to text, number, true, false or null.
    Values,
    /// A block as somebody else has it: what is in it is looked at by whoever takes it.
    Block,
    /// A block with parameters of its own.
    Fields(&'static [Param]),
    /// A block with exactly one of the first, and with any of the second.
    Choice(&'static [Param], &'static [Param]),
    /// Nothing so far: why.
    NotYet(&'static str),
    OneOf(&'static [&'static str]),
    /// An absolute `http` or `https` URL without a password in it.
    Url,
    /// `host:port`.
    Endpoint,
    /// A connection's name, or a pattern of names with `*`.
    Connection,
    /// A lease's name.
    LeaseName,
    /// A status, a list of them, or a range such as `200-299`.
    HttpStatus,
    /// The certificate of a root, PEM.
    RootCertificate,
    /// An expression that the agent evaluates, over these names; without `${{ }}`.
    Expression(&'static [&'static str]),
}

impl ParamType {
    /// The type in words, after "should be".
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            ParamType::Text => "text".into(),
            ParamType::Integer(from, to) => format!("a whole number from {from} to {to}"),
            ParamType::Boolean => "true or false".into(),
            ParamType::Duration => "a duration such as 90s".into(),
            ParamType::Percent => "a percentage such as 80%".into(),
            ParamType::Thresholds(of) => format!("{{ warning: …, critical: … }}, each {}", of.describe()),
            ParamType::Number => "a number".into(),
            ParamType::Size => "a size such as 64Mi".into(),
            ParamType::List(of) => match of {
                ParamType::Text => "a list of text".into(),
                ParamType::Url => "a list of URLs".into(),
                ParamType::Endpoint => "a list of host:port".into(),
                ParamType::Fields(_) | ParamType::Choice(..) => format!("a list, each item {}", of.describe()),
                other => format!("a list, each {}", other.describe()),
            },
            ParamType::Map => "a map of text to text".into(),
            ParamType::Values => "a map of text to text, numbers, true, false or null".into(),
            ParamType::Block => "a block".into(),
            ParamType::Fields(fields) => {
                let named = |wanted: &dyn Fn(&&Param) -> bool| {
                    let names: Vec<String> = fields.iter().filter(wanted).map(|field| format!("`{}`", field.name)).collect();
                    names.join(", ")
                };
                let required = named(&|field| field.required);
                if required.is_empty() { format!("a block with some of {}", named(&|_| true)) } else { format!("a block with {required}") }
            }
            ParamType::Choice(choices, _) => {
                let names: Vec<String> = choices.iter().map(|choice| format!("`{}`", choice.name)).collect();
                format!("a block with one of {}", names.join(", "))
            }
            ParamType::NotYet(why) => format!("left out: {why}"),
            ParamType::OneOf(words) => format!("one of {}", words.join(", ")),
            ParamType::Url => "an http or https URL without a password in it".into(),
            ParamType::Endpoint => "host:port".into(),
            ParamType::Connection => "the name of a connection such as orders-db, or a pattern such as *".into(),
            ParamType::LeaseName => "a lease name such as deploy/shop".into(),
            ParamType::HttpStatus => "a status such as 200, a list of them, or a range such as 200-299".into(),
            ParamType::RootCertificate => "the certificate of one root, as `mainstay mesh root new` writes it into root.pem".into(),
            ParamType::Expression(names) => format!("an expression over {}", names.join(", ")),
        }
    }

    /// Problems of a value, each with the path of its key.
    pub(super) fn check(&self, path: &str, value: &Value, stage: Stage) -> Vec<(String, String)> {
        let wrong = || {
            let mut shown = value.to_string();
            if shown.len() > 80 {
                shown = shown.chars().take(77).collect::<String>() + "…";
            }
            vec![(path.to_owned(), format!("`{path}` is {shown}, and should be {}", self.describe()))]
        };
        match (self, value) {
            (ParamType::NotYet(why), _) => vec![(path.to_owned(), format!("`{path}` cannot be used yet: {why}"))],
            // What can come of it is looked at where expressions are checked.
            (_, Value::String(text)) if stage == Stage::Written && has_template(text) => Vec::new(),
            (ParamType::List(of), Value::Array(items)) => {
                items.iter().enumerate().flat_map(|(i, item)| of.check(&format!("{path}[{i}]"), item, stage)).collect()
            }
            (ParamType::Thresholds(of), Value::Object(fields)) => fields
                .iter()
                .flat_map(|(name, value)| match name.as_str() {
                    "warning" | "critical" => of.check(&format!("{path}.{name}"), value, stage),
                    _ => vec![(format!("{path}.{name}"), format!("`{path}` has `warning` and `critical`, no `{name}`"))],
                })
                .collect(),
            (ParamType::Map, Value::Object(fields)) => {
                fields.iter().flat_map(|(name, value)| ParamType::Text.check(&format!("{path}.{name}"), value, stage)).collect()
            }
            (ParamType::Fields(params), Value::Object(fields)) => check_fields(path, params, fields, stage),
            (ParamType::Choice(choices, others), Value::Object(fields)) => check_choice(path, choices, others, fields, stage),
            (ParamType::RootCertificate, Value::String(text)) if text.len() <= bounds::ROOT_BYTES => {
                let problem = RootCertificate::read(text).err().map(|error| (path.to_owned(), format!("`{path}`: {error}")));
                problem.into_iter().collect()
            }
            (ParamType::Expression(names), Value::String(text)) => {
                let problem = Expression::parse(text).and_then(|expression| expression.check_roots(names)).err();
                problem.map(|error| (path.to_owned(), format!("`{path}`: {error}"))).into_iter().collect()
            }
            _ if self.admits(value) => Vec::new(),
            _ => wrong(),
        }
    }

    /// Whether a value is one of it.
    pub(crate) fn takes(&self, value: &Value) -> bool {
        self.check("", value, Stage::Filled).is_empty()
    }

    /// Whether some text can be a value of it.
    pub(crate) fn is_text(&self) -> bool {
        !matches!(
            self,
            ParamType::Integer(..)
                | ParamType::Boolean
                | ParamType::Thresholds(_)
                | ParamType::Number
                | ParamType::List(_)
                | ParamType::Map
                | ParamType::Values
                | ParamType::Block
                | ParamType::Fields(_)
                | ParamType::Choice(..)
                | ParamType::NotYet(_)
        )
    }

    /// A value that an expression made, as this type writes it: a number or a truth value where text is wanted
    /// becomes text. What does not fit stays as it is, and is refused as it is.
    #[must_use]
    pub fn fit(&self, value: Value) -> Value {
        match (self, value) {
            (ParamType::List(of), Value::Array(items)) => Value::Array(items.into_iter().map(|item| of.fit(item)).collect()),
            (ParamType::Map, Value::Object(fields)) => {
                Value::Object(fields.into_iter().map(|(name, field)| (name, ParamType::Text.fit(field))).collect())
            }
            (_, value @ (Value::Number(_) | Value::Bool(_))) if !self.admits(&value) => {
                let text = Value::String(value.to_string());
                if self.admits(&text) { text } else { value }
            }
            (_, value) => value,
        }
    }

    pub(crate) fn admits(&self, value: &Value) -> bool {
        match (self, value) {
            (ParamType::Text, Value::String(text)) => !text.contains('\0'),
            (ParamType::Integer(from, to), Value::Number(number)) => number.as_i64().is_some_and(|n| n >= *from && n <= *to),
            (ParamType::Boolean, Value::Bool(_)) => true,
            (ParamType::Duration, Value::String(text)) => text.parse::<Millis>().is_ok(),
            (ParamType::Percent, Value::String(text)) => {
                text.strip_suffix('%').is_some_and(|n| n.trim().parse::<f64>().is_ok_and(|n| (0.0..=100.0).contains(&n)))
            }
            (ParamType::Percent, Value::Number(number)) => number.as_f64().is_some_and(|n| (0.0..=100.0).contains(&n)),
            (ParamType::Number, Value::Number(number)) => number.as_f64().is_some_and(f64::is_finite),
            (ParamType::Size, Value::String(text)) => crate::plan::input::size(text).is_some(),
            (ParamType::Size, Value::Number(number)) => number.is_u64(),
            (ParamType::Block, Value::Object(_)) => true,
            (ParamType::Values, Value::Object(fields)) => !fields.values().any(|value| value.is_object() || value.is_array()),
            (ParamType::OneOf(words), Value::String(text)) => words.contains(&text.as_str()),
            (ParamType::Url, Value::String(text)) => is_url(text),
            (ParamType::Endpoint, Value::String(text)) => is_endpoint(text),
            (ParamType::Connection, Value::String(text)) => is_connection(text),
            (ParamType::LeaseName, Value::String(text)) => text.parse::<crate::id::LeaseName>().is_ok(),
            (ParamType::HttpStatus, Value::Number(number)) => number.as_i64().is_some_and(is_status),
            (ParamType::HttpStatus, Value::Array(items)) => !items.is_empty() && items.iter().all(|item| item.as_i64().is_some_and(is_status)),
            (ParamType::HttpStatus, Value::String(text)) => text.split_once('-').is_some_and(
                |(from, to)| matches!((from.trim().parse(), to.trim().parse()), (Ok(from), Ok(to)) if is_status(from) && is_status(to) && from <= to),
            ),
            (ParamType::RootCertificate, Value::String(text)) => text.len() <= bounds::ROOT_BYTES && RootCertificate::read(text).is_ok(),
            (ParamType::Expression(names), Value::String(text)) => {
                Expression::parse(text).is_ok_and(|expression| expression.check_roots(names).is_ok())
            }
            _ => false,
        }
    }
}

/// Problems of the keys and values of a block, each with the path of its key.
fn check_fields(path: &str, params: &[Param], fields: &Map<String, Value>, stage: Stage) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    for (name, value) in fields {
        let at = format!("{path}.{name}");
        match params.iter().find(|param| param.name == name) {
            Some(param) => problems.extend(param.ty.check(&at, value, stage)),
            None => {
                let meant = super::nearest(name, params.iter().map(|param| param.name));
                let hint = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
                problems.push((at, format!("`{path}` has no `{name}`{hint}")));
            }
        }
    }
    for param in params.iter().filter(|param| param.required && !fields.contains_key(param.name)) {
        problems.push((path.to_owned(), format!("`{path}` needs `{}`: {}", param.name, param.doc)));
    }
    problems
}

/// The same of a block with exactly one of the choices.
fn check_choice(path: &str, choices: &[Param], others: &[Param], fields: &Map<String, Value>, stage: Stage) -> Vec<(String, String)> {
    let all: Vec<Param> = choices.iter().chain(others).copied().collect();
    let mut problems = check_fields(path, &all, fields, stage);
    let given: Vec<&str> = choices.iter().map(|choice| choice.name).filter(|name| fields.contains_key(*name)).collect();
    match given.as_slice() {
        [_] => {}
        [] => {
            let names: Vec<String> = choices.iter().map(|choice| format!("`{}`", choice.name)).collect();
            problems.push((path.to_owned(), format!("`{path}` needs one of {}", names.join(", "))));
        }
        [first, second, ..] => {
            problems.push((format!("{path}.{second}"), format!("`{path}` has `{first}` already: give `{second}` an item of its own")))
        }
    }
    problems
}

fn is_status(status: i64) -> bool {
    (100..=599).contains(&status)
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or("");
        !host.is_empty() && !host.contains('@') && !text.contains(|c: char| c.is_whitespace() || c.is_control())
    })
}

fn is_connection(text: &str) -> bool {
    let name = text.replace('*', "x");
    text.len() <= 63 && name.parse::<crate::id::ConnectionName>().is_ok()
}

fn is_endpoint(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/' || c == '@')
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ENDPOINT: ParamType = ParamType::Fields(&[
        Param { name: "url", ty: ParamType::Url, required: true, default: "", doc: "What to ask for" },
        Param { name: "status", ty: ParamType::HttpStatus, required: false, default: "", doc: "" },
    ]);

    #[test]
    fn each_type_takes_its_own_and_nothing_else() {
        let cases: &[(ParamType, &[Value], &[Value])] = &[
            (ParamType::Text, &[json!("a")], &[json!(1), json!(null), json!("\0")]),
            (ParamType::Integer(1, 5), &[json!(1), json!(5)], &[json!(0), json!(6), json!(1.5), json!("1")]),
            (ParamType::Duration, &[json!("90s")], &[json!(90), json!("90"), json!("")]),
            (ParamType::Percent, &[json!("80%"), json!(80)], &[json!("80"), json!(101), json!("-1%"), json!("NaN%")]),
            (ParamType::Size, &[json!("64Mi"), json!(1024)], &[json!("64 MB"), json!(-1), json!("")]),
            (ParamType::Url, &[json!("http://a/b?c")], &[json!("ftp://a"), json!("http://"), json!("http://u:p@h/"), json!("http://a b")]),
            (ParamType::Endpoint, &[json!("a:443"), json!("[::1]:443")], &[json!("a"), json!("a:0"), json!("a:70000"), json!("http://a:1")]),
            (ParamType::HttpStatus, &[json!(200), json!([200, 204]), json!("200-299")], &[json!(99), json!([]), json!("299-200"), json!("ok")]),
            (ParamType::Connection, &[json!("orders-db"), json!("*"), json!("shop-*")], &[json!(""), json!("a b"), json!("A"), json!(1)]),
            (ParamType::OneOf(&["error", "warning"]), &[json!("error")], &[json!("fatal")]),
            (ParamType::Map, &[json!({"a": "b"})], &[json!({"a": 1}), json!([])]),
            (ParamType::Values, &[json!({"a": "b", "c": 1, "d": true, "e": null})], &[json!({"a": {}}), json!({"a": [1]}), json!("a")]),
            (
                ParamType::RootCertificate,
                &[json!(include_str!("../../tests/fixtures/root.pem"))],
                &[json!("root"), json!(include_str!("../../tests/fixtures/leaf.pem"))],
            ),
            (ParamType::Expression(&["object"]), &[json!("object.a == 1")], &[json!("object."), json!("other == 1"), json!(1)]),
            (ENDPOINT, &[json!({"url": "http://a"}), json!({"url": "http://a", "status": 200})], &[json!({}), json!({"status": 200}), json!("x")]),
        ];
        for (ty, good, bad) in cases {
            for value in *good {
                assert_eq!(ty.check("x", value, Stage::Filled), vec![], "{ty:?} takes {value}");
            }
            for value in *bad {
                assert!(!ty.check("x", value, Stage::Filled).is_empty(), "{ty:?} refuses {value}");
            }
        }
    }

    #[test]
    fn a_choice_is_one_and_what_is_not_there_yet_says_why() {
        const CHOICES: &[Param] = &[
            Param { name: "a", ty: ParamType::Text, required: false, default: "", doc: "" },
            Param { name: "b", ty: ParamType::NotYet("there are none"), required: false, default: "", doc: "" },
        ];
        const OTHERS: &[Param] = &[Param { name: "every", ty: ParamType::Duration, required: false, default: "", doc: "" }];
        let problems = |value: Value| {
            let all = ParamType::Choice(CHOICES, OTHERS).check("gate", &value, Stage::Written);
            all.into_iter().map(|(_, problem)| problem).collect::<Vec<_>>()
        };
        assert_eq!(problems(json!({"a": "x", "every": "1s"})), Vec::<String>::new());
        assert_eq!(problems(json!({"every": "1s"})), ["`gate` needs one of `a`, `b`"]);
        assert_eq!(problems(json!({"b": "${{ inputs.x }}"})), ["`gate.b` cannot be used yet: there are none"]);
        assert!(problems(json!({"a": "x", "b": 1})).contains(&"`gate` has `a` already: give `b` an item of its own".to_owned()));
    }

    #[test]
    fn problems_name_the_path() {
        let of = ParamType::Thresholds(&ParamType::Percent);
        assert_eq!(
            of.check("disk", &json!({"warning": "x"}), Stage::Filled),
            vec![("disk.warning".into(), "`disk.warning` is \"x\", and should be a percentage such as 80%".into())]
        );
        assert_eq!(ParamType::List(&ParamType::Endpoint).check("endpoints", &json!(["a:1", "b"]), Stage::Filled)[0].0, "endpoints[1]");
        let problems = |value| ParamType::List(&ENDPOINT).check("endpoints", &value, Stage::Filled);
        assert_eq!(
            problems(json!([{"url": "http://a", "satus": 1}])),
            vec![("endpoints[0].satus".into(), "`endpoints[0]` has no `satus`; did you mean `status`?".into())]
        );
        assert_eq!(problems(json!([{"url": 1}]))[0].0, "endpoints[0].url");
        assert_eq!(problems(json!([{}])), vec![("endpoints[0]".into(), "`endpoints[0]` needs `url`: What to ask for".into())]);
    }
}
