//! Sets: backups that were made together, so that they are restored together.
//!
//! One backup is as of one time, or nearly so. Those of a set are not as of the same: a set states its span, from the earliest
//! to the latest, within which whatever is restored from it may disagree.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{Judged, Standing};
use crate::manifest::Taken;
use crate::name::Target;

/// The good backups of one set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Set<'j> {
    /// What they carry.
    pub name: &'j str,
    /// Of each target the newest, in the order of targets.
    #[serde(serialize_with = "names")]
    pub backups: Vec<&'j Judged>,
    /// From the earliest to the latest of them.
    pub span: Taken,
}

fn names<S: serde::Serializer>(backups: &[&Judged], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(backups.iter().map(|judged| &judged.id))
}

impl Set<'_> {
    /// Whether each of these targets has a good backup in it.
    #[must_use]
    pub fn has_all(&self, targets: &[Target]) -> bool {
        targets.iter().all(|target| self.backups.iter().any(|judged| judged.id.target == *target))
    }

    /// How long it was between the earliest and the latest.
    #[must_use]
    pub fn span_ms(&self) -> u64 {
        u64::try_from(self.span.to.duration_since(self.span.from).as_millis()).unwrap_or_default()
    }
}

/// Every set that has good backups, the oldest first: by the end of its span. What is not good is not in it.
#[must_use]
pub fn sets(judged: &[Judged]) -> Vec<Set<'_>> {
    // A mesh that was recovered may give out the same names again: what was made before is not of the same set.
    let mut by_name: BTreeMap<(&str, u64), BTreeMap<&Target, &Judged>> = BTreeMap::new();
    for (one, set) in judged.iter().filter_map(|one| Some((one, of(one)?))) {
        let newest = by_name.entry((set, one.id.token.incarnation)).or_default().entry(&one.id.target).or_insert(one);
        // A step that was tried again may have made two.
        if (newest.id.time, newest.id.token) < (one.id.time, one.id.token) {
            *newest = one;
        }
    }
    let mut all: Vec<Set<'_>> = by_name.into_iter().filter_map(|((name, _), backups)| spanned(name, backups.into_values().collect())).collect();
    all.sort_by(|one, other| (one.span.to, one.name).cmp(&(other.span.to, other.name)));
    all
}

/// The set of a backup that counts.
fn of(judged: &Judged) -> Option<&str> {
    judged.manifest.as_ref().filter(|_| judged.standing == Standing::Good)?.set.as_deref()
}

fn spanned<'j>(name: &'j str, backups: Vec<&'j Judged>) -> Option<Set<'j>> {
    let taken = || backups.iter().filter_map(|judged| Some(judged.manifest.as_ref()?.taken()));
    let span = Taken { from: taken().map(|taken| taken.from).min()?, to: taken().map(|taken| taken.to).max()? };
    Some(Set { name, backups, span })
}

/// The newest set of which each of these targets has a good backup; where an instant is named, the newest of which nothing
/// is as of later. Nothing without targets: no set has all of nothing.
#[must_use]
pub fn newest_good_set<'j>(judged: &'j [Judged], targets: &[Target], at: Option<Timestamp>) -> Option<Set<'j>> {
    if targets.is_empty() {
        return None;
    }
    // Of other targets in the set nothing is restored, so they are not in its span.
    let wanted = |set: Set<'j>| {
        let of_targets = set.backups.into_iter().filter(|judged| targets.contains(&judged.id.target)).collect();
        spanned(set.name, of_targets)
    };
    let complete = sets(judged).into_iter().filter(|set| set.has_all(targets)).filter_map(wanted);
    complete.filter(|set| at.is_none_or(|at| set.span.to <= at)).max_by(|one, other| (one.span.to, one.name).cmp(&(other.span.to, other.name)))
}

/// The good backup of a target in a set.
#[must_use]
pub fn good_of_set<'j>(judged: &'j [Judged], target: &Target, set: &str) -> Option<&'j Judged> {
    let fitting = judged.iter().filter(|one| one.id.target == *target && of(one) == Some(set));
    fitting.max_by_key(|one| (one.id.time, one.id.token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Manifest, OfSource};

    fn at(text: &str) -> Timestamp {
        format!("2026-11-30T{text}Z").parse().unwrap()
    }

    /// Of a target, as of then, in a set.
    fn made(name: &str, from: &str, to: &str, set: Option<&str>, standing: Standing) -> Judged {
        let id: crate::name::Id = format!("prod/{name}").parse().unwrap();
        let manifest = Manifest {
            backup: id.clone(),
            writer: "w".to_owned(),
            set: set.map(str::to_owned),
            source: OfSource { kind: "files".to_owned(), versions: BTreeMap::new(), counted: BTreeMap::new() },
            parts: Vec::new(),
            key: None,
            recipients: Vec::new(),
            took_ms: 5_000,
            taken: Some(Taken { from: at(from), to: at(to) }),
        };
        Judged { id, standing, manifest: Some(manifest), digest: None, stored_bytes: 1 }
    }

    fn targets(names: &[&str]) -> Vec<Target> {
        names.iter().map(|name| format!("prod/{name}").parse().unwrap()).collect()
    }

    /// Two nights; of the second the cache did not come off, and of a third run only the database was made.
    fn nights() -> Vec<Judged> {
        let unconfirmed = || Standing::Unconfirmed { why: "it has no receipt".to_owned() };
        vec![
            made("cache/20261130T010010Z-1.2", "01:00:11", "01:00:12", Some("night-1"), Standing::Good),
            made("cache/20261130T020010Z-1.5", "02:00:11", "02:00:12", Some("night-2"), unconfirmed()),
            made("cache/20261130T023000Z-1.9", "02:30:00", "02:30:01", None, Standing::Good),
            made("db/20261130T010000Z-1.1", "01:00:01", "01:00:02", Some("night-1"), Standing::Good),
            made("db/20261130T010100Z-1.3", "01:01:01", "01:01:02", Some("night-1"), Standing::Good),
            made("db/20261130T020000Z-1.4", "02:00:01", "02:00:02", Some("night-2"), Standing::Good),
            made("files/20261130T010000Z-1.7", "01:00:00", "01:05:00", Some("night-1"), Standing::Good),
        ]
    }

    fn chosen(names: &[&str], until: Option<&str>) -> Option<(String, Vec<String>, Taken)> {
        let judged = nights();
        let set = newest_good_set(&judged, &targets(names), until.map(at))?;
        Some((set.name.to_owned(), set.backups.iter().map(|judged| judged.id.name()).collect(), set.span))
    }

    #[test]
    fn the_newest_set_that_has_all_of_them_is_taken() {
        // Of what was made twice, the newer; its span is that of the two, and the files are not asked for.
        let first = (
            "night-1".to_owned(),
            vec!["20261130T010010Z-1.2".to_owned(), "20261130T010100Z-1.3".to_owned()],
            Taken { from: at("01:00:11"), to: at("01:01:02") },
        );
        assert_eq!(chosen(&["cache", "db"], None), Some(first));
        assert_eq!(chosen(&["db"], None).map(|(name, ..)| name).as_deref(), Some("night-2"));
        assert_eq!(chosen(&["db", "cache", "files"], None).map(|(name, _, span)| (name, span.to)), Some(("night-1".to_owned(), at("01:05:00"))));
        assert_eq!(chosen(&["db", "mesh"], None), None, "nobody has made one of all of these");
        assert_eq!(chosen(&[], None), None);
    }

    #[test]
    fn nothing_of_a_set_is_of_after_the_instant() {
        assert_eq!(chosen(&["db"], Some("02:00:02")).map(|(name, ..)| name).as_deref(), Some("night-2"));
        assert_eq!(chosen(&["db"], Some("02:00:01")).map(|(name, ..)| name).as_deref(), Some("night-1"));
        assert_eq!(chosen(&["db", "files"], Some("01:04:59")), None);
    }

    #[test]
    fn sets_are_told_with_what_is_good_in_them() {
        let judged = nights();
        let told: Vec<(&str, usize, u64)> = sets(&judged).iter().map(|set| (set.name, set.backups.len(), set.span_ms())).collect();
        assert_eq!(told, [("night-1", 3, 300_000), ("night-2", 1, 1_000)]);
        let of = |set: &str| good_of_set(&judged, &targets(&["cache"])[0], set).map(|judged| judged.id.name());
        assert_eq!((of("night-1").as_deref(), of("night-2"), of("night-3")), (Some("20261130T010010Z-1.2"), None, None));
    }

    #[test]
    fn one_that_does_not_say_is_as_of_its_beginning_to_its_end() {
        let mut old = made("db/20261130T010000Z-1.1", "05:00:00", "05:00:00", Some("night-0"), Standing::Good);
        let manifest = old.manifest.as_mut().unwrap();
        manifest.taken = None;
        assert_eq!(manifest.taken(), Taken { from: at("01:00:00"), to: at("01:00:05") });
    }
}
