//! What a cluster agent has told of its cluster's nodes.
//!
//! In: messages of the replica that acts, in order. Out: the nodes, and how old that is. It is no part of the replicated
//! state: whoever leads keeps it in memory, and a new leader is told anew. What one agent may make a leader keep is
//! bounded in number and in size.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;

use crate::bounds;
use crate::id::{AgentId, ClusterName, Target};
use crate::state::State;
use crate::time::{MeshTime, Millis};
use crate::wait;

/// One node, as its API server has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeFact {
    pub name: Arc<str>,
    pub uid: String,
    pub ready: bool,
    pub not_ready_reason: String,
    pub ready_since_unix_ms: i64,
    pub cordoned: bool,
    pub zone: Arc<str>,
    pub kubelet_version: Arc<str>,
    pub boot_id: String,
    /// `KEY=VALUE:EFFECT`
    pub taints: Vec<String>,
    /// `TYPE: REASON`, of those that say that something is wrong.
    pub conditions: Vec<String>,
    pub allocatable_cpu_milli: u64,
    pub allocatable_memory_bytes: u64,
    pub allocatable_pods: u32,
}

/// Longest name of a Kubernetes object.
const NAME_BYTES: usize = 253;
/// Longest of the other texts.
const TEXT_BYTES: usize = 512;
/// Most taints, and most conditions, of one node.
const LIST: usize = 32;
/// After this long what was told does not count as known any more. An API server speaks at least once a minute on each
/// watch, and one that has not for another half is asked anew.
pub const STALE: Millis = Millis::from_secs(150);

impl NodeFact {
    /// Whether it is of a size that is kept.
    fn fits(&self) -> bool {
        let texts = [&*self.uid, &self.not_ready_reason, &self.zone, &self.kubelet_version, &self.boot_id];
        let lists = [&self.taints, &self.conditions];
        (1..=NAME_BYTES).contains(&self.name.len())
            && texts.iter().all(|text| text.len() <= TEXT_BYTES)
            && lists.iter().all(|list| list.len() <= LIST && list.iter().all(|text| text.len() <= TEXT_BYTES))
    }

    /// The same within those sizes: what is too long is cut, what is too much is left out.
    #[must_use]
    pub fn bounded(mut self) -> NodeFact {
        for text in [&mut self.uid, &mut self.not_ready_reason, &mut self.boot_id] {
            cut(text);
        }
        for text in [&mut self.zone, &mut self.kubelet_version] {
            if text.len() > TEXT_BYTES {
                let mut owned = text.to_string();
                cut(&mut owned);
                *text = owned.into();
            }
        }
        for list in [&mut self.taints, &mut self.conditions] {
            list.truncate(LIST);
            list.iter_mut().for_each(cut);
        }
        self
    }
}

fn cut(text: &mut String) {
    let mut end = TEXT_BYTES.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

/// What is known of all clusters now: nothing of those of which nobody has told lately.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub clusters: &'a OrdMap<ClusterName, ClusterFacts>,
    pub now: MeshTime,
}

impl<'a> Known<'a> {
    /// Of one cluster; nothing where what was told of it is older than [`STALE`].
    #[must_use]
    pub fn of(&self, cluster: &ClusterName) -> Option<&'a ClusterFacts> {
        self.clusters.get(cluster).filter(|facts| facts.age(self.now).is_some_and(|age| age <= STALE))
    }

    /// A node that an agent is on; nothing also where its cluster has no such node.
    #[must_use]
    pub fn node(&self, target: &Target) -> Option<&'a NodeFact> {
        let Target::Node(agent) = target else { return None };
        self.of(&agent.cluster)?.nodes().get(agent.on_node()?.as_str()).map(|node| &**node)
    }

    /// Whether a node is not ready or cordoned.
    #[must_use]
    pub fn is_out_of_use(&self, target: &Target) -> bool {
        self.node(target).is_some_and(|node| !node.ready || node.cordoned)
    }

    /// The zone of a node; empty where it has none.
    #[must_use]
    pub fn zone(&self, target: &Target) -> &'a str {
        self.node(target).map_or("", |node| &*node.zone)
    }

    /// Those of the targets of which it is not known how they are: nodes of a cluster that some agent speaks for, and of
    /// which none has told lately. Machines without a cluster are none of them, since nobody ever tells of those.
    #[must_use]
    pub fn not_known<'t>(&self, state: &State, targets: impl IntoIterator<Item = &'t Target>) -> Vec<&'t Target> {
        let silent: BTreeSet<&ClusterName> = state.known_clusters().filter(|cluster| self.of(cluster).is_none()).collect();
        let is_of_one = |target: &&Target| matches!(target, Target::Node(agent) if silent.contains(&agent.cluster));
        if silent.is_empty() { Vec::new() } else { targets.into_iter().filter(is_of_one).collect() }
    }

    /// Of which clusters those nodes are, and whether anybody has ever told of them.
    #[must_use]
    pub fn silent(&self, nodes: &[&Target]) -> Vec<(ClusterName, wait::LastTold)> {
        let clusters: BTreeSet<&ClusterName> =
            nodes.iter().filter_map(|target| if let Target::Node(agent) = target { Some(&agent.cluster) } else { None }).collect();
        let told = |cluster: &ClusterName| match self.clusters.get(cluster).and_then(|facts| facts.as_of) {
            Some(_) => wait::LastTold::LongAgo,
            None => wait::LastTold::Never,
        };
        clusters.into_iter().map(|cluster| (cluster.clone(), told(cluster))).collect()
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    pub sequence: u64,
    pub begins: bool,
    pub ends: bool,
    /// For how long the API server has not been heard.
    pub silent: Millis,
    pub nodes: Vec<NodeFact>,
    pub gone: Vec<String>,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    #[error("it does not follow what was told before: tell of all nodes again")]
    OutOfStep,
    #[error("a cluster of more than {} nodes is not kept: of this one nothing newer is known", bounds::CLUSTER_NODES)]
    TooMany,
    #[error("all clusters together have more than {} nodes, which is what a mesh keeps: of this one nothing newer is known", bounds::KNOWN_NODES)]
    Full,
    #[error("node `{0}` is larger than what is kept of one")]
    TooLarge(String),
}

/// The nodes of one cluster. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Who has told of them.
    pub by: AgentId,
    /// As of when; nothing before all of them have been told once.
    pub as_of: Option<MeshTime>,
    nodes: Nodes,
    /// The link that tells now, and the last of its messages.
    teller: (AgentId, u64, u64),
    /// All nodes anew, not in force before the last of them has come.
    coming: Option<Nodes>,
}

type Nodes = OrdMap<Arc<str>, Arc<NodeFact>>;

impl ClusterFacts {
    #[must_use]
    pub fn nobody_told(by: &AgentId) -> ClusterFacts {
        ClusterFacts { by: by.clone(), as_of: None, nodes: Nodes::new(), teller: (by.clone(), 0, 0), coming: None }
    }

    #[must_use]
    pub fn nodes(&self) -> &OrdMap<Arc<str>, Arc<NodeFact>> {
        &self.nodes
    }

    /// What it costs: nodes in force, and on their way.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.nodes.len() + self.coming.as_ref().map_or(0, Nodes::len)
    }

    /// How old what is known is.
    #[must_use]
    pub fn age(&self, now: MeshTime) -> Option<Millis> {
        self.as_of.map(|as_of| now.since(as_of))
    }

    /// Takes a message of an agent's link, which must be that of the replica that acts. `room` is for how many nodes
    /// more there is room in the mesh.
    ///
    /// # Errors
    /// Why not; nothing of it has been taken then, and of a set that was on its way nothing is left.
    pub fn take(&mut self, by: &AgentId, epoch: u64, told: Told, room: usize, now: MeshTime) -> Result<(), NotTaken> {
        let taken = self.check(by, epoch, &told, room);
        if taken.is_err() {
            self.coming = None;
            self.teller = (by.clone(), epoch, 0);
            return taken;
        }
        if told.begins {
            self.coming = Some(Nodes::new());
        }
        self.teller = (by.clone(), epoch, told.sequence);
        let nodes = self.coming.as_mut().unwrap_or(&mut self.nodes);
        for name in &told.gone {
            nodes.remove(name.as_str());
        }
        for node in told.nodes {
            nodes.insert(node.name.clone(), Arc::new(node));
        }
        if told.ends
            && let Some(all) = self.coming.take()
        {
            self.nodes = all;
        }
        if self.coming.is_none() {
            self.by = by.clone();
            self.as_of = Some(MeshTime(now.0.saturating_sub(told.silent.0)));
        }
        Ok(())
    }

    fn check(&self, by: &AgentId, epoch: u64, told: &Told, room: usize) -> Result<(), NotTaken> {
        let follows = (&self.teller.0, self.teller.1) == (by, epoch) && self.teller.2 > 0 && told.sequence == self.teller.2 + 1;
        let has_begun = self.coming.is_some() || self.by == *by && self.as_of.is_some();
        if told.sequence == 0 || !(told.begins || follows && has_begun) || (told.ends && !told.begins && self.coming.is_none()) {
            return Err(NotTaken::OutOfStep);
        }
        if let Some(node) = told.nodes.iter().find(|node| !node.fits()) {
            return Err(NotTaken::TooLarge(node.name.chars().take(NAME_BYTES).collect()));
        }
        let (nodes, freed) = match (&self.coming, told.begins) {
            (Some(coming), true) => (None, coming.len()),
            (Some(coming), false) => (Some(coming), 0),
            (None, true) => (None, 0),
            (None, false) => (Some(&self.nodes), 0),
        };
        let new = told.nodes.iter().filter(|node| nodes.is_none_or(|nodes| !nodes.contains_key(&node.name))).count();
        if nodes.map_or(0, Nodes::len) + new > bounds::CLUSTER_NODES {
            return Err(NotTaken::TooMany);
        }
        if new > room + freed { Err(NotTaken::Full) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 1_000_000;

    fn agent(id: &str) -> AgentId {
        format!("prod/agent/{id}").parse().unwrap()
    }

    fn node(name: &str) -> NodeFact {
        NodeFact { name: name.into(), ..NodeFact::default() }
    }

    fn all(sequence: u64, names: &[&str]) -> Told {
        Told { sequence, begins: true, ends: true, nodes: names.iter().map(|name| node(name)).collect(), ..Told::default() }
    }

    fn names(facts: &ClusterFacts) -> Vec<&str> {
        facts.nodes().keys().map(|name| &**name).collect()
    }

    fn told(messages: impl IntoIterator<Item = Told>) -> ClusterFacts {
        let mut facts = ClusterFacts::nobody_told(&agent("r1"));
        for (at, message) in (1..).zip(messages) {
            assert_eq!(facts.take(&agent("r1"), 1, message, ROOM, MeshTime(at * 1_000)), Ok(()));
        }
        facts
    }

    #[test]
    fn all_nodes_are_in_force_when_the_last_has_come() {
        let mut facts =
            told([all(1, &["a", "gone"]), Told { ends: false, ..all(2, &["a"]) }, Told { sequence: 3, nodes: vec![node("b")], ..Told::default() }]);
        assert_eq!((names(&facts), facts.age(MeshTime(3_000))), (vec!["a", "gone"], Some(Millis(2_000))));
        let last = Told { sequence: 4, ends: true, nodes: vec![node("c")], silent: Millis(300), ..Told::default() };
        assert_eq!(facts.take(&agent("r1"), 1, last, ROOM, MeshTime(4_000)), Ok(()));
        assert_eq!((names(&facts), facts.age(MeshTime(4_000))), (vec!["a", "b", "c"], Some(Millis(300))));
    }

    #[test]
    fn changes_come_after_all_nodes_and_in_order() {
        let change = |sequence| Told { sequence, nodes: vec![NodeFact { ready: true, ..node("b") }], gone: vec!["a".into()], ..Told::default() };
        let facts = told([all(1, &["a", "b"]), change(2), Told { sequence: 3, ..Told::default() }]);
        assert_eq!((names(&facts), facts.nodes()["b"].ready, facts.as_of), (vec!["b"], true, Some(MeshTime(3_000))));
        let begun = all(1, &["a"]);
        for (name, by, epoch, before, message) in [
            ("nothing was told before", "r1", 1, None, change(1)),
            ("one is missing", "r1", 1, Some(begun.clone()), change(3)),
            ("it has come twice", "r1", 1, Some(begun.clone()), change(1)),
            ("it is of another link", "r1", 2, Some(begun.clone()), change(2)),
            ("it is of another replica", "r2", 1, Some(begun.clone()), change(2)),
            ("it has no number", "r1", 1, Some(begun.clone()), Told { sequence: 0, ..begun.clone() }),
            ("it ends what has not begun", "r1", 1, Some(begun.clone()), Told { ends: true, ..change(2) }),
        ] {
            let mut facts = told(before);
            let was = (names(&facts).join(" "), facts.as_of);
            assert_eq!(facts.take(&agent(by), epoch, message, ROOM, MeshTime(9_000)), Err(NotTaken::OutOfStep), "{name}");
            assert_eq!((names(&facts).join(" "), facts.as_of), was, "{name}");
            assert_eq!(facts.take(&agent(by), epoch, change(2), ROOM, MeshTime(9_000)), Err(NotTaken::OutOfStep), "{name}: all of them first");
            assert_eq!(facts.take(&agent(by), epoch, begun.clone(), ROOM, MeshTime(9_000)), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_is_known_stays_while_another_replica_begins() {
        let mut facts = told([all(1, &["a"])]);
        assert_eq!(facts.take(&agent("r2"), 7, Told { ends: false, ..all(1, &["b"]) }, ROOM, MeshTime(2_000)), Ok(()));
        assert_eq!((names(&facts), facts.by.clone(), facts.as_of), (vec!["a"], agent("r1"), Some(MeshTime(1_000))));
        assert_eq!(facts.take(&agent("r2"), 7, Told { sequence: 2, ends: true, ..Told::default() }, ROOM, MeshTime(3_000)), Ok(()));
        assert_eq!((names(&facts), facts.by.clone(), facts.as_of), (vec!["b"], agent("r2"), Some(MeshTime(3_000))));
    }

    #[test]
    fn what_is_too_old_is_not_known() {
        let nodes = vec![node("a"), NodeFact { ready: true, zone: "z1".into(), ..node("b") }, NodeFact { ready: true, cordoned: true, ..node("c") }];
        let clusters = OrdMap::unit("prod".parse().unwrap(), told([Told { nodes, ..all(1, &[]) }]));
        let at = |now: MeshTime| Known { clusters: &clusters, now };
        let out = |known: Known<'_>| ["a", "b", "c", "d"].map(|name| known.is_out_of_use(&format!("prod/{name}").parse().unwrap()));
        let last = MeshTime(1_000) + STALE;
        assert_eq!(out(at(last)), [true, false, true, false]);
        assert_eq!((at(last).zone(&"prod/b".parse().unwrap()), at(last).zone(&"other/b".parse().unwrap())), ("z1", ""));
        assert_eq!(out(at(last + Millis(1))), [false; 4]);
        let silent = |name: &str| at(last + Millis(1)).silent(&[&format!("{name}/a").parse().unwrap()]);
        assert_eq!(silent("prod"), [("prod".parse().unwrap(), wait::LastTold::LongAgo)]);
        assert_eq!(silent("other"), [("other".parse().unwrap(), wait::LastTold::Never)]);
    }

    #[test]
    fn what_an_agent_can_make_a_leader_keep_is_bounded() {
        let many = |sequence, from: usize, count: usize| Told {
            sequence,
            begins: sequence == 1,
            nodes: (from..from + count).map(|index| node(&format!("n{index}"))).collect(),
            ..Told::default()
        };
        let half = bounds::CLUSTER_NODES / 2;
        let facts = told([many(1, 0, half), many(2, half, half)]);
        assert_eq!(facts.kept(), bounds::CLUSTER_NODES);
        let mut full = facts.clone();
        assert_eq!(full.take(&agent("r1"), 1, many(3, 9 * half, 1), ROOM, MeshTime(9)), Err(NotTaken::TooMany));
        assert_eq!(full.kept(), 0, "what was on its way is dropped");
        let mut same = facts.clone();
        assert_eq!(same.take(&agent("r1"), 1, many(3, 0, half), 0, MeshTime(9)), Ok(()), "those that are there need no more room");

        let mut facts = told([all(1, &["a"])]);
        assert_eq!(facts.take(&agent("r1"), 1, many(1, 0, 3), 2, MeshTime(9)), Err(NotTaken::Full));
        assert_eq!(names(&facts), ["a"]);
        let large = NodeFact { zone: "z".repeat(TEXT_BYTES + 1).into(), taints: vec!["ü".repeat(TEXT_BYTES); LIST + 1], ..node("large") };
        let message = Told { nodes: vec![large.clone()], ..all(1, &[]) };
        assert_eq!(facts.take(&agent("r1"), 1, message, ROOM, MeshTime(9)), Err(NotTaken::TooLarge("large".into())));
        assert!(large.bounded().fits());
    }
}
