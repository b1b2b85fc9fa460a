//! Cases in words, and then every history of up to six days against what may never happen.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::*;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// At these times, tokens growing, all good.
fn good(times: &[&str]) -> Vec<There> {
    let there = |(counter, time): (usize, &&str)| there("prod/db", time, counter as u64 + 1, Worth::Good);
    times.iter().enumerate().map(there).collect()
}

fn there(target: &str, time: &str, counter: u64, worth: Worth) -> There {
    let time: Timestamp = time.parse().unwrap();
    There { id: Id::new(target.parse().unwrap(), time, format!("1.{counter}").parse().unwrap()), worth, set: None, held: None }
}

fn fates(policy: Policy, there: &[There]) -> Vec<String> {
    let fates = decide(policy, &TimeZone::UTC, there).unwrap();
    there.iter().map(|one| said(&fates[&one.id])).collect()
}

fn said(fate: &Fate) -> String {
    match fate {
        Fate::Stays(why) => format!("stays: {}", why.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        Fate::Goes(why) => format!("goes: {why}"),
    }
}

#[test]
fn the_last_ones_stay() {
    let there = good(&["2026-11-01T02:00:00Z", "2026-11-02T02:00:00Z", "2026-11-03T02:00:00Z"]);
    let said = fates(Policy { last: 2, ..Policy::default() }, &there);
    assert_eq!(said, ["goes: no rule keeps it", "stays: last 2", "stays: the newest good one, last 1"]);
}

#[test]
fn of_each_day_the_newest_stays() {
    let there = good(&["2026-11-01T02:00:00Z", "2026-11-02T02:00:00Z", "2026-11-02T14:00:00Z", "2026-11-05T02:00:00Z"]);
    let said = fates(Policy { daily: 2, ..Policy::default() }, &there);
    // Days without a backup do not count: after a week of failures, what was there before is still there.
    assert_eq!(said, ["goes: no rule keeps it", "goes: no rule keeps it", "stays: day 2", "stays: the newest good one, day 1"]);
}

#[test]
fn weeks_months_and_years_begin_where_they_begin() {
    // 30 November 2026 is a Monday; 3 January 2027 a Sunday of the week of 28 December.
    let times = ["2026-11-29T02:00:00Z", "2026-11-30T02:00:00Z", "2026-12-28T02:00:00Z", "2027-01-03T02:00:00Z", "2027-01-04T02:00:00Z"];
    let weekly = fates(Policy { weekly: 9, ..Policy::default() }, &good(&times));
    assert_eq!(weekly, ["stays: week 4", "stays: week 3", "goes: no rule keeps it", "stays: week 2", "stays: the newest good one, week 1"]);
    let monthly = fates(Policy { monthly: 9, ..Policy::default() }, &good(&times));
    assert_eq!(
        monthly,
        ["goes: no rule keeps it", "stays: month 3", "stays: month 2", "goes: no rule keeps it", "stays: the newest good one, month 1"]
    );
    let yearly = fates(Policy { yearly: 9, ..Policy::default() }, &good(&times));
    assert_eq!(yearly[2], "stays: year 2");
    assert_eq!(yearly[4], "stays: the newest good one, year 1");
}

#[test]
fn a_day_is_one_of_the_zone() {
    // In Berlin both are of 2 November.
    let there = good(&["2026-11-01T23:30:00Z", "2026-11-02T12:00:00Z"]);
    let policy = Policy { daily: 5, ..Policy::default() };
    let stays = |name: &str| decide(policy, &zone(name), &there).unwrap().values().filter(|fate| matches!(fate, Fate::Stays(_))).count();
    assert_eq!((stays("Europe/Berlin"), stays("UTC")), (1, 2));
}

#[test]
fn a_month_of_failures_removes_nothing_that_is_good() {
    // `find -mtime +30 -delete` would have removed it.
    let mut all = good(&["2026-09-01T02:00:00Z"]);
    all.extend((1..=30).map(|day| there("prod/db", &format!("2026-11-{day:02}T02:00:00Z"), 100 + day, Worth::Dead)));
    let said = fates(Policy { daily: 7, ..Policy::default() }, &all);
    assert_eq!(said[0], "stays: the newest good one, day 1");
    assert!(said[1..].iter().all(|fate| fate == "goes: did not come to its end"), "{said:?}");
}

#[test]
fn the_maximum_takes_the_oldest_and_never_the_newest_good_one() {
    let there = good(&["2024-01-01T02:00:00Z", "2025-01-01T02:00:00Z", "2026-01-01T02:00:00Z"]);
    let said = fates(Policy { yearly: 5, maximum: Some(2), ..Policy::default() }, &there);
    assert_eq!(said, ["goes: there are more than 2", "stays: year 2", "stays: the newest good one, year 1"]);
}

#[test]
fn what_is_held_stays_and_says_why() {
    let mut there = good(&["2024-01-01T02:00:00Z", "2026-01-01T02:00:00Z"]);
    there[0].held = Some("OPS-12".to_owned());
    let said = fates(Policy { last: 1, maximum: Some(1), ..Policy::default() }, &there);
    assert_eq!(said, ["stays: held: OPS-12", "stays: the newest good one, last 1"]);
}

#[test]
fn a_set_stays_whole() {
    let mut there = vec![
        there("prod/db", "2026-11-01T02:00:00Z", 1, Worth::Good),
        there("prod/files", "2026-11-01T02:00:10Z", 2, Worth::Good),
        there("prod/files", "2026-11-02T02:00:10Z", 3, Worth::Good),
        there("prod/db", "2026-11-02T02:00:10Z", 4, Worth::Dead),
    ];
    (there[0].set, there[1].set) = (Some("night-1".to_owned()), Some("night-1".to_owned()));
    (there[2].set, there[3].set) = (Some("night-2".to_owned()), Some("night-2".to_owned()));
    let said = fates(Policy { last: 1, ..Policy::default() }, &there);
    assert_eq!(said[0], "stays: the newest good one, last 1");
    assert_eq!(said[1], "stays: belongs to set night-1, of which another one stays");
    assert_eq!(said[3], "goes: did not come to its end");
}

#[test]
fn a_set_needs_nothing_that_does_not_count_where_its_target_has_one_that_does() {
    let mut there = vec![
        there("prod/db", "2026-11-01T02:00:00Z", 1, Worth::Unconfirmed),
        there("prod/db", "2026-11-01T02:01:00Z", 2, Worth::Good),
        there("prod/files", "2026-11-01T02:02:00Z", 3, Worth::Good),
        there("prod/db", "2026-11-02T02:00:00Z", 4, Worth::Good),
    ];
    there[..3].iter_mut().for_each(|one| one.set = Some("night-1".to_owned()));
    let said = fates(Policy { last: 1, ..Policy::default() }, &there);
    assert_eq!(said[0], "goes: never confirmed, and a newer one is good");
    assert_eq!(said[1], "stays: belongs to set night-1, of which another one stays");
}

#[test]
fn what_does_not_count_goes_only_when_something_newer_does() {
    let times = |worth| [there("prod/db", "2026-11-01T02:00:00Z", 1, worth), there("prod/db", "2026-11-02T02:00:00Z", 2, Worth::Good)];
    let policy = Policy { last: 9, ..Policy::default() };
    let pair = |worth, newer: bool| {
        let mut pair = times(worth);
        if !newer {
            pair.reverse();
            (pair[0].id.time, pair[1].id.time) = (pair[1].id.time, pair[0].id.time);
        }
        let at = usize::from(!newer);
        fates(policy, &pair).remove(at)
    };
    assert_eq!(pair(Worth::Unconfirmed, true), "goes: never confirmed, and a newer one is good");
    assert_eq!(pair(Worth::Unconfirmed, false), "stays: not confirmed, and no newer one is good");
    assert_eq!(pair(Worth::Damaged, true), "goes: damaged, and a newer one is good");
    assert_eq!(pair(Worth::Damaged, false), "stays: damaged, and no newer one is good");
    assert_eq!(pair(Worth::Unfinished, true), "stays: may be under way");
    assert_eq!(pair(Worth::Dead, false), "goes: did not come to its end");
}

#[test]
fn what_could_not_be_read_stays_whatever_is_newer() {
    let all = [there("prod/db", "2026-11-01T02:00:00Z", 1, Worth::Unread), there("prod/db", "2026-11-02T02:00:00Z", 2, Worth::Good)];
    let said = fates(Policy { last: 1, ..Policy::default() }, &all);
    assert_eq!(said, ["stays: it could not be read, and may be good", "stays: the newest good one, last 1"]);
}

#[test]
fn a_policy_that_keeps_nothing_is_refused() {
    assert_eq!(decide(Policy::default(), &TimeZone::UTC, &[]), Err(KeepsNothing));
    assert_eq!(Policy { last: 1, maximum: Some(0), ..Policy::default() }.checked(), Err(KeepsNothing));
}

/// Each of six days may have a backup of any worth or none, held or not: 11^5 histories with several policies.
#[test]
fn in_no_history_is_the_newest_good_one_lost() {
    let worths = [Worth::Good, Worth::Unconfirmed, Worth::Damaged, Worth::Unfinished, Worth::Dead];
    let choices: Vec<Option<(Worth, bool)>> =
        std::iter::once(None).chain(worths.into_iter().flat_map(|worth| [Some((worth, false)), Some((worth, true))])).collect();
    let policies = [
        Policy { last: 1, ..Policy::default() },
        Policy { last: 3, maximum: Some(1), ..Policy::default() },
        Policy { weekly: 1, maximum: Some(2), ..Policy::default() },
        Policy { daily: 2, monthly: 1, ..Policy::default() },
    ];
    let days: Vec<Id> = (1..=5).map(|day| there("prod/db", &format!("2026-11-{day:02}T02:00:00Z"), day, Worth::Good).id).collect();
    for history in 0..choices.len().pow(5) {
        let mut rest = history;
        let mut all = Vec::new();
        for id in &days {
            let choice = choices[rest % choices.len()];
            rest /= choices.len();
            if let Some((worth, held)) = choice {
                all.push(There { id: id.clone(), worth, set: None, held: held.then(|| "yes".to_owned()) });
            }
        }
        let newest_good = all.iter().rev().find(|one| one.worth == Worth::Good);
        for policy in policies {
            let fates = decide(policy, &TimeZone::UTC, &all).unwrap();
            assert_eq!(fates.len(), all.len());
            let stays = |one: &There| matches!(fates[&one.id], Fate::Stays(_));
            assert!(newest_good.is_none_or(stays), "{all:?} under {policy:?}");
            for one in &all {
                assert!(one.held.is_none() || stays(one), "{one:?} of {all:?} under {policy:?}");
                assert!(one.worth != Worth::Unfinished || stays(one), "{one:?} of {all:?} under {policy:?}");
            }
            let asked_for = all.iter().filter(|one| one.worth == Worth::Good && one.held.is_none() && stays(one)).count();
            let maximum = policy.maximum.unwrap_or(u32::MAX) as usize;
            assert!(asked_for <= maximum.max(1), "{all:?} under {policy:?}");
        }
    }
}
