//! The mesh's own majority as an interlock: a node on which members of the mesh run is not taken out of use while the
//! others that answer would be too few to decide anything. Then nobody would put the node back.
//!
//! Where a member runs it says itself. Which members vote and which of them answer the leader has seen. A member on
//! another node that somebody has claimed counts as away already: its pod may be evicted at any moment.

use super::{Item, RunPass};
use crate::catalogue;
use crate::id::{AgentId, LeaseName, MemberId, RunId, StepName, Target, Token};
use crate::identity::Identity;
use crate::rollout;
use crate::state::State;
use crate::state::lease::Held;
use crate::state::run::{Run, Work, WorkState};
use crate::wait::{Quorum, Reason};

impl<'s> RunPass<'_, 's, '_> {
    /// Whether the mesh keeps its majority without the members on the node that the item is to take out of use.
    pub(super) fn keeps_quorum(&mut self, item: Item<'s>) -> bool {
        let Some(node) = taken_out(item) else { return true };
        let (state, seen) = (self.pass.state, self.pass.seen);
        let voters = &seen.voters;
        let runs_on = |member: &MemberId| state.members.get(member).and_then(|member| member.node.as_ref());
        let (here, others): (Vec<_>, Vec<_>) = voters.iter().partition(|(member, _)| runs_on(member) == Some(node));
        if here.is_empty() {
            return true;
        }
        let own = own_claim(state, &Identity::Run(self.run.id.clone()), node);
        let by_others = |node: &AgentId| claim(node).is_some_and(|claim| is_claimed_before(state, &claim, &self.run.id, own));
        let is_leaving = |node: &AgentId| self.pass.leaving.contains(node) || is_out_by(self.run, node) || by_others(node);
        let (left, away): (Vec<_>, Vec<_>) = others.into_iter().partition(|(member, answers)| **answers && !runs_on(member).is_some_and(is_leaving));
        let needed = voters.len() / 2 + 1;
        if left.len() >= needed {
            return true;
        }
        let names = |members: &[(&MemberId, &bool)]| members.iter().map(|(id, _)| name(state, **id)).collect::<Vec<String>>();
        let quorum = Quorum { here: names(&here), away: names(&away), left: left.len(), of: voters.len(), needed };
        self.wait(item, Reason::Quorum(quorum), item.ready, None);
        false
    }

    /// Notes that the item goes on to take its node out of use: in this pass no other one is, that the mesh needs then.
    pub(super) fn leaves(&mut self, item: Item<'s>) {
        self.pass.leaving.extend(taken_out(item));
    }
}

/// The node that an item takes out of use.
fn taken_out(item: Item<'_>) -> Option<&AgentId> {
    let takes_out = catalogue::kind(&item.step.uses).is_some_and(catalogue::Kind::takes_out);
    if let Target::Node(node) = item.target { takes_out.then_some(node) } else { None }
}

fn claim(node: &AgentId) -> Option<LeaseName> {
    Some(LeaseName::node(&node.cluster, node.on_node()?))
}

/// The token under which a run holds a node.
fn own_claim(state: &State, run: &Identity, node: &AgentId) -> Option<Token> {
    let lease = state.leases.get(&claim(node)?)?;
    lease.held.iter().find(|held| held.holder.identity == *run).map(|held| held.token)
}

/// Whether another run, or somebody else, holds a node, and did so before the run held its own: of two, one has to go first.
fn is_claimed_before(state: &State, claim: &LeaseName, run: &RunId, own: Option<Token>) -> bool {
    let is_another = |held: &Held| held.holder.identity != Identity::Run(run.clone());
    state.leases.get(claim).is_some_and(|lease| lease.held.iter().filter(|held| is_another(held)).any(|held| own.is_none_or(|own| held.token < own)))
}

/// Whether a node is out of use by what this run itself does there. It holds the node until its last step there has ended, also
/// when the node is in use again.
fn is_out_by(run: &Run, node: &AgentId) -> bool {
    let on_it = || run.works().filter(|(_, target, _)| matches!(target, Target::Node(other) if other == node));
    let is_of = |step: &StepName, kinds: &[&str]| run.plan.step(step).is_some_and(|step| kinds.contains(&step.uses.as_str()));
    let is_at_it = |work: &Work| matches!(work.forward, WorkState::Active { .. } | WorkState::Retrying { .. });
    let is_put_back = || on_it().any(|(step, _, work)| is_of(step, &[catalogue::UNCORDON]) && matches!(work.forward, WorkState::Succeeded { .. }));
    let takes_out = |step: &StepName| run.plan.step(step).and_then(|step| catalogue::kind(&step.uses)).is_some_and(catalogue::Kind::takes_out);
    on_it().any(|(step, _, work)| {
        let stays_out = is_of(step, &[catalogue::CORDON, catalogue::DRAIN]) && rollout::is_touched(work);
        takes_out(step) && (is_at_it(work) || stays_out && !is_put_back())
    })
}

fn name(state: &State, id: MemberId) -> String {
    let name = state.members.get(&id).map(|member| member.name.clone()).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| id.to_string())
}
