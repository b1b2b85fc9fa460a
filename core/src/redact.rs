//! Takes credentials out of text before it leaves the process that has it.
//!
//! In: output lines, errors, log examples, report fields. Out: the same text with every known shape of a
//! credential replaced by `[redacted]` and the rest untouched, at most [`LINE_MAX`] bytes a line. It knows
//! shapes only: a password that looks like a word, in a sentence that does not call it one, passes.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::report::{Check, Report};
use regex::{Regex, RegexBuilder};

/// What a credential becomes.
pub const MARK: &str = "[redacted]";
/// Longest line that leaves the agent; a longer one is cut, so that one line cannot fill a report or a queue.
pub const LINE_MAX: usize = 16 << 10;
/// Of a line that is cut, a word up to this length goes with the cut.
const CUT_WORD_MAX: usize = 4 << 10;
/// A private key of more lines than this is not one: what was taken for it ends here, so that a stray
/// `BEGIN` line does not swallow the rest of a stream.
const KEY_LINES_MAX: u32 = 400;

/// What each shape's automaton may cache: all of them together fit an agent that rests within 20 MiB.
const DFA_BYTES: usize = 128 << 10;

/// One shape, and what it is replaced by (`$name` puts back what may be seen).
struct Shape {
    regex: Regex,
    replacement: &'static str,
}

/// Names after which a value is a secret. `key` alone is too common a word; the qualified forms are here.
const SECRET_NAME: &str = r"[a-z0-9_.-]*(?:password|passwd|passphrase|pwd|secret|token|credentials?|api[_-]?key|apikey|access[_-]?key|secret[_-]?key|secret[_-]?access[_-]?key|private[_-]?key|account[_-]?key|auth[_-]?key|client[_-]?secret|encryption[_-]?key|sessionid|session[_-]?token|connection[_-]?string)";

static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    let quoted = format!(r#"(?i)(?P<name>["']?\b{SECRET_NAME}["']?\s*[:=]\s*(?:b?["']))(?:\\.|[^"'\\])+(?P<end>["']?)"#);
    let escaped = format!(r#"(?i)(?P<name>\\"{SECRET_NAME}\\"\s*:\s*\\")(?:[^"\\])+(?P<end>\\")"#);
    let bare = format!(r#"(?i)(?P<name>\b{SECRET_NAME}\s*[:=]\s*)[^\s"'&,;<>\[\]{{}}()]+"#);
    let option = format!(r#"(?i)(?P<name>(?:^|\s)--?{SECRET_NAME}\s+)[^\s-]\S*"#);
    let shapes: [(&str, &'static str); 23] = [
        // A whole key in one text; a key spread over lines is the `Redactor`'s.
        (r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|$)", "[redacted]"),
        // To the last @ before a slash: a password that was not escaped may hold one.
        (r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]{1,20}://)[^\s/@:\x22']*:(?:[^\s/\x22']+|[^\s@\x22']+)@", "${scheme}[redacted]@"),
        (r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]{1,20}://)[A-Za-z0-9_.~%-]{16,}@", "${scheme}[redacted]@"),
        (
            r"(?i)(?P<name>\b(?:proxy-)?authorization[\x22']?\s*[:=]\s*[\x22']?)(?P<scheme>(?:bearer|basic|token|digest|negotiate|apikey|aws4-hmac-sha256)\s+)?[^\r\n\x22']+",
            "${name}${scheme}[redacted]",
        ),
        (r"(?i)(?P<scheme>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{12,}", "${scheme}[redacted]"),
        (r"(?i)(?P<name>\b(?:set-)?cookie[\x22']?\s*:\s*[\x22']?)[^\r\n\x22']+", "${name}[redacted]"),
        (r"(?i)(?P<name>\bx-(?:api-key|auth-token|vault-token|amz-security-token)[\x22']?\s*:\s*[\x22']?)[^\s\x22']+", "${name}[redacted]"),
        (r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?", "[redacted]"),
        (r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b", "[redacted]"),
        (r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})", "[redacted]"),
        (r"\bglpat-[A-Za-z0-9_-]{16,}|\bgl(?:dt|rt|ptt|cbt|soat)-[A-Za-z0-9_-]{16,}", "[redacted]"),
        (r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bxapp-[A-Za-z0-9-]{10,}", "[redacted]"),
        (
            r"(?P<host>https://(?:hooks\.slack\.com|discord(?:app)?\.com|[a-z0-9.-]+\.webhook\.office\.com))/(?:services|workflows|api/webhooks|webhookb2)/[A-Za-z0-9/@_-]+",
            "${host}/[redacted]",
        ),
        (r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}|\bwhsec_[A-Za-z0-9]{16,}|\bsk-[A-Za-z0-9_-]{20,}", "[redacted]"),
        (
            r"\b(?:npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,}|dckr_pat_[A-Za-z0-9_-]{20,}|hv[sbr]\.[A-Za-z0-9_-]{20,}|AIza[A-Za-z0-9_-]{35}|AGE-SECRET-KEY-1[A-Z0-9]{20,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|ya29\.[A-Za-z0-9_-]{20,}|dop_v1_[a-f0-9]{32,}|hf_[A-Za-z0-9]{30,}|glsa_[A-Za-z0-9_]{30,}|lin_api_[A-Za-z0-9]{30,}|mst1\.[0-9a-f]{64}\.[0-9a-f]{64})",
            "[redacted]",
        ),
        // What is kept of a password: enough to try words on.
        (r"(?:\$(?:2[abxy]|argon2(?:id|i|d)|1|5|6|y|scrypt)\$[^\s:\x22']{12,}|\bSCRAM-SHA-(?:1|256|512)\$[^\s\x22']{12,})", "[redacted]"),
        // Signed URLs open what they name.
        (r"(?i)(?P<name>[?&](?:sig|x-amz-signature|x-amz-credential|x-goog-signature|signature)=)[^&\s\x22'<>]+", "${name}[redacted]"),
        // A statement that sets a password, and what databases log of it.
        (r"(?i)(?P<name>\b(?:password|identified\s+by(?:\s+password)?|requirepass|masterauth)\s+['\x22])(?:[^'\x22]|'')+", "${name}[redacted]"),
        // Client programs that take it as a part of an option, in a configuration or in the clear.
        (
            r"(?i)(?P<name>\b(?:mysql|mysqldump|mysqladmin|mariadb|mariadb-dump)\b[^\n|;]*?\s-p|\bcurl\b[^\n|;]*?\s(?:-u|--user)[\s=]+[^\s:]+:|\b(?:requirepass|masterauth)\s+|\x22auth\x22\s*:\s*\x22|\blogin\s+\S+\s+password\s+|\b_auth(?:Token)?\s*=\s*)[^\s\x22']+",
            "${name}[redacted]",
        ),
        (&escaped, "${name}[redacted]${end}"),
        (&quoted, "${name}[redacted]${end}"),
        (&bare, "${name}[redacted]"),
        (&option, "${name}[redacted]"),
    ];
    // A shape that does not compile would be a hole, and is a fault of this file: the tests count them.
    shapes
        .into_iter()
        .filter_map(|(pattern, replacement)| {
            RegexBuilder::new(pattern).dfa_size_limit(DFA_BYTES).build().ok().map(|regex| Shape { regex, replacement })
        })
        .collect()
});

/// One text, of one line or more, without its credentials. Not cut in length.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for shape in SHAPES.iter() {
        if let Cow::Owned(changed) = shape.regex.replace_all(&text, shape.replacement) {
            text = Cow::Owned(changed);
        }
    }
    text
}

/// One line without its credentials and without what a terminal would obey, at most [`LINE_MAX`] bytes long.
/// It is cut before it is searched, so that the work is bounded by the result; a word that the cut went
/// through goes as a whole, since half a credential has no shape to be known by.
#[must_use]
pub fn redact_line(line: &str) -> String {
    let whole = line.trim_end_matches(['\n', '\r']);
    let mut cut = floor_char(whole, LINE_MAX);
    if cut < whole.len() {
        let from = floor_char(whole, cut.saturating_sub(CUT_WORD_MAX));
        cut = whole[from..cut].rfind(char::is_whitespace).map_or(cut, |space| from + space);
    }
    let seen = visible(&whole[..cut]);
    let mut text = redact(&seen).into_owned();
    if cut < whole.len() || text.len() > LINE_MAX {
        let end = floor_char(&text, LINE_MAX - '…'.len_utf8());
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A text without what makes a terminal do something other than show it: colours are dropped, other control
/// characters and those that turn the direction of writing are replaced. Line ends and tabs stay.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    static SEQUENCE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("\u{1b}\\[[0-9;:?]*[ -/]*[@-~]").ok());
    let plain = SEQUENCE.as_ref().map_or(Cow::Borrowed(text), |sequence| sequence.replace_all(text, ""));
    Cow::Owned(plain.replace(obeyed, "\u{fffd}"))
}

/// Every text of a report without its credentials.
#[must_use]
pub fn redact_report(mut report: Report) -> Report {
    each_text(&mut report, &mut replace);
    report
}

/// Shows every text of a report that comes from outside, to be changed.
pub fn each_text(report: &mut Report, change: &mut dyn FnMut(&mut String)) {
    for Check { subject, message, hint, details, .. } in &mut report.checks {
        [subject, message, hint].into_iter().chain(details).for_each(&mut *change);
    }
    change(&mut report.output_tail);
    report.outputs.values_mut().for_each(|value| each_text_of(value, change));
}

fn each_text_of(value: &mut serde_json::Value, change: &mut dyn FnMut(&mut String)) {
    match value {
        serde_json::Value::String(text) => change(text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| each_text_of(item, change)),
        serde_json::Value::Object(fields) => {
            for (mut name, mut field) in std::mem::take(fields) {
                change(&mut name);
                each_text_of(&mut field, change);
                fields.insert(name, field);
            }
        }
        _ => {}
    }
}

fn replace(text: &mut String) {
    if let Cow::Owned(changed) = visible(text) {
        *text = changed;
    }
    if let Cow::Owned(changed) = redact(text) {
        *text = changed;
    }
}

/// Redacts a stream line by line, and remembers that it is inside of a private key.
#[derive(Debug, Default)]
pub struct Redactor {
    key_lines: Option<u32>,
}

impl Redactor {
    /// The line as it may be seen; `None` when nothing of it may.
    pub fn line(&mut self, line: &str) -> Option<String> {
        if let Some(lines) = self.key_lines {
            let ends = line.contains("-----END ") || lines >= KEY_LINES_MAX;
            self.key_lines = (!ends).then_some(lines + 1);
            return None;
        }
        if let Some(begin) = line.find("-----BEGIN ") {
            let rest = &line[begin..];
            let is_private = rest.contains("PRIVATE KEY-----") || rest.contains("PRIVATE KEY BLOCK-----");
            if is_private && !rest.contains("-----END ") {
                self.key_lines = Some(1);
                return Some(redact_line(&line[..begin]) + MARK);
            }
        }
        Some(redact_line(line))
    }
}

fn floor_char(text: &str, at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    (0..=at).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_compiles() {
        assert_eq!(SHAPES.len(), 23);
    }

    #[test]
    fn known_shapes_are_taken_out_and_their_surroundings_stay() {
        let aws = ["AKIA", "IOSFODNN7EXAMPLE"].concat();
        let github = ["ghp", "_", "0123456789abcdefghijABCDEFGHIJ012345"].concat();
        let slack = ["xoxb", "-123456789012-abcdefghijkl"].concat();
        let stripe = ["sk", "_live_", "0123456789abcdefgh"].concat();
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl";
        for (text, expected) in [
            ("dial postgres://app:s3cr3t@db:5432/orders failed", "dial postgres://[redacted]@db:5432/orders failed"),
            ("redis://:p%40ss@cache:6379", "redis://[redacted]@cache:6379"),
            ("password=hunter2 user=ana", "password=[redacted] user=ana"),
            ("PGPASSWORD=hunter2 psql", "PGPASSWORD=[redacted] psql"),
            ("DB_PASSWORD: hunter2", "DB_PASSWORD: [redacted]"),
            (r#"{"user":"ana","password":"hun\"ter2","x":1}"#, r#"{"user":"ana","password":"[redacted]","x":1}"#),
            (r#"body: {\"apiKey\":\"abc123\",\"n\":1}"#, r#"body: {\"apiKey\":\"[redacted]\",\"n\":1}"#),
            ("api_key='abc def' next", "api_key='[redacted]' next"),
            ("GET /x?token=abc123&page=2", "GET /x?token=[redacted]&page=2"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
            ("authorization: Basic dXNlcjpwYXNz", "authorization: Basic [redacted]"),
            ("sent bearer 0123456789abcdef", "sent bearer [redacted]"),
            ("Set-Cookie: sid=1; Path=/", "Set-Cookie: [redacted]"),
            ("X-Vault-Token: s.12345", "X-Vault-Token: [redacted]"),
            ("mysqldump --password hunter2 orders", "mysqldump --password [redacted] orders"),
            ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nafter", "[redacted]\nafter"),
        ] {
            assert_eq!(redact(text), expected);
        }
        for secret in [aws.as_str(), &github, &slack, &stripe, jwt] {
            assert_eq!(redact(&format!("found {secret} there")), "found [redacted] there");
        }
    }

    #[test]
    fn plain_text_is_not_touched() {
        for text in [
            "GET https://shop.example/cart?page=2 200 in 12 ms",
            "user ana logged in from 10.1.2.3 port 22",
            "token bucket refilled",
            "password authentication failed for user \"app\"",
            "connect to http://db:5432/x and mail ana@example.org",
            "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn a_key_over_many_lines_is_swallowed_and_the_stream_goes_on() {
        let mut redactor = Redactor::default();
        let lines = ["before", "key: -----BEGIN RSA PRIVATE KEY-----", "MIIEow", "AAAA", "-----END RSA PRIVATE KEY-----", "after"];
        let seen: Vec<String> = lines.iter().filter_map(|line| redactor.line(line)).collect();
        assert_eq!(seen, ["before", "key: [redacted]", "after"]);

        let mut redactor = Redactor::default();
        redactor.line("-----BEGIN PRIVATE KEY-----");
        let swallowed = (0..10_000).take_while(|_| redactor.line("text").is_none()).count();
        assert_eq!(swallowed as u32, KEY_LINES_MAX);
    }

    #[test]
    fn a_terminal_is_shown_text_and_told_nothing() {
        assert_eq!(visible("plain ü\tline\n"), "plain ü\tline\n");
        assert_eq!(visible("\u{1b}[31mERROR\u{1b}[0m a\u{7}b\u{1b}]0;title\u{9c}\u{202e}x"), "ERROR a\u{fffd}b\u{fffd}]0;title\u{fffd}\u{fffd}x");
        assert_eq!(redact_line("pass\u{1b}[1mword=hunter2"), "password=[redacted]");
    }

    #[test]
    fn what_a_cut_leaves_of_a_word_goes_too() {
        let line = format!("{} token {}", "x ".repeat(LINE_MAX / 2 - 10), "AKIA".to_owned() + &"A".repeat(16));
        let cut = redact_line(&line);
        assert!(cut.len() <= LINE_MAX && !cut.contains("AKIA") && cut.ends_with("token…"), "{}", &cut[cut.len() - 40..]);
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let line = "ü".repeat(LINE_MAX);
        let cut = redact_line(&line);
        assert!(cut.len() <= LINE_MAX && cut.ends_with("ü…"));
        assert_eq!(redact_line("short\r\n"), "short");
    }
}
