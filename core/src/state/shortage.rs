//! What plans need and nobody has.

use super::State;
use crate::catalogue::{self, Connections};
use crate::id::{PlanName, StepName};

/// A step names a connection that no agent has told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingConnection {
    pub plan: PlanName,
    pub step: StepName,
    pub connection: String,
    /// Any of these kinds would do.
    pub kinds: &'static [&'static str],
}

impl State {
    /// Every exact name of a connection in a current revision that no agent has, of a kind that would do. A
    /// pattern that nothing fits is left out: its step has nothing to do, and says so.
    #[must_use]
    pub fn missing_connections(&self) -> Vec<MissingConnection> {
        let hellos = || self.agents.values().filter_map(|agent| agent.hello.as_ref());
        let has = |name: &str, kinds: &[&str]| {
            hellos().flat_map(|hello| &hello.connections).any(|known| known.name.to_string() == name && kinds.contains(&known.kind.as_str()))
        };
        let mut missing = Vec::new();
        for (plan, history) in &self.plans {
            let Some((_, current)) = history.current() else { continue };
            for step in &current.plan.steps {
                let Some(kind) = catalogue::kind(&step.uses) else { continue };
                let (Connections::Always(kinds) | Connections::WhenNamed(kinds)) = kind.connection else { continue };
                let named = step.with.get(catalogue::CONNECTION_PARAM).and_then(serde_json::Value::as_str);
                let Some(name) = named.filter(|name| !name.contains('*') && !name.contains("${{")) else { continue };
                if !has(name, kinds) {
                    missing.push(MissingConnection { plan: plan.clone(), step: step.name.clone(), connection: name.to_owned(), kinds });
                }
            }
        }
        missing
    }
}
