//! Hands what the agents of a cluster's nodes say of them to the agent that acts for the cluster: all of it first, and
//! then what changes. Nothing is kept beyond what the links hold, so that a new leader hands on what it is told anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::condition::{CONDITIONS, Condition};
use mainstay_proto::convert::conditions_to_wire;
use mainstay_proto::v1;
use mainstay_proto::v1::mesh_message::Message as MeshSays;

use super::link::LinkTask;

/// Nodes of one message: at most some 400 KiB.
const NODES: usize = 200;
/// What changes together is told together.
const TOGETHER: Duration = Duration::from_secs(1);
/// It is looked again so often, whatever is said: an agent may be given up, and this one may begin to act.
const AGAIN: Duration = Duration::from_secs(5);

type All = BTreeMap<String, Arc<[Condition]>>;

impl LinkTask {
    /// Ends when the agent does not listen.
    pub(super) async fn hand_conditions(&self) {
        if !self.link.agent().is_replica() {
            return std::future::pending().await;
        }
        let mut changed = self.office.links().conditions_changed();
        let mut told: Option<All> = None;
        loop {
            changed.mark_unchanged();
            let state = self.office.state();
            if state.feature_level >= CONDITIONS && self.acts().is_ok() {
                let now = self.office.links().conditions_of(&self.link.agent().cluster, |agent, epoch| {
                    state.agents.get(agent).is_some_and(|agent| agent.epoch == epoch && agent.is_up())
                });
                for message in messages(told.as_ref(), &now) {
                    if !self.say(MeshSays::ConditionsKnown(message)).await {
                        return;
                    }
                }
                told = Some(now);
            } else {
                told = None;
            }
            drop(state);
            tokio::time::sleep(TOGETHER).await;
            // The leader's links outlive this one.
            let _ = tokio::time::timeout(AGAIN, changed.changed()).await;
        }
    }
}

/// What makes the one of the other, or of nothing.
fn messages(told: Option<&All>, now: &All) -> Vec<v1::ConditionsKnown> {
    let is_new = |node: &String, conditions: &Arc<[Condition]>| told.and_then(|told| told.get(node)).is_none_or(|told| told != conditions);
    let new = now.iter().filter(|(node, conditions)| is_new(node, conditions));
    let new: Vec<v1::NodeConditions> = new.map(|(node, conditions)| conditions_to_wire(node, conditions)).collect();
    let silent: Vec<String> = told.into_iter().flatten().map(|(node, _)| node).filter(|node| !now.contains_key(*node)).cloned().collect();
    let mut messages: Vec<v1::ConditionsKnown> =
        new.chunks(NODES).map(|nodes| v1::ConditionsKnown { nodes: nodes.to_vec(), ..v1::ConditionsKnown::default() }).collect();
    messages.extend(silent.chunks(NODES).map(|silent| v1::ConditionsKnown { silent: silent.to_vec(), ..v1::ConditionsKnown::default() }));
    if told.is_none() {
        if messages.is_empty() {
            messages.push(v1::ConditionsKnown::default());
        }
        messages.first_mut().into_iter().for_each(|first| first.begins = true);
        messages.last_mut().into_iter().for_each(|last| last.ends = true);
    }
    messages
}

#[cfg(test)]
mod tests {
    use mainstay_core::condition::{Kind, Status};

    use super::*;

    fn all(nodes: &[(&str, Status)]) -> All {
        let conditions = |status| -> Arc<[Condition]> {
            let condition = Condition { kind: Kind::Disk, status, reason: "Reason".into(), message: String::new() };
            vec![condition].into()
        };
        nodes.iter().map(|(node, status)| ((*node).to_owned(), conditions(*status))).collect()
    }

    fn told(told: Option<&All>, now: &All) -> Vec<(bool, bool, Vec<String>, Vec<String>)> {
        let names = |nodes: Vec<v1::NodeConditions>| nodes.into_iter().map(|node| node.node).collect();
        messages(told, now).into_iter().map(|message| (message.begins, message.ends, names(message.nodes), message.silent)).collect()
    }

    #[test]
    fn all_is_told_first_and_then_what_changes() {
        let first = all(&[("a", Status::True), ("b", Status::False)]);
        assert_eq!(told(None, &All::new()), [(true, true, vec![], vec![])], "that there is nothing is told too");
        assert_eq!(told(None, &first), [(true, true, vec!["a".to_owned(), "b".to_owned()], vec![])]);
        assert_eq!(told(Some(&first), &first), []);
        let second = all(&[("b", Status::True), ("c", Status::True)]);
        let (new, gone) = (vec!["b".to_owned(), "c".to_owned()], vec!["a".to_owned()]);
        assert_eq!(told(Some(&first), &second), [(false, false, new, vec![]), (false, false, vec![], gone)]);
    }

    #[test]
    fn many_nodes_are_many_messages() {
        let names: Vec<String> = (0..2 * NODES + 1).map(|node| format!("n{node}")).collect();
        let many = all(&names.iter().map(|name| (name.as_str(), Status::True)).collect::<Vec<_>>());
        let told = told(None, &many);
        let marks: Vec<(bool, bool, usize)> = told.iter().map(|(begins, ends, nodes, _)| (*begins, *ends, nodes.len())).collect();
        assert_eq!(marks, [(true, false, NODES), (false, false, NODES), (false, true, 1)]);
    }
}
