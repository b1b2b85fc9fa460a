//! `node.packages`: installs and upgrades packages of the machine's own distribution, from its own repositories.
//!
//! ```text
//!  list ─▶ mend what was interrupted ─▶ refresh ─▶ install or upgrade ─▶ list again: what has changed
//! ```
//!
//! | part | what it does |
//! | --- | --- |
//! | `manager` | programs and arguments of apt and dnf, and what they mean by what they say. Pure |
//! | `lists` | what is installed, and what has changed. Pure |
//!
//! Done twice, the second time changes nothing. An attempt that is ended in the middle may leave packages unpacked and not
//! configured: the next one brings those to an end first.

mod lists;
mod manager;

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::AsyncReadExt as _;

use self::lists::{Change, Listed, changes};
use self::manager::{Manager, Tools, environment, is_interrupted};
use super::output::{OutputLine, Stream};
use super::params::{self, Span};
use super::{Context, Ended, StepError, exec, outgoing};
use crate::artifacts::OutputLog;

const KIND: &str = "node.packages";
/// For the repositories' indexes, besides the waiting for another manager.
const REFRESHED_WITHIN: Duration = Duration::from_secs(600);
/// For one list of what is installed.
const LISTED_WITHIN: Duration = Duration::from_secs(120);
/// Largest list: of a hundred thousand packages.
const LIST_BYTES: u64 = 8 << 20;
/// Between two tries while another package manager is at work.
const AGAIN: Duration = Duration::from_secs(5);
/// Made by packages that take effect with the next start of the machine.
const REBOOT_REQUIRED: &str = "/var/run/reboot-required";
/// Check of whether it is there, where that cannot be told.
const NEEDS_REBOOT: &str = "node.packages.rebootRequired";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    #[serde(default)]
    manager: Wanted,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default = "five_minutes")]
    lock_wait: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    /// The one that the machine has.
    #[default]
    Auto,
    Apt,
    Dnf,
}

fn five_minutes() -> Span {
    Span(Millis::from_secs(300))
}

/// One attempt.
struct Work<'c> {
    context: &'c Context,
    tools: Tools,
    lock_wait: Millis,
    log: OutputLog,
    /// What the manager had left half done was brought to an end.
    mended: bool,
}

/// For another package manager that is at work.
struct Patience {
    /// By the monotonic clock.
    until: Duration,
    /// Whoever watches has been told.
    is_told: bool,
}

fn read(with: &Map<String, Value>) -> Result<Params, StepError> {
    let params: Params = params::read(KIND, with)?;
    manager::check(&params.packages).map_err(|why| StepError::refused(format!("{KIND}: {why}")))?;
    Ok(params)
}

/// Whether the parameters are some.
///
/// # Errors
/// Refused.
pub(super) fn allowed(with: &Map<String, Value>) -> Result<(), StepError> {
    read(with).map(drop)
}

/// Installs and upgrades.
///
/// # Errors
/// Refused parameters; a machine without the manager; one that another is at work on for too long; what the manager fails with.
pub(super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params = read(with)?;
    let tools = Tools::of(present(params.manager, context)?);
    carry_out(&params, tools, context).await
}

async fn carry_out(params: &Params, tools: Tools, context: &Context) -> Result<Report, StepError> {
    let mut work = Work { context, tools, lock_wait: params.lock_wait.0, log: context.artifacts.output_log(), mended: false };
    let before = work.list().await?;
    let changed = work.change(&params.packages, &before.half_done).await;
    // What has changed is told also where not all of it came off.
    let after = work.list().await;
    let not_stored = context.artifacts.put_output(work.log.clone()).await;
    match (changed, after) {
        (Ok(()), Ok(after)) => Ok(work.report(&changes(&before.installed, &after.installed), not_stored)),
        (Ok(()), Err(error)) => Err(error),
        (Err(error), Ok(after)) => {
            let changed = changes(&before.installed, &after.installed);
            let message =
                if changed.is_empty() { error.message.clone() } else { format!("{} ({} changed before)", error.message, counted(changed.len())) };
            Err(StepError { message, ..error }.with_report(work.report(&changed, not_stored)))
        }
        (Err(error), Err(_)) => Err(error),
    }
}

/// The manager that is meant, where the machine has it.
fn present(wanted: Wanted, context: &Context) -> Result<Manager, StepError> {
    let meant: Vec<Manager> = Manager::ALL.into_iter().filter(|manager| wanted == Wanted::Auto || wanted == of(*manager)).collect();
    for manager in &meant {
        let program = manager.program();
        let is_there = exec::root::is_there(context, program);
        if is_there.map_err(|error| StepError::failed(format!("{KIND}: whether the machine has {program} cannot be told: {error}")))? {
            return Ok(*manager);
        }
    }
    let programs: Vec<&str> = meant.iter().map(|manager| manager.program()).collect();
    Err(StepError::refused(format!("{KIND}: this machine has no {}", programs.join(" and no "))))
}

fn of(manager: Manager) -> Wanted {
    match manager {
        Manager::Apt => Wanted::Apt,
        Manager::Dnf => Wanted::Dnf,
    }
}

/// For the repositories' indexes with the waiting for another manager.
fn refreshed_within(lock_wait: Millis) -> Duration {
    REFRESHED_WITHIN.saturating_add(lock_wait.as_duration())
}

/// What was printed since `before` was all of it; all that is kept, where the beginning has gone meanwhile.
fn since<'t>(before: &str, tail: &'t str) -> &'t str {
    tail.strip_prefix(before).unwrap_or(tail)
}

/// Somebody who called it off, or never let it begin, has nothing to look at.
fn not_mended(error: StepError) -> StepError {
    if error.ended != Ended::Failed {
        return error;
    }
    let message = format!("{KIND}: packages were left half done, and could not be configured; somebody has to look at the node: {}", error.message);
    StepError { message, ..error }
}

fn counted(packages: usize) -> String {
    if packages == 1 { "1 package".to_owned() } else { format!("{packages} packages") }
}

impl Work<'_> {
    fn failed(&self, why: impl std::fmt::Display) -> StepError {
        StepError::failed(format!("{KIND}: {why}"))
    }

    async fn change(&mut self, packages: &[String], half_done: &BTreeSet<String>) -> Result<(), StepError> {
        if !half_done.is_empty() && self.mend(true).await? {
            self.mended = !half_done.is_subset(&self.list().await?.half_done);
        }
        let (refreshing, within) = (self.tools.refreshing(), refreshed_within(self.lock_wait));
        match tokio::time::timeout(within, self.run(refreshing)).await {
            Ok(refreshed) => refreshed?,
            Err(_) => return Err(self.failed(format!("the repositories' indexes could not be had within {} s", within.as_secs()))),
        }
        let changing = self.tools.changing(packages, self.lock_wait);
        match self.run(changing.clone()).await {
            Err(error) if is_interrupted(&error.message) => {
                self.mended = self.mend(false).await? || self.mended;
                self.run(changing).await
            }
            ended => ended,
        }
    }

    /// Brings to an end what an earlier package manager has left half done, whoever ended it. With `listed`, only while the
    /// list has such packages: what another manager is at work on looks the same until that one has done. Whether there
    /// was anything to do.
    async fn mend(&self, listed: bool) -> Result<bool, StepError> {
        let Some(mending) = self.tools.mending() else { return Ok(false) };
        self.say("packages are half done: they are configured first");
        let mut patience = self.patience();
        while let Some(held_up) = self.tried(&mending).await.map_err(not_mended)? {
            self.wait(held_up, &mut patience).await?;
            if listed && self.list().await?.half_done.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs a command as `node.exec` does, and again while another package manager is at work.
    async fn run(&self, command: Vec<String>) -> Result<(), StepError> {
        let mut patience = self.patience();
        while let Some(held_up) = self.tried(&command).await? {
            self.wait(held_up, &mut patience).await?;
        }
        Ok(())
    }

    /// Runs a command once. By what it was held up, where another package manager is at work.
    async fn tried(&self, command: &[String]) -> Result<Option<StepError>, StepError> {
        let params = exec::Params::of(command.to_vec(), environment());
        let before = self.context.output.tail();
        match exec::piece(&params, self.context, &self.log).await {
            Ok(_) => Ok(None),
            Err(error) if self.is_locked(&error, &before) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    fn patience(&self) -> Patience {
        Patience { until: self.context.host.monotonic().saturating_add(self.lock_wait.as_duration()), is_told: false }
    }

    /// Waits a little for another package manager, and not for ever.
    async fn wait(&self, held_up: StepError, patience: &mut Patience) -> Result<(), StepError> {
        if self.context.host.monotonic() >= patience.until {
            let message = format!("{KIND}: another package manager was at work for more than {}: {}", self.lock_wait, held_up.message);
            return Err(StepError { message, ..held_up });
        }
        if !patience.is_told {
            self.say("another package manager is at work: it is waited for");
            patience.is_told = true;
        }
        tokio::select! {
            biased;
            () = self.context.cancel.cancelled() => Err(StepError::cancelled(format!("{KIND} was called off"))),
            () = tokio::time::sleep(AGAIN) => Ok(()),
        }
    }

    fn is_locked(&self, error: &StepError, before: &str) -> bool {
        let status = error.report.as_ref().and_then(|report| report.outputs.get("exitCode")?.as_i64());
        error.ended == Ended::Failed && self.tools.manager.is_locked(&error.message, since(before, &self.context.output.tail()), status)
    }

    async fn list(&self) -> Result<Listed, StepError> {
        Ok(self.tools.listed(&self.read(&self.tools.listing()).await?))
    }

    /// What a command prints that only looks. It is nobody's to watch, and for no report.
    async fn read(&self, command: &[String]) -> Result<String, StepError> {
        let program = &command[0];
        if self.context.host.commands().is_some() {
            return Err(self.failed("packages cannot be listed on this machine"));
        }
        let params = exec::Params::of(command.to_vec(), environment());
        let mut child = exec::command(&params, self.context)
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| self.failed(format!("{program} cannot be started: {}", outgoing::plain_cause(&error))))?;
        let pipe = child.stdout.take();
        let reading = async {
            let mut text = Vec::new();
            if let Some(pipe) = pipe {
                pipe.take(LIST_BYTES + 1).read_to_end(&mut text).await?;
            }
            Ok::<_, std::io::Error>((text, child.wait().await?))
        };
        let ended = tokio::select! {
            biased;
            () = self.context.cancel.cancelled() => return Err(StepError::cancelled(format!("{KIND} was called off"))),
            ended = tokio::time::timeout(LISTED_WITHIN, reading) => ended,
        };
        match ended {
            Ok(Ok((text, _))) if text.len() as u64 > LIST_BYTES => Err(self.failed(format!("{program} prints more than {} MiB", LIST_BYTES >> 20))),
            Ok(Ok((text, status))) if status.success() => Ok(String::from_utf8_lossy(&text).into_owned()),
            Ok(Ok((_, status))) => Err(self.failed(format!("{program} ended with {status}"))),
            Ok(Err(error)) => Err(self.failed(format!("{program}: {error}"))),
            Err(_) => Err(self.failed(format!("{program} did not end within {} s", LISTED_WITHIN.as_secs()))),
        }
    }

    fn say(&self, words: &str) {
        self.context.output.line(OutputLine { stream: Stream::Stdout, at: self.context.host.wall(), text: words.to_owned() });
    }

    fn report(&self, changed: &[Change], not_stored: Option<Check>) -> Report {
        let subject = self.context.labels.node.as_ref().map(|node| format!("node/{node}")).unwrap_or_default();
        let lines: Vec<String> = changed.iter().map(ToString::to_string).collect();
        // Last, so that they are in what is kept of the output.
        lines.iter().for_each(|line| self.say(line));
        let asked = match self.tools.manager {
            Manager::Apt => exec::root::is_there(self.context, REBOOT_REQUIRED).map(Some),
            // Its machines have no such file, and who asks nobody says neither yes nor no.
            Manager::Dnf => Ok(None),
        };
        let message = match changed.len() {
            0 => "nothing was to be changed".to_owned(),
            changes => format!("{} changed", counted(changes)),
        };
        let mended = if self.mended { "; what was left half done before was configured first" } else { "" };
        let asks = if matches!(asked, Ok(Some(true))) { "; the node asks to be rebooted" } else { "" };
        let check = Check::stated(KIND, &subject, Verdict::Ok, format!("{message}{mended}{asks}")).with_details(lines);
        let not_told = asked.as_ref().err().map(|error| {
            let words = format!("whether the node asks to be rebooted cannot be told, and `rebootRequired` is not there: {REBOOT_REQUIRED}: {error}");
            Check::stated(NEEDS_REBOOT, &subject, Verdict::Unknown, words)
        });
        let known = [("changed".to_owned(), Value::from(changed.len())), ("mended".to_owned(), Value::Bool(self.mended))];
        Report {
            checks: std::iter::once(check).chain(not_told).chain(not_stored).collect(),
            outputs: known.into_iter().chain(asked.ok().flatten().map(|asks| ("rebootRequired".to_owned(), Value::Bool(asks)))).collect(),
            output_tail: self.context.output.tail(),
            ..Report::default()
        }
    }
}

#[cfg(test)]
mod tests;
