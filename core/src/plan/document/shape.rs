//! The words in which the language is declared: fields, and what their values may be.
//!
//! Each section of a document declares its fields as one [`Object`], beside the code that reads it. The check
//! of a document, the published JSON Schema and the reference page all come from these declarations.

use crate::time::Millis;

/// A set of fields.
pub(crate) struct Object {
    /// In the schema.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub doc: &'static str,
    pub fields: &'static [Field],
}

/// One field.
pub(crate) struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
    /// As written in a plan; empty where there is none.
    pub default: &'static str,
    pub doc: &'static str,
}

/// What a value may be.
pub(crate) enum Shape {
    /// Text of at most so many bytes.
    Text(usize),
    Form(&'static Form),
    Boolean,
    /// A whole number from and to, both included.
    Integer(i64, i64),
    Number,
    /// A length of time from and to, both included.
    Duration(Millis, Millis),
    /// A number of targets, or a share of them: from and to, as a number.
    Amount(u32, u32),
    /// A whole percentage.
    Percent,
    /// One of these words, each with its meaning.
    Words(&'static [(&'static str, &'static str)]),
    /// The name of a step kind.
    Kind,
    /// The parameters of the step kind named beside it.
    With,
    /// An expression that is true or false.
    Condition,
    /// What an input may be: text, a number, true or false, a list of text.
    Value,
    /// So many at least and at most.
    List(&'static Shape, usize, usize),
    Object(&'static Object),
    /// Exactly one field of these.
    Choice(&'static Object),
    /// Names of one's own, at most so many.
    Map(&'static Form, &'static Shape, usize),
    /// Short, or with fields.
    Either(&'static Shape, &'static Shape),
}

/// Text that keeps to a form.
pub(crate) struct Form {
    /// After "should be".
    pub what: &'static str,
    /// A regular expression that takes all that is good, for editors; empty where there is none.
    pub pattern: &'static str,
    pub example: &'static str,
    /// What is wrong with a text, as a sentence.
    pub check: fn(&str) -> Result<(), String>,
}

impl Field {
    pub const fn needed(name: &'static str, shape: Shape, doc: &'static str) -> Field {
        Field { name, shape, required: true, default: "", doc }
    }

    pub const fn maybe(name: &'static str, shape: Shape, default: &'static str, doc: &'static str) -> Field {
        Field { name, shape, required: false, default, doc }
    }
}

impl Object {
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|field| field.name)
    }
}

impl Shape {
    /// In words, after "should be".
    pub fn describe(&self) -> String {
        match self {
            Shape::Text(most) => format!("text of at most {most} bytes"),
            Shape::Form(form) => form.what.to_owned(),
            Shape::Boolean => "true or false".to_owned(),
            Shape::Integer(from, to) => format!("a whole number from {from} to {to}"),
            Shape::Number => "a number".to_owned(),
            Shape::Duration(Millis(0 | 1), to) if to.0 == u64::MAX => "a duration such as 90s".to_owned(),
            Shape::Duration(Millis::ZERO, to) => format!("a duration such as 90s, at most {to}"),
            Shape::Duration(from, to) => format!("a duration from {from} to {to}"),
            Shape::Amount(from, _) => format!("a number from {from} on, or a percentage such as 25%"),
            Shape::Percent => "a whole percentage such as 10%".to_owned(),
            Shape::Words(words) => one_of(words.iter().map(|(word, _)| *word)),
            Shape::Kind => "a step kind".to_owned(),
            Shape::With | Shape::Map(..) | Shape::Object(_) | Shape::Choice(_) => "fields (`name: value`)".to_owned(),
            Shape::Condition => "an expression that is true or false".to_owned(),
            Shape::Value => "text, a number, true or false, or a list of text".to_owned(),
            Shape::List(..) => "a list".to_owned(),
            Shape::Either(short, _) => format!("{}, or fields (`name: value`)", short.describe()),
        }
    }
}

/// `a`, `a or b`, `a, b or c`
pub(crate) fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
