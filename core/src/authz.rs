//! Who may do what: one pure table of (role, method, subject), with a reason for every answer.

use std::fmt;

use crate::id::{AgentId, LeaseName, LeaseOwner};
use crate::identity::Identity;
use crate::state::State;
use crate::state::enrolment::OperatorRole;

/// Everything that can be asked of a coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Status, nodes, members, plans, runs, findings, leases, backups, why.
    Look,
    ReadAudit,
    /// All of the state, as the mesh's own snapshot.
    ReadSnapshot,
    ApplyPlan,
    StartRun,
    AbortRun,
    ApproveRun,
    ForgetNode,
    HoldLease,
    FreeClaim,
    LinkAgent,
    ReportAttempt,
    RenewCertificate,
    /// Operators, join tokens, who was let in.
    ReadAccess,
    CreateJoinToken,
    RevokeJoinToken,
    /// Give, change and take away an operator's role.
    ChangeOperator,
    /// Add and retire roots, grant members their issuers.
    ChangeRoots,
    Revoke,
    JoinMember,
    /// Having another member sign a certificate.
    Sign,
    RemoveMember,
    TransferLeadership,
    Raft,
    /// A file of an attempt, by the agent that is at it.
    PutArtifact,
    /// A file that a step made, or what it printed.
    ReadArtifact,
    /// What the agent stored to take its own step back.
    ReadUndoData,
    ForgetArtifact,
    /// Plans and runs of the objects in the caller's own cluster.
    MirrorObjects,
    /// Keep retention from removing a backup, or let it again.
    HoldBackup,
    /// The mesh's own snapshot, for an attempt that backs it up; [`State::may_read_mesh`] says whether that is one.
    BackUpMesh,
    /// Have the backups of a target count no more, because whoever asks destroys their key.
    EraseBackups,
}

impl Method {
    pub const ALL: [Method; 32] = [
        Method::Look,
        Method::ReadAudit,
        Method::ReadSnapshot,
        Method::ApplyPlan,
        Method::StartRun,
        Method::AbortRun,
        Method::ApproveRun,
        Method::ForgetNode,
        Method::HoldLease,
        Method::FreeClaim,
        Method::LinkAgent,
        Method::ReportAttempt,
        Method::RenewCertificate,
        Method::ReadAccess,
        Method::CreateJoinToken,
        Method::RevokeJoinToken,
        Method::ChangeOperator,
        Method::ChangeRoots,
        Method::Revoke,
        Method::JoinMember,
        Method::Sign,
        Method::RemoveMember,
        Method::TransferLeadership,
        Method::Raft,
        Method::PutArtifact,
        Method::ReadArtifact,
        Method::ReadUndoData,
        Method::ForgetArtifact,
        Method::MirrorObjects,
        Method::HoldBackup,
        Method::BackUpMesh,
        Method::EraseBackups,
    ];
}

/// What a call is about, where that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    None,
    Lease(&'a LeaseName),
    Agent(&'a AgentId),
}

/// The caller, with what the state knows of it.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    pub identity: &'a Identity,
    /// Of an operator; nothing for one that has been removed.
    pub role: Option<OperatorRole>,
    pub revoked: bool,
    /// Its certificate has ended, not longer ago than renewal allows.
    pub expired: bool,
}

/// That a call may go on, and by what right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    pub by: &'static str,
}

/// That it may not, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Denial {
    pub reason: String,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl<'a> Caller<'a> {
    /// The caller as the state knows it.
    #[must_use]
    pub fn of(identity: &'a Identity, expired: bool, state: &State) -> Caller<'a> {
        let role = match identity {
            Identity::Operator(name) => state.operators.get(name).copied(),
            _ => None,
        };
        Caller { identity, role, revoked: state.revoked.contains_key(identity), expired }
    }
}

/// What is asked of every caller, whoever it is and whatever it wants: that it still counts.
pub fn counts(caller: &Caller<'_>, method: Method) -> Result<(), Denial> {
    if caller.revoked {
        return Err(Denial { reason: format!("{} is revoked: an admin can enrol it again under another name", caller.identity) });
    }
    if caller.expired && method != Method::RenewCertificate {
        return Err(Denial { reason: format!("the certificate of {} has expired: only its renewal is possible", caller.identity) });
    }
    Ok(())
}

/// The table.
pub fn authorize(caller: &Caller<'_>, method: Method, subject: Subject<'_>) -> Result<Permit, Denial> {
    let deny = |reason: String| Err(Denial { reason });
    counts(caller, method)?;
    if method == Method::RenewCertificate {
        return Ok(Permit { by: "its own identity" });
    }
    match caller.identity {
        Identity::Operator(name) => match caller.role {
            None => deny(format!("operator {name} has no role in this mesh: an admin can give one")),
            Some(role) => operator(role, method, subject).map_err(|reason| Denial { reason: format!("operator {name} is {role}: {reason}") }),
        },
        Identity::Coordinator(_) => match method {
            Method::Raft | Method::JoinMember | Method::Sign | Method::Look => Ok(Permit { by: "being a member" }),
            _ => deny(format!("a coordinator does not call {method:?}")),
        },
        Identity::Node(own) => node(own, method, subject),
        Identity::Client(name) => match (method, subject) {
            (Method::HoldLease, Subject::Lease(lease)) if lease.owner() == LeaseOwner::Client(name.as_str()) => {
                Ok(Permit { by: "its own lease names" })
            }
            (Method::HoldLease, Subject::Lease(lease)) => deny(format!("client {name} holds leases named client/{name}/…, not {lease}")),
            _ => deny(format!("client {name} may hold leases and nothing else")),
        },
        Identity::Run(_) => deny("a run calls nobody".to_owned()),
        Identity::ClusterAgent { cluster, id } => replica(&AgentId::replica(cluster.clone(), id.clone()), method, subject),
        Identity::Hands { cluster, node } => hands(&AgentId::hands(cluster.clone(), node.clone()), method, subject),
        Identity::Worker { .. } => deny(format!("a {} has no work in this version", caller.identity.role())),
    }
}

fn operator(role: OperatorRole, method: Method, subject: Subject<'_>) -> Result<Permit, String> {
    let needs = match method {
        Method::Look | Method::ReadArtifact => OperatorRole::Viewer,
        Method::ReadAudit
        | Method::ReadAccess
        | Method::ApplyPlan
        | Method::StartRun
        | Method::AbortRun
        | Method::ApproveRun
        | Method::HoldLease
        | Method::FreeClaim
        | Method::ForgetArtifact
        | Method::HoldBackup => OperatorRole::Operator,
        Method::ReadSnapshot
        | Method::ForgetNode
        | Method::CreateJoinToken
        | Method::RevokeJoinToken
        | Method::ChangeOperator
        | Method::ChangeRoots
        | Method::Revoke
        | Method::RemoveMember
        | Method::TransferLeadership
        | Method::EraseBackups => OperatorRole::Admin,
        Method::LinkAgent | Method::ReportAttempt | Method::PutArtifact | Method::BackUpMesh => {
            return Err("only an agent does that, as itself".into());
        }
        Method::MirrorObjects => return Err("only the agent that acts for a cluster speaks for its objects".into()),
        Method::ReadUndoData => return Err("undo data may hold secrets of the node: only the agent that made it reads it".into()),
        Method::JoinMember | Method::Sign | Method::Raft => return Err("only a coordinator does that".into()),
        Method::RenewCertificate => OperatorRole::Viewer,
    };
    if role < needs {
        return Err(format!("this needs {needs}"));
    }
    if let (Method::HoldLease, Subject::Lease(name)) = (method, subject) {
        match name.owner() {
            LeaseOwner::Operators => {}
            LeaseOwner::Mesh(part) => return Err(format!("leases named {part}/… are the mesh's own")),
            LeaseOwner::Client(owner) => return Err(format!("leases named client/{owner}/… are that program's own")),
        }
    }
    Ok(Permit { by: "the operator's role" })
}

fn node(own: &AgentId, method: Method, subject: Subject<'_>) -> Result<Permit, Denial> {
    let deny = |reason: String| Err(Denial { reason });
    match (method, subject) {
        (Method::LinkAgent | Method::ReportAttempt, Subject::Agent(agent)) if agent == own => Ok(Permit { by: "its own node" }),
        (Method::LinkAgent | Method::ReportAttempt, _) => deny(format!("the agent of {own} reports as itself only")),
        (Method::PutArtifact | Method::ReadUndoData, Subject::Agent(agent)) if agent == own => Ok(Permit { by: "its own step" }),
        (Method::BackUpMesh, Subject::Agent(agent)) if agent == own => Ok(Permit { by: "a backup of the mesh that it makes" }),
        (Method::BackUpMesh, _) => deny(format!("the agent of {own} backs up the mesh in steps of its own only")),
        (Method::PutArtifact, _) => deny(format!("the agent of {own} stores files of its own steps only")),
        (Method::ReadUndoData, Subject::Agent(agent)) => deny(format!(
            "the undo data was made by the agent of {agent}, which alone can read it: bring that agent back, or take the step back by hand"
        )),
        (Method::HoldLease, Subject::Lease(name)) if name.owner() == LeaseOwner::Operators => Ok(Permit { by: "a step that holds a lease" }),
        (Method::HoldLease, Subject::Lease(name)) if is_backup_of(own, name) => Ok(Permit { by: "a backup that its cluster makes" }),
        (Method::HoldLease, Subject::Lease(name)) => deny(format!("a node agent does not hold {name}")),
        _ => deny(format!("a node agent does not call {method:?}")),
    }
}

/// Whether it is the lease of a backup that an agent may make: one of its own cluster.
fn is_backup_of(own: &AgentId, name: &LeaseName) -> bool {
    name.as_str().starts_with(&LeaseName::backups(&own.cluster))
}

/// The hands of a node: they are linked, carry out steps, and hold nothing.
fn hands(own: &AgentId, method: Method, subject: Subject<'_>) -> Result<Permit, Denial> {
    match (method, subject) {
        (Method::LinkAgent | Method::ReportAttempt, Subject::Agent(agent)) if agent == own => Ok(Permit { by: "its own node" }),
        (Method::LinkAgent | Method::ReportAttempt, _) => Err(Denial { reason: format!("agent {own} reports as itself only") }),
        (Method::PutArtifact | Method::ReadUndoData, Subject::Agent(agent)) if agent == own => Ok(Permit { by: "its own step" }),
        (Method::PutArtifact | Method::ReadUndoData, _) => Err(Denial { reason: format!("agent {own} has to do with files of its own steps only") }),
        _ => Err(Denial { reason: format!("the hands of a node do not call {method:?}") }),
    }
}

/// A replica of those that speak for a cluster: what a node agent may, and the lease whose holder acts.
fn replica(own: &AgentId, method: Method, subject: Subject<'_>) -> Result<Permit, Denial> {
    match (method, subject) {
        (Method::HoldLease, Subject::Lease(name)) if *name == LeaseName::acting(&own.cluster) => Ok(Permit { by: "acting for its cluster" }),
        (Method::HoldLease, Subject::Lease(name)) if is_backup_of(own, name) => Ok(Permit { by: "a backup that its cluster makes" }),
        (Method::LinkAgent | Method::ReportAttempt, Subject::Agent(agent)) if agent == own => Ok(Permit { by: "its own cluster" }),
        (Method::BackUpMesh, Subject::Agent(agent)) if agent == own => Ok(Permit { by: "a backup of the mesh that it makes" }),
        (Method::BackUpMesh, _) => Err(Denial { reason: format!("agent {own} backs up the mesh in steps of its own only") }),
        // Which cluster that is its certificate says, and which replica acts the state.
        (Method::MirrorObjects, _) => Ok(Permit { by: "the objects of its own cluster" }),
        (Method::LinkAgent | Method::ReportAttempt, _) => Err(Denial { reason: format!("agent {own} reports as itself only") }),
        (Method::PutArtifact | Method::ReadUndoData, Subject::Agent(agent)) if agent == own => Ok(Permit { by: "its own step" }),
        (Method::PutArtifact | Method::ReadUndoData, _) => Err(Denial { reason: format!("agent {own} has to do with files of its own steps only") }),
        _ => Err(Denial { reason: format!("a cluster agent does not call {method:?}") }),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// Every cell, as text: a change of rights shows in review.
    #[test]
    fn every_cell_of_the_table() {
        let own: AgentId = "prod/n1".parse().unwrap();
        let other: AgentId = "prod/n2".parse().unwrap();
        let leases = ["deploy/shop", "node/prod/n1", "client/ci/a", "client/other/a", "agent/prod", "agent/test", "backup/prod/db", "backup/test/db"];
        let leases: Vec<LeaseName> = leases.map(|name| name.parse().unwrap()).to_vec();
        let callers: Vec<(&str, Identity, Option<OperatorRole>)> = vec![
            ("viewer", "operator/v".parse().unwrap(), Some(OperatorRole::Viewer)),
            ("operator", "operator/o".parse().unwrap(), Some(OperatorRole::Operator)),
            ("admin", "operator/a".parse().unwrap(), Some(OperatorRole::Admin)),
            ("no role", "operator/x".parse().unwrap(), None),
            ("coordinator", "coordinator/00000000000000ff".parse().unwrap(), None),
            ("node agent", "cluster/prod/node/n1".parse().unwrap(), None),
            ("hands", "cluster/prod/node/n1/hands".parse().unwrap(), None),
            ("cluster agent", "cluster/prod/agent/r1".parse().unwrap(), None),
            ("worker", "cluster/prod/worker/1.1".parse().unwrap(), None),
            ("client", "client/ci".parse().unwrap(), None),
        ];
        let mut table = String::new();
        for method in Method::ALL {
            let subjects: Vec<Subject<'_>> = match method {
                Method::HoldLease => leases.iter().map(Subject::Lease).collect(),
                Method::LinkAgent | Method::ReportAttempt | Method::PutArtifact | Method::ReadUndoData | Method::BackUpMesh => {
                    vec![Subject::Agent(&own), Subject::Agent(&other)]
                }
                _ => vec![Subject::None],
            };
            for subject in subjects {
                for (name, identity, role) in &callers {
                    let caller = Caller { identity, role: *role, revoked: false, expired: false };
                    let about = match subject {
                        Subject::None => String::new(),
                        Subject::Lease(lease) => format!(" {lease}"),
                        Subject::Agent(agent) => format!(" {agent}"),
                    };
                    let answer = match authorize(&caller, method, subject) {
                        Ok(permit) => format!("allowed by {}", permit.by),
                        Err(denial) => format!("denied: {denial}"),
                    };
                    writeln!(table, "{method:?}{about} · {name} · {answer}").unwrap();
                    // Whoever is revoked may do nothing, and who has expired may only renew.
                    assert!(authorize(&Caller { revoked: true, ..caller }, method, subject).is_err());
                    assert_eq!(authorize(&Caller { expired: true, ..caller }, method, subject).is_ok(), method == Method::RenewCertificate);
                }
            }
        }
        insta::assert_snapshot!(table);
    }
}
