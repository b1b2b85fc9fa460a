//! What commands do on the machines of agents: take a while, end well or badly, and be seen.

use std::io;
use std::sync::Mutex;

use futures::future::BoxFuture;
use mainstay_agent::host::Commands;

use crate::chance::Chance;
use crate::{disk, invariants, trace, watch};

pub struct Simulated {
    machine: &'static str,
    chance: Mutex<Chance>,
}

impl Simulated {
    pub fn new(machine: &'static str, chance: Chance) -> Simulated {
        Simulated { machine, chance: Mutex::new(chance) }
    }
}

/// A command that is being carried out; dropped when it was called off or died with its agent.
struct Running {
    attempt: String,
    ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            watch::with(|seen| seen.works.ends(&self.attempt, None));
        }
    }
}

impl Commands for Simulated {
    fn run(&self, command: Vec<String>, attempt: String) -> BoxFuture<'static, io::Result<i32>> {
        let mut chance = self.chance.lock().expect("nobody breaks down with it");
        let takes = chance.millis(20, 2_500);
        let fails = chance.percent(if watch::with(|seen| seen.is_calm) { 0 } else { 12 });
        let machine = self.machine;
        Box::pin(async move {
            if disk::is_dying(machine) {
                return std::future::pending().await;
            }
            trace::line(machine, &format!("{} begins for attempt {attempt}", command.join(" ")));
            if let Some(place) = watch::with(|seen| seen.works.begins(machine, &command, &attempt)) {
                invariants::begins(&place);
            }
            let mut running = Running { attempt: attempt.clone(), ended: false };
            tokio::time::sleep(takes).await;
            let status = i32::from(fails);
            trace::line(machine, &format!("{} ends with {status}", command.join(" ")));
            running.ended = true;
            watch::with(|seen| seen.works.ends(&attempt, Some(status)));
            Ok(status)
        })
    }
}
