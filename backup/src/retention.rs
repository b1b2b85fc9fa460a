//! Which backups go, and why. Pure: it is told what there is, and answers for each one.
//!
//! What is never answered with "goes": the newest good one of a target, what is held, what is under way, what could not be
//! read, and what belongs to a set of which another one stays.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};
use serde::{Deserialize, Serialize};

use crate::name::{Id, Target};

/// What stays of each target. A zero asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// The newest ones.
    pub last: u32,
    /// The newest of each of the last days that have one.
    pub daily: u32,
    /// The same by weeks, which begin on Monday.
    pub weekly: u32,
    /// By months.
    pub monthly: u32,
    /// By years.
    pub yearly: u32,
    /// However many the others ask for, no more than these; the oldest go first.
    pub maximum: Option<u32>,
}

/// A policy that would keep nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing would be kept: say at least one of last, daily, weekly, monthly, yearly, and a maximum that is not 0")]
pub struct KeepsNothing;

/// What a backup is to retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// It counts.
    Good,
    /// It may be good, and does not count yet.
    Unconfirmed,
    /// It cannot be restored as it is.
    Damaged,
    /// The store does not let it be judged.
    Unread,
    /// It may be under way.
    Unfinished,
    /// It did not come to its end, and cannot any more.
    Dead,
    /// Its key was destroyed, so that nobody can open it.
    Erased,
}

/// A backup there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct There {
    /// Which.
    pub id: Id,
    /// What it is worth.
    pub worth: Worth,
    /// Those of one set stay together.
    pub set: Option<String>,
    /// Somebody wants it kept, and said why.
    pub held: Option<String>,
}

/// Why one stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stays {
    /// Without it there would be no good one of this target.
    NewestGood,
    /// Held, in the words of who holds it.
    Held(String),
    /// Among the newest, the how-manieth.
    Last(u32),
    /// The newest of its day, the how-manieth such day back.
    Daily(u32),
    /// Of its week.
    Weekly(u32),
    /// Of its month.
    Monthly(u32),
    /// Of its year.
    Yearly(u32),
    /// Another one of its set stays.
    Set(String),
    /// It may be under way.
    Unfinished,
    /// It may be good, and no newer one is.
    Unconfirmed,
    /// The store does not give what says what it is.
    Unread,
    /// It is damaged, and no newer one is good: what is left of it may be all there is.
    Damaged,
}

/// Why one goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Goes {
    /// No rule asks for it.
    NotAskedFor,
    /// Rules ask for it, and there are more than the maximum.
    OverMaximum(u32),
    /// It does not count, and a newer one does.
    NeverConfirmed,
    /// It is damaged, and a newer one is good.
    Damaged,
    /// It did not come to its end.
    Dead,
    /// It was erased: nobody can open it.
    Erased,
}

/// What becomes of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// It stays, for all these reasons.
    Stays(Vec<Stays>),
    /// It goes.
    Goes(Goes),
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stays::NewestGood => f.write_str("the newest good one"),
            Stays::Held(why) => write!(f, "held: {why}"),
            Stays::Last(nth) => write!(f, "last {nth}"),
            Stays::Daily(nth) => write!(f, "day {nth}"),
            Stays::Weekly(nth) => write!(f, "week {nth}"),
            Stays::Monthly(nth) => write!(f, "month {nth}"),
            Stays::Yearly(nth) => write!(f, "year {nth}"),
            Stays::Set(set) => write!(f, "belongs to set {set}, of which another one stays"),
            Stays::Unfinished => f.write_str("may be under way"),
            Stays::Unconfirmed => f.write_str("not confirmed, and no newer one is good"),
            Stays::Unread => f.write_str("it could not be read, and may be good"),
            Stays::Damaged => f.write_str("damaged, and no newer one is good"),
        }
    }
}

impl fmt::Display for Goes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goes::NotAskedFor => f.write_str("no rule keeps it"),
            Goes::OverMaximum(maximum) => write!(f, "there are more than {maximum}"),
            Goes::NeverConfirmed => f.write_str("never confirmed, and a newer one is good"),
            Goes::Damaged => f.write_str("damaged, and a newer one is good"),
            Goes::Dead => f.write_str("did not come to its end"),
            Goes::Erased => f.write_str("erased: nobody can open it"),
        }
    }
}

impl Policy {
    /// Does it keep anything at all?
    ///
    /// # Errors
    /// When it does not.
    pub fn checked(self) -> Result<Policy, KeepsNothing> {
        let none = [self.last, self.daily, self.weekly, self.monthly, self.yearly].iter().all(|count| *count == 0);
        if none || self.maximum == Some(0) { Err(KeepsNothing) } else { Ok(self) }
    }
}

/// What becomes of each. Days, weeks, months and years are those of the zone. Names decide nothing but the order of those of
/// one second.
///
/// # Errors
/// When the policy keeps nothing.
pub fn decide(policy: Policy, zone: &TimeZone, there: &[There]) -> Result<BTreeMap<Id, Fate>, KeepsNothing> {
    let policy = policy.checked()?;
    let mut targets: BTreeMap<&Target, Vec<&There>> = BTreeMap::new();
    for one in there {
        targets.entry(&one.id.target).or_default().push(one);
    }
    let mut fates = BTreeMap::new();
    for of_target in targets.values_mut() {
        // Newest first.
        of_target.sort_by_key(|one| Reverse((one.id.time, one.id.token)));
        fates.extend(of_one_target(policy, zone, of_target));
    }
    keep_sets_whole(there, &mut fates);
    Ok(fates)
}

fn of_one_target(policy: Policy, zone: &TimeZone, newest_first: &[&There]) -> BTreeMap<Id, Fate> {
    let good: Vec<&There> = newest_first.iter().copied().filter(|one| one.worth == Worth::Good).collect();
    let newest_good = good.first().map(|one| &one.id);
    let mut stays: BTreeMap<&Id, Vec<Stays>> = BTreeMap::new();
    let mut rule = |count: u32, period: &dyn Fn(&Zoned) -> Option<Date>, why: &dyn Fn(u32) -> Stays| {
        let (mut kept, mut last) = (0, None);
        for one in &good {
            let this = period(&one.id.time.to_zoned(zone.clone()));
            if kept == count || (this.is_some() && this == last) {
                continue;
            }
            (kept, last) = (kept + 1, this);
            stays.entry(&one.id).or_default().push(why(kept));
        }
    };
    rule(policy.last, &|_| None, &Stays::Last);
    rule(policy.daily, &|at| Some(at.date()), &Stays::Daily);
    // A period is told by its first day.
    rule(policy.weekly, &|at| at.date().checked_sub(i64::from(at.weekday().to_monday_zero_offset()).days()).ok(), &Stays::Weekly);
    rule(policy.monthly, &|at| Some(at.date().first_of_month()), &Stays::Monthly);
    rule(policy.yearly, &|at| Some(at.date().first_of_year()), &Stays::Yearly);
    let maximum = policy.maximum.map_or(usize::MAX, |maximum| usize::try_from(maximum).unwrap_or(usize::MAX));
    let mut asked_for = 0;
    let mut fate = |one: &There| {
        let mut reasons = Vec::new();
        if newest_good == Some(&one.id) {
            reasons.push(Stays::NewestGood);
        }
        reasons.extend(one.held.clone().map(Stays::Held));
        let newer_is_good = newest_good.is_some_and(|newest| (newest.time, newest.token) > (one.id.time, one.id.token));
        let mut goes = match one.worth {
            Worth::Good => Goes::NotAskedFor,
            Worth::Unconfirmed => Goes::NeverConfirmed,
            Worth::Damaged => Goes::Damaged,
            Worth::Unread | Worth::Unfinished | Worth::Dead => Goes::Dead,
            Worth::Erased => Goes::Erased,
        };
        match one.worth {
            Worth::Good => {
                if let Some(rules) = stays.remove(&one.id) {
                    asked_for += 1;
                    if asked_for <= maximum { reasons.extend(rules) } else { goes = Goes::OverMaximum(policy.maximum.unwrap_or_default()) }
                }
            }
            Worth::Unconfirmed if !newer_is_good => reasons.push(Stays::Unconfirmed),
            Worth::Damaged if !newer_is_good => reasons.push(Stays::Damaged),
            Worth::Unread => reasons.push(Stays::Unread),
            Worth::Unfinished => reasons.push(Stays::Unfinished),
            Worth::Unconfirmed | Worth::Damaged | Worth::Dead | Worth::Erased => {}
        }
        if reasons.is_empty() { Fate::Goes(goes) } else { Fate::Stays(reasons) }
    };
    newest_first.iter().map(|one| (one.id.clone(), fate(one))).collect()
}

/// What belongs together stays together: a database without the files that its rows name restores to something that never was.
fn keep_sets_whole(there: &[There], fates: &mut BTreeMap<Id, Fate>) {
    let stays = |fates: &BTreeMap<Id, Fate>, one: &There| matches!(fates.get(&one.id), Some(Fate::Stays(_)));
    // A mesh that was recovered may give out the names of its runs anew.
    let named = |one: &'_ There| Some((one.set.clone()?, one.id.token.incarnation));
    let staying: BTreeSet<(String, u64)> = there.iter().filter(|one| stays(fates, one)).filter_map(named).collect();
    // A step that was tried again has left one that does not count beside the one that does.
    let good = there.iter().filter(|one| one.worth == Worth::Good);
    let complete: BTreeSet<((String, u64), &Target)> = good.filter_map(|one| Some((named(one)?, &one.id.target))).collect();
    for one in there {
        let Some(set) = named(one).filter(|set| staying.contains(set)) else { continue };
        let is_needed = one.worth == Worth::Good || !complete.contains(&(set.clone(), &one.id.target));
        // What never came to its end, or cannot be opened, is of no use to its set.
        if is_needed && !stays(fates, one) && !matches!(one.worth, Worth::Dead | Worth::Erased) {
            fates.insert(one.id.clone(), Fate::Stays(vec![Stays::Set(set.0)]));
        }
    }
}

#[cfg(test)]
mod tests;
