//! `steps`: what is done, to what, after what.

use super::check::Checker;
use super::form::{LEASE_NAME, STEP_NAME};
use super::gate::{GATES, gates};
use super::input::DESCRIPTION;
use super::parameters;
use super::shape::{Field, Object, Shape};
use super::strategy::{STRATEGY, strategy};
use super::tree::Node;
use crate::bounds;
use crate::catalogue::{self, Connections, Kind, Scope, Undo};
use crate::id::LeaseName;
use crate::plan::{OnFailure, OnUnknown, Retry, RunOn, Step, StepLease, Strategy, UndoStep};
use crate::state::lease::{LeaseKind, LeaseSpec};
use crate::time::Millis;

/// Longest timeout of a step: what runs longer is several steps.
const TIMEOUT_MAX: Millis = Millis(7 * 86_400_000);

const TIMEOUT: Shape = Shape::Duration(Millis(1), TIMEOUT_MAX);
const PAUSE: Shape = Shape::Duration(Millis::ZERO, TIMEOUT_MAX);

const RUN_ON: &[(&str, &str)] = &[
    ("node", "Each node that there is when the run starts"),
    ("cluster", "Each cluster whose agents the mesh knows when the run starts, by the one that acts"),
    ("once", "Once in the whole mesh, by any agent that can"),
];

const ON_UNKNOWN: &[(&str, &str)] = &[
    ("stop", "As a failure does: nothing that needs the step begins, and what was done is undone"),
    ("continue", "The run goes on; its verdict says unknown"),
];

const ON_FAILURE: &[(&str, &str)] = &[
    ("undo", "The run fails, and what was done is undone"),
    (
        "keep",
        "The run fails, and what was done stays: `mainstay run undo` takes it back. So it is with each step that needs this one, directly or not",
    ),
];

const LEASE_KINDS: &[(&str, &str)] = &[("ttl", "It ends by time when its holder falls silent"), ("claim", "It never ends by time")];

const LEASE: Object = Object {
    name: "stepLease",
    doc: "A lease that the run holds from before the step begins on a target until it has ended there.",
    fields: &[
        Field::needed("name", Shape::Form(&LEASE_NAME), "Name of the lease"),
        Field::maybe("slots", Shape::Integer(1, bounds::LEASE_SLOTS as i64), "1", "How many may hold it at once"),
        Field::maybe("ttl", Shape::Duration(bounds::LEASE_TTL.0, bounds::LEASE_TTL.1), "30s", "When it ends if its holder falls silent"),
        Field::maybe("kind", Shape::Words(LEASE_KINDS), "ttl", "How it ends by itself"),
    ],
};

const RETRY: Object = Object {
    name: "retry",
    doc: "How often a failed attempt is tried again.",
    fields: &[
        Field::needed("attempts", Shape::Integer(1, bounds::ATTEMPTS as i64), "Attempts in all, the first included"),
        Field::maybe("backoff", PAUSE, "5s", "Before the second attempt; doubles with each further one"),
        Field::maybe("maxBackoff", PAUSE, "5m", "Most that the doubling comes to"),
    ],
};

const UNDO: Object = Object {
    name: "undo",
    doc: "The step that takes this one back when the run fails or is aborted.",
    fields: &[
        Field::needed("uses", Shape::Kind, "The step kind"),
        Field::maybe("with", Shape::With, "{}", "Its parameters"),
        Field::maybe("timeout", TIMEOUT, "the kind's", "When an attempt is given up"),
        Field::maybe("retry", Shape::Object(&RETRY), "{ attempts: 1 }", RETRY.doc),
    ],
};

pub(super) const STEP: Object = Object {
    name: "step",
    doc: "One unit of a plan.",
    fields: &[
        Field::needed("name", Shape::Form(&STEP_NAME), "Name of the step within the plan"),
        Field::maybe("description", DESCRIPTION, "", "What it is for"),
        Field::needed("uses", Shape::Kind, "The step kind; see `mainstay steps`"),
        Field::maybe("if", Shape::Condition, "true", "An expression; where it is false the step is omitted, and what needs it goes on"),
        Field::maybe("with", Shape::With, "{}", "Parameters of the kind; may hold `${{ }}`, which is filled in when the step's needs have ended"),
        Field::maybe("runOn", Shape::Words(RUN_ON), "what fits the kind", "What the step is done to"),
        Field::maybe(
            "needs",
            Shape::List(&Shape::Form(&STEP_NAME), 0, bounds::PLAN_STEPS),
            "[]",
            "Steps that must have gone well, on all their targets, before this one begins",
        ),
        Field::maybe("gates", GATES, "[]", "What must hold before the step begins on each of its targets"),
        Field::maybe("strategy", Shape::Object(&STRATEGY), "all targets at once", STRATEGY.doc),
        Field::maybe("lease", Shape::Either(&Shape::Form(&LEASE_NAME), &Shape::Object(&LEASE)), "", LEASE.doc),
        Field::maybe("timeout", TIMEOUT, "the kind's", "When an attempt is given up"),
        Field::maybe("retry", Shape::Object(&RETRY), "{ attempts: 1 }", RETRY.doc),
        Field::maybe("undo", Shape::Object(&UNDO), "", UNDO.doc),
        Field::maybe("onUnknown", Shape::Words(ON_UNKNOWN), "stop", "What an unknown outcome does to the run"),
        Field::maybe("onFailure", Shape::Words(ON_FAILURE), "undo", "What a failure of the step does to what was done before"),
        Field::maybe("acceptIrreversible", Shape::Boolean, "false", "That what the step does cannot be taken back"),
    ],
};

/// Reads one step. `whole` is the plan's own strategy, which goes for all steps that are done to nodes.
pub(super) fn step(c: &mut Checker<'_>, node: &Node, whole: Option<&Strategy>) -> Option<Step> {
    let uses = node.field("uses")?;
    let kind = catalogue::kind(uses.text()?)?;
    let with = parameters::read(c, kind, node.field("with"), uses.at);
    let run_on = run_on(kind, node.field("runOn"));
    if let Some(says) = node.field("runOn") {
        check_run_on(c, kind, says);
    }
    let many = run_on != RunOn::Once || kind.connection.pattern(&with).is_some();
    let own = node.field("strategy").map(|node| (strategy(c, node), node));
    if let Some((_, at)) = &own {
        if !many {
            c.problem(at.at, "a strategy orders targets, and this step has one only");
        } else if run_on == RunOn::Node && whole.is_some() {
            c.problem(at.at, "the plan's own strategy goes for this step too: leave out one of them");
        }
    }
    let waves = own.as_ref().map(|(strategy, _)| strategy).or(whole).is_some_and(|strategy| !strategy.waves.is_empty());
    let gates = gates(c, node.field("gates"), waves);
    irreversible(c, kind, &with, node, uses);
    let timeout = node.field("timeout").and_then(Node::parsed).unwrap_or(kind.default_timeout);
    let retry = retry(c, node.field("retry"));
    let undo = match node.field("undo") {
        Some(node) => undo(c, kind, node),
        None => by_itself(kind, &with, timeout, retry),
    };
    let own_lease = node.field("lease").and_then(lease);
    if let (Some(own), Some(at)) = (own_lease.as_ref().filter(|own| own.spec.slots < 2 && takes(kind, &with, &own.name)), node.field("lease")) {
        c.problem(at.at, format!("it would wait for itself: it takes lease {} too, which the run would hold for it: leave out `lease`", own.name));
    }
    Some(Step {
        name: node.field("name").and_then(Node::parsed)?,
        description: node.field("description").and_then(Node::text).unwrap_or_default().to_owned(),
        uses: kind.name.to_owned(),
        with,
        run_on,
        condition: node.field("if").and_then(|node| node.text().map(str::to_owned).or_else(|| node.boolean().map(|value| value.to_string()))),
        gates,
        strategy: own.map(|(strategy, _)| strategy),
        lease: own_lease,
        needs: node.field("needs").map(Node::items).unwrap_or_default().iter().filter_map(Node::parsed).collect(),
        timeout,
        retry,
        undo,
        on_unknown: if node.field("onUnknown").and_then(Node::text) == Some("continue") { OnUnknown::Continue } else { OnUnknown::Stop },
        on_failure: if node.field("onFailure").and_then(Node::text) == Some("keep") { OnFailure::Keep } else { OnFailure::Undo },
    })
}

/// What a step of this kind is done to, if it says this.
pub(super) fn run_on(kind: &Kind, says: Option<&Node>) -> RunOn {
    match says.and_then(Node::text) {
        _ if matches!(kind.scope, Scope::Host | Scope::Node) => RunOn::Node,
        _ if kind.scope == Scope::Cluster => RunOn::Cluster,
        Some("node") if kind.scope != Scope::Mesh && !matches!(kind.connection, Connections::Always(_)) => RunOn::Node,
        _ => RunOn::Once,
    }
}

fn check_run_on(c: &mut Checker<'_>, kind: &Kind, says: &Node) {
    let problem = match says.text() {
        Some("node") if kind.scope == Scope::Mesh => "is carried out by the mesh itself, once: leave out `runOn`",
        Some("node") if matches!(kind.connection, Connections::Always(_)) => "is done to connections, by any agent that has them: leave out `runOn`",
        Some("once" | "cluster") if matches!(kind.scope, Scope::Host | Scope::Node) => "is done to nodes: `runOn: node`",
        Some("node" | "once") if kind.scope == Scope::Cluster => "is done to clusters: `runOn: cluster`",
        Some("cluster") if kind.scope != Scope::Cluster => "is nothing that a cluster agent does: `runOn: node` or `runOn: once`",
        _ => return,
    };
    c.problem(says.at, format!("{} {problem}", kind.name));
}

/// What cannot be taken back has to be accepted by whoever writes the plan.
fn irreversible(c: &mut Checker<'_>, kind: &Kind, with: &serde_json::Map<String, serde_json::Value>, node: &Node, uses: &Node) {
    let accepted = node.field("acceptIrreversible");
    let says = accepted.and_then(Node::boolean) == Some(true);
    match kind.undo_of(with) {
        Undo::Irreversible if !says => {
            c.problem(
                accepted.unwrap_or(uses).at,
                format!("what {} does cannot be taken back: accept that with `acceptIrreversible: true`", kind.name),
            );
        }
        Undo::Irreversible => {}
        // Without its undo, what a command did stays.
        Undo::Compensated if node.field("undo").is_none() => {}
        _ => {
            if let Some(accepted) = accepted {
                let why = if kind.undo == Undo::Compensated { "this step is taken back by its `undo`" } else { kind.undo.as_str() };
                c.problem(accepted.at, format!("there is nothing irreversible to accept ({why}): leave out `acceptIrreversible`"));
            }
        }
    }
}

/// What an agent can take back to the earlier state is taken back by the same kind, which knows what it did.
fn by_itself(kind: &Kind, with: &serde_json::Map<String, serde_json::Value>, timeout: Millis, retry: Retry) -> Option<UndoStep> {
    let is_reversible = kind.undo_of(with) == Undo::Reversible && kind.scope != Scope::Mesh;
    is_reversible.then(|| UndoStep { uses: kind.name.to_owned(), with: with.clone(), timeout, retry })
}

fn undo(c: &mut Checker<'_>, undone: &Kind, node: &Node) -> Option<UndoStep> {
    let uses = node.field("uses")?;
    if undone.undo != Undo::Compensated {
        c.problem(uses.at, format!("{} takes no `undo`: {}", undone.name, undone.undo.as_str()));
    }
    let kind = catalogue::kind(uses.text()?)?;
    if kind.scope == Scope::Mesh {
        c.problem(uses.at, format!("{} takes nothing back", kind.name));
    } else if kind.undo == Undo::Reversible {
        c.problem(uses.at, format!("{} takes back what a step of its own kind did, and nothing else", kind.name));
    }
    let with = parameters::read(c, kind, node.field("with"), uses.at);
    let timeout = node.field("timeout").and_then(Node::parsed).unwrap_or(kind.default_timeout);
    Some(UndoStep { uses: kind.name.to_owned(), with, timeout, retry: retry(c, node.field("retry")) })
}

/// Whether a step takes a lease itself while it goes.
fn takes(kind: &Kind, with: &serde_json::Map<String, serde_json::Value>, name: &LeaseName) -> bool {
    kind.name == catalogue::LEASE_HOLD && with.get("name").and_then(serde_json::Value::as_str) == Some(name.as_str())
}

fn lease(node: &Node) -> Option<StepLease> {
    let defaults = LeaseSpec::default();
    if node.text().is_some() {
        return Some(StepLease { name: node.parsed()?, spec: defaults });
    }
    let slots = node.field("slots").and_then(Node::number).and_then(serde_json::Number::as_u64).and_then(|slots| u32::try_from(slots).ok());
    let kind = if node.field("kind").and_then(Node::text) == Some("claim") { LeaseKind::Claim } else { LeaseKind::Ttl };
    let spec = LeaseSpec { slots: slots.unwrap_or(defaults.slots), ttl: node.field("ttl").and_then(Node::parsed).unwrap_or(defaults.ttl), kind };
    Some(StepLease { name: node.field("name")?.parsed()?, spec })
}

fn retry(c: &mut Checker<'_>, node: Option<&Node>) -> Retry {
    let defaults = Retry::default();
    let Some(node) = node else { return defaults };
    let attempts =
        node.field("attempts").and_then(Node::number).and_then(serde_json::Number::as_u64).and_then(|attempts| u32::try_from(attempts).ok());
    let backoff = node.field("backoff").and_then(Node::parsed).unwrap_or(defaults.backoff);
    let max_backoff = node.field("maxBackoff").and_then(Node::parsed).unwrap_or(defaults.max_backoff.max(backoff));
    if let Some(at) = node.field("backoff").or(node.field("maxBackoff")).filter(|_| backoff > max_backoff) {
        c.problem(at.at, format!("`backoff` is {backoff}, and more than `maxBackoff`, {max_backoff}"));
    }
    Retry { attempts: attempts.unwrap_or(defaults.attempts), backoff, max_backoff }
}
