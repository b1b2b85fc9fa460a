//! A program in the middle: it reads what somebody else writes, and somebody reads what it prints.

use std::io;
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{ChildError, Program, passed_on};
use crate::pipe::{self, CHUNK, Flow};

impl Program {
    /// Starts it with what is read as its input; what it prints is read as it comes, and ends only if both have come to their
    /// ends. If the reader breaks off, it is ended before its input is.
    pub fn filter(&self, mut from: impl AsyncRead + Send + Unpin + 'static) -> Result<Flow, ChildError> {
        let mut running = self.start(Stdio::piped())?;
        let (mouth, flow) = pipe::to_task();
        let limit = self.deadline;
        tokio::spawn(async move {
            let (mut stdin, Some(mut stdout)) = (running.child.stdin.take(), running.child.stdout.take()) else { return };
            let feeding = async {
                let mut buffer = vec![0; CHUNK];
                loop {
                    let read = from.read(&mut buffer).await?;
                    let Some(into) = stdin.as_mut().filter(|_| read > 0) else { break };
                    // It has ended: why, it says itself.
                    if into.write_all(&buffer[..read]).await.is_err() {
                        return Ok(true);
                    }
                }
                // The end of its input. Where the reader broke off, it is closed after the program was ended.
                drop(stdin.take());
                Ok::<bool, io::Error>(false)
            };
            let work = async { tokio::try_join!(feeding, passed_on(&mut stdout, &mouth)) };
            let moved = tokio::select! {
                moved = tokio::time::timeout(limit, work) => moved,
                // Nobody wants it any more: it ends with this task.
                () = mouth.unread() => return,
            };
            let outcome = match moved {
                Ok(Ok((has_enough, true))) => match running.end().await {
                    // It went well without the rest, of which nobody knows yet whether it is what it should be.
                    Ok(()) if has_enough => match tokio::io::copy(&mut from, &mut tokio::io::sink()).await {
                        Ok(_) => Ok(()),
                        Err(source) => Err(running.broken(source).await),
                    },
                    ended => ended,
                },
                Ok(Ok((_, false))) => return,
                Ok(Err(source)) => Err(running.broken(source).await),
                Err(_) => Err(running.late().await),
            };
            mouth.end(outcome.map_err(io::Error::other)).await;
        });
        Ok(flow)
    }
}
