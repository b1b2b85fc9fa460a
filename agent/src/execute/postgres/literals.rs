//! Takes the values out of a statement, so that what somebody stored is not in a report: `name = 'Ana'` becomes
//! `name = ?`. What is left says which statement it is.

/// Longest text of a statement in a report.
const LENGTH_MAX: usize = 160;

/// The statement on one line, without strings, numbers and comments.
pub(super) fn without(sql: &str) -> String {
    let mut text = String::new();
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        if text.len() > LENGTH_MAX {
            return shortened(&text);
        }
        let after_word = text.ends_with(is_of_word);
        if c == '\'' {
            let escapes = drop_prefix(&mut text);
            text.push('?');
            rest = after_string(&rest[1..], escapes);
        } else if c == '"' {
            // A name, in which a quote is nothing special.
            let end = rest[1..].find('"').map_or(rest.len(), |end| end + 2);
            text.push_str(&rest[..end]);
            rest = &rest[end..];
        } else if let Some(tag) = dollar_tag(rest).filter(|_| !after_word) {
            text.push('?');
            let body = &rest[tag.len()..];
            rest = body.find(tag).map_or("", |end| &body[end + tag.len()..]);
        } else if c.is_ascii_digit() && !after_word {
            text.push('?');
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_');
        } else if rest.starts_with("--") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
        } else {
            if !c.is_whitespace() {
                text.push(c);
            } else if !text.ends_with(' ') && !text.is_empty() {
                text.push(' ');
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    shortened(text.trim_end())
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// What stands before a string and belongs to it: `E'…'`, `B'…'`, `U&'…'`. Whether it makes backslashes escape.
fn drop_prefix(text: &mut String) -> bool {
    let found = ["U&", "u&", "E", "e", "B", "b", "X", "x", "N", "n"].into_iter().find(|prefix| {
        let before = text.strip_suffix(prefix);
        before.is_some_and(|before| !before.ends_with(is_of_word))
    });
    if let Some(prefix) = found {
        text.truncate(text.len() - prefix.len());
    }
    matches!(found, Some("E" | "e"))
}

/// Behind the end of a string; a doubled quote is part of it, and one behind a backslash where that escapes.
fn after_string(rest: &str, escapes: bool) -> &str {
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if escapes => drop(chars.next()),
            '\'' if chars.peek().is_some_and(|(_, next)| *next == '\'') => drop(chars.next()),
            '\'' => return &rest[at + 1..],
            _ => {}
        }
    }
    ""
}

/// `$$` or `$tag$` at the beginning.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = text.strip_prefix('$')?.find('$')? + 1;
    let tag = &text[1..end];
    let is_tag = tag.chars().all(|c| c.is_alphanumeric() || c == '_') && !tag.starts_with(|c: char| c.is_ascii_digit());
    is_tag.then(|| &text[..=end])
}

fn shortened(text: &str) -> String {
    match text.char_indices().find(|(at, _)| *at >= LENGTH_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_and_the_statement_stays() {
        for (sql, text) in [
            ("SELECT *\n  FROM t1  WHERE name = 'Ana' AND id = 17", "SELECT * FROM t1 WHERE name = ? AND id = ?"),
            ("INSERT INTO x VALUES (E'a\\'b', 'it''s', 1.5e3, -2)", "INSERT INTO x VALUES (?, ?, ?, -?)"),
            ("DO $body$ 'secret' $body$; SELECT $1", "DO ?; SELECT $1"),
            ("SELECT $$x$$, a_1, 'unfinished", "SELECT ?, a_1, ?"),
            ("UPDATE u SET password='hunter2'", "UPDATE u SET password=?"),
            ("SELECT 'C:\\' AS a, 'secret'", "SELECT ? AS a, ?"),
            ("SELECT E'ü\\", "SELECT ?"),
            ("SELECT 1 -- don't\n, 'x' /* it's */ FROM \"o'b\"", "SELECT ? , ? FROM \"o'b\""),
            ("", ""),
        ] {
            assert_eq!(without(sql), text);
        }
        let long = without(&"SELECT überlang, ".repeat(100));
        assert!(long.ends_with('…') && long.len() < 200, "{long}");
    }
}
