//! Carries a checked expression out.
//!
//! In: the checked tree and the variables. Out: a JSON value. Only what the expression reads is taken
//! from the variables, and only after [`super::cost`] has found that it is not too much.

use std::ops::{Add, Div, Mul, Rem, Sub};
use std::sync::{Arc, LazyLock};

use cel::common::ast::operators;
use cel::objects::Key;
use cel::{Context, Env, ExecutionError, Value as Cel};
use serde_json::Value;

use super::check::{Checked, MATCHES};
use super::{ExprError, bounds, cost, explain, value};

/// The library's functions and walks, made once.
pub(super) static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// The call that the range of every walk goes through.
pub(super) const WALK: &str = "@walk";

type Operation = fn(Cel, Cel) -> Result<Cel, ExecutionError>;

/// Arithmetic, by the library's name and by the one that takes numbers of both sorts.
const ARITHMETIC: [(&str, &str, Operation); 5] = [
    (operators::ADD, "@add", Cel::add),
    (operators::SUBSTRACT, "@subtract", Cel::sub),
    (operators::MULTIPLY, "@multiply", Cel::mul),
    (operators::DIVIDE, "@divide", Cel::div),
    (operators::MODULO, "@rest", Cel::rem),
];

/// The name under which an operator takes whole numbers and fractions together.
pub(super) fn arithmetic(operator: &str) -> Option<&'static str> {
    ARITHMETIC.iter().find(|(name, _, _)| *name == operator).map(|(_, name, _)| *name)
}

pub(super) fn evaluate(checked: &Checked, variables: &Value) -> Result<Value, ExprError> {
    let context = context(checked, variables)?;
    let result = Cel::resolve(&checked.tree, &context).map_err(|error| explain::evaluation(checked, variables, &error))?;
    value::result(&result).map_err(|problem| ExprError::new(format!("`{}` {problem}", explain::short(&checked.text))))
}

/// Functions and values that the expression may use; refused where evaluating it could cost too much.
pub(super) fn context(checked: &Checked, variables: &Value) -> Result<Context<'static, 'static>, ExprError> {
    cost::refuse_costly(checked, Some(variables))?;
    let mut context = Context::with_env(Arc::clone(&ENV));
    let added = ARITHMETIC
        .iter()
        .try_for_each(|(_, name, operation)| context.add_function(name, move |left: Cel, right: Cel| mixed(left, right, *operation)))
        .and_then(|()| context.add_function(WALK, walk));
    let patterns = checked.patterns.clone();
    let added = added.and_then(|()| {
        context.add_function(MATCHES, move |text: Arc<String>, number: i64| {
            usize::try_from(number).ok().and_then(|number| patterns.get(number)).is_some_and(|pattern| pattern.is_match(&text))
        })
    });
    added.map_err(|_| ExprError::new("this program has no expressions: a function of its own has the name of another"))?;
    let paths = &checked.references.paths;
    for (at, path) in paths.iter().enumerate() {
        let root = &path[0];
        if paths[..at].iter().all(|earlier| earlier[0] != *root) {
            let below: Vec<(&[String], bool)> =
                paths.iter().filter(|path| path[0] == *root).map(|path| (&path[1..], checked.may_be_null.contains(path))).collect();
            if let Some(taken) = variables.get(root).and_then(|root| value::take(root, &below)) {
                context.add_variable_from_value(root.as_str(), taken);
            }
        }
    }
    Ok(context)
}

/// An operation on two numbers of which one may be whole and the other not.
fn mixed(left: Cel, right: Cel, operation: Operation) -> Result<Cel, ExecutionError> {
    match (left, right) {
        (Cel::Int(left), right @ Cel::Float(_)) => operation(Cel::Float(left as f64), right),
        (left @ Cel::Float(_), Cel::Int(right)) => operation(left, Cel::Float(right as f64)),
        (left, right) => operation(left, right),
    }
}

/// What a walk sees of a value: the elements of a list, or the keys of a map in their order.
fn walk(range: Cel) -> Result<Cel, ExecutionError> {
    let elements = match &range {
        Cel::List(list) => list.len(),
        Cel::Map(map) => map.map.len(),
        other => return Err(ExecutionError::UnexpectedType { got: other.type_of().to_string(), want: WALK.to_owned() }),
    };
    if u64::try_from(elements).is_ok_and(|elements| elements > bounds::WALKED) {
        return Err(ExecutionError::function_error(WALK, elements));
    }
    Ok(match range {
        Cel::Map(map) => {
            let mut keys: Vec<&Key> = map.map.keys().collect();
            keys.sort();
            Cel::List(Arc::new(keys.into_iter().map(Cel::from).collect()))
        }
        range => range,
    })
}
