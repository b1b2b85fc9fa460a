//! What is seen of a simulation while it runs, for the invariants to judge.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use mainstay_client::lease::Held;
use mainstay_core::Token;
use tracing::Metadata;

use crate::invariants::renewed;
use crate::works::Works;

/// All that is seen.
#[derive(Default)]
pub struct Seen {
    /// What clients hold, by who they are.
    pub held: BTreeMap<String, Rc<Held>>,
    /// Every grant that a client has heard of, in the order of hearing: lease and token.
    pub grants: Vec<(String, Token)>,
    /// What the store took last, by lease.
    pub stored: BTreeMap<String, Token>,
    pub works: Works,
    /// Runs of which the mesh has said that they are started.
    pub started: BTreeSet<String>,
    /// Whether the faults are over.
    pub is_calm: bool,
    /// Clients that had a lease since then.
    pub served: BTreeSet<String>,
    /// What the operator still waits for; nothing when everything has ended.
    pub waits_for: Option<String>,
    /// The machine that said last that it leads.
    pub leader: Option<String>,
    pub is_formed: bool,
    /// What is broken.
    pub broken: Vec<String>,
}

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
}

/// Looks at what is seen, or adds to it.
pub fn with<T>(look: impl FnOnce(&mut Seen) -> T) -> T {
    SEEN.with_borrow_mut(look)
}

/// Something that must never be.
pub fn broken(invariant: &str, what: &str) {
    with(|seen| seen.broken.push(format!("[{invariant}] {what}")));
}

/// A program has logged something.
pub fn logged(machine: &str, _metadata: &Metadata<'_>, fields: &[(&'static str, String)]) {
    let field = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str()).unwrap_or_default();
    match field("message") {
        "this member leads" => with(|seen| seen.leader = Some(machine.to_owned())),
        "a new mesh is formed" => with(|seen| seen.is_formed = true),
        "carrying out" => with(|seen| seen.works.labelled(field("attempt"), field("run"), field("step"))),
        "the mesh says that the lease is lost" => renewed::told_gone(machine, field("name")),
        _ => {}
    }
}
