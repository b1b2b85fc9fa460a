//! The one expression language of plans: CEL, with bounds.
//!
//! In: the text of an `if`, or of a `${{ … }}` within `with` ([`template`]), and the values it may read,
//! as JSON. Out: a JSON value, or words for whoever wrote the plan. Nothing of the library behind it
//! shows.
//!
//! An expression is bounded **before** it is accepted: a linear [`scan`] refuses what is too long, too
//! large or too deep, so that no recursive parser ever sees it; [`check`] refuses nested walks over
//! lists, unknown functions and costly patterns, and finds every path that is read; [`cost`] refuses
//! what would compute too much, first with what is known from the text alone, then, before each
//! evaluation, with the values. See [`bounds`].
//!
//! What differs from plain CEL:
//! - What does not exist, or is null, is an error that names the path, never `false`. Only `has(path)`
//!   and a comparison with `null` itself may ask.
//! - Whole numbers and numbers with a fraction mix, because an output may be written either way.
//!   `5 / 2` is 2, as in CEL; `5.0 / 2` is 2.5.
//! - A walk over a map sees its keys in order. Walks follow each other, but never stand within each other.
//! - There are no times, durations, bytes, types or optional values.
//!
//! Evaluation stays off the path of decisions: [`crate::State::apply`] never calls this module, and what
//! was evaluated enters the log as a value within a command.

pub mod bounds;
mod check;
mod cost;
mod evaluate;
mod explain;
mod partial;
mod scan;
pub mod template;
mod value;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

pub use check::{References, Walked};

/// Text that has been checked and can be evaluated. Cheap to clone.
#[derive(Clone)]
pub struct Expression {
    checked: Arc<check::Checked>,
}

/// What is wrong with an expression, in words for whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    pub message: String,
    /// Byte in the text where it shows, when it is one place.
    pub offset: Option<usize>,
}

impl ExprError {
    pub(crate) fn new(message: impl Into<String>) -> ExprError {
        ExprError { message: message.into(), offset: None }
    }

    pub(crate) fn at(offset: usize, message: impl Into<String>) -> ExprError {
        ExprError { message: message.into(), offset: Some(offset) }
    }
}

impl Expression {
    /// Checks `text`. Takes time and memory in proportion to its length at most, whatever is in it.
    pub fn parse(text: &str) -> Result<Expression, ExprError> {
        Ok(Expression { checked: Arc::new(check::check(text)?) })
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.checked.text
    }

    /// The paths that it reads.
    #[must_use]
    pub fn references(&self) -> &References {
        &self.checked.references
    }

    /// Refuses names that are none of `roots`, with the place and with what was probably meant.
    pub fn check_roots(&self, roots: &[&str]) -> Result<(), ExprError> {
        for path in &self.checked.references.paths {
            if let Some(name) = path.first()
                && !roots.contains(&name.as_str())
            {
                return Err(explain::unknown_root(self.text(), name, roots));
            }
        }
        Ok(())
    }

    /// Its value, with `variables` a map from root names to what is below them.
    pub fn evaluate(&self, variables: &Value) -> Result<Value, ExprError> {
        evaluate::evaluate(&self.checked, variables)
    }

    /// Its value where only true or false will do, as in `if`.
    pub fn evaluate_bool(&self, variables: &Value) -> Result<bool, ExprError> {
        match self.evaluate(variables)? {
            Value::Bool(value) => Ok(value),
            other => Err(explain::no_truth(self.text(), &other)),
        }
    }

    /// As [`Expression::evaluate_bool`], while the paths that are `unknown` have no value yet: nothing where the
    /// answer depends on them.
    pub fn evaluate_known(&self, variables: &Value, unknown: &dyn Fn(&[String]) -> bool) -> Result<Option<bool>, ExprError> {
        partial::evaluate(&self.checked, variables, unknown)
    }

    /// Whether it reads a path of which that holds.
    #[must_use]
    pub fn reads(&self, what: &dyn Fn(&[String]) -> bool) -> bool {
        self.checked.references.paths.iter().any(|path| what(path))
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text()).finish()
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Expression {}
