//! What is looked at over the network: endpoints, certificates, monitoring.

use super::super::{Connections, Effect, Kind, Param, ParamType, Scope, Together, Undo};
use super::{DURATION, LOOKS_ONLY, NUMBER, TEXTS, optional, required};
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

/// What is expected of one answer.
pub(super) const HTTP_ANSWER: [Param; 8] = [
    optional("method", ParamType::OneOf(&["GET", "HEAD"]), "GET", "How to ask"),
    optional("requestHeaders", ParamType::Map, "{}", "Headers to send; a credential comes from a connection"),
    optional("status", ParamType::HttpStatus, "200-399", "Status that is ok"),
    optional("contains", ParamType::Text, "", "Text that the body must contain"),
    optional("notContains", ParamType::Text, "", "Text that the body must not contain"),
    optional("json", ParamType::Values, "{}", "Values that a JSON body must have, by JSON pointer: { /status: ok }"),
    optional("maxBytes", ParamType::Integer(0, 16 << 20), "any length", "Most bytes that the body may have"),
    optional("headers", ParamType::Map, "{}", "Headers that the answer must have, by name; * stands for any text"),
];

pub(super) const FOLLOW_REDIRECTS: Param = optional("followRedirects", ParamType::Integer(0, 20), "5", "How many redirects to follow");

/// What is expected of an HTTP endpoint: of all of a step, or of one of its `endpoints`.
const HTTP_RULES: [Param; 12] = joined::<8, 4, 12>(
    HTTP_ANSWER,
    [
        optional("latency", DURATION, "{ warning: 1s, critical: 5s }", "Time until the answer is complete"),
        optional("daysLeft", NUMBER, "{ warning: 30, critical: 7 }", "Days until the server's certificate ends"),
        optional("timeout", ParamType::Duration, "10s", "When to give up on one endpoint"),
        FOLLOW_REDIRECTS,
    ],
);

const HTTP_ENDPOINT: ParamType = ParamType::Fields(&joined::<1, 12, 13>([required("url", ParamType::Url, "What to ask for")], HTTP_RULES));

/// Two lists as one. `C` is the sum of the other two.
pub(super) const fn joined<const A: usize, const B: usize, const C: usize>(first: [Param; A], second: [Param; B]) -> [Param; C] {
    let mut all = [first[0]; C];
    let mut i = 0;
    while i < C {
        all[i] = if i < A { first[i] } else { second[i - A] };
        i += 1;
    }
    all
}

pub(super) const HTTP_CHECK: Kind = Kind {
    name: "http.check",
    summary: "HTTP endpoints: status, latency, body, headers, redirects and certificate, many at once",
    scope: Scope::View,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::WhenNamed(&["http"]),
    needs: "an address that the agent may reach; its `allow_addresses` for loopback and link-local ones",
    params: &joined::<6, 12, 18>(
        [
            optional("url", ParamType::Url, "", "What to ask for"),
            optional("urls", ParamType::List(&ParamType::Url), "[]", "Several of them"),
            optional("endpoints", ParamType::List(&HTTP_ENDPOINT), "[]", "Several of them, each with rules of its own: { url: …, status: 204 }"),
            optional("connection", ParamType::Connection, "", "Connections of kind http, whose URL is asked with their credential"),
            optional("paths", TEXTS, "the path of its URL", "Paths to ask the connection for"),
            optional("ca", ParamType::Text, "public authorities", "File of authorities that certificates must end in"),
        ],
        HTTP_RULES,
    ),
    together: &[
        Together::AnyOf(&["url", "urls", "endpoints", "connection"]),
        Together::Excludes(
            "connection",
            &["url", "urls", "endpoints", "ca"],
            "a connection says where and whom to trust; ask for other URLs in a step of its own",
        ),
        Together::Requires(&["paths"], "connection"),
    ],
    outputs: &[("failed", "number", "Endpoints that are not ok")],
    default_timeout: Millis::from_secs(120),
    example: "urls: [https://shop.example/health, https://api.example/health]\nlatency: { warning: 300ms, critical: 2s }\njson: { /status: ok }",
};

pub(super) const TLS_CHECK: Kind = Kind {
    name: "tls.check",
    summary: "Certificates of endpoints and files: days left, chain, host name and strength",
    scope: Scope::View,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::WhenNamed(&["tls", "http"]),
    needs: "an address that the agent may reach; its `allow_addresses` for loopback and link-local ones",
    params: &[
        optional("endpoints", ParamType::List(&ParamType::Endpoint), "[]", "Servers to ask"),
        optional("connection", ParamType::Connection, "", "Connections of kind tls or http, whose server is asked"),
        optional(
            "files",
            TEXTS,
            "the agent's `certificates` setting",
            "Certificate files, PEM or DER; * stands for any text within a name, ** across folders",
        ),
        optional("serverName", ParamType::Text, "the endpoint's host", "Name that the certificate must be for"),
        optional("ca", ParamType::Text, "public authorities", "File of authorities that the chain must end in"),
        optional("daysLeft", NUMBER, "{ warning: 30, critical: 7 }", "Days until a certificate ends"),
        optional("timeout", ParamType::Duration, "10s", "When to give up on one endpoint"),
    ],
    together: &[],
    outputs: &[("minDaysLeft", "number", "Days left of the certificate that ends first")],
    default_timeout: Millis::from_secs(60),
    example: "endpoints: [shop.example:443]\nfiles: [/etc/ssl/private/*.pem]\ndaysLeft: { warning: 30, critical: 7 }",
};

/// One of `queries`.
const QUERY: &[Param] = &[
    required("name", ParamType::Text, "What it is about; its series are told by it"),
    required("query", ParamType::Text, "PromQL"),
    optional("above", NUMBER, "", "From where upwards it is bad"),
    optional("below", NUMBER, "", "From where downwards it is bad"),
    optional("expect", ParamType::Integer(1, 10_000), "1", "Series that there must be at least"),
    optional("unit", ParamType::Text, "", "Unit of the values, for example s, %, B"),
];

pub(super) const PROMETHEUS_QUERY: Kind = Kind {
    name: "prometheus.query",
    summary: "PromQL with thresholds for every series of the result; without a query, the targets that are down",
    scope: Scope::View,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::Always(&["prometheus"]),
    needs: "the HTTP API of Prometheus, or of what speaks like it",
    params: &[
        optional("connection", ParamType::Connection, "every one of kind prometheus", "Whom to ask"),
        optional("query", ParamType::Text, "", "PromQL that yields a vector or a scalar"),
        optional("queries", ParamType::List(&ParamType::Fields(QUERY)), "[]", "Several of them, each with thresholds of its own"),
        optional("up", TEXTS, "every job, where there is no query", "Jobs whose targets must be up; * stands for any text"),
        optional("above", NUMBER, "", "For `query`: from where upwards it is bad"),
        optional("below", NUMBER, "", "For `query`: from where downwards it is bad"),
        optional("expect", ParamType::Integer(1, 10_000), "1", "For `query`: series that there must be at least"),
        optional("unit", ParamType::Text, "", "For `query`: unit of the values, for example s, %, B"),
        optional("at", ParamType::Text, "now", "When: a time such as 2026-11-24T02:00:00Z, or how long ago, such as 1h"),
        optional("timeout", ParamType::Duration, "10s", "When to give up on one query"),
    ],
    together: &[Together::Requires(&["above", "below", "expect"], "query")],
    outputs: &[
        ("series", "number", "Series that were judged"),
        ("failed", "number", "Those of them that are not ok"),
        ("value", "number", "The worst value, where there is one query"),
    ],
    default_timeout: Millis::from_secs(60),
    example: "query: 'sum by (service) (rate(http_requests_total{code=~\"5..\"}[5m])) / sum by (service) (rate(http_requests_total[5m]))'\nabove: { warning: 0.005, critical: 0.01 }",
};
