//! `gates`: what must hold before a step begins.

use super::check::{Checker, percent};
use super::form::{BACKUP_TARGET, LEASE_PATTERN, PLAN_NAME, SUBJECT};
use super::shape::{Field, Form, Object, Shape};
use super::time::{DAY, TIME_OF_DAY, ZONE};
use super::tree::{Key, Node};
use crate::bounds;
use crate::calendar::{self, CalendarError};
use crate::plan::gate::{Approval, Declared, Each, Freeze, Gate, Window};
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

/// Longest age that a gate may take for fresh.
const AGE: Shape = Shape::Duration(Millis(1_000), Millis(366 * 86_400_000));

pub(super) const DAYS: &[(&str, &str)] =
    &[("mon", "Monday"), ("tue", "Tuesday"), ("wed", "Wednesday"), ("thu", "Thursday"), ("fri", "Friday"), ("sat", "Saturday"), ("sun", "Sunday")];

const ROLES: &[(&str, &str)] = &[("operator", "An operator or an admin"), ("admin", "An admin")];

const EACH: &[(&str, &str)] = &[("step", "The step, or the run where the gate is the plan's"), ("wave", "One wave of the strategy")];

const WINDOW: Object = Object {
    name: "window",
    doc: "Steps begin within it only. What has begun goes on after its end.",
    fields: &[
        Field::maybe("days", Shape::List(&Shape::Words(DAYS), 1, 7), "all", "Days on which it begins"),
        Field::needed("from", Shape::Form(&TIME_OF_DAY), "When it begins"),
        Field::needed("to", Shape::Form(&TIME_OF_DAY), "When it ends; on the next day where it is not after `from`"),
        Field::maybe("zone", Shape::Form(&ZONE), "UTC", "IANA time zone in which the times are read"),
    ],
};

const FREEZE: Object = Object {
    name: "freeze",
    doc: "Steps do not begin within it.",
    fields: &[
        Field::needed("from", Shape::Form(&DAY), "Its first day, or when it begins"),
        Field::needed("to", Shape::Form(&DAY), "Its last day, or when it ends"),
        Field::maybe("zone", Shape::Form(&ZONE), "UTC", "IANA time zone in which the days are read"),
        Field::maybe("reason", Shape::Text(bounds::REASON_BYTES), "", "Why, for whoever has to wait"),
    ],
};

const LEASE: Object = Object {
    name: "leaseGate",
    doc: "Nobody else holds the lease, or any lease that fits the pattern.",
    fields: &[Field::needed("name", Shape::Form(&LEASE_PATTERN), "Name of the lease; `*` stands for any text")],
};

const APPROVAL: Object = Object {
    name: "approval",
    doc: "Somebody who may has agreed to what they saw.",
    fields: &[
        Field::maybe("by", Shape::Words(ROLES), "operator", "Least role of whoever approves"),
        Field::maybe("notAuthor", Shape::Boolean, "false", "Whether it must be another person than the one who started the run"),
        Field::maybe(
            "expires",
            Shape::Duration(Millis(60_000), Millis(30 * 86_400_000)),
            "24h",
            "How long an approval is good for, until the start that it allows",
        ),
        Field::maybe("each", Shape::Words(EACH), "step", "What one approval covers"),
    ],
};

const HEALTH: Object = Object {
    name: "health",
    doc: "The newest run of a plan found nothing bad.",
    fields: &[
        Field::needed("plan", Shape::Form(&PLAN_NAME), "Name of the plan"),
        Field::needed("maxAge", AGE, "How long ago that run may have ended"),
    ],
};

const CAPACITY: Object = Object {
    name: "capacity",
    doc: "Enough capacity is left for what will be unavailable. Unknown in this version, and unknown holds the step.",
    fields: &[],
};

const BACKUP_FRESH: Object = Object {
    name: "backupFresh",
    doc: "The newest good backup of the target is not older, as the mesh's catalogue of backups has it.",
    fields: &[
        Field::needed("target", Shape::Form(&BACKUP_TARGET), "What was backed up: the cluster of the agent that does it, and its connection"),
        Field::needed("maxAge", AGE, "How long ago it may have been begun"),
    ],
};

const DRILL_FRESH: Object = Object {
    name: "drillFresh",
    doc: "The last drill of the target's backups went well, and is not older, as the mesh's catalogue of backups has it.",
    fields: &[
        Field::needed("target", Shape::Form(&BACKUP_TARGET), "What was restored: the cluster of the agent that backs it up, and its connection"),
        Field::needed("maxAge", AGE, "How long ago it may have ended"),
    ],
};

const ERROR_BUDGET: Object = Object {
    name: "errorBudget",
    doc: "So much of the service's error budget is left. Unknown in this version, and unknown holds the step.",
    fields: &[
        Field::needed("service", Shape::Form(&SUBJECT), "Name of the service"),
        Field::needed("atLeast", Shape::Percent, "Least share of its budget that is left"),
    ],
};

/// One entry of `gates`.
pub(super) const GATE: Object = Object {
    name: "gate",
    doc: "One gate.",
    fields: &[
        Field::maybe("window", Shape::Object(&WINDOW), "", WINDOW.doc),
        Field::maybe("freeze", Shape::Object(&FREEZE), "", FREEZE.doc),
        Field::maybe("lease", Shape::Object(&LEASE), "", LEASE.doc),
        Field::maybe("approval", Shape::Object(&APPROVAL), "", APPROVAL.doc),
        Field::maybe("health", Shape::Object(&HEALTH), "", HEALTH.doc),
        Field::maybe("capacity", Shape::Object(&CAPACITY), "", CAPACITY.doc),
        Field::maybe("backupFresh", Shape::Object(&BACKUP_FRESH), "", BACKUP_FRESH.doc),
        Field::maybe("drillFresh", Shape::Object(&DRILL_FRESH), "", DRILL_FRESH.doc),
        Field::maybe("errorBudget", Shape::Object(&ERROR_BUDGET), "", ERROR_BUDGET.doc),
    ],
};

pub(super) const GATES: Shape = Shape::List(&Shape::Choice(&GATE), 0, bounds::GATES);

/// Reads `gates`; `waves` says whether a strategy makes waves that an approval could be for.
pub(super) fn gates(c: &mut Checker<'_>, node: Option<&Node>, waves: bool) -> Vec<Gate> {
    node.map(Node::items).unwrap_or_default().iter().filter_map(|entry| gate(c, entry, waves)).collect()
}

fn gate(c: &mut Checker<'_>, entry: &Node, waves: bool) -> Option<Gate> {
    let [(key, body)] = entry.fields() else { return None };
    let text = |name: &str| body.field(name).and_then(Node::text).unwrap_or_default().to_owned();
    let zone = || body.field("zone").and_then(Node::text).unwrap_or("UTC").to_owned();
    let max_age = || body.field("maxAge").and_then(Node::parsed).unwrap_or(Millis::ZERO);
    Some(match key.name.as_str() {
        "window" => {
            let days: Vec<&Node> = body.field("days").map(Node::items).unwrap_or_default().iter().collect();
            let mut named = Vec::new();
            for day in days {
                match day.text() {
                    Some(word) if named.iter().any(|other| other == word) => c.problem(day.at, format!("`{word}` is given twice: leave out one")),
                    Some(word) => named.push(word.to_owned()),
                    None => {}
                }
            }
            let window = Window { days: named, from: text("from"), to: text("to"), zone: zone() };
            let known = calendar::Window::new(&window.days, &window.from, &window.to, &window.zone).map(drop);
            as_a_whole(c, key, known, &[(&window.from, &TIME_OF_DAY), (&window.to, &TIME_OF_DAY), (&window.zone, &ZONE)]);
            Gate::Window(window)
        }
        "freeze" => {
            let freeze = Freeze { from: text("from"), to: text("to"), zone: zone(), reason: text("reason") };
            let known = calendar::Freeze::new(&freeze.from, &freeze.to, &freeze.zone).map(drop);
            as_a_whole(c, key, known, &[(&freeze.from, &DAY), (&freeze.to, &DAY), (&freeze.zone, &ZONE)]);
            Gate::Freeze(freeze)
        }
        "lease" => Gate::Lease { name: text("name") },
        "approval" => Gate::Approval(approval(c, body, waves)),
        "health" => Gate::Health { plan: body.field("plan").and_then(Node::parsed)?, max_age: max_age() },
        "capacity" => Gate::Declared(Declared::Capacity),
        "backupFresh" => Gate::Declared(Declared::BackupFresh { target: text("target"), max_age: max_age() }),
        "drillFresh" => Gate::Declared(Declared::DrillFresh { target: text("target"), max_age: max_age() }),
        "errorBudget" => {
            Gate::Declared(Declared::ErrorBudget { service: text("service"), at_least: body.field("atLeast").and_then(percent).unwrap_or_default() })
        }
        _ => return None,
    })
}

/// Tells what is wrong with a gate whose parts are each right.
fn as_a_whole(c: &mut Checker<'_>, key: &Key, known: Result<(), CalendarError>, parts: &[(&String, &Form)]) {
    if let Err(error) = known
        && parts.iter().all(|(text, form)| (form.check)(text).is_ok())
    {
        c.problem(key.at, error.message);
    }
}

fn approval(c: &mut Checker<'_>, body: &Node, waves: bool) -> Approval {
    let by = if body.field("by").and_then(Node::text) == Some("admin") { OperatorRole::Admin } else { OperatorRole::Operator };
    let each = match body.field("each") {
        Some(word) if word.text() == Some("wave") => {
            if !waves {
                c.problem(word.at, "`each: wave` needs a strategy with waves here or in the plan");
            }
            Each::Wave
        }
        _ => Each::Step,
    };
    Approval {
        by,
        not_author: body.field("notAuthor").and_then(Node::boolean).unwrap_or(false),
        expires: body.field("expires").and_then(Node::parsed).unwrap_or(Millis(86_400_000)),
        each,
    }
}
