//! From which servers it is read: of each shard a replica where one has the same data and is reached, else its primary.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::slots::{self, Shard};
use super::{ANSWERS_WITHIN, AskError, CONTENT, Login, NO_PORT, PART, Redis, Server, SourceError, Stream, Wire, fields, receive};
use crate::pipe;
use crate::seam::Stopwatch;

/// Of one primary. Whoever has more of them has others that serve.
const REPLICAS_TRIED: usize = 3;
/// For a replica to answer: there is its primary, too.
const REPLICA_WITHIN: Duration = Duration::from_secs(5);
/// For a replica to have all that its primary had when the backup began.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a server is to others that have the same data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Primary,
    Replica,
}

impl Role {
    fn of(replication: &BTreeMap<String, String>) -> Role {
        if replication.get("role").is_some_and(|role| role == "slave") { Role::Replica } else { Role::Primary }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
        }
    }

    /// In the words of `INFO`, which older backups have.
    pub fn as_info_says(self) -> &'static str {
        match self {
            Role::Primary => "master",
            Role::Replica => "slave",
        }
    }
}

/// What becomes one part, and from whom.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub part: String,
    pub shard: Shard,
    pub from: Server,
    pub role: Role,
}

/// A server that is in no cluster, with the replicas that it says are there; the nearest first.
pub(super) fn alone(replication: &BTreeMap<String, String>) -> Shard {
    let read = |(name, said): (&String, &String)| {
        name.strip_prefix("slave")?.parse::<u32>().ok()?;
        let field =
            |wanted: &str| said.split(',').find_map(|field| field.split_once('=').filter(|(name, _)| *name == wanted)).map(|(_, value)| value);
        let port = field("port")?.parse::<u16>().ok().filter(|port| *port > 0)?;
        let host = field("ip").filter(|host| !host.is_empty() && field("state") == Some("online"))?;
        Some((field("offset")?.parse::<u64>().ok()?, Server::Other { host: host.to_owned(), port }))
    };
    let mut replicas: Vec<(u64, Server)> = replication.iter().filter_map(read).collect();
    replicas.sort_by_key(|(offset, _)| std::cmp::Reverse(*offset));
    Shard { slots: Vec::new(), primary: Server::Named, replicas: replicas.into_iter().map(|(_, server)| server).collect() }
}

/// A connection to one server, that says of whom it speaks.
pub(super) struct Link {
    name: String,
    user: String,
    wire: Wire,
}

impl Link {
    fn wrong(&self, said: impl fmt::Display) -> SourceError {
        SourceError::new(self.name.clone(), said.to_string())
    }

    fn not_answered(&self, error: &AskError) -> SourceError {
        let said = error.to_string();
        if !said.starts_with("NOPERM") {
            return self.wrong(said);
        }
        // What a server writes to its own disk can be asked for with fewer rights, and not be read from elsewhere.
        self.wrong(format!(
            "{said}; it is backed up as a replica would copy it, which this user has to be allowed:  ACL SETUSER {} +psync +replconf +ping +info  and in a cluster  +cluster|nodes",
            self.user
        ))
    }

    async fn ask(&mut self, words: &[&[u8]]) -> Result<String, SourceError> {
        let answer = self.wire.ask(words).await;
        answer.map_err(|error| self.not_answered(&error))
    }

    pub async fn info(&mut self, section: &str) -> Result<BTreeMap<String, String>, SourceError> {
        Ok(fields(&self.ask(&[b"INFO", section.as_bytes()]).await?))
    }

    /// Those of its cluster.
    pub async fn shards(&mut self) -> Result<Vec<Shard>, SourceError> {
        let nodes = self.ask(&[b"CLUSTER", b"NODES"]).await?;
        slots::shards(&nodes).map_err(|why| self.wrong(why))
    }

    /// Says what we understand: a snapshot may come in one piece of a length that is not known before, so that no disk is
    /// needed for it. Who may not say that may not be sent one either.
    async fn introduce(&mut self) -> Result<(), SourceError> {
        self.ask(&[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]).await.map(drop)
    }

    /// What is asked before, and need not be understood.
    async fn ask_for(&mut self, words: &[&[u8]]) -> Result<(), SourceError> {
        match self.wire.ask(words).await {
            Err(error) if !error.is_refusal() => Err(self.wrong(error)),
            _ => Ok(()),
        }
    }
}

impl Redis {
    pub(super) async fn connect(&self, server: &Server) -> Result<Link, SourceError> {
        let name = self.called(server);
        let wrong = |said: &dyn fmt::Display| SourceError::new(name.clone(), said.to_string());
        let socket = tokio::time::timeout(ANSWERS_WITHIN, (self.dial)(server.clone())).await;
        let socket = socket.map_err(|_| wrong(&"it cannot be reached: no answer"))?.map_err(|error| wrong(&error))?;
        let Login { user, password } = &self.login;
        let mut link = Link { name, user: user.clone().unwrap_or_else(|| "default".to_owned()), wire: Wire::new(socket) };
        if let Some(password) = password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(user.as_deref().map(str::as_bytes));
            words.push(password.as_bytes());
            link.ask(&words).await?;
        }
        Ok(link)
    }

    /// Looks at each primary, and who is read in its place.
    pub(super) async fn choose(&self, shards: Vec<Shard>) -> Result<Vec<Read>, SourceError> {
        let mut reads = Vec::new();
        for (at, shard) in shards.into_iter().enumerate() {
            let mut primary = self.connect(&shard.primary).await?;
            let replication = primary.info("replication").await?;
            if replication.get("master_link_status").is_some_and(|status| status != "up") {
                return Err(primary.wrong("it is a replica, and has lost what it replicates: its data may be old"));
            }
            primary.introduce().await?;
            if self.is_cluster {
                self.is_at_rest(&shard).await?;
            }
            let part = shard.slots.first().map_or_else(|| PART.to_owned(), |(first, _)| format!("{PART}-{at}-{first}"));
            let replica = self.replica(&shard, &replication).await;
            let role = if replica.is_some() { Role::Replica } else { Role::of(&replication) };
            reads.push(Read { part, from: replica.unwrap_or_else(|| shard.primary.clone()), shard, role });
        }
        Ok(reads)
    }

    /// Whether a primary of a cluster is one, and moves no slots.
    pub(super) async fn is_at_rest(&self, shard: &Shard) -> Result<(), SourceError> {
        let mut primary = self.connect(&shard.primary).await?;
        if Role::of(&primary.info("replication").await?) != Role::Primary {
            return Err(primary.wrong("it is no primary any more: another one takes its place; back it up when that has ended"));
        }
        let nodes = primary.ask(&[b"CLUSTER", b"NODES"]).await?;
        slots::at_rest(&nodes).map_err(|why| primary.wrong(why))
    }

    /// A replica that has the data of this primary. It is no matter where there is none.
    async fn replica(&self, shard: &Shard, primary: &BTreeMap<String, String>) -> Option<Server> {
        for replica in shard.replicas.iter().take(REPLICAS_TRIED) {
            let looked = tokio::time::timeout(REPLICA_WITHIN, self.serves(replica, primary)).await;
            match looked {
                Ok(Ok(())) => return Some(replica.clone()),
                Ok(Err(why)) => tracing::info!(%why, "a replica does not serve for a backup"),
                Err(_) => tracing::info!(replica = self.called(replica), "a replica does not answer, and does not serve for a backup"),
            }
        }
        None
    }

    async fn serves(&self, replica: &Server, primary: &BTreeMap<String, String>) -> Result<(), SourceError> {
        let mut link = self.connect(replica).await?;
        let is = link.info("replication").await?;
        let same = is.get("master_replid").is_some_and(|of| Some(of) == primary.get("master_replid"));
        let is_up = is.get("master_link_status").is_some_and(|status| status == "up");
        if Role::of(&is) != Role::Replica || !same || !is_up {
            return Err(link.wrong("it does not replicate what it is said to replicate, or not now"));
        }
        link.introduce().await
    }

    /// Asks for a snapshot; it has begun to come when this comes back.
    pub(super) async fn begin(&mut self, at: usize) -> Result<Stream, SourceError> {
        let Read { part, shard, from, .. } = self.reads[at].clone();
        if from != shard.primary {
            let begun = async {
                self.catches_up(&from, &shard.primary).await?;
                self.snapshot(&from, &part).await
            };
            match begun.await {
                Ok(stream) => return Ok(stream),
                Err(why) => tracing::info!(%why, "its primary is read instead of a replica"),
            }
            let read = &mut self.reads[at];
            (read.from, read.role) = (shard.primary.clone(), Role::Primary);
        }
        self.snapshot(&shard.primary, &part).await
    }

    /// Waits until a replica has all that its primary has now: what was written before a backup began is in it.
    async fn catches_up(&self, replica: &Server, primary: &Server) -> Result<(), SourceError> {
        let offset = |of: &BTreeMap<String, String>, name: &str| of.get(name).and_then(|offset| offset.parse::<u64>().ok());
        let mut link = self.connect(primary).await?;
        let wanted = offset(&link.info("replication").await?, "master_repl_offset").ok_or_else(|| link.wrong("it does not say how far it is"))?;
        let (mut link, watch) = (self.connect(replica).await?, Stopwatch::start());
        loop {
            let is = link.info("replication").await?;
            if offset(&is, "slave_repl_offset").is_some_and(|offset| offset >= wanted) {
                return Ok(());
            }
            if watch.elapsed() > CATCHES_UP_WITHIN {
                return Err(link.wrong(format!("it is behind its primary for longer than {} s", CATCHES_UP_WITHIN.as_secs())));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn snapshot(&self, server: &Server, part: &str) -> Result<Stream, SourceError> {
        let mut link = self.connect(server).await?;
        // Without a stream of changes behind it, and a server says so if it is too old for that; we hang up then.
        link.ask_for(&[b"REPLCONF", b"rdb-only", b"1"]).await?;
        link.ask_for(&[b"REPLCONF", b"listening-port", NO_PORT]).await?;
        link.introduce().await?;
        let resync = link.ask(&[b"PSYNC", b"?", b"-1"]).await?;
        if !resync.starts_with("FULLRESYNC") {
            return Err(link.wrong(format!("it does not send a snapshot: {resync}")));
        }
        // A server that has much to save says line breaks meanwhile, each of which counts as an answer.
        let length = tokio::time::timeout(self.deadline, link.wire.length()).await;
        let length = length.map_err(|_| link.wrong(format!("no snapshot came within {} s", self.deadline.as_secs())))?;
        let length = length.map_err(|error| link.wrong(error))?;
        let (mouth, flow) = pipe::to_task();
        let (deadline, all) = (self.deadline, Arc::clone(&self.received));
        let mut wire = link.wire;
        tokio::spawn(async move {
            let outcome = tokio::select! {
                outcome = tokio::time::timeout(deadline, receive::pass_on(&mut wire, length, &mouth)) => outcome,
                () = mouth.unread() => return,
            };
            let outcome = outcome.unwrap_or_else(|_| {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("not all of the snapshot came within {} s", deadline.as_secs())))
            });
            let outcome = outcome.map(|received| all.lock().unwrap_or_else(PoisonError::into_inner).push(received));
            mouth.end(outcome).await;
        });
        Ok(Stream { name: part.to_owned(), content: CONTENT, reader: Box::new(flow) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replicas_that_are_there_are_known_and_the_nearest_is_first() {
        let said = fields(
            "role:master\r\nconnected_slaves:4\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=10,lag=1\r\n\
             slave1:ip=10.0.0.3,port=6380,state=online,offset=12,lag=0\r\nslave2:ip=10.0.0.4,port=0,state=send_bulk,offset=0,lag=0\r\n\
             slave3:ip=10.0.0.5,port=6379,state=wait_bgsave,offset=0,lag=0\r\nslave4:ip=10.0.0.6,port=-1,state=online,offset=0,lag=0\r\n\
             slave_expires_tracked_keys:0\r\n",
        );
        let other = |host: &str, port| Server::Other { host: host.to_owned(), port };
        assert_eq!(alone(&said).replicas, [other("10.0.0.3", 6380), other("10.0.0.2", 6379)]);
    }
}
