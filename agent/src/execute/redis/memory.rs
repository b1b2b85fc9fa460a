//! Memory: how much of what it may have is in use, and how well what the system gave it is used.

use mainstay_core::report::{Check, Verdict};

use super::super::wording;
use super::{Look, rounded};

pub(super) const USED: &str = "redis.memory";
const FRAGMENTATION: &str = "redis.fragmentation";
/// Below this much in use, what a process needs anyway makes any ratio look bad.
const RATIO_MEANS_SOMETHING: f64 = 67_108_864.0;
/// With less than this of it in memory, the system has swapped some of it out.
const SWAPPED: f64 = 0.9;

pub(super) fn checks(look: &Look<'_>) -> Vec<Check> {
    vec![used(look), fragmentation(look)]
}

fn used(look: &Look<'_>) -> Check {
    let info = look.info;
    let Some(used) = info.number("used_memory") else {
        return Check::stated(USED, "", Verdict::Unknown, "it does not say how much memory it uses");
    };
    let policy = info.text("maxmemory_policy").unwrap_or("an unknown policy");
    match info.number("maxmemory").filter(|max| *max > 0.0) {
        Some(max) => {
            let percent = used * 100.0 / max;
            let message = format!("{} of {} in use ({policy})", wording::percent(percent), wording::bytes(max as u64));
            let check = Check::measured(USED, "", rounded(percent), "%", look.params.memory.above(80.0, 95.0), message);
            let hint = if policy == "noeviction" { "when it is full, writes fail" } else { "when it is full, keys are evicted" };
            if check.verdict == Verdict::Ok { check } else { check.with_hint(format!("{hint}; redis-cli --bigkeys says what takes the room")) }
        }
        // Its machine may be a container with a limit that it does not know: how much room is left is nobody's to say here.
        None => {
            let resident = info.number("used_memory_rss").map_or_else(String::new, |rss| format!(", {} resident", wording::bytes(rss as u64)));
            let machine =
                info.number("total_system_memory").map_or_else(String::new, |all| format!(" of the machine's {}", wording::bytes(all as u64)));
            Check::stated(
                USED,
                "",
                Verdict::Ok,
                format!("{} in use{resident}{machine}; no maxmemory is set, so nothing bounds it", wording::bytes(used as u64)),
            )
        }
    }
}

fn fragmentation(look: &Look<'_>) -> Check {
    let info = look.info;
    let (Some(ratio), Some(used)) = (info.number("mem_fragmentation_ratio"), info.number("used_memory")) else {
        return Check::stated(FRAGMENTATION, "", Verdict::Unknown, "it does not say how its memory is fragmented");
    };
    let words = format!("{ratio:.2} bytes of the system's memory for each byte in use");
    if used < RATIO_MEANS_SOMETHING {
        let check = Check::stated(FRAGMENTATION, "", Verdict::Ok, format!("{words}; with {} in use that means nothing", wording::bytes(used as u64)));
        return Check { value: Some(rounded(ratio)), ..check };
    }
    let check = Check::measured(FRAGMENTATION, "", rounded(ratio), "", look.params.fragmentation.from(Some(1.5), None), words);
    if ratio < SWAPPED {
        return Check { verdict: Verdict::Warning, message: format!("{}: part of it is swapped out", check.message), ..check }
            .with_hint("it is slow for as long as that is so: give its machine memory, or it a maxmemory");
    }
    if check.verdict == Verdict::Ok { check } else { check.with_hint("MEMORY PURGE, or CONFIG SET activedefrag yes") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{row, seen};
    use super::*;

    #[test]
    fn memory_is_judged_by_its_bound_and_said_where_there_is_none() {
        let of = |text: &str| seen(text, json!({}), |look| vec![used(look)]);
        assert_eq!(of("used_memory:900\r\nmaxmemory:1000\r\nmaxmemory_policy:noeviction\r\n"), [row("memory", "", Verdict::Warning, Some(90.0))]);
        assert_eq!(of("used_memory:980\r\nmaxmemory:1000\r\n"), [row("memory", "", Verdict::Critical, Some(98.0))]);
        assert_eq!(of("used_memory:900\r\nmaxmemory:0\r\n"), [row("memory", "", Verdict::Ok, None)]);
        assert_eq!(of(""), [row("memory", "", Verdict::Unknown, None)]);
    }

    #[test]
    fn fragmentation_counts_where_there_is_enough_in_use() {
        let of = |used: u64, ratio: f64| {
            seen(&format!("used_memory:{used}\r\nmem_fragmentation_ratio:{ratio}\r\n"), json!({}), |look| vec![fragmentation(look)])
        };
        assert_eq!(of(1 << 20, 9.0), [row("fragmentation", "", Verdict::Ok, Some(9.0))]);
        assert_eq!(of(1 << 30, 1.8), [row("fragmentation", "", Verdict::Warning, Some(1.8))]);
        assert_eq!(of(1 << 30, 1.1), [row("fragmentation", "", Verdict::Ok, Some(1.1))]);
        assert_eq!(of(1 << 30, 0.5), [row("fragmentation", "", Verdict::Warning, Some(0.5))]);
    }
}
