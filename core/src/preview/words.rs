//! Sentences of a preview.

use crate::plan::schedule::{Event, Notify};
use crate::plan::strategy::{Amount, Order, Strategy};
use crate::time::Millis;

/// Whom a plan tells of what.
pub(super) fn notify(notify: &Notify) -> String {
    let word = |event: &Event| Event::ALL.iter().find(|(own, _)| own == event).map_or("", |(_, word)| word);
    let when: Vec<&str> = notify.when.iter().map(word).collect();
    format!("{} → {}: not sent: no notifier", when.join(", "), notify.route)
}

/// A strategy in a sentence, and what becomes of the rest when it stops.
pub(super) fn strategy(strategy: &Strategy, has_undo: bool) -> String {
    let order = match strategy.order {
        Order::Name => "by name",
        Order::Reverse => "by name, from the end",
        Order::Spread => "in mixed order",
        Order::Zones => "one zone after the other, by name",
    };
    let mut text = format!("{order}, at most {} unavailable at once", strategy.max_unavailable);
    if !strategy.waves.is_empty() {
        let waves: Vec<String> = strategy.waves.iter().map(ToString::to_string).collect();
        text += &format!(", in waves up to {}, then the rest", waves.join(", "));
    }
    if strategy.soak > Millis::ZERO {
        text += &format!(", {} after each {}", strategy.soak, if strategy.order == Order::Zones { "zone" } else { "wave" });
    }
    text += &match strategy.failure_budget {
        Amount::Count(0) => ", stops at the first that fails".to_owned(),
        budget => format!(", stops when more than {budget} have failed"),
    };
    match has_undo {
        true if strategy.waves.is_empty() => text + " and then takes back what was done, on all at once",
        true => text + " and then takes back what was done, in earlier waves too, on all at once",
        false => text,
    }
}
