//! The leases that a run holds while its steps go, and those of others that are in its way.

use std::sync::Arc;

use super::claim::{CLAIM, Claim};
use super::{Item, RunPass, thing};
use crate::calendar;
use crate::catalogue;
use crate::command::Command;
use crate::id::{LeaseName, StepName, Target};
use crate::identity::Identity;
use crate::state::State;
use crate::state::attempt::Attempt;
use crate::state::lease::{ATTEMPT, Holder, Lease, LeaseSpec};
use crate::state::run::{Direction, Run, Work, WorkState};
use crate::time::{MeshTime, Millis};
use crate::wait::Reason;

/// Attribute of a run's hold that names the step it is for.
pub(crate) const STEP: &str = "step";
/// Attribute that names the target.
pub(crate) const TARGET: &str = "target";

impl<'s> RunPass<'_, 's, '_> {
    /// Whether the run holds what the item needs: the claims on its node and on the things that it changes, and the lease of
    /// its step. What it does not hold is asked for, one after the other.
    pub(super) fn has_lease(&mut self, item: Item<'s>) -> bool {
        let mut claims = Claim::of(self.run, item).into_iter().chain(Claim::of_things(self.run, item));
        claims.all(|Claim { name, spec, holder }| self.holds(item, &name, spec, holder) && self.is_alone(item, &name))
            && item.step.lease.as_ref().is_none_or(|wanted| {
                let holder = holder(self.run, &item.step.name, item.target);
                self.holds(item, &wanted.name, wanted.spec, holder)
            })
    }

    fn holds(&mut self, item: Item<'s>, name: &LeaseName, spec: LeaseSpec, holder: Holder) -> bool {
        let lease = self.pass.state.leases.get(name);
        if lease.is_some_and(|lease| lease.held.iter().any(|held| held.holder.is(&holder))) {
            return true;
        }
        match lease {
            Some(lease) if lease.waiting.iter().any(|waiter| waiter.holder.is(&holder)) => {
                if self.gives_way(item, name, lease) {
                    return false;
                }
                let reason = Reason::LeaseHeld { name: name.clone(), by: holders(lease) };
                self.wait(item, reason, item.ready, None);
            }
            _ => {
                // A lease that is defined already keeps its definition.
                let spec = lease.is_none().then_some(spec);
                self.pass.command(Command::AcquireLease { name: name.clone(), spec, holder, wait: true });
            }
        }
        false
    }

    /// Gives back the leases of an item that is not to begin now, or its places in their queues; the claim on a node, or on
    /// a thing, only where nothing of the run has been begun there.
    pub(super) fn give_lease_back(&mut self, item: Item<'s>) {
        let own = item.step.lease.as_ref().map(|wanted| (wanted.name.clone(), holder(self.run, &item.step.name, item.target)));
        let claim = Claim::of(self.run, item).filter(|_| !self.has_begun_on(item.target)).map(|claim| (claim.name, claim.holder));
        // Whether it is there at all is asked first: it is cheaper than whether it is still wanted.
        let there = |claim: &Claim| {
            let lease = self.pass.state.leases.get(&claim.name);
            let all = lease
                .into_iter()
                .flat_map(|lease| lease.held.iter().map(|held| &held.holder).chain(lease.waiting.iter().map(|waiter| &waiter.holder)));
            all.into_iter().any(|other| other.is(&claim.holder))
        };
        let things = Claim::of_things(self.run, item).into_iter().filter(|claim| there(claim) && !self.is_at(&claim.name, item));
        let things: Vec<(LeaseName, Holder)> = things.map(|claim| (claim.name, claim.holder)).collect();
        for (name, holder) in own.into_iter().chain(claim).chain(things) {
            let Some(lease) = self.pass.state.leases.get(&name) else { continue };
            let mut all = lease.held.iter().map(|held| &held.holder).chain(lease.waiting.iter().map(|waiter| &waiter.holder));
            if all.any(|other| other.is(&holder)) {
                self.pass.command(Command::ReleaseLease { name, holder, token: None });
            }
        }
    }

    /// For which lease the agent of a step that holds one, itself, still waits, since when, and what ends that.
    pub(super) fn lease_wanted(&self, item: Item<'s>, attempt: &Attempt, begun: MeshTime) -> Option<(Reason, MeshTime, (MeshTime, &'static str))> {
        let kind = self.run.kind_of(&item.step.name, item.direction)?;
        let with = self.run.with_of(&item.step.name, item.target, item.direction)?;
        let text = |name: &str| with.get(name).and_then(serde_json::Value::as_str);
        let wanted = match (kind, item.target) {
            (catalogue::LEASE_HOLD, _) => text("name")?.parse::<LeaseName>().ok()?,
            (kind, Target::Connection(connection)) if catalogue::is_fenced_backup(kind) => LeaseName::backup(&attempt.agent.cluster, connection),
            _ => return None,
        };
        let (name, lease) = self.pass.state.leases.get_key_value(&wanted)?;
        let id = attempt.id.to_string();
        let waiter = lease.waiting.iter().find(|waiter| waiter.holder.attributes.get(ATTEMPT) == Some(&id))?;
        let patience = text("wait").and_then(|wait| wait.parse::<Millis>().ok()).map(|wait| begun + wait).filter(|end| *end < attempt.deadline);
        let end = patience.map_or((attempt.deadline, "then it is stopped"), |end| (end, "then it fails"));
        Some((Reason::LeaseWanted { agent: attempt.agent.clone(), name: name.clone(), by: holders(lease) }, waiter.at, end))
    }
}

/// Leases that are named besides the first, of those that keep one gate closed.
const NAMED_BESIDES: usize = 2;

/// The lease that keeps a gate closed which wants it, or all that fit the pattern, to be free of others; and whose it is,
/// with the other leases that do the same.
pub(crate) fn in_the_way<'s>(state: &'s State, run: &Run, pattern: &str) -> Option<(&'s LeaseName, String)> {
    let fitting = state.leases.iter().filter(|(name, _)| catalogue::fits(pattern, name.as_str()));
    let is_other = |holder: &Holder| holder.identity != Identity::Run(run.id.clone());
    let mut held = fitting.filter(|(_, lease)| lease.held.iter().any(|held| is_other(&held.holder)));
    let (name, lease) = held.next()?;
    let others: Vec<(&LeaseName, &Arc<Lease>)> = held.collect();
    let mut by = holders(lease);
    for (other, lease) in others.iter().take(NAMED_BESIDES) {
        by += &format!("; {other} by {}", holders(lease));
    }
    if others.len() > NAMED_BESIDES {
        by += &format!("; and {} more that fit {pattern}", others.len() - NAMED_BESIDES);
    }
    Some((name, by))
}

/// Whether a run's hold of a lease, or place in its queue, is still wanted. What ended without anybody knowing
/// how keeps its lease: it may still be at it, and its agent's word, or an operator's word or proof, frees it.
pub(in crate::decide) fn is_wanted(state: &State, name: &LeaseName, holder: &Holder, holds: bool) -> bool {
    let Identity::Run(id) = &holder.identity else { return true };
    if thing::is_on_thing(holder) {
        return state.runs.get(id).is_some_and(|run| thing::is_wanted(run, name, holder, holds));
    }
    // What a run no longer needs is given back while it is known. What is still held by one that is not is of an
    // outcome that nobody knows.
    let Some(run) = state.runs.get(id) else { return true };
    let step = holder.attributes.get(STEP).and_then(|step| step.parse::<StepName>().ok());
    let target = holder.attributes.get(TARGET).and_then(|target| target.parse::<Target>().ok());
    let Some((step, target)) = step.zip(target) else { return false };
    let is_for_all = holder.attributes.contains_key(CLAIM);
    run.works().any(|(own, on, work)| *on == target && (is_for_all || *own == step) && is_wanted_for(state, run, (own, on, work), is_for_all))
}

/// Whether a work item still wants what is held for it: a claim also for what is in place and will be taken back.
fn is_wanted_for(state: &State, run: &Run, (step, target, work): (&StepName, &Target, &Work), is_for_all: bool) -> bool {
    let has_ended = state.known_since(work).is_some();
    let is_at = |state: &WorkState| matches!(state, WorkState::Active { .. }) || (matches!(state, WorkState::Unknown { .. }) && !has_ended);
    let may_come = !run.is_ended()
        && match work.undo.as_ref() {
            Some(undo) => undo.is_waiting(),
            None => work.state(Direction::Do).is_waiting() && run.abort.is_none(),
        };
    let will_be_undone = is_for_all && run.will_undo(step, target, work);
    is_at(&work.forward) || work.undo.as_ref().is_some_and(is_at) || may_come || will_be_undone
}

fn holder(run: &Run, step: &StepName, target: &Target) -> Holder {
    let attributes = [(STEP.to_owned(), step.to_string()), (TARGET.to_owned(), target.to_string())];
    Holder {
        identity: Identity::Run(run.id.clone()),
        incarnation: crate::state::finding::Fingerprint::of("run", step.as_str(), &target.to_string()).0,
        attributes: attributes.into(),
        takes_over: false,
    }
}

/// `client/ci since Mon 23 Nov 20:00 UTC (1 slot, claim)`, `run/deploy-4 since Mon 23 Nov 20:00 UTC (1 slot)`
pub(crate) fn holders(lease: &Lease) -> String {
    let names: Vec<String> = lease.held.iter().take(3).map(|held| held.holder.identity.to_string()).collect();
    let more = lease.held.len().saturating_sub(names.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let since = lease.held.iter().map(|held| held.since).min().map(|since| format!(" since {}", calendar::local(since, "UTC")));
    // A run holds it until it gives it back: no time ends that.
    let by_runs = lease.held.iter().all(|held| matches!(held.holder.identity, Identity::Run(_)));
    let spec = match (by_runs, lease.spec.slots) {
        (true, 1) => "1 slot".to_owned(),
        (true, slots) => format!("{slots} slots"),
        (false, _) => lease.spec.to_string(),
    };
    format!("{}{more}{} ({spec})", names.join(", "), since.unwrap_or_default())
}
