//! The expressions of a plan: `if`, and `${{ … }}` in the values under `with`.
//!
//! Each is bounded and read before the plan is taken. What it reads has to be there, to be known by then, and to
//! be of a type that can be right where it goes; what it comes to is known only when the run is there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::check::{Checker, shown};
use super::path::{is_all, locate};
use super::references::{ROOTS, Reader, Scope, wrong_word};
use super::tree::Node;
use crate::bounds;
use crate::catalogue::{self, CONNECTION_PARAM, ParamType};
use crate::expr::template::{Template, has_template};
use crate::expr::{ExprError, Expression};
use crate::plan::input::Input;

pub(super) fn check(c: &mut Checker<'_>, steps: &[Node], inputs: &BTreeMap<String, Input>) {
    let scope = Scope::new(steps, inputs);
    for (step, node) in steps.iter().enumerate() {
        let reader = Reader { step, undo: false, at_start: false };
        if let Some(condition) = node.field("if") {
            check_condition(c, &scope, reader, condition);
        }
        check_with(c, &scope, reader, node);
        if let Some(undo) = node.field("undo") {
            check_with(c, &scope, Reader { undo: true, ..reader }, undo);
        }
    }
}

/// Whether there may be one more expression in the plan.
fn one_more(c: &mut Checker<'_>, node: &Node) -> bool {
    c.expressions += 1;
    if c.expressions == bounds::PLAN_EXPRESSIONS + 1 {
        c.problem(node.at, format!("the plan has more than {} expressions", bounds::PLAN_EXPRESSIONS));
    }
    c.expressions <= bounds::PLAN_EXPRESSIONS
}

fn told(c: &mut Checker<'_>, node: &Node, error: ExprError) {
    let at = error.offset.map_or(node.at, |offset| node.inside(c.source, offset));
    c.problem(at, error.message);
}

fn check_condition(c: &mut Checker<'_>, scope: &Scope<'_>, reader: Reader, node: &Node) {
    let Some(text) = node.text() else { return };
    if has_template(text) {
        c.problem(node.at, "`if` is an expression as it stands: write it without `${{ }}`");
        return;
    }
    if !one_more(c, node) {
        return;
    }
    let expression = match Expression::parse(text) {
        Ok(expression) => expression,
        Err(error) => return told(c, node, error),
    };
    if !check_paths(c, scope, reader, node, &expression, 0) {
        return;
    }
    let paths = &expression.references().paths;
    match paths.as_slice() {
        // It reads nothing, so what it comes to is known now.
        [] => {
            if let Err(error) = expression.evaluate_bool(&json!({})) {
                told(c, node, error);
            }
        }
        [path] if is_all(text, path) => {
            let ty = match path.as_slice() {
                [root, name] if root == "inputs" => scope.inputs.get(name).map(|input| input.ty.as_str()),
                path => scope.output_type(path),
            };
            if let Some(ty) = ty.filter(|ty| *ty != "boolean") {
                c.problem(node.at, format!("`if` is true or false, and `{}` is of type {ty}: compare it with something", text.trim()));
            }
        }
        _ => {}
    }
}

/// Whether all that an expression reads is there; `start` is where it begins in the text of the node.
fn check_paths(c: &mut Checker<'_>, scope: &Scope<'_>, reader: Reader, node: &Node, expression: &Expression, start: usize) -> bool {
    if let Err(error) = expression.check_roots(&ROOTS) {
        told(c, node, ExprError { offset: error.offset.map(|offset| start + offset), ..error });
        return false;
    }
    let mut sound = true;
    for path in &expression.references().paths {
        if let Some((part, message)) = scope.wrong(path, reader) {
            let offset = locate(expression.text(), path, part).map(|offset| start + offset);
            told(c, node, ExprError { message, offset });
            sound = false;
        }
    }
    let references = expression.references();
    let of_elements = references.walked.iter().filter_map(|walked| Some((&walked.path, scope.wrong_element(walked)?)));
    let of_words = references.compared.iter().filter_map(|(path, text)| Some((path, wrong_word(&references.walked, path, text)?)));
    for (path, (part, message)) in of_elements.chain(of_words) {
        let offset = locate(expression.text(), path, part).map(|offset| start + offset);
        told(c, node, ExprError { message, offset });
        sound = false;
    }
    sound
}

fn check_with(c: &mut Checker<'_>, scope: &Scope<'_>, reader: Reader, step: &Node) {
    let Some(kind) = step.field("uses").and_then(Node::text).and_then(catalogue::kind) else { return };
    for (key, value) in step.field("with").map(Node::fields).unwrap_or_default() {
        let reader = Reader { at_start: key.name == CONNECTION_PARAM, ..reader };
        check_value(c, scope, reader, &key.name, value, kind.param(&key.name).map(|param| &param.ty));
    }
}

fn check_value(c: &mut Checker<'_>, scope: &Scope<'_>, reader: Reader, label: &str, node: &Node, ty: Option<&ParamType>) {
    if let Some(text) = node.text().filter(|text| has_template(text)) {
        check_template(c, scope, reader, label, node, text, ty);
    }
    for (i, item) in node.items().iter().enumerate() {
        let of = if let Some(ParamType::List(of)) = ty { Some(*of) } else { None };
        check_value(c, scope, reader, &format!("{label}[{i}]"), item, of);
    }
    for (key, inner) in node.fields() {
        let of = match ty {
            Some(ParamType::Thresholds(of)) => Some(*of),
            Some(ParamType::Map) => Some(&ParamType::Text),
            Some(ParamType::Fields(params)) => params.iter().find(|param| param.name == key.name).map(|param| &param.ty),
            Some(ParamType::Choice(choices, others)) => choices.iter().chain(*others).find(|param| param.name == key.name).map(|param| &param.ty),
            _ => None,
        };
        check_value(c, scope, reader, &format!("{label}.{}", key.name), inner, of);
    }
}

fn check_template(c: &mut Checker<'_>, scope: &Scope<'_>, reader: Reader, label: &str, node: &Node, text: &str, ty: Option<&ParamType>) {
    let template = match Template::parse(text) {
        Ok(Some(template)) => template,
        Ok(None) => return,
        Err(error) => return told(c, node, error),
    };
    let mut sound = true;
    let mut from = 0;
    for expression in template.expressions() {
        if !one_more(c, node) {
            return;
        }
        let start = text.get(from..).and_then(|rest| rest.find(expression.text())).map_or(from, |at| from + at);
        from = start + expression.text().len();
        sound &= check_paths(c, scope, reader, node, expression, start);
    }
    match (template.only_expression(), ty) {
        (Some(only), Some(ty)) if sound => check_type(c, scope, label, node, only, ty),
        (None, Some(ty)) if !ty.is_text() => {
            c.problem(node.at, format!("`{label}` is {}, which comes to text, and should be {}", shown(node), ty.describe()));
        }
        _ => {}
    }
}

/// A value that is one input or one output goes where values of its type can go.
fn check_type(c: &mut Checker<'_>, scope: &Scope<'_>, label: &str, node: &Node, expression: &Expression, ty: &ParamType) {
    let [path] = expression.references().paths.as_slice() else { return };
    if !is_all(expression.text(), path) {
        return;
    }
    let short = expression.text().trim();
    let (of, values) = match path.as_slice() {
        [root, name] if root == "inputs" => {
            let Some(input) = scope.inputs.get(name) else { return };
            (input.ty.as_str(), known_values(input))
        }
        path => match scope.output_type(path) {
            Some(of) => (of, Vec::new()),
            None => return,
        },
    };
    // Of a step for which no connection is named there is nothing to do, and it says so.
    let names_none = |value: &Value| *ty == ParamType::Connection && label == "connection" && value == "";
    if !can_be(of, ty) {
        c.problem(node.at, format!("`{label}` should be {}, and `{short}` is of type {of}", ty.describe()));
    } else if let Some(value) = values.into_iter().find(|value| !names_none(value) && !ty.takes(&ty.fit(value.clone()))) {
        c.problem(node.at, format!("`{label}` should be {}, and `{short}` may be {value}", ty.describe()));
    }
}

/// Values that an input is known to have.
fn known_values(input: &Input) -> Vec<Value> {
    input.one_of.iter().chain(&input.default).cloned().collect()
}

/// Whether some value of a declared type is one of the parameter's, after [`ParamType::fit`].
fn can_be(of: &str, ty: &ParamType) -> bool {
    match ty {
        ParamType::Text => of != "list",
        ParamType::Integer(..) | ParamType::Number => matches!(of, "number" | "integer"),
        ParamType::Boolean => of == "boolean",
        ParamType::List(_) => of == "list",
        ParamType::Thresholds(_) | ParamType::Map | ParamType::Values | ParamType::Fields(_) | ParamType::Choice(..) | ParamType::NotYet(_) => false,
        ParamType::Percent => matches!(of, "number" | "integer" | "text"),
        ParamType::RootCertificate => of == "text",
        ParamType::HttpStatus => matches!(of, "number" | "integer" | "text"),
        ParamType::Duration => matches!(of, "duration" | "text"),
        _ => matches!(of, "text" | "duration" | "size"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::input::InputType;

    #[test]
    fn every_type_of_an_input_goes_somewhere() {
        for (ty, word) in InputType::ALL {
            let params = [ParamType::Text, ParamType::Number, ParamType::Boolean, ParamType::List(&ParamType::Text)];
            assert!(params.iter().any(|param| can_be(word, param)), "{ty:?}");
        }
    }
}
