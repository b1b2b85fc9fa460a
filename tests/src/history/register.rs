//! A store outside of the mesh that takes a write only with a token that is not older than the last one it saw: what a
//! lease protects when its holder does not know yet that it has lost it.

use std::sync::{Mutex, PoisonError};

use super::Model;
use super::lease::Token;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    Write { value: u64, token: Token },
    Read,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Written,
    /// The token is older than one that was seen.
    Stale,
    Value(u64),
}

/// The rules of that store.
#[derive(Debug)]
pub struct Register;

impl Model for Register {
    type State = (u64, Token);
    type Input = Ask;
    type Output = Answer;

    fn initial() -> (u64, Token) {
        (0, (0, 0))
    }

    fn next(state: &(u64, Token), ask: &Ask, answer: Option<&Answer>) -> Vec<(u64, Token)> {
        match (ask, answer) {
            (Ask::Write { value, token }, Some(Answer::Written)) if *token >= state.1 => vec![(*value, *token)],
            (Ask::Write { token, .. }, Some(Answer::Stale)) if *token < state.1 => vec![*state],
            (Ask::Read, Some(Answer::Value(value))) if *value == state.0 => vec![*state],
            (Ask::Write { value, token }, None) if *token >= state.1 => vec![(*value, *token)],
            (Ask::Write { .. } | Ask::Read, None) => vec![*state],
            _ => Vec::new(),
        }
    }

    fn is_needless(ask: &Ask) -> bool {
        *ask == Ask::Read
    }
}

/// The store itself, for clients within one process.
#[derive(Debug, Default)]
pub struct Store {
    state: Mutex<(u64, Token)>,
}

impl Store {
    pub fn do_it(&self, ask: &Ask) -> Answer {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match ask {
            Ask::Write { value, token } if *token >= state.1 => {
                *state = (*value, *token);
                Answer::Written
            }
            Ask::Write { .. } => Answer::Stale,
            Ask::Read => Answer::Value(state.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Operation;
    use super::super::linearizable::check;
    use super::*;

    fn op(from: u64, to: Option<u64>, input: Ask, output: Option<Answer>) -> Operation<Ask, Answer> {
        Operation { client: 0, input, output, called: Duration::from_millis(from), answered: to.map(Duration::from_millis) }
    }

    #[test]
    fn stale_writes_and_lost_values_are_found() {
        let write = |from, to, value, token, answer| op(from, Some(to), Ask::Write { value, token: (1, token) }, Some(answer));
        let read = |from, to, value| op(from, Some(to), Ask::Read, Some(Answer::Value(value)));
        let good = [write(0, 4, 7, 2, Answer::Written), write(1, 3, 8, 1, Answer::Stale), read(5, 6, 7)];
        check::<Register>(&good).expect("the write with the older token came second");
        assert!(check::<Register>(&[write(0, 1, 7, 2, Answer::Written), write(2, 3, 8, 1, Answer::Written)]).is_err(), "a stale write");
        assert!(check::<Register>(&[write(0, 1, 7, 1, Answer::Written), read(2, 3, 0)]).is_err(), "a value that is lost");
        let unknown = op(0, None, Ask::Write { value: 9, token: (1, 3) }, None);
        check::<Register>(&[unknown.clone(), read(5, 6, 0), read(7, 8, 9)]).expect("it took effect late");
        check::<Register>(&[unknown, read(5, 6, 0), write(7, 8, 1, 2, Answer::Written)]).expect("or never");
    }

    #[test]
    fn a_long_history_of_many_clients_is_explained_soon() {
        // 8 clients that write and read at once, each operation overlapping those of the others.
        let store = Store::default();
        let mut all = Vec::new();
        for n in 0..10_000_u64 {
            let ask = if n % 3 == 0 { Ask::Read } else { Ask::Write { value: n, token: (1, n / 8) } };
            let answer = store.do_it(&ask);
            all.push(op(n.saturating_sub(7) * 10 + n % 8, Some(n * 10 + 80), ask, Some(answer)));
        }
        all.sort_by_key(|operation| operation.called);
        check::<Register>(&all).expect("it happened so");
    }
}
