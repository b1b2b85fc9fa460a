//! Counts the lines of one log file that reach a level.
//!
//! In: a file, how much of it, since when, and from which level on. Out: how many lines counted, grouped.
//! Memory is bounded whatever the file holds: lines are cut, groups are limited, compressed files are
//! streamed.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use super::level::{self, Level, Mark};
use super::signature::Groups;
use super::stamp;
use crate::host::{FileFacts, Host};

/// Of one line; what a longer one holds behind this is passed over.
const LINE_BYTES: usize = 16 << 10;
/// Between two looks at whether the scan is still wanted.
const LINES_PER_LOOK: u64 = 4_096;

/// What counts.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub since: Timestamp,
    pub now: Timestamp,
    pub zone: TimeZone,
    pub level: Level,
    /// Of each file, the newest.
    pub max_bytes: u64,
}

/// What was counted, of one file or of several.
#[derive(Debug, Default)]
pub struct Counted {
    /// Lines looked at.
    pub lines: u64,
    /// Lines that reach the level, within the time.
    pub found: u64,
    /// Those of them without a time that could be read.
    pub untimed: u64,
    /// Bytes that were left out because a file is larger than was to be read.
    pub bytes_left_out: u64,
    pub groups: Groups,
}

/// Counts one file. A file that holds no text counts nothing.
///
/// # Errors
/// When it cannot be read, or the scan was called off (`Interrupted`).
pub fn file(host: &Host, path: &Path, facts: FileFacts, wanted: &Wanted, cancel: &CancellationToken, counted: &mut Counted) -> io::Result<()> {
    let mut file = host.open(path)?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut limited = MultiGzDecoder::new(file).take(wanted.max_bytes);
        lines(BufReader::new(&mut limited), wanted, cancel, counted)?;
        // What is behind the limit has no known size; that there is some is enough to say.
        if limited.limit() == 0 && limited.into_inner().read(&mut [0]).unwrap_or(0) > 0 {
            counted.bytes_left_out += 1;
        }
        return Ok(());
    }
    let skipped = facts.bytes.saturating_sub(wanted.max_bytes);
    counted.bytes_left_out += skipped;
    // One byte earlier, so that a cut right at the start of a line keeps that line.
    file.seek(SeekFrom::Start(skipped.saturating_sub(1)))?;
    let mut reader = BufReader::with_capacity(64 << 10, file.take(wanted.max_bytes.saturating_add(1)));
    if skipped > 0 {
        skip_line(&mut reader)?;
    }
    lines(reader, wanted, cancel, counted)
}

fn lines(mut reader: impl BufRead, wanted: &Wanted, cancel: &CancellationToken, counted: &mut Counted) -> io::Result<()> {
    let mut state = Entry::default();
    let mut bytes = Vec::with_capacity(512);
    let mut first = true;
    loop {
        bytes.clear();
        if (&mut reader).take(LINE_BYTES as u64).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        if !bytes.ends_with(b"\n") && bytes.len() >= LINE_BYTES {
            skip_line(&mut reader)?;
        }
        if std::mem::take(&mut first) && bytes.contains(&0) {
            return Ok(());
        }
        counted.lines += 1;
        if counted.lines.is_multiple_of(LINES_PER_LOOK) && cancel.is_cancelled() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "called off"));
        }
        let text = String::from_utf8_lossy(&bytes);
        state.line(text.trim_end_matches(['\n', '\r']), wanted, counted);
    }
}

/// Passes over the rest of a line without keeping it.
fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let Some(end) = buffer.iter().position(|&byte| byte == b'\n') else {
            let length = buffer.len();
            if length == 0 {
                return Ok(());
            }
            reader.consume(length);
            continue;
        };
        reader.consume(end + 1);
        return Ok(());
    }
}

/// Whether the lines that come belong to an error that came before: a stack trace is not another error.
#[derive(Debug, Default)]
struct Entry {
    in_error: bool,
    with_time: bool,
}

impl Entry {
    fn line(&mut self, raw: &str, wanted: &Wanted, counted: &mut Counted) {
        let line = unwrapped(raw);
        if line.is_empty() || (!self.in_error && !level::is_candidate(line)) {
            return;
        }
        let seen = level::of(line);
        if self.in_error && self.goes_on(line, raw, seen) {
            return;
        }
        let reaches = seen.filter(|(level, _)| *level >= wanted.level);
        let time = if reaches.is_some() || self.in_error {
            stamp::of(line, wanted.now, &wanted.zone).or_else(|| stamp::of(raw, wanted.now, &wanted.zone))
        } else {
            None
        };
        match reaches {
            None => {
                // Another entry begins with its own level or its own time; anything else changes nothing.
                self.in_error &= seen.is_none() && time.is_none();
            }
            Some(_) => {
                *self = Entry { in_error: true, with_time: stamp::end(line) > 0 };
                if time.is_some_and(|time| time < wanted.since) {
                    return;
                }
                counted.found += 1;
                counted.untimed += u64::from(time.is_none());
                counted.groups.add(message(line));
            }
        }
    }

    /// Whether a line after an error is part of it: it is set in, it starts like a trace, or it has no time
    /// where the error had one, and nothing in it but its own words says a level.
    fn goes_on(&self, line: &str, raw: &str, seen: Option<(Level, Mark)>) -> bool {
        match seen {
            Some((_, Mark::Field)) => false,
            Some((_, Mark::Message)) => raw.starts_with([' ', '\t']) || is_trace(line) || (self.with_time && stamp::end(line) == 0),
            None => false,
        }
    }
}

fn is_trace(line: &str) -> bool {
    ["Traceback (most recent call last)", "Exception in thread", "goroutine "].iter().any(|start| line.starts_with(start))
}

/// A container's line without what its runtime put before it: `TIME stdout F …`.
fn unwrapped(line: &str) -> &str {
    let mut words = line.splitn(4, ' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(time), Some("stdout" | "stderr"), Some("F" | "P"), Some(text)) if time.len() >= 20 && time.as_bytes()[4] == b'-' => text,
        _ => line,
    }
}

/// What a line says, without its time, for grouping and as an example.
fn message(line: &str) -> &str {
    if line.starts_with('{') {
        return field(line, "msg").or_else(|| field(line, "message")).or_else(|| field(line, "log")).unwrap_or(line);
    }
    let end = stamp::end(line);
    // A time deep inside of a line is not its header.
    let text = if end <= 40 { line.get(end..).unwrap_or(line) } else { line };
    text.trim_start_matches([']', ' ', '-', ':', ',', '\t'])
}

/// The text of a field of a record, as it is written there; good enough to be read and grouped.
fn field<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    let at = record.find(&format!("\"{name}\":"))? + name.len() + 3;
    let value = record.get(at..)?.trim_start().strip_prefix('"')?;
    let mut escaped = false;
    let end = value.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    Some(&value[..end])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            since: "2026-11-22T12:00:00Z".parse().unwrap(),
            now: "2026-11-23T12:00:00Z".parse().unwrap(),
            zone: TimeZone::UTC,
            level: Level::Error,
            max_bytes: 1 << 20,
        }
    }

    fn count(text: &str) -> Counted {
        let mut counted = Counted::default();
        lines(text.as_bytes(), &wanted(), &CancellationToken::new(), &mut counted).unwrap();
        counted
    }

    #[test]
    fn lines_at_the_level_and_within_the_time_count() {
        let counted = count(
            "2026-11-23T10:00:00Z ERROR a\n2026-11-23T10:00:00Z WARN b\n2026-11-21T10:00:00Z ERROR old\n2026-11-23T10:00:00Z INFO 0 errors\nERROR without a time\n\n",
        );
        assert_eq!((counted.lines, counted.found, counted.untimed), (6, 2, 1));
    }

    #[test]
    fn a_stack_trace_belongs_to_its_error() {
        let counted = count(concat!(
            "2026-11-23 10:00:00,123 ERROR app: boom\n",
            "Traceback (most recent call last):\n",
            "  File \"x.py\", line 1, in <module>\n",
            "ValueError: bad\n",
            "\n",
            "During handling of the above exception, another exception occurred:\n",
            "Traceback (most recent call last):\n",
            "error: while closing\n",
            "2026-11-23 10:00:01,123 INFO app: on\n",
            "Traceback (most recent call last):\n",
            "  File \"y.py\"\n",
            "[2026-11-23 10:00:02] [error] next\n",
            "    at error: (Cart.java:3)\n",
        ));
        assert_eq!(counted.found, 3);
    }

    #[test]
    fn an_old_errors_trace_is_old_too() {
        assert_eq!(count("2026-11-01 10:00:00,123 ERROR app: boom\nTraceback (most recent call last):\n  x\n").found, 0);
    }

    #[test]
    fn plain_errors_without_times_each_count() {
        assert_eq!(count("error: a\nerror: b\n").found, 2);
    }

    #[test]
    fn a_containers_line_is_judged_by_what_the_container_wrote() {
        let counted = count(concat!(
            "2026-11-23T10:00:00.123456789Z stderr F level=error msg=\"boom\"\n",
            "2026-11-23T10:00:00.123456789Z stdout F level=info msg=\"0 errors\"\n",
            "2026-11-20T10:00:00.123456789Z stderr F E1120 10:00:00.123456 1 x.go:1] old\n",
            "{\"log\":\"ERROR boom\\n\",\"stream\":\"stderr\",\"time\":\"2026-11-23T10:00:00Z\"}\n",
        ));
        assert_eq!((counted.found, counted.untimed), (2, 0));
    }

    #[test]
    fn binary_files_and_endless_lines_do_no_harm() {
        assert_eq!(count("ERROR a\0b\n").lines, 0);
        let long = format!("2026-11-23T10:00:00Z ERROR {}\n2026-11-23T10:00:00Z ERROR b\n", "x".repeat(3 * LINE_BYTES));
        assert_eq!((count(&long).lines, count(&long).found), (2, 2));
    }

    #[test]
    fn only_the_newest_bytes_are_read_and_whole_lines_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let line = "2026-11-23T10:00:00Z ERROR x\n";
        std::fs::write(dir.path().join("a.log"), line.repeat(100)).unwrap();
        let host = Host::below(dir.path());
        let facts = host.file_facts("/a.log").unwrap().unwrap();
        for (max_bytes, found) in [(10 * line.len() as u64, 10), (10 * line.len() as u64 + 3, 10), (1 << 20, 100)] {
            let mut counted = Counted::default();
            file(&host, Path::new("/a.log"), facts, &Wanted { max_bytes, ..wanted() }, &CancellationToken::new(), &mut counted).unwrap();
            assert_eq!(counted.found, found, "{max_bytes}");
            assert_eq!(counted.bytes_left_out, (100 * line.len() as u64).saturating_sub(max_bytes));
        }
    }

    #[test]
    fn messages_are_what_was_said() {
        assert_eq!(message("2026/11/23 10:00:00 [error] 31#31: boom"), "[error] 31#31: boom");
        assert_eq!(message(r#"{"level":"error","msg":"say \"boom\"","n":1}"#), r#"say \"boom\""#);
        assert_eq!(message("boom"), "boom");
    }
}
