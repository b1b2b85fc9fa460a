//! Decides what a follower does about a leader that has fallen silent.
//!
//! Whoever waits for a silent leader cannot tell a dead one from a slow one, and has to wait longer than any pause
//! that a leader may outlive. But a machine tells when a process has ended: it refuses connections to its port. So
//! a follower asks the leader's process. Only when that is gone is its lease not waited for: the lease keeps
//! members from voting for another while a leader may believe in itself, and one that has ended believes nothing.
//! Of a leader that does not answer, is stopped, or is cut off, nothing is known, and the election timeouts decide.
//!
//! ```text
//!   signs ─▶ silent for 2.5 heartbeats ─▶ ask ─┬─ gone ──▶ let go ─▶ stand, each in its turn, with pre-vote
//!                       ▲                      └─ anything else ──▶ ask again a heartbeat later
//!                       └── any sign
//! ```
//!
//! A vote still needs a majority, and each member lets go by its own finding: a refusal that only one of them
//! meets elects nobody.

use std::time::Duration;

use super::leadership::Tenure;

/// What the leader's process said to the question whether it still leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Leads,
    /// It has ended, or says itself that it does not lead in that term.
    Gone,
    /// None that means anything.
    None,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Look again after this time.
    Look(Duration),
    /// Ask the leader's process, and say what came of it by [`Vigil::told`].
    Ask(Tenure),
    /// Ask the others for their votes.
    Stand,
}

/// What a follower has found out about its leader. Times are of one monotonic clock.
#[derive(Debug)]
pub struct Vigil {
    heartbeat: Duration,
    about: Option<About>,
}

#[derive(Debug, Clone, Copy)]
struct About {
    leader: Tenure,
    /// Since when it is followed: it cannot have been silent for longer.
    since: Duration,
    /// When to ask next or, when it is gone, to stand next.
    next: Duration,
    gone: bool,
}

impl Vigil {
    pub fn new(heartbeat: Duration) -> Vigil {
        Vigil { heartbeat, about: None }
    }

    /// `leader` is whom this voter follows, if anybody; `last_sign` is when it was last heard.
    pub fn next(&mut self, now: Duration, leader: Option<Tenure>, last_sign: Option<Duration>) -> Step {
        let patience = self.heartbeat * 5 / 2;
        let Some(leader) = leader else {
            self.about = None;
            return Step::Look(patience);
        };
        let new = About { leader, since: now, next: now, gone: false };
        let mut about = self.about.filter(|about| about.leader == leader).unwrap_or(new);
        let silent = now.saturating_sub(last_sign.map_or(about.since, |at| at.max(about.since)));
        let step = if silent < patience {
            about.gone = false;
            about.next = now;
            Step::Look(patience - silent)
        } else if now < about.next {
            Step::Look(about.next - now)
        } else if about.gone {
            // A vote may have been refused by a member that had not found out yet.
            about.next = now + self.heartbeat / 2;
            Step::Stand
        } else {
            about.next = now + self.heartbeat;
            Step::Ask(leader)
        };
        self.about = Some(about);
        step
    }

    /// What came of [`Step::Ask`]: whether the leader's lease is waited for no longer. `turn` is this member's place
    /// among those that may follow the leader: if all stood at once, they would split the votes.
    pub fn told(&mut self, now: Duration, leader: Tenure, word: Word, turn: u32) -> bool {
        let Some(about) = self.about.as_mut().filter(|about| about.leader == leader && word == Word::Gone) else { return false };
        about.gone = true;
        // The others need a moment to find out too, and the first one time for an election.
        about.next = now + self.heartbeat / 5 + self.heartbeat * 3 / 2 * turn;
        true
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::MemberId;

    use super::*;

    const LEADER: Tenure = Tenure { term: 3, member: MemberId(1) };

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A vigil over a leader that was last heard at 1,000 ms and is asked about at 1,250 ms.
    fn silent() -> Vigil {
        let mut vigil = Vigil::new(ms(100));
        assert_eq!(vigil.next(ms(900), Some(LEADER), None), Step::Look(ms(250)));
        assert_eq!(vigil.next(ms(1_150), Some(LEADER), Some(ms(1_000))), Step::Look(ms(100)));
        assert_eq!(vigil.next(ms(1_250), Some(LEADER), Some(ms(1_000))), Step::Ask(LEADER));
        vigil
    }

    #[test]
    fn a_leader_that_is_heard_is_not_asked() {
        let mut vigil = Vigil::new(ms(100));
        for now in (0..5_000).step_by(50) {
            let step = vigil.next(ms(now), Some(LEADER), Some(ms(now.saturating_sub(200))));
            assert!(matches!(step, Step::Look(_)), "{now}: {step:?}");
        }
        assert_eq!(vigil.next(ms(9_000), None, Some(ms(1))), Step::Look(ms(250)), "nobody leads: nobody is asked");
    }

    #[test]
    fn one_that_does_not_answer_or_says_that_it_leads_is_asked_again_and_not_replaced() {
        for word in [Word::Leads, Word::None] {
            let mut vigil = silent();
            for now in (1_250..20_000).step_by(50) {
                assert!(!vigil.told(ms(now), LEADER, word, 0));
                let step = vigil.next(ms(now), Some(LEADER), Some(ms(1_000)));
                assert_ne!(step, Step::Stand, "{now}");
            }
            assert_eq!(vigil.next(ms(30_000), Some(LEADER), Some(ms(1_000))), Step::Ask(LEADER));
            assert_eq!(vigil.next(ms(30_001), Some(LEADER), Some(ms(1_000))), Step::Look(ms(99)));
        }
    }

    #[test]
    fn one_that_is_gone_is_succeeded_by_the_first_in_turn() {
        let mut first = silent();
        assert!(first.told(ms(1_251), LEADER, Word::Gone, 0));
        assert_eq!(first.next(ms(1_251), Some(LEADER), Some(ms(1_000))), Step::Look(ms(20)));
        assert_eq!(first.next(ms(1_271), Some(LEADER), Some(ms(1_000))), Step::Stand);
        assert_eq!(first.next(ms(1_272), Some(LEADER), Some(ms(1_000))), Step::Look(ms(49)), "and again, if nothing came of it");
        assert_eq!(first.next(ms(1_321), Some(LEADER), Some(ms(1_000))), Step::Stand);
        let mut second = silent();
        assert!(second.told(ms(1_251), LEADER, Word::Gone, 1));
        assert_eq!(second.next(ms(1_251), Some(LEADER), Some(ms(1_000))), Step::Look(ms(170)));
    }

    #[test]
    fn a_sign_or_another_leader_ends_it() {
        let mut vigil = silent();
        assert!(vigil.told(ms(1_251), LEADER, Word::Gone, 0));
        assert_eq!(vigil.next(ms(1_300), Some(LEADER), Some(ms(1_290))), Step::Look(ms(240)));
        assert_eq!(vigil.next(ms(1_540), Some(LEADER), Some(ms(1_290))), Step::Ask(LEADER), "what it found before counts no more");
        let mut vigil = silent();
        assert!(vigil.told(ms(1_251), LEADER, Word::Gone, 0));
        let other = Tenure { term: 4, member: MemberId(2) };
        assert_eq!(vigil.next(ms(1_300), Some(other), None), Step::Look(ms(250)), "a new leader has had no time to speak");
        assert!(!vigil.told(ms(1_301), LEADER, Word::Gone, 0), "a late word is about another leader");
        assert_ne!(vigil.next(ms(1_302), Some(other), None), Step::Stand);
    }
}
