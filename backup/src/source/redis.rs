//! A Redis server by replication: it makes a snapshot of this instant and sends it, as it would to a replica. Nothing is
//! copied from its disk, where the last snapshot may be an old one, and none is written there unless the server is set so.
//!
//! A primary is spared where one of its replicas has the same data, and of a cluster each shard is a part of its own. The
//! snapshot counts when its own checksum is right. How a socket is opened, with or without TLS, is told by whoever asks.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::{Source, SourceError, Stream};

mod inside;
pub mod rdb;
mod receive;
mod servers;
mod slots;
pub mod walk;
mod wire;

pub(crate) use inside::{Inside, Loaded};
use receive::Received;
use servers::Read;
use slots::Shard;
use wire::{AskError, Wire};

/// What its part is.
pub const CONTENT: &str = "application/vnd.redis.rdb";
/// The part of a server that is no shard of a cluster.
pub const PART: &str = "rdb";
/// What was counted of the keys, by database and type, in a manifest.
pub const KEYS: &str = "keys";
/// For an answer to a command, and between two pieces of a snapshot.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// Bytes of the mark that ends a snapshot whose length is not known before.
const MARK: usize = 40;
/// A port that is none: a Sentinel would take any other, even 0, for that of a replica, and keep it for ever.
const NO_PORT: &[u8] = b"-1";

/// A connection, opened.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Which server a connection is opened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// The one of which a backup is wanted.
    Named,
    /// One that this one names: its replica, or another one of its cluster.
    Other {
        /// Name or address, without brackets.
        host: String,
        /// Of Redis itself.
        port: u16,
    },
}

/// Opens a connection to a server.
pub type Dial = Box<dyn Fn(Server) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> + Send + Sync>;

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
    is_cluster: bool,
    /// What is read, and from whom, in the order of the parts.
    reads: Vec<Read>,
    /// How many of them have been begun.
    begun: usize,
    keys_before: BTreeMap<String, Value>,
    received: Arc<Mutex<Vec<Received>>>,
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
        Redis {
            name: name.to_owned(),
            dial,
            login,
            deadline,
            is_cluster: false,
            reads: Vec::new(),
            begun: 0,
            keys_before: BTreeMap::new(),
            received: Arc::default(),
        }
    }

    fn wrong(&self, said: impl fmt::Display) -> SourceError {
        SourceError::new(self.name.clone(), said.to_string())
    }

    /// What a server is called in words.
    fn called(&self, server: &Server) -> String {
        match server {
            Server::Named => self.name.clone(),
            Server::Other { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Server::Other { host, port } => format!("{host}:{port}"),
        }
    }

    async fn looked(&mut self) -> Result<BTreeMap<String, String>, SourceError> {
        let mut named = self.connect(&Server::Named).await?;
        let server = named.info("server").await?;
        let replication = named.info("replication").await?;
        let version = server.get("redis_version").cloned().ok_or_else(|| self.wrong("it does not say which version it is"))?;
        let mode = server.get("redis_mode").map_or("standalone", String::as_str);
        if mode == "sentinel" {
            return Err(self.wrong("it is a Sentinel, which has no keys: name the server that it looks after"));
        }
        self.is_cluster = mode == "cluster" || named.info("cluster").await?.get("cluster_enabled").is_some_and(|is| is == "1");
        let shards = if self.is_cluster { named.shards().await? } else { vec![servers::alone(&replication)] };
        self.reads = self.choose(shards).await?;
        self.keys_before = self.keys_now().await?;
        let role = if self.is_cluster { "cluster" } else { self.reads.first().map_or("", |read| read.role.as_info_says()) };
        Ok(BTreeMap::from([("server".to_owned(), version), ("role".to_owned(), role.to_owned())]))
    }

    /// How many keys each database has, on the servers that are read, all shards together.
    async fn keys_now(&self) -> Result<BTreeMap<String, Value>, SourceError> {
        let mut sum: BTreeMap<String, u64> = BTreeMap::new();
        for read in &self.reads {
            let keyspace = self.connect(&read.from).await?.info("keyspace").await?;
            inside::keys(&keyspace).into_iter().for_each(|(database, keys)| *sum.entry(database).or_default() += keys.keys);
        }
        Ok(sum.into_iter().map(|(database, keys)| (database, Value::from(keys))).collect())
    }

    /// All streams have come. Keys of slots that were moved meanwhile are in two of them, or in none.
    async fn counted(&self) -> Result<BTreeMap<String, Value>, SourceError> {
        if self.is_cluster {
            let is = self.connect(&Server::Named).await?.shards().await?;
            let slots = |of: &[&Shard]| of.iter().map(|shard| shard.slots.clone()).collect::<Vec<_>>();
            let was: Vec<&Shard> = self.reads.iter().map(|read| &read.shard).collect();
            if slots(&was) != slots(&is.iter().collect::<Vec<_>>()) {
                return Err(
                    self.wrong("slots of its cluster were moved while it was backed up: their keys may be in two parts or in none; do it again")
                );
            }
            for shard in &is {
                self.is_at_rest(shard).await?;
            }
        }
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if received.len() != self.reads.len() {
            return Err(self.wrong("its snapshot did not come to an end"));
        }
        let keys = |keys: &BTreeMap<String, Value>| Value::Object(keys.clone().into_iter().collect());
        let from = |read: &Read| {
            let mut from = json!({ "server": self.called(&read.from), "role": read.role.as_str() });
            if self.is_cluster {
                from["slots"] = read.shard.slots_in_words().into();
            }
            (read.part.clone(), from)
        };
        let mut counted = BTreeMap::from([
            ("rdbVersion".to_owned(), received.iter().map(|one| one.seen.version).max().into()),
            ("checksummed".to_owned(), received.iter().all(|one| one.seen.checksummed).into()),
            ("keysBefore".to_owned(), keys(&self.keys_before)),
            ("keysAfter".to_owned(), keys(&self.keys_now().await?)),
            ("readFrom".to_owned(), Value::Object(self.reads.iter().map(from).collect())),
        ]);
        if let Some(tallies) = received.iter().map(|one| one.keys.as_ref()).collect::<Option<Vec<_>>>() {
            let mut all = walk::Tally::default();
            tallies.into_iter().for_each(|tally| all.merge(tally));
            counted.insert(KEYS.to_owned(), serde_json::to_value(&all).map_err(|error| self.wrong(error))?);
        }
        Ok(counted)
    }
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
            if self.begun == self.reads.len() {
                return Ok(None);
            }
            self.begun += 1;
            self.begin(self.begun - 1).await.map(Some)
        }
        .boxed()
    }

    fn end(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, Value>, SourceError>> {
        async { self.counted().await }.boxed()
    }
}

/// The lines of an `INFO`.
fn fields(said: &str) -> BTreeMap<String, String> {
    said.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}
