//! What is seen of a simulation while it runs, for the invariants to judge.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use mainstay_client::lease::Held;
use mainstay_core::Token;
use tracing::Metadata;

use crate::invariants::{forward, renewed};
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
    /// Whether the operator is to take a member out.
    pub exchange: bool,
    /// The coordinator whose place as a member changes: at most one at a time, so that a majority has its disks.
    pub changes_place: Option<&'static str>,
    /// The one that is to be set up anew for it.
    pub set_up_anew: Option<&'static str>,
    /// The one that is to come back as another member, with a disk of its own.
    pub comes_back: Option<&'static str>,
    /// The machine that led when its clock was set, and then died.
    pub set_and_died: Option<&'static str>,
    /// What was wanted of agents as they last took it: incarnation and generation.
    pub taken: BTreeMap<String, (u64, u64)>,
    /// Runs of which somebody has asked to let them go on.
    pub approved: BTreeSet<String>,
    /// Wall clocks that were set: whose, when, and how many milliseconds ahead.
    pub clocks_set: Vec<(&'static str, Duration, i64)>,
    /// How often what has struck.
    pub strikes: BTreeMap<String, usize>,
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

/// Something has happened that has to happen in some seed.
pub fn struck(what: &str) {
    with(|seen| *seen.strikes.entry(what.to_owned()).or_default() += 1);
}

/// A program has logged something.
pub fn logged(machine: &str, _metadata: &Metadata<'_>, fields: &[(&'static str, String)]) {
    let field = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str()).unwrap_or_default();
    match field("message") {
        "this member leads" => {
            with(|seen| seen.leader = Some(machine.to_owned()));
            if with(|seen| seen.set_and_died.take()).is_some_and(|before| before != machine) {
                struck("a clock is set, and another leads");
            }
        }
        "this member has its place in the mesh" if with(|seen| seen.comes_back == Some(machine)) => {
            with(|seen| (seen.comes_back, seen.changes_place) = (None, None));
            struck("a member has come back as another");
        }
        "took what is wanted" => forward::taken(machine, field("incarnation"), field("generation")),
        "refused a desired set that is older than one seen before" => struck("an old desired set is refused"),
        "a new mesh is formed" => with(|seen| seen.is_formed = true),
        "carrying out" => with(|seen| seen.works.labelled(field("attempt"), field("run"), field("step"))),
        "the mesh says that the lease is lost" => renewed::told_gone(machine, field("name")),
        _ => {}
    }
}
