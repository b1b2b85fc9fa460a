//! Who is in the group, and changing that: one change at a time, and nobody votes before having caught up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mainstay_core::MemberId;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, Instant};
use tokio::time::timeout;

use super::consensus::Consensus;
use super::error::ChangeError;
use super::raft::{Metrics, Peer, Types, node};

/// The members, as this member knows them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Those that vote; during a change, the ones before and the ones after it.
    pub voters: BTreeMap<MemberId, Peer>,
    /// Those that only receive.
    pub learners: BTreeMap<MemberId, Peer>,
    /// A change is not completed.
    pub changing: bool,
}

/// How far the others are, as the leader knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// The leader's own last entry.
    pub last_index: u64,
    pub followers: BTreeMap<MemberId, Follower>,
}

/// How far one other member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follower {
    /// The last entry that it is known to have, on disk. `None` before it was reached.
    pub matched: Option<u64>,
    /// Since it last answered. `None` before it was reached.
    pub silent_for: Option<Duration>,
}

impl Progress {
    /// The last entry that `member` is known to have.
    #[must_use]
    pub fn matched(&self, member: MemberId) -> Option<u64> {
        self.followers.get(&member)?.matched
    }

    /// Entries that `member` still lacks.
    #[must_use]
    pub fn lag(&self, member: MemberId) -> u64 {
        self.matched(member).map_or(self.last_index + 1, |matched| self.last_index.saturating_sub(matched))
    }
}

impl Consensus {
    /// The members, as this member knows them.
    #[must_use]
    pub fn group(&self) -> Group {
        group_of(&self.inner.raft.metrics().borrow_watched())
    }

    /// How far the others are; `None` unless this member leads.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        progress_of(&self.inner.raft.metrics().borrow_watched(), self.member())
    }

    /// Adds a member that receives everything and has no vote. Succeeds if it is there already, and then
    /// calls it at `peer` from now on.
    pub async fn add_learner(&self, member: MemberId, peer: Peer) -> Result<(), ChangeError> {
        let _one = self.only_change()?;
        let group = self.group();
        if group.voters.get(&member).or_else(|| group.learners.get(&member)) == Some(&peer) {
            return self.confirm_change().await;
        }
        self.change(ChangeMembers::SetNodes(BTreeMap::from([(node(member), peer)])), true).await
    }

    /// From now on the member is called at `peer`.
    pub async fn move_member(&self, member: MemberId, peer: Peer) -> Result<(), ChangeError> {
        let group = self.group();
        if !group.voters.contains_key(&member) && !group.learners.contains_key(&member) {
            return Err(ChangeError::NoSuchMember(member));
        }
        self.add_learner(member, peer).await
    }

    /// Gives a learner a vote, once it has caught up. Succeeds if it votes already.
    pub async fn promote(&self, member: MemberId) -> Result<(), ChangeError> {
        let _one = self.only_change()?;
        if self.group().voters.contains_key(&member) {
            return self.confirm_change().await;
        }
        self.await_caught_up(member).await?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([node(member)])), true).await
    }

    /// Takes a member out, with its vote if it has one. Succeeds if it is not there. A leader may take
    /// itself out: it hands leadership over when that is agreed.
    pub async fn remove(&self, member: MemberId) -> Result<(), ChangeError> {
        let _one = self.only_change()?;
        let group = self.group();
        if group.learners.contains_key(&member) {
            return self.change(ChangeMembers::RemoveNodes(BTreeSet::from([node(member)])), false).await;
        }
        if !group.voters.contains_key(&member) {
            return self.confirm_change().await;
        }
        self.has_another_voter(member)?;
        self.change(ChangeMembers::RemoveVoters(BTreeSet::from([node(member)])), false).await
    }

    /// Whether [`Consensus::remove`] would be begun now.
    pub fn could_remove(&self, member: MemberId) -> Result<(), ChangeError> {
        let _one = self.only_change()?;
        self.has_another_voter(member)
    }

    fn has_another_voter(&self, member: MemberId) -> Result<(), ChangeError> {
        let voters = self.group().voters;
        if voters.len() == 1 && voters.contains_key(&member) { Err(ChangeError::LastVoter(member)) } else { Ok(()) }
    }

    /// Gives the learner `new` the vote of `old`, which leaves, in one change: a majority never gets harder
    /// to reach on the way. Succeeds if that is so already.
    pub async fn replace(&self, old: MemberId, new: MemberId) -> Result<(), ChangeError> {
        let _one = self.only_change()?;
        let group = self.group();
        if !group.voters.contains_key(&new) {
            self.await_caught_up(new).await?;
        } else if !group.voters.contains_key(&old) && !group.learners.contains_key(&old) {
            return self.confirm_change().await;
        }
        let mut voters: BTreeSet<u64> = group.voters.keys().filter(|id| **id != old).map(|id| node(*id)).collect();
        voters.insert(node(new));
        let mut steps = vec![ChangeMembers::ReplaceAllVoters(voters)];
        if group.learners.contains_key(&old) {
            steps.push(ChangeMembers::RemoveNodes(BTreeSet::from([node(old)])));
        }
        self.change(ChangeMembers::Batch(steps), false).await
    }

    fn only_change(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, ChangeError> {
        if !self.leadership_now().leads() {
            return Err(ChangeError::NotLeader { leader: self.other_leader() });
        }
        self.inner.changing.try_lock().map_err(|_| ChangeError::InProgress)
    }

    /// What is so already must be agreed, not only seen here.
    async fn confirm_change(&self) -> Result<(), ChangeError> {
        use super::error::ReadError;
        match self.confirm_leadership().await {
            Ok(()) if self.group().changing => Err(ChangeError::InProgress),
            Ok(()) => Ok(()),
            Err(ReadError::NotLeader { leader }) => Err(ChangeError::NotLeader { leader }),
            Err(ReadError::NoMajority(waited)) => Err(ChangeError::TimedOut(waited)),
            Err(ReadError::Stopped(reason)) => Err(ChangeError::Stopped(reason)),
        }
    }

    async fn await_caught_up(&self, member: MemberId) -> Result<(), ChangeError> {
        self.await_lag(member, self.inner.settings.promote_lag, self.inner.settings.change_timeout).await
    }

    /// Waits until `member` lacks at most `limit` entries.
    pub(super) async fn await_lag(&self, member: MemberId, limit: u64, waited: Duration) -> Result<(), ChangeError> {
        let me = self.member();
        let mut metrics = self.inner.raft.metrics();
        let mut seen = None;
        let caught_up = timeout(waited, async {
            loop {
                {
                    let now = metrics.borrow_and_update();
                    let group = group_of(&now);
                    if !group.voters.contains_key(&member) && !group.learners.contains_key(&member) {
                        return Err(ChangeError::NoSuchMember(member));
                    }
                    let Some(progress) = progress_of(&now, me) else {
                        return Err(ChangeError::NotLeader { leader: self.other_leader() });
                    };
                    let lag = progress.lag(member);
                    if progress.matched(member).is_some() && lag <= limit {
                        return Ok(());
                    }
                    seen = Some(lag);
                }
                if metrics.changed().await.is_err() {
                    return Err(ChangeError::Stopped(self.stop_reason(&openraft::errors::Fatal::Stopped)));
                }
            }
        });
        match caught_up.await {
            Ok(result) => result,
            Err(_) => Err(ChangeError::NotCaughtUp { member, lag: seen.unwrap_or(0), waited }),
        }
    }

    async fn change(&self, members: ChangeMembers<u64, Peer>, retain: bool) -> Result<(), ChangeError> {
        let deadline = self.inner.settings.change_timeout;
        match timeout(deadline, self.inner.raft.change_membership(members, retain)).await {
            Err(_) => Err(ChangeError::TimedOut(deadline)),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::Fatal(fatal))) => Err(ChangeError::Stopped(self.stop_reason(&fatal))),
            Ok(Err(RaftError::APIError(refused))) => Err(self.refused(refused)),
        }
    }

    fn refused(&self, error: ClientWriteError<Types>) -> ChangeError {
        match error {
            ClientWriteError::ForwardToLeader(forward) => ChangeError::NotLeader { leader: self.leader(forward) },
            ClientWriteError::LogEntryDiscarded(forward) => ChangeError::Uncertain { leader: self.leader(forward) },
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => ChangeError::InProgress,
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::LearnerNotFound(missing)) => {
                ChangeError::NoSuchMember(MemberId(missing.node_id))
            }
            other => ChangeError::Refused(other.to_string()),
        }
    }
}

fn group_of(metrics: &Metrics) -> Group {
    let effective = &metrics.membership_config;
    let voters: BTreeSet<u64> = effective.voter_ids().collect();
    let mut group = Group {
        changing: effective.get_joint_config().len() > 1 || effective.log_id() != metrics.committed_membership_config.log_id(),
        ..Group::default()
    };
    for (id, peer) in effective.nodes() {
        let side = if voters.contains(id) { &mut group.voters } else { &mut group.learners };
        side.insert(MemberId(*id), peer.clone());
    }
    group
}

fn progress_of(metrics: &Metrics, me: MemberId) -> Option<Progress> {
    let matched = metrics.replication.as_ref()?;
    let heard = metrics.heartbeat.as_ref();
    let follower = |id: &u64, last: &Option<super::raft::LogId>| Follower {
        matched: last.as_ref().map(|id| id.index),
        silent_for: heard.and_then(|heard| heard.get(id)).and_then(Option::as_ref).map(|at| at.elapsed()),
    };
    Some(Progress {
        last_index: metrics.last_log_index.unwrap_or(0),
        followers: matched.iter().filter(|(id, _)| **id != node(me)).map(|(id, last)| (MemberId(*id), follower(id, last))).collect(),
    })
}
