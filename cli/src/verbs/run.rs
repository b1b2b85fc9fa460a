//! `mainstay run` and `mainstay why`

mod approve;
mod control;
pub mod follow;
mod start;

use mainstay_client::Mesh;
use mainstay_proto::v1::{GetRunRequest, ListRunsRequest, Run};

use super::{Screen, now, zone};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::report::{Options, findings};
use crate::render::{run as rendered, why as explained};
use follow::{Follow, follow};

pub async fn run(verb: &args::run::Run, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    use args::run::Run as Verb;
    match verb {
        Verb::Start(args) => return start::start(args, mesh, screen).await,
        Verb::List { plan, open } => {
            let runs = mesh.list_runs(ListRunsRequest { plan: plan.clone(), open: *open }).await?;
            screen.show(&runs, |runs| rendered::list(&runs.runs, screen.terminal, now()))?;
        }
        Verb::Show { run, all } => {
            let run = mesh.get_run(GetRunRequest { run: run.clone() }).await?;
            screen.show(&run, |run| show(run, *all, screen))?;
        }
        Verb::Watch { run } => return follow(mesh, run, Follow { screen, quiet: false }).await,
        Verb::Artifacts(args) => return super::artifact::artifacts(args, mesh, screen).await,
        Verb::Approve(args) => return approve::approve(args, mesh, screen).await,
        Verb::Pause { run, reason, dry_run } => control::pause(run, reason, *dry_run, mesh, screen).await?,
        Verb::Resume { run, dry_run } => control::resume(run, *dry_run, mesh, screen).await?,
        Verb::Abort { run, reason, dry_run } => control::abort(run, reason, *dry_run, mesh, screen).await?,
        Verb::Undo { run, reason, dry_run } => control::undo(run, reason, *dry_run, mesh, screen).await?,
        Verb::Retry { run, step, unknown, dry_run } => control::retry(run, step, *unknown, *dry_run, mesh, screen).await?,
    }
    Ok(Exit::Success)
}

/// `mainstay why RUN`
pub async fn why(run: &str, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let answer = mesh.why_run(GetRunRequest { run: run.to_owned() }).await?;
    screen.show(&answer, |answer| explained::why(answer, screen.terminal, now(), &zone()))?;
    Ok(Exit::Success)
}

/// Head, steps and report of one run.
fn show(run: &Run, all: bool, screen: Screen) -> String {
    let head = rendered::show(run, screen.terminal, now(), &zone());
    let outputs = if all { rendered::outputs(run, screen.terminal) } else { String::new() };
    format!("{head}\n{outputs}{}", findings(run, Options { terminal: screen.terminal, all }))
}
