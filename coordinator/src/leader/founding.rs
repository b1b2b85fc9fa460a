//! What a mesh gets from its installer and from the program: its name, first operators, join grants for what
//! is to enrol right away, and the bundled plans. Saying it again changes nothing. A plan that members of an older
//! version do not know waits until there are none.

use mainstay_core::id::{MeshName, PrincipalName};
use mainstay_core::plan::Plan;
use mainstay_core::state::enrolment::{JoinGrant, OperatorRole};
use mainstay_core::{Actor, Command, State};

use super::Office;
use crate::store::ProposeError;

/// What there is to give.
#[derive(Debug, Clone)]
pub struct Founding {
    pub mesh: MeshName,
    pub admins: Vec<PrincipalName>,
    pub grants: Vec<JoinGrant>,
    pub plans: Vec<Plan>,
}

/// Why a mesh was not founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    #[error("`{what}` was not taken: {source}")]
    Propose {
        what: String,
        #[source]
        source: ProposeError,
    },
    #[error("the mesh has no name yet: what it said to that is in the log")]
    NoName,
}

impl Founding {
    /// Gives what is missing. The mesh's name comes last: until it is there, all is given again. A mesh that
    /// refuses something else, because it is full, goes on without it.
    pub async fn complete(&self, office: &Office) -> Result<(), FoundingError> {
        for command in self.missing(&office.state()) {
            let what = command.to_string();
            match office.propose(Actor::Mesh, None, command).await {
                Err(source) => return Err(FoundingError::Propose { what, source }),
                Ok(reply) => {
                    if let Err(refusal) = reply.into_result() {
                        tracing::error!(what, %refusal, "the mesh does without something that it should have");
                    }
                }
            }
        }
        office.state().mesh.as_ref().map(|_| ()).ok_or(FoundingError::NoName)
    }

    /// Gives what waited for a higher feature level, whenever that rises. Ends with the store.
    pub async fn follow(&self, office: &Office) {
        let mut applied = office.consensus().applied();
        let mut level = applied.borrow_and_update().state.feature_level;
        // It may have risen since what was missing was given.
        let mut is_due = true;
        loop {
            if is_due {
                match self.complete(office).await {
                    Ok(()) => is_due = false,
                    Err(error) => tracing::warn!(%error, "the mesh does not have all bundled plans yet"),
                }
            }
            if applied.changed().await.is_err() {
                return;
            }
            let now = applied.borrow_and_update().state.feature_level;
            is_due |= now != level;
            level = now;
        }
    }

    fn missing(&self, state: &State) -> Vec<Command> {
        let mut commands = Vec::new();
        for plan in &self.plans {
            let newest = state.plans.get(&plan.name).and_then(|history| history.revisions.values().rev().find(|revision| revision.bundled));
            if newest.is_none_or(|revision| revision.plan.digest != plan.digest) {
                let apply = Command::ApplyPlan { plan: Box::new(plan.clone()), bundled: true };
                commands.extend(state.too_early(&apply).is_none().then_some(apply));
            }
        }
        if state.mesh.is_none() {
            commands.extend(self.admins.iter().map(|name| Command::PutOperator { name: name.clone(), role: OperatorRole::Admin }));
            commands.extend(self.grants.iter().map(|grant| Command::GrantJoin { grant: grant.clone() }));
            commands.push(Command::FormMesh { mesh: self.mesh.clone(), incarnation: 1 });
        }
        commands
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::{Entry, MeshTime, WallTime};

    use super::*;

    #[test]
    fn a_mesh_is_founded_once_and_its_name_comes_last() {
        let founding = Founding { mesh: "local".parse().unwrap(), admins: vec!["ana".parse().unwrap()], grants: Vec::new(), plans: Vec::new() };
        let mut state = State::default();
        let commands = founding.missing(&state);
        assert!(matches!(commands.as_slice(), [Command::PutOperator { .. }, Command::FormMesh { .. }]));
        for command in commands {
            state.apply(&Entry { at: MeshTime(1), wall: WallTime(1), by: Actor::Mesh, key: None, command });
        }
        assert_eq!(founding.missing(&state), []);
    }

    #[test]
    fn a_plan_that_older_members_do_not_know_waits_for_them() {
        let text =
            "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: p }\nspec: { steps: [{ name: a, uses: kube.services }] }";
        let plans = vec![mainstay_core::plan::parse(text).unwrap()];
        let founding = Founding { mesh: "local".parse().unwrap(), admins: Vec::new(), grants: Vec::new(), plans };
        let mut state = State::default();
        let apply = |state: &mut State, command| {
            state.apply(&Entry { at: MeshTime(1), wall: WallTime(1), by: Actor::Mesh, key: None, command });
        };
        apply(&mut state, Command::FormMesh { mesh: founding.mesh.clone(), incarnation: 1 });
        assert_eq!(founding.missing(&state), []);
        apply(&mut state, Command::RaiseFeatureLevel { level: 5 });
        assert!(matches!(founding.missing(&state).as_slice(), [Command::ApplyPlan { bundled: true, .. }]));
    }
}
