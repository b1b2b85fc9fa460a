//! Which zone of a rollout is under way, where its order is by zones. Pure.
//!
//! ```text
//!   something in it has begun and not ended   ─▶ that one
//!   else something in it has ended, not all   ─▶ that one: it is finished first
//!   else                                      ─▶ the first by name with something left
//! ```
//! Nothing of it is kept: it follows from how far the targets are, and from the newest that is known of the nodes.

use std::collections::BTreeMap;

use crate::fact::Known;
use crate::id::Target;
use crate::rollout::{Progress, Rollout};
use crate::time::MeshTime;

/// The zones of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Zones<'s> {
    of: BTreeMap<&'s Target, &'s str>,
    /// Nothing where all have ended.
    pub under_way: Option<&'s str>,
    /// How many have ended.
    pub ended: usize,
    pub all: usize,
    /// When the last target of the other zones ended.
    pub others_ended: MeshTime,
}

/// How far one zone is.
#[derive(Default)]
struct Zone {
    untouched: bool,
    going: bool,
    ended: Option<MeshTime>,
}

impl<'s> Zones<'s> {
    pub(super) fn of(rollout: &Rollout<'s>, known: Known<'s>) -> Zones<'s> {
        Zones::in_order(rollout.targets.iter().map(|(target, progress)| (*target, known.zone(target), *progress)))
    }

    fn in_order(targets: impl Iterator<Item = (&'s Target, &'s str, Progress)>) -> Zones<'s> {
        let (mut of, mut zones) = (BTreeMap::new(), BTreeMap::<&str, Zone>::new());
        for (target, name, progress) in targets {
            of.insert(target, name);
            let zone = zones.entry(name).or_default();
            match progress {
                Progress::Untouched => zone.untouched = true,
                Progress::Going => zone.going = true,
                Progress::Done { at } | Progress::Failed { at } => zone.ended = zone.ended.max(Some(at)),
                Progress::GivenUp => {}
            }
        }
        let first = |is: &dyn Fn(&Zone) -> bool| zones.iter().find(|(_, zone)| is(zone)).map(|(name, _)| *name);
        let is_open = |zone: &Zone| zone.going || zone.untouched;
        let under_way = first(&|zone| zone.going).or_else(|| first(&|zone| is_open(zone) && zone.ended.is_some())).or_else(|| first(&is_open));
        let others = zones.iter().filter(|(name, _)| Some(**name) != under_way);
        Zones {
            others_ended: others.filter_map(|(_, zone)| zone.ended).max().unwrap_or_default(),
            ended: zones.values().filter(|zone| !is_open(zone)).count(),
            all: zones.len(),
            of,
            under_way,
        }
    }

    pub(super) fn zone(&self, target: &Target) -> &'s str {
        self.of.get(target).copied().unwrap_or_default()
    }

    /// Whether a target is in the zone that is under way.
    pub(super) fn is_its_turn(&self, target: &Target) -> bool {
        self.under_way.is_none_or(|zone| zone == self.zone(target))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_zone_that_has_begun_is_finished_before_the_next_one() {
        let (untouched, going) = (Progress::Untouched, Progress::Going);
        let (done, failed, given_up) = (Progress::Done { at: MeshTime(5) }, Progress::Failed { at: MeshTime(7) }, Progress::GivenUp);
        for (name, zones, under_way, ended, others_ended) in [
            ("nothing has begun", vec![("b", untouched), ("a", untouched)], Some("a"), 0, 0),
            ("one is going", vec![("a", untouched), ("b", going)], Some("b"), 0, 0),
            ("one has been begun", vec![("a", untouched), ("b", done), ("b", untouched)], Some("b"), 0, 0),
            ("one has ended", vec![("a", done), ("a", failed), ("b", untouched)], Some("b"), 1, 7),
            ("one was given up", vec![("a", given_up), ("b", untouched)], Some("b"), 1, 0),
            ("a zone's name has come in between", vec![("a", done), ("aa", untouched), ("b", going)], Some("b"), 1, 5),
            ("those without a zone come first", vec![("a", untouched), ("", untouched)], Some(""), 0, 0),
            ("all have ended", vec![("a", done), ("b", failed)], None, 2, 7),
        ] {
            let targets: Vec<Target> = (0..zones.len()).map(|at| format!("prod/n{at}").parse().unwrap()).collect();
            let of = targets.iter().zip(&zones).map(|(target, (zone, progress))| (target, *zone, *progress));
            let found = Zones::in_order(of);
            assert_eq!((found.under_way, found.ended, found.others_ended.0), (under_way, ended, others_ended), "{name}");
            assert!(targets.iter().all(|target| found.is_its_turn(target) == under_way.is_none_or(|zone| found.zone(target) == zone)), "{name}");
        }
    }
}
