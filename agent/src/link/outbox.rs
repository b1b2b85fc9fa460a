//! Lines that steps printed, on their way to the mesh.
//!
//! In: lines, at any speed, whether there is a link or not. Out: batches of one attempt's lines. When it is
//! full the oldest lines go, and each attempt's losses are counted and told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mainstay_core::id::AttemptId;
use mainstay_proto::v1;
use tokio::sync::Notify;

/// What waits, whatever the link does; part of what an agent may weigh.
const WAITING_BYTES: usize = 256 << 10;
/// One batch, well under the size of a message.
const BATCH_BYTES: usize = 64 << 10;
/// Attempts of which losses are remembered.
const LOSSES_MAX: usize = 256;
/// What a line weighs besides its text.
const LINE_WEIGHT: usize = 48;

/// Shared by all attempts and the link.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<(AttemptId, String)>,
    bytes: usize,
    lost: BTreeMap<AttemptId, u64>,
}

impl Outbox {
    /// Adds a line, which must hold no credential.
    pub fn push(&self, attempt: AttemptId, line: String) {
        let mut waiting = self.waiting();
        waiting.bytes += line.len() + LINE_WEIGHT;
        waiting.lines.push_back((attempt, line));
        while waiting.bytes > WAITING_BYTES {
            let Some((attempt, line)) = waiting.lines.pop_front() else { break };
            waiting.bytes -= line.len() + LINE_WEIGHT;
            waiting.lose(attempt, 1);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Counts lines that were lost on their way here.
    pub fn lost(&self, attempt: AttemptId, lines: u64) {
        if lines > 0 {
            self.waiting().lose(attempt, lines);
            self.filled.notify_one();
        }
    }

    /// Ends when there is something to take.
    pub async fn filled(&self) {
        loop {
            if !self.waiting().is_empty() {
                return;
            }
            self.filled.notified().await;
        }
    }

    /// The oldest lines of one attempt.
    pub fn take(&self) -> Option<v1::StepOutput> {
        let mut waiting = self.waiting();
        let attempt = waiting.lines.front().map(|(attempt, _)| *attempt).or_else(|| waiting.lost.keys().next().copied())?;
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while let Some((_, line)) = waiting.lines.pop_front_if(|(of, line)| *of == attempt && (bytes == 0 || bytes + line.len() <= BATCH_BYTES)) {
            bytes += line.len() + LINE_WEIGHT;
            waiting.bytes -= line.len() + LINE_WEIGHT;
            lines.push(line);
        }
        Some(v1::StepOutput { attempt: attempt.to_string(), lines, dropped: waiting.lost.remove(&attempt).unwrap_or(0) })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.lost.is_empty()
    }

    fn lose(&mut self, attempt: AttemptId, lines: u64) {
        if self.lost.len() < LOSSES_MAX || self.lost.contains_key(&attempt) {
            *self.lost.entry(attempt).or_default() += lines;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn attempt(counter: u64) -> AttemptId {
        format!("1.{counter}").parse().unwrap()
    }

    #[tokio::test]
    async fn lines_leave_in_order_one_attempt_at_a_time() {
        let outbox = Outbox::default();
        for (counter, line) in [(1, "a"), (1, "b"), (2, "c"), (1, "d")] {
            outbox.push(attempt(counter), line.into());
        }
        outbox.filled().await;
        let taken: Vec<(String, Vec<String>)> = std::iter::from_fn(|| outbox.take()).map(|output| (output.attempt, output.lines)).collect();
        let expected = [("1.1", vec!["a", "b"]), ("1.2", vec!["c"]), ("1.1", vec!["d"])];
        assert_eq!(taken, expected.map(|(attempt, lines)| (attempt.to_owned(), lines.into_iter().map(str::to_owned).collect())));
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_lines_are_lost_and_counted() {
        let outbox = Outbox::default();
        let line = "x".repeat(1_000);
        for _ in 0..1_000 {
            outbox.push(attempt(1), line.clone());
        }
        outbox.push(attempt(1), "last".into());
        outbox.lost(attempt(1), 5);
        let batches: Vec<v1::StepOutput> = std::iter::from_fn(|| outbox.take()).collect();
        let (lines, lost): (usize, u64) = batches.iter().fold((0, 0), |(lines, lost), batch| (lines + batch.lines.len(), lost + batch.dropped));
        assert_eq!(lines as u64 + lost, 1_001 + 5);
        assert!(lines < 1_000 && batches.iter().all(|batch| batch.lines.iter().map(String::len).sum::<usize>() <= BATCH_BYTES));
        assert_eq!(batches.last().unwrap().lines.last().unwrap(), "last");
        assert!(batches[0].dropped > 5 && batches[1..].iter().all(|batch| batch.dropped == 0));
    }

    #[test]
    fn a_line_larger_than_a_batch_is_a_batch() {
        let outbox = Outbox::default();
        outbox.push(attempt(1), "x".repeat(BATCH_BYTES + 1));
        outbox.push(attempt(1), "y".into());
        assert_eq!(outbox.take().unwrap().lines.len(), 1);
        assert_eq!(outbox.take().unwrap().lines, ["y"]);
        assert!(outbox.take().is_none());
    }
}
