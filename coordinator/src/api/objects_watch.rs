//! What the agent that acts for a cluster sees of its plans: all of them, and each again after it has changed.
//! Level-triggered: a slow watcher misses states in between, never the last one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::id::PlanName;
use mainstay_core::{AgentId, State};
use mainstay_proto::convert::object_plans;
use mainstay_proto::v1;
use mainstay_proto::v1::objects_event::Event;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::status;
use crate::leader::Office;

/// Events that may wait for one watcher: some of a hundred KiB.
const EVENTS: usize = 8;
/// Least time between two looks.
const SPACING: Duration = Duration::from_millis(500);
/// Without an entry it is looked again, since what a run waits for changes with the clock; and the watcher is told that
/// somebody is there.
const AGAIN: Duration = Duration::from_secs(5);
/// Longest that a watcher may leave an event unread.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether this agent is the one that acts for its cluster.
pub fn acts(state: &State, agent: &AgentId) -> Result<(), Status> {
    if state.acting(&agent.cluster).as_ref() == Some(agent) {
        return Ok(());
    }
    Err(Status::failed_precondition(format!("agent {agent} does not act for its cluster: it does not hold the lease agent/{}", agent.cluster)))
}

/// Sends until the watcher is gone, does not act any more, or this member leads no more.
pub fn follow(office: Arc<Office>, agent: AgentId) -> ReceiverStream<Result<v1::ObjectsEvent, Status>> {
    let (events, stream) = mpsc::channel(EVENTS);
    tokio::spawn(async move {
        if let Some(last) = tell(&office, &agent, &events).await {
            // A watcher that does not take the last word is gone.
            let _ = events.send_timeout(Err(last), PATIENCE).await;
        }
    });
    ReceiverStream::new(stream)
}

type Events = mpsc::Sender<Result<v1::ObjectsEvent, Status>>;

/// Answers with the last word; nothing where nobody is there to hear it.
async fn tell(office: &Office, agent: &AgentId, events: &Events) -> Option<Status> {
    let mut applied = office.consensus().applied();
    let mut told: BTreeMap<PlanName, v1::ObjectPlan> = BTreeMap::new();
    loop {
        let state = applied.borrow_and_update().state.clone();
        if let Err(last) = acts(&state, agent) {
            return Some(last);
        }
        let now = object_plans(&state, &office.waits(), &agent.cluster, office.wall());
        for event in changes(&told, &now) {
            if events.send_timeout(Ok(event), PATIENCE).await.is_err() {
                return None;
            }
        }
        told = now;
        let rested = tokio::time::sleep(SPACING);
        let looked_again = tokio::time::sleep(AGAIN);
        let changed = async {
            rested.await;
            applied.changed().await
        };
        tokio::select! {
            () = events.closed() => return None,
            () = office.ended().cancelled() => return Some(status::not_leader("the leader has changed: watch again", None)),
            changed = changed => if changed.is_err() {
                return Some(status::not_leader("this member stops: watch again", None));
            },
            () = looked_again => {}
        }
    }
}

/// What is new, and that this is all.
fn changes(told: &BTreeMap<PlanName, v1::ObjectPlan>, now: &BTreeMap<PlanName, v1::ObjectPlan>) -> Vec<v1::ObjectsEvent> {
    let changed = now.iter().filter(|(name, plan)| told.get(*name) != Some(plan)).map(|(_, plan)| Event::Plan(plan.clone()));
    let gone = told.keys().filter(|name| !now.contains_key(*name)).map(|name| Event::Gone(name.to_string()));
    changed.chain(gone).chain([Event::Told(v1::ObjectsTold {})]).map(|event| v1::ObjectsEvent { event: Some(event) }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_has_changed_is_told_and_that_it_is_all() {
        let plan = |digest: &str| v1::ObjectPlan { digest: digest.to_owned(), ..Default::default() };
        let name = |text: &str| -> PlanName { text.parse().unwrap() };
        let before = BTreeMap::from([(name("c/n/a"), plan("1")), (name("c/n/b"), plan("1")), (name("c/n/d"), plan("1"))]);
        let now = BTreeMap::from([(name("c/n/a"), plan("1")), (name("c/n/b"), plan("2")), (name("c/n/e"), plan("1"))]);
        let said = |before, now| changes(before, now).into_iter().map(|event| event.event.unwrap()).collect::<Vec<_>>();
        let all = [Event::Plan(plan("2")), Event::Plan(plan("1")), Event::Gone("c/n/d".to_owned()), Event::Told(v1::ObjectsTold {})];
        assert_eq!(said(&before, &now), all);
        assert_eq!(said(&now, &now), [Event::Told(v1::ObjectsTold {})], "somebody is there");
    }
}
