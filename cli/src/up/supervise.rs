//! Keeps the children running: one task a child, which starts it, waits for its end, and starts it again.
//!
//! ```text
//!  prepare ─▶ start ─▶ running ── ended by itself ─▶ pause (0.1 s, doubling to 5 s) ─▶ prepare
//!                         └────── order to end: SIGTERM, 6 s, SIGKILL ─▶ done
//! ```

use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::random::Backoff;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::ground::{Ground, Part};
use super::log::Log;
use crate::error::CliError;
use crate::host::{self, Whom};
use crate::render::Terminal;
use crate::render::progress::note;

/// Pause before the next start, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A child that has lived this long starts again at once after its next death.
const SETTLED: Duration = Duration::from_secs(30);
/// How long a child may take to end by itself. Agents drain for three seconds of them.
const ENDING: Duration = Duration::from_secs(6);

/// Status of a child that does not take its settings: it says so before it does anything.
const BAD_SETTINGS: i32 = 2;

/// How long the last words of a child that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What a child is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Run,
    End,
    Kill,
}

/// One child that is kept running.
pub struct Kept {
    pub name: String,
    pub part: Part,
    pub log: Log,
    deaths: Arc<AtomicU32>,
    refuses_settings: Arc<AtomicBool>,
    order: watch::Sender<Order>,
    task: JoinHandle<()>,
}

impl Kept {
    /// Starts a child and keeps it running.
    pub fn start(ground: &Arc<Ground>, part: Part, terminal: Terminal) -> Result<Kept, CliError> {
        let name = ground.name(part);
        let path = ground.layout.log(&name);
        let log = Log::open(&path).map_err(|error| CliError::failed(format!("{} cannot be opened: {error}", path.display())))?;
        let (order, orders) = watch::channel(Order::Run);
        let (deaths, refuses_settings) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
        let keeper = Keeper {
            ground: Arc::clone(ground),
            part,
            name: name.clone(),
            log: log.clone(),
            deaths: Arc::clone(&deaths),
            refuses_settings: Arc::clone(&refuses_settings),
            copies: JoinSet::new(),
            orders,
            terminal,
        };
        Ok(Kept { name, part, log, deaths, refuses_settings, order, task: tokio::spawn(keeper.run()) })
    }

    /// How often it has died by itself.
    #[must_use]
    pub fn deaths(&self) -> u32 {
        self.deaths.load(Ordering::Relaxed)
    }

    /// Whether its last start ended over its settings. Those do not mend themselves.
    #[must_use]
    pub fn refuses_settings(&self) -> bool {
        self.refuses_settings.load(Ordering::Relaxed)
    }
}

/// Ends children together: asks them, and after a while makes them; at once when somebody presses Ctrl-C
/// again. Returns when all are gone.
pub async fn end(children: Vec<Kept>, mut presses: watch::Receiver<u32>, pressed_before: u32) {
    for child in &children {
        child.order.send_replace(Order::End);
    }
    let (orders, tasks): (Vec<_>, Vec<_>) = children.into_iter().map(|child| (child.order, child.task)).unzip();
    let mut gone = std::pin::pin!(join_all(tasks));
    tokio::select! {
        biased;
        // A task that panicked has dropped its child, and with it killed it.
        _ = &mut gone => return,
        _ = presses.wait_for(|presses| *presses > pressed_before) => {}
    }
    for order in &orders {
        order.send_replace(Order::Kill);
    }
    gone.await;
}

struct Keeper {
    ground: Arc<Ground>,
    part: Part,
    name: String,
    log: Log,
    deaths: Arc<AtomicU32>,
    refuses_settings: Arc<AtomicBool>,
    /// From the child's output to its log.
    copies: JoinSet<()>,
    orders: watch::Receiver<Order>,
    terminal: Terminal,
}

impl Keeper {
    async fn run(mut self) {
        let mut pauses = Backoff::new(PAUSE.0, PAUSE.1);
        loop {
            let started = SystemClock.monotonic();
            let ended = match self.start().await {
                None => return,
                Some(Err(error)) => error.message,
                Some(Ok(child)) => match self.wait(child).await {
                    None => return,
                    Some(status) => {
                        // Its last words first. What it started and left behind may hold the pipe open.
                        let _ = tokio::time::timeout(LAST_WORDS, async { while self.copies.join_next().await.is_some() {} }).await;
                        self.refuses_settings.store(status.code() == Some(BAD_SETTINGS), Ordering::Relaxed);
                        words(status)
                    }
                },
            };
            self.deaths.fetch_add(1, Ordering::Relaxed);
            if SystemClock.monotonic() - started >= SETTLED {
                pauses.reset();
            }
            note(self.terminal, &format!("{} {ended}; it is started again · {}", self.name, self.ground.layout.log(&self.name).display()));
            let mut orders = self.orders.clone();
            tokio::select! {
                biased;
                _ = orders.wait_for(|order| *order != Order::Run) => return,
                () = tokio::time::sleep(pauses.pause()) => {}
            }
        }
    }

    /// A running child; `None` when it is to end before it was started.
    async fn start(&mut self) -> Option<Result<Child, CliError>> {
        let mut orders = self.orders.clone();
        let command = tokio::select! {
            biased;
            _ = orders.wait_for(|order| *order != Order::Run) => return None,
            command = self.ground.command(self.part) => command,
        };
        let started = command.and_then(|mut command| {
            let program = command.as_std().get_program().to_owned();
            command.spawn().map_err(|error| CliError::failed(format!("{} cannot be started: {error}", program.display())))
        });
        Some(started.map(|mut child| {
            // They end with the pipe, which ends with the child and whatever it has started.
            self.copies.detach_all();
            if let Some(output) = child.stdout.take() {
                self.copies.spawn(self.log.clone().copy(output));
            }
            if let Some(output) = child.stderr.take() {
                self.copies.spawn(self.log.clone().copy(output));
            }
            child
        }))
    }

    /// How the child ended by itself; `None` when it ended as it was told to.
    async fn wait(&mut self, mut child: Child) -> Option<ExitStatus> {
        let mut orders = self.orders.clone();
        let pid = child.id();
        tokio::select! {
            biased;
            _ = orders.wait_for(|order| *order != Order::Run) => {}
            status = child.wait() => return Some(status.unwrap_or_default()),
        }
        send(pid, Signal::TERM);
        let gone = tokio::select! {
            biased;
            _ = orders.wait_for(|order| *order == Order::Kill) => false,
            ended = tokio::time::timeout(ENDING, child.wait()) => ended.is_ok(),
        };
        if !gone {
            send(pid, Signal::KILL);
            // After SIGKILL there is nothing that could be waited for in vain, nor an error of use.
            let _ = child.wait().await;
        }
        // Whatever it had started and left behind goes with it.
        if let Some(pid) = pid {
            let _ = host::signal(pid, Whom::Group, Signal::KILL);
        }
        None
    }
}

fn send(pid: Option<u32>, signal: Signal) {
    if let Some(pid) = pid
        && let Err(error) = host::signal(pid, Whom::Process, signal)
    {
        tracing::warn!(%error, pid, "a child cannot be sent a signal");
    }
}

fn words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(9)) => "was killed".to_owned(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
