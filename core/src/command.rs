//! The one door into the replicated state.
//!
//! Time, randomness, parsed plans and verdicts come in with the command; [`crate::State::apply`] looks
//! nothing up. Each command carries what its sender saw (a token, an attempt, an epoch), so that one that
//! comes late is answered [`crate::Reply::Stale`] and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::artifact::{ArtifactFile, ArtifactName, FileDigest};
use crate::backup::{BackupId, BackupNote, BackupTarget};
use crate::id::{AgentId, AttemptId, LeaseName, LedgerId, MemberId, MeshName, PlanName, RunId, StepName, Target, Token};
use crate::identity::Identity;
use crate::plan::Plan;
use crate::state::agent::Hello;
use crate::state::approval::Decided;
use crate::state::backup::CATALOGUES;
use crate::state::enrolment::{JoinGrant, OperatorRole, TokenId};
use crate::state::guard::GUARDS;
use crate::state::lease::{Holder, LeaseSpec};
use crate::state::member::Member;
use crate::state::mesh_backup::MESH_BACKUPS;
use crate::state::privilege::{CLUSTERS, HANDS, ORIGINS, VOUCHED};
use crate::state::resolution::Resolution;
use crate::state::rotation::RootChange;
use crate::state::run::{Direction, Outcome, RunEnd, WorkState};
use crate::state::trust::{IssuerGrant, RootId, Shown};
use crate::time::{MeshTime, WallTime};
use crate::voucher::Voucher;

/// One entry of the log: a command, who sent it and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Mesh time by the leader that proposed it. `apply` never lets it go back.
    pub at: MeshTime,
    /// Wall time by the same leader, for people.
    pub wall: WallTime,
    pub by: Actor,
    /// With a key, a repetition within ten minutes has the first one's reply and changes nothing.
    pub key: Option<RequestKey>,
    pub command: Command,
}

/// Who a command is from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Actor {
    /// The leader's own decision.
    Mesh,
    /// A caller with a certificate.
    Identity(Identity),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Mesh => f.write_str("mesh"),
            Actor::Identity(identity) => identity.fmt(f),
        }
    }
}

/// A caller's idempotency key: at most 64 characters, unique to the caller.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestKey(pub String);

/// Every change there is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Command {
    /// The first command of a mesh: its name and incarnation.
    FormMesh {
        mesh: MeshName,
        incarnation: u64,
    },
    /// All members understand this level from here on.
    RaiseFeatureLevel {
        level: u32,
    },
    /// The leader's digest of the state as it was at `index`. Changes nothing; members compare.
    RecordDigest {
        index: u64,
        digest: [u8; 32],
    },

    /// A member says who and where it is.
    PutMember {
        member: Member,
    },
    RemoveMember {
        id: MemberId,
    },

    /// Makes a join token usable. Only a digest of its secret is stored.
    GrantJoin {
        grant: JoinGrant,
    },
    RevokeJoin {
        id: TokenId,
    },
    /// Uses up one use of a join token for an identity.
    Enrol {
        id: TokenId,
        identity: Identity,
    },
    /// Lets the agent of a node in for which a cluster agent vouches.
    EnrolVouched {
        identity: Identity,
        voucher: Voucher,
    },
    /// Certificates of this identity are refused from now on, whatever their validity says.
    Revoke {
        identity: Identity,
        reason: String,
    },
    PutOperator {
        name: crate::id::PrincipalName,
        role: OperatorRole,
    },
    RemoveOperator {
        name: crate::id::PrincipalName,
    },

    /// Certificates under this root are taken from now on. What is said of it was read from the certificate.
    AddRoot {
        id: RootId,
        pem: String,
        ends: WallTime,
    },
    /// Certificates under this root are no longer taken. `cut_off`: also where identities depend on it.
    RetireRoot {
        id: RootId,
        cut_off: bool,
    },
    /// What the holder of a root's key has signed for a member that asked for it.
    GrantIssuer {
        member: MemberId,
        grant: IssuerGrant,
    },
    /// An identity has shown another certificate, or says that it trusts other roots.
    RecordCertificate {
        identity: Identity,
        shown: Shown,
    },

    /// An agent's link came up. `epoch` is assigned by `apply` and answered.
    ConnectAgent {
        agent: AgentId,
        hello: Hello,
    },
    /// The link with this epoch is gone.
    LoseAgent {
        agent: AgentId,
        epoch: u64,
    },
    /// A node that will not come back: its agent leaves the registry.
    ForgetAgent {
        agent: AgentId,
    },

    AcquireLease {
        name: LeaseName,
        spec: Option<LeaseSpec>,
        holder: Holder,
        wait: bool,
    },
    /// `token` names the grant; without one, whatever this holder holds. `leave` also gives up its place in the queue.
    ReleaseLease {
        name: LeaseName,
        holder: Holder,
        token: Option<Token>,
    },
    /// No renewal has been seen for a TTL.
    ExpireLease {
        name: LeaseName,
        token: Token,
    },
    /// A waiter has not been heard of for a TTL.
    ExpireWaiter {
        name: LeaseName,
        holder: Holder,
    },
    /// An operator's word that the holder of a claim is gone.
    FreeClaim {
        name: LeaseName,
        token: Token,
        proof: String,
    },
    /// A definition that nobody has used for long.
    ForgetLease {
        name: LeaseName,
    },
    /// Nobody can believe any more in a lease from before the mesh was recovered.
    EndGuard,

    /// A checked plan. The same source again is no new revision.
    ApplyPlan {
        plan: Box<Plan>,
        bundled: bool,
    },
    RemovePlan {
        plan: PlanName,
    },

    StartRun {
        plan: PlanName,
        revision: Option<u32>,
        inputs: BTreeMap<String, serde_json::Value>,
        /// The connections of steps whose `connection` is an expression, filled in by the sender.
        #[serde(default)]
        connections: BTreeMap<StepName, String>,
        /// Why windows and freezes do not count for this run, where somebody says that they do not.
        #[serde(default)]
        without_calendar: Option<String>,
        /// UID of the object in a cluster that asks for it: one that asks again is answered with its run. Left out where
        /// none does, as members of before leave it out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        object: Option<String>,
    },
    AbortRun {
        run: RunId,
        reason: String,
    },
    /// Nothing further is begun until it is resumed; what is under way goes on.
    PauseRun {
        run: RunId,
        reason: String,
    },
    ResumeRun {
        run: RunId,
    },
    /// Takes back what an ended run did; of an open one, as an abort.
    UndoRun {
        run: RunId,
        reason: String,
    },
    /// What did not come off in an ended run is done again; `step` for one step only. What may have begun is
    /// among it only when `unknown` says so: it is the operator's word that doing it again is right.
    RetryRun {
        run: RunId,
        step: Option<StepName>,
        unknown: bool,
    },
    /// A person agrees, or does not, to what they saw.
    DecideApproval {
        run: RunId,
        decided: Decided,
    },
    /// The plan's schedules start nothing until it is resumed.
    SuspendPlan {
        plan: PlanName,
        reason: String,
    },
    ResumePlan {
        plan: PlanName,
    },
    /// A schedule's instant has come: a run starts, or why not is counted.
    FireSchedule {
        plan: PlanName,
        revision: u32,
        /// Its place among the plan's schedules.
        schedule: u32,
        instant: WallTime,
        /// Earlier instants that nobody acted on.
        missed: u32,
        firing: Firing,
        connections: BTreeMap<StepName, String>,
    },
    /// What a step's expressions came to; `None` stands for all targets.
    ResolveStep {
        run: RunId,
        step: StepName,
        direction: Direction,
        resolved: Vec<(Option<Target>, Resolution)>,
    },
    /// Ends a work item that no agent had: omitted, failed before anything was done, or done by the mesh itself.
    SettleStep {
        run: RunId,
        step: StepName,
        target: Target,
        state: WorkState,
    },
    /// Carries out a step that changes which roots are trusted, and ends it with that.
    ChangeRoots {
        run: RunId,
        step: StepName,
        target: Target,
        direction: Direction,
        change: RootChange,
    },
    /// Offers a step to an agent. `number` is the attempt's number as the sender expects it.
    OfferAttempt {
        run: RunId,
        step: StepName,
        target: Target,
        direction: Direction,
        number: u32,
        agent: AgentId,
        ledger: LedgerId,
        epoch: u64,
    },
    /// The agent is about to cause the first side effect.
    BeginAttempt {
        attempt: AttemptId,
        ledger: LedgerId,
    },
    EndAttempt {
        attempt: AttemptId,
        ledger: LedgerId,
        outcome: Outcome,
    },
    /// Offered, never begun, and the agent is gone: the offer is taken back.
    WithdrawAttempt {
        attempt: AttemptId,
        reason: String,
    },
    /// The agent is to stop what it does.
    CancelAttempt {
        attempt: AttemptId,
        reason: CancelReason,
    },
    /// May have had effects, and nobody can say which.
    LoseAttempt {
        attempt: AttemptId,
        reason: String,
    },
    /// Will not be done in this run: skipped, or unreachable.
    SkipStep {
        run: RunId,
        step: StepName,
        target: Target,
        direction: Direction,
        state: WorkState,
    },
    /// Nothing goes forward any more; what was done is taken back.
    BeginUndo {
        run: RunId,
    },
    EndRun {
        run: RunId,
        end: RunEnd,
    },

    /// A file that an attempt made is on the disks of these members, a majority of those that vote. `room` is
    /// the most that all files together may have, as the leader was told.
    RecordArtifact {
        attempt: AttemptId,
        ledger: LedgerId,
        file: ArtifactFile,
        stored_on: BTreeSet<MemberId>,
        room: u64,
    },
    /// Somebody has no use for it any more.
    ForgetArtifact {
        run: RunId,
        attempt: AttemptId,
        name: ArtifactName,
    },
    /// A member has got copies, or has found that it does not have them.
    NoteArtifactCopies {
        member: MemberId,
        present: Vec<FileDigest>,
        absent: Vec<FileDigest>,
    },

    /// What the attempt of a step has done to the backups of a target, or seen of them.
    NoteBackups {
        attempt: AttemptId,
        ledger: LedgerId,
        target: BackupTarget,
        note: BackupNote,
    },
    /// Retention does not remove the backup, for this reason; without one it may again.
    HoldBackup {
        backup: BackupId,
        reason: Option<String>,
    },
    /// An attempt that backs up the mesh itself is given its snapshot. The state stays as it is.
    ReadMesh {
        attempt: AttemptId,
        ledger: LedgerId,
        token: Token,
    },
    /// The key is destroyed that opens the backups of a target: those that are known count no more.
    EraseBackups {
        target: BackupTarget,
    },
}

/// What a schedule's instant leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firing {
    Start,
    /// It is too late for it.
    Missed,
    /// An earlier run has not ended.
    Held,
}

/// Why an attempt is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelReason {
    TimedOut,
    Aborted,
}

impl Command {
    /// Starts the current revision of a plan that needs no inputs.
    #[must_use]
    pub fn start(plan: PlanName) -> Command {
        Command::StartRun { plan, revision: None, inputs: BTreeMap::new(), connections: BTreeMap::new(), without_calendar: None, object: None }
    }

    /// The least feature level of a mesh that can have it in its log.
    #[must_use]
    pub fn level(&self) -> u32 {
        let of_name = if self.plan().is_some_and(|plan| plan.origin().is_some()) { ORIGINS } else { 1 };
        of_name.max(match self {
            Command::PauseRun { .. }
            | Command::ResumeRun { .. }
            | Command::UndoRun { .. }
            | Command::RetryRun { .. }
            | Command::DecideApproval { .. }
            | Command::SuspendPlan { .. }
            | Command::ResumePlan { .. }
            | Command::FireSchedule { .. }
            | Command::ResolveStep { .. }
            | Command::SettleStep { .. }
            | Command::ChangeRoots { .. }
            | Command::RecordArtifact { .. }
            | Command::ForgetArtifact { .. }
            | Command::NoteArtifactCopies { .. }
            | Command::AddRoot { .. }
            | Command::RetireRoot { .. }
            | Command::GrantIssuer { .. }
            | Command::RecordCertificate { .. } => 2,
            Command::ConnectAgent { agent, .. } if agent.is_replica() => CLUSTERS,
            Command::ConnectAgent { agent, .. } if agent.is_hands() => HANDS,
            Command::StartRun { object: Some(_), .. } => ORIGINS,
            Command::EndGuard => GUARDS,
            Command::EnrolVouched { .. } => VOUCHED,
            Command::NoteBackups { .. } | Command::HoldBackup { .. } | Command::EraseBackups { .. } => CATALOGUES,
            Command::ReadMesh { .. } => MESH_BACKUPS,
            _ => 1,
        })
    }

    /// The plan that it is about, by its name or by that of a run.
    fn plan(&self) -> Option<&PlanName> {
        match self {
            Command::ApplyPlan { plan, .. } => Some(&plan.name),
            Command::RemovePlan { plan }
            | Command::StartRun { plan, .. }
            | Command::SuspendPlan { plan, .. }
            | Command::ResumePlan { plan }
            | Command::FireSchedule { plan, .. } => Some(plan),
            Command::AbortRun { run, .. }
            | Command::PauseRun { run, .. }
            | Command::ResumeRun { run }
            | Command::UndoRun { run, .. }
            | Command::RetryRun { run, .. }
            | Command::DecideApproval { run, .. }
            | Command::ResolveStep { run, .. }
            | Command::SettleStep { run, .. }
            | Command::ChangeRoots { run, .. }
            | Command::OfferAttempt { run, .. }
            | Command::SkipStep { run, .. }
            | Command::BeginUndo { run }
            | Command::EndRun { run, .. }
            | Command::ForgetArtifact { run, .. } => Some(&run.plan),
            Command::AcquireLease { holder, .. } | Command::ReleaseLease { holder, .. } | Command::ExpireWaiter { holder, .. } => {
                match &holder.identity {
                    Identity::Run(run) => Some(&run.plan),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whether the change belongs in the audit log: what people, programs and machines asked for, and what
    /// the mesh did to runs and claims. Leaves out what comes with every attempt and every lease renewal.
    #[must_use]
    pub fn is_audited(&self) -> bool {
        !matches!(
            self,
            Command::RecordDigest { .. }
                | Command::ConnectAgent { .. }
                | Command::LoseAgent { .. }
                | Command::AcquireLease { .. }
                | Command::ReleaseLease { .. }
                | Command::ExpireLease { .. }
                | Command::ExpireWaiter { .. }
                | Command::ForgetLease { .. }
                | Command::OfferAttempt { .. }
                | Command::EndAttempt { .. }
                | Command::BeginAttempt { .. }
                | Command::WithdrawAttempt { .. }
                | Command::SkipStep { .. }
                | Command::ResolveStep { .. }
                | Command::SettleStep { .. }
                | Command::RecordCertificate { .. }
                | Command::RecordArtifact { .. }
                | Command::NoteArtifactCopies { .. }
                | Command::NoteBackups { .. }
        )
    }
}

/// One line without secrets, for the audit log and for traces.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::FormMesh { mesh, incarnation } => write!(f, "form mesh {mesh}, incarnation {incarnation}"),
            Command::RaiseFeatureLevel { level } => write!(f, "raise feature level to {level}"),
            Command::RecordDigest { index, .. } => write!(f, "record digest of state at {index}"),
            Command::PutMember { member } => write!(f, "member {} is {} at {}", member.id, member.name, member.address),
            Command::RemoveMember { id } => write!(f, "remove member {id}"),
            Command::GrantJoin { grant } => write!(f, "grant join {} for {}, {} uses", grant.id, grant.scope, grant.uses),
            Command::RevokeJoin { id } => write!(f, "revoke join {id}"),
            Command::Enrol { id, identity } => write!(f, "enrol {identity} by join token {id}"),
            Command::EnrolVouched { identity, voucher } => write!(f, "enrol {identity}, vouched for by {voucher}"),
            Command::Revoke { identity, reason } => write!(f, "revoke {identity}: {reason}"),
            Command::PutOperator { name, role } => write!(f, "operator {name} is {role}"),
            Command::RemoveOperator { name } => write!(f, "remove operator {name}"),
            Command::AddRoot { id, .. } => write!(f, "trust root {id}"),
            Command::RetireRoot { id, cut_off } => write!(f, "retire root {id}{}", if *cut_off { ", cutting off who depends on it" } else { "" }),
            Command::GrantIssuer { member, grant } => write!(f, "grant member {member} an issuer under root {}", grant.root),
            Command::RecordCertificate { identity, shown } => write!(f, "{identity} has a certificate of root {}", shown.root),
            Command::ConnectAgent { agent, .. } => write!(f, "agent {agent} connected"),
            Command::LoseAgent { agent, epoch } => write!(f, "agent {agent} lost, epoch {epoch}"),
            Command::ForgetAgent { agent } => write!(f, "forget agent {agent}"),
            Command::AcquireLease { name, holder, .. } => write!(f, "acquire lease {name} for {holder}"),
            Command::ReleaseLease { name, holder, .. } => write!(f, "release lease {name} of {holder}"),
            Command::ExpireLease { name, token } => write!(f, "expire lease {name} token {token}"),
            Command::ExpireWaiter { name, holder } => write!(f, "expire waiter {holder} of lease {name}"),
            Command::FreeClaim { name, token, proof } => write!(f, "free claim {name} token {token}: {proof}"),
            Command::ForgetLease { name } => write!(f, "forget lease {name}"),
            Command::EndGuard => f.write_str("give out leases that were not known when the mesh was recovered"),
            Command::ApplyPlan { plan, .. } => write!(f, "apply plan {} ({})", plan.name, &plan.digest[..12.min(plan.digest.len())]),
            Command::RemovePlan { plan } => write!(f, "remove plan {plan}"),
            Command::StartRun { plan, without_calendar: Some(reason), .. } => {
                write!(f, "start run of {plan} in spite of windows and freezes: {reason}")
            }
            Command::StartRun { plan, .. } => write!(f, "start run of {plan}"),
            Command::PauseRun { run, reason } => write!(f, "pause run {run}: {reason}"),
            Command::ResumeRun { run } => write!(f, "resume run {run}"),
            Command::UndoRun { run, reason } => write!(f, "undo run {run}: {reason}"),
            Command::RetryRun { run, step, unknown } => {
                write!(f, "retry run {run}")?;
                if let Some(step) = step {
                    write!(f, ", step {step}")?;
                }
                f.write_str(if *unknown { ", unknown outcomes too" } else { "" })
            }
            Command::DecideApproval { run, decided } => write!(f, "{decided} of run {run}"),
            Command::SuspendPlan { plan, reason } => write!(f, "suspend plan {plan}: {reason}"),
            Command::ResumePlan { plan } => write!(f, "resume plan {plan}"),
            Command::FireSchedule { plan, schedule, firing, .. } => write!(f, "schedule {} of plan {plan}: {firing:?}", schedule + 1),
            Command::ResolveStep { run, step, direction, resolved } => {
                write!(f, "resolve {direction} {run}/{step}, {} results", resolved.len())
            }
            Command::SettleStep { run, step, target, state } => write!(f, "settle {run}/{step} on {target}, {state}"),
            Command::ChangeRoots { run, step, change, .. } => write!(f, "{change}, by {run}/{step}"),
            Command::AbortRun { run, reason } => write!(f, "abort run {run}: {reason}"),
            Command::OfferAttempt { run, step, target, direction, number, agent, .. } => {
                write!(f, "offer {direction} {run}/{step} on {target} to {agent}, attempt {number}")
            }
            Command::BeginAttempt { attempt, .. } => write!(f, "begin attempt {attempt}"),
            Command::EndAttempt { attempt, outcome, .. } => write!(f, "end attempt {attempt}: {outcome}"),
            Command::WithdrawAttempt { attempt, reason } => write!(f, "withdraw attempt {attempt}: {reason}"),
            Command::CancelAttempt { attempt, reason } => write!(f, "cancel attempt {attempt}: {reason:?}"),
            Command::LoseAttempt { attempt, reason } => write!(f, "outcome of attempt {attempt} unknown: {reason}"),
            Command::SkipStep { run, step, target, direction, state } => write!(f, "skip {direction} {run}/{step} on {target}, {state}"),
            Command::BeginUndo { run } => write!(f, "begin undo of {run}"),
            Command::EndRun { run, end } => write!(f, "end run {run}: {end}"),
            Command::RecordArtifact { attempt, file, stored_on, .. } => {
                write!(f, "record {} {} of attempt {attempt}, {} bytes on {} members", file.kind, file.name, file.bytes, stored_on.len())
            }
            Command::ForgetArtifact { run, attempt, name } => write!(f, "forget artifact {name} of attempt {attempt} in {run}"),
            Command::NoteArtifactCopies { member, present, absent } => {
                write!(f, "member {member} has {} artifacts more and {} less", present.len(), absent.len())
            }
            Command::NoteBackups { attempt, target, note, .. } => write!(f, "note of backups of {target}, by attempt {attempt}: {note}"),
            Command::HoldBackup { backup, reason: Some(reason) } => write!(f, "hold backup {backup}: {reason}"),
            Command::HoldBackup { backup, reason: None } => write!(f, "hold backup {backup} no longer"),
            Command::ReadMesh { attempt, token, .. } => {
                write!(f, "give the mesh's snapshot to attempt {attempt}, which backs it up under token {token}")
            }
            Command::EraseBackups { target } => write!(f, "erase the backups of {target}"),
        }
    }
}
