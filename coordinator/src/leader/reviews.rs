//! Questions to a cluster's agents about pods' tokens, and their answers; those about rights go the same way.
//!
//! ```text
//!   enrolment ─ ask ─▶ Links ─▶ the agent's link ─▶ agent ─▶ its API server
//!   enrolment ◀─ answer, or none in time ── Reviews ◀── the agent's link
//! ```
//! A token is held for as long as the question is open, and kept nowhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mainstay_client::random;
use mainstay_core::AgentId;
use mainstay_core::id::ClusterName;
use mainstay_core::voucher::Reviewed;
use mainstay_core::voucher::VOUCHED;
use mainstay_proto::v1;
use tokio::sync::oneshot;

use super::Office;

/// For one agent's answer. Two of these are less than whoever enrols waits for.
const PATIENCE: Duration = Duration::from_secs(4);
/// Agents that are asked, one after the other.
const TRIES: usize = 2;

/// What an agent is asked, each with a random number.
#[derive(Clone)]
pub enum Question {
    /// Whose a token is.
    Token { id: u64, token: String, audience: String },
    /// Which rights a step would lack.
    Rights(v1::ReviewRights),
}

/// Without the token.
impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Question::Token { id, .. } | Question::Rights(v1::ReviewRights { id, .. })) = self;
        write!(f, "Question({id:016x})")
    }
}

/// What it says, or why it does not know.
pub type Answer<A> = Result<A, String>;

/// Why nobody has said anything of a token. All of it passes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReviewed {
    #[error(
        "no agent of cluster {0} that could vouch for its nodes is connected to the mesh: nodes are let in as soon as one is; see its log, and `mainstay node list`"
    )]
    Nobody(ClusterName),
    #[error("agent {agent} could not have the token reviewed: {why}")]
    Failed { agent: AgentId, why: String },
    #[error("agent {agent} has not answered within {PATIENCE:?}")]
    Silent { agent: AgentId },
}

/// The questions of one sort that are open.
#[derive(Debug)]
pub struct Reviews<A> {
    open: Mutex<BTreeMap<u64, Open<A>>>,
}

#[derive(Debug)]
struct Open<A> {
    asked: AgentId,
    answer: oneshot::Sender<Answer<A>>,
}

impl<A> Default for Reviews<A> {
    fn default() -> Reviews<A> {
        Reviews { open: Mutex::default() }
    }
}

impl<A> Reviews<A> {
    /// Brings an answer to whoever asked, if it comes from the agent that was asked.
    pub fn answered(&self, by: &AgentId, id: u64, answer: Answer<A>) {
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&id).is_some_and(|open| open.asked == *by)
            && let Some(open) = all.remove(&id)
        {
            // Whoever asked may have given up.
            let _ = open.answer.send(answer);
        }
    }

    pub(super) fn open(&self, id: u64, asked: &AgentId) -> oneshot::Receiver<Answer<A>> {
        let (answer, answered) = oneshot::channel();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Open { asked: asked.clone(), answer });
        answered
    }

    fn close(&self, id: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// Takes the question off the list, also when whoever asked is gone.
pub(super) struct Asked<'a, A> {
    pub reviews: &'a Reviews<A>,
    pub id: u64,
}

impl<A> Drop for Asked<'_, A> {
    fn drop(&mut self) {
        self.reviews.close(self.id);
    }
}

impl Office {
    /// Has a token reviewed by an agent of the cluster: the one that acts, or another one that is linked.
    pub async fn review(&self, cluster: &ClusterName, token: &str, audience: &str) -> Result<(AgentId, Reviewed), NotReviewed> {
        let state = self.state();
        let acting = state.acting(cluster);
        let knows = |agent: &AgentId| state.agents.get(agent).and_then(|a| a.hello.as_ref()).is_some_and(|hello| hello.feature_level >= VOUCHED);
        let mut agents: Vec<AgentId> = self.links().of_cluster(cluster).into_iter().filter(knows).collect();
        agents.sort_by_key(|agent| acting.as_ref() != Some(agent));
        let mut failure = NotReviewed::Nobody(cluster.clone());
        for agent in agents.into_iter().take(TRIES) {
            match self.ask(&agent, token, audience).await {
                Ok(reviewed) => return Ok((agent, reviewed)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn ask(&self, agent: &AgentId, token: &str, audience: &str) -> Result<Reviewed, NotReviewed> {
        let id = random::number();
        let answered = self.reviews().open(id, agent);
        let _asked = Asked { reviews: self.reviews(), id };
        if !self.links().ask(agent, Question::Token { id, token: token.to_owned(), audience: audience.to_owned() }) {
            return Err(NotReviewed::Failed { agent: agent.clone(), why: "it has many to review, or its link has just ended".to_owned() });
        }
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer.map_err(|why| NotReviewed::Failed { agent: agent.clone(), why }),
            Ok(Err(_)) | Err(_) => Err(NotReviewed::Silent { agent: agent.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_agent_that_was_asked_answers() {
        let (reviews, asked, other): (_, AgentId, AgentId) = (Reviews::default(), "c/agent/r1".parse().unwrap(), "d/agent/r1".parse().unwrap());
        let mut answered = reviews.open(7, &asked);
        reviews.answered(&other, 7, Ok(Reviewed { authenticated: true, ..Reviewed::default() }));
        assert!(answered.try_recv().is_err(), "another agent's word counts for nothing");
        reviews.answered(&asked, 8, Ok(Reviewed::default()));
        reviews.answered(&asked, 7, Err("no".into()));
        assert_eq!(answered.await.unwrap(), Err("no".to_owned()));
        drop(Asked { reviews: &reviews, id: 7 });
        assert!(reviews.open.lock().unwrap().is_empty());
    }

    #[test]
    fn a_question_is_told_without_its_token() {
        let question = Question::Token { id: 1, token: "secret".into(), audience: "mainstay/prod".into() };
        assert_eq!(format!("{question:?}"), "Question(0000000000000001)");
    }
}
