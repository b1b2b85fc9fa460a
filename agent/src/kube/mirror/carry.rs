//! Carries out what was decided, one plan after the other, at a bounded pace.
//!
//! Each change says what it was decided on: a status the version of its object, a deletion the UID. So what another
//! replica, or somebody else, has changed meanwhile is not written over; it comes with the watch, and is decided anew.
#![allow(clippy::disallowed_methods, reason = "how long to wait is counted on the clock that sleeps go by")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use jiff::Timestamp;
use mainstay_client::Mesh;
use mainstay_client::random::Backoff;
use mainstay_core::AgentId;
use mainstay_proto::v1;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::decide::{Memory, Refused, Seen, Step, Written, again, decide};
use super::event::Event;
use super::known::Objects;
use super::object::{Key, Raw};
use super::source::{digest, field_at, source};
use super::status::PLAN;
use super::{GROUP, PLANS, RUNS};
use crate::complaint::Complaint;
use crate::kube::ask::Patch;
use crate::kube::view::pace::Pace;
use crate::kube::{Cluster, ClusterError, escaped};

/// Between two looks at a plan about which something was written: who fights over a status does so slowly.
const REST: Duration = Duration::from_secs(1);
/// After something that did not come off.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Whoever does it.
pub struct Carrier<'a> {
    cluster: &'a Cluster,
    mesh: &'a Mesh,
    agent: &'a AgentId,
    objects: &'a Objects,
    /// Of changes in the cluster; what looks has its own.
    pace: Pace,
    memory: BTreeMap<Key, Memory>,
    /// When plans are looked at again, whatever happens; one that rests not before.
    later: BTreeMap<Key, Later>,
    failing: BTreeMap<Key, (Backoff, Complaint)>,
}

#[derive(Debug, Clone, Copy)]
struct Later {
    at: Instant,
    rests: bool,
}

/// Why something did not come off.
#[derive(Debug, thiserror::Error)]
enum CarryError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Mesh(#[from] mainstay_client::error::CallError),
}

impl<'a> Carrier<'a> {
    pub fn new(cluster: &'a Cluster, mesh: &'a Mesh, agent: &'a AgentId, objects: &'a Objects) -> Carrier<'a> {
        let (memory, later, failing) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Carrier { cluster, mesh, agent, objects, pace: Pace::default(), memory, later, failing }
    }

    /// Goes on for ever.
    pub async fn run(mut self) -> Infallible {
        loop {
            let next = self.later.iter().min_by_key(|(_, later)| later.at).map(|(key, later)| (key.clone(), later.at));
            let first = async {
                match &next {
                    Some((_, at)) => tokio::time::sleep_until(*at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = first => if let Some((key, _)) = next {
                    self.later.remove(&key);
                    self.objects.look_at(key);
                },
                key = self.objects.due() => if !self.later.get(&key).is_some_and(|later| later.rests) {
                    self.look_at(key).await;
                },
            }
        }
    }

    async fn look_at(&mut self, key: Key) {
        self.later.remove(&key);
        let now = self.now();
        let mut memory = self.memory.remove(&key).unwrap_or_default();
        let (steps, next, is_there) = {
            let known = self.objects.known();
            let runs = known.runs(&key);
            memory.runs.retain(|uid, _| runs.iter().any(|run| run.meta.uid == *uid));
            memory.conflicts.retain(|name, _| !runs.iter().any(|run| run.meta.name == *name));
            let seen = Seen {
                key: &key,
                plan: known.plan(&key),
                runs: &runs,
                mesh: known.mesh(&key),
                memory: &memory,
                all_plans: known.has_all_plans(),
                now,
            };
            (decide(&seen), again(&seen), seen.plan.is_some() || !runs.is_empty() || seen.mesh.is_some())
        };
        let mut memory = if is_there { memory } else { Memory::default() };
        let (mut failure, mut has_written) = (None, false);
        for step in steps {
            has_written |= !matches!(step, Step::Tell(_));
            if let Err(error) = self.carry_out(&key, step, &mut memory, now).await {
                failure = Some(error.to_string());
                break;
            }
        }
        if is_there {
            self.memory.insert(key.clone(), memory);
        }
        let pause = match failure {
            None => {
                self.failing.remove(&key);
                None
            }
            Some(why) => {
                let (pauses, complaint) = self.failing.entry(key.clone()).or_insert_with(|| (Backoff::new(PAUSES.0, PAUSES.1), Complaint::default()));
                let pause = pauses.pause();
                complaint.about(&format!("MaintenancePlan {} of namespace {} is not mirrored", key.plan, key.namespace), &why, pause);
                Some(pause)
            }
        };
        let rests = pause.is_some() || has_written;
        let wait = pause.or(has_written.then_some(REST)).or(next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or(REST)));
        if let Some(wait) = wait {
            self.later.insert(key, Later { at: Instant::now() + wait, rests });
        }
    }

    async fn carry_out(&mut self, key: &Key, step: Step, memory: &mut Memory, now: Timestamp) -> Result<(), CarryError> {
        match step {
            Step::Apply { uid } => self.apply(key, &uid, memory, now).await,
            Step::Remove => {
                let asked = v1::RemoveObjectRequest { namespace: key.namespace.clone(), name: key.plan.clone() };
                let answer = self.mesh.remove_object(asked).await?;
                memory.removal = answer.refusal.map(|refusal| Refused { digest: String::new(), refusal, at: now });
                Ok(())
            }
            Step::Start { name, uid, revision } => self.start(key, &name, &uid, revision, memory, now).await,
            Step::Write { kind, meta, status } => self.write(key, kind, &meta, &status).await,
            Step::Make { name, object } => {
                self.pace.wait().await;
                match self.cluster.create(&path(&key.namespace, RUNS, ""), &object).await {
                    // It is there already; if it is this one, the watch says so.
                    Err(ClusterError::Conflict { .. }) => *memory.conflicts.entry(name).or_default() += 1,
                    made => drop(made?),
                }
                Ok(())
            }
            Step::Drop { name, uid } => {
                self.pace.wait().await;
                match self.cluster.delete(&path(&key.namespace, RUNS, &name), &uid, None).await {
                    // It has gone, or is another by now.
                    Err(ClusterError::Missing { .. } | ClusterError::Conflict { .. }) => Ok(()),
                    gone => Ok(gone.map(drop)?),
                }
            }
            Step::Tell(event) => {
                self.tell(&event, now).await;
                Ok(())
            }
        }
    }

    /// The plan as its object is now, which may be later than what was looked at.
    async fn apply(&self, key: &Key, uid: &str, memory: &mut Memory, now: Timestamp) -> Result<(), CarryError> {
        let Some(object) = self.find(&path(&key.namespace, PLANS, &key.plan), uid).await? else { return Ok(()) };
        let source = source(&object.metadata.name, &object.spec);
        let digest = digest(&source);
        let answer = self.mesh.apply_object(v1::ApplyObjectRequest { namespace: key.namespace.clone(), source: source.clone() }).await?;
        memory.plan = answer.refusal.map(|mut refusal| {
            for problem in refusal.problems.iter_mut().filter(|problem| problem.field.is_empty()) {
                problem.field = field_at(&source, problem.line);
            }
            Refused { digest, refusal, at: now }
        });
        Ok(())
    }

    async fn start(&self, key: &Key, name: &str, uid: &str, revision: u32, memory: &mut Memory, now: Timestamp) -> Result<(), CarryError> {
        let Some(object) = self.find(&path(&key.namespace, RUNS, name), uid).await? else { return Ok(()) };
        let inputs = object.spec["inputs"].as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.to_string()));
        let asked = v1::StartObjectRequest {
            namespace: key.namespace.clone(),
            plan: key.plan.clone(),
            revision,
            object: uid.to_owned(),
            inputs: inputs.collect(),
        };
        match self.mesh.start_object(asked).await?.refusal {
            Some(refusal) => drop(memory.runs.insert(uid.to_owned(), Refused { digest: String::new(), refusal, at: now })),
            None => drop(memory.runs.remove(uid)),
        }
        Ok(())
    }

    /// One object, if it is still that one and stays.
    async fn find(&self, path: &str, uid: &str) -> Result<Option<Raw>, ClusterError> {
        let found: Option<Raw> = self.cluster.find(path).await?;
        Ok(found.filter(|object| object.metadata.uid == uid && object.metadata.lives()))
    }

    async fn write(&self, key: &Key, kind: &str, meta: &Written, status: &Value) -> Result<(), CarryError> {
        let place = path(&key.namespace, if kind == PLAN { PLANS } else { RUNS }, &meta.name);
        let patch = json!({ "metadata": { "uid": meta.uid, "resourceVersion": meta.version }, "status": status });
        self.pace.wait().await;
        match self.cluster.patch(&format!("{place}/status"), Patch::Merge, &patch).await {
            // What it is now comes with the watch.
            Err(ClusterError::Conflict { .. } | ClusterError::Missing { .. }) => Ok(()),
            written => Ok(written.map(drop)?),
        }
    }

    /// Nothing depends on it: one that does not come off is left.
    async fn tell(&self, event: &Event, now: Timestamp) {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", escaped(&event.namespace));
        self.pace.wait().await;
        match self.cluster.create(&path, &event.body(now, &self.agent.to_string())).await {
            // It was told before this process began.
            Ok(_) | Err(ClusterError::Conflict { .. }) => {}
            Err(error) => tracing::debug!(%error, object = event.name, reason = event.reason, "an event was not told"),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.mesh.clock().wall().0).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Of all objects of a namespace, or of one of them.
fn path(namespace: &str, of: &str, name: &str) -> String {
    let all = format!("{GROUP}/namespaces/{}/{of}", escaped(namespace));
    if name.is_empty() { all } else { format!("{all}/{}", escaped(name)) }
}
