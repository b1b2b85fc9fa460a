//! `mainstay run` and `mainstay why`

use std::time::Duration;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::random::Backoff;
use mainstay_client::{CallError, Mesh};
use mainstay_proto::v1::{AbortRunRequest, GetRunRequest, ListRunsRequest, Run, RunState, StartRunRequest, run_event};
use tokio_stream::StreamExt;
use tonic::Code;

use super::{Screen, now, print, zone};
use crate::args;
use crate::connection::may_pass;
use crate::error::CliError;
use crate::exit::Exit;
use crate::host;
use crate::render::progress::Progress;
use crate::render::report::{Options, findings, report};
use crate::render::{layout, run as rendered};

/// How long a run is followed through a mesh that does not answer.
const LOST_PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries to follow it again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

pub async fn run(verb: &args::run::Run, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    use args::run::Run as Verb;
    match verb {
        Verb::Start { plan, revision, set, wait } => start(plan, *revision, set, *wait, mesh, screen).await,
        Verb::List { plan, open } => {
            let runs = mesh.list_runs(ListRunsRequest { plan: plan.clone(), open: *open }).await?;
            screen.show(&runs, |runs| rendered::list(&runs.runs, screen.terminal, now()))?;
            Ok(Exit::Success)
        }
        Verb::Show { run, all } => {
            let run = mesh.get_run(GetRunRequest { run: run.clone() }).await?;
            screen.show(&run, |run| show(run, *all, screen))?;
            Ok(Exit::Success)
        }
        Verb::Watch { run } => follow(mesh, run, Follow { screen, quiet: false }).await,
        Verb::Abort { run, reason } => {
            let answer = mesh.abort_run(AbortRunRequest { run: run.clone(), reason: reason.clone() }).await?;
            screen.done(&answer, &format!("✔ {run} is being aborted; what it did is undone\n  mainstay run watch {run}"))?;
            Ok(Exit::Success)
        }
    }
}

/// `mainstay why RUN`
pub async fn why(run: &str, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let answer = mesh.why_run(GetRunRequest { run: run.to_owned() }).await?;
    screen.show(&answer, |answer| rendered::why(answer, screen.terminal, now(), &zone()))?;
    Ok(Exit::Success)
}

async fn start(plan: &str, revision: u32, set: &[(String, String)], wait: bool, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let request = StartRunRequest { plan: plan.to_owned(), revision, inputs: set.iter().cloned().collect(), ..StartRunRequest::default() };
    let started = mesh.start_run(request).await?;
    if wait {
        return follow(mesh, &started.run, Follow { screen, quiet: false }).await;
    }
    let run = &started.run;
    screen
        .done(&started, &format!("✔ {run} has started\n  follow it:          mainstay run watch {run}\n  for what it waits:  mainstay why {run}"))?;
    Ok(Exit::Success)
}

/// Head, steps and report of one run.
fn show(run: &Run, all: bool, screen: Screen) -> String {
    let head = rendered::show(run, screen.terminal, now(), &zone());
    format!("{head}\n{}", findings(run, Options { terminal: screen.terminal, all }))
}

/// How a run is followed.
#[derive(Debug, Clone, Copy)]
pub struct Follow {
    pub screen: Screen,
    /// No progress, only the report.
    pub quiet: bool,
}

/// Follows a run until it has ended, prints its report, and ends with its status. A leader that changes
/// meanwhile is not noticed.
pub async fn follow(mesh: &Mesh, run: &str, how: Follow) -> Result<Exit, CliError> {
    let ended = watch(mesh, run, how).await?;
    if how.screen.is_json() {
        print(&crate::render::json::json(&ended)?)?;
    } else {
        print(&report(&ended, Options { terminal: how.screen.terminal, all: false }))?;
    }
    Ok(Exit::of_run(&ended))
}

async fn watch(mesh: &Mesh, run: &str, how: Follow) -> Result<Run, CliError> {
    let mut progress = Progress::new(how.screen.notes, how.quiet);
    let mut pauses = Backoff::new(AGAIN.0, AGAIN.1);
    let mut last_heard = SystemClock.monotonic();
    loop {
        let broken = match mesh.watch_run(GetRunRequest { run: run.to_owned() }).await {
            Err(error) => error,
            Ok(mut events) => loop {
                match events.next().await {
                    Some(Ok(event)) => {
                        last_heard = SystemClock.monotonic();
                        pauses.reset();
                        if let Some(ended) = heard(event.event, &mut progress, how) {
                            return Ok(ended);
                        }
                    }
                    Some(Err(status)) if status.code() == Code::NotFound => return Err(CliError::usage(status.message())),
                    Some(Err(status)) => break CallError::NoLeader { message: status.message().to_owned() },
                    None => break CallError::NoLeader { message: format!("nobody tells about {run} any more") },
                }
            },
        };
        let silent = SystemClock.monotonic() - last_heard;
        if !may_pass(&broken) || silent > LOST_PATIENCE {
            return Err(CliError::from(broken).with_next(format!("the run goes on without being watched; look again:  mainstay run watch {run}")));
        }
        tokio::time::sleep(pauses.pause()).await;
    }
}

/// Shows what was heard; the run, when it has ended.
fn heard(event: Option<run_event::Event>, progress: &mut Progress, how: Follow) -> Option<Run> {
    match event {
        Some(run_event::Event::Run(run)) => {
            progress.update(&run);
            if !progress.is_drawn() && !how.quiet {
                note(&progress.changes(&run));
            }
            let ended = matches!(run.state(), RunState::Completed | RunState::Failed | RunState::Aborted);
            ended.then(|| {
                progress.finish();
                run
            })
        }
        Some(run_event::Event::Output(line)) => {
            progress.line(&line);
            if !progress.is_drawn() && !how.quiet {
                note(&format!("{} on {} | {}\n", line.step, line.target, layout::harmless(&line.line)));
            }
            None
        }
        None => None,
    }
}

fn note(text: &str) {
    if !text.is_empty() {
        // Progress that nobody reads is no reason to stop following.
        let _ = host::print_error(text);
    }
}
