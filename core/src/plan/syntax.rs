//! What the YAML reader objects to, in words for whoever wrote the plan.
//!
//! In: the reader's typed errors. Out: one [`Problem`] at its line and column. The reader's own words speak
//! of its types and options; they are used only where it is the text itself that is not YAML.

use serde_saphyr::Error;

use super::Problem;
use crate::catalogue;

/// Longest message taken over from the reader.
const MESSAGE_MAX: usize = 200;

pub(super) fn problem(error: &Error) -> Problem {
    let at = error.location();
    Problem { line: at.map_or(0, |at| at.line()), column: at.map_or(0, |at| at.column()), message: message(error.without_snippet()) }
}

fn message(error: &Error) -> String {
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => message(error),
        Error::Eof { .. } => "the document ends here and is not complete: it is empty, or was cut off".to_owned(),
        Error::MultipleDocuments { .. } => "a second document begins here: give each plan a file of its own".to_owned(),
        Error::Unexpected { expected, .. } => format!("there should be {} here", in_words(expected)),
        Error::InvalidScalar { ty, .. } => format!("there should be {} here", in_words(ty)),
        Error::NullIntoString { .. } => "a value is missing here".to_owned(),
        Error::InvalidBooleanStrict { .. } => "there should be true or false here".to_owned(),
        Error::NonFiniteFloat { value, .. } => format!("`{}` is not a number to count with", shortened(value)),
        Error::SerdeInvalidType { unexpected, expected, .. } | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            format!("there is {} here, and should be {}", shortened(unexpected), in_words(expected))
        }
        Error::SerdeUnknownField { field, expected, .. } => match catalogue::nearest(field, expected.iter().copied()) {
            Some(meant) => format!("there is no field `{}` here; did you mean `{meant}`?", shortened(field)),
            None => format!("there is no field `{}` here; there are {}", shortened(field), expected.join(", ")),
        },
        Error::SerdeMissingField { field, .. } => format!("the field `{field}` is missing beside this one"),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("`{}` is given twice: leave out one", shortened(key)),
        Error::DuplicateMappingKey { key: None, .. } => "a key is given twice: leave out one".to_owned(),
        Error::UnknownAnchor { .. } => "this refers to an anchor that is not defined before it".to_owned(),
        Error::UnsupportedTag { tag, .. } => format!("the tag `{}` is not allowed: give the value without it", shortened(tag)),
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => "the document is nested too deeply, or too large once its aliases are expanded".to_owned(),
        Error::ExternalMessage { msg, .. } if msg.contains("recursion limit") => "the document is nested too deeply".to_owned(),
        Error::ExternalMessage { msg, .. } => format!("this is not YAML: {}", shortened(msg)),
        other => {
            let text = other.to_string();
            // The reader repeats the place in its words; here it stands once, before them.
            let text = text.lines().next().unwrap_or_default().split(" at line ").next().unwrap_or_default();
            format!("this cannot be read: {}", shortened(text.trim_end_matches([',', ':'])))
        }
    }
}

fn in_words(expected: &str) -> &str {
    match expected {
        "mapping start" => "fields (`name: value`)",
        "sequence start" => "a list",
        "string scalar" => "text",
        "u8" | "u16" | "u32" | "u64" | "i32" | "i64" => "a whole number",
        "f64" => "a number",
        "bool" => "true or false",
        other => other,
    }
}

fn shortened(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(MESSAGE_MAX).collect()
}
