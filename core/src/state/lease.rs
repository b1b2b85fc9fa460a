//! Leases and claims.
//!
//! The state knows who holds what under which token. It compares no times: that a TTL has passed is the
//! leader's decision ([`crate::decide`]), which comes back as a command that names the token.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{State, When};
use crate::bounds;
use crate::id::{LeaseName, Token};
use crate::identity::Identity;
use crate::reply::{Refusal, Reply};
use crate::time::{MeshTime, Millis, WallTime};

/// Feature level from which an operator's word frees claims only. Members of before free every lease by it.
const FREES_CLAIMS_ONLY: u32 = 2;

/// Attribute by which an agent's hold, or place in the queue, names the attempt it is for.
pub const ATTEMPT: &str = "attempt";

/// Attributes by which a holder says on which node it is, or which one it needs, and in which pod.
pub const NODE: &str = "node";
pub const POD: &str = "pod";
/// Attribute by which a backup says on which node the pod is that it reads from.
pub const SOURCE_NODE: &str = "sourceNode";

/// How a lease ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseKind {
    /// By time, when its holder is not heard of for a TTL.
    #[default]
    Ttl,
    /// Not by time: by its holder, by proof, or by an operator's word.
    Claim,
}

/// What the first acquire of a name defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseSpec {
    pub slots: u32,
    pub ttl: Millis,
    pub kind: LeaseKind,
}

impl Default for LeaseSpec {
    fn default() -> LeaseSpec {
        LeaseSpec { slots: 1, ttl: Millis::from_secs(30), kind: LeaseKind::Ttl }
    }
}

impl fmt::Display for LeaseSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots = if self.slots == 1 { "1 slot".to_owned() } else { format!("{} slots", self.slots) };
        match self.kind {
            LeaseKind::Ttl => write!(f, "{slots}, TTL {}", self.ttl),
            LeaseKind::Claim => write!(f, "{slots}, claim"),
        }
    }
}

/// Who holds or waits: an identity, and which process of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    pub identity: Identity,
    /// Random, new for each process, and for each time that a process asks anew after it gave the lease
    /// back: a release that comes late must not end what was acquired after it.
    pub incarnation: String,
    /// What others may read of the holder: node, pod, process. At most 1 KiB.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// An earlier process of the same identity gives way. Claims only: a lease with a TTL is waited for,
    /// because the earlier process may believe in it until then.
    #[serde(default)]
    pub takes_over: bool,
}

impl Holder {
    /// Whether it is the same process of the same identity; attributes do not count.
    #[must_use]
    pub fn is(&self, other: &Holder) -> bool {
        self.identity == other.identity && self.incarnation == other.incarnation
    }

    fn attributes_bytes(&self) -> usize {
        self.attributes.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    /// Bytes that a place in a lease weighs in the replicated state, near enough.
    pub(super) fn weight(&self) -> u64 {
        (256 + self.incarnation.len() + self.attributes_bytes() + 64 * self.attributes.len()) as u64
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.identity, self.incarnation.get(..8).unwrap_or(&self.incarnation))
    }
}

/// A lease that is defined: held, waited for, or recently so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub spec: LeaseSpec,
    /// A copy of a lease shares them. Most have one, and of those that have thousands every holder is looked at anyway
    /// when one comes.
    pub held: VecDeque<Arc<Held>>,
    /// First come, first served.
    pub waiting: VecDeque<Arc<Waiter>>,
    /// Since when nobody holds it.
    pub idle_since: MeshTime,
}

/// One slot that is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub token: Token,
    pub holder: Holder,
    pub at: MeshTime,
    pub since: WallTime,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiter {
    pub holder: Holder,
    pub at: MeshTime,
    pub since: WallTime,
}

impl Lease {
    /// Whether a slot can be given to somebody.
    pub(crate) fn has_room(&self) -> bool {
        self.held.len() < self.spec.slots as usize && !self.is_guarded()
    }

    /// Bytes that its holders and waiters add to [`State::weight`].
    pub(crate) fn weight(&self) -> u64 {
        let held = self.held.iter().map(|held| &held.holder);
        held.chain(self.waiting.iter().map(|waiter| &waiter.holder)).map(Holder::weight).sum()
    }
}

/// That a lease is held, and under which token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub token: Token,
    pub spec: LeaseSpec,
}

/// Holders that the answer to a caller who does not wait names.
const HOLDERS_NAMED: usize = 16;

impl State {
    pub(super) fn acquire_lease(&mut self, name: &LeaseName, spec: Option<&LeaseSpec>, holder: &Holder, wait: bool, when: When) -> Reply {
        if let Some(refusal) = self.refuses(name, spec, holder) {
            return Reply::Refused(refusal);
        }
        if !self.leases.contains_key(name) {
            let spec = spec.copied().unwrap_or_default();
            self.leases.insert(name.clone(), Arc::new(Lease { spec, held: VecDeque::new(), waiting: VecDeque::new(), idle_since: when.at }));
            self.guard_lease(name, when);
        }
        let serial = self.serial + 1;
        let token = Token(crate::id::Serial { incarnation: self.incarnation, counter: serial });
        let Some(lease) = self.leases.get_mut(name).map(Arc::make_mut) else {
            return Reply::Refused(Refusal::NotFound { what: format!("lease {name}"), hint: String::new() });
        };
        if let Some(held) = lease.held.iter().find(|held| held.holder.is(holder)) {
            return Reply::Granted(Grant { token: held.token, spec: lease.spec });
        }
        if holder.takes_over
            && lease.spec.kind == LeaseKind::Claim
            && let Some(earlier) = lease.held.iter_mut().find(|held| held.holder.identity == holder.identity)
        {
            self.weight = (self.weight + holder.weight()).saturating_sub(earlier.holder.weight());
            *earlier = Arc::new(Held { token, holder: holder.clone(), at: when.at, since: when.wall });
            let spec = lease.spec;
            self.serial = serial;
            // Whoever takes over may have stood in the queue until now.
            self.leave_queue(name, holder);
            return Reply::Granted(Grant { token, spec });
        }
        // Whoever waits already comes first, so a free slot is only taken past an empty queue.
        let place = lease.waiting.iter().position(|waiter| waiter.holder.is(holder));
        if lease.has_room() && lease.waiting.is_empty() {
            lease.held.push_back(Arc::new(Held { token, holder: holder.clone(), at: when.at, since: when.wall }));
            let spec = lease.spec;
            self.serial = serial;
            self.weight += holder.weight();
            return Reply::Granted(Grant { token, spec });
        }
        match place {
            Some(index) => Reply::Queued { place: place_number(index) },
            None if !wait => Reply::Held { by: lease.held.iter().take(HOLDERS_NAMED).map(|held| held.holder.to_string()).collect() },
            None if lease.waiting.len() >= bounds::LEASE_WAITERS => {
                Reply::Refused(Refusal::Bound { what: format!("waiters of lease {name}"), limit: bounds::LEASE_WAITERS as u64 })
            }
            None => {
                lease.waiting.push_back(Arc::new(Waiter { holder: holder.clone(), at: when.at, since: when.wall }));
                self.weight += holder.weight();
                Reply::Queued { place: place_number(lease.waiting.len() - 1) }
            }
        }
    }

    fn refuses(&self, name: &LeaseName, spec: Option<&LeaseSpec>, holder: &Holder) -> Option<Refusal> {
        if holder.attributes_bytes() > bounds::LEASE_ATTRIBUTES_BYTES || holder.incarnation.is_empty() || holder.incarnation.len() > 64 {
            return Some(Refusal::Invalid(format!(
                "the holder of lease {name} needs an incarnation of 1 to 64 characters and at most {} bytes of attributes",
                bounds::LEASE_ATTRIBUTES_BYTES
            )));
        }
        match (self.leases.get(name), spec) {
            (Some(lease), Some(spec)) if lease.spec != *spec => Some(Refusal::Conflict(format!(
                "lease {name} is defined with {}, not with {spec}: ask for it without a definition, or wait until nobody has used it for {}",
                lease.spec,
                bounds::LEASE_IDLE
            ))),
            (None, _) if self.leases.len() >= bounds::LEASES => Some(Refusal::Bound { what: "leases".into(), limit: bounds::LEASES as u64 }),
            (None, Some(spec)) if spec.slots == 0 || spec.slots > bounds::LEASE_SLOTS => {
                Some(Refusal::Invalid(format!("a lease has 1 to {} slots", bounds::LEASE_SLOTS)))
            }
            (None, Some(spec)) if spec.ttl < bounds::LEASE_TTL.0 || spec.ttl > bounds::LEASE_TTL.1 => {
                Some(Refusal::Invalid(format!("a lease's TTL is {} to {}", bounds::LEASE_TTL.0, bounds::LEASE_TTL.1)))
            }
            _ => None,
        }
    }

    /// Gives back what the holder holds or waits for. Giving back what one does not have succeeds.
    pub(super) fn release_lease(&mut self, name: &LeaseName, holder: &Holder, token: Option<Token>, when: When) -> Reply {
        self.take_away(name, |held| held.holder.is(holder) && token.is_none_or(|token| token == held.token));
        if token.is_none() {
            self.leave_queue(name, holder);
        }
        self.grant_waiting(name, when);
        Reply::Done
    }

    pub(super) fn expire_lease(&mut self, name: &LeaseName, token: Token, when: When) -> Reply {
        let ends_by_time = self.leases.get(name).is_some_and(|lease| lease.spec.kind == LeaseKind::Ttl);
        if !ends_by_time || self.take_away(name, |held| held.token == token) == 0 {
            return Reply::Stale(format!("lease {name} is not held under token {token}, or does not end by time"));
        }
        self.grant_waiting(name, when);
        Reply::Done
    }

    pub(super) fn expire_waiter(&mut self, name: &LeaseName, holder: &Holder, when: When) -> Reply {
        if self.leave_queue(name, holder) == 0 {
            return Reply::Stale(format!("{holder} does not wait for lease {name}"));
        }
        self.grant_waiting(name, when);
        Reply::Done
    }

    pub(super) fn free_claim(&mut self, name: &LeaseName, token: Token, when: When) -> Reply {
        let Some(lease) = self.leases.get(name) else {
            return Reply::Refused(Refusal::NotFound { what: format!("lease {name}"), hint: "see `mainstay lease list`".into() });
        };
        // Whoever is heard of believes in its grant, and would go on beside the next holder. What a run holds does
        // not end by time: of a step whose outcome nobody knows it is held until an operator has looked.
        let is_runs = lease.held.iter().any(|held| held.token == token && matches!(held.holder.identity, Identity::Run(_)));
        if lease.spec.kind == LeaseKind::Ttl && !is_runs && self.feature_level >= FREES_CLAIMS_ONLY {
            return Reply::Refused(Refusal::Conflict(format!(
                "{name} ends by itself, {} after its holder was last heard of, and only a claim is freed by an operator's word: end the holder, or take its identity away with `mainstay revoke`",
                lease.spec.ttl
            )));
        }
        if self.take_away(name, |held| held.token == token) == 0 {
            return Reply::Stale(format!("lease {name} is not held under token {token}"));
        }
        self.grant_waiting(name, when);
        Reply::Done
    }

    pub(super) fn forget_lease(&mut self, name: &LeaseName) -> Reply {
        match self.leases.get(name) {
            Some(lease) if lease.held.is_empty() && lease.waiting.is_empty() => {
                self.leases.remove(name);
                Reply::Done
            }
            _ => Reply::Stale(format!("lease {name} is in use")),
        }
    }

    /// Ends every grant and every wait of a lease, and grants all slots to one holder, each with a new token.
    pub(super) fn hand_all_slots_to(&mut self, name: &LeaseName, holder: &Holder, when: When) {
        let incarnation = self.incarnation;
        let Some(lease) = self.leases.get_mut(name).map(Arc::make_mut) else { return };
        self.weight = self.weight.saturating_sub(lease.weight());
        lease.waiting.clear();
        lease.held.clear();
        for slot in 0..lease.spec.slots {
            self.serial += 1;
            let token = Token(crate::id::Serial { incarnation, counter: self.serial });
            // One incarnation a slot: a holder is found by its own.
            let holder = Holder { incarnation: format!("{}-{slot}", holder.incarnation), ..holder.clone() };
            lease.held.push_back(Arc::new(Held { token, holder, at: when.at, since: when.wall }));
        }
        self.weight += lease.weight();
    }

    /// Ends the grants that are meant; how many there were.
    pub(super) fn take_away(&mut self, name: &LeaseName, is_meant: impl Fn(&Held) -> bool) -> usize {
        let Some(lease) = self.leases.get_mut(name).map(Arc::make_mut) else { return 0 };
        let before = lease.held.len();
        let weight: u64 = lease.held.iter().filter(|held| is_meant(held)).map(|held| held.holder.weight()).sum();
        lease.held.retain(|held| !is_meant(held));
        self.weight = self.weight.saturating_sub(weight);
        before - lease.held.len()
    }

    /// Gives up a place in the queue; how many there were.
    fn leave_queue(&mut self, name: &LeaseName, holder: &Holder) -> usize {
        let Some(lease) = self.leases.get_mut(name).map(Arc::make_mut) else { return 0 };
        let before = lease.waiting.len();
        let weight: u64 = lease.waiting.iter().filter(|waiter| waiter.holder.is(holder)).map(|waiter| waiter.holder.weight()).sum();
        lease.waiting.retain(|waiter| !waiter.holder.is(holder));
        self.weight = self.weight.saturating_sub(weight);
        before - lease.waiting.len()
    }

    /// Free slots go to the waiters in their order, each with a new token.
    pub(super) fn grant_waiting(&mut self, name: &LeaseName, when: When) {
        let incarnation = self.incarnation;
        let Some(lease) = self.leases.get_mut(name).map(Arc::make_mut) else { return };
        while lease.has_room() {
            let Some(waiter) = lease.waiting.pop_front() else { break };
            self.serial += 1;
            let token = Token(crate::id::Serial { incarnation, counter: self.serial });
            let holder = Arc::unwrap_or_clone(waiter).holder;
            lease.held.push_back(Arc::new(Held { token, holder, at: when.at, since: when.wall }));
        }
        if lease.held.is_empty() {
            lease.idle_since = when.at;
        }
    }
}

fn place_number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1)
}
