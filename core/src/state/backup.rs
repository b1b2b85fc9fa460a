//! The catalogue of backups: which there are of each target, what came of the last look and of the last drill, what is held.
//!
//! ```text
//!  a writer has the manifest in the store ─▶ Made, under the token of the lease ─▶ its receipt is signed ─▶ Confirmed
//!  a check has listed and read a store ────▶ Found: what is there is known, what was and is not any more is missing
//!  retention removes ──────────────────────▶ Removed          a drill has ended ─▶ Drilled
//!  a person destroys the target's key ─────▶ erased: nothing of it counts any more
//! ```
//! A store says all of it by itself, so that a catalogue that is lost is filled again by the next check. What a person holds
//! is in here only.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::lease::ATTEMPT;
use super::{State, When};
use crate::backup::{BackupId, BackupName, BackupNote, BackupTarget, Drill, ListedBackup};
use crate::bounds;
use crate::catalogue;
use crate::id::{AttemptId, ConnectionName, LedgerId, Target};
use crate::reply::{Refusal, Reply};
use crate::report::Verdict;
use crate::time::{Millis, WallTime};

/// From this level on all members have it.
pub const CATALOGUES: u32 = 5;

/// Bytes that a backup, and a target besides, weigh in the state, near enough.
const BACKUP_WEIGHT: u64 = 320;
const TARGET_WEIGHT: u64 = 256;

/// What is known of the backups of one target.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetBackups {
    /// The newest ones, and those that are held.
    pub backups: OrdMap<BackupName, Backup>,
    /// The last rehearsed restore.
    pub drill: Option<Drilled>,
    /// Grows whenever some are removed: who has looked at a store before that does not know of it.
    pub removals: u64,
    /// When somebody said something of it last.
    pub noted: WallTime,
}

/// One that came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// When it was begun by the clock of whoever wrote it, and no later than when it was first told of.
    pub begun: WallTime,
    /// Connection of kind store of the agent that told of it.
    pub store: ConnectionName,
    pub stored_bytes: u64,
    /// SHA-256 of its manifest.
    pub checksum: String,
    /// Whether it was signed that it counts. What was signed once stays so for as long as the checksum is the same.
    pub counts: bool,
    /// When it was read last, and what came of it.
    pub read: Option<Read>,
    /// Whoever wants it kept.
    pub hold: Option<Hold>,
    /// Since when it has been missed in the store.
    pub missing: Option<WallTime>,
    /// Who had the key destroyed that opened it. It is never taken back.
    #[serde(default)]
    pub erased: Option<Erasure>,
}

/// That the key of a target was destroyed, or is being.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    pub by: String,
    pub at: WallTime,
}

/// That a backup was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    pub at: WallTime,
    pub verdict: Verdict,
}

/// Somebody's word that retention is not to remove a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub by: String,
    pub at: WallTime,
    pub reason: String,
}

/// A drill, and when its end was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drilled {
    pub at: WallTime,
    pub drill: Drill,
}

impl Backup {
    /// Whether it is one to restore from, as far as anybody has seen.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.counts && self.missing.is_none() && self.erased.is_none() && self.read.is_none_or(|read| !read.verdict.is_bad())
    }
}

impl TargetBackups {
    /// The newest one to restore from.
    #[must_use]
    pub fn newest_good(&self) -> Option<(&BackupName, &Backup)> {
        self.backups.iter().rev().find(|(_, backup)| backup.is_good())
    }

    /// Bytes that it adds to [`State::weight`].
    #[must_use]
    pub(crate) fn weight(&self) -> u64 {
        let held: usize = self.backups.values().filter_map(|backup| backup.hold.as_ref()).map(|hold| hold.by.len() + hold.reason.len()).sum();
        let erased: usize = self.backups.values().filter_map(|backup| backup.erased.as_ref()).map(|erasure| erasure.by.len()).sum();
        TARGET_WEIGHT + self.backups.len() as u64 * BACKUP_WEIGHT + (held + erased) as u64
    }

    /// Takes in one. Who has looked before it was signed does not take back that it counts: that stays with its checksum.
    fn take(&mut self, store: &ConnectionName, listed: &ListedBackup, when: When) {
        let before = self.backups.get(&listed.name);
        // A writer's clock may be ahead: nothing is younger than the word of it.
        let begun = listed.begun.min(when.wall);
        let backup = Backup {
            begun: before.map_or(begun, |before| before.begun.min(begun)),
            store: store.clone(),
            stored_bytes: listed.stored_bytes,
            checksum: if listed.checksum.is_empty() {
                before.map(|before| before.checksum.clone()).unwrap_or_default()
            } else {
                listed.checksum.clone()
            },
            counts: listed.counts || before.is_some_and(|before| before.counts && before.checksum == listed.checksum),
            read: listed.read.map(|verdict| Read { at: when.wall, verdict }).or_else(|| before.and_then(|before| before.read)),
            hold: before.and_then(|before| before.hold.clone()),
            missing: None,
            erased: before.and_then(|before| before.erased.clone()),
        };
        self.backups.insert(listed.name.clone(), backup);
    }

    /// Takes in what a store has. What has been missed for long is not named any more, unless somebody holds it.
    fn found(&mut self, store: &ConnectionName, backups: &[ListedBackup], missing: &[BackupName], when: When) {
        backups.iter().for_each(|listed| self.take(store, listed, when));
        for name in missing {
            if let Some(backup) = self.backups.get_mut(name).filter(|backup| backup.store == *store) {
                backup.missing.get_or_insert(when.wall);
            }
        }
        let is_long = |since: WallTime| since.0.saturating_add_unsigned(bounds::BACKUP_MISSED.0) < when.wall.0;
        // What a person holds is in here only: it is there again when the store is.
        let is_over = |backup: &Backup| backup.hold.is_none() && backup.missing.is_some_and(is_long);
        let over: Vec<BackupName> = self.backups.iter().filter(|(_, backup)| is_over(backup)).map(|(name, _)| name.clone()).collect();
        over.iter().for_each(|name| drop(self.backups.remove(name)));
    }

    /// The oldest go that nobody holds.
    fn keep_to_bounds(&mut self) {
        let over = self.backups.len().saturating_sub(bounds::TARGET_BACKUPS);
        let go: Vec<BackupName> = self.backups.iter().filter(|(_, backup)| backup.hold.is_none()).map(|(name, _)| name.clone()).take(over).collect();
        go.iter().for_each(|name| drop(self.backups.remove(name)));
    }
}

impl State {
    pub(super) fn note_backups(&mut self, id: AttemptId, ledger: &LedgerId, target: &BackupTarget, note: &BackupNote, when: When) -> Reply {
        if let Err(problem) = note.check() {
            return Reply::Refused(Refusal::Invalid(problem.to_string()));
        }
        let Some(attempt) = self.attempts.get(&id) else { return Reply::Stale(format!("there is no attempt {id}")) };
        if attempt.ledger != *ledger {
            return Reply::Stale(format!("attempt {id} belongs to another ledger"));
        }
        if !attempt.is_open() {
            return Reply::Stale(format!("attempt {id} is no longer open"));
        }
        let is_of_its_own = match &attempt.target {
            Target::Connection(name) => *name == target.connection,
            _ => true,
        };
        let kind = self.runs.get(&attempt.run).and_then(|run| run.kind_of(&attempt.step, attempt.direction));
        if attempt.agent.cluster != target.cluster || !is_of_its_own || !kind.is_some_and(catalogue::is_about_backups) {
            return Reply::Refused(Refusal::Conflict(format!("attempt {id} has nothing to do with the backups of {target}")));
        }
        if let Some(why) = self.is_overtaken(id, target, note) {
            return Reply::Stale(why);
        }
        let mut known = self.backups.get(target).map(|known| TargetBackups::clone(known)).unwrap_or_default();
        if let BackupNote::Found { removals, .. } = note
            && *removals != known.removals
        {
            return Reply::Stale(format!("backups of {target} were removed since the look"));
        }
        match note {
            BackupNote::Made { store, backup } => {
                // That it counts is said by itself, when it is signed.
                known.take(store, &ListedBackup { counts: false, ..backup.clone() }, when);
            }
            BackupNote::Confirmed { backup } => match known.backups.get_mut(backup) {
                Some(backup) => backup.counts = true,
                None => return Reply::Stale(format!("the catalogue has no backup {target}/{backup}")),
            },
            BackupNote::Found { store, backups, missing, .. } => known.found(store, backups, missing, when),
            BackupNote::Removed { backups } => {
                if let Some(held) = backups.iter().find(|name| known.backups.get(*name).is_some_and(|backup| backup.hold.is_some())) {
                    return Reply::Refused(Refusal::Conflict(format!("backup {target}/{held} is held: it is not removed")));
                }
                backups.iter().for_each(|name| drop(known.backups.remove(name)));
                known.removals += 1;
            }
            BackupNote::Drilled { drill } => known.drill = Some(Drilled { at: when.wall, drill: drill.clone() }),
        }
        known.keep_to_bounds();
        known.noted = when.wall;
        if let Some(refusal) = self.too_much(target, note, &known) {
            return Reply::Refused(refusal);
        }
        if !self.has_room_for(target, when) {
            return Reply::Refused(Refusal::Bound { what: "targets of backups".into(), limit: bounds::BACKUP_TARGETS as u64 });
        }
        self.put_backups(target, known);
        Reply::Done
    }

    /// Why what an attempt says of a target comes too late: it does not hold the lease any more under which it was at it, so
    /// that somebody else may write there by now.
    fn is_overtaken(&self, id: AttemptId, target: &BackupTarget, note: &BackupNote) -> Option<String> {
        if !note.is_fenced() {
            return None;
        }
        let name = target.lease();
        let Some(held) = self.leases.get(&name).and_then(|lease| lease.held.front()) else { return Some(format!("nobody holds the lease {name}")) };
        if held.holder.attributes.get(ATTEMPT) != Some(&id.to_string()) {
            return Some(format!("attempt {id} does not hold the lease {name} any more: {} does, under token {}", held.holder, held.token));
        }
        let token = match note {
            BackupNote::Made { backup, .. } => backup.name.token,
            BackupNote::Confirmed { backup } => backup.token,
            _ => return None,
        };
        (token != held.token).then(|| format!("a backup of token {token} comes too late: the lease {name} is held under token {}", held.token))
    }

    /// What was seen is not noted in a state that is full, where it takes more room than what was known. What a writer says is:
    /// its backup is not to be lost for that, and it is one of a bounded number.
    fn too_much(&self, target: &BackupTarget, note: &BackupNote, known: &TargetBackups) -> Option<Refusal> {
        let before = self.backups.get(target).map_or(0, |before| before.weight());
        if note.is_fenced() || known.weight() <= before { None } else { self.full() }
    }

    /// Whether a target can be known besides the others; the one that has been silent for longest gives way.
    fn has_room_for(&mut self, target: &BackupTarget, when: When) -> bool {
        if self.backups.contains_key(target) || self.backups.len() < bounds::BACKUP_TARGETS {
            return true;
        }
        let is_idle = |known: &TargetBackups| known.noted.0.saturating_add_unsigned(bounds::BACKUP_TARGET_IDLE.0) < when.wall.0;
        let is_held = |known: &TargetBackups| known.backups.values().any(|backup| backup.hold.is_some());
        let idle = self.backups.iter().filter(|(_, known)| is_idle(known) && !is_held(known)).min_by_key(|(_, known)| known.noted);
        let Some((idle, weight)) = idle.map(|(target, known)| (target.clone(), known.weight())) else { return false };
        self.backups.remove(&idle);
        self.weight = self.weight.saturating_sub(weight);
        true
    }

    fn put_backups(&mut self, target: &BackupTarget, known: TargetBackups) {
        let before = self.backups.get(target).map_or(0, |before| before.weight());
        self.weight = (self.weight + known.weight()).saturating_sub(before);
        self.backups.insert(target.clone(), Arc::new(known));
    }

    /// `reason`: why it is held; nothing where it is not held any more.
    pub(super) fn hold_backup(&mut self, id: &BackupId, reason: Option<&str>, by: String, when: When) -> Reply {
        if reason.is_some_and(|reason| reason.len() > bounds::REASON_BYTES) {
            return Reply::Refused(Refusal::Invalid(format!("a reason has at most {} bytes", bounds::REASON_BYTES)));
        }
        let missing =
            || Reply::Refused(Refusal::NotFound { what: format!("backup {id} in the catalogue"), hint: "see `mainstay backup list`".into() });
        let Some(known) = self.backups.get(&id.target) else { return missing() };
        let Some(backup) = known.backups.get(&id.name) else { return missing() };
        let held = known.backups.values().filter(|backup| backup.hold.is_some()).count();
        if reason.is_some() && backup.hold.is_none() && held >= bounds::BACKUPS_HELD {
            return Reply::Refused(Refusal::Bound { what: format!("held backups of {}", id.target), limit: bounds::BACKUPS_HELD as u64 });
        }
        let mut known = TargetBackups::clone(known);
        if let Some(backup) = known.backups.get_mut(&id.name) {
            backup.hold = reason.map(|reason| Hold { by, at: when.wall, reason: reason.to_owned() });
        }
        self.put_backups(&id.target, known);
        Reply::Done
    }
}

impl State {
    /// The key of a target is about to be destroyed: nothing that is known of it counts any more. What somebody holds is not
    /// erased, nor what somebody is at, who would make another one of what is to be gone.
    pub(super) fn erase_backups(&mut self, target: &BackupTarget, by: &str, when: When) -> Reply {
        let known = self.backups.get(target);
        let held = known.and_then(|known| known.backups.iter().find_map(|(name, backup)| Some((name, backup.hold.as_ref()?))));
        if let Some((name, hold)) = held {
            let words = format!("backup {target}/{name} is held by {}: if it may go,  mainstay backup hold {target}/{name} --off", hold.by);
            return Reply::Refused(Refusal::Conflict(words));
        }
        let lease = target.lease();
        if let Some(at_it) = self.leases.get(&lease).and_then(|lease| lease.held.front()) {
            let words = format!("{} holds the lease {lease}, and makes or removes backups there: say it again when that has ended", at_it.holder);
            return Reply::Refused(Refusal::Conflict(words));
        }
        let Some(mut known) = known.map(|known| TargetBackups::clone(known)) else { return Reply::Done };
        // What was proven of it says nothing of what comes next.
        known.drill = None;
        let names: Vec<BackupName> = known.backups.keys().cloned().collect();
        for name in names {
            if let Some(backup) = known.backups.get_mut(&name) {
                backup.erased.get_or_insert_with(|| Erasure { by: by.to_owned(), at: when.wall });
            }
        }
        self.put_backups(target, known);
        Reply::Done
    }
}

/// How long ago something was, by a wall clock that may have gone back.
#[must_use]
pub fn age(of: WallTime, now: WallTime) -> Millis {
    Millis(u64::try_from(now.0.saturating_sub(of.0)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::time::MeshTime;

    const DAY: i64 = 86_400_000;

    fn when(days: i64) -> When {
        When { at: MeshTime(0), wall: WallTime(days * DAY) }
    }

    fn listed(counter: usize) -> ListedBackup {
        let name = format!("20261130T020000Z-1.{counter}").parse().unwrap();
        ListedBackup { name, begun: WallTime(0), stored_bytes: 1, checksum: "ab".repeat(32), counts: true, read: None }
    }

    fn known(counters: std::ops::RangeInclusive<usize>) -> TargetBackups {
        let mut known = TargetBackups::default();
        known.found(&"backups".parse().unwrap(), &counters.map(listed).collect::<Vec<_>>(), &[], when(1));
        known
    }

    #[test]
    fn the_oldest_go_that_nobody_holds() {
        let mut known = known(1..=bounds::TARGET_BACKUPS + 2);
        let hold = Hold { by: "operator/ana".into(), at: WallTime(0), reason: String::new() };
        known.backups.get_mut(&listed(1).name).unwrap().hold = Some(hold);
        known.keep_to_bounds();
        let counters: Vec<u64> = known.backups.keys().map(|name| name.token.0.counter).collect();
        assert_eq!(counters.len(), bounds::TARGET_BACKUPS);
        assert_eq!((counters[0], counters[1]), (1, 4), "2 and 3 are the oldest of which nobody has said anything");
    }

    #[test]
    fn what_was_read_once_is_known_until_it_is_read_again() {
        let mut known = known(1..=1);
        let store = "backups".parse().unwrap();
        let tell = |known: &mut TargetBackups, read, days| known.found(&store, &[ListedBackup { read, ..listed(1) }], &[], when(days));
        tell(&mut known, Some(Verdict::Critical), 2);
        tell(&mut known, None, 3);
        assert_eq!(
            (known.backups[&listed(1).name].read, known.newest_good()),
            (Some(Read { at: WallTime(2 * DAY), verdict: Verdict::Critical }), None)
        );
        tell(&mut known, Some(Verdict::Ok), 4);
        assert!(known.newest_good().is_some());
    }

    #[test]
    fn a_look_from_before_it_was_signed_takes_nothing_back() {
        let mut known = known(1..=1);
        let (name, store) = (listed(1).name, "backups".parse().unwrap());
        let unsigned = || ListedBackup { counts: false, ..listed(1) };
        for (told, counts) in [
            (unsigned(), true),
            // Another manifest was never signed.
            (ListedBackup { checksum: "cd".repeat(32), ..unsigned() }, false),
            (unsigned(), false),
            (listed(1), true),
        ] {
            known.found(&store, std::slice::from_ref(&told), &[], when(2));
            assert_eq!(known.backups[&name].counts, counts, "{told:?}");
        }
    }

    #[test]
    fn a_clock_that_is_ahead_makes_nothing_younger() {
        let (mut known, store) = (TargetBackups::default(), "backups".parse().unwrap());
        for (told, days, is) in [(30, 2, 2), (30, 3, 2), (1, 4, 1), (2, 5, 1)] {
            known.found(&store, &[ListedBackup { begun: WallTime(told * DAY), ..listed(1) }], &[], when(days));
            assert_eq!(known.backups[&listed(1).name].begun, WallTime(is * DAY), "told {told} on day {days}");
        }
    }

    #[test]
    fn what_is_missing_is_told_of_its_store_only_and_comes_back() {
        let mut known = known(1..=1);
        let (name, store) = (listed(1).name, "backups".parse().unwrap());
        known.found(&"elsewhere".parse().unwrap(), &[], std::slice::from_ref(&name), when(2));
        assert_eq!(known.backups[&name].missing, None);
        known.found(&store, &[], std::slice::from_ref(&name), when(2));
        known.found(&store, &[], std::slice::from_ref(&name), when(3));
        assert_eq!((known.backups[&name].missing, known.newest_good()), (Some(WallTime(2 * DAY)), None), "since it was missed first");
        known.found(&store, &[listed(1)], &[], when(4));
        assert!(known.newest_good().is_some());
        known.found(&store, &[], std::slice::from_ref(&name), when(5));
        known.found(&store, &[], std::slice::from_ref(&name), when(13));
        assert!(known.backups.is_empty(), "after a week nobody is told any more");
    }

    #[test]
    fn what_is_held_stays_held_however_long_it_is_missed() {
        let mut known = known(1..=2);
        let (held, other, store) = (listed(1).name, listed(2).name, "backups".parse().unwrap());
        let hold = Hold { by: "operator/ana".into(), at: WallTime(0), reason: "the audit".into() };
        known.backups.get_mut(&held).unwrap().hold = Some(hold.clone());
        let both = [held.clone(), other.clone()];
        known.found(&store, &[], &both, when(2));
        known.found(&store, &[], &both, when(10));
        assert_eq!((known.backups[&held].missing, known.backups.get(&other)), (Some(WallTime(2 * DAY)), None));
        known.found(&store, &[listed(1), listed(2)], &[], when(11));
        assert_eq!((known.backups[&held].missing, known.backups[&held].hold.clone()), (None, Some(hold)));
        assert_eq!(known.backups[&other].hold, None);
    }

    #[test]
    fn a_target_that_nobody_speaks_of_gives_way_and_one_that_is_held_does_not() {
        let target = |number: usize| -> BackupTarget { format!("prod/db-{number}").parse().unwrap() };
        let mut state = State::default();
        for number in 0..bounds::BACKUP_TARGETS {
            let noted = if number < 2 { WallTime(number as i64) } else { WallTime(100 * DAY) };
            state.put_backups(&target(number), TargetBackups { noted, ..known(1..=1) });
        }
        let reply = state.hold_backup(&BackupId { target: target(0), name: listed(1).name }, Some("the audit"), "operator/ana".into(), when(1));
        assert_eq!(reply, Reply::Done);
        let new = target(bounds::BACKUP_TARGETS);
        assert!(!state.has_room_for(&new, when(90)) && state.has_room_for(&target(7), when(90)));
        assert!(state.has_room_for(&new, when(91)));
        assert!(state.backups.contains_key(&target(0)) && !state.backups.contains_key(&target(1)));
        let weight: u64 = state.backups.values().map(|known| known.weight()).sum();
        assert_eq!(state.weight, weight);
    }

    #[test]
    fn what_is_erased_counts_no_more_and_stays_erased_whatever_is_found() {
        let target: BackupTarget = "prod/db".parse().unwrap();
        let mut state = State::default();
        assert_eq!(state.erase_backups(&target, "operator/ana", when(1)), Reply::Done, "there may be some that only a store knows");
        assert!(state.backups.is_empty());
        state.put_backups(&target, known(1..=2));
        let held = BackupId { target: target.clone(), name: listed(1).name };
        state.hold_backup(&held, Some("the audit"), "operator/bob".into(), when(1));
        let Reply::Refused(Refusal::Conflict(words)) = state.erase_backups(&target, "operator/ana", when(2)) else { panic!("one is held") };
        assert!(words.contains("held by operator/bob") && words.contains("--off"), "{words}");
        state.hold_backup(&held, None, "operator/bob".into(), when(2));
        assert!(state.backups[&target].newest_good().is_some());
        assert_eq!(state.erase_backups(&target, "operator/ana", when(3)), Reply::Done);
        let erasure = Some(Erasure { by: "operator/ana".into(), at: WallTime(3 * DAY) });
        assert!(state.backups[&target].backups.values().all(|backup| backup.erased == erasure));
        assert_eq!(state.backups[&target].newest_good(), None);
        assert_eq!(state.erase_backups(&target, "operator/bob", when(4)), Reply::Done, "again");
        // Who had looked before, and a store of which not everything was erased yet.
        let mut known = TargetBackups::clone(&state.backups[&target]);
        known.found(&"backups".parse().unwrap(), &[listed(2), listed(3)], &[], when(5));
        assert_eq!(known.backups[&listed(2).name].erased, erasure, "who did it first");
        assert_eq!(known.newest_good().map(|(name, _)| name), Some(&listed(3).name), "what is made afterwards has another key");
        assert_eq!(state.weight, state.backups[&target].weight());
    }

    #[test]
    fn nothing_is_erased_while_somebody_is_at_it() {
        use std::collections::BTreeMap;

        use crate::state::lease::{Held, Holder, Lease, LeaseSpec};
        let target: BackupTarget = "prod/db".parse().unwrap();
        let mut state = State::default();
        state.put_backups(&target, known(1..=1));
        let identity = "cluster/prod/node/n1".parse().unwrap();
        let holder = Holder { identity, incarnation: "1234567890".into(), attributes: BTreeMap::new(), takes_over: false };
        let held = Held { token: "1.7".parse().unwrap(), holder, at: MeshTime(0), since: WallTime(0) };
        let lease = Lease { spec: LeaseSpec::default(), held: [Arc::new(held)].into(), waiting: [].into(), idle_since: MeshTime(0) };
        state.leases.insert(target.lease(), Arc::new(lease));
        let Reply::Refused(Refusal::Conflict(words)) = state.erase_backups(&target, "operator/ana", when(1)) else { panic!("it is held") };
        assert!(words.contains("holds the lease backup/prod/db"), "{words}");
        assert!(state.backups[&target].newest_good().is_some());
    }

    #[test]
    fn no_more_are_held_than_there_is_room_for() {
        let target: BackupTarget = "prod/db".parse().unwrap();
        let mut state = State::default();
        state.put_backups(&target, known(1..=bounds::BACKUPS_HELD + 1));
        let mut hold = |counter: usize, reason: Option<&str>| {
            let id = BackupId { target: target.clone(), name: listed(counter).name };
            state.hold_backup(&id, reason, "operator/ana".into(), when(1))
        };
        for counter in 1..=bounds::BACKUPS_HELD {
            assert_eq!(hold(counter, Some("")), Reply::Done);
        }
        assert!(matches!(hold(bounds::BACKUPS_HELD + 1, Some("")), Reply::Refused(Refusal::Bound { .. })));
        assert_eq!(hold(1, Some("again, for another reason")), Reply::Done);
        assert_eq!((hold(1, None), hold(bounds::BACKUPS_HELD + 1, Some(""))), (Reply::Done, Reply::Done));
    }

    #[test]
    fn a_state_that_is_full_takes_what_a_writer_says_and_what_needs_no_room() {
        let target: BackupTarget = "prod/db".parse().unwrap();
        let mut state = State::default();
        state.put_backups(&target, known(1..=2));
        let store: ConnectionName = "backups".parse().unwrap();
        let found = BackupNote::Found { store: store.clone(), backups: Vec::new(), missing: Vec::new(), removals: 0 };
        let made = BackupNote::Made { store, backup: listed(3) };
        let hold = |reason: Option<&str>| Command::HoldBackup {
            backup: BackupId { target: target.clone(), name: listed(1).name },
            reason: reason.map(str::to_owned),
        };
        for (weight, is_full) in [(bounds::STATE_BYTES as u64 - 1, false), (bounds::STATE_BYTES as u64, true)] {
            state.weight = weight;
            assert_eq!(state.too_much(&target, &found, &known(1..=3)).is_some(), is_full);
            assert_eq!(state.too_heavy(&hold(Some("the audit"))).is_some(), is_full);
            assert_eq!(state.too_much(&target, &found, &known(1..=2)), None);
            assert_eq!(state.too_much(&target, &made, &known(1..=3)), None);
            assert_eq!(state.too_heavy(&hold(None)), None);
        }
    }

    #[test]
    fn older_members_do_not_get_it_into_their_log() {
        let hold = Command::HoldBackup { backup: "prod/db/20261130T020000Z-1.1".parse().unwrap(), reason: None };
        let refused = State { feature_level: CATALOGUES - 1, ..State::default() }.too_early(&hold);
        assert!(matches!(refused, Some(Refusal::Unsupported(_))));
        assert_eq!(State { feature_level: CATALOGUES, ..State::default() }.too_early(&hold), None);
        let erase = Command::EraseBackups { target: "prod/db".parse().unwrap() };
        assert!(State { feature_level: CATALOGUES - 1, ..State::default() }.too_early(&erase).is_some());
    }
}
