//! `mainstay up`: a whole mesh on this machine, its members and agents as direct children.
//!
//! In: a state directory, how many of each. Out: a running mesh, a first report, and, after Ctrl-C, no process
//! left behind. What is in the directory is gone on with; nothing outside of it is touched.

pub mod ground;
pub mod layout;
pub mod log;
pub mod ports;
pub mod ready;
pub mod record;
pub mod supervise;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::failpoint::Point;
use mainstay_client::files::{self, FileLock, LockError};
use mainstay_proto::v1::StartRunRequest;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::host;
use crate::mesh_finder;
use crate::render::progress::Waiting;
use crate::render::{Terminal, units};
use crate::verbs::Screen;
use crate::verbs::run::follow::{Follow, follow};
use ground::{Ground, Part};
use layout::Layout;
use ports::Ports;
use ready::Wanted;
use record::{MESH, Record};
use supervise::Kept;

/// The plan that shows, right after the start, what a mesh is for.
const FIRST_PLAN: &str = "daily";
/// Where connections are looked for when nobody says so.
const CONNECTIONS: &str = "connections.toml";
/// A look at whether a mesh lives takes its lock for a moment.
const LOCK_PATIENCE: Duration = Duration::from_millis(300);

/// Runs a mesh until it is asked to end, or once through a plan.
pub async fn up(args: &args::up::Up, global: &args::Global, screen: Screen) -> Result<Exit, CliError> {
    let begun = SystemClock.monotonic();
    let stop = stop_signals()?;
    let dir = global.dir.clone().unwrap_or_else(|| PathBuf::from(mesh_finder::DIR));
    let absolute = std::path::absolute(&dir).map_err(|error| CliError::usage(format!("{}: {error}", dir.display())))?;
    let layout = Layout::new(&absolute);
    files::create_private_dir(Point::CliDirectory, &layout.logs()).map_err(|error| {
        CliError::usage(format!("{} cannot be made: {error}", dir.display())).with_next("name a directory of your own:  mainstay up --dir DIR")
    })?;
    let _lock = lock(&layout, &dir).await?;
    let record = record(args, &layout).await?;
    let wanted = Wanted { members: record.coordinators.len(), agents: record.agents.len() };
    let settings = args.connections.clone().or_else(|| Some(PathBuf::from(CONNECTIONS)).filter(|path| files::exists(path)));
    let ground = Arc::new(Ground::prepare(layout, record, settings.as_deref())?);

    let mut children = Vec::new();
    let outcome = match start_all(&ground, &mut children, screen.notes) {
        Err(error) => Err(error),
        Ok(()) => {
            let shown = Shown { dir: &dir, wanted, begun, screen };
            let mut stopped = stop.clone();
            tokio::select! {
                biased;
                _ = stopped.wait_for(|presses| *presses > 0) => Ok(Exit::Success),
                outcome = serve(&ground, &children, args, &shown) => outcome,
            }
        }
    };
    end_all(children, stop, screen).await;
    outcome
}

/// What the lines of a start say.
struct Shown<'a> {
    dir: &'a Path,
    wanted: Wanted,
    begun: Duration,
    screen: Screen,
}

fn start_all(ground: &Arc<Ground>, children: &mut Vec<Kept>, notes: Terminal) -> Result<(), CliError> {
    for part in ground.parts() {
        children.push(Kept::start(ground, part, notes)?);
    }
    Ok(())
}

/// Waits until the mesh is ready, runs the first plan, and stays.
async fn serve(ground: &Arc<Ground>, children: &[Kept], args: &args::up::Up, shown: &Shown<'_>) -> Result<Exit, CliError> {
    let sizes = format!(
        "{} · {}",
        units::count(shown.wanted.members as u64, "member", "members"),
        units::count(shown.wanted.agents as u64, "agent", "agents")
    );
    let waiting = Waiting::on(shown.screen.notes, &format!("starting {sizes}"));
    ready::wait(ground, children, shown.wanted).await?;
    drop(waiting);
    ground.set_formed()?;
    children.iter().filter(|child| matches!(child.part, Part::Agent(_))).for_each(|child| ground.forget_token(&child.name));

    let took = SystemClock.monotonic() - shown.begun;
    let took = units::duration_ms(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    let ending = if args.once.is_some() { "ends after the report" } else { "Ctrl-C ends it" };
    let line = format!("mesh {MESH} · {sizes} · ready in {took} · state in {} · {ending}\n\n", shown.dir.display());
    // With JSON, standard output has the report and nothing else.
    if shown.screen.is_json() { host::print_error(&line) } else { host::print(&line) }
        .map_err(|error| CliError::failed(format!("nothing can be printed: {error}")))?;

    let plan = args.once.as_deref().unwrap_or(FIRST_PLAN);
    let done = first_run(ground, plan, shown.screen).await;
    match (args.once.is_some(), done) {
        (true, done) => done,
        (false, done) => {
            if let Err(error) = done {
                // The mesh is of use without its first report.
                host::print_error(&format!("{error}\n")).unwrap_or_default();
            }
            std::future::pending().await
        }
    }
}

async fn first_run(ground: &Ground, plan: &str, screen: Screen) -> Result<Exit, CliError> {
    let request = StartRunRequest { plan: plan.to_owned(), ..StartRunRequest::default() };
    let started = ground.mesh().start_run(request).await?;
    follow(ground.mesh(), &started.run, Follow { screen, quiet: false }).await
}

/// Agents first, so that they can still report what they have done; then the members.
async fn end_all(children: Vec<Kept>, mut stop: watch::Receiver<u32>, screen: Screen) {
    let pressed_before = *stop.borrow_and_update();
    let _waiting = Waiting::on(screen.notes, "ending");
    let (agents, members): (Vec<Kept>, Vec<Kept>) = children.into_iter().partition(|child| matches!(child.part, Part::Agent(_)));
    for group in [agents, members] {
        let again = stop.clone();
        supervise::end(group, again, pressed_before).await;
    }
}

/// Takes the directory for this process.
async fn lock(layout: &Layout, dir: &Path) -> Result<FileLock, CliError> {
    let begun = SystemClock.monotonic();
    loop {
        match files::lock_exclusive(&layout.lock()) {
            Ok(lock) => return Ok(lock),
            Err(LockError::Held(_)) if SystemClock.monotonic() - begun < LOCK_PATIENCE => tokio::time::sleep(Duration::from_millis(25)).await,
            Err(LockError::Held(_)) => {
                return Err(CliError::failed(format!("a mesh runs in {} already", dir.display()))
                    .with_next(format!("look at it:               mainstay --dir {} status", dir.display()))
                    .with_next("start another beside it:  mainstay up --dir DIR"));
            }
            Err(error) => return Err(CliError::failed(error.to_string())),
        }
    }
}

/// What is there, grown to what is wanted, on ports that are free.
async fn record(args: &args::up::Up, layout: &Layout) -> Result<Record, CliError> {
    let mut record = Record::load(layout)?.unwrap_or_default();
    let is_new = record.coordinators.is_empty();
    let coordinators = args.coordinators.unwrap_or(if is_new { 3 } else { record.coordinators.len() });
    let agents = args.agents.unwrap_or(if is_new { 3 } else { record.agents_of_each() });
    let clusters = args.clusters.unwrap_or(if is_new { 1 } else { record.clusters() });
    if !is_new {
        ports::reclaim(&mut record, ports::GIVEN_BACK).await?;
    }
    let mut ports = Ports::besides(&record);
    record.grow(coordinators, agents, clusters, || ports.free())?;
    record.store(layout)?;
    Ok(record)
}

/// Counts requests to end: Ctrl-C, SIGTERM, the terminal closed.
fn stop_signals() -> Result<watch::Receiver<u32>, CliError> {
    let (presses, stop) = watch::channel(0);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind).map_err(|error| CliError::failed(format!("signals cannot be waited for: {error}")))?;
        let presses = presses.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                presses.send_modify(|presses| *presses += 1);
            }
        });
    }
    Ok(stop)
}
