//! What the tests share: a source that makes bytes up, orders, keys, and stores that misbehave.
#![allow(dead_code, clippy::missing_panics_doc, reason = "each suite uses its part of it")]

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mainstay_backup::keys::{Identities, Recipients};
use mainstay_backup::manifest::Role;
use mainstay_backup::progress::Teller;
use mainstay_backup::receipt::{PublicKey, SigningKey};
use mainstay_backup::source::{Source, SourceError, Stream};
use mainstay_backup::store::Patience;
use mainstay_backup::write::{Order, WriteError, Written, confirm};
use mainstay_backup::{Store, write};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio_util::sync::CancellationToken;

pub mod faults;
pub mod servers;

/// After so many bytes they repeat: further apart than what a compressor looks back.
const BLOCK: usize = 8 << 20;

/// Bytes that compress as data of databases does: words of a small vocabulary, and numbers that differ.
fn block() -> &'static [u8] {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    MADE.get_or_init(|| {
        let (mut made, mut state) = (Vec::with_capacity(BLOCK + 32), 0x9e37_79b9_7f4a_7c15_u64);
        while made.len() < BLOCK {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let word = ["order", "customer", "shipped", "invoice"][(state % 4) as usize];
            made.extend_from_slice(format!("{word} {:06}\n", state >> 44).as_bytes());
        }
        made.truncate(BLOCK);
        made
    })
}

/// So many of them.
pub struct Made {
    at: usize,
    bytes: usize,
    /// Breaks off with an error there.
    pub breaks_at: Option<usize>,
}

impl Made {
    pub fn new(bytes: usize) -> Made {
        Made { at: 0, bytes, breaks_at: None }
    }
}

impl AsyncRead for Made {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.breaks_at.is_some_and(|at| self.at >= at) {
            return Poll::Ready(Err(io::Error::other("the disk is on fire")));
        }
        let from = self.at % BLOCK;
        let most = into.remaining().min(self.bytes - self.at).min(BLOCK - from);
        into.put_slice(&block()[from..from + most]);
        self.at += most;
        Poll::Ready(Ok(()))
    }
}

/// A source of streams that are made up.
pub struct Given {
    streams: Vec<(String, Box<dyn AsyncRead + Send + Unpin>)>,
}

impl Given {
    pub fn one(reader: impl AsyncRead + Send + Unpin + 'static) -> Given {
        Given { streams: vec![("data".to_owned(), Box::new(reader))] }
    }

    pub fn many(readers: Vec<(&str, Made)>) -> Given {
        let boxed = |(name, reader): (&str, Made)| (name.to_owned(), Box::new(reader) as Box<dyn AsyncRead + Send + Unpin>);
        Given { streams: readers.into_iter().rev().map(boxed).collect() }
    }
}

impl Source for Given {
    fn kind(&self) -> &'static str {
        "given"
    }

    fn look(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, String>, SourceError>> {
        async { Ok(BTreeMap::new()) }.boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Stream>, SourceError>> {
        let next = self.streams.pop().map(|(name, reader)| Stream { name, content: "application/octet-stream", reader });
        async { Ok(next) }.boxed()
    }

    fn end(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, Value>, SourceError>> {
        async { Ok(BTreeMap::new()) }.boxed()
    }
}

/// Keys of a test: who opens, who signs.
pub struct Keys {
    pub drill: Identities,
    pub sign: Arc<SigningKey>,
}

impl Keys {
    pub fn new() -> Keys {
        let kept = SigningKey::generate().expect("random numbers");
        Keys { drill: Identities::generate().0, sign: Arc::new(SigningKey::read(&kept, "here".as_ref()).expect("a key")) }
    }

    pub fn recipients(&self) -> Recipients {
        let recipients = Recipients::read([(Role::Drill, self.drill.public()[0].as_str())]).expect("a recipient");
        recipients.vouched_by(self.sign.clone(), Arc::new(self.known()))
    }

    pub fn known(&self) -> Vec<PublicKey> {
        vec![self.sign.public()]
    }

    /// At `hour` of a day, under a token that grows with the hour.
    pub fn order(&self, hour: u64) -> Order {
        Order {
            key: None,
            target: "prod/orders-db".parse().expect("a target"),
            time: format!("2026-11-30T{hour:02}:00:00Z").parse().expect("a time"),
            token: format!("1.{}", hour + 1).parse().expect("a token"),
            writer: format!("writer-{hour}"),
            set: None,
            recipients: self.recipients(),
        }
    }
}

impl Default for Keys {
    fn default() -> Keys {
        Keys::new()
    }
}

/// What fails is tried again at once, and what hangs is given up within seconds.
pub fn patient(store: Store) -> Store {
    store.patient(Patience { answer: Duration::from_secs(20), piece: Duration::from_secs(20), pause: Duration::from_millis(1) })
}

/// A store that hangs is given up at once.
pub fn impatient(store: Store) -> Store {
    store.patient(Patience { answer: Duration::from_millis(500), piece: Duration::from_millis(500), pause: Duration::from_millis(1) })
}

pub async fn back_up(store: &Store, order: Order, source: &mut dyn Source) -> Result<Written, WriteError> {
    write(store, order, source, &Teller::default(), &CancellationToken::new()).await
}

/// All the way: written, checked, counted.
pub async fn good_one(store: &Store, keys: &Keys, hour: u64, bytes: usize) -> Written {
    let written = back_up(store, keys.order(hour), &mut Given::one(Made::new(bytes))).await.expect("a backup");
    let checked = mainstay_backup::check(store, &written.manifest, &written.check, &Teller::default()).await;
    assert!(checked.is_good(), "{checked:?}");
    confirm(store, &written.manifest.backup, &written.digest, &keys.sign).await.expect("a receipt");
    written
}

pub async fn all_of(mut reader: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    reader.read_to_end(&mut read).await.map(|_| read)
}

pub fn in_memory() -> Arc<object_store::memory::InMemory> {
    Arc::new(object_store::memory::InMemory::new())
}
