//! Text measured in columns of a terminal: padding, shortening, wrapping.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text with spaces up to a width.
#[must_use]
pub fn pad(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

/// The text, or its beginning and an ellipsis where it is wider than `to`.
#[must_use]
pub fn shorten(text: &str, to: usize) -> String {
    if width(text) <= to {
        return text.to_owned();
    }
    let (mut kept, mut used) = (String::new(), 0);
    for c in text.chars() {
        let columns = c.width().unwrap_or(0);
        if used + columns + 1 > to {
            break;
        }
        used += columns;
        kept.push(c);
    }
    format!("{}…", kept.trim_end())
}

/// As [`shorten`], leaving out the middle: both ends of a path tell something.
#[must_use]
pub fn shorten_middle(text: &str, to: usize) -> String {
    if width(text) <= to || to < 5 {
        return shorten(text, to);
    }
    let head = (to - 1) / 3;
    let tail = to - 1 - head;
    let first: String = take_columns(text.chars(), head).into_iter().collect();
    let last: String = take_columns(text.chars().rev(), tail).into_iter().rev().collect();
    format!("{first}…{last}")
}

/// A noun and what it is of, at most `to` wide: of a path, the folders in front go first, the noun never.
#[must_use]
pub fn shorten_path(noun: &str, of: &str, to: usize) -> String {
    let whole = if of.is_empty() { noun.to_owned() } else { format!("{noun} {of}").trim_start().to_owned() };
    if width(&whole) <= to {
        return whole;
    }
    let prefix = if noun.is_empty() { String::new() } else { format!("{noun} ") };
    let room = to.saturating_sub(width(&prefix));
    let tails = of.match_indices('/').skip(1).map(|(at, _)| format!("…{}", &of[at..]));
    match tails.into_iter().find(|tail| width(tail) <= room) {
        Some(tail) => format!("{prefix}{tail}"),
        None if room >= 5 => format!("{prefix}{}", shorten_middle(of, room)),
        None => shorten_middle(&whole, to),
    }
}

fn take_columns(chars: impl Iterator<Item = char>, columns: usize) -> Vec<char> {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= columns
        })
        .collect()
}

/// The text in lines of at most `to` columns, broken between words where possible; as it is without a width.
#[must_use]
pub fn wrap(text: &str, to: Option<usize>) -> Vec<String> {
    match to {
        None => text.lines().map(str::to_owned).collect(),
        Some(to) => {
            let options = textwrap::Options::new(to.max(8))
                .word_splitter(textwrap::WordSplitter::NoHyphenation)
                .word_separator(textwrap::WordSeparator::AsciiSpace);
            textwrap::wrap(&glued(text), options).into_iter().map(|line| line.trim_end().replace('\u{a0}', " ")).collect()
        }
    }
}

/// A number stays with its unit: `24 h` is not broken.
fn glued(text: &str) -> String {
    const UNITS: [&str; 12] = ["%", "h", "s", "d", "ms", "min", "B", "KiB", "MiB", "GiB", "TiB", "days"];
    let mut words = text.split(' ').peekable();
    let mut glued = String::with_capacity(text.len() + 8);
    while let Some(word) = words.next() {
        glued.push_str(word);
        if let Some(next) = words.peek() {
            let is_quantity = word.ends_with(|c: char| c.is_ascii_digit()) && UNITS.contains(&next.trim_end_matches([',', ';', '.', ':', ')']));
            glued.push(if is_quantity { '\u{a0}' } else { ' ' });
        }
    }
    glued
}

/// What other people's text may hold and a terminal must not see: control characters become a space.
#[must_use]
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_to_their_width() {
        assert_eq!(shorten("no error lines", 8), "no erro…");
        assert_eq!(shorten("short", 8), "short");
        assert_eq!(shorten_middle("/etc/ssl/private/site.pem", 16), "/etc/…e/site.pem");
        assert_eq!(width(&shorten_middle("/etc/ssl/private/site.pem", 16)), 16);
        assert_eq!(pad("ab", 4), "ab  ");
        assert_eq!(shorten_path("log", "/var/log/apt/history.log", 24), "log …/apt/history.log");
        assert_eq!(shorten_path("log", "/var/log/apt/history.log", 30), "log /var/log/apt/history.log");
        assert_eq!(shorten_path("certificate", "/a/very-long-name-of-a-file.pem", 24), "certificate /ver…ile.pem".replace("/ver…ile", "/a/…file"));
        assert_eq!(shorten_path("CPU", "", 24), "CPU");
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(width("日本"), 4);
        assert_eq!(shorten("日本語", 5), "日本…");
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two three", Some(8)), ["one two", "three"]);
        assert_eq!(wrap("one two three", None), ["one two three"]);
        assert_eq!(wrap("", Some(10)), [""]);
        assert_eq!(wrap("in the last 24 h, twice", Some(14)), ["in the last", "24 h, twice"]);
    }

    #[test]
    fn escapes_of_others_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\u{1b}[31mb\tc"), "a [31mb c");
    }
}
