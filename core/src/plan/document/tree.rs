//! The YAML reader's side of a plan: a tree of values, each with its place in the source.
//!
//! In: the source text. Out: a [`Node`], or what is not YAML about it. Sizes, nesting and what aliases expand
//! to are bounded while it is read; double keys are kept, so that they can be told with everything else.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, Spanned};

use crate::plan::{PlanError, syntax};

/// Where something stands in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Counts from 1.
    pub line: u64,
    /// Counts from 1, in characters.
    pub column: u64,
    /// Byte of the source at which it begins.
    from: usize,
}

impl From<Location> for Place {
    fn from(at: Location) -> Place {
        let from = at.span().byte_offset().and_then(|byte| usize::try_from(byte).ok()).unwrap_or(0);
        Place { line: at.line(), column: at.column(), from }
    }
}

/// A value with its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub at: Place,
    pub held: Held,
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum Held {
    Null,
    Boolean(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Fields(Vec<(Key, Node)>),
}

/// A field's name with its place.
#[derive(Debug)]
pub(crate) struct Key {
    pub at: Place,
    pub name: String,
}

/// Reads one document.
pub(crate) fn read(source: &str) -> Result<Node, PlanError> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        reject_unsupported_tags: true,
        // What only some readers take for a number is text to all of them.
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        budget: serde_saphyr::budget! {
            max_nodes: 50_000,
            max_events: 200_000,
            max_depth: 32,
            max_aliases: 100,
            max_anchors: 100,
            max_merge_keys: 100,
            max_total_scalar_bytes: 1 << 20,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 50_000,
        },
    };
    serde_saphyr::from_str_with_options(source, options).map_err(|error| PlanError { problems: vec![syntax::problem(&error)] })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Held>::deserialize(deserializer)?;
        Ok(Node { at: referenced.into(), held: value })
    }
}

impl<'de> Deserialize<'de> for Held {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Held, D::Error> {
        deserializer.deserialize_any(Values)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Held;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Held, E> {
        Ok(Held::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Held, E> {
        Ok(Held::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Held, E> {
        Ok(Held::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Held, E> {
        Ok(Held::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Held, E> {
        Number::from_f64(value).map(Held::Number).ok_or_else(|| E::custom("not a number to count with"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Held, E> {
        Ok(Held::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Held, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Held::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Held, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = entries.next_entry::<Spanned<String>, Node>()? {
            fields.push((Key { at: name.referenced.into(), name: name.value }, value));
        }
        Ok(Held::Fields(fields))
    }
}

impl Node {
    /// The field of that name; nothing where there is none, or where this has no fields. Of two of one name it
    /// is the first.
    pub fn field(&self, name: &str) -> Option<&Node> {
        self.fields().iter().find(|(key, _)| key.name == name).map(|(_, node)| node).filter(|node| !matches!(node.held, Held::Null))
    }

    pub fn fields(&self) -> &[(Key, Node)] {
        if let Held::Fields(fields) = &self.held { fields } else { &[] }
    }

    pub fn items(&self) -> &[Node] {
        if let Held::List(items) = &self.held { items } else { &[] }
    }

    pub fn text(&self) -> Option<&str> {
        if let Held::Text(text) = &self.held { Some(text) } else { None }
    }

    pub fn boolean(&self) -> Option<bool> {
        if let Held::Boolean(value) = self.held { Some(value) } else { None }
    }

    pub fn number(&self) -> Option<&Number> {
        if let Held::Number(number) = &self.held { Some(number) } else { None }
    }

    /// The text as a value of another type; nothing where it is none.
    pub fn parsed<T: FromStr>(&self) -> Option<T> {
        self.text()?.parse().ok()
    }

    /// The same without places.
    pub fn value(&self) -> Value {
        match &self.held {
            Held::Null => Value::Null,
            Held::Boolean(value) => Value::Bool(*value),
            Held::Number(number) => Value::Number(number.clone()),
            Held::Text(text) => Value::String(text.clone()),
            Held::List(items) => Value::Array(items.iter().map(Node::value).collect()),
            Held::Fields(_) => Value::Object(self.values()),
        }
    }

    pub fn values(&self) -> Map<String, Value> {
        self.fields().iter().map(|(key, node)| (key.name.clone(), node.value())).collect()
    }

    /// The node that a path such as `disk.warning` or `urls[1]` leads to, as far as it goes.
    pub fn follow(&self, path: &str) -> &Node {
        let mut node = self;
        for part in path.split(['.', '[']).filter(|part| !part.is_empty()) {
            let next = match part.strip_suffix(']') {
                Some(index) => index.parse().ok().and_then(|index: usize| node.items().get(index)),
                None => node.fields().iter().find(|(key, _)| key.name == part).map(|(_, node)| node),
            };
            let Some(next) = next else { return node };
            node = next;
        }
        node
    }

    /// Where the byte `offset` of this text stands in the source: exactly, where the text can be followed through
    /// quotes and line breaks, else where the value begins.
    pub fn inside(&self, source: &str, offset: usize) -> Place {
        let rest = source.get(self.at.from..).unwrap_or_default();
        let follow = |text: &str| {
            let unquoted = written(rest, text, offset, self.at.column);
            unquoted.or_else(|| Some(1 + written(rest.strip_prefix(['"', '\''])?, text, offset, self.at.column)?))
        };
        let Some(before) = self.text().and_then(follow).and_then(|at| rest.get(..at)) else { return self.at };
        match before.rsplit_once('\n') {
            None => Place { column: self.at.column + before.chars().count() as u64, ..self.at },
            Some((above, line)) => {
                Place { line: self.at.line + 1 + above.matches('\n').count() as u64, column: line.chars().count() as u64 + 1, ..self.at }
            }
        }
    }
}

/// The byte of `rest` that the byte `offset` of `text` was written as, when all of the text stands at the
/// beginning of `rest`: with lines folded and indented, and characters escaped.
fn written(rest: &str, text: &str, offset: usize, column: u64) -> Option<usize> {
    let indent = usize::try_from(column).ok()?.saturating_sub(1);
    let spaces = |at: usize| rest.get(at..).map_or(0, |rest| rest.len() - rest.trim_start_matches(' ').len());
    let mut at = 0;
    let mut found = (offset == text.len()).then_some(0);
    for (position, wanted) in text.char_indices() {
        // A block keeps the line break that ends it, and the text may end before the source does.
        let Some(there) = rest.get(at..)?.chars().next() else { break };
        if position == offset {
            found = Some(at);
        }
        at += match (there, wanted) {
            ('\n', '\n') => {
                let deep = spaces(at + 1);
                1 + if text.get(position + 1..).is_some_and(|next| next.starts_with(' ')) { deep.min(indent) } else { deep }
            }
            ('\n', ' ') => 1 + spaces(at + 1),
            ('\\', _) if there != wanted || rest.get(at + 1..)?.starts_with('\\') => {
                if !rest.get(at + 1..)?.starts_with(wanted) {
                    return None;
                }
                1 + wanted.len_utf8()
            }
            ('\'', '\'') if rest.get(at + 1..)?.starts_with('\'') => 2,
            _ if there == wanted => there.len_utf8(),
            _ => return None,
        };
    }
    if offset == text.len() { Some(at) } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line and column of `mark` within the value of `key`.
    fn place(source: &str, mark: &str) -> (u64, u64) {
        let document = read(source).unwrap();
        let node = document.field("key").unwrap();
        let at = node.inside(source, node.text().unwrap().find(mark).unwrap());
        (at.line, at.column)
    }

    #[test]
    fn a_place_within_a_text_is_found_however_it_is_written() {
        for (source, at) in [
            ("key: a + MARK", (1, 10)),
            ("key: 'a + MARK'", (1, 11)),
            ("key: 'it''s MARK'", (1, 13)),
            ("key: \"a \\\"b\\\" \\\\ MARK\"", (1, 18)),
            ("key: ä + MARK", (1, 10)),
            ("other: 1\nkey: |\n  a +\n    MARK\n", (4, 5)),
            ("key: >-\n  a +\n  MARK\n", (3, 3)),
            ("key: a +\n  MARK\n", (2, 3)),
            ("key: \"a +\n  MARK\"\n", (2, 3)),
            ("key: |\n  \"a\" + MARK\n", (2, 9)),
            // What cannot be followed is told where it begins.
            ("key: \"\\x41 MARK\"", (1, 6)),
        ] {
            assert_eq!(place(source, "MARK"), at, "{source}");
        }
    }
}
