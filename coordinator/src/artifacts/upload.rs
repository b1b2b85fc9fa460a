//! Taking a file in: to the disks of all voters at once, and enough of them.
//!
//! The pieces go on as they come; at any time a few of them are in memory. A member that is too slow, full or
//! away is left out, as long as a majority has the file in the end; it fetches the file later by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use mainstay_client::files::Content;
use mainstay_core::MemberId;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::Artifacts;
use super::sink::{First, SinkError, feed};

/// From the first word of a majority, how long the others may take for theirs.
const FIRST_GRACE: Duration = Duration::from_millis(300);
/// For the first words of a majority.
const FIRST: Duration = Duration::from_secs(4);
/// How long one member may hold up all others with one piece.
const SLOW: Duration = Duration::from_secs(2);
/// For syncs, after the last piece.
const SYNC: Duration = Duration::from_secs(15);
/// From the majority on, how long the others may take: what is known of them then needs no note later.
const SYNC_GRACE: Duration = Duration::from_millis(250);
/// For an upload to have its turn.
const TURN: Duration = Duration::from_secs(5);

/// Why a file was not taken in. Nothing of it is recorded.
#[derive(Debug, thiserror::Error)]
pub enum UploadError<E> {
    #[error("this member takes in as many files as it can at one time: try again a little later")]
    Busy,
    /// Too few members have it. `full`: for want of room, which does not pass by itself.
    #[error("the file is on {stored} of the {needed} members that are to have it: {}", why.join("; "))]
    TooFew { stored: usize, needed: usize, why: Vec<String>, full: bool },
    /// What came is not what was announced.
    #[error("what was sent is not what was announced: {0}")]
    Content(String),
    /// The sender.
    #[error(transparent)]
    Source(E),
}

/// Where a file comes from.
pub trait Source: Send {
    type Error: Send;
    /// The pieces are to come. Not called where the file is here already.
    fn begin(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// The next piece; nothing after the last.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Self::Error>> + Send;
}

/// The places that a file goes to.
struct Places {
    artifacts: Artifacts,
    needed: usize,
    taking: BTreeMap<MemberId, mpsc::Sender<Bytes>>,
    stored: BTreeSet<MemberId>,
    failed: BTreeMap<MemberId, SinkError>,
    work: JoinSet<(MemberId, Result<(), SinkError>)>,
}

impl Artifacts {
    /// Takes a file in and answers with the members that have it on disk, a majority of the voters at least.
    pub async fn take_in<S: Source>(&self, content: Content, source: &mut S) -> Result<BTreeSet<MemberId>, UploadError<S::Error>> {
        let turn = tokio::time::timeout(TURN, self.uploads.clone().acquire_owned()).await;
        let Ok(Ok(_turn)) = turn else { return Err(UploadError::Busy) };
        let mut places = Places::open(self, content).await;
        if places.stored.len() >= places.needed {
            return Ok(places.stored);
        }
        places.are_enough()?;
        source.begin().await.map_err(UploadError::Source)?;
        let mut bytes = 0;
        while let Some(piece) = source.next().await.map_err(UploadError::Source)? {
            bytes += piece.len() as u64;
            if bytes > content.bytes {
                return Err(UploadError::Content(format!("more than {} bytes came", content.bytes)));
            }
            places.pass_on(&piece).await;
            places.are_enough()?;
        }
        if bytes < content.bytes {
            return Err(UploadError::Content(format!("{bytes} of {} bytes came", content.bytes)));
        }
        places.complete().await
    }
}

impl Places {
    /// Asks all voters; returns when they have answered, or long enough after a majority has.
    async fn open(artifacts: &Artifacts, content: Content) -> Places {
        let voters = artifacts.consensus.group().voters;
        let needed = voters.len() / 2 + 1;
        let mut places = Places {
            artifacts: artifacts.clone(),
            needed,
            taking: BTreeMap::new(),
            stored: BTreeSet::new(),
            failed: BTreeMap::new(),
            work: JoinSet::new(),
        };
        let (say, mut said) = mpsc::channel(voters.len().max(1));
        let mut silent: BTreeSet<MemberId> = voters.keys().copied().collect();
        for (member, peer) in voters {
            let (feed, fed) = feed();
            let (artifacts, say) = (artifacts.clone(), say.clone());
            places.work.spawn(async move { (member, artifacts.sink(member, peer, content, feed).await) });
            tokio::spawn(async move {
                let first = fed.first.await.ok();
                // The upload may have begun without this one.
                let _ = say.send((member, first, fed.pieces)).await;
            });
        }
        drop(say);
        let mut refusing = BTreeSet::new();
        let mut patience = FIRST;
        while let Ok(Some((member, first, pieces))) = tokio::time::timeout(patience, said.recv()).await {
            silent.remove(&member);
            match first {
                Some(First::Send) => {
                    places.taking.insert(member, pieces);
                }
                Some(First::Stored) => {
                    places.stored.insert(member);
                }
                None => {
                    refusing.insert(member);
                }
            }
            if places.taking.len() + places.stored.len() >= places.needed {
                patience = FIRST_GRACE;
            }
        }
        for member in silent {
            places.failed.insert(member, SinkError::Place("it did not answer in time".into()));
        }
        // Their tasks are ending, and say why.
        while refusing.iter().any(|member| !places.failed.contains_key(member)) {
            let Some(ended) = places.work.join_next().await else { break };
            places.note(ended);
        }
        places.note_ended();
        places
    }

    fn are_enough<E>(&mut self) -> Result<(), UploadError<E>> {
        self.note_ended();
        if self.taking.len() + self.stored.len() < self.needed { Err(self.too_few()) } else { Ok(()) }
    }

    async fn pass_on(&mut self, piece: &Bytes) {
        let mut left_out = Vec::new();
        for (member, pieces) in &self.taking {
            match pieces.send_timeout(piece.clone(), SLOW).await {
                Ok(()) => {}
                Err(mpsc::error::SendTimeoutError::Closed(_)) => left_out.push((*member, None)),
                Err(mpsc::error::SendTimeoutError::Timeout(_)) => left_out.push((*member, Some(format!("it took no piece within {SLOW:?}")))),
            }
        }
        for (member, why) in left_out {
            self.taking.remove(&member);
            if let Some(why) = why {
                self.failed.insert(member, SinkError::Place(why));
            }
        }
    }

    /// All pieces are on their way: waits until enough have them on disk.
    async fn complete<E>(mut self) -> Result<BTreeSet<MemberId>, UploadError<E>> {
        self.taking.clear();
        let mut patience = SYNC;
        while let Ok(Some(ended)) = tokio::time::timeout(patience, self.work.join_next()).await {
            self.note(ended);
            if self.stored.len() >= self.needed {
                patience = SYNC_GRACE;
            }
        }
        // The others go on by themselves; what comes of it they say themselves.
        self.work.detach_all();
        if self.stored.len() < self.needed { Err(self.too_few()) } else { Ok(self.stored) }
    }

    fn note_ended(&mut self) {
        while let Some(ended) = self.work.try_join_next() {
            self.note(ended);
        }
    }

    fn note(&mut self, ended: Result<(MemberId, Result<(), SinkError>), JoinError>) {
        match ended {
            Ok((member, Ok(()))) => {
                self.taking.remove(&member);
                self.stored.insert(member);
            }
            Ok((member, Err(error))) => {
                self.taking.remove(&member);
                self.failed.entry(member).or_insert(error);
            }
            Err(broken) => tracing::error!(error = %broken, "taking a file in broke down"),
        }
    }

    fn too_few<E>(&mut self) -> UploadError<E> {
        if let Some(error) = self.failed.values().find(|error| matches!(error, SinkError::Content(_))) {
            return UploadError::Content(error.words().to_owned());
        }
        let full = self.failed.values().any(|error| matches!(error, SinkError::Full(_)));
        let why = self.failed.iter().map(|(member, error)| format!("{}: {}", self.artifacts.name(*member), error.words())).collect();
        UploadError::TooFew { stored: self.stored.len(), needed: self.needed, why, full }
    }
}
