//! Whether a pod's own token lets it in: what an API server says of the token, against the identity that its bearer
//! wants to have.
//!
//! In: the identity asked for, which cluster agent had the token reviewed, and what it was told. Out: a voucher that
//! goes into the log with the command, or a refusal that says what would have to be otherwise. The token itself is no
//! part of either.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{AgentId, MeshName};
use crate::identity::Identity;
pub use crate::state::privilege::VOUCHED;

/// Longest name or UID of Kubernetes.
const TEXT_MAX: usize = 253;

/// The audience of tokens that are shown to a mesh. One that is for another audience is of no use here, and one of here
/// is of no use elsewhere: not with the API server either.
#[must_use]
pub fn audience(mesh: &MeshName) -> String {
    format!("mainstay/{mesh}")
}

/// What an API server has said of a token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reviewed {
    pub authenticated: bool,
    /// Why it is not, in the API server's words.
    pub why_not: String,
    pub namespace: String,
    /// The ServiceAccount.
    pub account: String,
    /// What the token is bound to; empty where it is not.
    pub pod: String,
    pub pod_uid: String,
    pub node: String,
    pub node_uid: String,
    /// Whether the cluster agent was told to vouch for pods of that account, as agents of their nodes.
    pub vouched: bool,
    /// Whether it was told to vouch for them as hands of their nodes; never both.
    pub vouched_as_hands: bool,
}

/// That a cluster agent answers for a pod, which is on the node that it is to speak for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    pub by: AgentId,
    pub namespace: String,
    pub account: String,
    pub pod: String,
    pub pod_uid: String,
    pub node: String,
    pub node_uid: String,
}

impl fmt::Display for Voucher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Voucher { by, namespace, account, pod, pod_uid, node, node_uid } = self;
        write!(f, "{by} for pod {namespace}/{pod} ({pod_uid}) of account {account} on node {node} ({node_uid})")
    }
}

/// Why a token lets nobody in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotVouched {
    #[error("{0} is not the identity of a node's agent, or of its hands: only these are given for a pod's own token")]
    NotANode(Identity),
    #[error("agent {by} does not speak for cluster {}, and vouches for nobody there", wanted.cluster)]
    OtherCluster { by: AgentId, wanted: AgentId },
    #[error(
        "the API server of cluster {cluster} does not take this token ({why}): it has to be a projected token of a pod that is there, with audience {audience}"
    )]
    NotAuthenticated { cluster: String, why: String, audience: String },
    #[error(
        "the token is of ServiceAccount {namespace}/{account}, for which agent {by} does not vouch: the chart's node agents have their own account, which the cluster agents are told with --vouch-for"
    )]
    OtherAccount { by: AgentId, namespace: String, account: String },
    #[error(
        "the token is of ServiceAccount {namespace}/{account}, for which agent {by} does not vouch as hands of a node: the chart's hands have their own account, which the cluster agents are told with --vouch-for-hands"
    )]
    NotOfHands { by: AgentId, namespace: String, account: String },
    #[error(
        "the token of ServiceAccount {namespace}/{account} is not bound to a pod and its node: it has to be a projected token of the agent's own pod, not one that was made by hand"
    )]
    NotBound { namespace: String, account: String },
    #[error("the token is of pod {namespace}/{pod} on node {found}, and node {wanted} was asked for: an agent speaks for its own node only")]
    OtherNode { namespace: String, pod: String, found: String, wanted: String },
    #[error("what the API server says of the token is too long")]
    TooLong,
}

/// Whether the bearer of a token that was reviewed is the agent of the node that it wants to be, or its hands. Which of
/// the two an account is for, the cluster agent says; no account is for both.
///
/// # Errors
/// What is wrong with the token, in an order that tells a stranger the least.
pub fn judge(wanted: &Identity, by: &AgentId, mesh: &MeshName, reviewed: Reviewed) -> Result<Voucher, NotVouched> {
    let agent = wanted.agent();
    let Some((agent, own)) = agent.as_ref().and_then(|agent| Some((agent, agent.on_node()?))) else {
        return Err(NotVouched::NotANode(wanted.clone()));
    };
    if !by.is_replica() || by.cluster != agent.cluster {
        return Err(NotVouched::OtherCluster { by: by.clone(), wanted: agent.clone() });
    }
    let Reviewed { authenticated, why_not, namespace, account, pod, pod_uid, node, node_uid, vouched, vouched_as_hands } = reviewed;
    if !authenticated {
        let why = if why_not.is_empty() { "it says no more".to_owned() } else { why_not.chars().take(TEXT_MAX).collect() };
        return Err(NotVouched::NotAuthenticated { cluster: agent.cluster.to_string(), why, audience: audience(mesh) });
    }
    if [&namespace, &account, &pod, &pod_uid, &node, &node_uid].iter().any(|text| text.len() > TEXT_MAX) {
        return Err(NotVouched::TooLong);
    }
    // An account that is said to be for both is for neither.
    if agent.is_hands() && (!vouched_as_hands || vouched) {
        return Err(NotVouched::NotOfHands { by: by.clone(), namespace, account });
    }
    if !agent.is_hands() && (!vouched || vouched_as_hands) {
        return Err(NotVouched::OtherAccount { by: by.clone(), namespace, account });
    }
    if [&namespace, &account, &pod, &pod_uid, &node, &node_uid].iter().any(|text| text.is_empty()) {
        return Err(NotVouched::NotBound { namespace, account });
    }
    if node != own.as_str() {
        return Err(NotVouched::OtherNode { namespace, pod, found: node, wanted: own.to_string() });
    }
    Ok(Voucher { by: by.clone(), namespace, account, pod, pod_uid, node, node_uid })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reviewed() -> Reviewed {
        Reviewed {
            authenticated: true,
            why_not: String::new(),
            namespace: "mainstay".into(),
            account: "mainstay-node-agent".into(),
            pod: "mainstay-node-agent-x".into(),
            pod_uid: "p1".into(),
            node: "n1".into(),
            node_uid: "u1".into(),
            vouched: true,
            vouched_as_hands: false,
        }
    }

    fn of_hands() -> Reviewed {
        let (account, pod) = ("mainstay-hands".into(), "mainstay-hands-x".into());
        Reviewed { account, pod, vouched: false, vouched_as_hands: true, ..reviewed() }
    }

    fn judged(wanted: &str, by: &str, reviewed: Reviewed) -> Result<Voucher, String> {
        judge(&wanted.parse().unwrap(), &by.parse().unwrap(), &"prod".parse().unwrap(), reviewed).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pod_on_the_node_is_vouched_for() {
        let voucher = judged("cluster/c/node/n1", "c/agent/r1", reviewed()).unwrap();
        assert_eq!(voucher.to_string(), "c/agent/r1 for pod mainstay/mainstay-node-agent-x (p1) of account mainstay-node-agent on node n1 (u1)");
    }

    #[test]
    fn a_pod_of_the_other_account_is_its_hands() {
        let voucher = judged("cluster/c/node/n1/hands", "c/agent/r1", of_hands()).unwrap();
        assert_eq!(voucher.to_string(), "c/agent/r1 for pod mainstay/mainstay-hands-x (p1) of account mainstay-hands on node n1 (u1)");
    }

    #[test]
    fn everything_else_is_refused_with_words() {
        let with = |change: fn(&mut Reviewed)| {
            let mut reviewed = reviewed();
            change(&mut reviewed);
            reviewed
        };
        let unbound = |change: fn(&mut Reviewed)| ("cluster/c/node/n1", "c/agent/r1", with(change), "is not bound to a pod and its node");
        let long = |change: fn(&mut Reviewed)| ("cluster/c/node/n1", "c/agent/r1", with(change), "is too long");
        for (wanted, by, reviewed, words) in [
            ("cluster/c/agent/r2", "c/agent/r1", reviewed(), "not the identity of a node's agent"),
            ("operator/ana", "c/agent/r1", reviewed(), "not the identity of a node's agent"),
            ("coordinator/00000000000000aa", "c/agent/r1", reviewed(), "not the identity of a node's agent"),
            ("cluster/c/node/n1/hands", "c/agent/r1", reviewed(), "mainstay-node-agent, for which agent c/agent/r1 does not vouch as hands"),
            ("cluster/c/node/n1", "c/agent/r1", of_hands(), "mainstay-hands, for which agent c/agent/r1 does not vouch: the chart's node agents"),
            ("cluster/c/node/n1", "c/agent/r1", with(|r| r.vouched_as_hands = true), "for which agent c/agent/r1 does not vouch: "),
            ("cluster/c/node/n1/hands", "c/agent/r1", with(|r| r.vouched_as_hands = true), "does not vouch as hands"),
            ("cluster/c/node/n2/hands", "c/agent/r1", of_hands(), "on node n1, and node n2 was asked for"),
            ("cluster/d/node/n1/hands", "c/agent/r1", of_hands(), "agent c/agent/r1 does not speak for cluster d"),
            ("cluster/c/node/n1/hands", "c/n1", of_hands(), "does not speak for cluster c"),
            ("cluster/c/node/n1/hands", "c/hands/n1", of_hands(), "does not speak for cluster c"),
            ("cluster/c/node/n1/hands", "c/agent/r1", Reviewed { pod: String::new(), ..of_hands() }, "is not bound to a pod and its node"),
            ("cluster/c/node/n1/hands", "c/agent/r1", Reviewed { authenticated: false, ..of_hands() }, "has to be a projected token"),
            ("cluster/d/node/n1", "c/agent/r1", reviewed(), "agent c/agent/r1 does not speak for cluster d"),
            ("cluster/c/node/n1", "c/n1", reviewed(), "does not speak for cluster c"),
            ("cluster/c/node/n1", "c/agent/r1", with(|r| r.authenticated = false), "it says no more): it has to be a projected token"),
            ("cluster/c/node/n1", "c/agent/r1", with(|r| r.vouched = false), "of ServiceAccount mainstay/mainstay-node-agent, for which agent"),
            ("cluster/c/node/n2", "c/agent/r1", reviewed(), "on node n1, and node n2 was asked for"),
            unbound(|r| r.pod.clear()),
            unbound(|r| r.pod_uid.clear()),
            unbound(|r| r.node.clear()),
            unbound(|r| r.node_uid.clear()),
            long(|r| r.pod = "p".repeat(254)),
        ] {
            let refused = judged(wanted, by, reviewed).unwrap_err();
            assert!(refused.contains(words), "{wanted} by {by}: {refused}");
        }
        let refused = judged("cluster/c/node/n1", "c/agent/r1", with(|r| (r.authenticated, r.why_not) = (false, "x".repeat(1_000)))).unwrap_err();
        assert!(refused.contains("with audience mainstay/prod") && refused.len() < 500, "{refused}");
    }
}
