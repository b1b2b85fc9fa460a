//! Lines that a step prints while it runs, on their way to whoever watches.
//!
//! In: lines of a child, in pieces of any length. Out: redacted lines on a bounded queue, and the last of
//! them for the report. A watcher that is too slow loses lines, which are counted; the step never waits for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_core::{WallTime, bounds};
use tokio::sync::mpsc;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// One line, without credentials and without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    pub stream: Stream,
    pub at: WallTime,
    pub text: String,
}

/// Takes lines. Clones share the queue and the tail.
#[derive(Debug, Clone)]
pub struct Output {
    lines: Option<mpsc::Sender<OutputLine>>,
    dropped: Arc<AtomicU64>,
    tail: Arc<Mutex<Tail>>,
}

#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Output {
    /// An output and where its lines arrive, at most `room` of them waiting.
    #[must_use]
    pub fn channel(room: usize) -> (Output, mpsc::Receiver<OutputLine>) {
        let (sender, receiver) = mpsc::channel(room.max(1));
        (Output { lines: Some(sender), dropped: Arc::default(), tail: Arc::default() }, receiver)
    }

    /// An output that nobody watches; the tail is kept all the same.
    #[must_use]
    pub fn unwatched() -> Output {
        Output { lines: None, dropped: Arc::default(), tail: Arc::default() }
    }

    /// Passes a line on. It must be redacted already.
    pub fn line(&self, line: OutputLine) {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).push(&line.text);
        // A watcher that went away misses nothing that it could still want.
        if let Some(Err(mpsc::error::TrySendError::Full(_))) = self.lines.as_ref().map(|lines| lines.try_send(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines the watcher has lost.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The last lines, at most what a report may hold.
    #[must_use]
    pub fn tail(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

impl Tail {
    fn push(&mut self, line: &str) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line.to_owned());
        while self.bytes > bounds::OUTPUT_BYTES && self.lines.len() > 1 {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len() + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line(text: &str) -> OutputLine {
        OutputLine { stream: Stream::Stdout, at: WallTime(0), text: text.to_owned() }
    }

    #[test]
    fn a_slow_watcher_loses_lines_and_they_are_counted() {
        let (output, mut lines) = Output::channel(2);
        for text in ["a", "b", "c", "d"] {
            output.line(line(text));
        }
        assert_eq!((output.dropped(), output.tail().as_str()), (2, "a\nb\nc\nd"));
        assert_eq!([lines.try_recv().unwrap().text, lines.try_recv().unwrap().text], ["a", "b"]);
        drop(lines);
        output.line(line("e"));
        assert_eq!(output.dropped(), 2);
    }

    #[test]
    fn the_tail_is_bounded() {
        let output = Output::unwatched();
        (0..10_000).for_each(|i| output.line(line(&i.to_string())));
        assert!(output.tail().len() <= bounds::OUTPUT_BYTES && output.tail().ends_with("9998\n9999"));
    }
}
