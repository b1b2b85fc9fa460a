//! `mainstay backup run --worker`: a backup that an agent has ordered, made in a pod beside its source. What it prints is read by
//! that agent, a line at a time; whether its backup counts is decided there.

use std::io;
use std::time::Duration;

use mainstay_backup::Store;
use mainstay_backup::progress::{Progress, Teller};
use mainstay_backup::source::Source;
use mainstay_backup::worker::{Told, WorkOrder};
use mainstay_backup::write::{Order, write};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::run::{ask, failed, source};
use super::{places, target};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::host;

/// Between two lines that say how far it is.
const TELLS_EVERY: Duration = Duration::from_secs(5);

pub async fn run(args: &args::backup::Run, order: &str) -> Result<Exit, CliError> {
    let order: WorkOrder = serde_json::from_str(order).map_err(|error| CliError::usage(format!("--worker: {error}")))?;
    let mut source = source(&args.source, ask(&args.asked)?, Duration::from_millis(args.deadline.0))?;
    let store = places::store(&args.store)?;
    let order = order.order(target(&args.target)?, args.set.clone()).map_err(|error| CliError::usage(format!("--worker: {error}")))?;
    let cancel = CancellationToken::new();
    let mut signals = signals().map_err(|error| failed(format!("signals cannot be listened to: {error}")))?;
    let making = made(&store, order, source.as_mut(), &cancel);
    tokio::pin!(making);
    let told = tokio::select! {
        told = &mut making => told?,
        () = called_off(&mut signals) => {
            // It marks as void what it has begun; the kubelet grants half a minute for it.
            cancel.cancel();
            making.await?
        }
    };
    say(&told)?;
    Ok(Exit::Success)
}

/// Writes it and reads it back, and tells meanwhile how far it is.
async fn made(store: &Store, order: Order, source: &mut dyn Source, cancel: &CancellationToken) -> Result<Told, CliError> {
    let (tell, look) = Teller::new();
    let written = telling(&look, Told::Writing, write(store, order, source, &tell, cancel)).await?.map_err(failed)?;
    let id = &written.manifest.backup;
    let (tell, look) = Teller::new();
    let checking = cancel.run_until_cancelled(mainstay_backup::check(store, &written.manifest, &written.check, &tell));
    let checked = telling(&look, Told::Reading, checking).await?;
    let checked = checked.ok_or_else(|| failed(format!("it was called off: {id} is written, was not read back, and does not count")))?;
    if let Some((part, wrong)) = checked.parts.iter().find_map(|part| Some((part, part.wrong.as_ref()?))) {
        let what = if part.unread { "could not be read back" } else { "is not what was written when it is read back" };
        return Err(failed(format!("{id} was written, and {what}: {}: {wrong}; it does not count", part.name)));
    }
    Ok(Told::Made { check_ms: checked.took_ms, sealed: written.sealed })
}

async fn telling<T>(look: &watch::Receiver<Progress>, far: fn(Progress) -> Told, work: impl Future<Output = T>) -> Result<T, CliError> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            ended = &mut work => return Ok(ended),
            () = tokio::time::sleep(TELLS_EVERY) => {
                let progress = look.borrow().clone();
                say(&far(progress))?;
            }
        }
    }
}

fn say(told: &Told) -> Result<(), CliError> {
    host::print(&format!("{}\n", told.line())).map_err(|error| failed(format!("nothing can be printed: {error}")))
}

/// By the kubelet, and by whoever tries it at a terminal.
fn signals() -> io::Result<[Signal; 2]> {
    Ok([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?])
}

async fn called_off([terminate, interrupt]: &mut [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
