//! Gates while something goes: what is asked again and again, and from where on it has failed.

use super::super::{Connections, Effect, Kind, Param, ParamType, Scope, Undo, WATCH as WATCH_NAME};
use super::net::{FOLLOW_REDIRECTS, HTTP_ANSWER, joined};
use super::{LOOKS_ONLY, NUMBER, optional, required};
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

const HTTP: &[Param] = &joined::<2, 9, 11>(
    [
        required("url", ParamType::Url, "What to ask for, each time over a new connection"),
        optional("ca", ParamType::Text, "public authorities", "File of authorities that certificates must end in"),
    ],
    joined::<8, 1, 9>(HTTP_ANSWER, [FOLLOW_REDIRECTS]),
);

const PROMETHEUS: &[Param] = &[
    required("connection", ParamType::Connection, "Whom to ask: a connection of the cluster's agents"),
    required("query", ParamType::Text, "PromQL. No data is no good answer: it fails"),
    optional("above", NUMBER, "", "From where upwards a series fails: `critical`"),
    optional("below", NUMBER, "", "From where downwards a series fails: `critical`"),
];

const OBJECT: &[Param] = &[
    optional("apiVersion", ParamType::Text, "v1", "Of the object, such as apps/v1"),
    required("kind", ParamType::Text, "Of the object, in the namespace of the step; no Secret"),
    optional("name", ParamType::Text, "", "Its name"),
    optional("selector", ParamType::Text, "", "Label selector of several, of each of which it has to hold; at least one has to be there"),
    required("that", ParamType::Expression(&["object"]), "What has to hold of `object`"),
];

const LOG_ERRORS: &[Param] = &[
    required("selector", ParamType::Text, "Label selector of the pods, in the namespace of the step"),
    optional("container", ParamType::Text, "all", "Of the pods"),
    optional("level", ParamType::OneOf(&["error", "warning"]), "error", "Least level that counts"),
    optional("most", ParamType::Integer(0, 1_000_000), "0", "Lines that there may be within `over`"),
];

/// What one gate asks: exactly one of these.
const ASKS: &[Param] = &[
    optional("http", ParamType::Fields(HTTP), "", "An HTTP endpoint, as http.check asks it"),
    optional("prometheus", ParamType::Fields(PROMETHEUS), "", "PromQL with bounds for every series"),
    optional("object", ParamType::Fields(OBJECT), "", "What has to hold of objects of the cluster"),
    optional(
        "logErrors",
        ParamType::Fields(LOG_ERRORS),
        "",
        "New error lines of pods, told as logs.errors tells them; a probe comes off while there are no more than may be",
    ),
    optional(
        "newSignatures",
        ParamType::NotYet("not until signatures of log messages exist; `logErrors` counts error lines"),
        "",
        "Messages of a template that was not there before",
    ),
];

/// From where on it has failed.
const RULES: &[Param] = &[
    optional(
        "every",
        ParamType::Duration,
        "1s; of object 2s, of logErrors 5s, of prometheus 15s",
        "How often it is asked; after a probe that failed, the next comes after a quarter of it",
    ),
    optional(
        "timeout",
        ParamType::Duration,
        "`every`, at least 1s and at most 10s, or half as much again as `p95` where that is longer",
        "When a probe is given up: it has failed",
    ),
    optional("failures", ParamType::Integer(1, 1_000), "2", "Probes that fail one after another from which on the gate has failed"),
    optional("errorRate", ParamType::Percent, "", "Share of failed probes within `over` that is not yet too much; fewer than 20 probes count as 20"),
    optional("p95", ParamType::Duration, "", "95th percentile of the time to an answer within `over` that is not yet too much, from 20 answers on"),
    optional("over", ParamType::Duration, "1m", "How far back errorRate, p95 and the lines of logErrors go"),
];

/// The gates of a step.
pub(super) const GATES: ParamType = ParamType::List(&ParamType::Choice(ASKS, RULES));

pub(super) const WATCH: Kind = Kind {
    name: WATCH_NAME,
    summary: "Watches for a while, counts every probe, and fails as soon as a gate has failed",
    scope: Scope::Cluster,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "a cluster agent from which the endpoints can be reached; for `object` and `logErrors` one that may be the runner of the namespace, which may get or list the objects, list pods and get pods/log",
    params: &[
        required("namespace", ParamType::Text, "Whose objects and pods are looked at"),
        optional("for", ParamType::Duration, "5m", "How long to watch"),
        required("gates", GATES, "What has to hold all the time"),
        optional("serviceAccount", ParamType::Text, "mainstay-runner", "ServiceAccount of the namespace as which objects and logs are read"),
    ],
    together: &[],
    outputs: &[
        ("probes", "number", "Probes that ended, of all gates"),
        ("failed", "number", "Those of them that failed"),
        ("errorRate", "number", "Share of the probes that failed, from 0 to 1"),
        ("p95", "number", "95th percentile of the time to an answer over all of the time, in milliseconds"),
        ("availability", "number", "Share of the beats whose probe came off, from 0 to 1; a beat without a probe counts against it"),
    ],
    default_timeout: Millis::from_secs(86_400),
    example: "namespace: shop\nfor: 5m\ngates:\n  - http: { url: http://web.shop.svc/health }\n    failures: 2\n    errorRate: 5%\n    p95: 1s\n  - object: { apiVersion: apps/v1, kind: Deployment, name: web, that: object.status.availableReplicas == object.spec.replicas }\n  - logErrors: { selector: app=web, most: 10 }",
};
