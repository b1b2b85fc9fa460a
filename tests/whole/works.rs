//! What was done to machines, as seen from outside of the mesh.

use std::collections::BTreeMap;

/// A step of a run on a machine.
pub type Place = (String, String, String);

/// What is in place of a step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Done {
    /// It was done, and not taken back since.
    pub is_in_place: bool,
    pub was_done: bool,
    pub was_undone: bool,
}

/// A command of an attempt.
#[derive(Debug, Clone)]
pub struct Begun {
    pub attempt: String,
    pub place: Place,
    pub undoes: bool,
    pub runs: bool,
}

#[derive(Default)]
pub struct Works {
    /// Run and step of an attempt, as its agent logs them.
    labels: BTreeMap<String, (String, String)>,
    /// Every command that was begun, the oldest first.
    pub begun: Vec<Begun>,
    pub done: BTreeMap<Place, Done>,
}

impl Works {
    /// An agent says whose attempt it carries out.
    pub fn labelled(&mut self, attempt: &str, run: &str, step: &str) {
        self.labels.insert(attempt.to_owned(), (run.to_owned(), step.to_owned()));
    }

    /// A command begins; where it does something, rather than undoing it, what and where.
    pub fn begins(&mut self, machine: &str, command: &[String], attempt: &str) -> Option<Place> {
        let (run, step) = self.labels.get(attempt).cloned().unwrap_or_default();
        let undoes = command.first().is_some_and(|program| program == "/undo");
        let place = (run, step, machine.to_owned());
        self.begun.push(Begun { attempt: attempt.to_owned(), place: place.clone(), undoes, runs: true });
        (!undoes).then_some(place)
    }

    /// No status: it was called off, or died.
    pub fn ends(&mut self, attempt: &str, status: Option<i32>) {
        let Some(known) = self.begun.iter_mut().find(|known| known.attempt == attempt && known.runs) else { return };
        known.runs = false;
        if status != Some(0) {
            return;
        }
        let done = self.done.entry(known.place.clone()).or_default();
        done.is_in_place = !known.undoes;
        if known.undoes { done.was_undone = true } else { done.was_done = true }
    }

    /// Whether a command of a run is being carried out.
    pub fn is_at_work(&self, run: &str) -> bool {
        self.begun.iter().any(|known| known.runs && known.place.0 == run)
    }
}
