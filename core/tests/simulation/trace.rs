//! What happened last, for whoever looks at a seed that failed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Lines that are kept.
const LINES: usize = 60;

/// A seed is run without a trace; one that failed is run again with one.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    lines: Option<Arc<Mutex<VecDeque<String>>>>,
    all: bool,
}

impl Trace {
    /// The last lines.
    pub fn last() -> Trace {
        Trace { lines: Some(Arc::default()), all: false }
    }

    /// All of them, as they come.
    pub fn all() -> Trace {
        Trace { lines: Some(Arc::default()), all: true }
    }

    pub fn line(&self, now: u64, text: impl FnOnce() -> String) {
        let Some(lines) = &self.lines else { return };
        let line = format!("{:>8.3} s  {}", now as f64 / 1_000.0, text());
        if self.all {
            println!("{line}");
        }
        let mut lines = lines.lock().unwrap();
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub fn text(&self) -> String {
        self.lines.as_ref().map(|lines| lines.lock().unwrap().iter().cloned().collect::<Vec<_>>().join("\n")).unwrap_or_default()
    }
}
