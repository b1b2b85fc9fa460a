//! A Redis server by replication: it makes a snapshot of this instant and sends it, as it would to a replica. Nothing is
//! copied from its disk, where the last snapshot may be an old one, and none is written there unless the server is set so.
//!
//! The snapshot counts when its own checksum is right. How a socket is opened, with or without TLS, is told by whoever asks.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::{Source, SourceError, Stream};
use crate::pipe::{self, CHUNK, Mouth};

pub mod rdb;
mod wire;

use wire::Wire;

/// What its part is.
pub const CONTENT: &str = "application/vnd.redis.rdb";
/// For an answer to a command, and between two pieces of a snapshot.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// Bytes of the mark that ends a snapshot whose length is not known before.
const MARK: usize = 40;

/// A connection, opened.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Opens a connection to the server.
pub type Dial = Box<dyn Fn() -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> + Send + Sync>;

/// Who is let in.
#[derive(Clone, Default)]
pub struct Login {
    /// Where it is not the default user.
    pub user: Option<String>,
    /// Never shown.
    pub password: Option<Zeroizing<String>>,
}

/// A server that is backed up.
pub struct Redis {
    /// For words, without a password.
    name: String,
    dial: Dial,
    login: Login,
    deadline: Duration,
    given: bool,
    keys_before: BTreeMap<String, Value>,
    seen: Arc<Mutex<Option<rdb::Seen>>>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({})", self.name)
    }
}

impl Redis {
    /// This one; `name` is for words.
    #[must_use]
    pub fn new(name: &str, dial: Dial, login: Login, deadline: Duration) -> Redis {
        Redis { name: name.to_owned(), dial, login, deadline, given: false, keys_before: BTreeMap::new(), seen: Arc::default() }
    }

    fn wrong(&self, said: impl fmt::Display) -> SourceError {
        SourceError::new(self.name.clone(), said.to_string())
    }

    async fn connect(&self) -> Result<Wire, SourceError> {
        let socket = tokio::time::timeout(ANSWERS_WITHIN, (self.dial)()).await;
        let socket =
            socket.map_err(|_| self.wrong("it cannot be reached: no answer")).and_then(|socket| socket.map_err(|error| self.wrong(error)))?;
        let mut wire = Wire::new(socket);
        if let Some(password) = &self.login.password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(self.login.user.as_deref().map(str::as_bytes));
            words.push(password.as_bytes());
            wire.ask(&words).await.map_err(|error| self.wrong(error))?;
        }
        Ok(wire)
    }

    async fn info(&self, wire: &mut Wire, section: &str) -> Result<BTreeMap<String, String>, SourceError> {
        let said = wire.ask(&[b"INFO", section.as_bytes()]).await.map_err(|error| self.wrong(error))?;
        Ok(fields(&said))
    }

    async fn looked(&mut self) -> Result<BTreeMap<String, String>, SourceError> {
        let mut wire = self.connect().await?;
        let server = self.info(&mut wire, "server").await?;
        let replication = self.info(&mut wire, "replication").await?;
        if replication.get("master_link_status").is_some_and(|status| status != "up") {
            return Err(self.wrong("it is a replica, and has lost what it replicates: its data may be old"));
        }
        self.keys_before = keys(&self.info(&mut wire, "keyspace").await?);
        let version = server.get("redis_version").ok_or_else(|| self.wrong("it does not say which version it is"))?;
        let role = replication.get("role").cloned().unwrap_or_default();
        Ok(BTreeMap::from([("server".to_owned(), version.clone()), ("role".to_owned(), role)]))
    }

    /// Asks for a snapshot; it has begun to come when this comes back.
    async fn begin(&self) -> Result<Stream, SourceError> {
        let mut wire = self.connect().await?;
        // Without a stream of changes behind it, and a server says so if it is too old for that; we hang up then.
        let only = wire.ask(&[b"REPLCONF", b"rdb-only", b"1"]).await;
        if let Err(error) = only
            && !error.is_refusal()
        {
            return Err(self.wrong(error));
        }
        // It may come in one piece of a length that is not known before: no disk is needed for it.
        wire.ask(&[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]).await.map_err(|error| self.wrong(error))?;
        let resync = wire.ask(&[b"PSYNC", b"?", b"-1"]).await.map_err(|error| self.wrong(error))?;
        if !resync.starts_with("FULLRESYNC") {
            return Err(self.wrong(format!("it does not send a snapshot: {resync}")));
        }
        // A server that has much to save says line breaks meanwhile, each of which counts as an answer.
        let length = tokio::time::timeout(self.deadline, wire.length()).await;
        let length = length.map_err(|_| self.wrong(format!("no snapshot came within {} s", self.deadline.as_secs())))?;
        let length = length.map_err(|error| self.wrong(error))?;
        let (mouth, flow) = pipe::to_task();
        let (deadline, seen) = (self.deadline, Arc::clone(&self.seen));
        tokio::spawn(async move {
            let outcome = tokio::select! {
                outcome = tokio::time::timeout(deadline, pass_on(&mut wire, length, &mouth)) => outcome,
                () = mouth.unread() => return,
            };
            let outcome = outcome.unwrap_or_else(|_| {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("not all of the snapshot came within {} s", deadline.as_secs())))
            });
            let outcome = outcome.map(|all| *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(all));
            mouth.end(outcome).await;
        });
        Ok(Stream { name: "rdb".to_owned(), content: CONTENT, reader: Box::new(flow) })
    }
}

/// How many keys each database of a server has that lets everybody in, once all of them are loaded.
pub(crate) async fn keys_of(socket: Box<dyn Duplex>) -> Result<BTreeMap<String, Value>, String> {
    let mut wire = Wire::new(socket);
    // Refused while it loads.
    wire.ask(&[b"PING"]).await.map_err(|error| error.to_string())?;
    let said = wire.ask(&[b"INFO", b"keyspace"]).await.map_err(|error| error.to_string())?;
    Ok(keys(&fields(&said)))
}

/// The lines of an `INFO`.
fn fields(said: &str) -> BTreeMap<String, String> {
    said.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// How many keys each database has.
fn keys(keyspace: &BTreeMap<String, String>) -> BTreeMap<String, Value> {
    let count = |value: &str| value.split(',').find_map(|field| field.strip_prefix("keys=")?.parse::<u64>().ok());
    keyspace.iter().filter_map(|(name, value)| Some((name.clone(), Value::from(count(value)?)))).collect()
}

/// How the end of a snapshot is known.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Length {
    Bytes(u64),
    Mark([u8; MARK]),
}

/// Passes the snapshot on as it comes, and says what it was; an error when it is not right.
async fn pass_on(wire: &mut Wire, length: Length, mouth: &Mouth) -> io::Result<rdb::Seen> {
    let mut check = rdb::Check::default();
    let mut buffer = BytesMut::new();
    let mut left = match length {
        Length::Bytes(bytes) => bytes,
        Length::Mark(_) => u64::MAX,
    };
    while left > 0 {
        buffer.reserve(CHUNK);
        let read = tokio::time::timeout(ANSWERS_WITHIN, wire.read(&mut buffer, left)).await;
        let read = read.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the server has stopped sending"))??;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server broke off in the middle of its snapshot"));
        }
        let ready = match &length {
            Length::Bytes(_) => {
                left -= read as u64;
                buffer.split()
            }
            Length::Mark(mark) => {
                // What may be the mark is held back.
                let ended = buffer.ends_with(mark);
                let ready = buffer.split_to(buffer.len().saturating_sub(MARK));
                if ended {
                    left = 0;
                }
                ready
            }
        };
        check.add(&ready);
        mouth.send(ready.freeze()).await?;
    }
    check.end().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

impl Source for Redis {
    fn kind(&self) -> &'static str {
        "redis.dump"
    }

    fn has_snapshot(&self) -> bool {
        true
    }

    fn look(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, String>, SourceError>> {
        self.looked().boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Stream>, SourceError>> {
        async {
            if std::mem::replace(&mut self.given, true) {
                return Ok(None);
            }
            self.begin().await.map(Some)
        }
        .boxed()
    }

    fn end(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, Value>, SourceError>> {
        async {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let seen = seen.ok_or_else(|| self.wrong("its snapshot did not come to an end"))?;
            let mut wire = self.connect().await?;
            let after = keys(&self.info(&mut wire, "keyspace").await?);
            let keys = |keys: &BTreeMap<String, Value>| Value::Object(keys.clone().into_iter().collect());
            Ok(BTreeMap::from([
                ("rdbVersion".to_owned(), Value::from(seen.version)),
                ("checksummed".to_owned(), Value::from(seen.checksummed)),
                ("keysBefore".to_owned(), keys(&self.keys_before)),
                ("keysAfter".to_owned(), keys(&after)),
            ]))
        }
        .boxed()
    }
}
