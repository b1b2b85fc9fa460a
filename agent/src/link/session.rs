//! One link, from hello to its end.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use mainstay_client::clock::Clock;
use mainstay_core::condition::Condition;
use mainstay_core::state::agent::Hello;
use mainstay_proto::convert::{conditions_to_wire, desired_from_wire, hello_to_wire, rights_reviewed_to_wire, token_reviewed_to_wire};
use mainstay_proto::v1;
use mainstay_proto::v1::agent_message::Message as ToMesh;
use mainstay_proto::v1::mesh_message::Message as FromMesh;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;

use super::connector::{Connector, LinkStream};
use super::{Exchange, LinkMetrics, Outbox, Wanted};
use crate::execute::review::Rights;
use crate::kube::conditions::Told;
use crate::kube::vouch::Reviewer;
use crate::ledger::{Ledger, LedgerError, Version};
use crate::observe::pods::Pods;

/// For opening the link, and for the welcome after it.
const OPEN: Duration = Duration::from_secs(15);
/// Messages on their way into the connection; output waits in the outbox, where the oldest can go.
const OUTGOING: usize = 4;
/// Between heartbeats, where the mesh does not say, and the bounds of what it may say.
const HEARTBEAT: Duration = Duration::from_secs(5);
const HEARTBEAT_BOUNDS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));
/// Heartbeats that found no room in the connection, one after the other, after which it does not work.
const STUCK: u32 = 3;
/// Tokens that are reviewed at one time.
const REVIEWS: usize = 16;
/// For one of them; the mesh waits four seconds.
const REVIEW: Duration = Duration::from_millis(3_500);

pub(super) struct Session<'a, C> {
    pub number: u64,
    pub connector: &'a C,
    pub hello: &'a Hello,
    pub ledger: &'a Ledger,
    pub metrics: &'a LinkMetrics,
    pub outbox: &'a Outbox,
    pub exchange: &'a Exchange,
    pub pods: &'a Pods,
    pub clock: &'a dyn Clock,
    pub wanted: &'a watch::Sender<Option<Arc<Wanted>>>,
    pub up: &'a watch::Sender<bool>,
    pub reviewer: Option<&'a Arc<dyn Reviewer>>,
    pub rights: Option<&'a Arc<dyn Rights>>,
    pub told: &'a Told,
    pub conditions: &'a watch::Receiver<Option<Arc<[Condition]>>>,
}

/// Why a link ended.
pub(super) enum Ended {
    /// Another one may work.
    Lost(String),
    Superseded {
        incarnation: String,
    },
    Ledger(LedgerError),
}

impl From<LedgerError> for Ended {
    fn from(error: LedgerError) -> Ended {
        Ended::Ledger(error)
    }
}

fn lost(why: impl Into<String>) -> Ended {
    Ended::Lost(why.into())
}

impl<C: Connector> Session<'_, C> {
    pub async fn run(self) -> Ended {
        match self.live().await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn live(&self) -> Result<std::convert::Infallible, Ended> {
        let (outgoing, receiver) = mpsc::channel(OUTGOING);
        let hello = say(ToMesh::Hello(hello_to_wire(self.hello)));
        outgoing.try_send(hello).map_err(|_| lost("the hello found no room"))?;
        let opened = tokio::time::timeout(OPEN, self.connector.open(ReceiverStream::new(receiver))).await;
        let mut incoming = opened.map_err(|_| lost(format!("no link within {OPEN:?}")))?.map_err(|error| lost(error.to_string()))?;
        let every = self.welcomed(&mut incoming).await?;
        let mut renewing = false;
        let replaced = self.connector.replaced();
        tokio::pin!(replaced);
        let mut heartbeats = tokio::time::interval(every);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut without_room = 0;
        let mut reviews = JoinSet::new();
        let mut conditions = self.conditions.clone();
        let mut untold = conditions.borrow_and_update().is_some();
        loop {
            tokio::select! {
                biased;
                message = incoming.next() => match self.message(message)? {
                    Some(FromMesh::ReviewToken(question)) => self.review(question, &outgoing, &mut reviews),
                    Some(FromMesh::ReviewRights(question)) => self.review_rights(question, &outgoing, &mut reviews),
                    message => renewing |= self.take(message).await?,
                },
                Some(_) = reviews.join_next() => {}
                () = &mut replaced, if renewing => return Err(lost("the certificate was renewed for the mesh: a link with it follows")),
                _ = heartbeats.tick() => match outgoing.try_send(say(ToMesh::Heartbeat(v1::Heartbeat {}))) {
                    Ok(()) => without_room = 0,
                    Err(mpsc::error::TrySendError::Closed(_)) => return Err(lost("the connection was closed")),
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        without_room += 1;
                        if without_room >= STUCK {
                            return Err(lost(format!("the connection took nothing in for {STUCK} heartbeats")));
                        }
                    }
                },
                room = self.room_for_facts(&outgoing) => match (room, self.exchange.take()) {
                    (None, _) => return Err(lost("the connection was closed")),
                    (Some(room), Some(facts)) => room.send(say(facts)),
                    (Some(_), None) => {}
                },
                Ok(()) = conditions.changed(), if !untold => untold = conditions.borrow_and_update().is_some(),
                room = outgoing.reserve(), if untold => {
                    let room = room.map_err(|_| lost("the connection was closed"))?;
                    if let Some(seen) = &*conditions.borrow_and_update() {
                        room.send(say(ToMesh::NodeConditions(conditions_to_wire("", seen))));
                    }
                    untold = false;
                },
                room = self.room_for_output(&outgoing) => match (room, self.outbox.take()) {
                    (None, _) => return Err(lost("the connection was closed")),
                    (Some(room), Some(output)) => room.send(say(ToMesh::Output(output))),
                    (Some(_), None) => {}
                },
            }
        }
    }

    /// The first message is the welcome; only with it is the link up. Answers how often to send a heartbeat.
    async fn welcomed(&self, incoming: &mut LinkStream) -> Result<Duration, Ended> {
        let first = tokio::time::timeout(OPEN, incoming.next()).await.map_err(|_| lost(format!("no welcome within {OPEN:?}")))?;
        match self.message(first)? {
            None => Err(lost("the mesh began with a message that this version does not know")),
            Some(FromMesh::Welcome(welcome)) => {
                let asked = if welcome.heartbeat_ms == 0 { HEARTBEAT } else { Duration::from_millis(welcome.heartbeat_ms) };
                tracing::info!(epoch = welcome.epoch, "linked to the mesh");
                self.metrics.up.set(1);
                self.up.send_replace(true);
                self.exchange.linked(self.number);
                Ok(asked.clamp(HEARTBEAT_BOUNDS.0, HEARTBEAT_BOUNDS.1))
            }
            Some(_) => Err(lost("the mesh did not begin with a welcome")),
        }
    }

    /// Says whether the mesh wants the certificate renewed before its time.
    async fn take(&self, message: Option<FromMesh>) -> Result<bool, Ended> {
        match message {
            Some(FromMesh::Desired(desired)) => self.desired(desired).await.map(|()| false),
            Some(FromMesh::RenewNow(_)) => {
                self.connector.ask_renewal();
                Ok(true)
            }
            Some(FromMesh::NodePods(own)) => {
                self.pods.put(own.pods, self.clock.wall());
                Ok(false)
            }
            Some(FromMesh::ConditionsKnown(known)) => {
                self.told.put(known);
                Ok(false)
            }
            Some(taken @ (FromMesh::FactsTaken(_) | FromMesh::PodsWanted(_))) => {
                if !self.exchange.answered(taken) {
                    return Err(lost("the mesh says more of what is told of the cluster than can be heard: a new link begins it anew"));
                }
                Ok(false)
            }
            // A second welcome changes nothing that is in use, and what a later version says goes past this one.
            Some(FromMesh::Welcome(_) | FromMesh::Superseded(_) | FromMesh::ReviewToken(_) | FromMesh::ReviewRights(_)) | None => Ok(false),
        }
    }

    /// Has a token reviewed, beside everything else. Whoever asked does not wait for longer than the link's patience.
    fn review(&self, question: v1::ReviewToken, outgoing: &mpsc::Sender<v1::AgentMessage>, reviews: &mut JoinSet<()>) {
        let v1::ReviewToken { id, token, audience } = question;
        let outgoing = outgoing.clone();
        let reviewed = match self.reviewer.filter(|_| reviews.len() < REVIEWS) {
            Some(reviewer) => reviewer.review(token, audience),
            None if self.reviewer.is_some() => Box::pin(std::future::ready(Err("it has many to review".to_owned()))),
            None => Box::pin(std::future::ready(Err("this agent does not speak for a cluster".to_owned()))),
        };
        reviews.spawn(async move {
            let answer = tokio::time::timeout(REVIEW, reviewed).await;
            let answer = answer.unwrap_or_else(|_| Err(format!("the API server has not answered within {REVIEW:?}")));
            // A link that takes nothing in has ended, or is about to: whoever asked then asks again.
            let _ = outgoing.send_timeout(say(ToMesh::TokenReviewed(token_reviewed_to_wire(id, answer))), REVIEW).await;
        });
    }

    /// Asks which rights a step would lack, in the same way.
    fn review_rights(&self, question: v1::ReviewRights, outgoing: &mpsc::Sender<v1::AgentMessage>, reviews: &mut JoinSet<()>) {
        let v1::ReviewRights { id, kind, with, undoes } = question;
        let outgoing = outgoing.clone();
        let with = serde_json::from_str(&with).map_err(|error| format!("its parameters cannot be read: {error}"));
        let reviewed: BoxFuture<'static, _> = match (self.rights.filter(|_| reviews.len() < REVIEWS), with) {
            (Some(rights), Ok(with)) => rights.lacking(kind, with, undoes),
            (Some(_), Err(error)) => Box::pin(std::future::ready(Err(error))),
            (None, _) if self.rights.is_some() => Box::pin(std::future::ready(Err("its agent has many to answer".to_owned()))),
            (None, _) => Box::pin(std::future::ready(Err("its agent does not speak for a cluster".to_owned()))),
        };
        reviews.spawn(async move {
            let answer = tokio::time::timeout(REVIEW, reviewed).await;
            let answer = answer.unwrap_or_else(|_| Err(format!("the API server has not answered within {REVIEW:?}")));
            let _ = outgoing.send_timeout(say(ToMesh::RightsReviewed(rights_reviewed_to_wire(id, answer))), REVIEW).await;
        });
    }

    /// The next message, unless it ends the link. `None`: one that this version does not know.
    fn message(&self, next: Option<Result<v1::MeshMessage, tonic::Status>>) -> Result<Option<FromMesh>, Ended> {
        let message = next.ok_or_else(|| lost("the mesh ended the link"))?.map_err(|status| lost(format!("the link broke: {}", status.message())))?;
        match message.message {
            // An earlier link of this very process, of which the mesh had not heard the end.
            Some(FromMesh::Superseded(by)) if by.incarnation == self.hello.incarnation => Err(lost("a newer link of this process took over")),
            Some(FromMesh::Superseded(by)) => Err(Ended::Superseded { incarnation: by.incarnation }),
            other => Ok(other),
        }
    }

    async fn desired(&self, desired: v1::Desired) -> Result<(), Ended> {
        let version = Version { incarnation: desired.incarnation, generation: desired.generation };
        let desired = desired_from_wire(desired).map_err(|invalid| {
            self.metrics.refused.inc();
            lost(format!("the mesh sent a desired set that makes no sense: {invalid}"))
        })?;
        if !self.ledger.see(version).await? {
            self.metrics.refused.inc();
            let seen = self.ledger.seen();
            tracing::warn!(?version, ?seen, "refused a desired set that is older than one seen before");
            return Ok(());
        }
        tracing::debug!(incarnation = version.incarnation, generation = version.generation, "took what is wanted");
        self.wanted.send_replace(Some(Arc::new(Wanted { link: self.number, desired })));
        Ok(())
    }

    /// Room in the connection, as soon as there are facts for it. `None`: the connection is closed.
    async fn room_for_facts<'o>(&self, outgoing: &'o mpsc::Sender<v1::AgentMessage>) -> Option<mpsc::Permit<'o, v1::AgentMessage>> {
        self.exchange.filled().await;
        outgoing.reserve().await.ok()
    }

    /// Room in the connection, as soon as there is output for it. `None`: the connection is closed.
    async fn room_for_output<'o>(&self, outgoing: &'o mpsc::Sender<v1::AgentMessage>) -> Option<mpsc::Permit<'o, v1::AgentMessage>> {
        self.outbox.filled().await;
        outgoing.reserve().await.ok()
    }
}

fn say(message: ToMesh) -> v1::AgentMessage {
    v1::AgentMessage { message: Some(message) }
}
