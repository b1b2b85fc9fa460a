//! `mainstay lease run`: a command that runs only as long as a lease is held.
//!
//! ```text
//!  acquire ─▶ start the command ─▶ it ends ─▶ release ─▶ its status
//!     │ not in time: 125              └ the lease is lost first: SIGTERM, 10 s, SIGKILL ─▶ 125
//! ```

use std::io::{IsTerminal, stdin};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use mainstay_client::Mesh;
use mainstay_client::lease::{Held, HoldError, HoldOptions};
use mainstay_core::state::lease::LeaseSpec;
use mainstay_core::{LeaseName, Millis};
use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::lease::Hold;
use crate::error::CliError;
use crate::exit::Exit;
use crate::host::{self, Whom};
use crate::render::progress::{Waiting, note};
use crate::verbs::Screen;

/// Variable with the grant's token in the command's environment.
const TOKEN_VARIABLE: &str = "MAINSTAY_LEASE_TOKEN";
/// How long a command whose lease is lost may take to end by itself. It runs unprotected meanwhile.
const ENDING: Duration = Duration::from_secs(10);

/// How long to try to give the lease back. Without that it ends after its TTL.
const RELEASING: Duration = Duration::from_secs(3);

pub async fn run(hold: &Hold, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let name: LeaseName = hold.name.parse().map_err(|error| CliError::usage(format!("{error}")))?;
    let mut signals = Signals::new()?;
    let waiting = Waiting::on(screen.notes, &format!("waiting for the lease {name}"));
    let acquired = tokio::select! {
        biased;
        signal = signals.next() => return Ok(Exit::Command(killed_by(signal))),
        acquired = mesh.hold_lease(name.as_str(), options(hold)) => acquired,
    };
    drop(waiting);
    let held = match acquired {
        Ok(held) => held,
        Err(HoldError::Held { held_by, .. }) => return Err(not_had(&name, hold.wait, &held_by)),
        Err(HoldError::Call(error)) => return Err(error.into()),
    };
    let outcome = under(&held, hold, &mut signals, screen).await;
    if held.is_lost() {
        // There is nothing to give back, and likely nobody to give it to.
        return outcome;
    }
    match tokio::time::timeout(RELEASING, held.release()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => note(screen.notes, &format!("the lease {name} was not given back ({error}); it ends by itself after its TTL")),
        Err(_) => note(screen.notes, &format!("nobody took the lease {name} back; it ends by itself after its TTL")),
    }
    outcome
}

fn options(hold: &Hold) -> HoldOptions {
    let defined = hold.slots.is_some() || hold.ttl.is_some();
    let default = LeaseSpec::default();
    let spec = defined.then(|| LeaseSpec { slots: hold.slots.unwrap_or(default.slots), ttl: hold.ttl.unwrap_or(default.ttl), ..default });
    let mut attributes = std::collections::BTreeMap::from([("pid".to_owned(), std::process::id().to_string())]);
    if let Some(host) = host::host_name() {
        attributes.insert("host".to_owned(), host);
    }
    let program = hold.command.first().map(|program| program.to_string_lossy().chars().take(64).collect::<String>());
    attributes.extend(program.map(|program| ("command".to_owned(), program)));
    HoldOptions { spec, wait: hold.wait.as_duration(), attributes, takes_over: false }
}

fn not_had(name: &LeaseName, wait: Millis, held_by: &[String]) -> CliError {
    let by = if held_by.is_empty() { String::new() } else { format!("; {} has it", held_by.join(", ")) };
    CliError::new(Exit::LeaseLost, format!("the lease {name} was not had within {wait}{by}"))
        .with_next(format!("see who holds it, and who waits:  mainstay lease show {name}"))
        .with_next("wait longer:                      --wait 2h")
}

/// Runs the command while the lease is held.
async fn under(held: &Held, hold: &Hold, signals: &mut Signals, screen: Screen) -> Result<Exit, CliError> {
    let Some((program, arguments)) = hold.command.split_first() else { return Err(CliError::usage("there is no command")) };
    let mut command = Command::new(program);
    command.args(arguments).env(TOKEN_VARIABLE, held.token()).kill_on_drop(true);
    // A group of its own, so that whatever it starts ends with it. On a terminal it stays in this one's, or it
    // could not read from the terminal.
    let whom = if stdin().is_terminal() { Whom::Process } else { Whom::Group };
    if whom == Whom::Group {
        command.process_group(0);
    }
    let mut child = command.spawn().map_err(|error| not_started(&program.to_string_lossy(), &error))?;
    let pid = child.id();
    loop {
        tokio::select! {
            biased;
            status = child.wait() => return Ok(Exit::Command(code(status.unwrap_or_default()))),
            () = held.lost() => {
                note(screen.notes, &format!("the lease {} is lost: the command is ended", held.name()));
                end(&mut child, whom).await;
                return Err(CliError::new(Exit::LeaseLost, format!("the lease {} was lost, and the command was ended", held.name()))
                    .with_next("somebody else may hold it by now; whatever checks the token refuses the old one")
                    .with_next(format!("see who holds it:  mainstay lease show {}", held.name())));
            }
            signal = signals.next() => {
                // On a terminal, Ctrl-C has reached the command already.
                if !(whom == Whom::Process && signal == Signal::INT) {
                    send(pid, whom, signal);
                }
            }
        }
    }
}

fn not_started(program: &str, error: &std::io::Error) -> CliError {
    // As shells do: 127 for what is not there, 126 for what cannot be run.
    let status = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
    CliError::new(Exit::Command(status), format!("{program} cannot be started: {error}"))
}

async fn end(child: &mut Child, whom: Whom) {
    let pid = child.id();
    send(pid, whom, Signal::TERM);
    if tokio::time::timeout(ENDING, child.wait()).await.is_err() {
        send(pid, whom, Signal::KILL);
        // Nothing is left to be done about a process that SIGKILL does not end.
        let _ = tokio::time::timeout(ENDING, child.wait()).await;
    }
    if whom == Whom::Group {
        send(pid, whom, Signal::KILL);
    }
}

fn send(pid: Option<u32>, whom: Whom, signal: Signal) {
    if let Some(pid) = pid
        && let Err(error) = host::signal(pid, whom, signal)
    {
        tracing::warn!(%error, pid, "the command cannot be sent a signal");
    }
}

/// The status of a shell for a process that ended so.
fn code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(1),
        (None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(1),
        (None, None) => 1,
    }
}

fn killed_by(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(1)
}

/// Signals that go on to the command.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Signals, CliError> {
        let failed = |error: std::io::Error| CliError::failed(format!("signals cannot be waited for: {error}"));
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            hangup: signal(SignalKind::hangup()).map_err(failed)?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn statuses_are_those_of_a_shell() {
        assert_eq!([code(ExitStatus::from_raw(0)), code(ExitStatus::from_raw(7 << 8)), code(ExitStatus::from_raw(9))], [0, 7, 137]);
        assert_eq!(killed_by(Signal::INT), 130);
        assert_eq!(not_started("x", &std::io::ErrorKind::NotFound.into()).exit.status(), 127);
        let error = not_had(&"demo".parse().unwrap(), Millis(5_000), &["operator/ana".into()]);
        assert_eq!((error.exit.status(), error.message.as_str()), (125, "the lease demo was not had within 5s; operator/ana has it"));
    }

    #[tokio::test]
    async fn a_command_that_does_not_listen_is_killed_with_what_it_started() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 300 & echo $!; wait"]).process_group(0).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut output = tokio::io::BufReader::new(child.stdout.take().unwrap());
        tokio::io::AsyncBufReadExt::read_line(&mut output, &mut line).await.unwrap();
        end(&mut child, Whom::Group).await;
        // The pipe ends when both are gone that held it.
        let rest = tokio::time::timeout(ENDING, tokio::io::AsyncBufReadExt::read_line(&mut output, &mut line)).await;
        assert_eq!(rest.unwrap().unwrap(), 0);
        assert!(child.try_wait().unwrap().is_some());
    }
}
