//! `mainstay-coordinator`: logs, settings, run, exit status.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use mainstay_client::clock::SystemClock;
use mainstay_coordinator::settings::{Flags, Log, Settings};
use mainstay_coordinator::{run, salvage};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Ran and failed.
const FAILED: u8 = 1;
/// Bad usage: the settings are wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    mainstay_client::tls::install_provider();
    let flags = Flags::parse();
    let salvage = flags.salvage.clone();
    let settings = match Settings::load(flags) {
        Ok(settings) => settings,
        Err(error) => return fail(USAGE, &error),
    };
    start_logs(&settings.log);
    if settings.die_with_parent
        && let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
    {
        return fail(FAILED, &format!("cannot tie this process to its parent: {error}"));
    }
    // Two threads: a coordinator waits for disks and networks, and shares its machine.
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(FAILED, &format!("cannot start the runtime: {error}")),
    };
    let outcome = runtime.block_on(async {
        match salvage {
            Some(file) => writeln!(std::io::stdout(), "{}", salvage::salvage(&settings, &file).await?.trim_end()).map_err(anyhow::Error::from),
            None => run::run(settings, Arc::new(SystemClock), asked_to_end()?).await.map_err(anyhow::Error::from),
        }
    });
    // What still blocks a thread is not waited for: all that matters is on disk.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &error),
    }
}

/// Returns when somebody asks the process to end. The signals are caught from the call on.
fn asked_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn start_logs(log: &Log) {
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(&log.filter)).with_writer(std::io::stderr);
    if log.json { builder.json().init() } else { builder.with_ansi(false).init() }
}

fn fail(status: u8, error: &dyn std::fmt::Display) -> ExitCode {
    // Standard error may be gone; the exit status is not.
    let _ = writeln!(std::io::stderr(), "mainstay-coordinator: {error}");
    ExitCode::from(status)
}
