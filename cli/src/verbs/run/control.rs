//! `mainstay run pause`, `resume`, `abort`, `undo` and `retry`.

use mainstay_client::Mesh;
use mainstay_proto::v1::{AbortRunRequest, GetRunRequest, PauseRunRequest, ResumeRunRequest, RetryRunRequest, Run, UndoRunRequest};

use crate::error::CliError;
use crate::render::forecast::{self, Forecast};
use crate::verbs::Screen;

pub async fn pause(run: &str, reason: &str, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<(), CliError> {
    let before = before(run, dry_run, mesh).await?;
    let answer = mesh.pause_run(PauseRunRequest { run: run.to_owned(), reason: reason.to_owned(), dry_run }).await?;
    match (before, &answer.would_be) {
        (Some(before), Some(after)) => told(&forecast::pause(&before, after), screen),
        _ => screen.done(&answer, &format!("✔ {run} begins nothing further; what is under way goes on to its end\n  mainstay run resume {run}")),
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
        _ => screen.done(&answer, &format!("✔ {run} is being aborted; what it did is undone\n  mainstay run watch {run}")),
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

pub async fn retry(run: &str, step: &str, unknown: bool, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<(), CliError> {
    let before = before(run, dry_run, mesh).await?;
    let answer = mesh.retry_run(RetryRunRequest { run: run.to_owned(), step: step.to_owned(), unknown, dry_run }).await?;
    match (before, &answer.would_be) {
        (Some(before), Some(after)) => told(&forecast::retry(&before, after), screen),
        _ => screen.done(&answer, &format!("✔ {run} goes on\n  mainstay run watch {run}")),
    }
}

/// The run as it is, where a dry run is to compare with it.
async fn before(run: &str, dry_run: bool, mesh: &Mesh) -> Result<Option<Run>, CliError> {
    Ok(if dry_run { Some(mesh.get_run(GetRunRequest { run: run.to_owned() }).await?) } else { None })
}

fn told(forecast: &Forecast, screen: Screen) -> Result<(), CliError> {
    screen.show(forecast, Forecast::text)
}
