//! What of a node's conditions is written to its Node, and taken away again.
//!
//! In: what stands there now and whose it is, what the node's agent says, the time. Out: all of Mainstay's conditions as
//! they are to stand from now on, or nothing where they do; and when to look again. The Node itself is the memory, so that
//! a process that begins anew decides as the one before.

use super::{Condition, Kind, Status};
use crate::time::{Millis, WallTime};

/// A node whose agent is not heard for so long is Unknown. An agent that begins anew, or another leader, takes less.
pub const SILENCE: Millis = Millis::from_secs(180);
/// And for so long, after which they are taken away.
pub const UNKNOWN: Millis = Millis::from_secs(3_600);
/// While nothing changes, that it is still so is written so often, …
const HEARTBEAT: Millis = Millis::from_secs(600);
/// … and less often where there are many nodes: two of these writes a second in the long run.
const HEARTBEAT_PER_NODE: Millis = Millis(500);
/// How far ahead of this clock another one may be.
const AHEAD: i64 = 60_000;
/// Reason of what nobody says any more.
const SILENT: &str = "AgentSilent";

/// A condition that stands on the Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    pub condition: Condition,
    pub heartbeat: WallTime,
    pub transition: WallTime,
    /// It was written for this mesh. What another wrote is left alone.
    pub own: bool,
}

/// What is known of how the node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known<'a> {
    /// Its agent says so.
    Said(&'a [Condition]),
    /// Its agent has not been heard for so long.
    Silent(Millis),
    /// Nothing is to stand there.
    Off,
}

/// One condition as it is to stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stands {
    pub condition: Condition,
    pub heartbeat: WallTime,
    pub transition: WallTime,
}

/// What is to be done about one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It stands as it should. Look again then, or when something changes.
    Rest(Option<Millis>),
    /// All of this mesh's, as they are to stand. What says something new goes before what says that it is still so.
    Write { all: Vec<Stands>, news: bool },
    /// These are taken away. What else there is to do shows then.
    Remove(Vec<Kind>),
}

/// How often it is written that it is still so, in a cluster of so many nodes.
#[must_use]
pub fn heartbeat(nodes: usize) -> Millis {
    HEARTBEAT.max(Millis(HEARTBEAT_PER_NODE.0.saturating_mul(nodes as u64)))
}

/// Decides about one node.
#[must_use]
pub fn decide(present: &[Present], known: Known<'_>, now: WallTime, every: Millis) -> Decision {
    let own: Vec<&Present> = present.iter().filter(|present| present.own).collect();
    let remove = || Decision::Remove(own.iter().map(|present| present.condition.kind).collect());
    match known {
        Known::Off if own.is_empty() => Decision::Rest(None),
        Known::Off => remove(),
        Known::Said(said) => {
            let is_others = |kind: Kind| present.iter().any(|present| !present.own && present.condition.kind == kind);
            let said: Vec<&Condition> = said.iter().filter(|condition| !is_others(condition.kind)).collect();
            stand(&own, &said, now, every)
        }
        Known::Silent(_) if own.is_empty() => Decision::Rest(None),
        Known::Silent(silence) if silence < SILENCE => Decision::Rest(Some(Millis(SILENCE.0 - silence.0))),
        Known::Silent(_) if own.iter().all(|present| present.condition.status == Status::Unknown && present.condition.reason == SILENT) => {
            let last = own.iter().map(|present| present.heartbeat).max().unwrap_or(now);
            match left(last, now, UNKNOWN) {
                Some(left) => Decision::Rest(Some(left)),
                None => remove(),
            }
        }
        Known::Silent(_) => {
            let unknown: Vec<Condition> = own.iter().map(|present| silent(present.condition.kind)).collect();
            stand(&own, &unknown.iter().collect::<Vec<_>>(), now, every)
        }
    }
}

fn silent(kind: Kind) -> Condition {
    let message = format!("the agent of this node is not heard any more: this goes after {UNKNOWN}");
    Condition { kind, status: Status::Unknown, reason: SILENT.to_owned(), message }
}

fn stand(own: &[&Present], said: &[&Condition], now: WallTime, every: Millis) -> Decision {
    let gone: Vec<Kind> = own.iter().map(|present| present.condition.kind).filter(|kind| said.iter().all(|said| said.kind != *kind)).collect();
    if !gone.is_empty() {
        return Decision::Remove(gone);
    }
    let standing = |kind: Kind| own.iter().find(|present| present.condition.kind == kind);
    let same =
        own.len() == said.len() && said.iter().all(|condition| standing(condition.kind).is_some_and(|present| present.condition == **condition));
    if same {
        let oldest = own.iter().map(|present| left(present.heartbeat, now, every)).min().flatten();
        if own.is_empty() || oldest.is_some() {
            return Decision::Rest(oldest);
        }
    }
    // What is said for the first time and is well can wait.
    let can_wait = same || (own.is_empty() && said.iter().all(|condition| condition.status == Status::False));
    let all = said.iter().map(|condition| {
        let same_status = standing(condition.kind).filter(|present| present.condition.status == condition.status);
        Stands { condition: (*condition).clone(), heartbeat: now, transition: same_status.map_or(now, |present| present.transition) }
    });
    Decision::Write { all: all.collect(), news: !can_wait }
}

/// How much of a time is left that began then; nothing when it is over, or began in the future.
fn left(begun: WallTime, now: WallTime, whole: Millis) -> Option<Millis> {
    if begun.0 > now.0.saturating_add(AHEAD) {
        return None;
    }
    let gone = u64::try_from(now.0.saturating_sub(begun.0)).unwrap_or(0);
    whole.0.checked_sub(gone).filter(|left| *left > 0).map(Millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_700_000_000_000);
    const EVERY: Millis = Millis::from_secs(600);

    fn ago(seconds: i64) -> WallTime {
        WallTime(NOW.0 - seconds * 1_000)
    }

    fn condition(kind: Kind, status: Status, reason: &str) -> Condition {
        Condition { kind, status, reason: reason.into(), message: "m".into() }
    }

    fn present(condition: Condition, heartbeat: i64, transition: i64) -> Present {
        Present { condition, heartbeat: ago(heartbeat), transition: ago(transition), own: true }
    }

    fn others(present: Present) -> Present {
        Present { own: false, ..present }
    }

    fn stands(condition: Condition, transition: WallTime) -> Stands {
        Stands { condition, heartbeat: NOW, transition }
    }

    fn well() -> Condition {
        condition(Kind::Disk, Status::False, "DisksWell")
    }

    fn full() -> Condition {
        condition(Kind::Disk, Status::True, "FileSystemFull")
    }

    fn down() -> Condition {
        condition(Kind::Kubelet, Status::True, "KubeletNotListening")
    }

    fn write(all: Vec<Stands>, news: bool) -> Decision {
        Decision::Write { all, news }
    }

    #[test]
    fn what_an_agent_says_stands_on_its_node_and_is_not_written_twice() {
        let decide = |present: &[Present], said: &[Condition]| decide(present, Known::Said(said), NOW, EVERY);
        assert_eq!(decide(&[], &[]), Decision::Rest(None));
        assert_eq!(decide(&[], &[well()]), write(vec![stands(well(), NOW)], false));
        assert_eq!(decide(&[], &[full()]), write(vec![stands(full(), NOW)], true));
        let was_well = present(well(), 100, 5_000);
        assert_eq!(decide(std::slice::from_ref(&was_well), &[well()]), Decision::Rest(Some(Millis::from_secs(500))));
        assert_eq!(decide(std::slice::from_ref(&was_well), &[full()]), write(vec![stands(full(), NOW)], true));
        assert_eq!(decide(&[present(full(), 1, 50)], &[well()]), write(vec![stands(well(), NOW)], true), "it clears itself");
        let other = Condition { message: "others".into(), ..full() };
        assert_eq!(decide(&[present(full(), 1, 50)], std::slice::from_ref(&other)), write(vec![stands(other, ago(50))], true));
        let added = write(vec![stands(well(), ago(5_000)), stands(down(), NOW)], true);
        assert_eq!(decide(std::slice::from_ref(&was_well), &[well(), down()]), added);
        let gone = Decision::Remove(vec![Kind::Kubelet]);
        assert_eq!(decide(&[was_well.clone(), present(down(), 1, 1)], &[full()]), gone, "what the agent does not see any more goes");
        assert_eq!(decide(&[was_well], &[]), Decision::Remove(vec![Kind::Disk]));
    }

    #[test]
    fn that_it_is_still_so_is_written_slowly() {
        let decide = |heartbeat: i64, every: Millis| decide(&[present(full(), heartbeat, 9_000)], Known::Said(&[full()]), NOW, every);
        assert_eq!(decide(599, EVERY), Decision::Rest(Some(Millis::from_secs(1))));
        assert_eq!(decide(600, EVERY), write(vec![stands(full(), ago(9_000))], false));
        assert_eq!(decide(-60, EVERY), Decision::Rest(Some(EVERY)), "clocks differ a little");
        assert_eq!(decide(-61, EVERY), write(vec![stands(full(), ago(9_000))], false), "a clock was far ahead");
        assert_eq!([0, 1_200, 10_000].map(heartbeat), [Millis::from_secs(600), Millis::from_secs(600), Millis::from_secs(5_000)]);
    }

    #[test]
    fn the_oldest_heartbeat_counts() {
        let two = [present(well(), 10, 10), present(down(), 601, 700)];
        assert!(matches!(decide(&two, Known::Said(&[well(), down()]), NOW, EVERY), Decision::Write { news: false, .. }));
        let two = [present(well(), 10, 10), present(down(), 300, 700)];
        assert_eq!(decide(&two, Known::Said(&[well(), down()]), NOW, EVERY), Decision::Rest(Some(Millis::from_secs(300))));
    }

    #[test]
    fn what_nobody_says_any_more_is_unknown_and_then_goes() {
        let silent_for = |present: &[Present], seconds: u64| decide(present, Known::Silent(Millis::from_secs(seconds)), NOW, EVERY);
        assert_eq!(silent_for(&[], 9_999), Decision::Rest(None));
        let two = [present(full(), 100, 300), present(down(), 100, 300)];
        assert_eq!(silent_for(&two, 179), Decision::Rest(Some(Millis::from_secs(1))));
        let unknown = [silent(Kind::Disk), silent(Kind::Kubelet)];
        assert_eq!(silent_for(&two, 180), write(unknown.clone().map(|condition| stands(condition, NOW)).to_vec(), true));
        let after = |heartbeat: i64| unknown.clone().map(|condition| present(condition, heartbeat, 9_000));
        assert_eq!(silent_for(&after(0), 9_999), Decision::Rest(Some(UNKNOWN)), "no heartbeat: nobody says anything");
        assert_eq!(silent_for(&after(3_599), 9_999), Decision::Rest(Some(Millis::from_secs(1))));
        let both = Decision::Remove(vec![Kind::Disk, Kind::Kubelet]);
        assert_eq!(silent_for(&after(3_600), 9_999), both);
        assert_eq!(silent_for(&after(-61), 9_999), both, "a clock that was far ahead holds nothing up");
        assert_eq!(silent_for(&after(3_600), 10), Decision::Rest(Some(Millis::from_secs(170))), "whoever begins anew waits for its agent first");
        let back = decide(&after(100), Known::Said(&[well(), down()]), NOW, EVERY);
        assert_eq!(back, write(vec![stands(well(), NOW), stands(down(), NOW)], true));
        let was_unknown = present(condition(Kind::Disk, Status::Unknown, "NotSeen"), 10, 777);
        assert_eq!(silent_for(&[was_unknown], 180), write(vec![stands(silent(Kind::Disk), ago(777))], true), "the status has not changed");
    }

    #[test]
    fn switched_off_everything_goes() {
        assert_eq!(decide(&[], Known::Off, NOW, EVERY), Decision::Rest(None));
        assert_eq!(decide(&[present(full(), 1, 1)], Known::Off, NOW, EVERY), Decision::Remove(vec![Kind::Disk]));
    }

    #[test]
    fn what_another_mesh_wrote_is_left_alone() {
        let theirs = others(present(full(), 9_999, 9_999));
        for known in [Known::Off, Known::Silent(Millis(u64::MAX)), Known::Said(&[]), Known::Said(&[well()])] {
            assert_eq!(decide(std::slice::from_ref(&theirs), known, NOW, EVERY), Decision::Rest(None), "{known:?}");
        }
        let both = [theirs, present(down(), 100, 100)];
        assert_eq!(decide(&both, Known::Said(&[well(), down()]), NOW, EVERY), Decision::Rest(Some(Millis::from_secs(500))));
        assert_eq!(decide(&both, Known::Off, NOW, EVERY), Decision::Remove(vec![Kind::Kubelet]));
    }
}
