//! What the cluster agent that acts does in its Kubernetes cluster.

use super::super::{Connections, Effect, Kind, ParamType, Scope, Undo};
use super::{LOOKS_ONLY, NUMBER, TEXTS, optional};
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

pub(super) const WORKLOADS: Kind = Kind {
    name: "kube.workloads",
    summary: "Pods that do not run or are not ready, crash loops, images that cannot be pulled, restarts, stuck rollouts, failed Jobs",
    scope: Scope::Cluster,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "a cluster agent, whose ServiceAccount may list pods, workloads and Jobs",
    params: &[
        optional("namespaces", TEXTS, "[\"*\"]", "Namespaces to look at; * stands for any text"),
        optional("excludeNamespaces", TEXTS, "[]", "Namespaces to leave out; * stands for any text"),
        optional("selector", ParamType::Text, "all", "Label selector of the pods and workloads to look at: app=shop,tier!=test"),
        optional("settleFor", ParamType::Duration, "5m", "How long what is new or has just changed may be pending or not ready"),
        optional("restarts", NUMBER, "{ warning: 3, critical: 10 }", "Restarts of a container whose last one is within `since`"),
        optional("since", ParamType::Duration, "24h", "How far back restarts and failed Jobs count"),
    ],
    together: &[],
    outputs: &[
        ("pods", "number", "Pods that were looked at"),
        ("podsNotReady", "number", "Pods that do not run, or run and are not ready"),
        ("workloadsBehind", "number", "Deployments, StatefulSets and DaemonSets with fewer ready pods than wanted, or a rollout that does not move"),
        ("jobsFailed", "number", "Jobs that failed"),
    ],
    default_timeout: Millis::from_secs(120),
    example: "namespaces: [shop, shop-*]\nsettleFor: 2m",
};
