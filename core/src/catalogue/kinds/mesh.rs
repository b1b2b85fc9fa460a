//! What concerns the mesh itself: leases, time, people.

use super::super::{Connections, Effect, Kind, ParamType, Scope, Undo};
use super::{LOOKS_ONLY, optional, required};
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

pub(super) const LEASE_HOLD: Kind = Kind {
    name: super::super::LEASE_HOLD,
    summary: "Holds a lease for a while, so that nobody else does what it stands for",
    scope: Scope::Any,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
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
    together: &[],
    outputs: &[("token", "text", "Fencing token of the grant")],
    default_timeout: Millis::from_secs(600),
    example: "name: deploy/shop\nfor: 30s",
};

pub(super) const WAIT: Kind = Kind {
    name: super::super::WAIT,
    summary: "Waits",
    scope: Scope::Any,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "",
    params: &[required("for", ParamType::Duration, "How long to wait")],
    together: &[],
    outputs: &[],
    default_timeout: Millis::from_secs(3_600),
    example: "for: 30s",
};

pub(super) const APPROVAL: Kind = Kind {
    name: super::super::APPROVAL,
    summary: "Waits until somebody who may has agreed; carried out by the mesh itself",
    scope: Scope::Mesh,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: "an approval names what was seen, and does not count for anything else",
    connection: Connections::None,
    needs: "an operator of the role",
    params: &[
        optional("by", ParamType::OneOf(&["operator", "admin"]), "operator", "Least role of whoever approves"),
        optional("notAuthor", ParamType::Boolean, "false", "Whether it must be another person than the one who started the run"),
        optional("message", ParamType::Text, "", "What they are asked"),
    ],
    together: &[],
    outputs: &[("by", "text", "Who approved")],
    default_timeout: Millis::from_secs(86_400),
    example: "by: admin\nmessage: the new root is in place everywhere",
};
