//! What a plan that came from a namespace of a cluster may do: something to that namespace, and nothing else.
//!
//! Such a plan was written by whoever may make objects there, and not by an operator of the mesh. So whatever it does is
//! done in its own cluster, to its own namespace, as the runner that whoever owns the namespace has given it. That is
//! judged here, of the plan as it stands: what an expression would come to is not waited for.

use std::fmt;

use serde_json::{Map, Value};

use super::{Plan, RunOn};
use crate::catalogue::{self, KINDS, Kind, Scope};
use crate::id::{NameError, Origin, PlanName};

/// Something that the plan must not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Where: `spec.steps[1].with.namespace`.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// By what a kind says which namespaces it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    /// `namespace`.
    Namespace,
    /// `namespaces`, a list of patterns.
    Namespaces,
    /// `object`, which has it in its metadata.
    Object,
    /// It is about none: a person is waited for.
    Nothing,
}

impl Means {
    /// Nothing where a plan of a namespace may not have the kind.
    pub(crate) fn of(kind: &Kind) -> Option<Means> {
        let named = [("namespace", Means::Namespace), ("namespaces", Means::Namespaces), ("object", Means::Object)];
        match kind.scope {
            Scope::Cluster => named.into_iter().find(|(param, _)| kind.param(param).is_some()).map(|(_, means)| means),
            Scope::Mesh if kind.name == catalogue::APPROVAL => Some(Means::Nothing),
            _ => None,
        }
    }

    /// What is wrong with these parameters, and the field that it is about.
    fn breach(self, with: &Map<String, Value>, namespace: &str) -> Option<(&'static str, String)> {
        let is_it = |value: Option<&Value>| value.and_then(Value::as_str) == Some(namespace);
        match self {
            Means::Namespace if !is_it(with.get("namespace")) => Some(("namespace", format!("has to be `{namespace}`, written out"))),
            Means::Namespaces => {
                let named = with.get("namespaces").and_then(Value::as_array);
                let is_own = named.is_some_and(|named| !named.is_empty() && named.iter().all(|one| is_it(Some(one))));
                (!is_own).then(|| ("namespaces", format!("has to be `[{namespace}]`, written out")))
            }
            Means::Object if !is_it(with.get("object").and_then(|object| object.pointer("/metadata/namespace"))) => {
                Some(("object.metadata.namespace", format!("has to be `{namespace}`, written out")))
            }
            Means::Namespace | Means::Object | Means::Nothing => None,
        }
    }
}

/// The kinds that a plan of a namespace may have.
pub fn kinds() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(|kind| Means::of(kind).is_some())
}

/// The plan of an object, under the name that it has in the mesh.
///
/// # Errors
/// When a name of which it is made is none.
pub fn of_object(plan: Plan, origin: Origin<'_>) -> Result<Plan, NameError> {
    Ok(Plan { name: PlanName::of_object(origin, plan.name.as_str())?, ..plan })
}

/// The first gate while something goes that looks elsewhere than into the step's own namespace, or may.
fn gate_beyond(with: &Map<String, Value>) -> Option<String> {
    let gates = with.get("gates")?;
    let Value::Array(gates) = gates else { return Some(String::new()) };
    let is_own = |gate: &Value| gate.as_object().is_some_and(|gate| !gate.contains_key("http") && !gate.contains_key("prometheus"));
    gates.iter().position(|gate| !is_own(gate)).map(|at| format!("[{at}]"))
}

/// Everything by which a plan would reach beyond where it came from; of a plan that came from nowhere, nothing.
#[must_use]
pub fn breaches(plan: &Plan) -> Vec<Breach> {
    let Some(origin) = plan.name.origin() else { return Vec::new() };
    let mut breaches = Vec::new();
    let mut breach = |field: String, message: String| breaches.push(Breach { field, message });
    let here = format!("a plan of namespace {} acts in that namespace of cluster {} only", origin.namespace, origin.cluster);
    if plan.strategy.is_some() {
        breach("spec.strategy".to_owned(), format!("is about nodes: {here}: leave it out"));
    }
    for (number, step) in plan.steps.iter().enumerate() {
        let at = format!("spec.steps[{number}]");
        let undo = step.undo.as_ref().filter(|undo| undo.uses != step.uses || undo.with != step.with);
        let parts = [(at.clone(), &step.uses, &step.with)].into_iter().chain(undo.map(|undo| (format!("{at}.undo"), &undo.uses, &undo.with)));
        for (at, uses, with) in parts {
            match catalogue::kind(uses).map(Means::of) {
                Some(Some(means)) => {
                    if let Some((field, message)) = means.breach(with, origin.namespace) {
                        breach(format!("{at}.with.{field}"), format!("{message}: {here}"));
                    }
                    if let Some(gate) = gate_beyond(with) {
                        breach(
                            format!("{at}.with.gates{gate}"),
                            format!("has to be `object` or `logErrors`, written out: {here}, and asks nobody else over the network"),
                        );
                    }
                }
                Some(None) => breach(
                    format!("{at}.uses"),
                    format!("{uses} is no kind for it: {here}; an operator can apply a plan with it: mainstay plan apply"),
                ),
                None => breach(format!("{at}.uses"), format!("{uses} is no kind that this mesh knows")),
            }
        }
        if step.run_on == RunOn::Node {
            breach(format!("{at}.runOn"), format!("{here}, and does nothing to nodes: leave it out"));
        }
        let prefix = format!("{}/{}/", origin.cluster, origin.namespace);
        if let Some(lease) = step.lease.as_ref().filter(|lease| !lease.name.as_str().starts_with(&prefix)) {
            breach(format!("{at}.lease"), format!("{} is not the namespace's own: others may need it; name it {prefix}…", lease.name));
        }
    }
    breaches
}
