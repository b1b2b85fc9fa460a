//! What is looked at over the network: endpoints, certificates, monitoring.

use super::super::{Connections, Effect, Kind, ParamType, Scope, Undo};
use super::{DURATION, LOOKS_ONLY, NUMBER, TEXTS, optional};
use crate::time::Millis;

pub(super) const HTTP_CHECK: Kind = Kind {
    name: "http.check",
    summary: "HTTP endpoints: status, latency, body, redirects and TLS, many at once",
    scope: Scope::View,
    effect: Effect::Read,
    idempotent: true,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "",
    params: &[
        optional("url", ParamType::Url, "", "What to ask for"),
        optional("urls", ParamType::List(&ParamType::Url), "", "Several of them"),
        optional("method", ParamType::OneOf(&["GET", "HEAD"]), "GET", "How to ask"),
        optional("status", ParamType::HttpStatus, "200-399", "Status that is ok"),
        optional("contains", ParamType::Text, "", "Text that the body must contain"),
        optional("latency", DURATION, "{ warning: 1s, critical: 5s }", "Time until the answer is complete"),
        optional("timeout", ParamType::Duration, "10s", "When to give up on one endpoint"),
        optional("followRedirects", ParamType::Integer(0, 20), "5", "How many redirects to follow"),
    ],
    outputs: &[("failed", "number", "Endpoints that are not ok")],
    default_timeout: Millis::from_secs(60),
    example: "urls: [https://shop.example/health, https://api.example/health]\nlatency: { warning: 300ms, critical: 2s }",
};

pub(super) const TLS_CHECK: Kind = Kind {
    name: "tls.check",
    summary: "Certificates of endpoints and files: days left, chain and host name",
    scope: Scope::View,
    effect: Effect::Read,
    idempotent: true,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "",
    params: &[
        optional("endpoints", ParamType::List(&ParamType::Endpoint), "[]", "Servers to ask"),
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
    outputs: &[("minDaysLeft", "number", "Days left of the certificate that ends first")],
    default_timeout: Millis::from_secs(60),
    example: "endpoints: [shop.example:443]\nfiles: [/etc/ssl/private/*.pem]\ndaysLeft: { warning: 30, critical: 7 }",
};
