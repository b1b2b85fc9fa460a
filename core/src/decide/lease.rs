//! Which leases have ended by time.

use super::Pass;
use crate::bounds;
use crate::command::Command;
use crate::id::LeaseName;
use crate::state::lease::{Lease, LeaseKind};

impl Pass<'_> {
    pub(super) fn leases(&mut self) {
        let state = self.state;
        for (name, lease) in &state.leases {
            // Silent waiters first, so that what ends now is not handed to one of them.
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

    /// A grant ends when no renewal has been seen for a TTL since it was made, or since this leader leads:
    /// a renewal that only the former leader saw must not be counted as missing.
    fn expire_held(&mut self, name: &LeaseName, lease: &Lease) {
        if lease.spec.kind == LeaseKind::Claim {
            return;
        }
        for held in &lease.held {
            let renewed = self.seen.renewals.get(&(name.clone(), held.token)).copied().unwrap_or_default();
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
        for waiter in &lease.waiting {
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
