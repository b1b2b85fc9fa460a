//! The search of Wing and Gong for an order that explains a history, with the memory of Lowe: a set of operations that
//! has led to a state once is not tried again. ("Testing for linearizability", G. Lowe, 2017.) Objects are checked one
//! by one, which is as good as all together (locality, Herlihy and Wing).
//!
//! What has no answer makes a search long: it may come anywhere, or never. So what explains nothing is left out
//! ([`Model::is_needless`]). Of equal requests without an answer only the one that was called first is tried: in an
//! order with another one of them before it, the two could change places. And an order is given up that puts the same
//! answered operations, with the same state after them, as an earlier one that left more of the others for later.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::time::Duration;

use super::{Model, Operation};

/// Steps of the search after which it is given up: a history that is so hard to explain says nothing either way.
const STEPS_MAX: usize = 20_000_000;

/// No order explains the history.
#[derive(Debug)]
pub struct Unexplained {
    /// The most operations that could be put into an order.
    pub explained: usize,
    /// The operations that none could follow then, and what came right before.
    pub around: Vec<String>,
    /// The search was given up, and may not have been at its end.
    pub given_up: bool,
}

impl fmt::Display for Unexplained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.given_up { "the search was given up" } else { "no order explains it" };
        write!(f, "{why}; {} operations could be ordered, and then none of these follows:\n{}", self.explained, self.around.join("\n"))
    }
}

/// One step of the search: what was put last, and what else could be put in its place.
struct Frame<S> {
    operation: usize,
    before: S,
    others: Vec<(usize, S)>,
}

/// Looks for an order of `operations`, which come in the order of their calls.
///
/// # Errors
/// There is none; the error says how far the search came.
pub fn check<M: Model>(operations: &[Operation<M::Input, M::Output>]) -> Result<(), Unexplained> {
    let says = |operation: &&Operation<M::Input, M::Output>| operation.answered.is_some() || !M::is_needless(&operation.input);
    let operations: Vec<_> = operations.iter().filter(says).cloned().collect();
    let mut search = Search::<M>::new(&operations);
    let mut frames: Vec<Frame<M::State>> = Vec::new();
    let mut state = M::initial();
    let mut best = (0, Vec::new());
    let mut candidates = search.candidates(&state);
    for _ in 0..STEPS_MAX {
        if search.answered_left == 0 {
            return Ok(());
        }
        if let Some((operation, after)) = next_new(&mut search, &mut candidates) {
            frames.push(Frame { operation, before: std::mem::replace(&mut state, after), others: candidates });
            candidates = search.candidates(&state);
            continue;
        }
        if frames.len() > best.0 || best.1.is_empty() {
            best = (frames.len(), search.around(&frames.iter().map(|frame| frame.operation).collect::<Vec<_>>(), &state));
        }
        let Some(frame) = frames.pop() else {
            return Err(Unexplained { explained: best.0, around: best.1, given_up: false });
        };
        search.take_back(frame.operation);
        (state, candidates) = (frame.before, frame.others);
    }
    Err(Unexplained { explained: best.0, around: best.1, given_up: true })
}

/// The next candidate that leads to something not seen yet, put into the order.
fn next_new<M: Model>(search: &mut Search<'_, M>, candidates: &mut Vec<(usize, M::State)>) -> Option<(usize, M::State)> {
    while let Some((operation, after)) = candidates.pop() {
        search.put(operation);
        if search.is_new(&after) {
            return Some((operation, after));
        }
        search.take_back(operation);
    }
    None
}

struct Search<'a, M: Model> {
    operations: &'a [Operation<M::Input, M::Output>],
    put: Vec<bool>,
    /// Every answered operation before it has been put.
    first_open: usize,
    answered_left: usize,
    /// Operations without an answer, equal ones together, in the order of their calls.
    unanswered: Vec<Vec<usize>>,
    /// How many of each of these have been put.
    used: Vec<usize>,
    /// A random number for each answered operation; those of all that are put, exclusive-or, stand for the set.
    marks: Vec<u128>,
    mark: u128,
    /// For a set of answered operations and the state after it, what had been used of the others.
    seen: HashMap<(u128, M::State), Vec<Vec<usize>>>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(operations: &'a [Operation<M::Input, M::Output>]) -> Search<'a, M> {
        let (low, high) = (RandomState::new(), RandomState::new());
        let marks = (0..operations.len()).map(|i| u128::from(low.hash_one(i)) | u128::from(high.hash_one(i)) << 64).collect();
        let mut unanswered: Vec<Vec<usize>> = Vec::new();
        for (i, operation) in operations.iter().enumerate().filter(|(_, operation)| operation.answered.is_none()) {
            match unanswered.iter_mut().find(|equal| operations[equal[0]].input == operation.input) {
                Some(equal) => equal.push(i),
                None => unanswered.push(vec![i]),
            }
        }
        Search {
            operations,
            put: vec![false; operations.len()],
            first_open: 0,
            answered_left: operations.iter().filter(|operation| operation.answered.is_some()).count(),
            used: vec![0; unanswered.len()],
            unanswered,
            marks,
            mark: 0,
            seen: HashMap::new(),
        }
    }

    /// What may come next: nothing that is still to come had its answer before its call. The last is tried first.
    fn candidates(&self, state: &M::State) -> Vec<(usize, M::State)> {
        let mut found = Vec::new();
        let mut until = Duration::MAX;
        let next = |i: usize| {
            let operation = &self.operations[i];
            M::next(state, &operation.input, operation.output.as_ref()).into_iter().map(move |after| (i, after))
        };
        for (i, operation) in self.operations.iter().enumerate().skip(self.first_open) {
            let Some(answered) = operation.answered.filter(|_| !self.put[i]) else { continue };
            if operation.called > until {
                break;
            }
            until = until.min(answered);
            found.extend(next(i));
        }
        // What was never answered is the last that one would believe in, and what was called first the first.
        found.reverse();
        let first = self.unanswered.iter().zip(&self.used).filter_map(|(equal, used)| equal.get(*used).copied());
        let unanswered = first.filter(|i| self.operations[*i].called <= until).flat_map(next).filter(|(_, after)| after != state);
        unanswered.chain(found).collect()
    }

    /// Whether nothing as good has led to this state with what is put.
    fn is_new(&mut self, state: &M::State) -> bool {
        let seen = self.seen.entry((self.mark, state.clone())).or_default();
        let as_good = |before: &Vec<usize>| before.iter().zip(&self.used).all(|(before, now)| before <= now);
        if seen.iter().any(as_good) {
            return false;
        }
        seen.push(self.used.clone());
        true
    }

    fn put(&mut self, operation: usize) {
        self.put[operation] = true;
        if self.operations[operation].answered.is_none() {
            return self.count_used(operation, |used| used + 1);
        }
        self.mark ^= self.marks[operation];
        self.answered_left -= 1;
        while self.operations.get(self.first_open).is_some_and(|operation| operation.answered.is_none() || self.put[self.first_open]) {
            self.first_open += 1;
        }
    }

    fn take_back(&mut self, operation: usize) {
        self.put[operation] = false;
        if self.operations[operation].answered.is_none() {
            return self.count_used(operation, |used| used - 1);
        }
        self.mark ^= self.marks[operation];
        self.answered_left += 1;
        self.first_open = self.first_open.min(operation);
    }

    fn count_used(&mut self, operation: usize, count: impl Fn(usize) -> usize) {
        let place = self.unanswered.iter().position(|equal| equal.binary_search(&operation).is_ok());
        if let Some(used) = place.and_then(|place| self.used.get_mut(place)) {
            *used = count(*used);
        }
    }

    /// The end of an order, and what could not follow it, in words.
    fn around(&self, order: &[usize], state: &M::State) -> Vec<String> {
        let told = |i: usize| {
            let operation = &self.operations[i];
            let until = operation.answered.map_or_else(|| "no answer".to_owned(), |at| format!("{at:.1?}"));
            format!("client {} from {:.1?} to {until}: {:?} → {:?}", operation.client, operation.called, operation.input, operation.output)
        };
        let before = order.iter().rev().take(6).rev().map(|i| format!("  {}", told(*i)));
        let open = (0..self.operations.len()).filter(|i| !self.put[*i]).take(6).map(|i| format!("? {}", told(i)));
        before.chain([format!("  = {state:?}")]).chain(open).collect()
    }
}
