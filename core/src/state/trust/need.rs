//! Who is in the way of a root: whoever lacks a new one, and whoever depends on one that is to go.

use std::borrow::Cow;
use std::fmt;

use super::{RootId, renewable};
use crate::identity::Identity;
use crate::state::State;
use crate::state::enrolment::{JoinGrant, Known};
use crate::state::member::Member;
use crate::time::WallTime;

/// Named when somebody is in the way; the rest is counted.
const NAMED: usize = 5;

/// Somebody who would lose their way with a root, and why.
pub enum Dependant<'a> {
    Member(&'a Member, &'static str),
    Identity(Cow<'a, Identity>, &'static str),
    Join(&'a JoinGrant),
}

impl fmt::Display for Dependant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dependant::Member(member, why) => write!(f, "member {} ({why})", member.name),
            Dependant::Identity(identity, why) => write!(f, "{identity} ({why})"),
            Dependant::Join(JoinGrant { id, scope, .. }) => write!(f, "join token {id} for {scope}"),
        }
    }
}

/// Some of those who are in the way by name, and how many they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Those {
    named: Vec<String>,
    all: usize,
}

impl Those {
    /// Nothing where it is nobody.
    pub fn of(all: impl Iterator<Item: fmt::Display>) -> Option<Those> {
        let mut those = Those { named: Vec::new(), all: 0 };
        for one in all {
            those.all += 1;
            if those.named.len() < NAMED {
                those.named.push(one.to_string());
            }
        }
        (those.all > 0).then_some(those)
    }
}

impl fmt::Display for Those {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.named.join(", "))?;
        match self.all - self.named.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Why a root cannot be done without, whoever depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InUse {
    Only {
        root: RootId,
    },
    /// Leaves are issued under it.
    Issuing {
        root: RootId,
        successor: RootId,
    },
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InUse::Only { root } => write!(f, "root {root} is the only one: add another first with `mainstay mesh root add`"),
            InUse::Issuing { root, successor } => {
                write!(f, "leaves are issued under root {root}: that ends when every member trusts root {successor} and signs under it")
            }
        }
    }
}

/// What is still missing before a root has been adopted, in the order in which it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// Members that do not trust it.
    Trust(Those),
    /// Members for which somebody with the root's key is to sign an issuer.
    Issuers(Those),
    /// Members that have not asked for an issuer yet, or not taken the one that was signed.
    Taking(Those),
    /// Agents, operators and programs that do not trust it.
    Learning(Those),
}

impl Lack {
    /// Whether a person has to do something about it.
    #[must_use]
    pub fn needs_signature(&self) -> bool {
        matches!(self, Lack::Issuers(_))
    }

    /// In a sentence about this root.
    #[must_use]
    pub fn sentence(&self, root: RootId) -> String {
        match self {
            Lack::Trust(those) => format!("root {root} is not trusted yet by member {those}"),
            Lack::Issuers(those) => {
                format!("an issuer under root {root} is to be signed for {those}, where the root's key is:  mainstay mesh root issue --root-key FILE")
            }
            Lack::Taking(those) => format!("an issuer under root {root} is still to be asked for, or taken, by member {those}"),
            Lack::Learning(those) => {
                format!(
                    "root {root} is not trusted yet by {those}; each learns of it when it is next connected, and what will not come back is to be revoked"
                )
            }
        }
    }
}

impl State {
    /// What is missing before all trust a root and leaves are issued under it, or under one that is newer.
    #[must_use]
    pub fn lack_of(&self, root: RootId, now: WallTime) -> Option<Lack> {
        let names = |lacks: &dyn Fn(&Member) -> bool| Those::of(self.members.values().filter(|member| lacks(member)).map(|member| &member.name));
        let unsigned = |member: &Member| !member.issuers.is_empty() && !member.issuers.contains(&root);
        let asks = |member: &Member| {
            let granted = self.issuers.get(&member.id).is_some_and(|grant| grant.root == root);
            !granted && member.issuer_request.as_ref().is_some_and(|request| request.root == root)
        };
        names(&|member| !member.trusts.contains(&root))
            .map(Lack::Trust)
            .or_else(|| names(&|member| unsigned(member) && asks(member)).map(Lack::Issuers))
            .or_else(|| names(&unsigned).map(Lack::Taking))
            .or_else(|| Those::of(self.strangers_to(root, now)).map(Lack::Learning))
    }

    /// Identities that would not know a certificate of this root. Those whose own root is not trusted any more have
    /// lost their way already.
    fn strangers_to(&self, root: RootId, now: WallTime) -> impl Iterator<Item = &Identity> {
        self.known().filter_map(move |(identity, known)| {
            let shown = known.shown.as_ref().filter(|shown| shown.is_renewable(now) && self.roots.contains_key(&shown.root))?;
            (shown.root != root && !shown.trusts.contains(&root)).then_some(identity)
        })
    }

    /// Everybody who would lose their way if these roots were gone, members first.
    pub fn dependants<'a>(&'a self, gone: &'a [RootId], now: WallTime) -> impl Iterator<Item = Dependant<'a>> {
        self.dependent_members(gone).chain(self.dependent_identities(gone, now))
    }

    pub(super) fn dependent_members<'a>(&'a self, gone: &'a [RootId]) -> impl Iterator<Item = Dependant<'a>> {
        self.members.values().filter_map(move |member| {
            let why = if !self.has_other(&member.trusts, gone) {
                "trusts no other root"
            } else if member.issuers.iter().any(|root| gone.contains(root)) && !self.has_other(&member.issuers, gone) {
                "signs under no other root"
            } else if !member.shows.is_empty() && !self.has_other(&member.shows, gone) {
                "its certificate is of no other root"
            } else {
                return None;
            };
            Some(Dependant::Member(member, why))
        })
    }

    pub(super) fn dependent_identities<'a>(&'a self, gone: &'a [RootId], now: WallTime) -> impl Iterator<Item = Dependant<'a>> {
        let known =
            self.known().filter_map(move |(identity, known)| Some(Dependant::Identity(Cow::Borrowed(identity), self.need_of(known, gone, now)?)));
        // Agents that the mesh has not seen a certificate of: from before it looked.
        let unseen = self.agents.iter().filter_map(move |(id, agent)| {
            let identity = Identity::of_agent(id);
            let out = self.identities.contains_key(&identity) || self.revoked.contains_key(&identity) || now > renewable(agent.enrolled, true);
            (!out).then_some(Dependant::Identity(Cow::Owned(identity), "its certificate was not seen yet"))
        });
        let joins =
            self.joins.values().filter(move |grant| grant.expires > now && grant.uses > 0 && grant.root.is_some_and(|root| gone.contains(&root)));
        known.chain(unseen).chain(joins.map(Dependant::Join))
    }

    /// Whom the mesh has let in, besides members: those speak for themselves.
    fn known(&self) -> impl Iterator<Item = (&Identity, &Known)> {
        let is_member = |identity: &Identity| matches!(identity, Identity::Coordinator(id) if self.members.contains_key(id));
        self.identities.iter().filter(move |(identity, _)| !is_member(identity))
    }

    fn has_other(&self, roots: &[RootId], gone: &[RootId]) -> bool {
        roots.iter().any(|id| !gone.contains(id) && self.roots.contains_key(id))
    }

    fn need_of(&self, known: &Known, gone: &[RootId], now: WallTime) -> Option<&'static str> {
        let Some(shown) = &known.shown else {
            let lately = known.enrolled.is_some_and(|enrolled| now <= renewable(enrolled, true));
            return lately.then_some("its certificate was not seen yet");
        };
        if !shown.is_renewable(now) {
            return None;
        }
        if gone.contains(&shown.root) {
            return Some("its certificate is of that root");
        }
        match (self.has_other(&shown.trusts, gone), shown.trusts.is_empty()) {
            (true, _) => None,
            (false, true) => Some("it does not say which roots it trusts"),
            (false, false) => Some("it trusts no other root"),
        }
    }
}
