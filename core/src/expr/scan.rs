//! Words of an expression, in one linear pass without recursion.
//!
//! In: text. Out: its tokens, or a refusal of what is too long, too deep, not closed or not part of the
//! language. The parser behind this calls itself for each level and each operator, so it only ever sees
//! what passed here. It also tells a template where `}}` ends an expression and where it is part of one.

use super::{ExprError, bounds};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Number,
    Text,
    Sign,
}

/// What follows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing: the text is the expression.
    Text,
    /// `}}`, outside of any brace or literal.
    Template,
}

pub(super) struct Scanned {
    pub tokens: Vec<Token>,
    /// Where the expression ends: the length of the text, or where its `}}` begins.
    pub end: usize,
}

/// Operators of two characters; a single one of their first characters is looked at afterwards.
const PAIRS: [&str; 6] = ["==", "!=", "<=", ">=", "&&", "||"];

pub(super) fn scan(text: &str, end: End) -> Result<Scanned, ExprError> {
    let bytes = text.as_bytes();
    let mut tokens: Vec<Token> = Vec::new();
    let mut open: Vec<(u8, usize)> = Vec::with_capacity(bounds::NESTING);
    let mut parts = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if at >= bounds::TEXT_BYTES {
            return Err(too_long());
        }
        let start = at;
        let mut kind = Kind::Sign;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            b'}' if end == End::Template && open.iter().all(|(bracket, _)| *bracket != b'{') && bytes.get(at + 1) == Some(&b'}') => break,
            b'"' | b'\'' => {
                kind = Kind::Text;
                at = literal(bytes, at, false).ok_or_else(|| not_ended(start))?;
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                at = bytes[at..].iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'_')).map_or(bytes.len(), |length| at + length);
                kind = Kind::Name;
                let prefix = &text[start..at];
                if matches!(bytes.get(at), Some(b'"' | b'\'')) && matches!(prefix, "r" | "R") {
                    kind = Kind::Text;
                    at = literal(bytes, at, true).ok_or_else(|| not_ended(start))?;
                }
            }
            b'0'..=b'9' => {
                kind = Kind::Number;
                at = number(bytes, at);
            }
            b'(' | b'[' | b'{' => {
                if open.len() >= bounds::NESTING {
                    return Err(ExprError::at(start, format!("brackets stand within each other more than {} deep", bounds::NESTING)));
                }
                open.push((byte, start));
                at += 1;
            }
            b')' | b']' | b'}' => {
                let opens = match byte {
                    b')' => b'(',
                    b']' => b'[',
                    _ => b'{',
                };
                match open.pop() {
                    Some((bracket, _)) if bracket == opens => {}
                    Some((bracket, _)) => return Err(ExprError::at(start, format!("`{}` does not close `{}`", byte as char, bracket as char))),
                    None => return Err(ExprError::at(start, format!("`{}` closes nothing", byte as char))),
                }
                at += 1;
            }
            b'.' if tokens.last().is_none_or(|before| before.kind == Kind::Sign && !matches!(bytes[before.start], b')' | b']' | b'}')) => {
                return Err(ExprError::at(start, "a dot follows a name: write `a.b`, and `0.5` for a number"));
            }
            b'.' | b',' | b':' | b'?' | b'+' | b'-' | b'*' | b'%' | b'<' | b'>' | b'!' | b'=' | b'&' | b'|' | b'/' => at += sign(text, at)?,
            _ => {
                let character = text[start..].chars().next().unwrap_or('\u{fffd}');
                return Err(ExprError::at(start, format!("`{}` means nothing in an expression", character.escape_default())));
            }
        }
        // A group, a separator and the dot before a field are no parts of their own.
        parts += usize::from(!matches!(byte, b'(' | b')' | b']' | b'}' | b',' | b':' | b'.'));
        if parts > bounds::PARTS {
            return Err(ExprError::new(format!("the expression has more than {} names, values and operators: make it smaller", bounds::PARTS)));
        }
        tokens.push(Token { kind, start, end: at });
    }
    if at > bounds::TEXT_BYTES {
        return Err(too_long());
    }
    if let Some((bracket, start)) = open.pop() {
        return Err(ExprError::at(start, format!("`{}` is not closed", bracket as char)));
    }
    Ok(Scanned { tokens, end: at.min(bytes.len()) })
}

fn too_long() -> ExprError {
    ExprError::new(format!("the expression is longer than {} bytes", bounds::TEXT_BYTES))
}

fn not_ended(start: usize) -> ExprError {
    ExprError::at(start, "this text has no closing quote")
}

/// Where the literal whose quote is at `at` ends; none if it does not.
fn literal(bytes: &[u8], mut at: usize, raw: bool) -> Option<usize> {
    let quote = *bytes.get(at)?;
    let triple = bytes.get(at..at + 3) == Some(&[quote; 3]);
    at += if triple { 3 } else { 1 };
    loop {
        match *bytes.get(at)? {
            b'\\' if !raw => at += 2,
            b'\n' | b'\r' if !triple => return None,
            byte if byte == quote && !triple => return Some(at + 1),
            byte if byte == quote && bytes.get(at..at + 3) == Some(&[quote; 3]) => return Some(at + 3),
            _ => at += 1,
        }
    }
}

/// Where the number that begins at `at` ends.
fn number(bytes: &[u8], mut at: usize) -> usize {
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_alphanumeric) {
            at += 1;
        }
        at
    };
    let hexadecimal = matches!(bytes.get(at + 1), Some(b'x' | b'X'));
    at = digits(at);
    if !hexadecimal && bytes.get(at) == Some(&b'.') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
        at = digits(at + 1);
    }
    if !hexadecimal && matches!(bytes[at - 1], b'e' | b'E') && matches!(bytes.get(at), Some(b'+' | b'-')) {
        at = digits(at + 1);
    }
    at
}

/// The length of the operator at `at`.
fn sign(text: &str, at: usize) -> Result<usize, ExprError> {
    let rest = &text[at..];
    if PAIRS.iter().any(|pair| rest.starts_with(pair)) {
        return Ok(2);
    }
    match rest.as_bytes() {
        [b'=', ..] => Err(ExprError::at(at, "`=` compares nothing: write `==`")),
        [b'&', ..] => Err(ExprError::at(at, "write `&&` for and")),
        [b'|', ..] => Err(ExprError::at(at, "write `||` for or")),
        [b'/', b'/', ..] => Err(ExprError::at(at, "an expression has no comments")),
        [b'.', b'?', ..] | [b'?', b'.', ..] => Err(ExprError::at(at, "ask with `has(…)` whether a field is there")),
        _ => Ok(1),
    }
}
