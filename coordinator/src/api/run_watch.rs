//! A watcher's view of one run: the run after each change, and lines that its steps print between.
//!
//! The run is level-triggered: a slow watcher misses states in between, never the last one. Lines are not
//! kept for anybody.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::{RunId, State};
use mainstay_proto::convert::run_to_wire;
use mainstay_proto::v1;
use mainstay_proto::v1::run_event::Event;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc};
use tonic::Status;

use super::status;
use crate::leader::Office;

/// Least time between two looks at the run: an eye sees no more, and a large run costs no more.
const SPACING: Duration = Duration::from_millis(50);
/// Longest that a watcher may leave an event unread.
const PATIENCE: Duration = Duration::from_secs(60);

type Events = mpsc::Sender<Result<v1::RunEvent, Status>>;

/// Sends until the run has ended, the watcher is gone, or this member leads no more.
pub async fn follow(office: Arc<Office>, id: RunId, events: Events) {
    let mut lines = office.outputs().watch(&id);
    let mut dropped = 0;
    let mut applied = office.consensus().applied();
    let mut told: Option<v1::Run> = None;
    loop {
        let state = applied.borrow_and_update().state.clone();
        let Some(run) = view(&state, &id, &office) else {
            return finish(&events, Status::not_found(format!("run {id} is no longer kept"))).await;
        };
        let ended = run.ended_unix_ms != 0;
        if ended {
            // Lines that came before the end are shown before it.
            while let Some(line) = ready_line(&mut lines, &mut dropped) {
                if !send(&events, Event::Output(line)).await {
                    return;
                }
            }
        }
        if told.as_ref().is_none_or(|before| differs(before, &run)) {
            if !send(&events, Event::Run(run.clone())).await {
                return;
            }
            told = Some(run);
        }
        if ended {
            return;
        }
        let next_look = tokio::time::sleep(SPACING);
        tokio::pin!(next_look);
        let mut rested = false;
        loop {
            tokio::select! {
                biased;
                () = events.closed() => return,
                () = office.ended().cancelled() => return finish(&events, status::not_leader("the leader has changed: watch again", None)).await,
                line = lines.recv() => match line {
                    Ok(mut line) => {
                        line.dropped += std::mem::take(&mut dropped);
                        if !send(&events, Event::Output(line)).await {
                            return;
                        }
                    }
                    Err(RecvError::Lagged(count)) => dropped += count,
                    // The channel lives as long as a watcher; asked for again, it is there.
                    Err(RecvError::Closed) => lines = office.outputs().watch(&id),
                },
                () = &mut next_look, if !rested => rested = true,
                changed = applied.changed(), if rested => match changed {
                    Ok(()) => break,
                    Err(_) => return finish(&events, status::not_leader("this member stops: watch again", None)).await,
                },
            }
        }
    }
}

fn view(state: &State, id: &RunId, office: &Office) -> Option<v1::Run> {
    state.runs.get(id).map(|run| run_to_wire(run, state, office.now()))
}

/// Time that goes by is no change.
fn differs(before: &v1::Run, now: &v1::Run) -> bool {
    v1::Run { took_ms: 0, ..before.clone() } != v1::Run { took_ms: 0, ..now.clone() }
}

fn ready_line(lines: &mut broadcast::Receiver<v1::OutputLine>, dropped: &mut u64) -> Option<v1::OutputLine> {
    loop {
        match lines.try_recv() {
            Ok(mut line) => {
                line.dropped += std::mem::take(dropped);
                return Some(line);
            }
            Err(TryRecvError::Lagged(count)) => *dropped += count,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
        }
    }
}

async fn send(events: &Events, event: Event) -> bool {
    events.send_timeout(Ok(v1::RunEvent { event: Some(event) }), PATIENCE).await.is_ok()
}

async fn finish(events: &Events, status: Status) {
    // A watcher that does not take the last word is gone.
    let _ = events.send_timeout(Err(status), PATIENCE).await;
}
