//! `strategy`: in which order and how many at a time.

use super::check::{Checker, amount};
use super::shape::{Field, Object, Shape};
use super::tree::Node;
use crate::bounds;
use crate::plan::strategy::{Amount, Order, Strategy};
use crate::time::Millis;

const ORDER: &[(&str, &str)] = &[
    ("name", "By name"),
    ("reverse", "By name, from the end"),
    ("spread", "Mixed, and another way in each run"),
    ("zones", "Zone by zone, by the nodes' label topology.kubernetes.io/zone: none begins before the one before has ended"),
];

const TARGETS: u32 = bounds::RUN_WORK as u32;

pub(super) const STRATEGY: Object = Object {
    name: "strategy",
    doc: "In which order and how many at a time targets are done.",
    fields: &[
        Field::maybe("order", Shape::Words(ORDER), "name", "Which target comes first"),
        Field::maybe(
            "maxUnavailable",
            Shape::Amount(1, TARGETS),
            "1",
            "Targets that may be away at once: being worked on, failed, or without a connected agent; a share is rounded down, to at least one",
        ),
        Field::maybe(
            "waves",
            Shape::List(&Shape::Amount(1, TARGETS), 1, bounds::WAVES),
            "[]",
            "How many targets are done by the end of each wave, all waves before it included; the last wave is the rest",
        ),
        Field::maybe(
            "soak",
            Shape::Duration(Millis::ZERO, Millis(7 * 86_400_000)),
            "0s",
            "How long nothing begins after a wave, or a zone, has ended",
        ),
        Field::maybe("failureBudget", Shape::Amount(0, TARGETS), "0", "Targets that may fail before no further one begins"),
    ],
};

pub(super) fn strategy(c: &mut Checker<'_>, node: &Node) -> Strategy {
    let defaults = Strategy::default();
    let waves: Vec<(Amount, &Node)> =
        node.field("waves").map(Node::items).unwrap_or_default().iter().filter_map(|wave| Some((amount(wave)?, wave))).collect();
    for pair in waves.windows(2) {
        let [(before, _), (wave, at)] = pair else { continue };
        let grows = match (before, wave) {
            (Amount::Count(before), Amount::Count(wave)) | (Amount::Percent(before), Amount::Percent(wave)) => before < wave,
            (Amount::Count(_), Amount::Percent(_)) => true,
            (Amount::Percent(_), Amount::Count(_)) => {
                c.problem(
                    at.at,
                    format!("{wave} comes after {before}, and is not more unless there are few targets: write numbers first, then shares"),
                );
                continue;
            }
        };
        if !grows {
            c.problem(at.at, format!("a wave includes all before it: {wave} comes after {before} and is not more"));
        }
    }
    let soak = node.field("soak").and_then(Node::parsed).unwrap_or(defaults.soak);
    let order = match node.field("order").and_then(Node::text) {
        Some("reverse") => Order::Reverse,
        Some("spread") => Order::Spread,
        Some("zones") => Order::Zones,
        _ => defaults.order,
    };
    if let Some(at) = node.field("waves").filter(|_| order == Order::Zones && !waves.is_empty()) {
        c.problem(at.at, "with `order: zones` each zone is a wave of its own: leave `waves` out, or order by name");
    }
    if let Some(at) = node.field("soak").filter(|_| waves.is_empty() && order != Order::Zones && soak > Millis::ZERO) {
        c.problem(at.at, "`soak` is the time after a wave, and there are no `waves` here");
    }
    Strategy {
        order,
        max_unavailable: node.field("maxUnavailable").and_then(amount).unwrap_or(defaults.max_unavailable),
        waves: waves.into_iter().map(|(wave, _)| wave).collect(),
        soak,
        failure_budget: node.field("failureBudget").and_then(amount).unwrap_or(defaults.failure_budget),
    }
}
