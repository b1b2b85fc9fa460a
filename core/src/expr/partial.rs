//! What is certain of a condition while part of what it reads has no value yet.
//!
//! In: a checked expression, the values that there are, and which paths have none yet. Out: true or false where
//! that holds whatever the missing values turn out to be, else nothing. It is the logic of three values: a part
//! that reads an unknown path is unknown, whichever functions it uses, and only `&&`, `||`, `!` and `? :` can
//! come to an answer without it. No value ever stands in for one that is missing.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, operators};
use cel::{Context, Value as Cel};
use serde_json::Value;

use super::check::{Checked, path_of};
use super::{ExprError, evaluate, explain, value};

/// Whether a path has no value yet.
pub(super) type Unknown<'u> = &'u dyn Fn(&[String]) -> bool;

pub(super) fn evaluate(checked: &Checked, variables: &Value, unknown: Unknown<'_>) -> Result<Option<bool>, ExprError> {
    let partial = Partial { checked, variables, context: evaluate::context(checked, variables)?, unknown };
    partial.of(&checked.tree)
}

struct Partial<'a> {
    checked: &'a Checked,
    variables: &'a Value,
    context: Context<'static, 'static>,
    unknown: Unknown<'a>,
}

impl Partial<'_> {
    fn of(&self, expr: &IdedExpr) -> Result<Option<bool>, ExprError> {
        if !self.is_unknown(expr) {
            return self.known(expr).map(Some);
        }
        let Expr::Call(CallExpr { func_name, args, .. }) = &expr.expr else { return Ok(None) };
        match (func_name.as_str(), args.as_slice()) {
            (operators::LOGICAL_AND, [left, right]) => Ok(self.unless(false, left, right)),
            (operators::LOGICAL_OR, [left, right]) => Ok(self.unless(true, left, right)),
            (operators::LOGICAL_NOT, [operand]) => Ok(self.of(operand)?.map(|known| !known)),
            (operators::CONDITIONAL, [condition, yes, no]) => match self.of(condition)? {
                Some(true) => self.of(yes),
                Some(false) => self.of(no),
                None => Ok(self.of(yes)?.filter(|yes| self.of(no).ok().flatten() == Some(*yes))),
            },
            _ => Ok(None),
        }
    }

    /// Two sides of which one that is `decisive` decides, whatever the other is. A side without an answer may still
    /// be outweighed by the other one.
    fn unless(&self, decisive: bool, left: &IdedExpr, right: &IdedExpr) -> Option<bool> {
        let sides = [left, right].map(|side| self.of(side).ok().flatten());
        if sides.contains(&Some(decisive)) { Some(decisive) } else { sides[0].and(sides[1]) }
    }

    fn known(&self, expr: &IdedExpr) -> Result<bool, ExprError> {
        let result = Cel::resolve(expr, &self.context).map_err(|error| explain::evaluation(self.checked, self.variables, &error))?;
        match value::result(&result) {
            Ok(Value::Bool(known)) => Ok(known),
            Ok(other) => Err(explain::no_truth(&self.checked.text, &other)),
            Err(problem) => Err(ExprError::new(format!("`{}` {problem}", explain::short(&self.checked.text)))),
        }
    }

    /// Whether any part of it reads what has no value yet.
    fn is_unknown(&self, expr: &IdedExpr) -> bool {
        if let Some((path, whole)) = path_of(&expr.expr) {
            return (self.unknown)(&path) || (!whole && self.is_unknown_below(expr));
        }
        match &expr.expr {
            Expr::Literal(_) | Expr::Ident(_) | Expr::Unspecified => false,
            Expr::Select(select) => self.is_unknown(&select.operand),
            Expr::Call(call) => {
                call.target.iter().any(|target| self.is_unknown(target)) || call.args.iter().any(|argument| self.is_unknown(argument))
            }
            Expr::List(list) => list.elements.iter().any(|element| self.is_unknown(element)),
            Expr::Map(map) => map.entries.iter().any(|entry| self.is_unknown_entry(&entry.expr)),
            Expr::Struct(fields) => fields.entries.iter().any(|entry| self.is_unknown_entry(&entry.expr)),
            Expr::Comprehension(walk) => {
                [&walk.iter_range, &walk.accu_init, &walk.loop_cond, &walk.loop_step, &walk.result].into_iter().any(|part| self.is_unknown(part))
            }
        }
    }

    fn is_unknown_entry(&self, entry: &EntryExpr) -> bool {
        match entry {
            EntryExpr::MapEntry(entry) => self.is_unknown(&entry.key) || self.is_unknown(&entry.value),
            EntryExpr::StructField(field) => self.is_unknown(&field.value),
        }
    }

    /// The indices of a path that are only known when it is evaluated read paths of their own.
    fn is_unknown_below(&self, expr: &IdedExpr) -> bool {
        match &expr.expr {
            Expr::Select(select) => self.is_unknown(&select.operand),
            Expr::Call(call) => call.args.iter().any(|argument| self.is_unknown(argument)),
            _ => false,
        }
    }
}
