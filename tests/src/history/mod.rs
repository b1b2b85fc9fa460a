//! What clients did and saw, and whether it can have happened one after the other.
//!
//! A [`History`] is recorded by many clients at once. [`linearizable::check`] looks for an order of the operations
//! in which each took effect at one moment between its call and its answer, by the rules of a [`Model`]. What was
//! called and not answered may have taken effect at any time after its call, or never.

pub mod lease;
pub mod linearizable;
pub mod porcupine;
pub mod register;

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The rules of one object.
pub trait Model {
    type State: Clone + Eq + Hash + Debug;
    /// What was asked.
    type Input: Clone + PartialEq + Debug;
    /// What was answered.
    type Output: Clone + Debug;

    fn initial() -> Self::State;

    /// The states that may follow when this was asked and answered so; none if it cannot be answered so. Without an
    /// answer, the states that may follow whatever the answer would have been.
    fn next(state: &Self::State, input: &Self::Input, output: Option<&Self::Output>) -> Vec<Self::State>;

    /// Whether this, without an answer, explains nothing that is not explained without it.
    fn is_needless(input: &Self::Input) -> bool;
}

/// One operation of one client.
#[derive(Debug, Clone)]
pub struct Operation<I, O> {
    pub client: usize,
    pub input: I,
    pub output: Option<O>,
    /// Since the beginning of the history.
    pub called: Duration,
    /// Nothing when no answer came.
    pub answered: Option<Duration>,
}

/// Operations on one object, by the clock of this process.
#[derive(Debug)]
pub struct History<I, O> {
    begun: Instant,
    operations: Mutex<Vec<Operation<I, O>>>,
}

impl<I: Clone, O: Clone> History<I, O> {
    /// An empty one; histories that are to be compared share their beginning.
    #[must_use]
    pub fn since(begun: Instant) -> History<I, O> {
        History { begun, operations: Mutex::default() }
    }

    /// Notes an operation: what it was, and what came of it. `None` as the output: whether it took effect is not known.
    pub fn note(&self, client: usize, input: I, called: Instant, output: Option<O>) {
        let answered = output.is_some().then(|| self.begun.elapsed());
        let called = called.duration_since(self.begun);
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).push(Operation { client, input, output, called, answered });
    }

    /// All of it, in the order of the calls.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation<I, O>> {
        let mut operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone();
        operations.sort_by_key(|operation| operation.called);
        operations
    }
}
