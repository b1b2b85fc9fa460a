//! `${{ … }}` within the values of a plan.
//!
//! In: a text, or a whole `with` block, and variables. Out: the same with each `${{ … }}` replaced by the
//! value of its expression. A text that is nothing but one `${{ … }}` becomes that value, with its type;
//! within a longer text a value is put in as text. **What was put in is never read again**: a value that
//! holds `${{` stays what it is, and keys are never templates. Text with a literal `${{` is written
//! `${{ "${{" }}`.

use serde_json::{Map, Value};

use super::scan::{self, End};
use super::{ExprError, Expression, References, bounds, explain, value};

const OPEN: &str = "${{";
const CLOSE: &str = "}}";

/// A text with at least one `${{ … }}` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Expression(Expression),
}

/// Whether there is a `${{` in it.
#[must_use]
pub fn has_template(text: &str) -> bool {
    text.contains(OPEN)
}

impl Template {
    /// Reads `text`; none when there is no `${{` in it. Offsets of errors count within `text`.
    pub fn parse(text: &str) -> Result<Option<Template>, ExprError> {
        let mut pieces = Vec::new();
        let mut at = 0;
        while let Some(found) = text[at..].find(OPEN) {
            let open = at + found;
            if open > at {
                pieces.push(Piece::Text(text[at..open].to_owned()));
            }
            let start = open + OPEN.len();
            let within = |error: ExprError| ExprError { offset: error.offset.map(|offset| start + offset).or(Some(open)), ..error };
            let end = start + scan::scan(&text[start..], End::Template).map_err(within)?.end;
            if !text[end..].starts_with(CLOSE) {
                return Err(ExprError::at(open, "`${{` without `}}`"));
            }
            pieces.push(Piece::Expression(Expression::parse(&text[start..end]).map_err(within)?));
            at = end + CLOSE.len();
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        if at < text.len() {
            pieces.push(Piece::Text(text[at..].to_owned()));
        }
        Ok(Some(Template { pieces }))
    }

    /// Its expressions, in order.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Expression(expression) => Some(expression),
            Piece::Text(_) => None,
        })
    }

    /// The one expression that the text is, and nothing else: its value keeps its type.
    #[must_use]
    pub fn only_expression(&self) -> Option<&Expression> {
        if let [Piece::Expression(only)] = self.pieces.as_slice() { Some(only) } else { None }
    }

    /// What its expressions read, one for each.
    pub fn references(&self) -> impl Iterator<Item = &References> {
        self.expressions().map(Expression::references)
    }

    /// As [`Template::fill`], while some paths have no value yet: what reads one of them stays as it is written.
    pub fn fill_known(&self, variables: &Value, unknown: &dyn Fn(&[String]) -> bool) -> Result<Value, ExprError> {
        if !self.expressions().any(|expression| expression.reads(unknown)) {
            return self.fill(variables);
        }
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Expression(later) if later.reads(unknown) => filled.push_str(&format!("{OPEN} {} {CLOSE}", later.text().trim())),
                Piece::Expression(_) => {
                    let one = Template { pieces: vec![Piece::Text(String::new()), piece.clone()] };
                    filled.push_str(one.fill(variables)?.as_str().unwrap_or_default());
                }
            }
        }
        Ok(Value::String(filled))
    }

    /// The value that stands for the text.
    pub fn fill(&self, variables: &Value) -> Result<Value, ExprError> {
        if let [Piece::Expression(only)] = self.pieces.as_slice() {
            return match only.evaluate(variables)? {
                Value::Null => Err(nothing(only)),
                value => Ok(value),
            };
        }
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Expression(expression) => match expression.evaluate(variables)? {
                    Value::Null => return Err(nothing(expression)),
                    Value::Bool(value) => filled.push_str(if value { "true" } else { "false" }),
                    Value::Number(number) => filled.push_str(&digits(&number)),
                    Value::String(text) => filled.push_str(&text),
                    other => {
                        let (text, kind) = (explain::short(expression.text().trim()), value::kind(&other));
                        return Err(ExprError::new(format!("`{text}` is {kind}, which cannot be put into a text")));
                    }
                },
            }
            // What the plan itself says is bounded with the plan.
            if filled.len() > bounds::VALUE_BYTES.max(crate::bounds::PLAN_BYTES) {
                return Err(ExprError::new("the text becomes too long when it is filled in"));
            }
        }
        Ok(Value::String(filled))
    }
}

/// Every text below `value` filled in, in maps and lists at any depth. Keys are never templates.
pub fn fill_value(value: &Value, variables: &Value) -> Result<Value, ExprError> {
    fill_below(value, &|template| template.fill(variables), bounds::VALUE_DEPTH)
}

/// As [`fill_value`], and what reads an unknown path stays as it is written.
pub fn fill_known(value: &Value, variables: &Value, unknown: &dyn Fn(&[String]) -> bool) -> Result<Value, ExprError> {
    fill_below(value, &|template| template.fill_known(variables, unknown), bounds::VALUE_DEPTH)
}

fn fill_below(value: &Value, fill: &dyn Fn(&Template) -> Result<Value, ExprError>, depth: usize) -> Result<Value, ExprError> {
    let depth = depth.checked_sub(1).ok_or_else(|| ExprError::new("maps and lists stand within each other too deep"))?;
    Ok(match value {
        Value::String(text) => Template::parse(text)?.map_or_else(|| Ok(value.clone()), |template| fill(&template))?,
        Value::Array(list) => Value::Array(list.iter().map(|value| fill_below(value, fill, depth)).collect::<Result<_, _>>()?),
        Value::Object(map) => {
            let filled = map.iter().map(|(key, value)| Ok((key.clone(), fill_below(value, fill, depth)?)));
            Value::Object(filled.collect::<Result<Map<_, _>, ExprError>>()?)
        }
        other => other.clone(),
    })
}

fn nothing(expression: &Expression) -> ExprError {
    ExprError::new(format!("`{}` gives nothing where a value is needed", explain::short(expression.text().trim())))
}

/// A number as people write it: an output may be 5 or 5.0, and means the same.
fn digits(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
        _ => number.to_string(),
    }
}
