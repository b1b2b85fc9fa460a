//! Members of the mesh as they describe themselves. Who votes is openraft's knowledge, not kept here twice.

use serde::{Deserialize, Serialize};

use super::State;
use super::trust::{IssuerRequest, RootId};
use crate::bounds;
use crate::id::{AgentId, MemberId};
use crate::reply::{Refusal, Reply};

/// From this level on all members keep on which node another one runs.
pub const MEMBER_NODES: u32 = 5;

/// A coordinator, as it announced itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    pub id: MemberId,
    /// For people: `c1`.
    pub name: String,
    /// `host:port` of the gRPC listener with mutual TLS.
    pub address: String,
    /// `host:port` of the enrolment listener.
    pub enrol_address: String,
    pub version: String,
    /// The node that it runs on, where it said so. Left out where it did not, as members of before do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<AgentId>,
    pub feature_level: u32,
    /// Roots that it trusts.
    pub trusts: Vec<RootId>,
    /// Roots that the certificates which it shows are of; empty when it did not say.
    pub shows: Vec<RootId>,
    /// Roots under which it signs.
    pub issuers: Vec<RootId>,
    /// What it would have signed by the holder of a root's key.
    pub issuer_request: Option<IssuerRequest>,
}

impl State {
    pub(super) fn put_member(&mut self, member: &Member) -> Reply {
        if !self.members.contains_key(&member.id) && self.members.len() >= bounds::MEMBERS {
            return Reply::Refused(Refusal::Bound { what: "members".into(), limit: bounds::MEMBERS as u64 });
        }
        if member.issuer_request.as_ref().is_some_and(|request| request.csr_pem.len() > bounds::CSR_BYTES) || member.trusts.len() > bounds::ROOTS {
            return Reply::Refused(Refusal::Invalid(format!("what member {} says of its certificates is too long", member.id)));
        }
        // Taken, or turned down and asked for anew.
        if self.members.get(&member.id).is_none_or(|before| before.issuer_request != member.issuer_request) {
            self.issuers.remove(&member.id);
        }
        self.members.insert(member.id, member.clone());
        Reply::Done
    }

    pub(super) fn remove_member(&mut self, id: MemberId) -> Reply {
        self.members.remove(&id);
        self.issuers.remove(&id);
        self.artifacts.forget_member(id);
        Reply::Done
    }
}
