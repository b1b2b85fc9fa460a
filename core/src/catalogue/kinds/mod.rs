//! The declarations, by family.

mod alerts;
mod backup;
mod data;
mod helm;
mod kube;
mod mesh;
mod net;
mod node;
mod nodes;
mod rollout;
mod root;
mod switch;
mod watch;

use super::{Kind, Param, ParamType};

const PERCENT: ParamType = ParamType::Thresholds(&ParamType::Percent);
const NUMBER: ParamType = ParamType::Thresholds(&ParamType::Number);
const DURATION: ParamType = ParamType::Thresholds(&ParamType::Duration);
const SIZE: ParamType = ParamType::Thresholds(&ParamType::Size);
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
    node::RESOURCES,
    node::SERVICES,
    node::LOG_ERRORS,
    net::HTTP_CHECK,
    net::TLS_CHECK,
    net::PROMETHEUS_QUERY,
    alerts::SILENCE,
    alerts::EXPIRE,
    data::POSTGRES_CHECK,
    data::REDIS_CHECK,
    backup::RUN,
    backup::CHECK,
    backup::PRUNE,
    backup::RESTORE,
    backup::DRILL,
    kube::WORKLOADS,
    kube::SERVICES,
    kube::CRONJOBS,
    kube::EVENTS,
    kube::CERTIFICATES,
    kube::WAIT,
    watch::WATCH,
    switch::LIVE,
    kube::RESTART,
    rollout::ROLLOUT,
    kube::SCALE,
    switch::SWITCH,
    kube::CRONJOB_TRIGGER,
    kube::JOB,
    kube::APPLY,
    kube::DELETE,
    kube::EXEC,
    nodes::CORDON,
    nodes::DRAIN,
    nodes::UNCORDON,
    nodes::DRAINABLE,
    nodes::READY,
    helm::UPGRADE,
    helm::ROLLBACK,
    helm::UNINSTALL,
    mesh::LEASE_HOLD,
    mesh::WAIT,
    mesh::APPROVAL,
    root::ADD,
    root::ADOPT,
    root::LEAVE,
    root::RETIRE,
    node::EXEC,
    node::REBOOT,
    node::PACKAGES,
];
