//! Follows a run until it has ended.

use std::time::Duration;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::random::Backoff;
use mainstay_client::{CallError, Mesh};
use mainstay_proto::v1::{GetRunRequest, Run, RunState, WorkState, run_event};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::connection::may_pass;
use crate::error::CliError;
use crate::exit::Exit;
use crate::host;
use crate::render::progress::Progress;
use crate::render::report::recovery::Told;
use crate::render::report::{Options, report};
use crate::render::{layout, why};
use crate::verbs::{Screen, print};

/// How long a run is followed through a mesh that does not answer.
const LOST_PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries to follow it again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// After so long without news, and nothing under way, it is asked for what the run waits.
const QUIET: Duration = Duration::from_secs(2);
/// What waits for hours is asked about this often.
const QUIET_MOST: Duration = Duration::from_secs(30);

/// What changes by itself has changed so long after its time.
const AFTER_A_CHANGE: Duration = Duration::from_millis(500);

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
        print(&crate::render::json::json(&Told::of(&ended))?)?;
    } else {
        print(&report(&ended, Options { terminal: how.screen.terminal, all: false }))?;
    }
    Ok(Exit::of_run(&ended))
}

async fn watch(mesh: &Mesh, run: &str, how: Follow) -> Result<Run, CliError> {
    let mut progress = Progress::new(how.screen.notes, how.quiet);
    let mut pauses = Backoff::new(AGAIN.0, AGAIN.1);
    let mut last_heard = SystemClock.monotonic();
    let mut quiet = Quiet::default();
    loop {
        let broken = match mesh.watch_run(GetRunRequest { run: run.to_owned() }).await {
            Err(error) => error,
            Ok(mut events) => loop {
                let Ok(event) = tokio::time::timeout(quiet.patience, events.next()).await else {
                    quiet.look(mesh, run, &mut progress, how).await;
                    continue;
                };
                match event {
                    Some(Ok(event)) => {
                        last_heard = SystemClock.monotonic();
                        pauses.reset();
                        quiet.heard(&event.event);
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

/// A run that does not move: whoever follows it is told for what it waits, once.
struct Quiet {
    patience: Duration,
    works: bool,
    told: Option<why::First>,
}

impl Default for Quiet {
    fn default() -> Quiet {
        Quiet { patience: QUIET, works: false, told: None }
    }
}

impl Quiet {
    fn heard(&mut self, event: &Option<run_event::Event>) {
        if let Some(run_event::Event::Run(run)) = event {
            self.patience = QUIET;
            self.works = run.work.iter().any(|work| work.state() == WorkState::Active);
        }
    }

    async fn look(&mut self, mesh: &Mesh, run: &str, progress: &mut Progress, how: Follow) {
        self.patience = (self.patience * 2).min(QUIET_MOST);
        if self.works || how.quiet {
            return;
        }
        // That nobody answers is noticed by the watch itself.
        let Ok(answer) = mesh.why_run(GetRunRequest { run: run.to_owned() }).await else { return };
        if let Some(left) = why::changes_in(&answer) {
            self.patience = self.patience.min(Duration::from_millis(left) + AFTER_A_CHANGE);
        }
        let words = why::first(&answer);
        if words == self.told {
            return;
        }
        if let Some(words) = &words {
            if progress.is_drawn() {
                progress.waits(words);
            } else {
                let command = words.command.as_ref().map_or_else(String::new, |command| format!(":  {command}"));
                note(&format!("{run} waits: {}\n", layout::harmless(&(words.words.clone() + &command))));
            }
        }
        self.told = words;
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
