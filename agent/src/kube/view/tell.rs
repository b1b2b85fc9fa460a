//! Tells the mesh of the cluster's nodes: all of them first, and then what changes; and of the pods of those nodes whose
//! agents want to know them.
//!
//! After a link that was lost, a message that was refused or not answered, it begins with all of them again. Nothing is
//! remembered of what the mesh had: whoever leads now may have none of it.

use std::time::Duration;

use mainstay_client::random::Backoff;
use mainstay_core::fact::NodeFact;
use mainstay_proto::convert::fact_to_wire;
use mainstay_proto::v1;
use mainstay_proto::v1::agent_message::Message as ToMesh;
use mainstay_proto::v1::mesh_message::Message as FromMesh;

use super::follow::Heard;
use super::nodes::{Changes, Nodes};
use super::pods::Pods;
use crate::complaint::Complaint;
use crate::link::Teller;

/// Nodes of one message: some 100 KiB.
const NODES: usize = 200;
/// Nodes whose pods are told before it is looked whether something is new of nodes themselves.
const TURN: usize = 16;
/// What changes together is told together: pods come in groups, and each change tells all pods of a node.
const TOGETHER: Duration = Duration::from_millis(300);
/// Without a change the mesh is told so often that what it has is still so.
const STILL_SO: Duration = Duration::from_secs(10);
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// After a refusal.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// What one replica tells while it acts.
pub(super) struct Telling<'a> {
    pub teller: &'a mut Teller,
    pub nodes: &'a Nodes,
    pub pods: &'a Pods,
    pub heard: &'a Heard,
    /// Of the last message. It grows for as long as the process lives, so that a late answer is known for what it is.
    pub sequence: &'a mut u64,
}

/// One message.
enum Saying {
    Nodes(v1::NodeFacts),
    Pods(v1::NodePods),
}

/// Why it begins anew.
enum Anew {
    /// Another link: at once.
    Link,
    Refused(String),
}

impl Telling<'_> {
    /// Tells for ever.
    pub async fn run(mut self) -> std::convert::Infallible {
        let mut pauses = Backoff::new(PAUSES.0, PAUSES.1);
        let mut complaint = Complaint::default();
        loop {
            let link = self.teller.up().await;
            self.pods.spare_all();
            let mut told_all = false;
            match self.on(link, &mut told_all).await {
                Anew::Link => {}
                Anew::Refused(why) => {
                    if told_all {
                        (pauses, complaint) = (Backoff::new(PAUSES.0, PAUSES.1), Complaint::default());
                    }
                    let pause = pauses.pause();
                    complaint.about("the mesh does not take what is known of the cluster's nodes", &why, pause);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn on(&mut self, link: u64, told_all: &mut bool) -> Anew {
        while !self.nodes.is_whole() {
            self.nodes.changed().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let all = self.nodes.take_all();
        let mut pieces = all.chunks(NODES).peekable();
        let mut begins = true;
        loop {
            let nodes = pieces.next().unwrap_or_default().to_vec();
            let ends = pieces.peek().is_none();
            if let Err(anew) = self.say(link, Saying::Nodes(v1::NodeFacts { begins, ends, ..of(nodes) })).await {
                return anew;
            }
            begins = false;
            if ends {
                break;
            }
        }
        *told_all = true;
        loop {
            let ended = self.teller.ended(link);
            let mut pods_are_due = false;
            tokio::select! {
                biased;
                () = ended => return Anew::Link,
                () = self.nodes.changed() => {}
                message = self.teller.answer() => {
                    self.heard(message);
                    continue;
                }
                () = self.pods.due() => pods_are_due = true,
                // What the mesh has is still so.
                () = tokio::time::sleep(STILL_SO) => {}
            }
            let changes = self.nodes.take_changes(NODES);
            if !(pods_are_due && changes == Changes::default()) {
                let facts = v1::NodeFacts { gone: changes.gone, ..of(changes.nodes) };
                if let Err(anew) = self.say(link, Saying::Nodes(facts)).await {
                    return anew;
                }
            }
            if pods_are_due && let Err(anew) = self.say_pods(link).await {
                return anew;
            }
        }
    }

    async fn say_pods(&mut self, link: u64) -> Result<(), Anew> {
        tokio::time::sleep(TOGETHER).await;
        for _ in 0..TURN {
            let Some((node, pods)) = self.pods.take() else { return Ok(()) };
            self.say(link, Saying::Pods(v1::NodePods { sequence: 0, node, pods })).await?;
        }
        Ok(())
    }

    /// Something that the mesh says by itself.
    fn heard(&self, message: FromMesh) {
        if let FromMesh::PodsWanted(wanted) = message {
            self.pods.want(wanted.nodes);
        }
    }

    /// Says one thing and waits until it has been taken.
    async fn say(&mut self, link: u64, saying: Saying) -> Result<(), Anew> {
        *self.sequence += 1;
        let sequence = *self.sequence;
        let silent_ms = self.heard.silent().map_or(0, |silent| u64::try_from(silent.as_millis()).unwrap_or(u64::MAX));
        let node = if let Saying::Pods(pods) = &saying { pods.node.clone() } else { String::new() };
        self.teller.tell(match saying {
            Saying::Nodes(facts) => ToMesh::NodeFacts(v1::NodeFacts { sequence, silent_ms, ..facts }),
            Saying::Pods(pods) => ToMesh::NodePods(v1::NodePods { sequence, ..pods }),
        });
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let ended = self.teller.ended(link);
                tokio::select! {
                    biased;
                    () = ended => return Err(Anew::Link),
                    answer = self.teller.answer() => match answer {
                        FromMesh::FactsTaken(taken) if taken.sequence == sequence && taken.refused.is_empty() => {
                            if taken.unwanted {
                                self.pods.spare(&node);
                            }
                            return Ok(());
                        }
                        FromMesh::FactsTaken(taken) if taken.sequence == sequence => return Err(Anew::Refused(taken.refused)),
                        // To what was told on an earlier link, or of itself.
                        other => self.heard(other),
                    },
                }
            }
        });
        waited.await.unwrap_or_else(|_| Err(Anew::Refused(format!("no answer within {PATIENCE:?}"))))
    }
}

fn of(nodes: Vec<NodeFact>) -> v1::NodeFacts {
    v1::NodeFacts { nodes: nodes.into_iter().map(|node| fact_to_wire(&node)).collect(), ..v1::NodeFacts::default() }
}
