//! YAML from people: read within bounds, JSON being one form of it.

use serde::de::DeserializeOwned;

/// Why a text could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// From 1; 0 where the reader does not say.
    pub line: u64,
    pub column: u64,
    pub message: String,
}

/// Longest message taken over from the reader.
const MESSAGE_MAX: usize = 200;

/// Reads one document.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        reject_unsupported_tags: true,
        // As in plans: what only some readers take for a number is text.
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        budget: serde_saphyr::budget! {
            max_nodes: 50_000,
            max_events: 200_000,
            max_depth: 32,
            max_aliases: 100,
            max_anchors: 100,
            max_total_scalar_bytes: 1 << 20,
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let at = error.location();
        let said = error.without_snippet().to_string();
        // The reader repeats the place in its words; here it stands before them.
        let said = said.lines().next().unwrap_or_default().split(" at line ").next().unwrap_or_default();
        let message = said.chars().take(MESSAGE_MAX).collect();
        YamlError { line: at.map_or(0, |at| at.line()), column: at.map_or(0, |at| at.column()), message }
    })
}
