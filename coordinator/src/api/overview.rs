//! The mesh and its members at a glance.
//!
//! Only the leader knows who is reachable and how far behind. Another member asks it; without an answer it
//! tells what it sees itself, which may be old: to look must be possible above all when something is wrong.

use std::collections::{BTreeMap, HashSet};
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use mainstay_core::aftermath;
use mainstay_core::report::Verdict;
use mainstay_core::state::member::Member;
use mainstay_core::wait::Reason;
use mainstay_core::{Identity, MemberId, RunId, State, StepName, bounds, stuck};
use mainstay_proto::v1;
use mainstay_proto::v1::members_client::MembersClient;
use mainstay_proto::v1::mesh_client::MeshClient;

use super::front::Front;
use crate::leader::Office;
use crate::store::Leader;

/// How long the leader may take to answer in place of this member.
const LEADER_PATIENCE: Duration = Duration::from_millis(700);
/// A member that was silent for longer counts as not reachable.
const SILENCE: Duration = Duration::from_secs(3);
/// Runs on hold in one answer: a glance, not a list.
const ON_HOLD_SHOWN: usize = 50;

/// The status, by the leader if it answers.
pub async fn status(front: &Front, caller: &Identity) -> v1::Status {
    if let Some(address) = leader_to_ask(front, caller) {
        let asked =
            front.peers.ask(&address, LEADER_PATIENCE, |channel| async move { MeshClient::new(channel).get_status(v1::GetStatusRequest {}).await });
        match asked.await {
            Ok(status) => return status,
            Err(error) => tracing::debug!(%error, "the leader does not say how the mesh is"),
        }
    }
    own_status(front)
}

/// The members, by the leader if it answers.
pub async fn members(front: &Front, caller: &Identity) -> Vec<v1::Member> {
    if let Some(address) = leader_to_ask(front, caller) {
        let asked =
            front.peers.ask(&address, LEADER_PATIENCE, |channel| async move { MembersClient::new(channel).list(v1::ListMembersRequest {}).await });
        match asked.await {
            Ok(list) => return list.members,
            Err(error) => tracing::debug!(%error, "the leader does not say who is there"),
        }
    }
    own_members(front)
}

/// The leader, when it is another member. A member that asks gets this one's own view: no two ask each other
/// in turn.
fn leader_to_ask(front: &Front, caller: &Identity) -> Option<String> {
    if matches!(caller, Identity::Coordinator(_)) {
        return None;
    }
    let leader = front.consensus.leadership().borrow().leader.clone()?;
    (leader.id != front.consensus.member()).then(|| leader.peer.map(|peer| peer.address)).flatten()
}

/// This member, by its own knowledge alone.
pub fn description(front: &Front) -> v1::MemberDescription {
    let gauges = front.consensus.gauges();
    let applied = front.consensus.state();
    let leader = front.consensus.leadership().borrow().leader.as_ref().map(|leader| leader.id.to_string());
    v1::MemberDescription {
        id: front.member.id.to_string(),
        name: front.member.name.clone(),
        version: front.member.version.clone(),
        feature_level: front.member.feature_level,
        wall_unix_ms: front.clock.wall().0,
        // A certificate that is in use can be read.
        leaf_not_after_unix_ms: front.home.identity().bundle().validity().map_or(0, |(_, end)| end.0),
        issuer_not_after_unix_ms: front.home.issuer_end().map_or(0, |end| end.0),
        free_bytes: gauges.free_bytes,
        disk_full: gauges.disk_full,
        applied: applied.index,
        incarnation: applied.state.incarnation,
        leader: leader.unwrap_or_default(),
    }
}

fn own_status(front: &Front) -> v1::Status {
    let applied = front.consensus.state();
    let state = &applied.state;
    let severity = |severity: Verdict| count(state.findings.open.values().filter(|finding| finding.severity == severity).count());
    v1::Status {
        mesh: state.mesh.as_ref().map(ToString::to_string).unwrap_or_default(),
        incarnation: state.incarnation,
        members: own_members(front),
        agents_up: count(state.agents.values().filter(|agent| agent.is_up()).count()),
        agents_total: count(state.agents.len()),
        runs_open: count(state.runs.values().filter(|run| !run.is_ended()).count()),
        leases_held: count(state.leases.values().filter(|lease| !lease.held.is_empty()).count()),
        critical: severity(Verdict::Critical),
        warning: severity(Verdict::Warning),
        unknown: severity(Verdict::Unknown),
        feature_level: state.feature_level,
        applied: applied.index,
        state_bytes: state.weight,
        state_bytes_max: bounds::STATE_BYTES as u64,
        runs_on_hold: front.leader.office().map(|office| on_hold(&office)).unwrap_or_default(),
    }
}

/// Runs that do not go on without a person, each with the first reason of that kind; then those that have ended and
/// leave something to one.
fn on_hold(office: &Office) -> Vec<v1::RunOnHold> {
    let (waits, state, now, wall) = (office.waits(), office.state(), office.now(), office.wall());
    let mut runs: BTreeMap<&RunId, v1::RunOnHold> = BTreeMap::new();
    let mut looked: HashSet<(&RunId, &StepName, Discriminant<Reason>)> = HashSet::new();
    for wait in &waits.waits {
        if runs.len() >= ON_HOLD_SHOWN || runs.contains_key(&wait.run) {
            continue;
        }
        let reason = match &wait.reason {
            Reason::Approval { .. } | Reason::Paused { .. } => Some(wait.reason.to_string()),
            // Many targets of a step wait for the same.
            reason if looked.insert((&wait.run, &wait.step, discriminant(reason))) => stuck::stuck(&state, wait, wall, now).map(|stuck| stuck.why),
            _ => None,
        };
        if let Some(reason) = reason {
            runs.insert(&wait.run, v1::RunOnHold { run: wait.run.to_string(), reason, waited_ms: wait.times(now).0.0, ended: false });
        }
    }
    let ended = aftermath::unsettled(&state).into_iter().map(|(run, left)| v1::RunOnHold {
        run: run.id.to_string(),
        reason: match left.as_slice() {
            [] => String::new(),
            [only] => only.to_string(),
            [first, others @ ..] => format!("{}, and {} more:  mainstay why {}", first.words(), others.len(), run.id),
        },
        waited_ms: run.ended.map_or(0, |ended| u64::try_from(wall.0 - ended.0).unwrap_or(0)),
        ended: true,
    });
    runs.into_values().chain(ended).take(ON_HOLD_SHOWN).collect()
}

fn own_members(front: &Front) -> Vec<v1::Member> {
    let state = front.consensus.state().state;
    let group = front.consensus.group();
    let leadership = front.consensus.leadership().borrow().clone();
    let progress = front.consensus.progress();
    let me = front.consensus.member();
    let describe = |id: MemberId, address: &str, role: v1::MemberRole| {
        let known = described(id, front, &state);
        let leads = leadership.leader.as_ref().is_some_and(|leader: &Leader| leader.id == id);
        let follower = progress.as_ref().and_then(|progress| progress.followers.get(&id));
        v1::Member {
            id: id.to_string(),
            name: known.map(|member| member.name.clone()).unwrap_or_default(),
            address: address.to_owned(),
            enrol_address: known.map(|member| member.enrol_address.clone()).unwrap_or_default(),
            role: role.into(),
            leader: leads,
            version: known.map(|member| member.version.clone()).unwrap_or_default(),
            behind: progress.as_ref().filter(|_| id != me).map_or(0, |progress| progress.lag(id)),
            reachable: id == me || leads || follower.is_some_and(|follower| follower.silent_for.is_some_and(|silent| silent < SILENCE)),
        }
    };
    let voters = group.voters.iter().map(|(id, peer)| describe(*id, &peer.address, v1::MemberRole::Voter));
    let learners = group.learners.iter().map(|(id, peer)| describe(*id, &peer.address, v1::MemberRole::Learner));
    let mut members: Vec<v1::Member> = voters.chain(learners).collect();
    members.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    members
}

fn described<'a>(id: MemberId, front: &'a Front, state: &'a State) -> Option<&'a Member> {
    if id == front.member.id { Some(&front.member) } else { state.members.get(&id) }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
