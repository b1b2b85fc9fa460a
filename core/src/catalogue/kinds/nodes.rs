//! What the cluster agent that acts does to the nodes of its Kubernetes cluster: out of use, and back.

use super::super::{CORDON as CORDON_NAME, Connections, DRAIN as DRAIN_NAME, Effect, Kind, ParamType, Scope, UNCORDON as UNCORDON_NAME, Undo};
use super::{LOOKS_ONLY, TEXTS, optional};
use crate::catalogue::Param;
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

const ACCOUNT: Param =
    optional("serviceAccount", ParamType::Text, "mainstay-node-runner", "ServiceAccount of Mainstay's own namespace as which it is done");
const RUNNER: &str =
    "a cluster agent whose policy allows it; mainstay-node-runner, which may get and patch nodes (with the chart nodeRunner.enabled)";
const CLAIMED: &str = "the claim node/CLUSTER/NODE, held until the run has no more to do there; the annotation mainstay.dev/fence, compared; \
                       the version that was read is sent with each change";
const REFUSE_OR_EVICT: ParamType = ParamType::OneOf(&["refuse", "evict"]);
const BARE_PODS: Param = optional("barePods", REFUSE_OR_EVICT, "refuse", "Pods that nothing makes again elsewhere");
const EMPTY_DIR: Param = optional("emptyDir", REFUSE_OR_EVICT, "refuse", "Pods with an emptyDir, whose content is lost");

pub(super) const CORDON: Kind = Kind {
    name: CORDON_NAME,
    summary: "No new pods for a node, with the taint mainstay.dev/maintenance; taken back to what it was, and never where somebody else had done it",
    scope: Scope::Node,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Reversible,
    protection: CLAIMED,
    connection: Connections::None,
    needs: RUNNER,
    params: &[
        optional(
            "within",
            ParamType::Duration,
            "10m",
            "How long to wait for another node of the control plane, for kured, or for another holder of the node's Lease, before it is given up",
        ),
        ACCOUNT,
    ],
    together: &[],
    outputs: &[("wasCordoned", "boolean", "Whether somebody else had cordoned it before")],
    default_timeout: Millis::from_secs(900),
    example: "within: 20m",
};

pub(super) const DRAIN: Kind = Kind {
    name: DRAIN_NAME,
    summary: "Evicts the pods of a node that this run has cordoned, as their disruption budgets allow, and waits until they are gone",
    scope: Scope::Node,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: "the claim node/CLUSTER/NODE; each eviction names the UID of its pod; nothing is evicted where this run has not cordoned the node",
    connection: Connections::None,
    needs: "a cluster agent whose policy allows it; mainstay-node-runner, which may get and patch nodes and create pods/eviction",
    params: &[
        optional("within", ParamType::Duration, "10m", "When to give up on what a budget holds, or what does not end; what is gone stays gone"),
        optional("gracePeriod", ParamType::Duration, "each pod's own", "How long a pod may take to end"),
        BARE_PODS,
        EMPTY_DIR,
        ACCOUNT,
    ],
    together: &[],
    outputs: &[
        ("evicted", "number", "Pods that were evicted"),
        ("left", "number", "Pods that stay: of DaemonSets, of the node itself, or ended ones"),
    ],
    default_timeout: Millis::from_secs(1_800),
    example: "within: 15m",
};

pub(super) const UNCORDON: Kind = Kind {
    name: UNCORDON_NAME,
    summary: "Gives a node that this run has cordoned back to what it was; one that somebody else has cordoned stays so",
    scope: Scope::Node,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: CLAIMED,
    connection: Connections::None,
    needs: RUNNER,
    params: &[ACCOUNT],
    together: &[],
    outputs: &[],
    default_timeout: Millis::from_secs(120),
    example: "serviceAccount: mainstay-node-runner",
};

pub(super) const READY: Kind = Kind {
    name: "kube.node.ready",
    summary: "Waits until a node is ready, and has been for a while",
    scope: Scope::Node,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "a cluster agent, whose ServiceAccount may list nodes",
    params: &[
        optional("within", ParamType::Duration, "10m", "When to give up"),
        optional("settleFor", ParamType::Duration, "10s", "How long it has to have been ready"),
    ],
    together: &[],
    outputs: &[("bootId", "text", "Boot id that the node shows"), ("kubelet", "text", "Version of its kubelet")],
    default_timeout: Millis::from_secs(900),
    example: "within: 15m\nsettleFor: 1m",
};

pub(super) const DRAINABLE: Kind = Kind {
    name: "kube.drainable",
    summary: "Whether nodes could be drained, each by itself: budgets that never let a pod go, pods that would lose something, or find no place elsewhere",
    scope: Scope::Cluster,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "a cluster agent, whose ServiceAccount may list nodes, pods and disruption budgets",
    params: &[
        optional("nodes", TEXTS, "[\"*\"]", "Names of nodes to look at; * stands for any text, and an empty list for all"),
        BARE_PODS,
        EMPTY_DIR,
        optional(
            "noRoom",
            ParamType::OneOf(&["warning", "critical"]),
            "critical",
            "What it is that pods find no place elsewhere, by what they request",
        ),
    ],
    together: &[],
    outputs: &[("nodes", "number", "Nodes that were looked at"), ("blocked", "number", "Nodes that could not be drained")],
    default_timeout: Millis::from_secs(120),
    example: "nodes: [n1]\nemptyDir: evict",
};
