//! The declarations.

use super::{Connections, Effect, Kind, Param, ParamType, Scope, Undo};
use crate::time::Millis;

const PERCENT: ParamType = ParamType::Thresholds(&ParamType::Percent);
const NUMBER: ParamType = ParamType::Thresholds(&ParamType::Number);
const DURATION: ParamType = ParamType::Thresholds(&ParamType::Duration);
const TEXTS: ParamType = ParamType::List(&ParamType::Text);

const fn optional(name: &'static str, ty: ParamType, default: &'static str, doc: &'static str) -> Param {
    Param { name, ty, required: false, default, doc }
}

const fn required(name: &'static str, ty: ParamType, doc: &'static str) -> Param {
    Param { name, ty, required: true, default: "", doc }
}

const LOOKS_ONLY: &str = "nothing is changed";

/// Every step kind, in the order of the reference page.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "node.resources",
        summary: "CPU, memory, load, pressure, disks with inodes, network errors and kernel messages of a node",
        scope: Scope::Host,
        effect: Effect::Read,
        idempotent: true,
        undo: Undo::Nothing,
        protection: LOOKS_ONLY,
        connection: Connections::None,
        needs: "",
        params: &[
            optional("cpu", PERCENT, "{ warning: 85%, critical: 95% }", "Share of all CPUs in use"),
            optional("memory", PERCENT, "{ warning: 85%, critical: 95% }", "Share of memory that is not available to new work"),
            optional("swap", PERCENT, "{ warning: 50%, critical: 80% }", "Share of swap in use, where there is swap"),
            optional("load", NUMBER, "{ warning: 2, critical: 4 }", "Load of the last 5 minutes for each CPU"),
            optional("cpuPressure", PERCENT, "{ warning: 40%, critical: 80% }", "Share of the last minute in which work waited for CPU"),
            optional("memoryPressure", PERCENT, "{ warning: 10%, critical: 40% }", "Share of the last minute in which work waited for memory"),
            optional("ioPressure", PERCENT, "{ warning: 30%, critical: 60% }", "Share of the last minute in which work waited for disks"),
            optional("disk", PERCENT, "{ warning: 80%, critical: 90% }", "Share of each file system in use"),
            optional("inodes", PERCENT, "{ warning: 80%, critical: 90% }", "Share of each file system's inodes in use"),
            optional("network", PERCENT, "{ warning: 0.1%, critical: 1% }", "Share of packets with errors or drops, for each interface"),
            optional("excludeMounts", TEXTS, "[]", "Mount points to leave out; * stands for any text"),
            optional("since", ParamType::Duration, "24h", "How far back kernel messages count"),
        ],
        outputs: &[
            ("cpuPercent", "number", "CPU in use"),
            ("memoryPercent", "number", "Memory in use"),
            ("worstDiskPercent", "number", "Use of the fullest file system"),
        ],
        default_timeout: Millis::from_secs(30),
        example: "disk: { warning: 75%, critical: 90% }\nexcludeMounts: [/mnt/scratch*]",
    },
    Kind {
        name: "node.services",
        summary: "Services of a node that have failed or are not running",
        scope: Scope::Host,
        effect: Effect::Read,
        idempotent: true,
        undo: Undo::Nothing,
        protection: LOOKS_ONLY,
        connection: Connections::None,
        needs: "",
        params: &[optional("services", TEXTS, "all that the agent knows", "Names of services to look at")],
        outputs: &[("failed", "number", "Services that are not running")],
        default_timeout: Millis::from_secs(30),
        example: "services: [nginx, postgresql]",
    },
    Kind {
        name: "logs.errors",
        summary: "Error lines in log files, by source, with their most frequent messages",
        scope: Scope::Host,
        effect: Effect::Read,
        idempotent: true,
        undo: Undo::Nothing,
        protection: LOOKS_ONLY,
        connection: Connections::None,
        needs: "",
        params: &[
            optional("files", TEXTS, "the agent's `logs` setting", "Files to read; * stands for any text within a name, ** across folders"),
            optional("since", ParamType::Duration, "24h", "How far back lines count"),
            optional("level", ParamType::OneOf(&["error", "warning"]), "error", "Least level that counts"),
            optional("warning", ParamType::Integer(1, 1_000_000_000), "1", "Lines of one source from which on it is a warning"),
            optional("critical", ParamType::Integer(1, 1_000_000_000), "never", "Lines of one source from which on it is critical"),
            optional("maxBytes", ParamType::Integer(1_024, 1 << 34), "67108864", "Bytes read of each file, the newest ones"),
        ],
        outputs: &[("lines", "number", "Lines that counted, of all sources")],
        default_timeout: Millis::from_secs(120),
        example: "files: [/var/log/nginx/*.log]\nsince: 24h\ncritical: 1000",
    },
    Kind {
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
    },
    Kind {
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
    },
    Kind {
        name: "lease.hold",
        summary: "Holds a lease for a while, so that nobody else does what it stands for",
        scope: Scope::Any,
        effect: Effect::Write,
        idempotent: true,
        undo: Undo::Nothing,
        protection: "the lease itself: at most `slots` holders, each with a growing token",
        connection: Connections::None,
        needs: "",
        params: &[
            required("name", ParamType::LeaseName, "Name of the lease"),
            required("for", ParamType::Duration, "How long to hold it"),
            optional("wait", ParamType::Duration, "the step's timeout", "How long to wait for it"),
            optional("slots", ParamType::Integer(1, 10_000), "1", "How many may hold it at once"),
            optional("ttl", ParamType::Duration, "30s", "When it ends if its holder falls silent"),
        ],
        outputs: &[("token", "text", "Fencing token of the grant")],
        default_timeout: Millis::from_secs(600),
        example: "name: deploy/shop\nfor: 30s",
    },
    Kind {
        name: "wait",
        summary: "Waits",
        scope: Scope::Any,
        effect: Effect::Read,
        idempotent: true,
        undo: Undo::Nothing,
        protection: LOOKS_ONLY,
        connection: Connections::None,
        needs: "",
        params: &[required("for", ParamType::Duration, "How long to wait")],
        outputs: &[],
        default_timeout: Millis::from_secs(3_600),
        example: "for: 30s",
    },
    Kind {
        name: "node.exec",
        summary: "Runs a command that the agent's own policy allows",
        scope: Scope::Any,
        effect: Effect::Exec,
        idempotent: false,
        undo: Undo::Compensated,
        protection: "the agent's ledger and `Begin` before the command starts; epoch and ledger id are checked then",
        connection: Connections::None,
        needs: "",
        params: &[
            required("command", TEXTS, "Program and arguments; no shell looks at them"),
            optional("env", ParamType::Map, "{}", "Environment besides PATH, HOME and LANG"),
            optional("workingDirectory", ParamType::Text, "/", "Where it runs"),
        ],
        outputs: &[("exitCode", "number", "Status that the command ended with")],
        default_timeout: Millis::from_secs(300),
        example: "command: [/usr/bin/logger, \"maintenance begins\"]",
    },
];
