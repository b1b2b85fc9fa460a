//! As much of Redis's protocol as it takes to be sent a snapshot.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::receive::Length;
use super::{ANSWERS_WITHIN, Duplex, MARK};

/// An answer that is read as a whole has no more than this.
const ANSWER_MAX: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Broken(#[from] io::Error),
    #[error("it does not answer as Redis does: {0}")]
    Strange(String),
    #[error("no answer within {} s", ANSWERS_WITHIN.as_secs())]
    Late,
}

impl AskError {
    /// It understood, and does not do it.
    pub fn is_refusal(&self) -> bool {
        matches!(self, AskError::Refused(_))
    }
}

pub(super) struct Wire {
    read: ReadHalf<Box<dyn Duplex>>,
    write: WriteHalf<Box<dyn Duplex>>,
    /// What came and was not looked at yet.
    came: BytesMut,
}

impl Wire {
    pub fn new(socket: Box<dyn Duplex>) -> Wire {
        let (read, write) = tokio::io::split(socket);
        Wire { read, write, came: BytesMut::new() }
    }

    /// What it answers to a command: a line, or a text.
    pub async fn ask(&mut self, words: &[&[u8]]) -> Result<String, AskError> {
        tokio::time::timeout(ANSWERS_WITHIN, self.asked(words)).await.map_err(|_| AskError::Late)?
    }

    async fn asked(&mut self, words: &[&[u8]]) -> Result<String, AskError> {
        let mut command = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            command.extend_from_slice(word);
            command.extend_from_slice(b"\r\n");
        }
        self.write.write_all(&command).await?;
        zeroize::Zeroize::zeroize(&mut command);
        let line = self.line().await?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| AskError::Strange(line.clone()))?;
        match kind {
            "+" | ":" => Ok(rest.to_owned()),
            "-" => Err(AskError::Refused(rest.to_owned())),
            "$" => {
                let length = rest.parse::<usize>().ok().filter(|length| *length <= ANSWER_MAX).ok_or_else(|| AskError::Strange(line.clone()))?;
                while self.came.len() < length + 2 {
                    self.more().await?;
                }
                let text = self.came.split_to(length);
                self.came.advance(2);
                Ok(String::from_utf8_lossy(&text).into_owned())
            }
            _ => Err(AskError::Strange(line)),
        }
    }

    async fn more(&mut self) -> Result<(), AskError> {
        if self.read.read_buf(&mut self.came).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up").into());
        }
        Ok(())
    }

    /// The next line that is not empty: while it prepares a snapshot, a server sends line breaks to say that it lives.
    async fn line(&mut self) -> Result<String, AskError> {
        loop {
            if let Some(end) = self.came.iter().position(|byte| *byte == b'\n') {
                let line = self.came.split_to(end + 1);
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if !line.is_empty() {
                    return Ok(line);
                }
                continue;
            }
            if self.came.len() > ANSWER_MAX {
                return Err(AskError::Strange("a line without an end".to_owned()));
            }
            tokio::time::timeout(ANSWERS_WITHIN, self.more()).await.map_err(|_| AskError::Late)??;
        }
    }

    /// How the snapshot that comes now ends.
    pub async fn length(&mut self) -> Result<Length, AskError> {
        let line = self.line().await?;
        if let Some(said) = line.strip_prefix('-') {
            return Err(AskError::Refused(said.to_owned()));
        }
        let said = line.strip_prefix('$').ok_or_else(|| AskError::Strange(line.clone()))?;
        match said.strip_prefix("EOF:") {
            Some(mark) => <[u8; MARK]>::try_from(mark.as_bytes()).map(Length::Mark).map_err(|_| AskError::Strange(line.clone())),
            None => said.parse().map(Length::Bytes).map_err(|_| AskError::Strange(line.clone())),
        }
    }

    /// More of the snapshot, no more than is wanted.
    pub async fn read(&mut self, into: &mut BytesMut, most: u64) -> io::Result<usize> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if !self.came.is_empty() {
            let taken = self.came.split_to(self.came.len().min(most));
            into.extend_from_slice(&taken);
            return Ok(taken.len());
        }
        (&mut self.read).take(most as u64).read_buf(into).await
    }
}
