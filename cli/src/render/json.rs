//! The `-o json` form: the messages of `mainstay.v1` in camelCase, enums as words.

use serde::Serialize;

use crate::error::CliError;

/// A message as indented JSON and a line break.
pub fn json(message: &impl Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(message).map_err(|error| CliError::failed(format!("the answer cannot be written as JSON: {error}")))?;
    Ok(text + "\n")
}
