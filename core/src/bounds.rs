//! Every limit on what the replicated state may hold, with its reason. Reaching one is a typed refusal
//! ([`crate::Refusal::Bound`]) that clears when there is room again.

use crate::time::Millis;

/// The whole state, so that a snapshot crosses a network in a second and a member stays small.
pub const STATE_BYTES: usize = 64 << 20;
/// One command: what one Raft entry may cost every member's disk.
pub const COMMAND_BYTES: usize = 256 << 10;
/// A plan's source text, well under a command.
pub const PLAN_BYTES: usize = 128 << 10;
/// Steps of one plan.
pub const PLAN_STEPS: usize = 500;
/// Expressions of one plan: each is read and checked before the plan is taken.
pub const PLAN_EXPRESSIONS: usize = 1_000;
/// Inputs of one plan.
pub const INPUTS: usize = 64;
/// Values that an input may be one of.
pub const INPUT_ONE_OF: usize = 64;
/// Gates of one plan, and of one step.
pub const GATES: usize = 16;
/// Waves of one strategy.
pub const WAVES: usize = 16;
/// Schedules of one plan.
pub const SCHEDULES: usize = 16;
/// Who is told of a plan's runs.
pub const NOTIFY: usize = 16;
/// A description of a plan, a step or an input.
pub const DESCRIPTION_BYTES: usize = 4 << 10;
/// Plans of an operator's own.
pub const PLANS: usize = 1_000;
/// Plans that came from one namespace of a cluster: whoever writes there takes nobody else's room.
pub const NAMESPACE_PLANS: usize = 50;
/// Open runs of the plans of one namespace.
pub const NAMESPACE_RUNS_OPEN: usize = 50;
/// Targets of one step, times steps: the work items of one run.
pub const RUN_WORK: usize = 100_000;
/// Finished runs kept per plan, of those that went well and of those that did not, unless the plan says how
/// many; older ones leave the state.
pub const RUNS_KEPT: u32 = 20;
/// Most of them that a plan can ask for.
pub const RUNS_KEPT_MAX: u32 = 200;
/// Runs of all plans that have not ended.
pub const RUNS_OPEN: usize = 1_000;
/// Typed outputs of a step, and the tail of what it printed.
pub const OUTPUT_BYTES: usize = 4 << 10;
/// The checks of one report, together.
pub const REPORT_BYTES: usize = 96 << 10;
/// Checks of one report.
pub const REPORT_CHECKS: usize = 256;
/// Further lines of one check.
pub const CHECK_DETAILS: usize = 8;
/// Earlier values of one check.
pub const CHECK_HISTORY: usize = 32;
/// Findings at one time; a mesh with more than this needs no longer list.
pub const FINDINGS: usize = 20_000;
/// Findings that have cleared, kept so that one can see what came and went.
pub const FINDINGS_CLEARED: usize = 1_000;
/// Nodes that a leader keeps of one cluster: twice what Kubernetes supports.
pub const CLUSTER_NODES: usize = 10_000;
/// Nodes that it keeps of all clusters: some 20 MiB, and an answer that names each of them fits into a message.
pub const KNOWN_NODES: usize = 20_000;
/// Pods of one node that its agent is told of. A kubelet runs 110 unless it is told otherwise.
pub const NODE_PODS: usize = 1_000;
/// Lease definitions.
pub const LEASES: usize = 50_000;
/// Slots of one lease.
pub const LEASE_SLOTS: u32 = 10_000;
/// Waiters of one lease.
pub const LEASE_WAITERS: usize = 10_000;
/// Attributes of one holder, keys and values together.
pub const LEASE_ATTRIBUTES_BYTES: usize = 1 << 10;
/// TTL of a lease: shorter ones would end in any leader change, longer ones are claims.
pub const LEASE_TTL: (Millis, Millis) = (Millis(2_000), Millis(86_400_000));
/// A definition that nobody holds or waits for is forgotten after this.
pub const LEASE_IDLE: Millis = Millis(3_600_000);
/// For how long a recovered mesh gives out no lease that it has not known: as long as the longest TTL that it knows, within
/// these. The shortest is the TTL of who says nothing; longer than the longest, a mesh that has lost much is of no use.
pub const LEASE_GUARD: (Millis, Millis) = (Millis(30_000), Millis(600_000));
/// Agents of one mesh.
pub const AGENTS: usize = 20_000;
/// Members, learners included.
pub const MEMBERS: usize = 9;
/// Join tokens that have not expired.
pub const JOIN_TOKENS: usize = 1_000;
/// Replies kept so that a repeated request has the same answer.
pub const REPLIES: usize = 50_000;
/// For how long they are kept.
pub const REPLIES_FOR: Millis = Millis(600_000);
/// Audit records kept in the state; the chain's hash goes on when older ones leave.
pub const AUDIT: usize = 5_000;
/// Operators of one mesh.
pub const OPERATORS: usize = 1_000;
/// Why somebody did something, in words.
pub const REASON_BYTES: usize = 512;
/// Roots that are trusted at one time: the old and the new one, and room for a change of mind.
pub const ROOTS: usize = 4;
/// One root or issuer certificate, PEM.
pub const ROOT_BYTES: usize = 8 << 10;
/// A member's request for an issuer, PEM.
pub const CSR_BYTES: usize = 8 << 10;
/// Identities that are remembered: agents, operators, and room for programs.
pub const IDENTITIES: usize = 30_000;
/// Revoked identities.
pub const REVOKED: usize = 10_000;
/// Approvals kept with one run.
pub const APPROVALS: usize = 256;
/// Attempts of one step on one target.
pub const ATTEMPTS: u32 = 10;
/// How often a step of a cluster is begun where its agents are lost one after the other, also without a `retry`.
pub const TAKEN_UP: u32 = 3;
/// One artifact or full output: what a coordinator's disk takes in a few seconds.
pub const ARTIFACT_BYTES: u64 = 64 << 20;
/// Undo data of one attempt: it passes through the agent's memory to be encrypted.
pub const UNDO_DATA_BYTES: u64 = 4 << 20;
/// Artifacts of one attempt, all kinds together.
pub const ATTEMPT_ARTIFACTS: usize = 32;
/// Artifacts and full outputs of one run; and as much again of undo data.
pub const RUN_ARTIFACT_BYTES: u64 = 256 << 20;
/// Artifacts of all runs: their records weigh about 8 MiB then.
pub const ARTIFACTS: u64 = 20_000;
/// Bytes of the artifacts of all runs, unless the coordinators are told otherwise: each has all of them on disk.
pub const ARTIFACTS_BYTES: u64 = 2 << 30;
/// Copies that a member says in one command to have or not to have.
pub const ARTIFACT_NOTES: usize = 512;
/// Targets of which the catalogue knows backups.
pub const BACKUP_TARGETS: usize = 1_024;
/// Backups of one target that the catalogue knows, the newest; the store has them all. With the targets it is 20 MiB, and some
/// 40 MiB where as many are held as can be, for the longest of reasons.
pub const TARGET_BACKUPS: usize = 64;
/// Backups of one target that are held at one time.
pub const BACKUPS_HELD: usize = 32;
/// A target of which nobody has said anything for so long gives way to a new one, when there are too many.
pub const BACKUP_TARGET_IDLE: Millis = Millis(90 * 86_400_000);
/// For how long a backup that is missing is named.
pub const BACKUP_MISSED: Millis = Millis(7 * 86_400_000);
/// Every this many entries the leader logs a digest of its state, as long as the state is small.
pub const DIGEST_EVERY: u64 = 1_000;
