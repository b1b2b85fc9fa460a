//! How a member comes to its place: by forming a mesh with others, or by joining one.
//!
//! ```text
//!  empty disk, named by --form, first one here ─▶ all others answer, all are empty ─▶ the lowest id forms
//!                                              └▶ somebody is in a mesh ───────────┐
//!  a disk was lost, or --join ─────────────────────────────────────────────────────┴▶ Join, until it votes
//! ```
//! A mesh is never formed by a member whose disk was lost, and never while another first member is silent:
//! that one might be in a mesh already.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use mainstay_client::random::{self, Backoff};
use mainstay_client::{CallError, Mesh};
use mainstay_core::MemberId;
use mainstay_core::state::member::Member;
use mainstay_core::state::trust::RootId;
use mainstay_proto::v1;
use mainstay_proto::v1::mesh_client::MeshClient;
use tokio::sync::watch;
use tonic::Code;

use crate::ca::{Home, MemberRecord, Standing};
use crate::peers::Peers;
use crate::store::{Consensus, FormError, Peer, StopReason};

/// How long another member may take to say how it is.
const ANSWER: Duration = Duration::from_secs(1);
/// Between two rounds of asking: the first ones follow closely, since members are started together; each looks up names,
/// and whoever waits for a machine waits for long.
const ASK_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// For one try to join; a try that waits for a vote is answered in time and repeated.
const JOIN: Duration = Duration::from_secs(12);
/// How long to wait for word of a leader before one is looked for.
const LEADER: Duration = Duration::from_secs(1);
/// A member that has its place says so again this often, with the certificate that it has by then; and learns so that
/// it was removed, which nobody tells it.
const TELL_AGAIN: Duration = Duration::from_secs(20);
/// Between two tries.
const JOIN_EVERY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Brings one member to its place.
pub struct Formation {
    pub consensus: Consensus,
    pub peers: Peers,
    pub home: Arc<Home>,
    pub member: Member,
    pub form: Vec<(MemberId, String)>,
    pub join: Vec<String>,
    pub record: MemberRecord,
    pub dir: PathBuf,
}

/// What the other first members say.
#[derive(Debug, PartialEq, Eq)]
enum Others {
    /// All have empty disks.
    Empty,
    /// One of them at least belongs to a mesh.
    Formed,
    /// Not all have answered.
    Silent,
}

/// Whether the mesh at these addresses has known a member of this id. Asked before an empty disk is used
/// under an id for the first time, as far as is known here: somebody may have deleted more than the disk.
pub async fn is_known_already(peers: &Peers, addresses: &[String], id: MemberId) -> bool {
    let id = id.to_string();
    let answers = join_all(addresses.iter().map(|address| status(peers, address))).await;
    // A member has a version in the list only after it has announced itself, and so had a disk.
    answers.into_iter().flatten().any(|status| status.members.iter().any(|member| member.id == id && !member.version.is_empty()))
}

/// Who is known at an address of which this member has made sure that it leads to itself: those that were here before and
/// have lost their disk. Nothing where nobody answers who is in a mesh.
pub async fn former_at(peers: &Peers, addresses: &[String], own: &str) -> Option<Vec<MemberId>> {
    let answers = join_all(addresses.iter().map(|address| status(peers, address))).await;
    let mut formed = answers.into_iter().flatten().filter(formed).peekable();
    formed.peek()?;
    let here = formed.flat_map(|status| status.members).filter(|member| member.address == own);
    let ids: BTreeSet<MemberId> = here.filter_map(|member| member.id.parse().ok()).collect();
    Some(ids.into_iter().collect())
}

/// Whether whoever says this is in a mesh.
fn formed(status: &v1::Status) -> bool {
    !status.members.is_empty() || !status.mesh.is_empty()
}

async fn status(peers: &Peers, address: &str) -> Option<v1::Status> {
    let asked = peers.ask(address, ANSWER, |channel| async move { MeshClient::new(channel).get_status(v1::GetStatusRequest {}).await });
    asked.await.inspect_err(|error| tracing::debug!(address, %error, "a member does not answer yet")).ok()
}

impl Formation {
    /// Takes the member's place, and tells the mesh from then on when its certificates are others.
    pub async fn run(mut self) {
        let mut changes = self.home.changes();
        self.form_if_told().await;
        loop {
            changes.borrow_and_update();
            self.take_place().await;
            while !changed_within(&mut changes, random::jitter(TELL_AGAIN, 0.2)).await {
                // Without an answer there is nothing to do: who has a place keeps it.
                if matches!(self.ask_for_place().await, Ok(false)) {
                    break;
                }
            }
        }
    }

    /// Whether this member is one of the first of a mesh that is to be formed.
    fn is_first(&self) -> bool {
        self.record.replaces.is_empty() && self.form.iter().any(|(id, _)| *id == self.member.id)
    }

    async fn form_if_told(&self) {
        let forms = self.form.iter().map(|(id, _)| *id).min() == Some(self.member.id);
        let mut pauses = Backoff::new(ASK_EVERY.0, ASK_EVERY.1);
        while self.is_first() && !self.consensus.is_formed() {
            match self.others().await {
                Others::Formed => return,
                Others::Empty if forms => {
                    let members = self.form.iter().map(|(id, address)| (*id, Peer { address: address.clone() })).collect::<BTreeMap<_, _>>();
                    match self.consensus.form(members).await {
                        Ok(()) => return tracing::info!(members = self.form.len(), "a new mesh is formed"),
                        Err(FormError::NotEmpty) => return,
                        Err(error) => tracing::error!(%error, "no mesh is formed"),
                    }
                }
                Others::Empty | Others::Silent => {}
            }
            tokio::time::sleep(pauses.pause()).await;
        }
    }

    async fn others(&self) -> Others {
        let others = self.form.iter().filter(|(id, _)| *id != self.member.id);
        judge(&join_all(others.map(|(_, address)| status(&self.peers, address))).await)
    }

    /// Announces this member to the leader and asks for a vote, until it has one.
    async fn take_place(&mut self) {
        let mut pauses = Backoff::new(JOIN_EVERY.0, JOIN_EVERY.1);
        let mut complaints = 0_u32;
        loop {
            self.await_leader().await;
            match self.ask_for_place().await {
                Ok(true) => break,
                Ok(false) => pauses.reset(),
                Err(error) => {
                    // Without a leader this takes as long as it takes; it is said now and then.
                    if complaints.is_multiple_of(16) {
                        tracing::info!(%error, "this member has no place in the mesh yet");
                    }
                    complaints = complaints.wrapping_add(1);
                }
            }
            tokio::time::sleep(pauses.pause()).await;
        }
        tracing::debug!(member = %self.member.id, "this member has its place in the mesh");
        if !self.record.replaces.is_empty() {
            self.record.replaces.clear();
            if let Err(error) = self.record.store(&self.dir) {
                tracing::warn!(%error, "the record of this member is not up to date; that is harmless");
            }
        }
    }

    /// To ask where nobody leads yet only costs time.
    async fn await_leader(&self) {
        let mut leadership = self.consensus.leadership();
        let known = leadership.wait_for(|now| if now.leads() { now.settled().is_some() } else { now.leader.is_some() });
        // Without word of one, the mesh is asked anyway: this member may not be in the group yet.
        let _ = tokio::time::timeout(LEADER, known).await;
    }

    /// One try. A mesh that says that this member is not one of its own has the last word: the member stops.
    async fn ask_for_place(&self) -> Result<bool, CallError> {
        let mesh = Mesh::new(self.endpoints(), self.home.identity().clone()).with_deadline(JOIN);
        let answer = self.join(&mesh).await;
        if let Err(CallError::Refused { code: Code::PermissionDenied, message }) = &answer {
            self.consensus.stop(StopReason::NotTaken { why: message.clone() });
        }
        answer
    }

    async fn join(&self, mesh: &Mesh) -> Result<bool, CallError> {
        let Standing { trusts, shows, issuers, request } = self.home.standing();
        let words = |roots: Vec<RootId>| roots.iter().map(ToString::to_string).collect();
        let (issuer_root, issuer_csr_pem) = request.map(|request| (request.root.to_string(), request.csr_pem)).unwrap_or_default();
        let request = v1::JoinMemberRequest {
            trusts: words(trusts),
            shows: words(shows),
            issuers: words(issuers),
            issuer_root,
            issuer_csr_pem,
            id: self.member.id.to_string(),
            name: self.member.name.clone(),
            address: self.member.address.clone(),
            enrol_address: self.member.enrol_address.clone(),
            replaces: self.record.replaces.iter().map(ToString::to_string).collect(),
            version: self.member.version.clone(),
            feature_level: self.member.feature_level,
            incarnation: self.consensus.state().state.incarnation,
            node: self.member.node.as_ref().map(ToString::to_string).unwrap_or_default(),
        };
        Ok(mesh.join_member(request).await?.voter)
    }

    /// Every address at which the mesh may be found, this member's own among them. One that is the whole
    /// group does not look elsewhere: what it was told may be the addresses of a mesh that is no more.
    fn endpoints(&self) -> Vec<String> {
        let group = self.consensus.group();
        if group.learners.is_empty() && group.voters.keys().eq([&self.member.id]) {
            return vec![self.member.address.clone()];
        }
        let known = group.voters.into_values().chain(group.learners.into_values()).map(|peer| peer.address);
        let told = self.form.iter().map(|(_, address)| address.clone()).chain(self.join.iter().cloned());
        let all: BTreeSet<String> = known.chain(told).chain([self.member.address.clone()]).collect();
        all.into_iter().collect()
    }
}

/// Whether the certificates are others before the time is over.
async fn changed_within(changes: &mut watch::Receiver<u64>, time: Duration) -> bool {
    // The sender lives as long as this member's home.
    tokio::time::timeout(time, changes.changed()).await.is_ok()
}

fn judge(answers: &[Option<v1::Status>]) -> Others {
    if answers.iter().flatten().any(formed) {
        Others::Formed
    } else if answers.iter().all(Option::is_some) {
        Others::Empty
    } else {
        Others::Silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mesh_is_formed_only_when_all_others_are_there_and_empty() {
        let empty = || Some(v1::Status::default());
        let formed = || Some(v1::Status { members: vec![v1::Member::default()], ..v1::Status::default() });
        assert_eq!(judge(&[]), Others::Empty, "a mesh of one");
        assert_eq!(judge(&[empty(), empty()]), Others::Empty);
        assert_eq!(judge(&[empty(), None]), Others::Silent);
        assert_eq!(judge(&[None, formed()]), Others::Formed);
    }
}
