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
    /// Bytes of the source that it stands in.
    from: usize,
    len: usize,
}

impl From<Location> for Place {
    fn from(at: Location) -> Place {
        let span = at.span();
        let bytes = |count: Option<u64>| count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        Place { line: at.line(), column: at.column(), from: bytes(span.byte_offset()), len: bytes(span.byte_len()) }
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

    /// Where the byte `offset` of this text stands in the source: exactly where the source has the text as it
    /// is, else where the value begins.
    pub fn inside(&self, source: &str, offset: usize) -> Place {
        self.text().and_then(|text| exact(self.at, source, text, offset)).unwrap_or(self.at)
    }
}

fn exact(at: Place, source: &str, text: &str, offset: usize) -> Option<Place> {
    let written = source.get(at.from..at.from + at.len)?;
    let before = text.get(..offset)?;
    let opening = written.chars().next()?;
    if matches!(opening, '|' | '>') {
        return in_block(at, source, before, text);
    }
    let quoted = matches!(opening, '"' | '\'');
    let inner = if quoted { written.get(1..written.len().checked_sub(1)?)? } else { written };
    if inner != text || before.contains('\n') {
        return None;
    }
    let columns = before.chars().count() as u64 + u64::from(quoted);
    Some(Place { column: at.column + columns, ..at })
}

/// In a block (`|`) each line of the text is one of the source, behind its indentation.
fn in_block(at: Place, source: &str, before: &str, text: &str) -> Option<Place> {
    let down = before.matches('\n').count();
    let line = text.split('\n').nth(down)?;
    let number = at.line.checked_add(1 + down as u64)?;
    let written = source.lines().nth(usize::try_from(number.checked_sub(1)?).ok()?)?;
    let indent = written.strip_suffix(line)?;
    if !indent.chars().all(|c| c == ' ') {
        return None;
    }
    let columns = indent.len() + before.rsplit('\n').next().map_or(0, |rest| rest.chars().count());
    Some(Place { line: number, column: columns as u64 + 1, ..at })
}
