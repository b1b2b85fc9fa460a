//! What is done to alerts, through connections.

use super::super::{Connections, Effect, Kind, ParamType, Scope, Undo};
use super::{TEXTS, optional, required};
use crate::catalogue::Param;
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

const CONNECTION: Param = optional("connection", ParamType::Connection, "every one of kind alertmanager", "Where");
const PROTECTED: &str = "the silence names mesh, run and step in its comment: another try finds it, and ends no other";

pub(super) const SILENCE: Kind = Kind {
    name: super::super::ALERTMANAGER_SILENCE,
    summary: "A silence for what a run touches, once; taken back by ending it",
    scope: Scope::View,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Reversible,
    protection: PROTECTED,
    connection: Connections::Always(&["alertmanager"]),
    needs: "the HTTP API of Alertmanager, version 2",
    params: &[
        CONNECTION,
        required("matchers", TEXTS, "Alerts that are silenced, by all of these: name=value, name!=value, name=~regex, name!~regex"),
        optional("for", ParamType::Duration, "1h", "When it ends by itself, at most 7d; alertmanager.expire ends it with the run"),
        optional("comment", ParamType::Text, "maintenance", "What a person reads; the run is named behind it"),
    ],
    together: &[],
    outputs: &[("id", "text", "Of the silence"), ("endsAt", "text", "When it ends by itself")],
    default_timeout: Millis::from_secs(60),
    example: "matchers: [namespace=shop, severity!=critical]\nfor: 2h\ncomment: the shop gets its new version",
};

pub(super) const EXPIRE: Kind = Kind {
    name: super::super::ALERTMANAGER_EXPIRE,
    summary: "Ends the silences that this run has made",
    scope: Scope::View,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: PROTECTED,
    connection: Connections::Always(&["alertmanager"]),
    needs: "the HTTP API of Alertmanager, version 2",
    params: &[CONNECTION],
    together: &[],
    outputs: &[("ended", "number", "Silences that were ended")],
    default_timeout: Millis::from_secs(60),
    example: "connection: alerts",
};
