//! What a node's own agent does on its machine.

use super::super::{Connections, Effect, Kind, PACKAGES as PACKAGES_NAME, ParamType, REBOOT as REBOOT_NAME, Scope, Undo};
use super::{LOOKS_ONLY, NUMBER, PERCENT, TEXTS, optional, required};
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

pub(super) const RESOURCES: Kind = Kind {
    name: "node.resources",
    summary: "CPU, memory, load, pressure, disks with inodes, network errors and kernel messages of a node",
    scope: Scope::Host,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
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
    together: &[],
    outputs: &[
        ("cpuPercent", "number", "CPU in use"),
        ("memoryPercent", "number", "Memory in use"),
        ("worstDiskPercent", "number", "Use of the fullest file system"),
    ],
    default_timeout: Millis::from_secs(30),
    example: "disk: { warning: 75%, critical: 90% }\nexcludeMounts: [/mnt/scratch*]",
};

pub(super) const SERVICES: Kind = Kind {
    name: "node.services",
    summary: "Services of a node that have failed or are not running",
    scope: Scope::Host,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "",
    params: &[optional("services", TEXTS, "all that the agent knows", "Names of services to look at")],
    together: &[],
    outputs: &[("failed", "number", "Services that are not running")],
    default_timeout: Millis::from_secs(30),
    example: "services: [nginx, postgresql]",
};

pub(super) const LOG_ERRORS: Kind = Kind {
    name: "logs.errors",
    summary: "Error lines in log files, by source, with their most frequent messages",
    scope: Scope::Host,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
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
    together: &[],
    outputs: &[("lines", "number", "Lines that counted, of all sources")],
    default_timeout: Millis::from_secs(120),
    example: "files: [/var/log/nginx/*.log]\nsince: 24h\ncritical: 1000",
};

pub(super) const EXEC: Kind = Kind {
    name: "node.exec",
    summary: "Runs a command that the agent's own policy allows",
    scope: Scope::Any,
    effect: Effect::Exec,
    idempotent: false,
    started_by: OperatorRole::Operator,
    undo: Undo::Compensated,
    protection: "that it begins is written down by the mesh and on the node first, so that it is begun once, whatever dies in between",
    connection: Connections::None,
    needs: "",
    params: &[
        required("command", TEXTS, "Program and arguments; no shell looks at them"),
        optional("env", ParamType::Map, "{}", "Environment besides PATH, HOME and LANG"),
        optional("workingDirectory", ParamType::Text, "/", "Where it runs"),
    ],
    together: &[],
    outputs: &[("exitCode", "number", "Status that the command ended with")],
    default_timeout: Millis::from_secs(300),
    example: "command: [/usr/bin/logger, \"maintenance begins\"]",
};

pub(super) const REBOOT: Kind = Kind {
    name: REBOOT_NAME,
    summary: "Reboots a node by a command that the agent's own policy allows, and says that it came up again",
    scope: Scope::Host,
    effect: Effect::Exec,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: "the boot id, stored with the step before the command runs: where it is another one, the node has been rebooted, and is not again",
    connection: Connections::None,
    needs: "an agent whose policy allows it and has a rule for the command, as for node.exec; of a node of Kubernetes, its hands",
    params: &[
        optional("command", TEXTS, "[/usr/bin/systemctl, reboot]", "Program and arguments; no shell looks at them"),
        optional(
            "ifFile",
            ParamType::Text,
            "",
            "Reboot only where the node has this file, such as /var/run/reboot-required; in any case where it is empty",
        ),
        optional("within", ParamType::Duration, "10m", "How long the machine may go on after the command"),
    ],
    together: &[],
    outputs: &[("rebooted", "boolean", "Whether it was rebooted"), ("bootId", "text", "Its boot id now")],
    default_timeout: Millis::from_secs(1_800),
    example: "ifFile: /var/run/reboot-required",
};

pub(super) const PACKAGES: Kind = Kind {
    name: PACKAGES_NAME,
    summary: "Installs and upgrades packages of a node by its own package manager, from its own repositories; removes none but what these replace, with dnf",
    scope: Scope::Host,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Irreversible,
    protection: "the package manager's own locks; that it begins is written down on the node first; done twice, the second time changes nothing",
    connection: Connections::None,
    needs: "an agent whose policy allows it, and a machine with apt or dnf; of a node of Kubernetes, its hands, with the capabilities that packages take",
    params: &[
        optional("manager", ParamType::OneOf(&["auto", "apt", "dnf"]), "auto", "Package manager; auto is the one that the machine has"),
        optional(
            "packages",
            TEXTS,
            "[]",
            "Packages to install, or to upgrade where they are there, each perhaps with `=VERSION`; none are all upgrades",
        ),
        optional("lockWait", ParamType::Duration, "5m", "How long to wait while another package manager is at work on the machine"),
    ],
    together: &[],
    outputs: &[
        ("changed", "number", "Packages that were installed or are of another version now; each is named in the output"),
        ("mended", "boolean", "Whether packages that somebody else had left half done were configured first"),
        (
            "rebootRequired",
            "boolean",
            "Whether the node asks to be rebooted, with apt: it has /var/run/reboot-required; not there where that cannot be told",
        ),
    ],
    default_timeout: Millis::from_secs(3_600),
    example: "packages: [openssl, libssl3]\nlockWait: 15m",
};
