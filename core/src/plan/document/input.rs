//! `inputs`: what a run is given, and the values that a schedule gives.

use std::collections::BTreeMap;

use serde_json::Value;

use super::check::Checker;
use super::shape::{Field, Object, Shape};
use super::tree::Node;
use crate::bounds;
use crate::catalogue;
use crate::plan::input::{Input, InputType};

const TYPES: &[(&str, &str)] = &[
    ("text", "Text"),
    ("number", "A number"),
    ("integer", "A whole number"),
    ("boolean", "true or false"),
    ("duration", "A length of time such as 90s"),
    ("size", "A number of bytes such as 64Mi"),
    ("list", "A list of text"),
];

/// Description of anything.
pub(super) const DESCRIPTION: Shape = Shape::Text(bounds::DESCRIPTION_BYTES);

pub(super) const INPUT: Object = Object {
    name: "input",
    doc: "What a run is given. It is recorded with the run, and never a secret.",
    fields: &[
        Field::needed("type", Shape::Words(TYPES), "What its value may be"),
        Field::maybe("description", DESCRIPTION, "", "What it is for"),
        Field::maybe("default", Shape::Value, "", "Value where none is given; without it one must be given"),
        Field::maybe("oneOf", Shape::List(&Shape::Value, 1, bounds::INPUT_ONE_OF), "", "The only values that may be"),
        Field::maybe("minimum", Shape::Number, "", "Least number, or least length of a list"),
        Field::maybe("maximum", Shape::Number, "", "Greatest number, or greatest length of a list"),
    ],
};

pub(super) fn inputs(c: &mut Checker<'_>, node: Option<&Node>) -> BTreeMap<String, Input> {
    let entries = node.map(Node::fields).unwrap_or_default().iter();
    entries.filter_map(|(key, node)| Some((key.name.clone(), input(c, &key.name, node)?))).collect()
}

fn input(c: &mut Checker<'_>, name: &str, node: &Node) -> Option<Input> {
    let word = node.field("type")?.text()?;
    let ty = InputType::ALL.iter().find(|(_, known)| *known == word).map(|(ty, _)| *ty)?;
    let number = |name: &str| node.field(name).and_then(Node::number).and_then(serde_json::Number::as_f64);
    let mut input = Input {
        ty,
        description: node.field("description").and_then(Node::text).unwrap_or_default().to_owned(),
        default: None,
        one_of: Vec::new(),
        minimum: number("minimum"),
        maximum: number("maximum"),
    };
    let counted = matches!(ty, InputType::Number | InputType::Integer | InputType::List);
    for bound in ["minimum", "maximum"] {
        if let Some(at) = node.field(bound).filter(|_| !counted) {
            c.problem(at.at, format!("`{bound}` is for numbers and lists, and input `{name}` is {}", ty.as_str()));
        }
    }
    if let (Some(least), Some(most), Some(at)) = (input.minimum, input.maximum, node.field("maximum"))
        && least > most
    {
        c.problem(at.at, format!("`maximum` is {most}, and less than `minimum`, {least}"));
    }
    let of = |c: &mut Checker<'_>, label: &str, node: &Node, input: &Input| {
        let value = node.value();
        if let Some(problem) = input.problem(&value) {
            c.problem(node.at, format!("{label} of input `{name}` {problem}"));
        }
        value
    };
    let one_of: Vec<Value> =
        node.field("oneOf").map(Node::items).unwrap_or_default().iter().map(|value| of(c, "an entry of `oneOf`", value, &input)).collect();
    input.one_of = one_of;
    input.default = node.field("default").map(|value| of(c, "`default`", value, &input));
    Some(input)
}

/// The values that a schedule gives: each of its input's type, and one for each input that has no default.
pub(super) fn given(c: &mut Checker<'_>, schedule: &Node, inputs: &BTreeMap<String, Input>) -> BTreeMap<String, Value> {
    let entries = schedule.field("inputs").map(Node::fields).unwrap_or_default();
    let mut values = BTreeMap::new();
    for (key, node) in entries {
        let value = node.value();
        match inputs.get(&key.name) {
            Some(input) => {
                if let Some(problem) = input.problem(&value) {
                    c.problem(node.at, format!("input `{}` {problem}", key.name));
                }
            }
            None => {
                let hint = undeclared(&key.name, inputs);
                c.problem(key.at, format!("the plan has no input `{}`{hint}", key.name));
            }
        }
        values.insert(key.name.clone(), value);
    }
    for (name, _) in inputs.iter().filter(|(name, input)| input.default.is_none() && !values.contains_key(*name)) {
        c.problem(schedule.at, format!("input `{name}` has no default, so this schedule has to give it under `inputs`"));
    }
    values
}

/// What to say of an input that there is not.
pub(super) fn undeclared(name: &str, inputs: &BTreeMap<String, Input>) -> String {
    match catalogue::nearest(name, inputs.keys().map(String::as_str)) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None if inputs.is_empty() => ": it declares none under `inputs`".to_owned(),
        None => format!("; it has {}", inputs.keys().cloned().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_explained() {
        assert_eq!(TYPES.iter().map(|(word, _)| *word).collect::<Vec<_>>(), InputType::ALL.map(|(_, word)| word));
    }
}
