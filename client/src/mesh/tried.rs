//! What one call has met so far, and what that amounts to when its time is over.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::error::{CallError, ConnectError, Reason};

/// Why one try gave no answer.
pub(super) enum Miss {
    /// Another member leads, or none does.
    NotLeader {
        leader: Option<String>,
        message: String,
    },
    Broken(ConnectError),
    /// The other end takes what is sent and says nothing, for so long.
    Slow(Duration),
}

/// For so many further tries a member that gave no answer is left alone, where there is another to ask: until
/// they have elected a new leader, the others go on naming one that died or hangs.
const LEFT_ALONE: usize = 4;

/// The last word of each member that was asked.
#[derive(Default)]
pub(super) struct Tried {
    missed: BTreeMap<String, ConnectError>,
    /// Whom the last tries missed; nobody, where there was an answer.
    lately: VecDeque<Option<String>>,
    leaderless: Option<String>,
    broken: bool,
}

impl Tried {
    pub fn note(&mut self, address: &str, miss: Miss) {
        self.lately.push_back((!matches!(miss, Miss::NotLeader { .. })).then(|| address.to_owned()));
        if self.lately.len() > LEFT_ALONE {
            self.lately.pop_front();
        }
        let error = match miss {
            Miss::NotLeader { message, .. } => {
                self.missed.remove(address);
                self.leaderless = Some(message);
                return;
            }
            Miss::Broken(error) => {
                self.broken = true;
                error
            }
            Miss::Slow(patience) => {
                let words = format!("accepts connections, and gave no answer within {patience:.1?}");
                ConnectError { address: address.to_owned(), reason: Reason::Unreachable(words) }
            }
        };
        self.missed.insert(address.to_owned(), error);
    }

    /// Whether that member gave no answer a short while ago.
    pub fn is_left_alone(&self, address: &str) -> bool {
        self.lately.iter().flatten().any(|missed| missed == address)
    }

    /// Whether each of these members has refused the certificate, or shown one that is not good: then time
    /// changes nothing.
    pub fn all_refuse(&self, endpoints: &[String]) -> bool {
        endpoints.iter().all(|endpoint| self.missed.get(endpoint).is_some_and(ConnectError::is_about_certificates))
    }

    /// The error of a call that came to nothing within `deadline`.
    pub fn verdict(self, deadline: Duration) -> CallError {
        let tried: Vec<ConnectError> = self.missed.into_values().collect();
        match self.leaderless {
            Some(message) if tried.is_empty() => CallError::NoLeader { message },
            Some(message) => CallError::NoLeader { message: format!("{message} ({})", crate::error::listed(&tried)) },
            None if self.broken => CallError::Unreachable { tried },
            None => CallError::DeadlineExceeded(deadline),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str) -> Miss {
        Miss::Broken(ConnectError { address: address.into(), reason: Reason::Unreachable("refused".into()) })
    }

    fn leaderless() -> Miss {
        Miss::NotLeader { leader: None, message: "no leader yet".into() }
    }

    #[test]
    fn one_that_gave_no_answer_is_left_alone_for_a_while() {
        let mut tried = Tried::default();
        tried.note("a", Miss::Slow(Duration::from_secs(1)));
        for _ in 0..LEFT_ALONE {
            assert!(tried.is_left_alone("a"));
            tried.note("b", leaderless());
        }
        assert!(!tried.is_left_alone("a") && !tried.is_left_alone("b"));
    }

    #[test]
    fn the_verdict_says_the_most_that_is_known() {
        let verdict = |misses: Vec<(&str, Miss)>| {
            let mut tried = Tried::default();
            misses.into_iter().for_each(|(address, miss)| tried.note(address, miss));
            tried.verdict(Duration::from_secs(9)).to_string()
        };
        let slow = || Miss::Slow(Duration::from_secs(3));
        assert!(verdict(Vec::new()).starts_with("no answer within 9s"));
        assert!(verdict(vec![("a", slow())]).starts_with("no answer within 9s"));
        let both = verdict(vec![("a", slow()), ("b", refused("b"))]);
        assert_eq!(both, "no coordinator could be reached: a: accepts connections, and gave no answer within 3.0s; b: refused");
        let some = verdict(vec![("b", refused("b")), ("a", leaderless())]);
        assert!(some.starts_with("the mesh has no leader: no leader yet (b: refused);"), "{some}");
    }
}
