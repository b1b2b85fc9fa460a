//! What is backed up. A source looks first, then gives its parts one after the other, and says in the end what it counted.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::io::AsyncRead;

pub mod files;
pub mod kubernetes;
pub mod mesh;
pub mod postgres;
pub mod redis;

/// A source did not do what it should.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {said}")]
pub struct SourceError {
    what: String,
    said: String,
}

impl SourceError {
    /// What it was about, and what is wrong with it.
    #[must_use]
    pub fn new(what: impl Into<String>, said: impl Into<String>) -> SourceError {
        SourceError { what: what.into(), said: said.into() }
    }
}

/// One stream of a source. It ends only when all of it was read; everything else is an error of the reader.
pub struct Stream {
    /// Unique within the backup; part of an object's name.
    pub name: String,
    /// What reads it: `application/x-tar`, `application/vnd.postgresql.dump`, …
    pub content: &'static str,
    /// Its bytes.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
}

/// What is backed up.
pub trait Source: Send {
    /// As in plans: `postgres.dump`.
    fn kind(&self) -> &'static str;

    /// Looks whether it can be backed up, before anything is begun: reaches it, and answers with the versions of the programs
    /// that take part.
    fn look(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, String>, SourceError>>;

    /// The next stream; nothing after the last. Those before have been read to their ends, but for as many as [`Source::at_once`]
    /// allows.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Stream>, SourceError>>;

    /// How many streams may be under way together with the next one, which is one of them.
    fn at_once(&self) -> usize {
        1
    }

    /// Whether each stream is as of the instant at which it is given, however long it takes to be read: a snapshot.
    fn has_snapshot(&self) -> bool {
        false
    }

    /// All streams have been read: what was counted, to compare a restore with.
    fn end(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, Value>, SourceError>>;
}
