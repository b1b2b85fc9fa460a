//! What only the leader knows: who has been heard of, and when. It is a plain value and dies with the
//! leadership; what must outlive it becomes a command.
//!
//! The core relies on three things that whoever leads keeps to:
//!
//! - A renewal is noted, and answered, only after a majority has confirmed since it came that this member
//!   still leads; and not while an `ExpireLease` of the same token may be on its way into the log.
//! - What one leadership decided about leases, and which attempts it offered, is in the log before the first
//!   entry of the next one, or never: an offer rests on how many others there are. (All other decisions may
//!   come as late as they like.)
//! - `leading_since` is not before the mesh time of the last entry of the former leader, and is moved up after
//!   the process stood still.

use imbl::OrdMap;

use std::collections::BTreeMap;

use crate::fact::ClusterFacts;
use crate::id::{AgentId, ClusterName, LeaseName, MemberId, PlanName, StepName, Token};
use crate::identity::Identity;
use crate::plan::Gate;
use crate::time::{MeshTime, Millis, WallTime};

/// The leader's own observations. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Since when this member leads. Nothing that happened before counts against anybody.
    pub leading_since: MeshTime,
    pub links: OrdMap<AgentId, SeenLink>,
    /// The members that vote, and whether each has answered this leader lately.
    pub voters: BTreeMap<MemberId, bool>,
    /// What cluster agents have told of their nodes.
    pub clusters: OrdMap<ClusterName, ClusterFacts>,
    /// The leader's wall clock: certificates end by it, and backups age.
    pub wall: WallTime,
    /// Last renewal of each grant: no two have one token, whichever leases they are of.
    pub renewals: OrdMap<Token, MeshTime>,
    /// When each waiter last asked.
    pub waiters: OrdMap<(LeaseName, Identity, String), MeshTime>,
    /// What the wall clock says of each window and freeze that an open run has.
    pub calendar: BTreeMap<Gate, Opening>,
    /// Schedules of which an instant has come.
    pub due: Vec<Due>,
}

/// Whether a window or freeze lets a step begin now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    Open {
        until: Option<WallTime>,
    },
    /// In words, with the instant at which it opens.
    Closed {
        evidence: String,
        until: Option<WallTime>,
    },
}

/// An instant of a schedule that nobody has acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub plan: PlanName,
    pub revision: u32,
    pub schedule: u32,
    /// The newest one.
    pub instant: WallTime,
    /// How many there were before it.
    pub missed: u32,
    /// How long ago it was.
    pub late: Millis,
    /// Connections of steps that name them by an expression.
    pub connections: BTreeMap<StepName, String>,
}

/// The leader's end of an agent's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenLink {
    pub epoch: u64,
    pub last_heard: MeshTime,
    /// The connection has ended; the agent may be about to come back.
    pub closed: bool,
}
