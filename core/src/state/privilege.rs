//! Plans that not every operator may set going: those with a step of a kind that asks for more. What such a step does
//! is done in the mesh's name, so that the right to it is asked of the person who has it done.

use super::State;
use crate::catalogue::{self, Kind, Scope};
use crate::command::{Actor, Command};
use crate::id::PlanName;
use crate::identity::Identity;
use crate::plan::{Plan, RunOn};
use crate::reply::Refusal;
use crate::state::enrolment::OperatorRole;

/// From this level on all members know how the mesh carries out steps itself.
const BY_MESH: u32 = 2;
/// From this level on all members know agents that speak for a cluster, and what is done to clusters.
pub const CLUSTERS: u32 = 4;
/// From this level on all members know the kinds that are done to clusters besides the first one, and that a mesh
/// without clusters leaves such steps of bundled plans out.
pub const CLUSTER_KINDS: u32 = 5;
/// The one kind that members of level 4 know.
const FIRST_CLUSTER_KIND: &str = "kube.workloads";
/// From this level on all members know agents that are let in because a cluster agent vouches for them.
pub const VOUCHED: u32 = 5;

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
            _ => 0,
        };
        command.level().max(of_plan)
    }
}

fn level_of(plan: &Plan) -> u32 {
    let level = |kind: &Kind| match kind.scope {
        Scope::Cluster if kind.name == FIRST_CLUSTER_KIND => CLUSTERS,
        Scope::Cluster => CLUSTER_KINDS,
        Scope::Mesh => BY_MESH,
        Scope::Host | Scope::View | Scope::Any => 0,
    };
    kinds(plan).map(level).max().unwrap_or(0)
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
        for command in [plan("node.resources"), connect("prod/n1")] {
            assert_eq!(older.too_early(&command), None, "{command}");
        }
    }
}
