//! When something is said of a node, and when it has cleared.
//!
//! ```text
//!   nothing said ── well ─▶ False          ── wrong for HOLD, or it has happened ─▶ True
//!        ├── wrong for HOLD ─▶ True        ── well for HOLD ────────────────────▶ False
//!        └── unknown for HOLD ─▶ Unknown   ── unknown for HOLD ─────────────────▶ Unknown
//! ```
//! Nothing at all is said before there is something to say of each kind that is seen: a process that begins anew would
//! else call well what was wrong a moment before.

use std::collections::BTreeMap;

use super::look::{Facts, Seen, look};
use super::{Condition, Kind, Status};
use crate::time::Millis;

/// For so long it has to be wrong, or well, or unknown, before that is said.
pub const HOLD: Millis = Millis::from_secs(60);
/// Another message under the same status and reason is said after so long: which file systems are full may change often.
pub const REWORD: Millis = Millis::from_secs(300);

/// What is watched, over time.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    states: BTreeMap<Kind, State>,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// What was said last, and when.
    said: Option<(Condition, u64)>,
    /// What it looks like in place of that, and since when.
    leans: Option<(Status, u64)>,
}

impl Watch {
    /// Takes a look, at a time of any clock that does not go back. Answers all conditions, once there is one of each kind
    /// that is seen.
    pub fn take(&mut self, facts: &Facts, now_ms: u64) -> Option<Vec<Condition>> {
        for kind in Kind::ALL {
            let seen = look(kind, facts);
            match (self.states.get_mut(&kind), seen) {
                (None, None) => {}
                (Some(state), None) => {
                    let seen = Seen::Unknown { reason: "NotSeen", message: "the node's agent does not see it any more".to_owned() };
                    state.take(kind, seen, now_ms);
                }
                (_, Some(seen)) => self.states.entry(kind).or_default().take(kind, seen, now_ms),
            }
        }
        self.states.values().map(|state| state.said.as_ref().map(|(said, _)| said.clone())).collect()
    }
}

impl State {
    fn take(&mut self, kind: Kind, seen: Seen, now_ms: u64) {
        let (status, reason, message, hold) = match seen {
            Seen::Between if self.said.is_some() => {
                self.leans = None;
                return;
            }
            Seen::Between => {
                (Status::False, "NearLimit", "near its limit, which it has not reached since the node's agent looks".to_owned(), Millis::ZERO)
            }
            Seen::Well { reason, message } => (Status::False, reason, message, if self.said.is_none() { Millis::ZERO } else { HOLD }),
            Seen::Wrong { reason, message, at_once } => (Status::True, reason, message, if at_once { Millis::ZERO } else { HOLD }),
            Seen::Unknown { reason, message } => (Status::Unknown, reason, message, HOLD),
        };
        let now = Condition { kind, status, reason: reason.to_owned(), message }.bounded();
        if let Some((said, at)) = &mut self.said
            && said.status == status
        {
            self.leans = None;
            if said.reason != now.reason || (said.message != now.message && now_ms.saturating_sub(*at) >= REWORD.0) {
                (*said, *at) = (now, now_ms);
            }
            return;
        }
        let since = match self.leans {
            Some((leans, since)) if leans == status => since,
            _ => now_ms,
        };
        if now_ms.saturating_sub(since) >= hold.0 {
            (self.said, self.leans) = (Some((now, now_ms)), None);
        } else {
            self.leans = Some((status, since));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::{About, Answer, Complaint, Disk};
    use super::*;

    fn kubelet(answer: Answer) -> Facts {
        Facts { kubelet: Some(answer), ..Facts::default() }
    }

    fn disk(used: f64) -> Facts {
        let disk = Disk { name: format!("of {used}"), used_percent: Some(used), inodes_used_percent: None, gone_read_only: false };
        Facts { disks: Some(vec![disk]), ..Facts::default() }
    }

    fn told(watch: &mut Watch, facts: &Facts, seconds: u64) -> Vec<(Status, String)> {
        let all = watch.take(facts, seconds * 1_000).unwrap_or_default();
        all.into_iter().map(|condition| (condition.status, condition.reason)).collect()
    }

    /// Looks at these one after the other, and answers the status after each; `-` while there is none.
    fn over_time(looks: &[(u64, Facts)]) -> String {
        let mut watch = Watch::default();
        let word = |said: &[(Status, String)]| match said {
            [] => "-",
            [(Status::True, _)] => "T",
            [(Status::False, _)] => "F",
            _ => "U",
        };
        looks.iter().map(|(at, facts)| word(&told(&mut watch, facts, *at))).collect()
    }

    #[test]
    fn it_is_raised_and_cleared_when_it_has_held() {
        let (up, down, silent) = (|| kubelet(Answer::Well), || kubelet(Answer::Closed), || kubelet(Answer::Silent));
        for (name, looks, expected) in [
            ("well at first", vec![(0, up())], "F"),
            ("wrong at first", vec![(0, down()), (59, down()), (60, down())], "--T"),
            ("a short fault", vec![(0, up()), (10, down()), (60, down()), (69, up()), (70, down()), (129, down())], "FFFFFF"),
            ("a long fault", vec![(0, up()), (10, down()), (70, down())], "FFT"),
            ("it clears", vec![(0, down()), (60, down()), (61, up()), (120, up()), (121, up())], "-TTTF"),
            ("it comes back before it has cleared", vec![(0, down()), (60, down()), (70, up()), (129, down()), (131, up())], "-TTTT"),
            ("it falls silent", vec![(0, down()), (60, down()), (61, silent()), (120, silent()), (121, silent())], "-TTTU"),
            ("silence is not counted as fault", vec![(0, up()), (10, down()), (60, silent()), (75, down())], "FFFF"),
            ("silent at first", vec![(0, silent()), (60, silent()), (61, up()), (121, up())], "-UUF"),
        ] {
            assert_eq!(over_time(&looks), expected, "{name}");
        }
    }

    #[test]
    fn between_the_limits_it_stays_what_it_was() {
        let looks = |values: &[(u64, f64)]| over_time(&values.iter().map(|(at, used)| (*at, disk(*used))).collect::<Vec<_>>());
        assert_eq!(looks(&[(0, 96.0), (60, 96.0), (61, 94.0), (1_000, 91.0), (1_001, 89.0), (1_061, 89.0)]), "-TTTTF");
        assert_eq!(looks(&[(0, 93.0), (1_000, 94.9)]), "FF", "nobody knows that it was wrong");
        assert_eq!(looks(&[(0, 50.0), (10, 96.0), (69, 94.0), (80, 96.0), (139, 96.0), (140, 96.0)]), "FFFFFT", "it has to last");
    }

    #[test]
    fn what_has_happened_is_said_at_once_and_expires() {
        let complaint = |seconds: u64| Complaint { about: About::DiskError, age: Millis::from_secs(seconds), text: "sda".into() };
        let facts = |seconds: Option<u64>| Facts { kernel: Some(seconds.map(complaint).into_iter().collect()), ..Facts::default() };
        let looks = [(0, facts(None)), (10, facts(Some(1))), (3_609, facts(Some(3_600))), (3_610, facts(Some(3_601))), (3_670, facts(None))];
        assert_eq!(over_time(&looks), "FTTTF");
        assert_eq!(over_time(&[(0, facts(Some(5)))]), "T", "also by a process that has begun anew");
    }

    #[test]
    fn nothing_is_said_before_there_is_something_of_each() {
        let mut watch = Watch::default();
        let both = |kubelet: Answer| Facts { kubelet: Some(kubelet), ..disk(10.0) };
        assert_eq!(watch.take(&Facts::default(), 0), Some(vec![]), "an agent that sees nothing says so");
        assert_eq!(watch.take(&both(Answer::Closed), 0), None);
        let said = told(&mut watch, &both(Answer::Closed), 60);
        assert_eq!(said, [(Status::False, "DisksWell".to_owned()), (Status::True, "KubeletNotListening".to_owned())]);
    }

    #[test]
    fn what_is_not_seen_any_more_is_unknown() {
        let mut watch = Watch::default();
        told(&mut watch, &disk(10.0), 0);
        assert_eq!(told(&mut watch, &Facts::default(), 59)[0].0, Status::False);
        assert_eq!(told(&mut watch, &Facts::default(), 119)[0], (Status::Unknown, "NotSeen".to_owned()));
        assert_eq!(told(&mut watch, &disk(10.0), 120)[0].0, Status::Unknown);
        assert_eq!(told(&mut watch, &disk(10.0), 180)[0], (Status::False, "DisksWell".to_owned()));
    }

    #[test]
    fn another_reason_is_said_at_once_and_another_message_after_a_while() {
        let mut watch = Watch::default();
        let message = |watch: &mut Watch, facts: &Facts, seconds: u64| {
            watch.take(facts, seconds * 1_000).into_iter().flatten().next().map(|condition| format!("{}: {}", condition.reason, condition.message))
        };
        message(&mut watch, &disk(96.0), 0);
        assert_eq!(message(&mut watch, &disk(96.0), 60).as_deref(), Some("FileSystemFull: 95 % full or more: of 96"));
        assert_eq!(message(&mut watch, &disk(97.0), 359).as_deref(), Some("FileSystemFull: 95 % full or more: of 96"));
        assert_eq!(message(&mut watch, &disk(97.0), 360).as_deref(), Some("FileSystemFull: 95 % full or more: of 97"));
        let mut read_only = disk(97.0);
        read_only.disks.iter_mut().flatten().for_each(|disk| disk.gone_read_only = true);
        assert_eq!(message(&mut watch, &read_only, 361).as_deref(), Some("FileSystemReadOnly: cannot be written to: of 97"));
    }
}
