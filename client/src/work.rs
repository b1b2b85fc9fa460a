//! The seam to threads: where work goes that waits for a disk, or computes for longer than others should wait.
#![allow(clippy::disallowed_methods, reason = "this module is the seam")]

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Where there are no threads: how long the next piece of work takes.
static TURNS: OnceLock<fn() -> Duration> = OnceLock::new();

/// From here on, this process has no threads for its work: each piece is a task of the runtime that takes so long. For a
/// whole mesh in one thread, whose order of events hangs on nothing else. Once for a process.
pub fn take_turns(pause: fn() -> Duration) {
    // Whoever comes second finds what the first one wanted.
    let _ = TURNS.set(pause);
}

/// Does work where it holds up nobody.
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match TURNS.get() {
        None => tokio::task::spawn_blocking(work),
        Some(pause) => {
            let pause = pause();
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                work()
            })
        }
    }
}

/// Attends to what comes out of a queue, in order, in a thread of its own. `attend` is given the first that waits and
/// the queue, to take more of it, and gives back what it needs for the next one; nothing when it has ended.
pub fn attend<T, S>(name: &str, mut queue: mpsc::Receiver<T>, mut server: S, attend: fn(S, T, &mut mpsc::Receiver<T>) -> Option<S>) -> io::Result<()>
where
    T: Send + 'static,
    S: Send + 'static,
{
    if let Some(pause) = TURNS.get() {
        tokio::spawn(async move {
            while let Some(first) = queue.recv().await {
                tokio::time::sleep(pause()).await;
                let Some(next) = attend(server, first, &mut queue) else { return };
                server = next;
            }
        });
        return Ok(());
    }
    let thread = std::thread::Builder::new().name(name.to_owned());
    let attending = move || {
        while let Some(first) = queue.blocking_recv() {
            let Some(next) = attend(server, first, &mut queue) else { return };
            server = next;
        }
    };
    thread.spawn(attending).map(drop)
}
