//! A path such as `steps.drain.outputs.x` as it stands in the text of an expression.

/// The byte of `text` at which the part `index` of `path` begins; of several such paths it is the first.
pub(super) fn locate(text: &str, path: &[String], index: usize) -> Option<usize> {
    let wanted = path.get(..=index)?;
    let root = wanted.first()?;
    text.match_indices(root.as_str()).map(|(at, _)| at).filter(|at| is_root(text, *at)).find_map(|at| follow(text, at, wanted))
}

/// Whether a name that begins here is no part of another, and no field of something.
fn is_root(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    !before.ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '"' | '\'')) && !before.trim_end().ends_with('.')
}

/// Where the last of these parts begins, if they all stand one after the other from `at` on.
fn follow(text: &str, at: usize, parts: &[String]) -> Option<usize> {
    let (first, rest) = parts.split_first()?;
    let (mut begins, mut end) = (at, at + first.len());
    if is_name_byte(text, end) {
        return None;
    }
    for part in rest {
        let next = skip(text, end);
        let inner = skip(text, next + 1);
        match text.as_bytes().get(next)? {
            b'.' if text.get(inner..)?.starts_with(part.as_str()) && !is_name_byte(text, inner + part.len()) => {
                (begins, end) = (inner, inner + part.len());
            }
            b'[' => {
                let quote = *text.as_bytes().get(inner)?;
                if !matches!(quote, b'"' | b'\'') || !text.get(inner + 1..)?.starts_with(part.as_str()) {
                    return None;
                }
                let close = skip(text, inner + 1 + part.len() + 1);
                (begins, end) = (inner + 1, close + 1);
            }
            _ => return None,
        }
    }
    Some(begins)
}

fn skip(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + (rest.len() - rest.trim_start().len())
}

fn is_name_byte(text: &str, at: usize) -> bool {
    text.as_bytes().get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Whether the text is this path and nothing else.
pub(super) fn is_all(text: &str, path: &[String]) -> bool {
    let text = text.trim();
    let Some(begins) = path.len().checked_sub(1).and_then(|last| locate(text, path, last)) else { return false };
    let rest = text.get(begins + path.last().map_or(0, String::len)..).unwrap_or_default();
    text.starts_with(path.first().map_or("", String::as_str)) && matches!(rest, "" | "\"]" | "']")
}

/// As one writes it.
pub(super) fn spelled(path: &[String]) -> String {
    let mut text = String::new();
    for part in path {
        let plain = part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        match (text.is_empty(), plain) {
            (true, _) => text.push_str(part),
            (false, true) => text += &format!(".{part}"),
            (false, false) => text += &format!("[{part:?}]"),
        }
    }
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(parts: &[&str]) -> Vec<String> {
        parts.iter().map(|part| (*part).to_owned()).collect()
    }

    #[test]
    fn a_part_is_found_where_it_stands() {
        for (text, parts, index, at) in [
            ("inputs.a", &["inputs", "a"][..], 1, Some(7)),
            ("inputs.ab + inputs.a", &["inputs", "a"], 1, Some(19)),
            ("x.inputs.a + inputs . a", &["inputs", "a"], 1, Some(22)),
            ("steps[\"restart-db\"].outputs.x", &["steps", "restart-db", "outputs", "x"], 1, Some(7)),
            ("steps[ 'a' ].outputs.x", &["steps", "a", "outputs", "x"], 3, Some(21)),
            ("\"inputs.a\" == inputs.a", &["inputs", "a"], 0, Some(14)),
            ("other", &["inputs", "a"], 1, None),
        ] {
            assert_eq!(locate(text, &path(parts), index), at, "{text}");
        }
    }

    #[test]
    fn a_path_alone_is_told_from_one_among_others() {
        let a = path(&["steps", "a-b", "verdict"]);
        for (text, all) in [(" steps[\"a-b\"].verdict ", true), ("steps[\"a-b\"].verdict == \"ok\"", false), ("!steps[\"a-b\"].verdict", false)] {
            assert_eq!(is_all(text, &a), all, "{text}");
        }
        assert!(is_all("steps['a-b']", &a[..2]) && !is_all("inputs.x", &a));
        assert_eq!(spelled(&a), "steps[\"a-b\"].verdict");
    }
}
