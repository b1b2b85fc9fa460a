//! What the cluster agent that acts does in its Kubernetes cluster.

use super::super::{Connections, Effect, Kind, ParamType, Scope, Undo};
use super::{LOOKS_ONLY, NUMBER, TEXTS, optional, required};
use crate::catalogue::{Param, Together};
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

const NAMESPACES: Param = optional("namespaces", TEXTS, "[\"*\"]", "Namespaces to look at; * stands for any text");
const EXCLUDE: Param = optional("excludeNamespaces", TEXTS, "[]", "Namespaces to leave out; * stands for any text");
pub(super) const ACCOUNT: Param =
    optional("serviceAccount", ParamType::Text, "mainstay-runner", "ServiceAccount of the namespace as which it is done");

pub(super) const WORKLOADS: Kind = Kind {
    name: "kube.workloads",
    summary: "Nodes that are not ready, pods that do not run or are not ready, crash loops, images that cannot be pulled, restarts, stuck rollouts, failed Jobs of no CronJob",
    scope: Scope::Cluster,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "a cluster agent, whose ServiceAccount may list nodes, pods, workloads and Jobs",
    params: &[
        NAMESPACES,
        EXCLUDE,
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
        ("jobsFailed", "number", "Jobs that failed and are of no CronJob"),
    ],
    default_timeout: Millis::from_secs(120),
    example: "namespaces: [shop, shop-*]\nsettleFor: 2m",
};

pub(super) const SERVICES: Kind = Kind {
    name: "kube.services",
    summary: "Services that lead nowhere: no pod that their selector fits, none that is ready, a port that no pod has",
    scope: Scope::Cluster,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "a cluster agent, whose ServiceAccount may list Services, EndpointSlices, pods, Deployments and StatefulSets",
    params: &[
        NAMESPACES,
        EXCLUDE,
        optional("selector", ParamType::Text, "all", "Label selector of the Services to look at: app=shop,tier!=test"),
        optional("settleFor", ParamType::Duration, "5m", "How long a Service that is new, or whose pods have just changed, may have nobody"),
    ],
    together: &[],
    outputs: &[
        ("services", "number", "Services that were looked at"),
        ("withoutEndpoints", "number", "Services that should have somebody behind them and have nobody who is ready"),
    ],
    default_timeout: Millis::from_secs(120),
    example: "namespaces: [shop, shop-*]\nsettleFor: 2m",
};

pub(super) const CRONJOBS: Kind = Kind {
    name: "kube.cronjobs",
    summary: "CronJobs that missed their time, whose last Job failed, that are suspended, or of which too many run at once",
    scope: Scope::Cluster,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "a cluster agent, whose ServiceAccount may list CronJobs and Jobs",
    params: &[
        NAMESPACES,
        EXCLUDE,
        optional("selector", ParamType::Text, "all", "Label selector of the CronJobs to look at"),
        optional("lateBy", ParamType::Duration, "5m", "How late a Job may be made; where a CronJob names no time zone, its schedule is in UTC"),
        optional("active", NUMBER, "{ warning: 3, critical: 10 }", "Jobs of one CronJob that run at once"),
        optional("suspended", ParamType::OneOf(&["ok", "warning"]), "warning", "What it is that a CronJob is suspended"),
    ],
    together: &[],
    outputs: &[
        ("cronJobs", "number", "CronJobs that were looked at"),
        ("missed", "number", "CronJobs that missed their time"),
        ("failed", "number", "CronJobs whose last Job failed"),
        ("suspended", "number", "CronJobs that are suspended"),
    ],
    default_timeout: Millis::from_secs(120),
    example: "namespaces: [shop]\nlateBy: 10m",
};

pub(super) const EVENTS: Kind = Kind {
    name: "kube.events",
    summary: "What the cluster's parts have warned of lately, by object and reason, the most frequent first",
    scope: Scope::Cluster,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "a cluster agent, whose ServiceAccount may list events",
    params: &[
        NAMESPACES,
        EXCLUDE,
        optional("reasons", TEXTS, "[\"*\"]", "Reasons to look at, such as FailedScheduling; * stands for any text"),
        optional("since", ParamType::Duration, "1h", "How far back they count; a cluster forgets them after an hour, unless it is told otherwise"),
        optional("count", NUMBER, "none: they are told, and are no fault", "Warnings of one object with one reason"),
        optional("top", ParamType::Integer(1, 100), "20", "How many objects and reasons are told"),
    ],
    together: &[],
    outputs: &[("warnings", "number", "Warnings that counted")],
    default_timeout: Millis::from_secs(120),
    example: "reasons: [FailedMount, FailedCreate*]\ncount: { warning: 5 }",
};

pub(super) const CERTIFICATES: Kind = Kind {
    name: "kube.certificates",
    summary: "Certificates in TLS Secrets: days left, whether the key is theirs, whether they are for the hosts of the Ingresses that show them",
    scope: Scope::Cluster,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "a cluster agent, which may list ServiceAccounts and be the runner of a namespace; a runner that may list Secrets, and Ingresses for their hosts",
    params: &[
        NAMESPACES,
        EXCLUDE,
        optional("names", TEXTS, "[\"*\"]", "Secrets to look at; * stands for any text"),
        optional("daysLeft", NUMBER, "{ warning: 30, critical: 7 }", "Days until a certificate ends"),
        ACCOUNT,
    ],
    together: &[],
    outputs: &[("secrets", "number", "TLS Secrets that were looked at"), ("minDaysLeft", "number", "Days left of the certificate that ends first")],
    default_timeout: Millis::from_secs(120),
    example: "namespaces: [shop]\ndaysLeft: { warning: 30, critical: 7 }",
};

pub(super) const WAIT: Kind = Kind {
    name: "kube.wait",
    summary: "Waits until an expression holds of an object, or of all that a selector fits",
    scope: Scope::Cluster,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "a cluster agent that may be the runner of the namespace, which may get or list the objects; mainstay-node-runner for objects that are in none",
    params: &[
        optional("apiVersion", ParamType::Text, "v1", "Of the object, such as apps/v1"),
        required("kind", ParamType::Text, "Of the object, such as Deployment; a custom resource's too, and no Secret"),
        optional("namespace", ParamType::Text, "", "Where it is, unless it is in none"),
        optional("name", ParamType::Text, "", "Its name; `object == null` holds while it is not there"),
        optional("selector", ParamType::Text, "", "Label selector of several, of each of which it has to hold; at least one has to be there"),
        required("until", ParamType::Expression(&["object"]), "What has to hold of `object`; what it does not have yet does not hold yet"),
        optional("within", ParamType::Duration, "5m", "When to give up"),
        optional("every", ParamType::Duration, "2s", "How often it is looked at"),
        ACCOUNT,
    ],
    together: &[Together::AnyOf(&["name", "selector"]), Together::Excludes("name", &["selector"], "one object is waited for, or all that it fits")],
    outputs: &[("objects", "number", "Objects of which it holds")],
    default_timeout: Millis::from_secs(900),
    example: "apiVersion: apps/v1\nkind: Deployment\nnamespace: shop\nname: web\nuntil: object.status.readyReplicas == object.spec.replicas\nwithin: 10m",
};

pub(super) const RUNNER: &str = "a cluster agent whose policy allows it, and which may be the runner of the namespace";
pub(super) const FENCED: &str =
    "the annotation mainstay.dev/fence, compared: what a later attempt has changed is left alone; the version that was read is sent with each change";
const ADOPTED: &str = "the Job's name is made of the run's step: whoever comes later finds the Job that there is, and waits for it";
pub(super) const NAMESPACE: Param = required("namespace", ParamType::Text, "Where it is");
const WITHIN: Param = optional("within", ParamType::Duration, "10m", "When to give up; what was changed stays");

pub(super) const RESTART: Kind = Kind {
    name: "kube.restart",
    summary: "New pods for Deployments, StatefulSets or DaemonSets by their own rolling update, one workload after another",
    scope: Scope::Cluster,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: FENCED,
    connection: Connections::None,
    needs: RUNNER,
    params: &[
        NAMESPACE,
        optional("kind", ParamType::OneOf(&["Deployment", "StatefulSet", "DaemonSet"]), "Deployment", "Of the workloads"),
        optional("name", ParamType::Text, "", "Of one workload"),
        optional("selector", ParamType::Text, "", "Label selector of several"),
        optional("within", ParamType::Duration, "10m", "When to give up on one workload; its rollout goes on"),
        ACCOUNT,
    ],
    together: &[Together::AnyOf(&["name", "selector"]), Together::Excludes("name", &["selector"], "one is restarted, or all that it fits")],
    outputs: &[("restarted", "number", "Workloads whose pods are all new and available")],
    default_timeout: Millis::from_secs(1_800),
    example: "namespace: logging\nkind: DaemonSet\nselector: app=fluentd",
};

pub(super) const SCALE: Kind = Kind {
    name: "kube.scale",
    summary: "How many pods a Deployment or StatefulSet is to have; taken back to what it had, unless somebody has changed it since",
    scope: Scope::Cluster,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Reversible,
    protection: FENCED,
    connection: Connections::None,
    needs: RUNNER,
    params: &[
        NAMESPACE,
        optional("kind", ParamType::OneOf(&["Deployment", "StatefulSet"]), "Deployment", "Of the workload"),
        required("name", ParamType::Text, "Of the workload"),
        required("replicas", ParamType::Integer(0, 10_000), "Pods that it is to have"),
        optional("notBehind", TEXTS, "[]", "Services that must not lead to its pods: where one does, nothing is done"),
        WITHIN,
        ACCOUNT,
    ],
    together: &[],
    outputs: &[("before", "number", "Pods that it was to have"), ("replicas", "number", "Pods that it is to have now")],
    default_timeout: Millis::from_secs(900),
    example: "namespace: shop\nname: web\nreplicas: 5",
};

pub(super) const CRONJOB_TRIGGER: Kind = Kind {
    name: "kube.cronjob.trigger",
    summary: "Runs a CronJob's Job now, waits for its end, and shows what it printed",
    scope: Scope::Cluster,
    effect: Effect::Exec,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Compensated,
    protection: ADOPTED,
    connection: Connections::None,
    needs: RUNNER,
    params: &[
        NAMESPACE,
        required("name", ParamType::Text, "Of the CronJob; it may be suspended"),
        optional("within", ParamType::Duration, "1h", "When to give up, and to delete the Job"),
        ACCOUNT,
    ],
    together: &[],
    outputs: &[("job", "text", "Name of the Job")],
    default_timeout: Millis::from_secs(4_500),
    example: "namespace: shop\nname: backup\nwithin: 30m",
};

pub(super) const JOB: Kind = Kind {
    name: "kube.job",
    summary: "Runs a Job, waits for its end, and shows what it printed",
    scope: Scope::Cluster,
    effect: Effect::Exec,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Compensated,
    protection: ADOPTED,
    connection: Connections::None,
    needs: RUNNER,
    params: &[
        NAMESPACE,
        required("name", ParamType::Text, "What the Job's name begins with"),
        required("spec", ParamType::Block, "The Job's specification, as under `spec` of a Job"),
        optional("within", ParamType::Duration, "1h", "When to give up, and to delete the Job"),
        ACCOUNT,
    ],
    together: &[],
    outputs: &[("job", "text", "Name of the Job")],
    default_timeout: Millis::from_secs(4_500),
    example: "namespace: shop\nname: tidy\nspec:\n  backoffLimit: 0\n  template:\n    spec:\n      restartPolicy: Never\n      containers: [{ name: tidy, image: \"shop/tidy:1\", args: [--older-than, 30d] }]",
};

const WHOLE: &str =
    "the UID and the version that were read are sent with each change; the annotation mainstay.dev/fence, compared; fields by their managers";

pub(super) const APPLY: Kind = Kind {
    name: "kube.apply",
    summary: "Makes an object what the plan says, by server-side apply; what it was is stored, and put back where nobody has changed it since",
    scope: Scope::Cluster,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Reversible,
    protection: WHOLE,
    connection: Connections::None,
    needs: RUNNER,
    params: &[
        required("object", ParamType::Block, "The object with apiVersion, kind and metadata; no Secret"),
        optional("takeOver", ParamType::Boolean, "false", "Whether fields that somebody else has set are set too"),
        ACCOUNT,
    ],
    together: &[],
    outputs: &[],
    default_timeout: Millis::from_secs(120),
    example: "object:\n  apiVersion: v1\n  kind: ConfigMap\n  metadata: { name: banner, namespace: shop }\n  data: { text: maintenance until noon }",
};

pub(super) const DELETE: Kind = Kind {
    name: "kube.delete",
    summary: "Deletes an object, and waits until it is gone; what it was is stored, and it is made again to take that back, not what belonged to it",
    scope: Scope::Cluster,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Reversible,
    protection: WHOLE,
    connection: Connections::None,
    needs: RUNNER,
    params: &[
        optional("apiVersion", ParamType::Text, "v1", "Of the object, such as apps/v1"),
        required("kind", ParamType::Text, "Of the object, such as ConfigMap; no Secret"),
        optional("namespace", ParamType::Text, "", "Where it is, unless it is in none"),
        required("name", ParamType::Text, "Its name"),
        optional("within", ParamType::Duration, "5m", "When to give up waiting until it is gone"),
        ACCOUNT,
    ],
    together: &[],
    outputs: &[],
    default_timeout: Millis::from_secs(600),
    example: "kind: ConfigMap\nnamespace: shop\nname: banner",
};

pub(super) const EXEC: Kind = Kind {
    name: "kube.exec",
    summary: "Runs a command in a container that is there, if the agent's own policy has a rule for it",
    scope: Scope::Cluster,
    effect: Effect::Exec,
    idempotent: false,
    started_by: OperatorRole::Operator,
    undo: Undo::Compensated,
    protection: "that it begins is written down by the mesh and by the agent first, so that it is begun once, whatever dies in between",
    connection: Connections::None,
    needs: "a cluster agent whose policy allows it and has a rule for the command, as for node.exec; a runner that may create and get pods/exec",
    params: &[
        NAMESPACE,
        optional("pod", ParamType::Text, "", "Where it runs"),
        optional("selector", ParamType::Text, "", "Label selector: it runs in the first of the pods that are ready"),
        optional("container", ParamType::Text, "the pod's only or default one", "Of the pod"),
        required("command", TEXTS, "Program and arguments; no shell looks at them. One that is called off goes on in its container"),
        ACCOUNT,
    ],
    together: &[Together::AnyOf(&["pod", "selector"]), Together::Excludes("pod", &["selector"], "it runs in one")],
    outputs: &[("exitCode", "number", "Status that the command ended with"), ("pod", "text", "Where it ran")],
    default_timeout: Millis::from_secs(300),
    example: "namespace: shop\nselector: app=cache\ncommand: [/usr/bin/redis-cli, BGSAVE]",
};
