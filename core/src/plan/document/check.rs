//! Whether a document has the shape that the language declares.
//!
//! In: a tree and a [`Shape`]. Out: every problem of it, each at its place; what is wrong does not hide what
//! comes after it. Code that reads a section afterwards takes what is good, and a default for what is not:
//! the plan that comes of it is never used.

use super::shape::{Field, Object, Shape, one_of};
use super::tree::{Held, Key, Node, Place};
use crate::catalogue;
use crate::plan::strategy::Amount;
use crate::plan::{PlanError, Problem};
use crate::time::Millis;

/// Problems told of one document; a file that is no plan at all has as many as it has lines.
const PROBLEMS: usize = 100;

/// Collects what is wrong with a document.
pub(crate) struct Checker<'a> {
    pub source: &'a str,
    /// Expressions met so far.
    pub expressions: usize,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    pub fn new(source: &'a str) -> Checker<'a> {
        Checker { source, expressions: 0, problems: Vec::new() }
    }

    pub fn problem(&mut self, at: Place, message: impl Into<String>) {
        self.problems.push(Problem { line: at.line, column: at.column, message: message.into() });
    }

    /// All problems, in the order of the document.
    pub fn end(mut self) -> Result<(), PlanError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        self.problems.dedup();
        let more = self.problems.len().saturating_sub(PROBLEMS);
        if more > 0 {
            self.problems.truncate(PROBLEMS);
            self.problems.push(Problem { line: 0, column: 0, message: format!("… and {more} more") });
        }
        Err(PlanError { problems: self.problems })
    }

    /// Whether `node`, which is the value of `label`, is of this shape.
    pub fn check(&mut self, label: &str, node: &Node, shape: &Shape) {
        match (shape, &node.held) {
            (Shape::Either(short, long), held) => {
                let fields = matches!(held, Held::Fields(_));
                self.check(label, node, if fields { long } else { short });
            }
            (Shape::Object(object), Held::Fields(fields)) => self.object(node.at, fields, object),
            (Shape::Choice(object), Held::Fields(fields)) => self.choice(node.at, fields, object),
            (Shape::Map(form, shape, most), Held::Fields(fields)) => {
                self.once(fields);
                self.at_most(label, node.at, fields.len(), *most);
                for (key, value) in fields.iter().take(*most) {
                    if let Err(message) = (form.check)(&key.name) {
                        self.problem(key.at, message);
                    }
                    self.check(&key.name, value, shape);
                }
            }
            (Shape::With, Held::Fields(_)) => self.unique(node),
            (Shape::List(shape, least, most), Held::List(items)) => {
                if items.len() < *least {
                    self.problem(node.at, format!("`{label}` needs at least one entry"));
                }
                self.at_most(label, node.at, items.len(), *most);
                for (i, item) in items.iter().take(*most).enumerate() {
                    self.check(&format!("{label}[{i}]"), item, shape);
                }
            }
            // Nothing at all is an empty list, or no fields.
            (Shape::Object(object), Held::Null) if object.fields.iter().all(|field| !field.required) => {}
            (Shape::With | Shape::Map(..) | Shape::List(_, 0, _), Held::Null) => {}
            (_, Held::Null) => self.problem(node.at, "a value is missing here"),
            (Shape::Object(_) | Shape::Choice(_) | Shape::Map(..) | Shape::With, _) => {
                self.problem(node.at, "there should be fields (`name: value`) here");
            }
            (Shape::List(..), _) => self.problem(node.at, "there should be a list here"),
            (Shape::Value, Held::List(items)) => items.iter().for_each(|item| {
                if item.text().is_none() {
                    self.problem(item.at, "there should be text here");
                }
            }),
            (_, Held::Fields(_) | Held::List(_)) => self.problem(node.at, format!("there should be {} here", shape.describe())),
            _ => {
                if let Some(message) = scalar(label, node, shape) {
                    self.problem(node.at, message);
                }
            }
        }
    }

    fn object(&mut self, at: Place, fields: &[(Key, Node)], object: &Object) {
        self.once(fields);
        for (key, node) in fields {
            match object.fields.iter().find(|field| field.name == key.name) {
                // A field that may be left out may also be left empty.
                Some(field) if matches!(node.held, Held::Null) && !field.required && matches!(field.shape, Shape::Object(_)) => {}
                Some(field) => self.check(field.name, node, &field.shape),
                None => self.unknown(key, object),
            }
        }
        for field in object.fields.iter().filter(|field| field.required && !fields.iter().any(|(key, _)| key.name == field.name)) {
            self.problem(at, format!("the field `{}` is missing here: {}", field.name, field.doc.trim_end_matches('.')));
        }
    }

    fn choice(&mut self, at: Place, fields: &[(Key, Node)], object: &Object) {
        self.once(fields);
        for (key, node) in fields {
            match object.fields.iter().find(|field| field.name == key.name) {
                Some(Field { name, shape, .. }) => self.check(name, node, shape),
                None => self.unknown(key, object),
            }
        }
        match fields {
            [] => self.problem(at, format!("there should be one of {} here", one_of(object.names()))),
            [_] => {}
            [_, (second, _), ..] => self.problem(second.at, format!("`{}` is an entry of its own: begin it with `- `", second.name)),
        }
    }

    fn unknown(&mut self, key: &Key, object: &Object) {
        let name = shortened(&key.name);
        match catalogue::nearest(&key.name, object.names()) {
            Some(meant) => self.problem(key.at, format!("there is no field `{name}` here; did you mean `{meant}`?")),
            None if object.fields.is_empty() => self.problem(key.at, format!("there is no field `{name}` here: there is nothing to say in it")),
            None => self.problem(key.at, format!("there is no field `{name}` here; there are {}", object.names().collect::<Vec<_>>().join(", "))),
        }
    }

    fn at_most(&mut self, label: &str, at: Place, count: usize, most: usize) {
        if count > most {
            self.problem(at, format!("`{label}` has {count} entries, and may have {most}"));
        }
    }

    fn once(&mut self, fields: &[(Key, Node)]) {
        let mut seen = std::collections::BTreeSet::new();
        for (key, _) in fields.iter().filter(|(key, _)| !seen.insert(key.name.as_str())) {
            self.problem(key.at, format!("`{}` is given twice: leave out one", shortened(&key.name)));
        }
    }

    /// No key of it, however deep, is given twice.
    fn unique(&mut self, node: &Node) {
        self.once(node.fields());
        node.fields().iter().for_each(|(_, inner)| self.unique(inner));
        node.items().iter().for_each(|inner| self.unique(inner));
    }
}

/// What is wrong with a single value, if anything.
fn scalar(label: &str, node: &Node, shape: &Shape) -> Option<String> {
    let wrong = || Some(format!("`{label}` is {}, and should be {}{}", shown(node), shape.describe(), unquoted(node, shape)));
    let good = match shape {
        Shape::Text(most) => node.text().is_some_and(|text| text.len() <= *most && !text.contains('\0')),
        Shape::Form(form) => match node.text().map(form.check) {
            Some(Ok(())) => true,
            Some(Err(message)) => return Some(message + templated(node)),
            None => false,
        },
        Shape::Boolean => node.boolean().is_some(),
        Shape::Integer(from, to) => node.number().and_then(serde_json::Number::as_i64).is_some_and(|n| n >= *from && n <= *to),
        Shape::Number => node.number().is_some(),
        Shape::Duration(from, to) => node.parsed::<Millis>().is_some_and(|time| time >= *from && time <= *to),
        Shape::Amount(from, to) => amount(node).is_some_and(|amount| match amount {
            Amount::Count(count) => count >= *from && count <= *to,
            Amount::Percent(percent) => percent >= (*from).min(1),
        }),
        Shape::Percent => percent(node).is_some(),
        Shape::Words(words) => match node.text() {
            Some(text) if words.iter().any(|(word, _)| *word == text) => true,
            Some(text) => {
                let begins = |word: &&str| text.to_ascii_lowercase().starts_with(word);
                let words = || words.iter().map(|(word, _)| *word);
                let meant = words().find(begins).or_else(|| catalogue::nearest(text, words()));
                return meant.map_or_else(wrong, |meant| Some(format!("`{label}` is {}; did you mean `{meant}`?", shown(node))));
            }
            None => false,
        },
        Shape::Kind => match node.text() {
            Some(text) if catalogue::kind(text).is_some() => true,
            Some(text) => {
                let meant = catalogue::nearest(text, catalogue::KINDS.iter().map(|kind| kind.name));
                let hint = meant.map_or_else(|| "see `mainstay steps`".to_owned(), |meant| format!("did you mean `{meant}`?"));
                return Some(format!("there is no step kind `{}`; {hint}", shortened(text)));
            }
            None => false,
        },
        Shape::Condition => node.text().is_some() || node.boolean().is_some(),
        Shape::Value => true,
        Shape::With | Shape::List(..) | Shape::Object(_) | Shape::Choice(_) | Shape::Map(..) | Shape::Either(..) => false,
    };
    if good { None } else { wrong().map(|message| message + templated(node)) }
}

/// A number of targets, or a share of all.
pub(crate) fn amount(node: &Node) -> Option<Amount> {
    match node.number() {
        Some(number) => number.as_u64().and_then(|count| u32::try_from(count).ok()).map(Amount::Count),
        None => node.text().filter(|text| text.ends_with('%')).and_then(|text| text.parse().ok()),
    }
}

/// `10%`, as 10.
pub(crate) fn percent(node: &Node) -> Option<u32> {
    match amount(node) {
        Some(Amount::Percent(percent)) => Some(percent),
        _ => None,
    }
}

/// What to say of a value that would be right as text.
fn unquoted(node: &Node, shape: &Shape) -> &'static str {
    let right = match (shape, node.text()) {
        (Shape::Text(_), None) => true,
        (Shape::Form(form), None) => (form.check)(&shown(node)).is_ok(),
        _ => false,
    };
    if right { ": put it in quotes" } else { "" }
}

fn templated(node: &Node) -> &'static str {
    if node.text().is_some_and(|text| text.contains("${{")) { "; `${{ }}` is filled in under `with` only" } else { "" }
}

pub(crate) fn shown(node: &Node) -> String {
    let text = node.value().to_string();
    if text.chars().count() > 80 { text.chars().take(77).collect::<String>() + "…" } else { text }
}

pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
