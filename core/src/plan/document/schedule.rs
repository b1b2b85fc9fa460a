//! `schedules`, `concurrency`, `history` and `notify`: when runs start by themselves, and who hears of them.

use std::collections::BTreeMap;

use super::check::Checker;
use super::form::{INPUT_NAME, ROUTE};
use super::input;
use super::shape::{Field, Object, Shape};
use super::time::{CRON, ZONE};
use super::tree::Node;
use crate::bounds;
use crate::catalogue;
use crate::plan::schedule::{Concurrency, Event, History, Missed, Notify, Schedule};
use crate::plan::{Input, Step};
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

const MISSED: &[(&str, &str)] =
    &[("skip", "They are counted as missed"), ("once", "One run starts for all of them, within the window of the newest")];

pub(super) const CONCURRENCY: &[(&str, &str)] = &[
    ("forbid", "No run starts, and the instant is counted as held back"),
    ("allow", "Another run starts beside it"),
    ("replace", "The earlier run is aborted"),
];

const EVENTS: &[(&str, &str)] = &[
    ("started", "A run has begun"),
    ("waiting", "Somebody has to approve, or nothing moves by itself"),
    ("completed", "A run has ended, and every step went through"),
    ("failed", "A step failed"),
    ("aborted", "Somebody ended the run before its end"),
    ("warning", "A run's verdict is warning"),
    ("critical", "A run's verdict is critical"),
    ("unknown", "A run's verdict is unknown"),
];

pub(super) const SCHEDULE: Object = Object {
    name: "schedule",
    doc: "Instants at which runs start by themselves.",
    fields: &[
        Field::needed("cron", Shape::Form(&CRON), "When: minute, hour, day of the month, month, day of the week"),
        Field::maybe("zone", Shape::Form(&ZONE), "UTC", "IANA time zone in which the fields are read"),
        Field::maybe(
            "window",
            Shape::Duration(Millis(60_000), Millis(7 * 86_400_000)),
            "until the next instant",
            "How long after its instant a run may still start",
        ),
        Field::maybe("missed", Shape::Words(MISSED), "skip", "What becomes of instants that passed while nobody could start a run"),
        Field::maybe("inputs", Shape::Map(&INPUT_NAME, &Shape::Value, bounds::INPUTS), "{}", "Values for the plan's inputs"),
        Field::maybe("suspended", Shape::Boolean, "false", "Whether it rests for now"),
    ],
};

pub(super) const HISTORY: Object = Object {
    name: "history",
    doc: "How many ended runs are kept.",
    fields: &[
        Field::maybe("successful", Shape::Integer(1, bounds::RUNS_KEPT_MAX as i64), "20", "Runs that completed with a good verdict"),
        Field::maybe("failed", Shape::Integer(1, bounds::RUNS_KEPT_MAX as i64), "20", "All others"),
    ],
};

pub(super) const NOTIFY: Object = Object {
    name: "notice",
    doc: "Whom to tell of what. Nothing is sent in this version; a preview of the plan shows what would be.",
    fields: &[
        Field::needed("when", Shape::List(&Shape::Words(EVENTS), 1, EVENTS.len()), "Of what"),
        Field::needed("route", Shape::Form(&ROUTE), "Name of a route of the notifier"),
    ],
};

pub(super) fn schedules(c: &mut Checker<'_>, node: Option<&Node>, inputs: &BTreeMap<String, Input>) -> Vec<Schedule> {
    node.map(Node::items).unwrap_or_default().iter().map(|entry| schedule(c, entry, inputs)).collect()
}

fn schedule(c: &mut Checker<'_>, entry: &Node, inputs: &BTreeMap<String, Input>) -> Schedule {
    let text = |name: &str| entry.field(name).and_then(Node::text).unwrap_or_default();
    Schedule {
        cron: text("cron").to_owned(),
        zone: entry.field("zone").and_then(Node::text).unwrap_or("UTC").to_owned(),
        window: entry.field("window").and_then(Node::parsed),
        missed: if text("missed") == "once" { Missed::Once } else { Missed::Skip },
        inputs: input::given(c, entry, inputs),
        suspended: entry.field("suspended").and_then(Node::boolean).unwrap_or(false),
    }
}

pub(super) fn concurrency(node: Option<&Node>) -> Concurrency {
    match node.and_then(Node::text) {
        Some("allow") => Concurrency::Allow,
        Some("replace") => Concurrency::Replace,
        _ => Concurrency::Forbid,
    }
}

pub(super) fn history(node: Option<&Node>) -> History {
    let defaults = History::default();
    let count = |name: &str| node?.field(name)?.number()?.as_u64().and_then(|count| u32::try_from(count).ok());
    History { successful: count("successful").unwrap_or(defaults.successful), failed: count("failed").unwrap_or(defaults.failed) }
}

pub(super) fn notify(node: Option<&Node>) -> Vec<Notify> {
    let entries = node.map(Node::items).unwrap_or_default().iter();
    let events = |entry: &Node| {
        let words = entry.field("when").map(Node::items).unwrap_or_default().iter().filter_map(Node::text);
        let mut when: Vec<Event> = words.filter_map(|word| Event::ALL.iter().find(|(_, name)| *name == word).map(|(event, _)| *event)).collect();
        when.sort_unstable();
        when.dedup();
        when
    };
    entries.map(|entry| Notify { when: events(entry), route: entry.field("route").and_then(Node::text).unwrap_or_default().to_owned() }).collect()
}

/// A schedule has no role: what asks for one of its starter is started by a person.
pub(super) fn check_starter(c: &mut Checker<'_>, schedules: &Node, steps: &[Step]) {
    let demanding = steps.iter().filter_map(|step| catalogue::kind(&step.uses)).find(|kind| kind.started_by > OperatorRole::Operator);
    if let Some(kind) = demanding {
        c.problem(schedules.at, format!("{} is for an {} to start, and a schedule is nobody: leave out `schedules`", kind.name, kind.started_by));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_explained() {
        assert_eq!(EVENTS.iter().map(|(word, _)| *word).collect::<Vec<_>>(), Event::ALL.map(|(_, word)| word));
    }
}
