//! Objects one after the other, for whoever makes them itself.

use std::collections::VecDeque;
use std::io;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Choice;
use crate::pipe::CHUNK;
use crate::source::kubernetes::Lines;

/// Those of a stream that are chosen, in its order, as they are put back. It holds what one piece of the stream has.
#[derive(Debug)]
pub struct Each<R> {
    from: R,
    choice: Choice,
    /// Nothing once the stream has ended.
    lines: Option<Lines>,
    buffer: Vec<u8>,
    ready: VecDeque<Vec<u8>>,
}

impl<R: AsyncRead + Unpin> Each<R> {
    /// Nothing is read yet.
    #[must_use]
    pub fn of(from: R, choice: Choice) -> Each<R> {
        Each { from, choice, lines: Some(Lines::default()), buffer: vec![0; CHUNK], ready: VecDeque::new() }
    }

    /// The next one; nothing after the last.
    ///
    /// # Errors
    /// When it cannot be read, is not what was written, or is no object.
    pub async fn next(&mut self) -> io::Result<Option<Value>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            let Some(lines) = &mut self.lines else { return Ok(None) };
            let read = self.from.read(&mut self.buffer).await?;
            if read == 0 {
                self.lines.take().map_or(Ok(()), Lines::end)?;
                continue;
            }
            let (choice, ready) = (&self.choice, &mut self.ready);
            lines.add(&self.buffer[..read], |line| {
                ready.extend(choice.of(line)?);
                Ok(())
            })?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\",\"namespace\":\"shop\"}}\n\
                        {\"kind\":\"Secret\",\"metadata\":{\"name\":\"b\",\"namespace\":\"shop\"}}\n";

    #[tokio::test]
    async fn those_that_are_chosen_come_in_their_order_and_the_end_is_one() {
        let names = async |text: &str, choice: Choice| {
            let (mut each, mut names) = (Each::of(text.as_bytes(), choice), Vec::new());
            while let Some(object) = each.next().await? {
                names.push(format!("{}/{}", object["metadata"]["namespace"], object["metadata"]["name"]).replace('"', ""));
            }
            Ok::<_, io::Error>(names)
        };
        assert_eq!(names(TEXT, Choice::default()).await.unwrap(), ["shop/a", "shop/b"]);
        let some = Choice::read(&["copy".to_owned()], &["Secret".to_owned()], &[], &["shop"]).unwrap();
        assert_eq!(names(TEXT, some).await.unwrap(), ["copy/b"]);
        let cut = names(&TEXT[..TEXT.len() - 1], Choice::default()).await.unwrap_err();
        assert!(cut.to_string().contains("in the middle of an object"), "{cut}");
        assert_eq!(names("", Choice::default()).await.unwrap(), Vec::<String>::new());
    }
}
