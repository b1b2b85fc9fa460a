//! Which leases have ended by time.

use super::Pass;
use super::run::lease_is_wanted;
use crate::bounds;
use crate::command::Command;
use crate::id::LeaseName;
use crate::identity::Identity;
use crate::state::lease::{Holder, Lease, LeaseKind};

impl Pass<'_> {
    pub(super) fn leases(&mut self) {
        let state = self.state;
        self.end_guard();
        for (name, lease) in &state.leases {
            // Silent waiters first, so that what ends now is not handed to one of them.
            self.give_back(name, lease);
            self.expire_waiting(name, lease);
            self.expire_held(name, lease);
            if lease.held.is_empty() && lease.waiting.is_empty() {
                let at = lease.idle_since + bounds::LEASE_IDLE;
                if self.now >= at {
                    self.command(Command::ForgetLease { name: name.clone() });
                } else {
                    self.wake(at);
                }
            }
        }
    }

    /// Leases of which a recovered mesh has not known are given out when nobody can believe in one any more.
    fn end_guard(&mut self) {
        let Some(guard) = &self.state.guard else { return };
        let end = guard.since.max(self.seen.leading_since) + guard.lasts;
        if self.now >= end {
            self.command(Command::EndGuard);
        } else {
            self.wake(end);
        }
    }

    /// What a run holds or waits for and no longer needs.
    fn give_back(&mut self, name: &LeaseName, lease: &Lease) {
        let held = lease.held.iter().map(|held| (&held.holder, true));
        let all = held.chain(lease.waiting.iter().map(|waiter| (&waiter.holder, false)));
        for (holder, _) in all.filter(|(holder, holds)| is_runs(holder) && !lease_is_wanted(self.state, name, holder, *holds)) {
            self.command(Command::ReleaseLease { name: name.clone(), holder: holder.clone(), token: None });
        }
    }

    /// A grant ends when no renewal has been seen for a TTL since it was made, or since this leader leads:
    /// a renewal that only the former leader saw must not be counted as missing.
    fn expire_held(&mut self, name: &LeaseName, lease: &Lease) {
        if lease.spec.kind == LeaseKind::Claim {
            return;
        }
        for held in lease.held.iter().filter(|held| !is_runs(&held.holder) && !held.holder.is_guard()) {
            let renewed = self.seen.renewals.get(&held.token).copied().unwrap_or_default();
            let end = held.at.max(self.seen.leading_since).max(renewed) + lease.spec.ttl;
            if self.now >= end {
                self.command(Command::ExpireLease { name: name.clone(), token: held.token });
            } else {
                self.wake(end);
            }
        }
    }

    /// A waiter asks again and again; one that has stopped must not be handed the lease.
    fn expire_waiting(&mut self, name: &LeaseName, lease: &Lease) {
        for waiter in lease.waiting.iter().filter(|waiter| !is_runs(&waiter.holder)) {
            let key = (name.clone(), waiter.holder.identity.clone(), waiter.holder.incarnation.clone());
            let asked = self.seen.waiters.get(&key).copied().unwrap_or_default();
            let end = waiter.at.max(self.seen.leading_since).max(asked) + lease.spec.ttl;
            if self.now >= end {
                self.command(Command::ExpireWaiter { name: name.clone(), holder: waiter.holder.clone() });
            } else {
                self.wake(end);
            }
        }
    }
}

/// A run's hold does not end by time: the state says how far the run is.
fn is_runs(holder: &Holder) -> bool {
    matches!(holder.identity, Identity::Run(_))
}
