//! Clients that are connected, blocked and turned away, and keys that had to go.

use mainstay_core::Millis;
use mainstay_core::report::{Check, Thresholds, Verdict};

use super::super::wording;
use super::{Look, rounded};

const CLIENTS: &str = "redis.clients";
const BLOCKED: &str = "redis.clients.blocked";
const REJECTED: &str = "redis.clients.rejected";
const EVICTIONS: &str = "redis.evictions";

pub(super) fn checks(look: &Look<'_>) -> Vec<Check> {
    vec![clients(look), blocked(look), rejected(look), evictions(look)]
}

fn clients(look: &Look<'_>) -> Check {
    let info = look.info;
    let Some(connected) = info.number("connected_clients") else {
        return Check::stated(CLIENTS, "", Verdict::Unknown, "it does not say how many clients are connected");
    };
    match info.number("maxclients").filter(|max| *max > 0.0) {
        Some(max) => {
            let percent = connected * 100.0 / max;
            let message = format!("{}, {connected} of {max} clients", wording::percent(percent));
            let check = Check::measured(CLIENTS, "", rounded(percent), "%", look.params.clients.above(80.0, 95.0), message);
            if check.verdict == Verdict::Ok { check } else { check.with_hint("CLIENT LIST says who they are") }
        }
        None => Check::stated(CLIENTS, "", Verdict::Ok, format!("{connected} clients; how many there may be is not said")),
    }
}

fn blocked(look: &Look<'_>) -> Check {
    match look.info.number("blocked_clients") {
        None => Check::stated(BLOCKED, "", Verdict::Unknown, "it does not say how many clients wait"),
        Some(blocked) => {
            let message = wording::count(blocked as u64, "client waits in a blocking command", "clients wait in a blocking command");
            Check::measured(BLOCKED, "", blocked, "", look.params.blocked_clients.from(None, None), message)
        }
    }
}

fn rejected(look: &Look<'_>) -> Check {
    const WORDS: [&str; 2] = ["client turned away", "clients turned away"];
    let Some(counted) = Counted::of(look, "rejected_connections", WORDS) else {
        return Check::stated(REJECTED, "", Verdict::Unknown, "it does not say how many clients it turned away");
    };
    let check = Check { value: Some(counted.total as f64), ..Check::stated(REJECTED, "", Verdict::Ok, counted.in_words) };
    match counted.grown {
        Some((grown, ago)) if grown > 0 => {
            let message = format!("{} in the last {}", wording::count(grown, WORDS[0], WORDS[1]), wording::span(ago));
            Check { verdict: Verdict::Warning, message, ..check }
                .with_hint("there were more clients than maxclients: CLIENT LIST, CONFIG GET maxclients")
        }
        _ => check,
    }
}

/// Keys that had to go for others. For a cache that is its work: nothing is bad about it until a step says so.
fn evictions(look: &Look<'_>) -> Check {
    const WORDS: [&str; 2] = ["key evicted", "keys evicted"];
    let Some(Counted { total, in_words, grown }) = Counted::of(look, "evicted_keys", WORDS) else {
        return Check::stated(EVICTIONS, "", Verdict::Unknown, "it does not say how many keys it evicted");
    };
    let thresholds: Thresholds = look.params.evictions.from(None, None);
    let asked_for = thresholds.warning.is_some() || thresholds.critical.is_some();
    match grown {
        Some((grown, ago)) => {
            let message = format!("{} in the last {}; {in_words}", wording::count(grown, WORDS[0], WORDS[1]), wording::span(ago));
            Check::measured(EVICTIONS, "", grown as f64, "", thresholds, message)
        }
        None if asked_for && total > 0 => {
            let message = format!("{in_words}; how many of them lately is known from the next look on");
            Check::stated(EVICTIONS, "", Verdict::Ok, message)
        }
        None => Check::stated(EVICTIONS, "", Verdict::Ok, in_words),
    }
}

/// A counter since the server's start.
struct Counted {
    total: u64,
    in_words: String,
    /// By how much it has grown since this agent's last look, and how long ago that was.
    grown: Option<(u64, Millis)>,
}

impl Counted {
    fn of(look: &Look<'_>, name: &'static str, words: [&str; 2]) -> Option<Counted> {
        let total = look.info.count(name)?;
        let up = look.info.number("uptime_in_seconds").map_or_else(String::new, |up| format!(" {} ago", wording::seconds(up)));
        let life = look.info.text("run_id").unwrap_or_default();
        let grown = look.context.memory.grown(&look.connection.name, name, life, total, look.context.host.monotonic_ms());
        Some(Counted { total, in_words: format!("{} since its start{up}", wording::count(total, words[0], words[1])), grown })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Info;
    use super::super::tests::{row, seen};
    use super::*;

    /// Looked at twice, by the same agent.
    fn twice(first: &str, second: &str, with: Value, judge: fn(&Look<'_>) -> Check) -> Vec<(String, String, Verdict, Option<f64>)> {
        seen(first, with, |look| {
            let second = Info::parse(second);
            vec![judge(look), judge(&Look { info: &second, ..*look })]
        })
    }

    #[test]
    fn what_has_come_since_the_last_look_counts() {
        let info = |run: &str, evicted: u64, rejected: u64| format!("run_id:{run}\r\nevicted_keys:{evicted}\r\nrejected_connections:{rejected}\r\n");
        let with = || json!({"evictions": {"warning": 5}});
        let evicted = |first: &str, second: &str| twice(first, second, with(), evictions);
        assert_eq!(
            evicted(&info("a", 100, 0), &info("a", 110, 0)),
            [row("evictions", "", Verdict::Ok, None), row("evictions", "", Verdict::Warning, Some(10.0))]
        );
        assert_eq!(evicted(&info("a", 100, 0), &info("a", 101, 0))[1], row("evictions", "", Verdict::Ok, Some(1.0)));
        assert_eq!(evicted(&info("a", 100, 0), &info("b", 110, 0))[1], row("evictions", "", Verdict::Ok, None));
        assert_eq!(
            twice(&info("a", 0, 3), &info("a", 0, 4), json!({}), rejected),
            [row("clients.rejected", "", Verdict::Ok, Some(3.0)), row("clients.rejected", "", Verdict::Warning, Some(4.0))]
        );
    }

    #[test]
    fn clients_are_a_share_of_how_many_there_may_be() {
        let of = |text: &str| seen(text, json!({"blockedClients": {"critical": 3}}), |look| vec![clients(look), blocked(look)]);
        assert_eq!(
            of("connected_clients:90\r\nmaxclients:100\r\nblocked_clients:3\r\n"),
            [row("clients", "", Verdict::Warning, Some(90.0)), row("clients.blocked", "", Verdict::Critical, Some(3.0))]
        );
        assert_eq!(of("")[0].2, Verdict::Unknown);
    }
}
