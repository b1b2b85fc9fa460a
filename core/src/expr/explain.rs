//! What went wrong, in words for whoever wrote the plan.

use cel::{ExecutionError, ParseErrors};
use serde_json::Value;

use super::check::Checked;
use super::evaluate::WALK;
use super::scan::{Kind, Token};
use super::{ExprError, bounds, value};
use crate::catalogue::nearest;

/// The beginning of a text, for a message.
pub(super) fn short(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// A path as one writes it.
pub(super) fn path(path: &[String]) -> String {
    let mut text = String::new();
    for name in path {
        let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if text.is_empty() {
            text.push_str(name);
        } else if plain || name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') && !name.is_empty() {
            text.push('.');
            text.push_str(name);
        } else {
            text.push_str(&format!("[{name:?}]"));
        }
    }
    short(&text)
}

/// What is at a path.
pub(super) fn find<'v>(variables: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(variables, |value, name| value.get(name))
}

/// The byte at which the character of that number begins.
pub(super) fn byte_of(text: &str, character: usize) -> Option<usize> {
    text.char_indices().nth(character).map(|(byte, _)| byte)
}

/// A name that is none of those an expression may begin a path with.
pub(super) fn unknown_root(text: &str, name: &str, roots: &[&str]) -> ExprError {
    let tokens = super::scan::scan(text, super::scan::End::Text).map(|scanned| scanned.tokens).unwrap_or_default();
    let is = |token: &Token, word: &str| &text[token.start..token.end] == word;
    let at = tokens.iter().enumerate().position(|(at, token)| token.kind == Kind::Name && is(token, name) && (at == 0 || !is(&tokens[at - 1], ".")));
    let offset = at.map(|at| tokens[at].start);
    // `steps.restart-db.outputs.x` reads as a subtraction.
    if let Some(at) = at
        && let [before, minus, token] = &tokens[at.saturating_sub(2)..=at]
        && before.kind == Kind::Name
        && is(minus, "-")
        && before.end == minus.start
        && minus.end == token.start
    {
        let name = &text[before.start..token.end];
        return ExprError { message: format!("a name with `-` is written in brackets: [\"{}\"]", short(name)), offset };
    }
    let meant = nearest(name, roots.iter().copied());
    let hint = meant.map_or_else(|| format!(": there are {}", roots.join(", ")), |meant| format!(": did you mean `{meant}`?"));
    ExprError { message: format!("there is no `{}`{hint}", short(name)), offset }
}

/// Why a text could not be read.
pub(super) fn syntax(text: &str, tokens: &[Token], errors: &ParseErrors) -> ExprError {
    let Some(error) = errors.errors.first() else { return ExprError::new("this is not an expression") };
    let line_start = usize::try_from(error.pos.0 - 1).map_or(0, |line| text.split_inclusive('\n').take(line).map(str::len).sum());
    let column = usize::try_from(error.pos.1 - 1).unwrap_or(0);
    let offset = text.get(line_start..).and_then(|line| byte_of(line, column)).map_or(text.len(), |byte| line_start + byte);
    let token = tokens.iter().find(|token| token.start <= offset && offset < token.end);
    let Some(token) = token else { return ExprError::at(tokens.last().map_or(0, |token| token.end), "the expression ends too early") };
    let word = short(&text[token.start..token.end]);
    let message = match error.msg.as_str() {
        message if message.starts_with("reserved identifier") => format!("`{word}` is a reserved word"),
        message if message.contains("int literal") || message.contains("double literal") => format!("`{word}` is too large, or not a number"),
        "argument must be a simple name" => "the first of the two is a new name for each element, as in list.exists(x, x > 1)".to_owned(),
        message if message.contains("has() macro") => "`has` asks for a field, as in has(steps.check.outputs.lag)".to_owned(),
        _ => match text[token.start..token.end].to_ascii_lowercase().as_str() {
            "and" => format!("write `&&` instead of `{word}`"),
            "or" => format!("write `||` instead of `{word}`"),
            "then" | "else" | "if" => "write `condition ? value : other`".to_owned(),
            _ if tokens.first().is_some_and(|first| text[first.start..first.end].eq_ignore_ascii_case("not")) => {
                "write `!` instead of `not`".to_owned()
            }
            _ => format!("`{word}` is not expected here"),
        },
    };
    ExprError::at(token.start, message)
}

/// A condition that is neither true nor false.
pub(super) fn no_truth(text: &str, value: &Value) -> ExprError {
    ExprError::new(format!("`{}` gives {}, and must give true or false", short(text), value::kind(value)))
}

/// Why an expression has no value.
pub(super) fn evaluation(checked: &Checked, variables: &Value, error: &ExecutionError) -> ExprError {
    let whole = short(&checked.text);
    ExprError::new(match error {
        ExecutionError::NoSuchKey(key) => {
            missing(checked, variables, Some(key)).unwrap_or_else(|| format!("a map in `{whole}` has no `{}`", short(key)))
        }
        ExecutionError::UndeclaredReference(name) => {
            missing(checked, variables, Some(name)).unwrap_or_else(|| format!("there is no `{}`", short(name)))
        }
        ExecutionError::UnexpectedType { got, want } if want == WALK => {
            format!("`{whole}` walks over {}, and can only walk over a list or a map", called(got))
        }
        ExecutionError::UnexpectedType { got, want } if want == "bool" => format!("`{whole}` needs true or false, not {}", called(got)),
        ExecutionError::NoSuchOverload(overload) => unfit(checked, variables, overload.function(), overload.argument_types()),
        ExecutionError::UnsupportedBinaryOperator(operator, left, right) => {
            let sign = match *operator {
                "add" => "+",
                "sub" => "-",
                "mul" => "*",
                "div" => "/",
                _ => "%",
            };
            format!("`{sign}` in `{whole}` does not take {} and {}", called(&left.type_of().to_string()), called(&right.type_of().to_string()))
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => format!("`{whole}` divides by zero"),
        ExecutionError::Overflow(..) => format!("a number in `{whole}` becomes too large"),
        ExecutionError::IndexOutOfBounds(_) => format!("a list in `{whole}` is shorter than the index"),
        ExecutionError::DuplicateKey(_) => format!("a map in `{whole}` has one key twice"),
        ExecutionError::FunctionError { function, message } if function == WALK => {
            format!("`{whole}` walks over {message} elements, and may walk over {} at most", bounds::WALKED)
        }
        ExecutionError::FunctionError { function, .. } => format!("`{function}` in `{whole}` cannot make anything of this value"),
        _ => format!("the values do not fit `{whole}`"),
    })
}

/// The first path of the expression that is not there, of those that miss `key`.
fn missing(checked: &Checked, variables: &Value, key: Option<&str>) -> Option<String> {
    checked.references.paths.iter().find_map(|read| {
        let mut value = variables;
        for (at, name) in read.iter().enumerate() {
            let last = at + 1 == read.len();
            match value.get(name) {
                Some(Value::Null) if key.is_none_or(|key| key == name) && !(last && checked.may_be_null.contains(read)) => {
                    return Some(format!("`{}` has no value", path(&read[..=at])));
                }
                Some(below) => value = below,
                None if key.is_none_or(|key| key == name) => {
                    let known = value.as_object().into_iter().flatten().map(|(known, _)| known.as_str());
                    let meant = nearest(name, known).map_or_else(String::new, |meant| format!(": did you mean `{}`?", short(meant)));
                    return Some(format!("there is no `{}`{meant}", path(read)));
                }
                None => return None,
            }
        }
        None
    })
}

/// An operator or function that does not take what it was given.
fn unfit(checked: &Checked, variables: &Value, function: &str, types: &[String]) -> String {
    let whole = short(&checked.text);
    if types.iter().any(|ty| ty == "null_type") {
        let null = checked.references.paths.iter().find(|path| find(variables, path) == Some(&Value::Null));
        return null.map_or_else(|| format!("a value in `{whole}` is null where one is needed"), |null| format!("`{}` has no value", path(null)));
    }
    if function == "_._" || function == "_[_]" {
        // A path that goes on below what is neither a map nor a list.
        let through = checked.references.paths.iter().find_map(|read| {
            let end = (1..read.len()).find(|end| find(variables, &read[..*end]).is_some_and(|value| !value.is_object()))?;
            Some(format!("`{}` is {}, it has no `{}`", path(&read[..end]), value::kind(find(variables, &read[..end])?), short(&read[end])))
        });
        return through.unwrap_or_else(|| format!("{} in `{whole}` has no such field", types.first().map_or("a value", |ty| called(ty))));
    }
    let sign = function.trim_start_matches('@').replace('_', "");
    match types {
        [left, right] => format!("`{sign}` in `{whole}` does not take {} and {}", called(left), called(right)),
        types => format!("`{sign}` in `{whole}` does not take {}", types.iter().map(|ty| called(ty)).collect::<Vec<_>>().join(" and ")),
    }
}

fn called(ty: &str) -> &'static str {
    match ty {
        "string" => "a text",
        "int" | "uint" | "double" | "float" => "a number",
        "bool" => "true or false",
        "list" => "a list",
        "map" => "a map",
        "null" | "null_type" => "nothing",
        _ => "such a value",
    }
}
