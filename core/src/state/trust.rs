//! Which roots the mesh trusts, and who still depends on which: what a root is replaced by, step by step.
//!
//! ```text
//!  added ─▶ every member trusts it ─▶ every member that signs has an issuer under it ─▶ leaves are issued under it
//!        └▶ identities learn of it with their renewals ─▶ nobody depends on the older one ─▶ that one is retired
//! ```
//! Nothing here looks into certificates: commands carry what was read from them.

mod need;

pub use need::{Dependant, InUse, Lack, Those};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::enrolment::Known;
use super::{State, When};
use crate::bounds;
use crate::id::{MemberId, NameError, RunId};
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
    /// The run whose step added it, and may take it back.
    #[serde(default)]
    pub added_by: Option<RunId>,
}

/// A root to be trusted, as its certificate says.
#[derive(Debug, Clone, Copy)]
pub struct NewRoot<'a> {
    pub id: RootId,
    pub pem: &'a str,
    pub ends: WallTime,
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

impl State {
    /// `run` where a step of one adds it.
    pub(super) fn add_root(&mut self, root: &NewRoot<'_>, run: Option<&RunId>, when: When) -> Reply {
        let NewRoot { id, pem, ends } = *root;
        if self.roots.contains_key(&id) {
            return Reply::Done;
        }
        if let Some(refusal) = self.cannot_add(root, when.wall) {
            return Reply::Refused(refusal);
        }
        let number = self.roots.values().map(|root| root.number).max().unwrap_or(0) + 1;
        self.roots.insert(id, TrustedRoot { pem: pem.to_owned(), ends, added: when.wall, number, added_by: run.cloned() });
        Reply::Done
    }

    /// Why a root that is not trusted yet cannot be.
    pub(super) fn cannot_add(&self, root: &NewRoot<'_>, now: WallTime) -> Option<Refusal> {
        if root.pem.len() > bounds::ROOT_BYTES {
            return Some(Refusal::Bound { what: "bytes of a root".into(), limit: bounds::ROOT_BYTES as u64 });
        }
        if self.roots.len() >= bounds::ROOTS {
            return Some(Refusal::Bound { what: "trusted roots".into(), limit: bounds::ROOTS as u64 });
        }
        (root.ends <= now).then(|| Refusal::Invalid(format!("root {} has expired", root.id)))
    }

    /// Takes a root out of trust. `cut_off` lets those identities that depend on it lose their way; members it
    /// does not: what they cannot do without stays.
    pub(super) fn retire_root(&mut self, id: RootId, cut_off: bool, when: When) -> Reply {
        if !self.roots.contains_key(&id) {
            return Reply::Refused(Refusal::NotFound { what: format!("root {id}"), hint: "see `mainstay mesh root list`".into() });
        }
        self.retire_roots(&[id], cut_off, when)
    }

    /// The same of several at once, all or none: who trusts no root but these would lose their way with all of them.
    pub(super) fn retire_roots(&mut self, gone: &[RootId], cut_off: bool, when: When) -> Reply {
        if let Some(in_use) = self.in_use_among(gone) {
            return Reply::Refused(Refusal::Conflict(in_use.to_string()));
        }
        let needed = if cut_off { Those::of(self.dependent_members(gone)) } else { Those::of(self.dependants(gone, when.wall)) };
        if let Some(those) = needed {
            return Reply::Refused(Refusal::Conflict(format!("{} still needed by {those}", named(gone))));
        }
        for id in gone {
            self.roots.remove(id);
        }
        Reply::Done
    }

    /// Why these roots cannot be done without, whoever depends on them: there is no other, or leaves are issued
    /// under one of them.
    #[must_use]
    pub fn in_use_among(&self, gone: &[RootId]) -> Option<InUse> {
        let others = self.roots.iter().filter(|(id, _)| !gone.contains(id));
        let Some((successor, _)) = others.max_by_key(|(_, root)| root.number) else {
            return gone.first().map(|root| InUse::Only { root: *root });
        };
        let root = self.issuing_root().filter(|issuing| gone.contains(issuing))?;
        Some(InUse::Issuing { root, successor: *successor })
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

    /// The roots that were added before this one, the oldest first; none where it is not trusted.
    #[must_use]
    pub fn roots_before(&self, id: RootId) -> Vec<RootId> {
        let Some(root) = self.roots.get(&id) else { return Vec::new() };
        let mut before: Vec<_> = self.roots.iter().filter(|(_, other)| other.number < root.number).collect();
        before.sort_by_key(|(_, other)| other.number);
        before.into_iter().map(|(id, _)| *id).collect()
    }

    /// Members that could not do without a root, in words.
    #[must_use]
    pub fn members_that_need(&self, root: RootId) -> Vec<String> {
        self.dependent_members(&[root]).map(|one| one.to_string()).collect()
    }

    /// Identities and join tokens that would lose their way with a root, in words.
    #[must_use]
    pub fn identities_that_need(&self, root: RootId, now: WallTime) -> Vec<String> {
        self.dependent_identities(&[root], now).map(|one| one.to_string()).collect()
    }
}

/// How long a leaf lives at most.
const DAY: Millis = Millis(86_400_000);

/// Until when a leaf can be renewed that ends then, or (`issued`) was issued then.
fn renewable(at: WallTime, issued: bool) -> WallTime {
    let life = if issued { DAY.0 } else { 0 };
    WallTime(at.0.saturating_add_unsigned(life + RENEWABLE.0))
}

/// `root X is`, `roots X, Y are`
fn named(roots: &[RootId]) -> String {
    let ids = roots.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if roots.len() == 1 { format!("root {ids} is") } else { format!("roots {ids} are") }
}

#[cfg(test)]
mod tests;
