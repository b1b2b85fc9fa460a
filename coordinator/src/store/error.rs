//! What callers of the store can be told, in types.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::MemberId;

use super::leadership::Leader;

/// Why a member does not start. Nothing that it needs has been changed on its disk; the log's file may have been put back to
/// its last whole commit before the mark beside it showed that one is missing.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{dir} is used by another process: end that one, or use another directory", dir = dir.display())]
    InUse { dir: PathBuf },
    #[error("{file} has format {found}, and this program reads up to {known}: start a newer version", file = file.display())]
    Newer { file: PathBuf, found: u64, known: u64 },
    #[error(
        "{file} is damaged: {what}. Put back a good copy, or move the directory away and start with an empty one: \
         the member then joins again and is sent everything",
        file = file.display()
    )]
    Damaged { file: PathBuf, what: String },
    #[error("the mesh is at feature level {found}, and this program knows {known}: start the newer version again, which was here before")]
    TooOld { found: u32, known: u32 },
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Disk {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("no member has lived in {dir}: name the directory of the coordinator that is left (--dir)", dir = dir.display())]
    Nobody { dir: PathBuf },
    #[error("the member in {dir} found its own disk wrong ({why}): take another member's, or a snapshot", dir = dir.display())]
    Distrusted { dir: PathBuf, why: String },
    #[error("{dir} has been a member's disk: a recovered mesh begins in an empty one", dir = dir.display())]
    NotEmpty { dir: PathBuf },
    #[error("setting {name} cannot be used: {why}")]
    Setting { name: &'static str, why: String },
    #[error("the member stopped while it started: {0}")]
    Stopped(StopReason),
}

/// Why a member has stopped. The process should end with this and be started again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    #[error("it was asked to")]
    Asked,
    #[error(
        "{file} could not be written ({error}): what may be on disk is unknown, so it is not tried again. Look at the disk, then start the member again"
    )]
    WriteFailed { file: String, error: String },
    #[error("{file} is damaged: {what}. Put back a good copy, or start with an empty directory", file = file.display())]
    Damaged { file: PathBuf, what: String },
    #[error("entry {index} cannot be applied: {why}. Nothing is skipped: start a version that knows it")]
    Unknown { index: u64, why: String },
    #[error("the mesh is at feature level {found}, and this program knows {known}: start the newer version again, which was here before")]
    TooOld { found: u32, known: u32 },
    #[error("at entry {index} the state of this member differs from the leader's: it is set aside at the next start, and the member joins anew")]
    Diverged { index: u64 },
    #[error(
        "the disk of this member went back in time: the leader knows that it had {had}, and it has {has}. It is set aside at the next start, and the member joins anew"
    )]
    WentBack { had: String, has: String },
    #[error(
        "the mesh does not take this member any more ({why}): it was removed, or the mesh was recovered without it. To have it join again, set its directory aside and give it a new token"
    )]
    NotTaken { why: String },
    #[error("an error inside: {0}")]
    Internal(String),
}

/// Why a mesh was not formed.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    #[error("this disk belongs to a mesh already: a mesh is formed only on empty disks")]
    NotEmpty,
    #[error("member {0} is not one of the members that it should form a mesh with")]
    NotAMember(MemberId),
    #[error("{0}")]
    Stopped(StopReason),
}

/// Why a proposal has no reply.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was done here. Try `leader`, or, without one, again a little later.
    #[error("this member does not lead{}", lead(leader))]
    NotLeader { leader: Option<Leader> },
    /// Nothing was done.
    #[error("the entry has {bytes} bytes, and at most {limit} are taken")]
    TooLarge { bytes: usize, limit: usize },
    /// Nothing was done.
    #[error("the disk of this member is full ({free} bytes free): nothing is taken until there is room again")]
    DiskFull { free: u64 },
    /// Nothing was done.
    #[error("proposals of {limit} bytes wait already: try again a little later")]
    Busy { limit: usize },
    /// It may be done, now or later: repeat it with the same request key and the reply is the first one's.
    #[error("no reply within {0:?}: it may still be done. Repeat it with the same key")]
    TimedOut(Duration),
    /// It may be done: the leader changed while it was on its way.
    #[error("the leader changed on the way: it may still be done. Repeat it with the same key{}", lead(leader))]
    Uncertain { leader: Option<Leader> },
    #[error("this member has stopped: {0}")]
    Stopped(StopReason),
}

impl ProposeError {
    /// Whether the entry may be applied although there was no reply.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, ProposeError::TimedOut(_) | ProposeError::Uncertain { .. } | ProposeError::Stopped(_))
    }
}

/// Why there is no linearizable read, or no proof of leadership.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error("this member does not lead{}", lead(leader))]
    NotLeader { leader: Option<Leader> },
    /// It leads as far as it knows, but too few members answered in time.
    #[error("a majority did not confirm within {0:?} that this member leads")]
    NoMajority(Duration),
    #[error("this member has stopped: {0}")]
    Stopped(StopReason),
}

/// Why the group was not changed. The change may still happen after `TimedOut` and `Uncertain`: look at the
/// membership, and repeat; a repetition of what is so already succeeds.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    #[error("this member does not lead{}", lead(leader))]
    NotLeader { leader: Option<Leader> },
    #[error("another change of the members is on its way: one at a time")]
    InProgress,
    #[error("there is no member {0}")]
    NoSuchMember(MemberId),
    #[error("member {0} is the last one that votes")]
    LastVoter(MemberId),
    #[error("member {member} still lacks {lag} entries after {waited:?}: it is not promoted before it has caught up")]
    NotCaughtUp { member: MemberId, lag: u64, waited: Duration },
    #[error("the change did not end within {0:?}: too few members answer. It may still happen")]
    TimedOut(Duration),
    #[error("the leader changed on the way: the change may still happen{}", lead(leader))]
    Uncertain { leader: Option<Leader> },
    #[error("the change was refused: {0}")]
    Refused(String),
    #[error("this member has stopped: {0}")]
    Stopped(StopReason),
}

/// Why leadership stays where it is.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransferError {
    #[error("this member does not lead{}", lead(leader))]
    NotLeader { leader: Option<Leader> },
    #[error("no other member can lead: {0}")]
    NoCandidate(String),
    #[error("member {to} did not take over within {waited:?}")]
    TimedOut { to: MemberId, waited: Duration },
    #[error("this member has stopped: {0}")]
    Stopped(StopReason),
}

fn lead(leader: &Option<Leader>) -> String {
    match leader {
        None => ", and knows nobody who does: try again a little later".into(),
        Some(Leader { id, peer: Some(peer) }) => format!(": member {id} at {peer} does"),
        Some(Leader { id, peer: None }) => format!(": member {id} does"),
    }
}
