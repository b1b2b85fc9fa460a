//! Where traffic goes: what is live is read, and another takes its place.

use super::super::{Connections, Effect, Kind, Param, ParamType, Scope, Undo};
use super::watch::GATES;
use super::{LOOKS_ONLY, TEXTS, optional, required};
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

const NAMESPACE: Param = required("namespace", ParamType::Text, "Where they are");
const KIND: Param = optional(
    "kind",
    ParamType::OneOf(&["Service", "Ingress", "HTTPRoute"]),
    "Service",
    "Of what leads: a Service by its selector, the others by the Services that they name",
);
const NAMES: Param = required("names", TEXTS, "Of what leads. Several are one unit");
const LABEL: Param =
    optional("label", ParamType::Text, "app.kubernetes.io/instance", "Of Services: the label in their selectors that says whom they lead to");
const ACCOUNT: Param = optional("serviceAccount", ParamType::Text, "mainstay-runner", "ServiceAccount of the namespace as which it is done");

pub(super) const LIVE: Kind = Kind {
    name: "kube.live",
    summary: "Reads which of two or more Services, Ingresses or HTTPRoutes lead to, and which comes next",
    scope: Scope::Cluster,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "a cluster agent that may be the runner of the namespace, which may get what leads, get services and list pods",
    params: &[
        NAMESPACE,
        KIND,
        NAMES,
        LABEL,
        required("of", TEXTS, "What takes turns: values of the label, or names of Services. The first that is not live comes next"),
        ACCOUNT,
    ],
    together: &[],
    outputs: &[
        ("live", "text", "What they lead to; empty where that is nothing of the kind"),
        ("next", "text", "What comes next"),
        ("pods", "number", "Pods of what is live"),
        ("ready", "number", "Those of them that are ready"),
        ("workload", "text", "The Deployment or StatefulSet that they are of; empty where they are of none or of several"),
        ("workloadKind", "text", "Its kind"),
        ("nextPods", "number", "Pods that are there already of what comes next, as an interrupted run leaves them"),
        ("seen", "text", "Versions of what was read, for `seen` of kube.switch"),
    ],
    default_timeout: Millis::from_secs(120),
    example: "namespace: shop\nnames: [web]\nof: [web-blue, web-green]",
};

pub(super) const SWITCH: Kind = Kind {
    name: super::super::SWITCH,
    summary: "Leads Services, Ingresses or HTTPRoutes to somebody else, all or none; taken back to what was live, unless somebody has changed it since",
    scope: Scope::Cluster,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Reversible,
    protection: "the annotation mainstay.dev/fence, compared: what a later attempt has changed is left alone; the version that was read is sent with each change; `from` and `seen`, compared before",
    connection: Connections::None,
    needs: "a cluster agent whose policy allows it, and which may be the runner of the namespace, which may get and patch what leads, list pods and endpointslices of discovery.k8s.io",
    params: &[
        NAMESPACE,
        KIND,
        NAMES,
        LABEL,
        required("to", ParamType::Text, "Whom they are to lead to: a value of the label, or the name of a Service"),
        optional(
            "from",
            ParamType::Text,
            "of Services, whatever is live",
            "What was live when it was looked at; empty for nothing of the kind. Where that has changed, nothing is done",
        ),
        optional("seen", ParamType::Text, "", "Versions that kube.live has read. Where one has changed, nothing is done"),
        optional("ready", ParamType::Integer(0, 10_000), "1", "Pods that must be ready behind each of them then"),
        optional("allowEmpty", ParamType::Boolean, "false", "Whether it is done where nobody would be ready"),
        optional(
            "shares",
            ParamType::List(&ParamType::Integer(1, 99)),
            "[]",
            "Of HTTPRoutes: percent of the traffic that leads there first, growing, such as [5, 25, 50]; then all of it",
        ),
        optional(
            "each",
            ParamType::Duration,
            "1m",
            "How long each share is watched; the step's `timeout` has to be longer than all of it, which the preview looks at",
        ),
        optional("gates", GATES, "[]", "What has to hold while shares are watched; when one has failed, all goes back"),
        optional("settle", ParamType::Duration, "2s", "How long it waits at the end, until proxies and gateways have followed"),
        optional("within", ParamType::Duration, "1m", "When to give up, beside the time for shares; what was switched is switched back"),
        ACCOUNT,
    ],
    together: &[],
    outputs: &[("before", "text", "What was live"), ("live", "text", "What is live now"), ("switched", "number", "How many were switched")],
    default_timeout: Millis::from_secs(3600),
    example: "namespace: shop\nnames: [web, web-admin]\nfrom: web-blue\nto: web-green\nready: 3",
};
