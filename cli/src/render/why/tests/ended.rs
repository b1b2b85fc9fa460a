//! What is said of a run that has ended: what became of what it did, and what to do next.

use super::*;

/// What never began has done nothing, whatever became of it.
#[test]
fn only_what_began_may_be_in_place() {
    let told = |state: WorkState, begun: Option<bool>| {
        let attempt = Attempt { number: 1, agent: node(1), state: AttemptState::Ended.into(), begun, ..Attempt::default() };
        let work = Work {
            step: "reboot".into(),
            kind: "node.exec".into(),
            target: node(1),
            state: state.into(),
            attempts: vec![attempt],
            ..Work::default()
        };
        let run = Run { state: RunState::Failed.into(), undo: UndoState::Done.into(), ended_unix_ms: NOW.0, work: vec![work], ..reboot() };
        at(&WhyResponse { run: Some(run), ..WhyResponse::default() }, None)
    };
    for state in [WorkState::Failed, WorkState::Cancelled] {
        assert!(told(state, Some(true)).contains("part of it may have been done"));
        // An earlier version does not say.
        assert!(told(state, None).contains("part of it may have been done"));
        assert!(!told(state, Some(false)).contains("may have been done"));
    }
}

/// There is always something to do next.
#[test]
fn what_was_taken_back_is_done_by_a_new_run_and_what_a_budget_let_be_by_a_retry() {
    let work = |state: WorkState, undo: WorkState| Work {
        step: "reboot".into(),
        kind: "node.exec".into(),
        target: node(1),
        state: state.into(),
        undo: undo.into(),
        has_undo: true,
        ..Work::default()
    };
    let ended = |state: RunState, undo: UndoState, work| Run { state: state.into(), undo: undo.into(), ended_unix_ms: NOW.0, work, ..reboot() };
    let text = |run| at(&WhyResponse { run: Some(run), ..WhyResponse::default() }, None);
    let unknown = vec![work(WorkState::Unknown, WorkState::Unspecified), work(WorkState::Succeeded, WorkState::Succeeded)];
    let text_of = text(ended(RunState::Failed, UndoState::Done, unknown));
    assert!(text_of.contains("→ mainstay run start reboot --set kernel=6.12\n") && !text_of.contains("retry"), "{text_of}");
    let missed = vec![work(WorkState::Unreachable, WorkState::Unspecified), work(WorkState::Succeeded, WorkState::Unspecified)];
    let text_of = text(ended(RunState::Completed, UndoState::NotNeeded, missed));
    assert!(text_of.contains("→ mainstay run retry reboot-7 --dry-run\n"), "{text_of}");
}

/// A step that is done once is no target more, and what is held back by a finding is not begun by a retry.
#[test]
fn what_a_finding_holds_back_is_not_for_a_retry() {
    let skipped = |target: &str| Work { step: "tidy".into(), target: target.into(), state: WorkState::Skipped.into(), ..Work::default() };
    let work = vec![skipped("once"), skipped("local/a1"), skipped("local/a2")];
    let run = Run { state: RunState::Failed.into(), ended_unix_ms: NOW.0, work, ..reboot() };
    let text = at(&WhyResponse { run: Some(run.clone()), ..WhyResponse::default() }, None);
    assert!(text.contains("– skipped   tidy on a1, a2\n") && !text.contains("retry"), "{text}");
    let aborted = Run { state: RunState::Aborted.into(), ..run };
    let text = at(&WhyResponse { run: Some(aborted), ..WhyResponse::default() }, None);
    assert!(text.contains("→ mainstay run retry reboot-7 --dry-run\n"), "{text}");
}

/// A run that was undone may have left what has no undo.
#[test]
fn what_an_undo_leaves_is_named() {
    let kept = Work { step: "keep".into(), kind: "node.exec".into(), target: "once".into(), state: WorkState::Succeeded.into(), ..Work::default() };
    let back = Work { step: "drain".into(), undo: WorkState::Succeeded.into(), has_undo: true, ..kept.clone() };
    let undone =
        Run { state: RunState::Failed.into(), undo: UndoState::Done.into(), ended_unix_ms: NOW.0, work: vec![back.clone(), kept], ..reboot() };
    assert_eq!(left(&undone), ["keep"]);
    assert!(
        at(&WhyResponse { run: Some(undone.clone()), ..WhyResponse::default() }, None)
            .contains("↺ undone    all else that it did has been taken back")
    );
    assert!(left(&Run { work: vec![back], ..undone }).is_empty());
}

#[test]
fn an_aborted_run_does_not_say_that_it_goes_on() {
    let aborted = |state: RunState, work| WhyResponse {
        run: Some(Run { state: state.into(), aborted_by: "operator/jo".into(), work, ..reboot() }),
        ..WhyResponse::default()
    };
    let active = Work { step: "drain".into(), state: WorkState::Active.into(), ..Work::default() };
    assert!(at(&aborted(RunState::Running, vec![active]), None).contains("it is being aborted: what is under way is told to stop\n"));
    assert!(at(&aborted(RunState::Running, vec![]), None).contains("it is being aborted: nothing further begins, and it is about to end\n"));
    assert!(at(&aborted(RunState::Undoing, vec![]), None).contains("it waits for nothing: what it did is being taken back\n"));
}

#[test]
fn after_a_finding_a_new_run_is_what_looks_again() {
    let look = Work { step: "look".into(), state: WorkState::Succeeded.into(), verdict: Verdict::Critical.into(), ..Work::default() };
    let inputs = [("note".to_owned(), "\"a b\"".to_owned()), ("limit".to_owned(), "5".to_owned())].into();
    let run = Run { state: RunState::Completed.into(), ended_unix_ms: NOW.0, inputs, work: vec![look], ..reboot() };
    let text = at(&WhyResponse { run: Some(run), ..WhyResponse::default() }, None);
    assert!(text.contains("  → mainstay run start reboot --set limit=5 --set 'note=a b'\n") && !text.contains("retry"), "{text}");
}

/// Also of a run that went on past it.
#[test]
fn an_unknown_outcome_names_what_does_it_again() {
    let nap = Work { step: "nap".into(), kind: "node.exec".into(), state: WorkState::Unknown.into(), ..Work::default() };
    let run = Run { state: RunState::Completed.into(), ended_unix_ms: NOW.0, work: vec![nap.clone()], ..reboot() };
    assert!(
        at(&WhyResponse { run: Some(run.clone()), ..WhyResponse::default() }, None).contains("→ mainstay run retry reboot-7 --unknown --dry-run\n")
    );
    assert_eq!(retry_unknown(&run).as_deref(), Some("mainstay run retry reboot-7 --unknown --dry-run"));
    let undone = Run { work: vec![nap, Work { undo: WorkState::Succeeded.into(), ..Work::default() }], ..run.clone() };
    assert_eq!(retry_unknown(&undone), None, "what was taken back is not gone on with");
    assert_eq!(retry_unknown(&Run { ended_unix_ms: 0, ..run }), None);
}

/// Also of a run that came off, and was taken back later.
#[test]
fn an_undo_that_failed_is_told_of_a_run_that_came_off() {
    let work = Work { step: "drain".into(), kind: "node.exec".into(), state: WorkState::Succeeded.into(), has_undo: true, ..Work::default() };
    let work = Work { undo: WorkState::Failed.into(), undo_detail: "exit status 3".into(), target: node(1), ..work };
    let run = Run { state: RunState::Completed.into(), undo: UndoState::Incomplete.into(), ended_unix_ms: NOW.0, work: vec![work], ..reboot() };
    let text = at(&WhyResponse { run: Some(run), ..WhyResponse::default() }, None);
    assert!(text.contains("✖ in place  drain on node-01\n              its undo failed: exit status 3\n"), "{text}");
    assert!(!text.contains("✔ done") && text.contains("→ mainstay run undo reboot-7"), "{text}");
}

/// What stays as its plan says is no undo that failed: a person takes it back, or does again what did not come off.
#[test]
fn what_is_kept_says_so() {
    let work = |step: &str, state: WorkState, has_undo: bool| Work {
        step: step.into(),
        kind: "kube.scale".into(),
        target: "cluster:prod".into(),
        state: state.into(),
        has_undo,
        ..Work::default()
    };
    let works = vec![work("switch", WorkState::Succeeded, true), work("end", WorkState::Failed, true)];
    let run = Run { state: RunState::Running.into(), work: works, ..reboot() };
    let goes_on = at(&WhyResponse { run: Some(run.clone()), failed: true, keeps: true, ..WhyResponse::default() }, None);
    assert!(goes_on.contains("what it did stays, as its plan says (onFailure: keep)") && !goes_on.contains("undo of"), "{goes_on}");
    let run = Run { state: RunState::Failed.into(), undo: UndoState::Incomplete.into(), ended_unix_ms: NOW.0, ..run };
    let ended = at(&WhyResponse { run: Some(run), ..WhyResponse::default() }, None);
    assert!(ended.contains("· stays") && !ended.contains("may still be in place"), "{ended}");
    assert!(ended.contains("→ mainstay run undo reboot-7") && ended.contains("→ mainstay run retry reboot-7 --dry-run"), "{ended}");
}
