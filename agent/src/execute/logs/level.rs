//! The level that a log line gives itself.
//!
//! In: one line. Out: error or worse, warning, lower, or none of its own. A line is judged by what says a
//! level (a field, a bracket, a word in the header, a priority), never by a word in its message: `0 errors`,
//! `error_rate=0` and `GET /error 200` are not errors.

use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::stamp;

/// Ordered by how bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Lower,
    Warning,
    /// Error, critical, alert, emergency, fatal, panic.
    Error,
}

/// How a level was told; a weak one does not stand up against the line before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A field, a bracket, a priority, a word in the header.
    Field,
    /// The message itself starts with it: `error: …`, `Traceback …`.
    Message,
}

/// Header of a line: nobody writes a level behind this many words, …
const HEAD_WORDS: usize = 14;
/// … or bytes.
const HEAD_BYTES: usize = 320;

/// The level of that name, in any case; `None` when it is not a level's name.
#[must_use]
pub fn named(word: &str) -> Option<Level> {
    if word.len() > 13 {
        return None;
    }
    Some(match word.to_ascii_lowercase().as_str() {
        "error" | "err" | "eror" | "fatal" | "crit" | "critical" | "alert" | "emerg" | "emergency" | "panic" | "severe" | "dpanic" => Level::Error,
        "warn" | "warning" | "wrn" => Level::Warning,
        "info" | "inf" | "information" | "informational" | "notice" | "note" | "debug" | "dbg" | "dbug" | "trace" | "trce" | "verbose" | "fine"
        | "finer" | "finest" | "config" | "system" | "log" | "statement" | "detail" | "hint" | "context" | "ok" | "audit" => Level::Lower,
        _ => return None,
    })
}

/// Whether a line may have the level warning or worse; cheap, and never wrong when it says no.
#[must_use]
pub fn is_candidate(line: &str) -> bool {
    static WORDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#"(?i-u)err|eror|fatal|crit|alert|emerg|panic|severe|wa?rn|fail: |traceback|exception|^\s*(?:<|[WEF]\d|\{)|\\u001b|"s(?:everity)?"\s*:|PRIORITY| # "#).ok()
    });
    WORDS.as_ref().is_none_or(|words| words.is_match(head(line)) || line.starts_with('{'))
}

/// The level that the line gives itself, and how.
#[must_use]
pub fn of(line: &str) -> Option<(Level, Mark)> {
    let line = line.trim_start_matches('\u{feff}');
    let priority = line.strip_prefix('<').and_then(|rest| rest.split_once('>')?.0.parse::<u64>().ok());
    if let Some(priority) = priority.filter(|&priority| priority < 192) {
        return Some((severity(priority % 8), Mark::Field));
    }
    if line.starts_with('{')
        && let Some(level) = of_json(line)
    {
        return Some(level);
    }
    let plain = without_colour(line);
    let line = plain.as_deref().unwrap_or(line);
    if let Some(letter) = klog(line) {
        return Some((letter, Mark::Field));
    }
    if let Some(level) = logfmt(line) {
        return Some((level, Mark::Field));
    }
    if let Some(level) = header(line) {
        return Some((level, Mark::Field));
    }
    message(line).map(|level| (level, Mark::Message))
}

/// Of a syslog priority: 0 to 3 are errors, 4 a warning.
fn severity(number: u64) -> Level {
    match number {
        0..=3 => Level::Error,
        4 => Level::Warning,
        _ => Level::Lower,
    }
}

#[derive(Deserialize)]
struct Record {
    #[serde(
        default,
        alias = "Level",
        alias = "LEVEL",
        alias = "lvl",
        alias = "log.level",
        alias = "loglevel",
        alias = "logLevel",
        alias = "log_level",
        alias = "levelname",
        alias = "@l",
        alias = "severity_text",
        alias = "severityText",
        alias = "SeverityText"
    )]
    level: Option<Value>,
    #[serde(default, alias = "Severity", alias = "SEVERITY")]
    severity: Option<Value>,
    #[serde(default, rename = "PRIORITY", alias = "priority")]
    priority: Option<Value>,
    /// One letter, in a database's log that has `t` and `c` beside it.
    #[serde(default)]
    s: Option<Value>,
    #[serde(default)]
    t: Option<serde::de::IgnoredAny>,
    /// A container's line, as its runtime wraps it.
    #[serde(default)]
    log: Option<Value>,
    #[serde(default)]
    stream: Option<serde::de::IgnoredAny>,
}

fn of_json(line: &str) -> Option<(Level, Mark)> {
    let record: Record = serde_json::from_str(line).ok()?;
    if let (Some(Value::String(inner)), Some(_)) = (&record.log, &record.stream) {
        return of(inner);
    }
    let text_or_number = |value: &Value, of_number: fn(u64) -> Level| match value {
        Value::String(text) => named(text).or_else(|| text.parse().ok().map(of_number)),
        Value::Number(number) => number.as_u64().map(of_number),
        // `{"log": {"level": …}}` of structured loggers.
        Value::Object(fields) => fields.get("level").and_then(Value::as_str).and_then(named),
        _ => None,
    };
    // Loggers that number their levels count 10 (trace) to 60 (fatal).
    let tens = |number: u64| {
        if number < 10 {
            severity(number)
        } else {
            [Level::Lower, Level::Warning, Level::Error][usize::from(number >= 40) + usize::from(number >= 50)]
        }
    };
    let level = record.level.as_ref().and_then(|value| text_or_number(value, tens));
    let level = level.or_else(|| record.severity.as_ref().and_then(|value| text_or_number(value, severity)));
    let level = level.or_else(|| record.priority.as_ref().and_then(|value| text_or_number(value, severity)));
    let level = level.or_else(|| record.log.as_ref().and_then(|value| text_or_number(value, severity)));
    let letter = || match (record.s.as_ref()?.as_str()?, record.t.is_some()) {
        ("E" | "F", true) => Some(Level::Error),
        ("W", true) => Some(Level::Warning),
        ("I" | "D" | "D1" | "D2" | "D3" | "D4" | "D5", true) => Some(Level::Lower),
        _ => None,
    };
    // A record without a level has none, whatever its message says.
    Some((level.or_else(letter).unwrap_or(Level::Lower), Mark::Field))
}

/// `E1123 10:00:00.123456    1234 file.go:12] …`
fn klog(line: &str) -> Option<Level> {
    let bytes = line.as_bytes();
    let shape = bytes.len() > 15 && bytes[1..5].iter().all(u8::is_ascii_digit) && bytes[5] == b' ' && bytes[8] == b':' && bytes[11] == b':';
    match bytes.first().filter(|_| shape)? {
        b'E' | b'F' => Some(Level::Error),
        b'W' => Some(Level::Warning),
        b'I' | b'D' => Some(Level::Lower),
        _ => None,
    }
}

/// `level=error`, `lvl="warn"`, `severity: ERROR`; the first one in the line.
fn logfmt(line: &str) -> Option<Level> {
    static FIELD: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#"(?i-u)(?:^|[\s,;|{(\[])["']?(?:level|lvl|severity|loglevel|log_level|levelname)["']?\s?[=:]\s?["']?([a-z]{2,13})\b"#).ok()
    });
    FIELD.as_ref()?.captures_iter(line).find_map(|found| named(found.get(1)?.as_str()))
}

/// The first word of the header that is a level: in brackets in any case, else in capitals.
fn header(line: &str) -> Option<Level> {
    // A quoted request, as in an access log, ends the header.
    let head = head(line);
    let head = head.split_once('"').map_or(head, |(before, _)| before);
    let words: Vec<&str> = head.split_ascii_whitespace().take(HEAD_WORDS).collect();
    let mut prose = 0;
    for (i, word) in words.iter().enumerate() {
        if let Some(level) = bracketed(word) {
            return Some(level);
        }
        let bare = word.trim_matches(|c: char| matches!(c, ':' | ',' | '-' | '|' | '>' | '*'));
        let name = bare.split([':', '|']).find(|part| !part.is_empty()).unwrap_or_default();
        if let Some(level) = named(name).filter(|_| is_capital(name)) {
            let before = if i > 0 { words[i - 1] } else { "" };
            let after = words.get(i + 1).copied().unwrap_or_default();
            let speaks = prose > 1 || negates(before) || (!word.ends_with(':') && counts_something(after));
            return if speaks { None } else { Some(level) };
        }
        // Host and tag of a syslog line are words too, and no message.
        let is_tag = word.ends_with("]:") || (i == 4 && word.ends_with(':'));
        let is_prose = word.len() > 1 && word.bytes().all(|b| b.is_ascii_lowercase());
        prose = if is_tag { 0 } else { prose + usize::from(is_prose) };
    }
    None
}

/// `[error]`, `[core:error]`, `(WARN)`, `<Error>`, `[2026-11-23T10:00:00][ERROR]`.
fn bracketed(word: &str) -> Option<Level> {
    let mut rest = word;
    while let Some(open) = rest.find(['[', '(', '<']) {
        rest = &rest[open + 1..];
        let inner = &rest[..rest.find([']', ')', '>'])?];
        let name = inner.rsplit_once(':').map_or(inner, |(_, last)| last).trim();
        if let Some(level) = named(name) {
            return Some(level);
        }
    }
    None
}

fn is_capital(word: &str) -> bool {
    word.len() >= 3 && word.bytes().all(|b| b.is_ascii_uppercase())
}

fn negates(word: &str) -> bool {
    matches!(
        word.trim_end_matches([':', ',']).to_ascii_lowercase().as_str(),
        "0" | "no" | "not" | "without" | "zero" | "any" | "if" | "on" | "of" | "total" | "last" | "returned" | "to"
    )
}

fn counts_something(word: &str) -> bool {
    matches!(
        word.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_ascii_lowercase().as_str(),
        "count"
            | "counts"
            | "counter"
            | "rate"
            | "ratio"
            | "total"
            | "totals"
            | "code"
            | "codes"
            | "log"
            | "logs"
            | "level"
            | "levels"
            | "budget"
            | "handler"
            | "handling"
            | "page"
            | "found"
    )
}

/// A message that starts with a level and a colon, or with what only a failing program prints.
fn message(line: &str) -> Option<Level> {
    static START: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let tag = r"(?:\S{1,64} )?[A-Za-z0-9_./@-]{1,48}(?:\([^)\s]*\))?(?:\[\d+\])?: ";
        let level = r"(?P<level>(?i:fatal|emerg|emergency|alert|crit|critical|panic|severe|error|warning|warn|fail))(?i: error)?: (?P<rest>\S*)";
        let php = r"PHP (?P<php>Fatal error|Parse error|Recoverable fatal error|Warning|Notice|Deprecated):";
        let shape = r#"(?P<shape>Traceback \(most recent call last\):|Exception in thread "|panic: |fatal error: |thread '[^']*' (?:\(\d+\) )?panicked at |Uncaught (?:Exception|\w*Error)|Unhandled exception|goroutine \d+ \[running\])"#;
        Regex::new(&format!("^(?:{tag})?(?:{level}|{php}|{shape})")).ok()
    });
    static REDIS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\d+:[MSCX] \d{1,2} \w{3} \d{4} [\d:.]+ (?P<mark>[.*#-]) ").ok());
    if let Some(found) = REDIS.as_ref().and_then(|redis| redis.captures(line)) {
        return Some(if &found["mark"] == "#" { Level::Warning } else { Level::Lower });
    }
    let start = stamp::end(line);
    let text = line.get(start..)?.trim_start_matches([' ', ']', '-', ':', '\t']);
    let found = START.as_ref()?.captures(text)?;
    if let Some(level) = found.name("level") {
        let nothing = found.name("rest").is_some_and(|rest| is_nothing(rest.as_str()));
        let level = if level.as_str().eq_ignore_ascii_case("fail") { Some(Level::Error) } else { named(level.as_str()) };
        return level.filter(|_| !nothing);
    }
    if let Some(php) = found.name("php") {
        return Some(match php.as_str() {
            "Warning" => Level::Warning,
            "Notice" | "Deprecated" => Level::Lower,
            _ => Level::Error,
        });
    }
    found.name("shape").map(|_| Level::Error)
}

/// `error: 0` and `error: none` say that there is none.
fn is_nothing(value: &str) -> bool {
    let value = value.trim_matches(|c: char| matches!(c, ',' | ';' | '.' | '"' | '\'' | ')'));
    value.is_empty()
        || matches!(
            value.to_ascii_lowercase().as_str(),
            "0" | "0%" | "none" | "null" | "nil" | "no" | "false" | "ok" | "success" | "<nil>" | "undefined"
        )
}

fn without_colour(line: &str) -> Option<String> {
    static COLOUR: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("\u{1b}\\[[0-9;]*[A-Za-z]").ok());
    if !line.contains('\u{1b}') {
        return None;
    }
    Some(COLOUR.as_ref()?.replace_all(line, "").into_owned())
}

fn head(line: &str) -> &str {
    let mut end = line.len().min(HEAD_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(line: &str) -> Option<Level> {
        let level = of(line).map(|(level, _)| level);
        if matches!(level, Some(Level::Warning | Level::Error)) {
            assert!(is_candidate(line), "the quick look passes over: {line}");
        }
        level
    }

    #[test]
    fn levels_of_common_formats() {
        use Level::{Error, Lower, Warning};
        for (line, expected) in [
            ("<3>disk on fire", Error),
            ("<12>disk is warm", Warning),
            ("<30>disk is fine: error", Lower),
            ("time=2026-11-23T10:00:00Z level=error msg=\"no route\"", Error),
            ("ts=1 lvl=eror msg=x", Error),
            ("t=x level=info msg=\"error handled\"", Lower),
            ("{\"level\":\"error\",\"msg\":\"x\"}", Error),
            ("{\"severity\":\"CRITICAL\",\"message\":\"x\"}", Error),
            ("{\"level\":50,\"msg\":\"x\"}", Error),
            ("{\"level\":40,\"msg\":\"x\"}", Warning),
            ("{\"level\":30,\"msg\":\"error\"}", Lower),
            ("{\"PRIORITY\":\"3\",\"MESSAGE\":\"x\"}", Error),
            ("{\"level\":\"info\",\"msg\":\"0 errors, level=error\"}", Lower),
            ("{\"msg\":\"an error without a level\"}", Lower),
            ("{\"t\":{\"$date\":\"x\"},\"s\":\"E\",\"c\":\"NETWORK\",\"msg\":\"x\"}", Error),
            ("{\"log\":\"ERROR: x\\n\",\"stream\":\"stderr\",\"time\":\"2026-11-23T10:00:00Z\"}", Error),
            ("E1123 10:00:00.123456       1 main.go:3] boom", Error),
            ("I1123 10:00:00.123456       1 main.go:3] ERROR budget", Lower),
            ("[Sun Dec 04 04:47:44 2005] [error] mod_jk child workerEnv in error state 6", Error),
            ("[Sun Dec 04 04:47:44 2005] [notice] workerEnv.init() ok", Lower),
            ("[Mon Nov 23 10:00:00.123456 2026] [core:error] [pid 1:tid 2] AH00037: x", Error),
            ("2026/11/23 10:00:00 [error] 31#31: *1 connect() failed", Error),
            ("2026/11/23 10:00:00 [emerg] 31#31: bind() failed", Error),
            ("2026-11-23 10:00:00.123 UTC [12] ERROR:  relation \"x\" does not exist", Error),
            ("2026-11-23 10:00:00.123 UTC [12] app@db FATAL:  password authentication failed", Error),
            ("2026-11-23 10:00:00.123 UTC [12] LOG:  checkpoint complete: ERROR", Lower),
            ("2026-11-23T10:00:00.123456Z 0 [ERROR] [MY-010119] [Server] Aborting", Error),
            ("2026-11-23T10:00:00.123456Z 0 [Note] ready", Lower),
            ("2026-11-23 10:00:00,123 ERROR app.views: boom", Error),
            ("2026-11-23 10:00:00,123 - app.views - ERROR - boom", Error),
            ("Nov 23 10:00:00 web app[1]: 2026-11-23 10:00:00,123 - app - ERROR - boom", Error),
            ("ERROR:root:boom", Error),
            ("2026-11-23 10:00:00.123  INFO 1 --- [main] c.e.App : ERROR page ready", Lower),
            ("10:00:00.123 [main] ERROR c.e.App - boom", Error),
            ("SEVERE: boom", Error),
            ("E, [2026-11-23T10:00:00.1 #1] ERROR -- : boom", Error),
            ("PHP Fatal error:  Uncaught Error in x.php", Error),
            ("PHP Notice:  Undefined index", Lower),
            ("fail: Shop.Cart[0]", Error),
            ("1:M 23 Nov 2026 10:00:00.000 # Can't save in background", Warning),
            ("Nov 23 10:00:00 web sshd[12]: error: kex_exchange_identification: closed", Error),
            ("Nov 23 10:00:00 web sshd[12]: fatal: Timeout before authentication", Error),
            ("error: could not lock config file", Error),
            ("Traceback (most recent call last):", Error),
            ("panic: runtime error: index out of range", Error),
            ("Exception in thread \"main\" java.lang.IllegalStateException", Error),
            ("2026-11-23T10:00:00Z \u{1b}[31mERROR\u{1b}[0m shop::cart: boom", Error),
            ("2015-07-29 17:41:44,747 - WARN  [SendWorker:188978561024] - Interrupted", Warning),
            ("081109 214043 2561 WARN dfs.DataNode$DataXceiver: exception while serving", Warning),
            ("| 2026-11-23 10:00:00 | CRITICAL | boom", Error),
        ] {
            assert_eq!(level(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn words_in_a_message_are_no_level() {
        for line in [
            "0 errors",
            "scan finished: 0 errors, 0 warnings",
            "error_rate=0",
            "Nov 23 10:00:00 web app[1]: error_rate=0 requests=12",
            "no error",
            "No ERROR found",
            "total ERROR count: 0",
            "Total ERROR count: 0",
            "ERROR_COUNT=0",
            "ERROR=0",
            "errors: 0",
            "error: 0",
            "error: none",
            "last_error=nil",
            "err=nil",
            "10.0.0.1 - - [23/Nov/2026:10:00:00 +0000] \"GET /error HTTP/1.1\" 200 12 \"-\" \"ERROR\"",
            "10.0.0.1 - - [23/Nov/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 500 12",
            "opened /var/log/nginx/error.log",
            "the peer said that it had an ERROR and went on",
            "Jun 14 15:16:01 combo sshd(pam_unix)[19939]: authentication failure; logname= uid=0",
            "    at shop.Cart.error(Cart.java:12)",
            "ValueError: bad",
            "",
        ] {
            assert_eq!(level(line), None, "{line}");
        }
    }

    #[test]
    fn what_starts_a_message_is_the_weaker_mark() {
        assert_eq!(of("error: x").map(|(_, mark)| mark), Some(Mark::Message));
        assert_eq!(of("[error] x").map(|(_, mark)| mark), Some(Mark::Field));
    }
}
