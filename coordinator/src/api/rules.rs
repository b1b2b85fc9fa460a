//! Which right each call needs: one for every call there is. A call that is not in here is not answered, and
//! a test compares this list with the services' descriptors and with what the services do.

use mainstay_core::authz::Method;

/// Calls of the main listener, `SERVICE/CALL`, and their rights.
pub const RULES: &[(&str, Method)] = &[
    ("mainstay.v1.Raft/Call", Method::Raft),
    ("mainstay.v1.Agents/Link", Method::LinkAgent),
    ("mainstay.v1.Agents/Begin", Method::ReportAttempt),
    ("mainstay.v1.Agents/End", Method::ReportAttempt),
    ("mainstay.v1.Leases/Acquire", Method::HoldLease),
    ("mainstay.v1.Leases/Renew", Method::HoldLease),
    ("mainstay.v1.Leases/RenewMany", Method::HoldLease),
    ("mainstay.v1.Leases/Release", Method::HoldLease),
    ("mainstay.v1.Leases/Get", Method::Look),
    ("mainstay.v1.Leases/List", Method::Look),
    ("mainstay.v1.Leases/Watch", Method::Look),
    ("mainstay.v1.Leases/FreeClaim", Method::FreeClaim),
    ("mainstay.v1.Mesh/GetStatus", Method::Look),
    ("mainstay.v1.Mesh/ListNodes", Method::Look),
    ("mainstay.v1.Mesh/GetNode", Method::Look),
    ("mainstay.v1.Mesh/ListConnections", Method::Look),
    ("mainstay.v1.Mesh/ForgetNode", Method::ForgetNode),
    ("mainstay.v1.Mesh/ListFindings", Method::Look),
    ("mainstay.v1.Mesh/ListAudit", Method::ReadAudit),
    ("mainstay.v1.Mesh/ReadSnapshot", Method::ReadSnapshot),
    ("mainstay.v1.Mesh/Check", Method::Look),
    ("mainstay.v1.Members/List", Method::Look),
    ("mainstay.v1.Members/Describe", Method::Look),
    ("mainstay.v1.Members/Join", Method::JoinMember),
    ("mainstay.v1.Members/Remove", Method::RemoveMember),
    ("mainstay.v1.Members/Transfer", Method::TransferLeadership),
    ("mainstay.v1.Plans/Apply", Method::ApplyPlan),
    ("mainstay.v1.Plans/List", Method::Look),
    ("mainstay.v1.Plans/Get", Method::Look),
    ("mainstay.v1.Plans/Preview", Method::Look),
    ("mainstay.v1.Plans/Suspend", Method::ApplyPlan),
    ("mainstay.v1.Plans/Resume", Method::ApplyPlan),
    ("mainstay.v1.Plans/Remove", Method::ApplyPlan),
    ("mainstay.v1.Runs/Start", Method::StartRun),
    ("mainstay.v1.Runs/List", Method::Look),
    ("mainstay.v1.Runs/Get", Method::Look),
    ("mainstay.v1.Runs/Watch", Method::Look),
    ("mainstay.v1.Runs/Abort", Method::AbortRun),
    ("mainstay.v1.Runs/Pause", Method::AbortRun),
    ("mainstay.v1.Runs/Resume", Method::AbortRun),
    ("mainstay.v1.Runs/Undo", Method::AbortRun),
    ("mainstay.v1.Runs/Retry", Method::StartRun),
    ("mainstay.v1.Runs/Approve", Method::ApproveRun),
    ("mainstay.v1.Runs/Why", Method::Look),
    ("mainstay.v1.Objects/Apply", Method::MirrorObjects),
    ("mainstay.v1.Objects/Remove", Method::MirrorObjects),
    ("mainstay.v1.Objects/Start", Method::MirrorObjects),
    ("mainstay.v1.Objects/Watch", Method::MirrorObjects),
    ("mainstay.v1.Artifacts/Put", Method::PutArtifact),
    ("mainstay.v1.Artifacts/Get", Method::ReadArtifact),
    ("mainstay.v1.Artifacts/GetUndo", Method::ReadUndoData),
    ("mainstay.v1.Artifacts/List", Method::Look),
    ("mainstay.v1.Artifacts/Forget", Method::ForgetArtifact),
    ("mainstay.v1.Backups/List", Method::Look),
    ("mainstay.v1.Backups/Hold", Method::HoldBackup),
    ("mainstay.v1.Backups/Erase", Method::EraseBackups),
    ("mainstay.v1.Backups/Recall", Method::ReportAttempt),
    ("mainstay.v1.Backups/Note", Method::ReportAttempt),
    ("mainstay.v1.Backups/ReadMesh", Method::BackUpMesh),
    ("mainstay.v1.Copies/Store", Method::Raft),
    ("mainstay.v1.Copies/Fetch", Method::Raft),
    ("mainstay.v1.Copies/Note", Method::Raft),
    ("mainstay.v1.Identities/Renew", Method::RenewCertificate),
    ("mainstay.v1.Identities/Sign", Method::Sign),
    ("mainstay.v1.Identities/CreateJoinToken", Method::CreateJoinToken),
    ("mainstay.v1.Identities/ListJoinTokens", Method::ReadAccess),
    ("mainstay.v1.Identities/RevokeJoinToken", Method::RevokeJoinToken),
    ("mainstay.v1.Identities/ListOperators", Method::ReadAccess),
    ("mainstay.v1.Identities/SetOperator", Method::ChangeOperator),
    ("mainstay.v1.Identities/RemoveOperator", Method::ChangeOperator),
    ("mainstay.v1.Identities/Revoke", Method::Revoke),
    ("mainstay.v1.Roots/List", Method::Look),
    ("mainstay.v1.Roots/Add", Method::ChangeRoots),
    ("mainstay.v1.Roots/GrantIssuers", Method::ChangeRoots),
    ("mainstay.v1.Roots/Retire", Method::ChangeRoots),
    ("mainstay.v1.Roots/Note", Method::Raft),
];

/// Services that tell nothing that is secret, to whoever is of the mesh.
const OPEN: [&str; 2] = ["grpc.health.v1.Health/", "grpc.reflection.v1.ServerReflection/"];

/// The right that a call needs, by its path.
#[must_use]
pub fn rule(path: &str) -> Option<Method> {
    let call = path.strip_prefix('/')?;
    let listed = RULES.iter().find(|(name, _)| *name == call).map(|(_, method)| *method);
    // Everybody of the mesh may renew its certificate, and look at these.
    listed.or_else(|| OPEN.iter().any(|service| call.starts_with(service)).then_some(Method::RenewCertificate))
}
