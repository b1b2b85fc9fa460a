//! The order to stop, from the system: SIGTERM or SIGINT, and the same one again when it is urgent.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use crate::attempts::Leave;

/// Listens from now on.
///
/// # Errors
/// When the system does not let it listen.
pub fn listen() -> io::Result<Leave> {
    let leave = Leave::default();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signals, leave) = (signal(kind)?, leave.clone());
        tokio::spawn(async move {
            signals.recv().await;
            tracing::info!("asked to stop: nothing more begins, what runs may end");
            leave.soon.cancel();
            // Only the same signal twice is meant twice: a terminal sends one to a whole group, and so may whoever
            // started this process.
            signals.recv().await;
            tracing::info!("asked again: what runs is stopped");
            leave.now.cancel();
        });
    }
    Ok(leave)
}
