//! Plans that not every operator may set going: those with a step of a kind that asks for more. What such a step does
//! is done in the mesh's name, so that the right to it is asked of the person who has it done.

use super::State;
use super::plan::PlanHistory;
use crate::bounds;
use crate::catalogue::{self, Kind, Scope};
use crate::command::{Actor, Command};
use crate::id::PlanName;
use crate::identity::Identity;
use crate::plan::strategy::Order;
use crate::plan::{OnFailure, Plan, RunOn, confined};
use crate::reply::Refusal;
use crate::state::backup::CATALOGUES;
use crate::state::enrolment::OperatorRole;

/// From this level on all members know how the mesh carries out steps itself.
const BY_MESH: u32 = 2;
/// From this level on all members know agents that speak for a cluster, and what is done to clusters.
pub const CLUSTERS: u32 = 4;
/// From this level on all members know the kinds that are done to clusters besides the first one, and that a mesh
/// without clusters leaves such steps of bundled plans out.
pub const CLUSTER_KINDS: u32 = 5;
/// From this level on all members know what a cluster's agent does to a node, reboots, and packages.
pub const UPKEEP: u32 = 5;
/// The one kind that members of level 4 know.
const FIRST_CLUSTER_KIND: &str = "kube.workloads";
/// From this level on all members know agents that are let in because a cluster agent vouches for them.
pub const VOUCHED: u32 = 5;
/// From this level on all members know hands of nodes, and can read their names.
pub const HANDS: u32 = 5;
/// From this level on all members know rollouts that go zone by zone.
const ZONES: u32 = 5;
/// From this level on all members know plans of which a failure leaves in place what was done before.
const KEEPS: u32 = 5;
/// From this level on all members know plans that came from a cluster, and can read their names.
pub const ORIGINS: u32 = 5;

impl State {
    /// Why somebody may not apply, start, repeat or take back this plan.
    #[must_use]
    pub fn lacks_role(&self, plan: &Plan, by: &Actor) -> Option<Refusal> {
        let demanding = kinds(plan).find(|kind| kind.started_by > OperatorRole::Operator)?;
        let role = match by {
            Actor::Identity(Identity::Operator(name)) => self.operators.get(name).copied(),
            _ => None,
        };
        let needs = demanding.started_by;
        role.is_none_or(|role| role < needs).then(|| {
            Refusal::Conflict(format!(
                "plan {} has a step of kind {}: only an {needs} applies or starts it, and repeats or takes back its runs",
                plan.name, demanding.name
            ))
        })
    }

    /// The same of the revision that a run would take; nothing where there is none.
    pub(super) fn lacks_role_to_start(&self, plan: &PlanName, revision: Option<u32>, by: &Actor) -> Option<Refusal> {
        self.revision_to_start(plan, revision).and_then(|plan| self.lacks_role(plan, by))
    }

    /// Why a plan of this name is not for this caller to apply, to remove or to start. What came from a namespace is
    /// applied by the agent that acts for its cluster, which applies nothing else; operators may start and remove it.
    /// The mesh itself does so in a copy of the state only, to see what a run would do.
    pub(super) fn is_not_for(&self, plan: &PlanName, by: &Actor, applies: bool) -> Option<Refusal> {
        if *by == Actor::Mesh {
            return None;
        }
        let agent = if let Actor::Identity(identity) = by { identity.agent() } else { None };
        let words = match (plan.origin(), agent) {
            (None, None) => return None,
            (Some(_), None) if !applies => return None,
            (Some(origin), None) => format!(
                "plan {plan} came from a cluster: change MaintenancePlan {} in namespace {} of cluster {}",
                plan.last(),
                origin.namespace,
                origin.cluster
            ),
            (None, Some(agent)) => format!("agent {agent} applies, starts and removes only plans of its namespaces, and {plan} is not one"),
            (Some(origin), Some(agent)) if agent.cluster.as_str() != origin.cluster => {
                format!("agent {agent} speaks for another cluster than {}", origin.cluster)
            }
            (Some(origin), Some(agent)) if !agent.is_replica() => format!("{agent} is no agent of cluster {}", origin.cluster),
            (Some(origin), Some(agent)) if self.acting(&agent.cluster).as_ref() != Some(&agent) => {
                format!("agent {agent} does not act for its cluster: it does not hold the lease agent/{}", origin.cluster)
            }
            (Some(_), Some(_)) => return None,
        };
        Some(Refusal::Conflict(words))
    }

    /// Why a plan that came from a namespace is not taken.
    pub(super) fn is_out_of_place(&self, plan: &Plan) -> Option<Refusal> {
        let origin = plan.name.origin()?;
        let breaches = confined::breaches(plan);
        if !breaches.is_empty() {
            return Some(Refusal::Invalid(breaches.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")));
        }
        let there = |(name, history): &(&PlanName, &PlanHistory)| name.origin() == Some(origin) && history.current().is_some();
        let is_new = self.plans.get(&plan.name).is_none_or(|history| history.current().is_none());
        (is_new && self.plans.iter().filter(there).count() >= bounds::NAMESPACE_PLANS)
            .then(|| Refusal::Bound { what: "plans of one namespace".into(), limit: bounds::NAMESPACE_PLANS as u64 })
    }

    /// Why no further run of a plan is begun that came from a namespace.
    pub(super) fn has_its_share(&self, plan: &PlanName) -> Option<Refusal> {
        let origin = plan.origin()?;
        let open = self.runs.values().filter(|run| !run.is_ended() && run.id.plan.origin() == Some(origin)).count();
        (open >= bounds::NAMESPACE_RUNS_OPEN)
            .then(|| Refusal::Bound { what: "open runs of one namespace".into(), limit: bounds::NAMESPACE_RUNS_OPEN as u64 })
    }

    fn revision_to_start(&self, plan: &PlanName, revision: Option<u32>) -> Option<&Plan> {
        let history = self.plans.get(plan)?;
        let chosen = match revision {
            None => history.current().map(|(_, chosen)| chosen),
            Some(number) => history.revisions.get(&number),
        };
        chosen.map(|chosen| &chosen.plan)
    }

    /// The least feature level of a mesh that can have a command in its log: that of the command, and of the kinds of
    /// the plan that it starts. An older member would give the steps to agents.
    #[must_use]
    pub(super) fn level_for(&self, command: &Command) -> u32 {
        let of_plan = match command {
            Command::StartRun { plan, revision, .. } => self.revision_to_start(plan, *revision).map_or(0, level_of),
            // An older member knows no targets that are clusters, and could not read the plan. Of the kinds that came
            // later it could start no run: what the mesh has of a bundled plan goes on until all members know them.
            Command::ApplyPlan { plan, .. } if plan.steps.iter().any(|step| step.run_on == RunOn::Cluster) => level_of(plan).max(CLUSTERS),
            Command::ApplyPlan { plan, .. }
                if kinds(plan).any(|kind| is_upkeep(kind) || is_of_backups(kind)) || goes_by_zones(plan) || keeps(plan) =>
            {
                level_of(plan)
            }
            _ => 0,
        };
        command.level().max(of_plan)
    }
}

fn level_of(plan: &Plan) -> u32 {
    let level = |kind: &Kind| match kind.scope {
        _ if is_upkeep(kind) => UPKEEP,
        _ if is_of_backups(kind) => CATALOGUES,
        Scope::Cluster if kind.name == FIRST_CLUSTER_KIND => CLUSTERS,
        Scope::Cluster => CLUSTER_KINDS,
        _ if matches!(kind.name, catalogue::ALERTMANAGER_SILENCE | catalogue::ALERTMANAGER_EXPIRE) => CLUSTER_KINDS,
        Scope::Mesh => BY_MESH,
        Scope::Host | Scope::View | Scope::Any | Scope::Node => 0,
    };
    let of_order = if goes_by_zones(plan) { ZONES } else { 0 };
    let of_failure = if keeps(plan) { KEEPS } else { 0 };
    kinds(plan).map(level).max().unwrap_or(0).max(of_order).max(of_failure)
}

/// An older member would take back what is to stay.
fn keeps(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| step.on_failure == OnFailure::Keep)
}

/// An older member could not read such a plan.
fn goes_by_zones(plan: &Plan) -> bool {
    let mut strategies = plan.steps.iter().filter_map(|step| step.strategy.as_ref()).chain(&plan.strategy);
    strategies.any(|strategy| strategy.order == Order::Zones)
}

/// An older member does not know what they are done to, and would give a run other targets than the rest does.
fn is_of_backups(kind: &Kind) -> bool {
    kind.name.starts_with("backup.") || kind.name == catalogue::RECOVERY_DRILL
}

fn is_upkeep(kind: &Kind) -> bool {
    kind.scope == Scope::Node || matches!(kind.name, catalogue::REBOOT | catalogue::PACKAGES)
}

fn kinds(plan: &Plan) -> impl Iterator<Item = &'static Kind> {
    let uses = plan.steps.iter().flat_map(|step| std::iter::once(&step.uses).chain(step.undo.as_ref().map(|undo| &undo.uses)));
    uses.filter_map(|uses| catalogue::kind(uses))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::parse;

    #[test]
    fn what_older_members_do_not_know_does_not_get_into_their_log() {
        let plan = |uses: &str| {
            let text = format!(
                "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: p }}\nspec: {{ steps: [{{ name: a, uses: {uses} }}] }}"
            );
            Command::ApplyPlan { plan: Box::new(parse(&text).unwrap()), bundled: false }
        };
        let hello = crate::state::agent::Hello {
            ledger: crate::id::LedgerId("l".into()),
            incarnation: "p".into(),
            version: "0.1.0".into(),
            feature_level: 1,
            host: false,
            kinds: Vec::new(),
            boot_id: String::new(),
            connections: Vec::new(),
        };
        let connect = |agent: &str| Command::ConnectAgent { agent: agent.parse().unwrap(), hello: hello.clone() };
        let older = State { feature_level: CLUSTERS - 1, ..State::default() };
        let newer = State { feature_level: CLUSTERS, ..State::default() };
        for command in [plan("kube.workloads"), connect("prod/agent/r1")] {
            assert!(older.too_early(&command).is_some_and(|refusal| refusal.to_string().contains("needs level 4")), "{command}");
            assert_eq!(newer.too_early(&command), None);
        }
        let later = plan("kube.services");
        assert!(newer.too_early(&later).is_some_and(|refusal| refusal.to_string().contains("needs level 5")));
        assert_eq!(State { feature_level: CLUSTER_KINDS, ..State::default() }.too_early(&later), None);
        let mut by_zones = plan("node.resources");
        if let Command::ApplyPlan { plan, .. } = &mut by_zones {
            plan.strategy = Some(crate::plan::Strategy { order: Order::Zones, ..crate::plan::Strategy::default() });
        }
        for of_nodes in [plan("kube.cordon"), plan("node.reboot"), plan("node.packages, acceptIrreversible: true"), by_zones] {
            assert!(newer.too_early(&of_nodes).is_some_and(|refusal| refusal.to_string().contains("needs level 5")), "{of_nodes}");
            assert_eq!(State { feature_level: UPKEEP, ..State::default() }.too_early(&of_nodes), None);
        }
        for command in [plan("node.resources"), connect("prod/n1")] {
            assert_eq!(older.too_early(&command), None, "{command}");
        }
    }
}
