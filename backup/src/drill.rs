//! Rehearses a restore: a server of its own is started from the programs that are installed, on a socket in a directory of its
//! own; a backup is restored into it, and what is there then is held against what the source had counted. Nobody else reaches
//! that server, nothing of the source is touched, and server and directory are gone afterwards however it ended.
//!
//! ```text
//! store ─▶ opened, every checksum looked at ─▶ a server that nobody else reaches ─▶ counted again ─▶ the same?
//! ```

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::child::Running;
use crate::decode::{self, Damage};
use crate::keys::Identities;
use crate::manifest::{Manifest, Part};
use crate::progress::Teller;
use crate::seam::Stopwatch;
use crate::source;
use crate::store::Store;

mod files;
mod kubernetes;
mod postgres;
mod redis;
mod scratch;

use scratch::Scratch;

/// What is rehearsed, with what, and where.
#[derive(Debug)]
pub struct Order<'o> {
    /// Where the backup is.
    pub store: &'o Store,
    /// Which.
    pub manifest: &'o Manifest,
    /// What opens it.
    pub keys: &'o Identities,
    /// Where the programs of servers are; else the newest that are installed.
    pub programs: Option<&'o Path>,
    /// A directory with room for what is restored.
    pub within: &'o Path,
    /// After this it is given up.
    pub deadline: Duration,
}

/// A backup that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drilled {
    /// What was held against what was counted, in words.
    pub compared: String,
    /// What differs, in words; empty where it is what it was.
    pub differs: Vec<String>,
    /// From the order until all of it was there to be used: what a recovery would take here.
    pub restored_ms: u64,
    /// With what came after.
    pub took_ms: u64,
}

/// Why nothing was rehearsed, or what came of it instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DrillError {
    /// It could not be tried here: that says nothing of the backup.
    #[error("{0}")]
    NotTried(String),
    /// The store did not let it be read to its end: that says nothing of the backup either.
    #[error("{0}")]
    Unread(String),
    /// It was tried, and cannot be restored.
    #[error("{0}")]
    NotRestored(String),
    /// It was called off.
    #[error("it was cancelled")]
    Cancelled,
}

/// What a rehearsal of one kind comes to.
struct Restored {
    compared: String,
    differs: Vec<String>,
    restored_ms: u64,
}

/// One rehearsal under way.
struct Rehearsal<'r> {
    order: &'r Order<'r>,
    scratch: &'r Scratch,
    /// Held by whoever ends it.
    server: &'r mut Option<Running>,
    progress: &'r Teller,
    watch: Stopwatch,
    /// Why the store did not let a part be read to its end, whatever whoever read it made of that.
    unread: Unread,
}

/// What a store has failed with.
type Unread = Arc<OnceLock<String>>;

/// A part that is read, and remembers whether it was the store that broke it off.
struct Watched<R> {
    inner: R,
    unread: Unread,
}

impl<R: AsyncRead + Unpin> AsyncRead for Watched<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(context, into);
        if let Poll::Ready(Err(error)) = &read
            && let Some(Damage::Store(error)) = error.get_ref().and_then(|inner| inner.downcast_ref::<Damage>())
        {
            // The first counts.
            let _ = self.unread.set(error.to_string());
        }
        read
    }
}

/// Restores a backup, compares it, and removes what it was restored into.
///
/// # Errors
/// When it could not be tried, or not be restored, or was called off.
pub async fn drill(order: &Order<'_>, progress: &Teller, cancel: &CancellationToken) -> Result<Drilled, DrillError> {
    let watch = Stopwatch::start();
    progress.expect(order.manifest.stored_bytes());
    let scratch = Scratch::make(order.within).map_err(|error| DrillError::NotTried(format!("{}: {error}", order.within.display())))?;
    let mut server = None;
    let unread = Unread::default();
    let rehearsal = Rehearsal { order, scratch: &scratch, server: &mut server, progress, watch, unread: Arc::clone(&unread) };
    let rehearsed = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(DrillError::Cancelled),
        ended = tokio::time::timeout(order.deadline, rehearsed(rehearsal)) => ended.unwrap_or_else(|_| {
            Err(DrillError::NotRestored(format!("it was not restored within {} s, which is the limit", order.deadline.as_secs())))
        }),
    };
    if let Some(mut server) = server {
        server.end_now().await;
    }
    scratch.remove().await;
    let rehearsed = rehearsed.map_err(|error| match (error, unread.get()) {
        (DrillError::NotRestored(_), Some(why)) => DrillError::Unread(why.clone()),
        (error, _) => error,
    });
    let Restored { compared, differs, restored_ms } = rehearsed?;
    Ok(Drilled { compared, differs, restored_ms, took_ms: milliseconds(&watch) })
}

async fn rehearsed(rehearsal: Rehearsal<'_>) -> Result<Restored, DrillError> {
    let kind = rehearsal.order.manifest.source.kind.as_str();
    match kind {
        "postgres.dump" => postgres::rehearse(rehearsal).await,
        "redis.dump" => redis::rehearse(rehearsal).await,
        "files" => files::rehearse(rehearsal).await,
        source::kubernetes::KIND => kubernetes::rehearse(rehearsal).await,
        _ => Err(DrillError::NotTried(format!("how {kind} is restored is not known here"))),
    }
}

impl Rehearsal<'_> {
    /// The part of this content, opened.
    async fn part(&self, content: &str) -> Result<impl AsyncRead + Send + Unpin + 'static, DrillError> {
        let part = self.named(content).ok_or_else(|| DrillError::NotRestored(format!("it has no part of {content}")))?;
        self.open(part).await
    }

    async fn open(&self, part: &Part) -> Result<impl AsyncRead + Send + Unpin + 'static, DrillError> {
        let Order { store, manifest, keys, .. } = self.order;
        let opened = decode::open(store, manifest, part, keys, self.progress).await;
        let inner = opened.map_err(|damage| match damage {
            Damage::Store(error) => DrillError::Unread(error.to_string()),
            damage => DrillError::NotRestored(damage.to_string()),
        })?;
        Ok(Watched { inner, unread: Arc::clone(&self.unread) })
    }

    /// The same for who takes any part. That the store did not let it be read is remembered here too.
    async fn opened(&self, part: &Part) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
        match self.open(part).await {
            Ok(plain) => Ok(Box::new(plain)),
            Err(error) => {
                if let DrillError::Unread(why) = &error {
                    // The first counts.
                    let _ = self.unread.set(why.clone());
                }
                Err(io::Error::other(error.to_string()))
            }
        }
    }

    fn named(&self, content: &str) -> Option<&Part> {
        self.order.manifest.parts.iter().find(|part| part.content == content)
    }

    /// What the source had counted under a name.
    fn counted(&self, name: &str) -> Option<&serde_json::Value> {
        self.order.manifest.source.counted.get(name)
    }
}

fn milliseconds(watch: &Stopwatch) -> u64 {
    u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What can be rehearsed here at all.
#[must_use]
pub fn is_known(kind: &str) -> bool {
    ["postgres.dump", "redis.dump", "files", source::kubernetes::KIND].contains(&kind)
}

/// Content of parts that are restored before others are.
const FIRST: &str = source::postgres::GLOBALS;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::store::StoreError;

    struct Breaks(Option<Damage>);

    impl AsyncRead for Breaks {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(self.0.take().map_or(Ok(()), |damage| Err(damage.into())))
        }
    }

    #[tokio::test]
    async fn it_is_remembered_that_a_store_broke_off() {
        let of = async |damage: Damage| {
            let unread = Unread::default();
            let mut watched = Watched { inner: Breaks(Some(damage)), unread: Arc::clone(&unread) };
            assert!(watched.read_to_end(&mut Vec::new()).await.is_err());
            unread.get().cloned()
        };
        assert_eq!(of(Damage::Changed { object: "part".to_owned(), what: "its checksum" }).await, None);
        let late = of(Damage::Store(StoreError::late("/store", "part", Duration::from_secs(30)))).await;
        assert_eq!(late.as_deref(), Some("/store: part: no answer within 30 s; look whether it can be reached from here"));
    }
}
