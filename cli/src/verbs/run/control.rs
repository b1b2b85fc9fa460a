//! `mainstay run pause`, `resume`, `abort`, `undo` and `retry`.

use mainstay_client::Mesh;
use mainstay_proto::v1::{
    AbortRunRequest, GetRunRequest, PauseRunRequest, ResumeRunRequest, RetryRunRequest, Run, Severity, UndoRunRequest, UndoState, Work, WorkState,
};

use crate::error::CliError;
use crate::exit::Exit;
use crate::render::forecast::{self, Forecast};
use crate::render::why;
use crate::verbs::Screen;

pub async fn pause(run: &str, reason: &str, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<(), CliError> {
    let before = before(run, dry_run, mesh).await?;
    let answer = mesh.pause_run(PauseRunRequest { run: run.to_owned(), reason: reason.to_owned(), dry_run }).await?;
    match (before, &answer.would_be) {
        (Some(before), Some(after)) => told(&forecast::pause(&before, after), screen),
        _ => screen.done(
            &answer,
            &format!("✔ {run} begins nothing further, and asks nobody; what is under way goes on to its end\n  mainstay run resume {run}"),
        ),
    }
}

pub async fn resume(run: &str, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<(), CliError> {
    let before = before(run, dry_run, mesh).await?;
    let answer = mesh.resume_run(ResumeRunRequest { run: run.to_owned(), dry_run }).await?;
    match (before, &answer.would_be) {
        (Some(before), Some(after)) => told(&forecast::resume(&before, after), screen),
        _ => screen.done(&answer, &format!("✔ {run} goes on\n  mainstay run watch {run}")),
    }
}

pub async fn abort(run: &str, reason: &str, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<(), CliError> {
    let before = before(run, dry_run, mesh).await?;
    let answer = mesh.abort_run(AbortRunRequest { run: run.to_owned(), reason: reason.to_owned(), dry_run }).await?;
    match (before, &answer.would_be) {
        (Some(before), Some(after)) => told(&forecast::abort(&before, after), screen),
        _ => {
            let is_back = |work: &Work| work.has_undo && work.state() == WorkState::Succeeded;
            let is_cut_off = |work: &Work| work.state() == WorkState::Active;
            // The abort is taken, whether the mesh says more or not.
            let then = match mesh.get_run(GetRunRequest { run: run.to_owned() }).await {
                Ok(after) if after.work.iter().any(is_back) && after.work.iter().any(is_cut_off) => {
                    "what had come to its end and has an undo is taken back; what is under way is stopped, and stays as far as it came"
                }
                Ok(after) if after.work.iter().any(is_back) => "what was done and has an undo is taken back",
                Ok(after) if after.work.iter().any(is_cut_off) => "what is under way is stopped, and stays as far as it came",
                Ok(after) if after.work.iter().all(|work| work.attempts.is_empty()) => "it has done nothing yet",
                Ok(_) => "nothing of what it did has an undo: what is done stays",
                Err(_) => "what was done is taken back where it has an undo",
            };
            screen.done(&answer, &format!("✔ {run} is being aborted; {then}\n  mainstay why {run}"))
        }
    }
}

pub async fn undo(run: &str, reason: &str, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<(), CliError> {
    let before = before(run, dry_run, mesh).await?;
    let answer = mesh.undo_run(UndoRunRequest { run: run.to_owned(), reason: reason.to_owned(), dry_run }).await?;
    match (before, &answer.would_be) {
        (Some(before), Some(after)) => told(&forecast::undo(&before, after), screen),
        _ => screen.done(&answer, &format!("✔ what {run} did is being taken back\n  mainstay run watch {run}")),
    }
}

pub async fn retry(run: &str, step: &str, unknown: bool, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let before = mesh.get_run(GetRunRequest { run: run.to_owned() }).await?;
    if before.undo() == UndoState::Incomplete && before.work.iter().any(|work| work.undo() != WorkState::Unspecified) {
        let again = before.work.iter().any(why::can_be_taken_back);
        return Err(if again { undo_is_first(run) } else { undone_before(&before) });
    }
    let answer = mesh.retry_run(RetryRunRequest { run: run.to_owned(), step: step.to_owned(), unknown, dry_run }).await?;
    let Some(after) = answer.would_be.as_ref().filter(|_| dry_run) else {
        screen.done(&answer, &format!("✔ {run} goes on\n  mainstay run watch {run}"))?;
        return Ok(Exit::Success);
    };
    told(&forecast::retry(&before, after, &answer.remarks), screen)?;
    let ends_well = !answer.remarks.iter().any(|remark| remark.severity() == Severity::Problem);
    Ok(if ends_well { Exit::Success } else { Exit::Failed })
}

/// What was taken back in part is neither there nor gone: nothing goes on from that.
fn undo_is_first(run: &str) -> CliError {
    CliError::failed(format!("{run} was to be taken back, and that did not come off: some of it is still in place, and it is not gone on with"))
        .with_next(format!("what is in place, and why:  mainstay why {run}"))
        .with_next(format!("take it back, tried again:  mainstay run undo {run} --reason \"…\" --dry-run"))
}

/// What is left of it nobody can take back by a command.
fn undone_before(run: &Run) -> CliError {
    CliError::failed(format!("{} was taken back, as far as it has an undo, and is not gone on with", run.id))
        .with_next(format!("what is or may be in place still:  mainstay why {}", run.id))
        .with_next(format!("when that has been looked at, a new run:  {}", why::start_anew(run)))
}

/// The run as it is, where a dry run is to compare with it.
async fn before(run: &str, dry_run: bool, mesh: &Mesh) -> Result<Option<Run>, CliError> {
    Ok(if dry_run { Some(mesh.get_run(GetRunRequest { run: run.to_owned() }).await?) } else { None })
}

fn told(forecast: &Forecast, screen: Screen) -> Result<(), CliError> {
    screen.show(forecast, Forecast::text)
}
