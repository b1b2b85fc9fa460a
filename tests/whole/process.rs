//! The process on a machine: a runtime of its own, whose time goes on while it is let run, and only then.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, LocalSet};

use crate::{clock, trace};

pub struct Process {
    name: &'static str,
    // Goes before its tasks, as the field that comes first.
    runtime: Runtime,
    tasks: LocalSet,
    main: JoinHandle<()>,
    /// How long it has stood still.
    behind: Duration,
}

impl Process {
    pub fn start(name: &'static str, software: impl Future<Output = ()> + 'static) -> Process {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without I/O");
        // Timers count whole milliseconds.
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        let tasks = LocalSet::new();
        let main = tasks.spawn_local(software);
        Process { name, runtime, tasks, main, behind: Duration::ZERO }
    }

    /// It runs for a moment that begins now. After it has stood still, everything is due at once for which its time has
    /// come meanwhile, and it finds what has come in.
    pub fn run(&mut self, now: Duration, moment: Duration) {
        trace::enter(self.name);
        let behind = std::mem::take(&mut self.behind);
        self.runtime.block_on(self.tasks.run_until(async {
            clock::run_from(now, tokio::time::Instant::now() + behind);
            if !behind.is_zero() {
                tokio::time::advance(behind).await;
            }
            tokio::time::sleep(moment).await;
        }));
        clock::run_no_more();
        trace::no_machine();
    }

    /// It stands still for a moment; the clocks of its machine do not.
    pub fn stand_still(&mut self, moment: Duration) {
        self.behind += moment;
    }

    pub fn has_ended(&self) -> bool {
        self.main.is_finished()
    }
}
