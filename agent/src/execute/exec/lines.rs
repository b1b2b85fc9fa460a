//! From a child's pipe to redacted lines.

use mainstay_core::WallTime;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::task::JoinHandle;

use crate::artifacts::OutputLog;
use crate::connections::Secrets;
use crate::execute::Context;
use crate::execute::output::{Output, OutputLine, Stream};
use crate::redact::{LINE_MAX, Redactor};

/// Reads a pipe to its end and passes its lines on, to whoever watches and to the log of all of them. A line of any length costs no more than the longest that
/// is passed on.
pub(in crate::execute) fn forward(
    pipe: impl AsyncRead + Unpin + Send + 'static,
    stream: Stream,
    context: &Context,
    log: OutputLog,
) -> JoinHandle<()> {
    let (output, host, secrets) = (context.output.clone(), context.host.clone(), context.secrets.clone());
    tokio::spawn(async move {
        let mut reader = BufReader::new(pipe);
        let mut lines = Lines { output, stream, secrets, redactor: Redactor::default(), line: Vec::new(), seen: Vec::new() };
        loop {
            let length = match reader.fill_buf().await {
                Ok([]) | Err(_) => break,
                Ok(bytes) => {
                    lines.push(bytes, host.wall());
                    bytes.len()
                }
            };
            reader.consume(length);
            log.write(std::mem::take(&mut lines.seen)).await;
        }
        lines.finish(host.wall());
        log.write(std::mem::take(&mut lines.seen)).await;
    })
}

struct Lines {
    output: Output,
    stream: Stream,
    /// What the attempt has read of secrets.
    secrets: Secrets,
    redactor: Redactor,
    line: Vec<u8>,
    /// Lines that were passed on and are not in the log yet.
    seen: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], at: WallTime) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = (LINE_MAX + 1).saturating_sub(self.line.len());
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if part.ends_with(b"\n") {
                self.emit(at);
            }
        }
    }

    fn emit(&mut self, at: WallTime) {
        let text = String::from_utf8_lossy(&self.line);
        if let Some(mut text) = self.redactor.line(text.trim_end_matches('\r')) {
            self.secrets.hide(&mut text);
            self.seen.extend_from_slice(text.as_bytes());
            self.seen.push(b'\n');
            self.output.line(OutputLine { stream: self.stream, at, text });
        }
        self.line.clear();
    }

    fn finish(&mut self, at: WallTime) {
        if !self.line.is_empty() {
            self.emit(at);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_put_together_from_pieces_and_cut() {
        let (output, mut seen) = Output::channel(10);
        let secrets = Secrets::default();
        secrets.keep("of-a-secret".to_owned().into());
        let mut lines = Lines { output, stream: Stream::Stdout, secrets, redactor: Redactor::default(), line: Vec::new(), seen: Vec::new() };
        for piece in [b"one\r\ntw".as_slice(), b"o\n", &vec![b'x'; 3 * LINE_MAX], b"\nlast of-a-sec", b"ret"] {
            lines.push(piece, WallTime(0));
        }
        lines.finish(WallTime(0));
        let texts: Vec<String> = std::iter::from_fn(|| seen.try_recv().ok()).map(|line| line.text).collect();
        assert_eq!((texts.len(), texts[0].as_str(), texts[1].as_str(), texts[3].as_str()), (4, "one", "two", "last [redacted]"));
        assert!(texts[2].len() <= LINE_MAX && texts[2].ends_with('…'));
        assert_eq!(String::from_utf8(lines.seen).unwrap(), texts.join("\n") + "\n");
    }
}
