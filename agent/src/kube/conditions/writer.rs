//! Writes conditions to Nodes, one after the other.
//!
//! News goes before what says that something is still so. A write that does not come off is made again: that of one node
//! after pauses that grow, and all of them where the API server is away or has enough.
#![allow(clippy::disallowed_methods, reason = "how long to wait is counted on the clock that sleeps go by")]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use mainstay_client::random::Backoff;
use mainstay_core::condition::Kind;
use mainstay_core::condition::write::{Decision, Known, Stands, decide, heartbeat};
use mainstay_core::time::{Millis, WallTime};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Conditions, Word};
use crate::complaint::Complaint;
use crate::kube::escaped;
use crate::kube::view::ask::{Ask, AskError};
use crate::kube::view::nodes::{Marks, Nodes};

/// After a write: what it has made of the Node comes with the watch.
const REST: Duration = Duration::from_secs(30);
/// After a write that did not come off.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// What is written in this form is this manager's from then on.
const APPLY: &str = "application/apply-patch+yaml";
/// What is taken away in this form goes whoever has written a part of it besides.
const MERGE: &str = "application/strategic-merge-patch+json";

/// What one replica writes while it acts.
pub struct Writer<'a> {
    conditions: &'a Conditions,
    nodes: &'a Nodes,
    /// At a pace of its own.
    ask: Ask,
    /// Nodes that something is to be written to.
    news: BTreeSet<Arc<str>>,
    still: BTreeSet<Arc<str>>,
    /// When nodes are looked at again, whatever happens.
    later: BTreeMap<Arc<str>, Instant>,
    order: BTreeSet<(Instant, Arc<str>)>,
    /// Since when the agents of nodes are silent.
    silent: BTreeMap<Arc<str>, Instant>,
    /// Nodes to which a write does not come off.
    failing: BTreeMap<Arc<str>, Backoff>,
    away: Backoff,
    complaint: Complaint,
}

impl<'a> Writer<'a> {
    pub fn new(conditions: &'a Conditions, nodes: &'a Nodes, ask: Ask) -> Writer<'a> {
        let (news, still, order) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let (later, silent, failing) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (away, complaint) = (Backoff::new(PAUSES.0, PAUSES.1), Complaint::default());
        Writer { conditions, nodes, ask, news, still, later, order, silent, failing, away, complaint }
    }

    /// Goes on for ever.
    pub async fn run(mut self) -> Infallible {
        loop {
            for name in self.due() {
                self.look_at(&name);
            }
            if let Some(name) = self.news.pop_first().or_else(|| self.still.pop_first()) {
                self.write_to(name).await;
                continue;
            }
            let next = self.order.first().map(|(at, _)| *at);
            tokio::select! {
                () = self.nodes.marked() => {}
                () = self.conditions.told.changed() => {}
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// Nodes of which there may be something new, or whose time has come.
    fn due(&mut self) -> BTreeSet<Arc<str>> {
        let mut due: BTreeSet<Arc<str>> = self.nodes.take_marked();
        let told = self.conditions.told.take_changed();
        due.extend(told.nodes.into_iter().map(Arc::from));
        if told.all {
            due.extend(self.nodes.names());
        }
        let now = Instant::now();
        while self.order.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, name)) = self.order.pop_first() else { break };
            self.later.remove(&name);
            due.insert(name);
        }
        due
    }

    fn look_at(&mut self, name: &Arc<str>) {
        self.news.remove(name);
        self.still.remove(name);
        let Some(marks) = self.nodes.marks(name) else {
            self.again(name, None);
            self.silent.remove(name);
            self.failing.remove(name);
            return;
        };
        match self.decision(name, &marks) {
            None => {}
            Some(Decision::Rest(again)) => {
                self.failing.remove(name);
                self.again(name, again.map(Millis::as_duration));
            }
            Some(Decision::Write { .. } | Decision::Remove(_)) if self.failing.contains_key(name) && self.later.contains_key(name) => {}
            Some(Decision::Write { news: false, .. }) => drop(self.still.insert(name.clone())),
            Some(Decision::Write { .. } | Decision::Remove(_)) => drop(self.news.insert(name.clone())),
        }
    }

    /// Nothing while nobody knows what is said.
    fn decision(&mut self, name: &Arc<str>, marks: &Marks) -> Option<Decision> {
        let (now, every) = (self.now(), heartbeat(self.nodes.count()));
        if !self.conditions.enabled {
            return Some(decide(&marks.present, Known::Off, now, every));
        }
        match self.conditions.told.of(name) {
            Word::Unknown => None,
            Word::Said(said) => {
                self.silent.remove(name);
                Some(decide(&marks.present, Known::Said(&said), now, every))
            }
            Word::Silent => {
                let since = *self.silent.entry(name.clone()).or_insert_with(Instant::now);
                let silence = Millis(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX));
                Some(decide(&marks.present, Known::Silent(silence), now, every))
            }
        }
    }

    /// In whole seconds, as an API server keeps it.
    fn now(&self) -> WallTime {
        WallTime(self.conditions.clock.wall().0.div_euclid(1_000) * 1_000)
    }

    fn again(&mut self, name: &Arc<str>, after: Option<Duration>) {
        if let Some(at) = self.later.remove(name) {
            self.order.remove(&(at, name.clone()));
        }
        if let Some(after) = after {
            let at = Instant::now() + after;
            self.later.insert(name.clone(), at);
            self.order.insert((at, name.clone()));
        }
    }

    async fn write_to(&mut self, name: Arc<str>) {
        self.ask.turn().await;
        // It may be another one by now.
        let Some(marks) = self.nodes.marks(&name) else { return };
        let (how, query, body) = match self.decision(&name, &marks) {
            Some(Decision::Write { all, .. }) => (APPLY, "&force=true", applied(&name, &marks.uid, &all)),
            Some(Decision::Remove(kinds)) => (MERGE, "", removed(&marks.uid, &kinds)),
            Some(Decision::Rest(_)) | None => return self.look_at(&name),
        };
        let path = format!("/api/v1/nodes/{}/status?fieldManager={}{query}", escaped(&name), escaped(&self.conditions.manager));
        match self.ask.patch(&path, how, &body).await {
            Ok(()) => {
                self.failing.remove(&name);
                self.away.reset();
                self.complaint = Complaint::default();
                self.again(&name, Some(REST));
            }
            // It is gone; the watch says so.
            Err(AskError::Refused { status: StatusCode::NOT_FOUND, .. }) => self.again(&name, Some(REST)),
            Err(AskError::Refused { status, message, .. }) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                let pause = self.failing.entry(name.clone()).or_insert_with(|| Backoff::new(PAUSES.0, PAUSES.1)).pause();
                tracing::warn!(node = %name, %status, error = message, ?pause, "the conditions of a node are not written; trying on");
                self.again(&name, Some(pause));
            }
            Err(error) => {
                let pause = self.away.pause();
                self.complaint.about("conditions of nodes cannot be written", &error.to_string(), pause);
                self.ask.hold(pause).await;
                self.look_at(&name);
            }
        }
    }
}

/// All that this manager wants of the node's status.
fn applied(name: &str, uid: &str, all: &[Stands]) -> Value {
    let conditions = all.iter().map(|stands| {
        json!({
            "type": stands.condition.kind.as_str(),
            "status": stands.condition.status.as_str(),
            "reason": stands.condition.reason,
            "message": stands.condition.message,
            "lastHeartbeatTime": time(stands.heartbeat),
            "lastTransitionTime": time(stands.transition),
        })
    });
    let conditions: Vec<Value> = conditions.collect();
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "uid": uid }, "status": { "conditions": conditions } })
}

fn removed(uid: &str, kinds: &[Kind]) -> Value {
    let conditions: Vec<Value> = kinds.iter().map(|kind| json!({ "$patch": "delete", "type": kind.as_str() })).collect();
    json!({ "metadata": { "uid": uid }, "status": { "conditions": conditions } })
}

fn time(at: WallTime) -> String {
    Timestamp::from_second(at.0.div_euclid(1_000)).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests;
