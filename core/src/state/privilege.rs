//! Plans that not every operator may set going: those with a step of a kind that asks for more. What such a step does
//! is done in the mesh's name, so that the right to it is asked of the person who has it done.

use super::State;
use crate::catalogue::{self, Kind, Scope};
use crate::command::{Actor, Command};
use crate::id::PlanName;
use crate::identity::Identity;
use crate::plan::Plan;
use crate::reply::Refusal;
use crate::state::enrolment::OperatorRole;

/// From this level on all members know how the mesh carries out steps itself.
const BY_MESH: u32 = 2;

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
        let plan = match command {
            Command::StartRun { plan, revision, .. } => self.revision_to_start(plan, *revision),
            _ => None,
        };
        let by_mesh = plan.is_some_and(|plan| kinds(plan).any(|kind| kind.scope == Scope::Mesh));
        command.level().max(if by_mesh { BY_MESH } else { 0 })
    }
}

fn kinds(plan: &Plan) -> impl Iterator<Item = &'static Kind> {
    let uses = plan.steps.iter().flat_map(|step| std::iter::once(&step.uses).chain(step.undo.as_ref().map(|undo| &undo.uses)));
    uses.filter_map(|uses| catalogue::kind(uses))
}
