//! The replicated state, and how an entry changes it.
//!
//! Every map is persistent (`imbl`), so that a reader, a decision and a snapshot each take a consistent
//! copy at no cost. `apply` is deterministic: it reads nothing but the state and the entry.

pub mod agent;
pub mod approval;
pub mod artifact;
pub mod attempt;
pub mod audit;
pub mod backup;
mod control;
pub mod enrolment;
pub mod finding;
pub mod guard;
mod hands;
pub mod lease;
pub mod member;
pub mod mesh_backup;
pub mod outcome;
pub mod plan;
pub(crate) mod privilege;
mod progress;
pub mod recovery;
pub mod resolution;
pub mod rotation;
pub mod run;
pub mod shortage;
mod start;
pub mod trust;
pub mod work;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};
use serde::{Deserialize, Serialize};

use crate::backup::BackupTarget;
use crate::bounds;
use crate::command::{Actor, Command, Entry, RequestKey};
use crate::id::{AgentId, AttemptId, LeaseName, MemberId, MeshName, PlanName, PrincipalName, RunId};
use crate::identity::Identity;
use crate::reply::{Refusal, Reply};
use crate::time::{MeshTime, WallTime};

use agent::Agent;
use artifact::Artifacts;
use attempt::Attempt;
use audit::Audit;
use backup::TargetBackups;
use enrolment::{JoinGrant, Known, OperatorRole, Revocation, TokenId};
use finding::Findings;
use guard::Guard;
use lease::Lease;
use member::Member;
use plan::PlanHistory;
use run::Run;
use trust::{IssuerGrant, RootId, TrustedRoot};

/// Behaviour that this program knows. Raised in the state only when all members report it.
pub const FEATURE_LEVEL: u32 = 5;

/// Longest idempotency key: it is kept with its reply.
const REQUEST_KEY_MAX: usize = 64;

/// Everything that must not be lost.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub mesh: Option<MeshName>,
    /// Raised above everything seen whenever the mesh is rebuilt.
    pub incarnation: u64,
    pub feature_level: u32,
    /// Mesh time of the last entry.
    pub mesh_time: MeshTime,
    /// Wall time of the last entry; may go back.
    pub wall_time: WallTime,
    /// How many entries have been applied; the generation of what agents are told to do.
    pub generation: u64,
    /// Last serial number given out in this incarnation.
    pub serial: u64,
    /// Bytes that plans, reports and attributes weigh, near enough to bound them.
    pub weight: u64,
    pub members: OrdMap<MemberId, Member>,
    pub joins: OrdMap<TokenId, JoinGrant>,
    pub operators: OrdMap<PrincipalName, OperatorRole>,
    pub revoked: OrdMap<Identity, Revocation>,
    /// Whom the mesh has let in.
    pub identities: OrdMap<Identity, Known>,
    /// Whose certificates are taken: a chain has to lead to one of these. Empty as long as nobody has said.
    pub roots: OrdMap<RootId, TrustedRoot>,
    /// What was signed for members and not taken by them yet.
    pub issuers: OrdMap<MemberId, IssuerGrant>,
    pub agents: OrdMap<AgentId, Agent>,
    pub leases: OrdMap<LeaseName, Arc<Lease>>,
    /// Leases that are not among them are not given out yet. Left out where there is none, as members of before do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<Guard>,
    pub plans: OrdMap<PlanName, PlanHistory>,
    pub runs: OrdMap<RunId, Run>,
    pub attempts: OrdMap<AttemptId, Attempt>,
    /// The attempts that an agent may still be at.
    pub open_attempts: OrdMap<AgentId, OrdSet<AttemptId>>,
    pub findings: Findings,
    pub artifacts: Artifacts,
    /// The catalogue of backups. Left out where it is empty, as members of before leave it out.
    #[serde(skip_serializing_if = "OrdMap::is_empty")]
    pub backups: OrdMap<BackupTarget, Arc<TargetBackups>>,
    pub audit: Audit,
    replies: OrdMap<(Actor, RequestKey), KeptReply>,
    reply_order: Vector<(MeshTime, Actor, RequestKey)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KeptReply {
    at: MeshTime,
    reply: Reply,
}

/// When an entry was made, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct When {
    pub at: MeshTime,
    pub wall: WallTime,
}

impl State {
    /// Applies one entry. The same entry on the same state gives the same state and reply on every member.
    pub fn apply(&mut self, entry: &Entry) -> Reply {
        self.generation += 1;
        self.mesh_time = self.mesh_time.max(entry.at);
        self.wall_time = entry.wall;
        let when = When { at: self.mesh_time, wall: entry.wall };
        self.forget_old_replies();
        let kept_as = entry.key.as_ref().filter(|key| key.0.len() <= REQUEST_KEY_MAX).map(|key| (entry.by.clone(), key.clone()));
        if let Some(kept) = kept_as.as_ref().and_then(|key| self.replies.get(key)) {
            return kept.reply.clone();
        }
        let reply = self.carry_out(entry, when);
        if let Some((actor, key)) = kept_as {
            self.reply_order.push_back((when.at, actor.clone(), key.clone()));
            self.replies.insert((actor, key), KeptReply { at: when.at, reply: reply.clone() });
        }
        if entry.command.is_audited() && !matches!(reply, Reply::Stale(_)) {
            self.audit.record(when.wall, &entry.by, &entry.command, &reply);
        }
        reply
    }

    fn carry_out(&mut self, entry: &Entry, when: When) -> Reply {
        if entry.key.as_ref().is_some_and(|key| key.0.is_empty() || key.0.len() > REQUEST_KEY_MAX) {
            return Reply::Refused(Refusal::Invalid(format!("a request key has 1 to {REQUEST_KEY_MAX} bytes")));
        }
        if let Some(refusal) = self.too_early(&entry.command) {
            return Reply::Refused(refusal);
        }
        if let Some(refusal) = self.too_heavy(&entry.command) {
            return Reply::Refused(refusal);
        }
        match &entry.command {
            Command::FormMesh { mesh, incarnation } => self.form(mesh, *incarnation),
            Command::RaiseFeatureLevel { level } => self.raise_feature_level(*level),
            Command::RecordDigest { .. } => Reply::Done,
            Command::PutMember { member } => self.put_member(member),
            Command::RemoveMember { id } => self.remove_member(*id),
            Command::GrantJoin { grant } => self.grant_join(grant),
            Command::RevokeJoin { id } => self.revoke_join(id),
            Command::Enrol { id, identity } => self.enrol(id, identity, when),
            Command::EnrolVouched { identity, voucher } => self.enrol_vouched(identity, voucher, when),
            Command::Revoke { identity, reason } => self.revoke(identity, reason, when),
            Command::PutOperator { name, role } => self.put_operator(name, *role),
            Command::RemoveOperator { name } => self.remove_operator(name),
            Command::AddRoot { id, pem, ends } => self.add_root(&trust::NewRoot { id: *id, pem, ends: *ends }, None, when),
            Command::RetireRoot { id, cut_off } => self.retire_root(*id, *cut_off, when),
            Command::GrantIssuer { member, grant } => self.grant_issuer(*member, grant),
            Command::RecordCertificate { identity, shown } => self.record_certificate(identity, shown),
            Command::ConnectAgent { agent, hello } => self.connect_agent(agent, hello, when),
            Command::LoseAgent { agent, epoch } => self.lose_agent(agent, *epoch, when),
            Command::ForgetAgent { agent } => self.forget_agent(agent, when),
            Command::AcquireLease { name, spec, holder, wait } => self.acquire_lease(name, spec.as_ref(), holder, *wait, when),
            Command::ReleaseLease { name, holder, token } => self.release_lease(name, holder, *token, when),
            Command::ExpireLease { name, token } => self.expire_lease(name, *token, when),
            Command::ExpireWaiter { name, holder } => self.expire_waiter(name, holder, when),
            Command::FreeClaim { name, token, .. } => self.free_claim(name, *token, when),
            Command::ForgetLease { name } => self.forget_lease(name),
            Command::EndGuard => self.end_guard(when),
            Command::ApplyPlan { plan, bundled } => self.apply_plan(plan, *bundled, &entry.by, when),
            Command::RemovePlan { plan } => self.remove_plan(plan, &entry.by),
            Command::StartRun { plan, revision, inputs, connections, without_calendar, object } => {
                if let Some(refusal) = self.is_not_for(plan, &entry.by, false).or_else(|| self.lacks_role_to_start(plan, *revision, &entry.by)) {
                    return Reply::Refused(refusal);
                }
                let by = entry.by.to_string();
                let (without_calendar, object) = (without_calendar.as_ref(), object.as_ref());
                let start = start::Start { plan, revision: *revision, inputs, connections, without_calendar, object, by };
                self.start_run(&start, when)
            }
            Command::AbortRun { run, reason } => self.abort_run(run, reason, &entry.by, when),
            Command::PauseRun { run, reason } => self.pause_run(run, reason, &entry.by, when),
            Command::ResumeRun { run } => self.resume_run(run, when),
            Command::UndoRun { run, reason } => self.undo_run(run, reason, &entry.by, when),
            Command::RetryRun { run, step, unknown } => self.retry_run(run, step.as_ref(), *unknown, &entry.by, when),
            Command::DecideApproval { run, decided } => self.decide_approval(run, decided, &entry.by, when),
            Command::SuspendPlan { plan, reason } => self.suspend_plan(plan, reason, &entry.by, when),
            Command::ResumePlan { plan } => self.resume_plan(plan, when),
            Command::FireSchedule { plan, revision, schedule, instant, missed, firing, connections } => {
                let due =
                    plan::Fire { plan, revision: *revision, schedule: *schedule, instant: *instant, missed: *missed, firing: *firing, connections };
                self.fire_schedule(&due, when)
            }
            Command::ResolveStep { run, step, direction, resolved } => self.resolve_step(run, step, *direction, resolved),
            Command::ChangeRoots { run, step, target, direction, change } => {
                self.change_roots(&rotation::RootStep { run, step, target, direction: *direction }, change, when)
            }
            Command::SettleStep { run, step, target, state } => self.settle_step(run, step, target, state, when),
            Command::OfferAttempt { run, step, target, direction, number, agent, ledger, epoch } => {
                self.offer_attempt(attempt::Offer { run, step, target, direction: *direction, number: *number, agent, ledger, epoch: *epoch }, when)
            }
            Command::BeginAttempt { attempt, ledger } => self.begin_attempt(*attempt, ledger, when),
            Command::EndAttempt { attempt, ledger, outcome } => self.end_attempt(*attempt, ledger, outcome, when),
            Command::WithdrawAttempt { attempt, reason } => self.withdraw_attempt(*attempt, reason, when),
            Command::CancelAttempt { attempt, reason } => self.cancel_attempt(*attempt, *reason, when),
            Command::LoseAttempt { attempt, reason } => self.lose_attempt(*attempt, reason, when),
            Command::SkipStep { run, step, target, direction, state } => self.skip_step(run, step, target, *direction, state, when),
            Command::BeginUndo { run } => self.begin_undo(run, when),
            Command::EndRun { run, end } => self.end_run(run, end, when),
            Command::RecordArtifact { attempt, ledger, file, stored_on, room } => {
                self.record_artifact(*attempt, ledger, file, stored_on, *room, when)
            }
            Command::ForgetArtifact { run, attempt, name } => self.forget_artifact(run, *attempt, name),
            Command::NoteArtifactCopies { member, present, absent } => self.note_artifact_copies(*member, present, absent),
            Command::NoteBackups { attempt, ledger, target, note } => self.note_backups(*attempt, ledger, target, note, when),
            Command::HoldBackup { backup, reason } => self.hold_backup(backup, reason.as_deref(), entry.by.to_string(), when),
            Command::ReadMesh { attempt, ledger, token } => self.may_read_mesh(*attempt, ledger, *token),
            Command::EraseBackups { target } => self.erase_backups(target, &entry.by.to_string(), when),
        }
    }

    fn form(&mut self, mesh: &MeshName, incarnation: u64) -> Reply {
        match &self.mesh {
            Some(present) if present == mesh && self.incarnation == incarnation => Reply::Done,
            Some(present) => Reply::Refused(Refusal::Conflict(format!("this mesh is {present} already, incarnation {}", self.incarnation))),
            None => {
                self.mesh = Some(mesh.clone());
                self.incarnation = incarnation;
                self.feature_level = 1;
                Reply::Done
            }
        }
    }

    fn raise_feature_level(&mut self, level: u32) -> Reply {
        if self.members.values().any(|member| member.feature_level < level) {
            return Reply::Stale(format!("a member does not support feature level {level}"));
        }
        self.feature_level = self.feature_level.max(level);
        Reply::Done
    }

    fn forget_old_replies(&mut self) {
        while let Some((at, actor, key)) = self.reply_order.front() {
            if self.mesh_time.since(*at) < bounds::REPLIES_FOR && self.reply_order.len() <= bounds::REPLIES {
                break;
            }
            self.replies.remove(&(actor.clone(), key.clone()));
            self.reply_order.pop_front();
        }
    }

    /// Why a command must not get into the log of this mesh yet: a member of an older version would stop at it.
    #[must_use]
    pub fn too_early(&self, command: &Command) -> Option<Refusal> {
        let (has, needs) = (self.feature_level.max(1), self.level_for(command));
        (needs > has).then(|| {
            Refusal::Unsupported(format!(
                "the mesh is at feature level {has}: this needs level {needs}, which it has when all members run a version that knows it"
            ))
        })
    }

    /// A command that adds weight to a state that is full is refused; what makes room never is.
    fn too_heavy(&self, command: &Command) -> Option<Refusal> {
        let adds = matches!(
            command,
            Command::ApplyPlan { .. }
                | Command::StartRun { .. }
                | Command::AcquireLease { .. }
                | Command::GrantJoin { .. }
                | Command::RecordArtifact { .. }
                | Command::HoldBackup { reason: Some(_), .. }
        );
        if adds { self.full() } else { None }
    }

    /// What is answered to whatever adds weight while the state is full.
    fn full(&self) -> Option<Refusal> {
        let is_full = self.weight >= bounds::STATE_BYTES as u64;
        is_full.then(|| Refusal::Bound { what: "bytes of state".into(), limit: bounds::STATE_BYTES as u64 })
    }
}
