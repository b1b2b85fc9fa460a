//! Leases of which a recovered mesh has never heard.
//!
//! Whoever took one from the old mesh after the snapshot, or by way of members that are lost, may believe in it for its
//! TTL. So for a while the mesh itself holds every lease that is asked for and was not known, however many slots it has:
//! whoever asks stands in the queue. That the time has passed is the leader's decision ([`crate::decide`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::lease::{Held, Holder, Lease, LeaseKind};
use super::{State, When};
use crate::bounds;
use crate::id::{LeaseName, MemberId, Serial, Token};
use crate::identity::Identity;
use crate::reply::Reply;
use crate::time::{MeshTime, Millis};

/// From this level on all members know it.
pub const GUARDS: u32 = 5;

/// Begins with this, and goes on with the incarnation of the mesh.
const INCARNATION: &str = "guard-";

/// That unknown leases are given to nobody yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// The mesh time at which the mesh began again.
    pub since: MeshTime,
    /// For so long, counted from the first leader after that, and anew from each next one that comes before its end.
    pub lasts: Millis,
    /// The first member of the recovered mesh.
    pub member: MemberId,
}

impl Holder {
    /// Whether the mesh itself is it, for as long as it guards leases that it has not known.
    #[must_use]
    pub fn is_guard(&self) -> bool {
        matches!(self.identity, Identity::Coordinator(_)) && self.incarnation.starts_with(INCARNATION)
    }
}

impl Lease {
    /// Whether nobody gets it yet: what guards it comes before everybody else.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.held.front().is_some_and(|held| held.holder.is_guard())
    }
}

impl State {
    /// From here on, leases that are not known are guarded; for so long. Members of before would give them out.
    pub(super) fn guard_unknown_leases(&mut self, member: MemberId, when: When) -> Millis {
        if self.feature_level < GUARDS {
            return Millis(0);
        }
        let known = self.leases.values().filter(|lease| lease.spec.kind == LeaseKind::Ttl).map(|lease| lease.spec.ttl);
        let lasts = known.max().unwrap_or_default().clamp(bounds::LEASE_GUARD.0, bounds::LEASE_GUARD.1);
        self.guard = Some(Guard { since: when.at, lasts, member });
        lasts
    }

    /// A lease has just been defined.
    pub(super) fn guard_lease(&mut self, name: &LeaseName, when: When) {
        let Some(guard) = &self.guard else { return };
        let holder = Holder {
            identity: Identity::Coordinator(guard.member),
            incarnation: format!("{INCARNATION}{}", self.incarnation),
            attributes: BTreeMap::from([(
                "why".to_owned(),
                "the mesh was recovered and has not known this lease: somebody may believe in it from before".to_owned(),
            )]),
            takes_over: false,
        };
        let token = Token(Serial { incarnation: self.incarnation, counter: self.serial + 1 });
        let Some(lease) = self.leases.get_mut(name).map(Arc::make_mut) else { return };
        self.serial += 1;
        self.weight += holder.weight();
        lease.held.push_back(Arc::new(Held { token, holder, at: when.at, since: when.wall }));
    }

    /// What was guarded goes to those who wait for it.
    pub(super) fn end_guard(&mut self, when: When) -> Reply {
        if self.guard.take().is_none() {
            return Reply::Stale("no leases are guarded".into());
        }
        let guarded: Vec<LeaseName> = self.leases.iter().filter(|(_, lease)| lease.is_guarded()).map(|(name, _)| name.clone()).collect();
        for name in guarded {
            self.take_away(&name, |held| held.holder.is_guard());
            self.grant_waiting(&name, when);
        }
        Reply::Done
    }
}
