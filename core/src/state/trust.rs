//! Which roots the mesh trusts, and who still depends on which: what a root is replaced by, step by step.
//!
//! ```text
//!  added ─▶ every member trusts it ─▶ every member that signs has an issuer under it ─▶ leaves are issued under it
//!        └▶ identities learn of it with their renewals ─▶ nobody depends on the older one ─▶ that one is retired
//! ```
//! Nothing here looks into certificates: commands carry what was read from them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::enrolment::{JoinGrant, Known};
use super::{State, When};
use crate::bounds;
use crate::id::{MemberId, NameError};
use crate::identity::Identity;
use crate::reply::{Refusal, Reply};
use crate::time::{Millis, WallTime};

/// A root certificate: the first 16 hexadecimal digits of its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RootId(pub u64);

impl fmt::Display for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for RootId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<RootId, NameError> {
        let wrong = || NameError { what: "root", text: text.chars().take(80).collect(), rule: "16 hexadecimal digits" };
        if text.len() != 16 {
            return Err(wrong());
        }
        u64::from_str_radix(text, 16).map(RootId).map_err(|_| wrong())
    }
}

impl TryFrom<String> for RootId {
    type Error = NameError;

    fn try_from(text: String) -> Result<RootId, NameError> {
        text.parse()
    }
}

impl From<RootId> for String {
    fn from(id: RootId) -> String {
        id.to_string()
    }
}

/// A root that the mesh trusts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedRoot {
    pub pem: String,
    /// End of the certificate.
    pub ends: WallTime,
    pub added: WallTime,
    /// Grows with each root that is added: the newest has the greatest.
    pub number: u64,
}

/// What an identity's certificate was when it was shown last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    pub ends: WallTime,
    /// The root that its chain leads to.
    pub root: RootId,
    /// The roots that its holder says it trusts; sorted. Empty when it did not say.
    pub trusts: Vec<RootId>,
}

impl Shown {
    /// Whether it can still be renewed.
    #[must_use]
    pub fn is_renewable(&self, now: WallTime) -> bool {
        now <= renewable(self.ends, false)
    }
}

/// What a member would have signed: a key of its own, for a root under which it cannot sign yet or not for
/// much longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerRequest {
    pub root: RootId,
    pub csr_pem: String,
}

/// What the holder of a root's key has signed for a member; kept until the member has taken it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerGrant {
    pub root: RootId,
    pub cert_pem: String,
}

/// After its end a leaf can be renewed for so long, as it is verified under its root. One day more, since what
/// the mesh knows of it may be that old.
const RENEWABLE: Millis = Millis(31 * 86_400_000);
/// Named when somebody is in the way; the rest is counted.
const NAMED: usize = 5;

impl State {
    pub(super) fn add_root(&mut self, id: RootId, pem: &str, ends: WallTime, when: When) -> Reply {
        if self.roots.contains_key(&id) {
            return Reply::Done;
        }
        if pem.len() > bounds::ROOT_BYTES {
            return Reply::Refused(Refusal::Bound { what: "bytes of a root".into(), limit: bounds::ROOT_BYTES as u64 });
        }
        if self.roots.len() >= bounds::ROOTS {
            return Reply::Refused(Refusal::Bound { what: "trusted roots".into(), limit: bounds::ROOTS as u64 });
        }
        if ends <= when.wall {
            return Reply::Refused(Refusal::Invalid(format!("root {id} has expired")));
        }
        let number = self.roots.values().map(|root| root.number).max().unwrap_or(0) + 1;
        self.roots.insert(id, TrustedRoot { pem: pem.to_owned(), ends, added: when.wall, number });
        Reply::Done
    }

    /// Takes a root out of trust. `cut_off` lets those identities that depend on it lose their way; members it
    /// does not: what they cannot do without stays.
    pub(super) fn retire_root(&mut self, id: RootId, cut_off: bool, when: When) -> Reply {
        if !self.roots.contains_key(&id) {
            return Reply::Refused(Refusal::NotFound { what: format!("root {id}"), hint: "see `mainstay mesh root list`".into() });
        }
        let Some(successor) = self.successor_of(id) else {
            return Reply::Refused(Refusal::Conflict(format!("root {id} is the only one: add another first with `mainstay mesh root add`")));
        };
        if self.issuing_root() == Some(id) {
            let words = format!("leaves are issued under root {id}: that ends when every member trusts root {successor} and signs under it");
            return Reply::Refused(Refusal::Conflict(words));
        }
        let members = self.members_that_need(id);
        let all = if cut_off { members } else { members.into_iter().chain(self.identities_that_need(id, when.wall)).collect() };
        if !all.is_empty() {
            return Reply::Refused(Refusal::Conflict(format!("root {id} is still needed by {}", named(&all))));
        }
        self.roots.remove(&id);
        Reply::Done
    }

    /// Keeps what was signed for a member until it has taken it.
    pub(super) fn grant_issuer(&mut self, member: MemberId, grant: &IssuerGrant) -> Reply {
        if grant.cert_pem.len() > bounds::ROOT_BYTES {
            return Reply::Refused(Refusal::Bound { what: "bytes of an issuer".into(), limit: bounds::ROOT_BYTES as u64 });
        }
        if !self.roots.contains_key(&grant.root) {
            return Reply::Refused(Refusal::NotFound { what: format!("root {}", grant.root), hint: "see `mainstay mesh root list`".into() });
        }
        let asked = self.members.get(&member).and_then(|member| member.issuer_request.as_ref());
        if asked.is_none_or(|request| request.root != grant.root) {
            return Reply::Refused(Refusal::Changed(format!("member {member} does not ask for an issuer under root {}", grant.root)));
        }
        self.issuers.insert(member, grant.clone());
        Reply::Done
    }

    pub(super) fn record_certificate(&mut self, identity: &Identity, shown: &Shown) -> Reply {
        if self.revoked.contains_key(identity) {
            return Reply::Stale(format!("{identity} is revoked"));
        }
        if shown.trusts.len() > bounds::ROOTS {
            return Reply::Refused(Refusal::Bound { what: "trusted roots".into(), limit: bounds::ROOTS as u64 });
        }
        let known = self.identities.get(identity).cloned();
        if known.is_none() && self.identities.len() >= bounds::IDENTITIES {
            return Reply::Refused(Refusal::Bound { what: "identities".into(), limit: bounds::IDENTITIES as u64 });
        }
        self.identities.insert(identity.clone(), Known { shown: Some(shown.clone()), ..known.unwrap_or_default() });
        Reply::Done
    }

    /// The root that was added last.
    #[must_use]
    pub fn newest_root(&self) -> Option<RootId> {
        self.roots.iter().max_by_key(|(_, root)| root.number).map(|(id, _)| *id)
    }

    /// The root under which new leaves are issued: the newest that every member trusts, and under which every
    /// member that signs can sign. Nothing while no root is known.
    #[must_use]
    pub fn issuing_root(&self) -> Option<RootId> {
        let ready = |id: &RootId| {
            self.members.values().all(|member| member.trusts.contains(id) && (member.issuers.is_empty() || member.issuers.contains(id)))
        };
        self.roots.iter().filter(|(id, _)| ready(id)).max_by_key(|(_, root)| root.number).map(|(id, _)| *id)
    }

    /// Whether an identity with such a certificate is to renew before its time.
    #[must_use]
    pub fn wants_renewal(&self, shown: &Shown) -> bool {
        let Some(issuing) = self.issuing_root() else { return false };
        let knows_all = self.roots.keys().all(|id| shown.trusts.contains(id)) && shown.trusts.iter().all(|id| self.roots.contains_key(id));
        shown.root != issuing || (!knows_all && !shown.trusts.is_empty())
    }

    /// The newest root but this one.
    fn successor_of(&self, id: RootId) -> Option<RootId> {
        self.roots.iter().filter(|(other, _)| **other != id).max_by_key(|(_, root)| root.number).map(|(other, _)| *other)
    }

    /// Members that could not do without a root, in words.
    #[must_use]
    pub fn members_that_need(&self, root: RootId) -> Vec<String> {
        let other = |roots: &[RootId]| roots.iter().any(|id| *id != root && self.roots.contains_key(id));
        let needs = self.members.values().filter_map(|member| {
            let why = if !other(&member.trusts) {
                "trusts no other root"
            } else if member.issuers.contains(&root) && !other(&member.issuers) {
                "signs under no other root"
            } else {
                return None;
            };
            Some(format!("member {} ({why})", member.name))
        });
        needs.collect()
    }

    /// Identities and join tokens that would lose their way with a root, in words.
    #[must_use]
    pub fn identities_that_need(&self, root: RootId, now: WallTime) -> Vec<String> {
        let known = self.identities.iter().filter_map(|(identity, known)| Some(format!("{identity} ({})", self.need_of(known, root, now)?)));
        // Agents that the mesh has not seen a certificate of: from before it looked.
        let unseen = self.agents.iter().filter_map(|(id, agent)| {
            let identity = Identity::Node(id.clone());
            let out = self.identities.contains_key(&identity) || self.revoked.contains_key(&identity) || now > renewable(agent.enrolled, true);
            (!out).then(|| format!("{identity} (its certificate was not seen yet)"))
        });
        let joins = self.joins.values().filter(|grant| grant.expires > now && grant.uses > 0 && grant.root == Some(root));
        let joins = joins.map(|JoinGrant { id, scope, .. }| format!("join token {id} for {scope}"));
        known.chain(unseen).chain(joins).collect()
    }

    fn need_of(&self, known: &Known, root: RootId, now: WallTime) -> Option<&'static str> {
        let Some(shown) = &known.shown else {
            let lately = known.enrolled.is_some_and(|enrolled| now <= renewable(enrolled, true));
            return lately.then_some("its certificate was not seen yet");
        };
        if !shown.is_renewable(now) {
            return None;
        }
        if shown.root == root {
            return Some("its certificate is of that root");
        }
        let other = shown.trusts.iter().any(|id| *id != root && self.roots.contains_key(id));
        match (other, shown.trusts.is_empty()) {
            (true, _) => None,
            (false, true) => Some("it does not say which roots it trusts"),
            (false, false) => Some("it trusts no other root"),
        }
    }
}

/// How long a leaf lives at most.
const DAY: Millis = Millis(86_400_000);

/// Until when a leaf can be renewed that ends then, or (`issued`) was issued then.
fn renewable(at: WallTime, issued: bool) -> WallTime {
    let life = if issued { DAY.0 } else { 0 };
    WallTime(at.0.saturating_add_unsigned(life + RENEWABLE.0))
}

fn named(all: &[String]) -> String {
    let shown = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
