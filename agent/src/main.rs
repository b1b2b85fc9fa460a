//! `mainstay-agent`: settings, logs, run, exit status.
//!
//! 0: it left when it was asked to. 1: it could not start or go on. 2: its settings cannot be used.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use mainstay_agent::execute::exec::root;
use mainstay_agent::execute::helm::program;
use mainstay_agent::host::Host;
use mainstay_agent::settings::{Arguments, Settings};
use mainstay_agent::{log, run, signals};

/// Blocking work (ledger, log files, file systems) at one time: of each of the attempts that there may be at once a few
/// streams of a backup, which take two or three as long as they go, and the ledger besides.
const BLOCKING_THREADS: usize = 64;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == program::BECOME => return complain(&program::become_program(words), 126),
        Some(word) if word == root::BECOME => return complain(&root::become_in_root(words), 126),
        Some(_) | None => {}
    }
    mainstay_client::tls::install_provider();
    let settings = match Settings::load(Arguments::parse(), &|name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(error) => return complain(&error, 2),
    };
    log::start(&settings.log);
    match serve(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(settings: Settings) -> anyhow::Result<()> {
    if settings.die_with_parent {
        die_with_parent()?;
    }
    // One thread for what waits, others only while something blocks: an agent at rest is small.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
    let served = runtime.block_on(async { Ok(run::run(settings, Host::default(), signals::listen()?).await?) });
    // What still blocks then has been given up before.
    runtime.shutdown_background();
    served
}

/// Has the system give the order to leave when the parent ends.
fn die_with_parent() -> anyhow::Result<()> {
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    // Who died before that call sends no signal.
    anyhow::ensure!(rustix::process::getppid() == parent, "the process that started this one has ended");
    Ok(())
}

/// Before there are logs.
fn complain(error: &dyn std::fmt::Display, status: u8) -> ExitCode {
    // Whoever closed standard error does not want to know.
    let _ = writeln!(std::io::stderr(), "mainstay-agent: {error}");
    ExitCode::from(status)
}
