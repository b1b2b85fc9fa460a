//! What a run holds of a node that it takes out of use, and what keeps it from doing so.
//!
//! The claim `node/CLUSTER/NODE` is asked for before the run's first step there that takes the node out of use, and held
//! until nothing of the run on that node is left to be done or to be taken back: also while steps of other kinds go
//! there. So no two runs, and no other client that asks for the claim, have one node in their hands.

use super::lease::{STEP, TARGET, holders};
use super::{Item, RunPass};
use crate::catalogue::{self, Effect, Kind, Scope};
use crate::id::{AgentId, LeaseName, StepName, Target};
use crate::identity::Identity;
use crate::rollout;
use crate::state::State;
use crate::state::finding::Fingerprint;
use crate::state::lease::{Holder, LeaseKind, LeaseSpec, NODE, SOURCE_NODE};
use crate::state::run::Run;
use crate::wait::Reason;

/// Attribute of a run's hold that is for several of its steps: for all on a target, or for all that name a thing. It says
/// which of the two.
pub(super) const CLAIM: &str = "claim";

/// A claim that a work item needs, and as whom.
pub(super) struct Claim {
    pub name: LeaseName,
    pub spec: LeaseSpec,
    pub holder: Holder,
}

impl Claim {
    pub fn new(holder: Holder, name: LeaseName) -> Claim {
        Claim { name, spec: LeaseSpec { slots: 1, kind: LeaseKind::Claim, ..LeaseSpec::default() }, holder }
    }

    /// On the node that the item takes out of use.
    pub fn of(run: &Run, item: Item<'_>) -> Option<Claim> {
        let name = claimed(catalogue::kind(&item.step.uses)?, item.target)?;
        Some(Claim::new(claimant(run, &item.step.name, item.target), name))
    }
}

impl<'s> RunPass<'_, 's, '_> {
    /// Whether no backup needs the node that the item is to take out of use; which one does is said.
    pub(super) fn spares_backups(&mut self, item: Item<'s>) -> bool {
        let Some(kind) = catalogue::kind(&item.step.uses) else { return true };
        let Some((name, by)) = backup_there(self.pass.state, kind, item.target) else { return true };
        self.wait(item, Reason::LeaseHeld { name: name.clone(), by }, item.ready, None);
        false
    }

    /// Whether anything of the run has been begun on a target.
    pub(super) fn has_begun_on(&self, target: &Target) -> bool {
        self.run.works().any(|(_, on, work)| on == target && rollout::is_touched(work))
    }
}

/// The claim on the target of a kind that takes nodes out of use, or puts them back.
fn claimed(kind: &Kind, target: &Target) -> Option<LeaseName> {
    let changes = kind.takes_out() || kind.scope == Scope::Node && kind.effect != Effect::Read;
    let node = if changes { node(target)? } else { return None };
    Some(LeaseName::node(&node.cluster, node.on_node()?))
}

fn node(target: &Target) -> Option<&AgentId> {
    if let Target::Node(node) = target { Some(node) } else { None }
}

fn claimant(run: &Run, step: &StepName, target: &Target) -> Holder {
    let attributes = [(STEP, step.to_string()), (TARGET, target.to_string()), (CLAIM, NODE.to_owned())];
    Holder {
        identity: Identity::Run(run.id.clone()),
        incarnation: Fingerprint::of("run", CLAIM, &target.to_string()).0,
        attributes: attributes.map(|(name, value)| (name.to_owned(), value)).into(),
        takes_over: false,
    }
}

/// The claim on a node that somebody else holds than this run, where a kind needs it; and who does.
pub(crate) fn claimed_by_another<'s>(state: &'s State, run: &Run, kind: &Kind, target: &Target) -> Option<(&'s LeaseName, String)> {
    let (name, lease) = state.leases.get_key_value(&claimed(kind, target)?)?;
    let is_other = lease.held.iter().any(|held| held.holder.identity != Identity::Run(run.id.clone()));
    is_other.then(|| (name, holders(lease)))
}

/// The lease of a backup that needs the node on which a kind would end what runs there; and whose it is.
pub(crate) fn backup_there<'s>(state: &'s State, kind: &Kind, target: &Target) -> Option<(&'s LeaseName, String)> {
    let node = if kind.takes_out() { node(target)? } else { return None };
    let (prefix, name) = (LeaseName::backups(&node.cluster), node.on_node()?.as_str());
    let mut backups = state.leases.iter().filter(|(lease, _)| lease.as_str().starts_with(&prefix));
    let needs_it = |holder: &Holder| [NODE, SOURCE_NODE].iter().any(|attribute| holder.attributes.get(*attribute).is_some_and(|node| node == name));
    let (lease, backup) = backups.find(|(_, lease)| lease.held.iter().any(|held| needs_it(&held.holder)))?;
    Some((lease, holders(backup)))
}
