//! One agent's link: heartbeats and output in, what is wanted out.
//!
//! ```text
//!   agent ──▶ listen: heartbeats, facts ─▶ Seen · output ─▶ watchers · what a token is ─▶ enrolment
//!   agent ◀── tell:   welcome, then what is wanted, whole, now and after each change of it; whose a token is
//! ```
//! A cluster agent is told besides, in turns of their own, whose pods are wanted ([`LinkTask::want`]) and what the agents of
//! its nodes say ([`super::conditions`]). Whichever half ends first ends the link.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_client::clock::Clock;
use mainstay_core::decide::LINK_SILENCE;
use mainstay_core::reconcile::Desired;
use mainstay_core::state::trust::Shown;
use mainstay_core::{AgentId, AttemptId, WallTime, bounds};
use mainstay_proto::convert::{conditions_from_wire, desired_to_wire, rights_reviewed_from_wire, token_reviewed_from_wire, told_from_wire};
use mainstay_proto::v1;
use mainstay_proto::v1::agent_message::Message;
use mainstay_proto::v1::mesh_message::Message as MeshSays;
use tokio::sync::{Notify, mpsc};
use tonic::{Status, Streaming};

use super::status;
use crate::leader::{Link, Office, Question, Successor};

/// Longest that an agent may leave a message unread.
const PATIENCE: Duration = Duration::from_secs(15);
/// Lines of one message that are passed on; the rest counts as dropped.
const LINES: usize = 512;
/// Between two words to a cluster agent of nodes that have linked: after a change of the leader all of them do.
const TOGETHER: Duration = Duration::from_secs(1);
/// Longest line that is passed on whole.
const LINE_BYTES: usize = 4 << 10;

/// Serves one link.
pub struct LinkTask {
    pub office: Arc<Office>,
    pub clock: Arc<dyn Clock>,
    pub link: Link,
    /// End of the certificate that the link was opened with.
    pub not_after: WallTime,
    /// The certificate that it was opened with, and what its holder trusts; nothing where that is not known.
    pub shown: Option<Shown>,
    /// A cluster agent begins to tell of its cluster, and knows of nobody who wants to know.
    pub begins: Notify,
    pub outgoing: mpsc::Sender<Result<v1::MeshMessage, Status>>,
}

impl LinkTask {
    pub async fn run(self, incoming: Streaming<v1::AgentMessage>) {
        // The first word, whoever of those below has something to say.
        let welcome = v1::Welcome { epoch: self.link.epoch(), heartbeat_ms: LINK_SILENCE.0 / 3 };
        if self.say(MeshSays::Welcome(welcome)).await {
            tokio::select! {
                () = self.listen(incoming) => {}
                () = self.tell() => {}
                () = self.want() => {}
                () = self.hand_conditions() => {}
            }
        }
        let (agent, epoch) = (self.link.agent().clone(), self.link.epoch());
        self.office.note(true, |memory, now| memory.unlinked(&agent, epoch, now));
    }

    async fn listen(&self, mut incoming: Streaming<v1::AgentMessage>) {
        loop {
            let message = match incoming.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(error) => return tracing::debug!(agent = %self.link.agent(), %error, "link ended"),
            };
            self.office.note(false, |memory, now| memory.heard(self.link.agent(), self.link.epoch(), now));
            if self.is_given_up() {
                return self.refuse(Status::unavailable("this link was silent for too long and is given up: connect anew")).await;
            }
            match message.message {
                Some(Message::Output(output)) => self.pass_on(output),
                Some(Message::TokenReviewed(reviewed)) => self.reviewed(reviewed),
                Some(Message::RightsReviewed(reviewed)) => {
                    let (id, answer) = rights_reviewed_from_wire(reviewed);
                    self.office.rights_reviews().answered(self.link.agent(), id, answer);
                }
                Some(Message::NodeFacts(facts)) => {
                    let sequence = facts.sequence;
                    let refused = self.keep(facts).err().unwrap_or_default();
                    // Who does not take the answer does not go on telling either.
                    if !self.say(MeshSays::FactsTaken(v1::FactsTaken { sequence, refused, unwanted: false })).await {
                        return;
                    }
                }
                Some(Message::NodePods(pods)) => {
                    let sequence = pods.sequence;
                    let (unwanted, refused) = match self.hand(pods) {
                        Ok(is_linked) => (!is_linked, String::new()),
                        Err(why) => (false, why),
                    };
                    if !self.say(MeshSays::FactsTaken(v1::FactsTaken { sequence, refused, unwanted })).await {
                        return;
                    }
                }
                Some(Message::NodeConditions(said)) => self.office.links().said(&self.link, conditions_from_wire(said.conditions)),
                // One hello is enough; what this version does not know is no reason to end the link.
                Some(Message::Hello(_) | Message::Heartbeat(_)) | None => {}
            }
        }
    }

    fn reviewed(&self, reviewed: v1::TokenReviewed) {
        let (id, answer) = token_reviewed_from_wire(reviewed);
        self.office.reviews().answered(self.link.agent(), id, answer);
    }

    /// Whether the mesh calls the agent lost, though its link is open: its process, or a machine on the way, stood
    /// still for a while. It is not taken back, since its work may be elsewhere by now: the agent connects anew.
    fn is_given_up(&self) -> bool {
        let state = self.office.state();
        state.agents.get(self.link.agent()).is_some_and(|agent| agent.epoch == self.link.epoch() && !agent.is_up())
    }

    /// Hands a node's pods to its agent. Answers whether that is linked.
    fn hand(&self, pods: v1::NodePods) -> Result<bool, String> {
        self.acts()?;
        let cluster = self.link.agent().cluster.clone();
        if pods.pods.len() > bounds::NODE_PODS {
            return Err(format!("{} pods of node {} are more than the {} that are passed on", pods.pods.len(), pods.node, bounds::NODE_PODS));
        }
        // A node whose name no agent can have has none.
        let Ok(node) = pods.node.parse() else { return Ok(false) };
        Ok(self.office.links().hand(&AgentId::node(cluster, node), pods))
    }

    pub(super) fn acts(&self) -> Result<(), String> {
        let agent = self.link.agent();
        if self.office.state().acting(&agent.cluster).as_ref() == Some(agent) {
            return Ok(());
        }
        Err(format!("{agent} does not act for its cluster: it does not hold the lease agent/{}", agent.cluster))
    }

    /// Keeps what the agent tells of its cluster's nodes, if it is the one that acts for it. Else in words, why not.
    fn keep(&self, facts: v1::NodeFacts) -> Result<(), String> {
        self.acts()?;
        let agent = self.link.agent();
        if facts.begins {
            self.begins.notify_one();
        }
        // A rollout may wait for what is told here.
        let wakes = facts.ends || !facts.nodes.is_empty() || !facts.gone.is_empty();
        let mut taken = Ok(());
        self.office.note(wakes, |memory, now| taken = memory.told(agent, self.link.epoch(), told_from_wire(facts), now));
        taken.map_err(|why| why.to_string())
    }

    /// Hands output to those who watch the run, if the attempt is this agent's.
    fn pass_on(&self, output: v1::StepOutput) {
        let Ok(id) = output.attempt.parse::<AttemptId>() else { return };
        let state = self.office.state();
        let Some(attempt) = state.attempts.get(&id).filter(|attempt| attempt.agent == *self.link.agent()) else { return };
        self.office.outputs().send(&attempt.run, || {
            let beyond = output.lines.len().saturating_sub(LINES) as u64;
            let mut dropped = output.dropped + beyond;
            output.lines.into_iter().skip(usize::try_from(beyond).unwrap_or(0)).map(move |line| v1::OutputLine {
                attempt: output.attempt.clone(),
                step: attempt.step.to_string(),
                target: attempt.target.to_string(),
                line: cut(line),
                dropped: std::mem::take(&mut dropped),
            })
        });
    }

    /// Tells a cluster agent whose pods are wanted, from its first word on. Ends when it does not listen.
    async fn want(&self) {
        if !self.link.agent().is_replica() {
            return std::future::pending().await;
        }
        let mut opened = self.office.links().nodes_opened();
        let mut told = BTreeMap::new();
        self.begins.notified().await;
        loop {
            opened.mark_unchanged();
            let now = self.office.links().nodes_of(&self.link.agent().cluster);
            let new: Vec<String> = now.iter().filter(|(node, epoch)| told.get(*node) != Some(*epoch)).map(|(node, _)| node.clone()).collect();
            told = now;
            if !new.is_empty() && self.acts().is_ok() && !self.say(MeshSays::PodsWanted(v1::PodsWanted { nodes: new })).await {
                return;
            }
            tokio::time::sleep(TOGETHER).await;
            tokio::select! {
                () = self.begins.notified() => told.clear(),
                changed = opened.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
            }
        }
    }

    async fn tell(&self) {
        let certificate_ends = tokio::time::sleep(self.certificate_left());
        tokio::pin!(certificate_ends);
        let mut told: Option<Desired> = None;
        let mut told_to_renew = false;
        loop {
            let state = self.office.state();
            let renews = self.shown.as_ref().is_some_and(|shown| state.wants_renewal(shown));
            if renews && !told_to_renew && !self.say(MeshSays::RenewNow(v1::RenewNow {})).await {
                return;
            }
            told_to_renew = renews;
            let wanted = state.desired(self.link.agent());
            // The generation alone is no change.
            if told.as_ref().is_none_or(|told| (told.incarnation, &told.attempts) != (wanted.incarnation, &wanted.attempts)) {
                if !self.say(MeshSays::Desired(desired_to_wire(&wanted))).await {
                    return;
                }
                told = Some(wanted);
            }
            tokio::select! {
                () = self.link.changed() => {}
                question = self.link.question() => {
                    let question = match question {
                        Question::Token { id, token, audience } => MeshSays::ReviewToken(v1::ReviewToken { id, token, audience }),
                        Question::Rights(question) => MeshSays::ReviewRights(question),
                    };
                    if !self.say(question).await {
                        return;
                    }
                }
                pods = self.link.pods() => if !self.say(MeshSays::NodePods(pods)).await {
                    return;
                },
                () = self.outgoing.closed() => return,
                () = self.office.ended().cancelled() => return self.refuse(status::not_leader("the leader has changed: connect to the new one", None)).await,
                successor = self.link.superseded() => {
                    if let Successor::Other { incarnation } = successor {
                        self.say(MeshSays::Superseded(v1::Superseded { incarnation })).await;
                    }
                    return;
                }
                () = &mut certificate_ends => {
                    return self.refuse(Status::unavailable("the certificate of this link has ended: connect with the renewed one")).await;
                }
            }
        }
    }

    fn certificate_left(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.not_after.0.saturating_sub(self.clock.wall().0)).unwrap_or(0))
    }

    pub(super) async fn say(&self, message: MeshSays) -> bool {
        self.outgoing.send_timeout(Ok(v1::MeshMessage { message: Some(message) }), PATIENCE).await.is_ok()
    }

    async fn refuse(&self, status: Status) {
        // An agent that does not take the last word finds the link ended.
        let _ = self.outgoing.send_timeout(Err(status), PATIENCE).await;
    }
}

fn cut(mut line: String) -> String {
    if line.len() > LINE_BYTES {
        let mut end = LINE_BYTES;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_between_characters() {
        assert_eq!(cut("short".into()), "short");
        let cut = cut("ü".repeat(LINE_BYTES));
        assert!(cut.len() <= LINE_BYTES + '…'.len_utf8() && cut.ends_with("ü…"));
    }
}
