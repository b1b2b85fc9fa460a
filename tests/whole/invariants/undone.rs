//! What a run says of itself is what was done: when it says that its undo is done, nothing of it is in place.

use mainstay_proto::v1::{Run, UndoState};

use crate::watch;

/// Steps that have an undo.
const UNDOABLE: [&str; 4] = ["a", "b", "drain", "work"];

pub fn look(run: &Run) {
    let left: Vec<String> = watch::with(|seen| {
        let of_run = seen.works.done.iter().filter(|((of, step, _), done)| *of == run.id && UNDOABLE.contains(&step.as_str()) && done.is_in_place);
        of_run.map(|((_, step, machine), _)| format!("{step} on {machine}")).collect()
    });
    if run.undo() == UndoState::Done && !left.is_empty() {
        watch::broken("undone", &format!("{} says that it was undone, and still in place is {}", run.id, left.join(", ")));
    }
}
