//! What a plan does to the roots that the mesh trusts. All of it is done by the mesh itself; the key of a root stays
//! with whoever has it.

use super::super::{CERTIFICATE_PARAM, Connections, Effect, Kind, ParamType, Scope, Undo};
use super::{LOOKS_ONLY, required};
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

const NEW: super::Param = required(CERTIFICATE_PARAM, ParamType::RootCertificate, "The new root's certificate, PEM");
/// An agent that was off, or a laptop that slept, is waited for as long as it could still renew: 31 days after the end
/// of its certificate, and some more.
const PATIENCE: Millis = Millis::from_secs(60 * 86_400);
const EXAMPLE: &str = "certificate: ${{ inputs.root }}";

pub(super) const ADD: Kind = Kind {
    name: super::super::ROOT_ADD,
    summary: "Has the mesh trust a new root beside those that it trusts; nothing is issued under it yet",
    scope: Scope::Mesh,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Admin,
    undo: Undo::Reversible,
    protection: "the change and the end of the step are one entry of the log",
    connection: Connections::None,
    needs: "nothing else; its undo retires the root again, if this step added it and no leaf is issued under it yet",
    params: &[NEW],
    together: &[],
    outputs: &[],
    default_timeout: Millis::from_secs(3_600),
    example: EXAMPLE,
};

pub(super) const ADOPT: Kind = Kind {
    name: super::super::ROOT_ADOPT,
    summary: "Waits until all members and all who have a certificate trust a root, and leaves are issued under it",
    scope: Scope::Mesh,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Admin,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "whoever has the root's key, for `mainstay mesh root issue`: `mainstay why` says when",
    params: &[NEW],
    together: &[],
    outputs: &[],
    default_timeout: PATIENCE,
    example: EXAMPLE,
};

pub(super) const LEAVE: Kind = Kind {
    name: super::super::ROOT_LEAVE,
    summary: "Waits until nobody needs a root that is older than this one",
    scope: Scope::Mesh,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Admin,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::None,
    needs: "",
    params: &[NEW],
    together: &[],
    outputs: &[],
    default_timeout: PATIENCE,
    example: EXAMPLE,
};

pub(super) const RETIRE: Kind = Kind {
    name: super::super::ROOT_RETIRE,
    summary: "Retires the roots that are older than this one; what is of them is refused from then on",
    scope: Scope::Mesh,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Admin,
    undo: Undo::Irreversible,
    protection: "no root is retired that a member, an identity or a join token depends on: it waits for them",
    connection: Connections::None,
    needs: "",
    params: &[NEW],
    together: &[],
    outputs: &[],
    default_timeout: PATIENCE,
    example: EXAMPLE,
};
