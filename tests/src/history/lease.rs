//! The rules of a lease of one slot, as its clients see it. It may end by time at any moment: that it does not end too
//! early is judged by the clocks of the clients ([`overlaps`]), not by the order.

use std::time::Duration;

use super::{Model, Operation};

/// Incarnation and counter of a token, which compare as tokens do.
pub type Token = (u64, u64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    Acquire,
    Renew(Token),
    Release(Token),
    Read,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Granted(Token),
    /// Somebody else has it.
    Taken,
    Done,
    /// The grant has ended.
    Gone,
    /// Who holds it.
    Holder(Option<Token>),
}

/// One slot.
#[derive(Debug)]
pub struct Lease;

/// Who holds it, and the greatest token that is known to have been given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    held: Held,
    last: Token,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Held {
    Free,
    By(Token),
    /// Whoever has not heard of it: its token shows when somebody reads it.
    Unheard,
}

impl Model for Lease {
    type State = State;
    type Input = Ask;
    type Output = Answer;

    fn initial() -> State {
        State { held: Held::Free, last: (0, 0) }
    }

    fn next(state: &State, ask: &Ask, answer: Option<&Answer>) -> Vec<State> {
        let same = || vec![state.clone()];
        let free = || State { held: Held::Free, last: state.last };
        match (ask, answer) {
            // Whoever held it has been silent for a TTL, which only time says. A token grows with each grant.
            (Ask::Acquire, Some(Answer::Granted(token))) if *token > state.last => vec![State { held: Held::By(*token), last: *token }],
            (Ask::Acquire, Some(Answer::Taken)) if state.held != Held::Free => same(),
            (Ask::Renew(_), Some(Answer::Done)) if state.held_by(ask) => same(),
            (Ask::Renew(_), Some(Answer::Gone)) => vec![if state.held_by(ask) { free() } else { state.clone() }],
            (Ask::Release(_), Some(Answer::Done | Answer::Gone)) => vec![if state.held_by(ask) { free() } else { state.clone() }],
            (Ask::Read, Some(Answer::Holder(Some(token)))) if state.held == Held::By(*token) => same(),
            (Ask::Read, Some(Answer::Holder(Some(token)))) if state.held == Held::Unheard && *token > state.last => {
                vec![State { held: Held::By(*token), last: *token }]
            }
            (Ask::Read, Some(Answer::Holder(None))) => vec![free()],
            (Ask::Acquire, None) => vec![State { held: Held::Unheard, last: state.last }],
            (Ask::Release(_), None) if state.held_by(ask) => vec![free()],
            (Ask::Renew(_) | Ask::Release(_) | Ask::Read, None) => same(),
            _ => Vec::new(),
        }
    }

    /// A lease may end by time at any moment, so that no state is needed in which it has been given back.
    fn is_needless(ask: &Ask) -> bool {
        *ask != Ask::Acquire
    }
}

impl State {
    fn held_by(&self, ask: &Ask) -> bool {
        matches!(ask, Ask::Renew(token) | Ask::Release(token) if self.held == Held::By(*token))
    }
}

/// From when to when a client believed that it held a lease, by its own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Belief {
    pub client: usize,
    pub token: Token,
    pub from: Duration,
    pub until: Duration,
}

/// What clients believed: from the answer to an acquire, until they gave it up, or heard that it was gone, or a TTL had
/// passed since they sent the request that was answered last.
#[must_use]
pub fn beliefs(operations: &[Operation<Ask, Answer>], ttl: Duration) -> Vec<Belief> {
    let mut beliefs: Vec<Belief> = Vec::new();
    for operation in operations {
        let (Some(answer), Some(at)) = (&operation.output, operation.answered) else {
            // Whoever asks for its end has given it up, whether or not it hears of it.
            if let Ask::Release(token) = &operation.input {
                end(&mut beliefs, *token, operation.called);
            }
            continue;
        };
        match (&operation.input, answer) {
            (Ask::Acquire, Answer::Granted(token)) => {
                beliefs.push(Belief { client: operation.client, token: *token, from: at, until: operation.called + ttl });
            }
            (Ask::Renew(token), Answer::Done) => {
                if let Some(belief) = beliefs.iter_mut().find(|belief| belief.token == *token) {
                    belief.until = belief.until.max(operation.called + ttl);
                }
            }
            (Ask::Renew(token), Answer::Gone) => end(&mut beliefs, *token, at),
            (Ask::Release(token), _) => end(&mut beliefs, *token, operation.called),
            _ => {}
        }
    }
    beliefs.retain(|belief| belief.from < belief.until);
    beliefs.sort_by_key(|belief| belief.from);
    beliefs
}

fn end(beliefs: &mut [Belief], token: Token, at: Duration) {
    if let Some(belief) = beliefs.iter_mut().find(|belief| belief.token == token) {
        belief.until = belief.until.min(at);
    }
}

/// Two that believed at one time that they held a lease of one slot.
#[must_use]
pub fn overlaps(beliefs: &[Belief]) -> Vec<(Belief, Belief)> {
    let mut found = Vec::new();
    for (i, first) in beliefs.iter().enumerate() {
        let later = beliefs[i + 1..].iter().take_while(|second| second.from < first.until);
        found.extend(later.map(|second| (first.clone(), second.clone())));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::linearizable::check;
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn op(client: usize, from: u64, to: u64, input: Ask, output: Answer) -> Operation<Ask, Answer> {
        Operation { client, input, output: Some(output), called: MS(from), answered: Some(MS(to)) }
    }

    fn unanswered(client: usize, from: u64, input: Ask) -> Operation<Ask, Answer> {
        Operation { client, input, output: None, called: MS(from), answered: None }
    }

    fn is_good(operations: &[Operation<Ask, Answer>]) -> bool {
        check::<Lease>(operations).is_ok()
    }

    #[test]
    fn good_histories_are_explained() {
        let granted = |n| Answer::Granted((1, n));
        assert!(is_good(&[]));
        // Two at once: one has it, one hears that it is taken; then it is given back and had again.
        assert!(is_good(&[
            op(0, 0, 10, Ask::Acquire, granted(1)),
            op(1, 1, 9, Ask::Acquire, Answer::Taken),
            op(0, 11, 20, Ask::Release((1, 1)), Answer::Done),
            op(1, 12, 21, Ask::Acquire, granted(2)),
            op(0, 22, 23, Ask::Read, Answer::Holder(Some((1, 2)))),
        ]));
        // It ended by time.
        assert!(is_good(&[
            op(0, 0, 1, Ask::Acquire, granted(1)),
            op(1, 9, 10, Ask::Acquire, granted(2)),
            op(0, 11, 12, Ask::Renew((1, 1)), Answer::Gone)
        ]));
        // An acquire without an answer took effect, and a release without one much later.
        assert!(is_good(&[
            unanswered(0, 0, Ask::Acquire),
            op(1, 5, 6, Ask::Acquire, Answer::Taken),
            op(1, 7, 8, Ask::Read, Answer::Holder(Some((1, 1)))),
            op(1, 9, 10, Ask::Acquire, granted(2)),
            unanswered(1, 11, Ask::Release((1, 2))),
            op(2, 12, 13, Ask::Read, Answer::Holder(Some((1, 2)))),
            op(2, 14, 15, Ask::Read, Answer::Holder(None)),
        ]));
    }

    #[test]
    fn bad_histories_are_found() {
        let granted = |n| Answer::Granted((1, n));
        let bad: [(&str, Vec<Operation<Ask, Answer>>); 6] = [
            ("the token does not grow", vec![op(0, 0, 1, Ask::Acquire, granted(2)), op(1, 2, 3, Ask::Acquire, granted(1))]),
            ("the token is given twice", vec![op(0, 0, 1, Ask::Acquire, granted(1)), op(1, 2, 3, Ask::Acquire, granted(1))]),
            ("it is taken by nobody", vec![op(0, 0, 1, Ask::Acquire, Answer::Taken)]),
            (
                "an ended grant is renewed",
                vec![op(0, 0, 1, Ask::Acquire, granted(1)), op(1, 2, 3, Ask::Acquire, granted(2)), op(0, 4, 5, Ask::Renew((1, 1)), Answer::Done)],
            ),
            (
                "a read is of the past",
                vec![
                    op(0, 0, 1, Ask::Acquire, granted(1)),
                    op(1, 2, 3, Ask::Acquire, granted(2)),
                    op(2, 4, 5, Ask::Read, Answer::Holder(Some((1, 1)))),
                ],
            ),
            (
                "an acknowledged grant is lost",
                vec![
                    op(0, 0, 1, Ask::Acquire, granted(1)),
                    op(1, 2, 3, Ask::Read, Answer::Holder(None)),
                    op(0, 4, 5, Ask::Renew((1, 1)), Answer::Done),
                ],
            ),
        ];
        for (what, operations) in bad {
            let error = check::<Lease>(&operations).expect_err(what);
            assert!(!error.given_up && !error.around.is_empty(), "{what}: {error}");
        }
    }

    /// Three clients that hear of nothing, all at it at once: any of their requests may have taken effect at any time.
    fn impatient(rounds: u64) -> Vec<Operation<Ask, Answer>> {
        let mut all = Vec::new();
        for round in 0..rounds {
            let at = round * 10;
            all.extend((0..3).map(|client| unanswered(client, at, Ask::Acquire)));
            all.push(unanswered(3, at + 1, Ask::Read));
            all.push(op(4, at + 2, at + 9, Ask::Acquire, Answer::Granted((1, 2 * round + 2))));
            all.push(unanswered(4, at + 9, Ask::Release((1, 2 * round + 2))));
            all.push(op(5, at + 3, at + 8, Ask::Acquire, Answer::Taken));
        }
        all
    }

    #[test]
    fn a_history_of_little_that_was_answered_is_judged_soon() {
        let mut operations = impatient(200);
        check::<Lease>(&operations).expect("it can have been so");
        // A read of a token that was over long before: every order of all that has no answer would be tried.
        operations.push(op(6, 2_010, 2_011, Ask::Read, Answer::Holder(Some((1, 2)))));
        let error = check::<Lease>(&operations).expect_err("a read of the past");
        assert!(!error.given_up, "{error}");
    }

    #[test]
    fn two_who_believe_at_once_are_found() {
        let first = [
            op(0, 0, 1, Ask::Acquire, Answer::Granted((1, 1))),
            op(0, 5, 6, Ask::Renew((1, 1)), Answer::Done),
            op(1, 13, 14, Ask::Acquire, Answer::Granted((1, 2))),
        ];
        assert_eq!(overlaps(&beliefs(&first, MS(10))).len(), 1, "renewed at 5, it may be believed in until 15");
        assert_eq!(overlaps(&beliefs(&first, MS(8))), []);
        let released = [
            op(0, 0, 1, Ask::Acquire, Answer::Granted((1, 1))),
            unanswered(0, 3, Ask::Release((1, 1))),
            op(1, 4, 5, Ask::Acquire, Answer::Granted((1, 2))),
        ];
        assert_eq!(overlaps(&beliefs(&released, MS(100))), [], "whoever gives it back believes no more");
    }
}
