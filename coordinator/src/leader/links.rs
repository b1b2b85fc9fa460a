//! The leader's ends of the agents' links: one for each identity, and a newer one ends the older.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use imbl::ordmap::DiffItem;
use mainstay_core::condition::Condition;
use mainstay_core::id::{ClusterName, SpeaksFor};
use mainstay_core::{AgentId, State};
use mainstay_proto::v1;
use tokio::sync::{Notify, mpsc, watch};

use super::reviews::Question;

/// Questions that may wait for one agent.
const QUESTIONS: usize = 16;

/// All links that are open here.
#[derive(Debug, Default)]
pub struct Links {
    open: Arc<Mutex<BTreeMap<AgentId, Entry>>>,
    /// Grows with each link of a node that is opened.
    nodes_opened: watch::Sender<u64>,
    /// Grows with each word of an agent on its node's conditions, and with each end of a link of one that said some.
    conditions_changed: watch::Sender<u64>,
}

/// What waits for one node to be told of its pods: the newest, and nothing once it was taken.
#[derive(Debug, Default)]
struct Mailbox {
    pods: Mutex<Option<v1::NodePods>>,
    filled: Notify,
}

#[derive(Debug)]
struct Entry {
    epoch: u64,
    incarnation: String,
    changed: Arc<Notify>,
    questions: mpsc::Sender<Question>,
    mailbox: Arc<Mailbox>,
    /// What the agent of a node has said of it on this link.
    conditions: Option<Arc<[Condition]>>,
    /// Set to the incarnation of the process that took over.
    successor: watch::Sender<Option<String>>,
}

/// One open link. Leaves the list when it is dropped.
#[derive(Debug)]
pub struct Link {
    agent: AgentId,
    epoch: u64,
    incarnation: String,
    changed: Arc<Notify>,
    questions: tokio::sync::Mutex<mpsc::Receiver<Question>>,
    mailbox: Arc<Mailbox>,
    successor: watch::Receiver<Option<String>>,
    open: Arc<Mutex<BTreeMap<AgentId, Entry>>>,
    conditions_changed: watch::Sender<u64>,
}

/// Why a link gives way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Successor {
    /// The same process has connected anew.
    Itself,
    /// Another process with the same identity has connected.
    Other { incarnation: String },
}

impl Links {
    /// Enters a link with the epoch that the mesh gave it. An older one of the same agent gives way; a newer
    /// one is the answer why this one has to.
    pub fn open(&self, agent: &AgentId, epoch: u64, incarnation: &str) -> Result<Link, Successor> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(present) = open.get(agent) {
            if present.epoch > epoch {
                return Err(Successor::of(&present.incarnation, incarnation));
            }
            present.successor.send_replace(Some(incarnation.to_owned()));
        }
        let (successor, told) = watch::channel(None);
        let (changed, mailbox) = (Arc::new(Notify::new()), Arc::<Mailbox>::default());
        let (asks, questions) = mpsc::channel(QUESTIONS);
        let (noted, kept) = (changed.clone(), mailbox.clone());
        let entry = Entry { epoch, incarnation: incarnation.to_owned(), changed: noted, questions: asks, mailbox: kept, conditions: None, successor };
        open.insert(agent.clone(), entry);
        drop(open);
        if agent.is_node() {
            self.nodes_opened.send_modify(|opened| *opened += 1);
        }
        let (agent, incarnation) = (agent.clone(), incarnation.to_owned());
        let questions = tokio::sync::Mutex::new(questions);
        let (open, conditions_changed) = (self.open.clone(), self.conditions_changed.clone());
        Ok(Link { agent, epoch, incarnation, changed, questions, mailbox, successor: told, open, conditions_changed })
    }

    /// The agents that speak for a cluster and have a link here.
    #[must_use]
    pub fn of_cluster(&self, cluster: &ClusterName) -> Vec<AgentId> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.keys().filter(|agent| agent.is_replica() && agent.cluster == *cluster).cloned().collect()
    }

    /// Has an agent asked something. Says whether there was a link, and room.
    #[must_use]
    pub fn ask(&self, agent: &AgentId, question: Question) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(agent).is_some_and(|entry| entry.questions.try_send(question).is_ok())
    }

    /// Changes when a node has linked.
    #[must_use]
    pub fn nodes_opened(&self) -> watch::Receiver<u64> {
        self.nodes_opened.subscribe()
    }

    /// Nodes of a cluster whose agents are linked, each with the epoch of its link.
    #[must_use]
    pub fn nodes_of(&self, cluster: &ClusterName) -> BTreeMap<String, u64> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.iter().filter(|(agent, _)| agent.cluster == *cluster);
        own.filter_map(|(agent, entry)| match &agent.speaks_for {
            SpeaksFor::Node(node) => Some((node.to_string(), entry.epoch)),
            // What is observed is told to who observes.
            SpeaksFor::Hands(_) | SpeaksFor::Cluster(_) => None,
        })
        .collect()
    }

    /// Leaves pods for a node, in place of those that it has not taken. `false`: its agent is not linked.
    pub fn hand(&self, node: &AgentId, pods: v1::NodePods) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = open.get(node) else { return false };
        *entry.mailbox.pods.lock().unwrap_or_else(PoisonError::into_inner) = Some(pods);
        entry.mailbox.filled.notify_one();
        true
    }

    /// Keeps what the agent of a node says of it, for as long as this link is open.
    pub fn said(&self, link: &Link, conditions: Vec<Condition>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = open.get_mut(&link.agent).filter(|entry| entry.epoch == link.epoch && link.agent.is_node()) else { return };
        entry.conditions = Some(conditions.into());
        self.conditions_changed.send_modify(|changed| *changed += 1);
    }

    /// Changes when there may be something new of the conditions of nodes.
    #[must_use]
    pub fn conditions_changed(&self) -> watch::Receiver<u64> {
        self.conditions_changed.subscribe()
    }

    /// What the agents of a cluster's nodes say on those of their links that `counts`.
    #[must_use]
    pub fn conditions_of(&self, cluster: &ClusterName, counts: impl Fn(&AgentId, u64) -> bool) -> BTreeMap<String, Arc<[Condition]>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.iter().filter(|(agent, entry)| agent.cluster == *cluster && counts(agent, entry.epoch));
        own.filter_map(|(agent, entry)| match &agent.speaks_for {
            SpeaksFor::Node(node) => Some((node.to_string(), entry.conditions.clone()?)),
            SpeaksFor::Hands(_) | SpeaksFor::Cluster(_) => None,
        })
        .collect()
    }

    /// Wakes the links of agents of which something else is wanted in `after` than in `before`: another attempt,
    /// or, of all of them, other certificates.
    pub fn wake(&self, before: &State, after: &State) {
        if !before.roots.ptr_eq(&after.roots) || (!before.members.ptr_eq(&after.members) && before.issuing_root() != after.issuing_root()) {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.values().for_each(|entry| entry.changed.notify_one());
            return;
        }
        // Most entries of a busy mesh are about leases.
        if before.open_attempts.ptr_eq(&after.open_attempts) && before.attempts.ptr_eq(&after.attempts) {
            return;
        }
        let mut agents = BTreeSet::new();
        for item in before.open_attempts.diff(&after.open_attempts) {
            agents.insert(match item {
                DiffItem::Add(agent, _) | DiffItem::Remove(agent, _) => agent,
                DiffItem::Update { new: (agent, _), .. } => agent,
            });
        }
        for item in before.attempts.diff(&after.attempts) {
            if let DiffItem::Update { new: (_, attempt), .. } = item {
                agents.insert(&attempt.agent);
            }
        }
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in agents.into_iter().filter_map(|agent| open.get(agent)) {
            entry.changed.notify_one();
        }
    }
}

impl Link {
    #[must_use]
    pub fn agent(&self) -> &AgentId {
        &self.agent
    }

    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns when something else may be wanted of the agent.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The next question for the agent.
    pub async fn question(&self) -> Question {
        match self.questions.lock().await.recv().await {
            Some(question) => question,
            // A newer link has taken over.
            None => std::future::pending().await,
        }
    }

    /// The pods of this node, when there are some to be told.
    pub async fn pods(&self) -> v1::NodePods {
        loop {
            let pods = mem::take(&mut *self.mailbox.pods.lock().unwrap_or_else(PoisonError::into_inner));
            match pods {
                Some(pods) => return pods,
                None => self.mailbox.filled.notified().await,
            }
        }
    }

    /// Returns when a newer link has taken over.
    pub async fn superseded(&self) -> Successor {
        let mut successor = self.successor.clone();
        // The sender is dropped only when a newer link takes its place, after it has been told.
        let told = successor.wait_for(Option::is_some).await.map(|told| told.clone()).ok().flatten();
        Successor::of(&told.unwrap_or_default(), &self.incarnation)
    }
}

impl Successor {
    fn of(newer: &str, older: &str) -> Successor {
        if newer == older { Successor::Itself } else { Successor::Other { incarnation: newer.to_owned() } }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(&self.agent).is_some_and(|entry| entry.epoch == self.epoch)
            && open.remove(&self.agent).is_some_and(|entry| entry.conditions.is_some())
        {
            self.conditions_changed.send_modify(|changed| *changed += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::condition::{Kind, Status};

    use super::*;

    fn agent() -> AgentId {
        "local/a1".parse().unwrap()
    }

    #[tokio::test]
    async fn a_newer_link_ends_the_older() {
        let links = Links::default();
        let first = links.open(&agent(), 1, "a").unwrap();
        let second = links.open(&agent(), 2, "b").unwrap();
        assert_eq!(first.superseded().await, Successor::Other { incarnation: "b".into() });
        let third = links.open(&agent(), 3, "b").unwrap();
        assert_eq!(second.superseded().await, Successor::Itself);
        drop((first, second));
        assert_eq!(links.open(&agent(), 1, "c").unwrap_err(), Successor::Other { incarnation: "b".into() }, "the newest stays on the list");
        let pods = v1::NodePods { node: "a1".into(), ..v1::NodePods::default() };
        assert!(links.hand(&agent(), v1::NodePods::default()) && links.hand(&agent(), pods.clone()));
        assert_eq!(third.pods().await, pods, "the newest is what is told");
        assert_eq!(links.nodes_of(&"local".parse().unwrap()), [("a1".to_owned(), 3)].into());
        drop(third);
        assert!(!links.hand(&agent(), pods));
        assert!(links.open(&agent(), 1, "c").is_ok());
    }

    #[test]
    fn what_an_agent_says_of_its_node_counts_while_its_link_is_open() {
        let (links, cluster) = (Links::default(), "local".parse().unwrap());
        let mut changed = links.conditions_changed();
        let well = Condition { kind: Kind::Disk, status: Status::False, reason: "DisksWell".into(), message: String::new() };
        let said = |links: &Links| -> Vec<(String, usize)> {
            links.conditions_of(&cluster, |_, epoch| epoch != 9).into_iter().map(|(node, conditions)| (node, conditions.len())).collect()
        };
        let first = links.open(&agent(), 1, "a").unwrap();
        let replica = links.open(&"local/agent/r1".parse().unwrap(), 1, "r").unwrap();
        links.said(&replica, vec![well.clone()]);
        assert_eq!((said(&links), changed.has_changed().unwrap()), (vec![], false), "an agent of a cluster has no node");
        links.said(&first, vec![well.clone()]);
        assert_eq!((said(&links), changed.has_changed().unwrap()), (vec![("a1".to_owned(), 1)], true));
        changed.mark_unchanged();
        let second = links.open(&agent(), 2, "a").unwrap();
        links.said(&first, vec![well.clone()]);
        assert_eq!(said(&links), vec![], "a newer link begins with nothing, and an older one has nothing to say any more");
        drop(first);
        assert!(!changed.has_changed().unwrap());
        links.said(&second, vec![]);
        assert_eq!(said(&links), vec![("a1".to_owned(), 0)]);
        changed.mark_unchanged();
        drop(second);
        assert_eq!((said(&links), changed.has_changed().unwrap()), (vec![], true));
        let ninth = links.open(&agent(), 9, "a").unwrap();
        links.said(&ninth, vec![well]);
        assert_eq!(said(&links), vec![], "an agent that the mesh has given up does not count");
    }
}
