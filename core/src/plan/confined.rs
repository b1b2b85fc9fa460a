//! What a plan that came from a namespace of a cluster may do: something to that namespace, and nothing else.

use crate::catalogue::{self, KINDS, Kind, Scope};

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
}

/// The kinds that a plan of a namespace may have.
pub fn kinds() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(|kind| Means::of(kind).is_some())
}
