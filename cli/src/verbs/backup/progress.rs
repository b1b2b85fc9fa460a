//! How far a backup is, while somebody waits for it: on a terminal one line of standard error, written anew each second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_backup::progress::{Progress, Teller};
use mainstay_backup::seam::Stopwatch;

use crate::host;
use crate::render::layout::{harmless, shorten};
use crate::render::units;
use crate::verbs::Screen;

const EVERY: Duration = Duration::from_secs(1);
/// Goes to the line's beginning, and leaves nothing of what stood there.
const ANEW: &str = "\r\u{1b}[2K";

/// Shows it until this is dropped.
pub struct Shown {
    /// Whether the line may still be written.
    goes_on: Arc<Mutex<bool>>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        let mut goes_on = self.goes_on.lock().unwrap_or_else(PoisonError::into_inner);
        *goes_on = false;
        written(ANEW);
    }
}

/// Who does something tells here how far it is. What is shown of it is shown as long as the second lives; in a pipe, and beside
/// JSON, nothing is.
pub fn shown(screen: Screen, what: &'static str) -> (Teller, Option<Shown>) {
    let (tell, look) = Teller::new();
    let Some(width) = screen.notes.width.filter(|_| !screen.is_json()) else { return (tell, None) };
    let goes_on = Arc::new(Mutex::new(true));
    let still = Arc::clone(&goes_on);
    let watch = Stopwatch::start();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let line = shorten(&line(what, &look.borrow(), watch.elapsed()), width.saturating_sub(1));
            let goes_on = still.lock().unwrap_or_else(PoisonError::into_inner);
            if !*goes_on {
                return;
            }
            written(&format!("{ANEW}{line}"));
        }
    });
    (tell, Some(Shown { goes_on }))
}

/// A terminal that takes nothing any more is no reason to give up what is done.
fn written(text: &str) {
    let _ = host::print_error(text);
}

/// `reading database: 86 MiB of 214 MiB, 40 % · 12 s, about 18 s left`
fn line(what: &str, progress: &Progress, elapsed: Duration) -> String {
    let part = if progress.part.is_empty() { String::new() } else { format!(" {}", harmless(&progress.part)) };
    let bytes = |bytes: u64| units::bytes(bytes as f64);
    let far = match (progress.of, progress.percent()) {
        (Some(of), Some(percent)) => format!("{} of {}, {percent} %", bytes(progress.stored_bytes.min(of)), bytes(of)),
        _ => format!("{}, stored as {}", bytes(progress.plain_bytes), bytes(progress.stored_bytes)),
    };
    let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let left = progress.left(elapsed).map_or_else(String::new, |left| format!(", about {} left", units::duration_ms(milliseconds(left))));
    format!("{what}{part}: {far} · {}{left}", units::duration_ms(milliseconds(elapsed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_known() {
        let written = Progress { part: "database".to_owned(), plain_bytes: 3 << 20, stored_bytes: 1 << 20, of: None };
        assert_eq!(line("writing", &written, Duration::from_secs(12)), "writing database: 3.0 MiB, stored as 1.0 MiB · 12.0 s");
        let read = Progress { of: Some(4 << 20), ..written };
        assert_eq!(line("reading", &read, Duration::from_secs(12)), "reading database: 1.0 MiB of 4.0 MiB, 25 % · 12.0 s, about 36.0 s left");
        let begun = Progress { of: Some(4 << 20), ..Progress::default() };
        assert_eq!(line("reading", &begun, Duration::from_secs(1)), "reading: 0 B of 4.0 MiB, 0 % · 1.0 s");
    }
}
