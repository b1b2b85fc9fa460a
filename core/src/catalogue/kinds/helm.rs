//! What the cluster agent that acts does to Helm's releases, by the helm program.

use super::super::{Connections, Effect, Kind, ParamType, Scope, Undo};
use super::{optional, required};
use crate::catalogue::Param;
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

const ACCOUNT: Param = optional("serviceAccount", ParamType::Text, "mainstay-runner", "ServiceAccount of the namespace as which it is done");
const NAMESPACE: Param = required("namespace", ParamType::Text, "Where the release is");
const RELEASE: Param = required("release", ParamType::Text, "Its name");
const WITHIN: Param =
    optional("within", ParamType::Duration, "10m", "How long helm waits for one thing; all of it, with the way back, takes at most twice that");
const WAIT: Param = optional(
    "wait",
    ParamType::OneOf(&["watcher", "legacy", "hookOnly"]),
    "watcher",
    "What helm waits for: that all objects are ready, in its new way or its old one, or hooks alone",
);
const WAIT_FOR_JOBS: Param = optional("waitForJobs", ParamType::Boolean, "false", "Whether it also waits for the chart's Jobs to complete");
const HOOKS: Param = optional("hooks", ParamType::Boolean, "true", "Whether the chart's hooks run");

const NEEDS: &str = "a cluster agent with helm 4 (`helm` in its settings), whose policy allows it, and which may be the runner of the namespace: get, list, create, update \
     and delete secrets, get, create and patch leases of coordination.k8s.io, and what the chart's objects need";
const PROTECTED: &str = "a Lease of the namespace, mainstay-helm-RELEASE, held while helm runs, and mainstay.dev/fence on it, compared; the release's history, read before: labels and description of \
     a revision name the work, and what a dead attempt left pending is taken up by the next";

pub(super) const UPGRADE: Kind = Kind {
    name: super::super::HELM_UPGRADE,
    summary: "Installs or upgrades a release, once; taken back to the revision before, or uninstalled, unless somebody has changed it since",
    scope: Scope::Cluster,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Reversible,
    protection: PROTECTED,
    connection: Connections::None,
    needs: NEEDS,
    params: &[
        NAMESPACE,
        RELEASE,
        required(
            "chart",
            ParamType::Text,
            "oci://…, the https://… of an archive, a name in `repository`, or a path below the folder of charts that the agent has",
        ),
        optional("repository", ParamType::Url, "", "Repository that has the chart"),
        optional("version", ParamType::Text, "the newest", "Of the chart; preview remarks on one that is not pinned"),
        optional(
            "pinned",
            ParamType::Boolean,
            "false",
            "Whether it is refused, before anything is done, where the chart comes from a registry or a repository and its version is not named in full",
        ),
        optional("values", ParamType::Block, "{}", "Values, as in a values file. They go over those of valuesFrom"),
        optional(
            "valuesFrom",
            ParamType::List(&ParamType::Fields(&[
                optional("secret", ParamType::Text, "", "Secret of the namespace"),
                optional("configMap", ParamType::Text, "", "ConfigMap of the namespace"),
                optional("key", ParamType::Text, "values.yaml", "Key under which it has a values file"),
            ])),
            "[]",
            "Values files in Secrets and ConfigMaps, read as the runner; a later one goes over an earlier one. They are printed nowhere",
        ),
        optional(
            "reuseValues",
            ParamType::Boolean,
            "false",
            "Whether the values of the revision before stay where none are given; else the chart's own count",
        ),
        optional("install", ParamType::Boolean, "true", "Whether it is installed where there is none"),
        optional("rollbackOnFailure", ParamType::Boolean, "true", "Whether helm takes back by itself what does not come off"),
        optional("takeOver", ParamType::Boolean, "false", "Whether fields that somebody else has set are set too"),
        HOOKS,
        WAIT,
        WAIT_FOR_JOBS,
        WITHIN,
        ACCOUNT,
    ],
    together: &[],
    outputs: &[
        ("revision", "number", "Of the release, that was made"),
        ("before", "number", "Revision that was deployed before; 0 where there was none"),
        ("chart", "text", "Name and version of the chart"),
        ("appVersion", "text", "Version of what is in it"),
    ],
    default_timeout: Millis::from_secs(1_800),
    example: "namespace: shop\nrelease: web\nchart: oci://registry.example.com/charts/web\nversion: 3.2.0\nvalues: { replicas: 3 }\nvaluesFrom: [{ secret: web-values }]",
};

pub(super) const ROLLBACK: Kind = Kind {
    name: super::super::HELM_ROLLBACK,
    summary: "Brings a release back to an earlier revision, once; taken back to the revision before, unless somebody has changed it since",
    scope: Scope::Cluster,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Reversible,
    protection: PROTECTED,
    connection: Connections::None,
    needs: NEEDS,
    params: &[
        NAMESPACE,
        RELEASE,
        optional("revision", ParamType::Integer(1, 1_000_000), "the newest before that was deployed", "To which it is brought back"),
        optional(
            "overPending",
            ParamType::Boolean,
            "false",
            "Whether also one that is pending: whoever was at it has died, says whoever writes this",
        ),
        HOOKS,
        WAIT,
        WAIT_FOR_JOBS,
        WITHIN,
        ACCOUNT,
    ],
    together: &[],
    outputs: &[("revision", "number", "Of the release, that was made"), ("to", "number", "Revision whose content it has again")],
    default_timeout: Millis::from_secs(1_800),
    example: "namespace: shop\nrelease: web\nrevision: 3",
};

pub(super) const UNINSTALL: Kind = Kind {
    name: super::super::HELM_UNINSTALL,
    summary: "Uninstalls a release; taken back by its history, and not at all without `keepHistory`",
    scope: Scope::Cluster,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Reversible,
    protection: PROTECTED,
    connection: Connections::None,
    needs: NEEDS,
    params: &[
        NAMESPACE,
        RELEASE,
        optional(
            "keepHistory",
            ParamType::Boolean,
            "true",
            "Whether its history stays, from which it is installed again to take that back. With `false` that is irreversible, and has to be accepted",
        ),
        HOOKS,
        WAIT,
        WITHIN,
        ACCOUNT,
    ],
    together: &[],
    outputs: &[("revision", "number", "Of the release, that was the last")],
    default_timeout: Millis::from_secs(1_800),
    example: "namespace: shop\nrelease: web-blue",
};
