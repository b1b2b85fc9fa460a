//! `mainstay run` and `mainstay why`

mod approve;
mod control;
pub mod follow;
mod start;

use futures::StreamExt;
use mainstay_client::{CallError, Mesh};
use mainstay_proto::v1::{GetRunRequest, ListRunsRequest, Run, WhyResponse};
use tonic::Code;

use super::{Screen, now, zone};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::report::recovery::Told;
use crate::render::report::{Options, findings};
use crate::render::{run as rendered, why as explained};
use follow::{Follow, follow};

pub async fn run(verb: &args::run::Run, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    use args::run::Run as Verb;
    match verb {
        Verb::Start(args) => return start::start(args, mesh, screen).await,
        Verb::List { plan, open } => {
            let runs = mesh.list_runs(ListRunsRequest { plan: plan.clone(), open: *open, unsettled: false }).await?;
            screen.show(&runs, |runs| rendered::list(&runs.runs, screen.terminal, now()))?;
        }
        Verb::Show { run, all } => {
            let run = mesh.get_run(GetRunRequest { run: run.clone() }).await?;
            screen.show(&Told::of(&run), |_| show(&run, *all, screen))?;
        }
        Verb::Watch { run } => return follow(mesh, run, Follow { screen, quiet: false }).await,
        Verb::Artifacts(args) => return super::artifact::artifacts(args, mesh, screen).await,
        Verb::Approve(args) => return approve::approve(args, mesh, screen).await,
        Verb::Pause { run, reason, dry_run } => control::pause(run, reason, *dry_run, mesh, screen).await?,
        Verb::Resume { run, dry_run } => control::resume(run, *dry_run, mesh, screen).await?,
        Verb::Abort { run, reason, dry_run } => control::abort(run, reason, *dry_run, mesh, screen).await?,
        Verb::Undo { run, reason, dry_run } => control::undo(run, reason, *dry_run, mesh, screen).await?,
        Verb::Retry { run, step, unknown, dry_run } => return control::retry(run, step, *unknown, *dry_run, mesh, screen).await,
    }
    Ok(Exit::Success)
}

/// Open runs that `why` looks at without being told which; a mesh has seldom more than a few.
const LOOKED_AT: usize = 50;
/// Of them so many at a time.
const AT_ONCE: usize = 8;

/// `mainstay why [RUN]`
pub async fn why(run: Option<&str>, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let Some(run) = run else { return why_any(mesh, screen).await };
    let answer = mesh.why_run(GetRunRequest { run: run.to_owned() }).await?;
    screen.show(&explained::Explained::of(&answer), |_| explained::why(&answer, screen.terminal, now(), &zone()))?;
    Ok(Exit::Success)
}

/// All that waits for a person, in open runs and in those that have ended.
async fn why_any(mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let runs = mesh.list_runs(ListRunsRequest { plan: String::new(), open: true, unsettled: true }).await?.runs;
    let (open, ended): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(|run| run.ended_unix_ms == 0);
    let more = open.len().saturating_sub(LOOKED_AT);
    let asked = open.into_iter().take(LOOKED_AT).map(|run| mesh.why_run(GetRunRequest { run: run.id }));
    let answers: Vec<_> = futures::stream::iter(asked).buffered(AT_ONCE).collect().await;
    // A run that has ended meanwhile and is gone waits for nothing.
    let answers: Vec<WhyResponse> = answers.into_iter().filter(|answer| !is_gone(answer)).collect::<Result<_, _>>()?;
    let all = explained::Any { runs: answers.iter().map(explained::Explained::of).collect(), ended: &ended, not_looked_at: more };
    screen.show(&all, |all| explained::any(&answers, &ended, all.not_looked_at, screen.terminal, now()))?;
    Ok(Exit::Success)
}

fn is_gone(answer: &Result<WhyResponse, CallError>) -> bool {
    matches!(answer, Err(CallError::Refused { code: Code::NotFound, .. }))
}

/// Head, steps and report of one run.
fn show(run: &Run, all: bool, screen: Screen) -> String {
    let head = rendered::show(run, screen.terminal, now(), &zone());
    let outputs = if all { rendered::outputs(run, screen.terminal) } else { String::new() };
    format!("{head}\n{outputs}{}", findings(run, Options { terminal: screen.terminal, all }))
}
