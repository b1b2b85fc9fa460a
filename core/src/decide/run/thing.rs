//! What a run holds of the things that it changes, so that two transitions of one of them never overlap.
//!
//! The claim `workload/CLUSTER/NAMESPACE/KIND/NAME` is asked for before the first step of a run that names the thing, and
//! held until the run has ended: also while steps of other kinds go, such as those that watch, or only wait, and while what
//! was done is taken back. What a step reads to go by it (`kube.live`) counts as well, in a plan that changes something:
//! what was live is another run's way back, until that run has ended.
//!
//! A selector may fit any thing of its kind. Such a step holds `…/KIND/_selected`, and of two claims that may be of one
//! thing the one that was granted first comes first: tokens say which.
//!
//! Nothing of this is in the replicated state but leases, which all members know: a claim is decided by whoever leads. What
//! nobody knows the outcome of does not keep a claim beyond its run's end: each of these kinds compares, on the object
//! itself, whether a later attempt was there.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::claim::{CLAIM, Claim};
use super::lease::{STEP, TARGET, holders};
use super::{Gate, Item, RunPass};
use crate::catalogue::changed::{changes_things, things};
use crate::catalogue::{self, Effect, Kind};
use crate::id::{ClusterName, LeaseName, StepName, Target, Token};
use crate::identity::Identity;
use crate::plan::{Plan, Step};
use crate::rollout;
use crate::state::State;
use crate::state::finding::Fingerprint;
use crate::state::lease::{Holder, Lease};
use crate::state::run::{Direction, Run, Work};
use crate::wait::Reason;

/// Value of the attribute [`CLAIM`] of such a hold.
const THING: &str = "workload";
/// Stands for the things that a selector fits. No object is called so.
const SELECTED: &str = "_selected";

impl Claim {
    /// What an item needs of the things that it changes, in the order in which it asks for them.
    pub fn of_things(run: &Run, item: Item<'_>) -> Vec<Claim> {
        let holder = |name: &LeaseName| claimant(run, &item.step.name, item.target, name);
        claims(run, item.step, item.target).into_iter().map(|name| Claim::new(holder(&name), name)).collect()
    }
}

impl<'s> RunPass<'_, 's, '_> {
    /// Whether no other run had a claim first that may be on the same thing as one that this run holds.
    pub(super) fn is_alone(&mut self, item: Item<'s>, name: &LeaseName) -> bool {
        let state = self.pass.state;
        let own = Identity::Run(self.run.id.clone());
        let held = state.leases.get(name).and_then(|lease| lease.held.iter().find(|held| held.holder.identity == own));
        let first = held.and_then(|held| overlapping(state, self.run, name, Some(held.token)).into_iter().next());
        let Some((other, lease)) = first else { return true };
        if !self.gives_way(item, other, lease) {
            self.wait(item, Reason::LeaseHeld { name: other.clone(), by: holders(lease) }, item.ready, None);
        }
        false
    }

    /// Whether the run needs a claim on a thing also where an item is not to begin now: it has been at it, or another of
    /// its items may begin.
    pub(super) fn is_at(&self, name: &LeaseName, item: Item<'s>) -> bool {
        let is_other = |step: &Step, target: &Target| step.name != item.step.name || target != item.target;
        let is_next = |step: &Step, target: &Target| matches!(self.needs(step).and(|| self.needs_here(step, target)), Gate::Open);
        let needs_it = |(step, target, work): (&StepName, &Target, &Work)| {
            let Some(step) = self.run.plan.step(step).filter(|_| is_about_cluster(target)) else { return false };
            let may_begin = || self.run.pause.is_none() && is_other(step, target) && work.forward.is_waiting() && is_next(step, target);
            claims(self.run, step, target).contains(name) && (rollout::is_touched(work) || may_begin())
        };
        self.run.works().any(needs_it)
    }
}

/// The claims that a step of a run needs on a target, forward and back, by what is known of its parameters.
pub(crate) fn claims(run: &Run, step: &Step, target: &Target) -> BTreeSet<LeaseName> {
    let Target::Cluster(cluster) = target else { return BTreeSet::new() };
    let of = |direction| {
        let kind = run.kind_of(&step.name, direction).and_then(catalogue::kind)?;
        Some(names(&run.plan, cluster, kind, run.with_of(&step.name, target, direction)?))
    };
    [Direction::Do, Direction::Undo].into_iter().filter_map(of).flatten().collect()
}

fn names(plan: &Plan, cluster: &ClusterName, kind: &Kind, with: &Map<String, Value>) -> Vec<LeaseName> {
    if kind.effect == Effect::Read && !changes_things(plan) {
        return Vec::new();
    }
    let things = things(kind, with);
    things.into_iter().filter_map(|thing| LeaseName::workload(cluster, thing.namespace, thing.kind, thing.name.unwrap_or(SELECTED))).collect()
}

/// What another run has in its hands, of what a step with these parameters would need; and which run that is.
pub(crate) fn things_of_another<'s>(
    state: &'s State,
    run: &Run,
    kind: &Kind,
    with: &Map<String, Value>,
    target: &Target,
) -> Vec<(&'s LeaseName, String)> {
    let Target::Cluster(cluster) = target else { return Vec::new() };
    let other = |name: &LeaseName| {
        let same = state.leases.get_key_value(name).filter(|(_, lease)| is_anothers(run, lease, None));
        let (name, lease) = same.or_else(|| overlapping(state, run, name, None).into_iter().next())?;
        Some((name, holders(lease)))
    };
    names(&run.plan, cluster, kind, with).iter().filter_map(other).collect()
}

/// The claims of other runs that may be on the same thing: one by a selector against those by a name. Only those that were
/// granted before a token, where that is given.
fn overlapping<'s>(state: &'s State, run: &Run, name: &LeaseName, before: Option<Token>) -> Vec<(&'s LeaseName, &'s Arc<Lease>)> {
    let Some((kind, own)) = name.as_str().rsplit_once('/') else { return Vec::new() };
    let others = |(_, lease): &(&LeaseName, &Arc<Lease>)| is_anothers(run, lease, before);
    if own != SELECTED {
        let selected = format!("{kind}/{SELECTED}").parse::<LeaseName>().ok();
        return selected.and_then(|selected| state.leases.get_key_value(&selected)).filter(others).into_iter().collect();
    }
    let Ok(from) = kind.parse::<LeaseName>() else { return Vec::new() };
    let of_kind = |other: &LeaseName| other.as_str().strip_prefix(kind).is_some_and(|rest| rest.starts_with('/'));
    let all = state.leases.range(from..).take_while(|(other, _)| other.as_str().starts_with(kind));
    all.filter(|(other, _)| *other != name && of_kind(other)).filter(others).collect()
}

fn is_anothers(run: &Run, lease: &Lease, before: Option<Token>) -> bool {
    let own = Identity::Run(run.id.clone());
    lease.held.iter().any(|held| held.holder.identity != own && before.is_none_or(|before| held.token < before))
}

/// The runs that a hold of a run has to wait for because theirs may be on the same thing and was granted before.
pub(super) fn before<'s>(state: &'s State, run: &Run, name: &LeaseName, token: Token) -> impl Iterator<Item = &'s Identity> + use<'s> {
    overlapping(state, run, name, Some(token)).into_iter().flat_map(|(_, lease)| lease.held.iter().map(|held| &held.holder.identity))
}

/// Whether a hold, or a place in the queue, is of a claim on a thing.
pub(crate) fn is_on_thing(holder: &Holder) -> bool {
    holder.attributes.get(CLAIM).is_some_and(|claim| claim == THING)
}

/// Whether a run still wants a claim on a thing: it has been at it, or may come to it.
pub(super) fn is_wanted(run: &Run, name: &LeaseName, holder: &Holder, holds: bool) -> bool {
    // Whom the claim was taken for names it also where its expressions are to be evaluated anew.
    let is_first = |step: &StepName, target: &Target| {
        let is = |attribute: &str, text: String| holder.attributes.get(attribute).is_some_and(|own| *own == text);
        is(STEP, step.to_string()) && is(TARGET, target.to_string())
    };
    let may_come = |work: &Work| match work.undo.as_ref() {
        Some(undo) => undo.is_waiting(),
        None => work.forward.is_waiting() && run.abort.is_none(),
    };
    let wants = |work: &Work| may_come(work) || holds && work.attempts(Direction::Do) > 0;
    let is_of = |step: &StepName, target: &Target| run.plan.step(step).is_some_and(|step| claims(run, step, target).contains(name));
    let mut works = run.works().filter(|(_, target, work)| is_about_cluster(target) && wants(work));
    !run.is_ended() && works.any(|(step, target, _)| is_first(step, target) || is_of(step, target))
}

/// Things are in clusters: what is done elsewhere has none.
fn is_about_cluster(target: &Target) -> bool {
    matches!(target, Target::Cluster(_))
}

fn claimant(run: &Run, step: &StepName, target: &Target, name: &LeaseName) -> Holder {
    let attributes = [(STEP, step.to_string()), (TARGET, target.to_string()), (CLAIM, THING.to_owned())];
    Holder {
        identity: Identity::Run(run.id.clone()),
        // One for the whole run: whichever of its steps comes to the thing first takes it for all.
        incarnation: Fingerprint::of("run", CLAIM, name.as_str()).0,
        attributes: attributes.map(|(name, value)| (name.to_owned(), value)).into(),
        takes_over: false,
    }
}
