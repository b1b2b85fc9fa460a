//! Who leads, as this member sees it.

use mainstay_core::MemberId;

use super::raft::{LeaderId, Peer};

/// A leader, and where to call it when that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    pub id: MemberId,
    pub peer: Option<Peer>,
}

/// One time of leading. Another one of the same member is another tenure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tenure {
    pub term: u64,
    pub member: MemberId,
}

impl Tenure {
    pub(super) fn of(leader: &LeaderId) -> Tenure {
        Tenure { term: leader.term, member: MemberId(leader.node_id) }
    }

    pub(super) fn leader_id(self) -> LeaderId {
        LeaderId { term: self.term, node_id: self.member.0 }
    }
}

/// What this member is to the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It leads. `settled` when it has applied an entry of its own tenure: only then has it applied all
    /// that was committed before, and may decide.
    Leading {
        tenure: Tenure,
        settled: bool,
    },
    Following,
    Learning,
    Campaigning,
    /// It takes part in nothing any more.
    Stopped,
}

/// Latest known leadership. A leader that was paused sees itself leading until it is told otherwise:
/// [`super::Consensus::confirm_leadership`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    pub term: u64,
    pub leader: Option<Leader>,
    pub role: Role,
}

impl Leadership {
    /// The tenure in which this member may decide, if any.
    #[must_use]
    pub fn settled(&self) -> Option<Tenure> {
        match self.role {
            Role::Leading { tenure, settled: true } => Some(tenure),
            _ => None,
        }
    }

    #[must_use]
    pub fn leads(&self) -> bool {
        matches!(self.role, Role::Leading { .. })
    }
}
