//! Leases of steps.

use std::collections::BTreeMap;

use mainstay_core::{Command, Identity, LeaseName, RunId, State, StepName};

use super::{Decided, Deed, Held, Invariant};
use crate::world::World;

pub struct Exclusive;

/// The lease of a step.
fn lease_of<'s>(state: &'s State, run: &RunId, step: &StepName) -> Option<&'s LeaseName> {
    Some(&state.runs.get(run)?.plan.step(step)?.lease.as_ref()?.name)
}

impl Invariant for Exclusive {
    fn name(&self) -> &'static str {
        "exclusive"
    }

    fn says(&self) -> &'static str {
        "a step that has a lease is given out only while its run holds it, and never goes while somebody else believes in it"
    }

    fn decided(&mut self, decided: &Decided<'_>) -> Held {
        for command in decided.commands {
            let Command::OfferAttempt { run, step, .. } = command else { continue };
            let Some(name) = lease_of(decided.state, run, step) else { continue };
            let held = decided.state.leases.get(name).is_some_and(|lease| {
                lease.held.iter().any(|held| {
                    held.holder.identity == Identity::Run(run.clone()) && held.holder.attributes.get("step").is_some_and(|own| own == step.as_str())
                })
            });
            if !held {
                return Err(format!("{run}/{step} is offered without {name}"));
            }
        }
        Ok(())
    }

    fn did(&mut self, deed: &Deed, world: &World) -> Held {
        let Deed::Began { .. } = deed else { return Ok(()) };
        let mut going: BTreeMap<&LeaseName, Vec<String>> = BTreeMap::new();
        for attempt in world.agents.iter().flat_map(crate::agent::Agent::executing) {
            if let Some(name) = lease_of(world.state(), &attempt.run, &attempt.step) {
                going.entry(name).or_default().push(format!("{}/{}", attempt.run, attempt.step));
            }
        }
        for (name, mut holders) in going {
            let believers = world.clients.iter().filter(|client| client.wanted.name == name.as_str() && client.believes(world.now).is_some());
            holders.extend(believers.map(|client| client.name.clone()));
            if holders.len() > 1 {
                return Err(format!("{name} is held by {holders:?} at once"));
            }
        }
        Ok(())
    }
}
