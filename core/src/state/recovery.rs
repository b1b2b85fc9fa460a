//! A mesh that is begun again from a snapshot of its state.
//!
//! In: the state as it was when the snapshot was taken. Out: the state that a new first member starts from,
//! and an account of what was given up and what nobody can know.
//!
//! The old mesh may have gone on after the snapshot. So whatever it may have begun counts as begun: open
//! attempts are unknown, and a run that is more than looking goes on, forward or back, only when a person says
//! so; instants of schedules that have passed start nothing; a lease that ends by time goes to nobody until
//! whoever may have had it has stopped believing in it, also where it is not known ([`super::guard`]); a claim stays
//! with its holder.

use serde::Serialize;

use super::agent::Link;
use super::attempt::Phase;
use super::enrolment::Revocation;
use super::lease::{Holder, LeaseKind};
use super::member::Member;
use super::run::{Direction, Outcome, Pause, Run};
use super::{State, When};
use crate::catalogue;
use crate::command::Actor;
use crate::id::{AgentId, AttemptId, LeaseName, MemberId, PlanName, RunId, StepName, Target, Token};
use crate::identity::Identity;
use crate::reply::Refusal;
use crate::time::{Millis, WallTime};

/// What a mesh is begun again with.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// Above every incarnation that anybody has seen.
    pub incarnation: u64,
    pub wall: WallTime,
    /// When the snapshot was taken.
    pub taken: WallTime,
    /// The first member of the mesh from now on.
    pub member: MemberId,
}

/// What became of the state.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Runs that had not ended.
    pub runs_open: Vec<RunId>,
    pub attempts: Vec<UnknownAttempt>,
    /// Those of the open runs that go on only when somebody says so.
    pub runs_paused: Vec<RunId>,
    pub claims: Vec<KeptClaim>,
    /// Leases with a TTL: nobody holds one any more.
    pub leases: Vec<LeaseName>,
    /// The longest TTL of those: for so long, counted from the new mesh's first leader, nobody gets it.
    pub longest_ttl_ms: u64,
    /// For so long, counted in the same way, nobody gets a lease that is not known; 0 where that is not taken care of.
    pub unknown_leases_ms: u64,
    /// Former members, refused from now on.
    pub members: Vec<FormerMember>,
    /// Files that runs had made: their copies lay with the former members.
    pub artifacts: u64,
    /// Join tokens that had not been used up.
    pub join_tokens: usize,
    pub agents: usize,
}

/// A member of the mesh as it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FormerMember {
    pub id: String,
    pub name: String,
    pub address: String,
}

/// An attempt that an agent may have been at.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnknownAttempt {
    pub id: AttemptId,
    pub run: RunId,
    pub step: StepName,
    pub target: Target,
    pub direction: Direction,
    pub agent: AgentId,
    /// The kind is idempotent, and the plan lets it be tried again: it is.
    pub again: bool,
}

/// A claim that stays with whom the snapshot calls its holder.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptClaim {
    pub name: LeaseName,
    pub token: Token,
    pub holder: String,
}

impl State {
    /// Makes this the first state of a recovered mesh.
    pub fn recover(&mut self, recovery: &Recovery) -> Result<Account, Refusal> {
        if recovery.incarnation <= self.incarnation {
            return Err(Refusal::Invalid(format!(
                "a recovered mesh needs an incarnation above {}, which the snapshot has, and {} is not",
                self.incarnation, recovery.incarnation
            )));
        }
        let when = When { at: self.mesh_time, wall: recovery.wall };
        let mut account = Account {
            runs_open: self.runs.values().filter(|run| !run.is_ended()).map(|run| run.id.clone()).collect(),
            artifacts: self.artifacts.count,
            join_tokens: self.joins.len(),
            agents: self.agents.len(),
            ..Account::default()
        };
        self.incarnation = recovery.incarnation;
        self.serial = 0;
        self.joins.clear();
        self.lose_links(when);
        account.attempts = self.lose_attempts(when);
        account.runs_paused = self.pause_runs(recovery.taken, when);
        self.start_nothing_late(when);
        account.claims = self.kept_claims();
        (account.leases, account.longest_ttl_ms) = self.lock_leases(recovery.member, when);
        account.unknown_leases_ms = self.guard_unknown_leases(recovery.member, when).0;
        account.members = self.leave_members_behind(when);
        let what = format!("recover mesh as incarnation {} from a snapshot of {}", recovery.incarnation, recovery.taken.0);
        let (attempts, paused, claims) = (account.attempts.len(), account.runs_paused.len(), account.claims.len());
        let outcome = format!("{attempts} attempts unknown, {paused} runs paused, {claims} claims kept");
        self.audit.note(when.wall, &Actor::Mesh, what, outcome);
        self.wall_time = when.wall;
        self.generation += 1;
        Ok(account)
    }

    fn lose_links(&mut self, when: When) {
        let up: Vec<AgentId> = self.agents.iter().filter(|(_, agent)| agent.is_up()).map(|(id, _)| id.clone()).collect();
        for id in up {
            if let Some(agent) = self.agents.get_mut(&id) {
                agent.link = Link::Lost { since: when.wall, at: when.at };
            }
        }
    }

    /// Every open attempt may have had effects, also one that had only been offered: it may have begun since.
    fn lose_attempts(&mut self, when: When) -> Vec<UnknownAttempt> {
        let open: Vec<AttemptId> = self.attempts.values().filter(|attempt| attempt.is_open()).map(|attempt| attempt.id).collect();
        let mut lost = Vec::new();
        for id in open {
            let Some(attempt) = self.attempts.get_mut(&id) else { continue };
            if let Phase::Offered { at } = attempt.phase {
                attempt.phase = Phase::Begun { offered: at, at: when.at };
            }
            let attempt = attempt.clone();
            self.settle_attempt(id, Outcome::Unknown { reason: "the mesh was recovered from a snapshot while this was open".into() }, when);
            let work = self.runs.get(&attempt.run).and_then(|run| run.work(&attempt.step, &attempt.target));
            let again = work.is_some_and(|work| work.state(attempt.direction).is_waiting());
            let (run, step, target, direction, agent) = (attempt.run, attempt.step, attempt.target, attempt.direction, attempt.agent);
            lost.push(UnknownAttempt { id, run, step, target, direction, agent, again });
        }
        lost
    }

    /// What waited may have been done after the snapshot, what was done may have been taken back, and somebody
    /// may have changed it since. Where all of a run can be repeated, that makes no difference.
    fn pause_runs(&mut self, taken: WallTime, when: When) -> Vec<RunId> {
        let repeatable = |uses: &str| catalogue::kind(uses).is_some_and(|kind| kind.idempotent);
        let all_of = |run: &Run| run.plan.steps.iter().all(|step| repeatable(&step.uses) && step.undo.is_none());
        let paused: Vec<RunId> = self.runs.values().filter(|run| !run.is_ended() && !all_of(run)).map(|run| run.id.clone()).collect();
        for id in &paused {
            let Some(run) = self.runs.get_mut(id) else { continue };
            let minutes = when.wall.0.saturating_sub(taken.0) / 60_000;
            let reason = format!("the mesh was recovered from a snapshot that was {minutes} min old: look at what this run may have done since");
            run.pause.get_or_insert_with(|| Pause { by: Actor::Mesh.to_string(), reason, at: when.at });
        }
        paused
    }

    /// The old mesh may have acted on the instants that have passed; none is acted on twice.
    fn start_nothing_late(&mut self, when: When) {
        let plans: Vec<PlanName> = self.plans.keys().cloned().collect();
        for name in plans {
            if let Some(history) = self.plans.get_mut(&name) {
                history.counts_from = history.counts_from.max(when.wall);
            }
        }
    }

    fn kept_claims(&self) -> Vec<KeptClaim> {
        let claims = self.leases.iter().filter(|(_, lease)| lease.spec.kind == LeaseKind::Claim);
        claims
            .flat_map(|(name, lease)| lease.held.iter().map(move |held| (name, held)))
            .map(|(name, held)| KeptClaim { name: name.clone(), token: held.token, holder: held.holder.to_string() })
            .collect()
    }

    /// Whoever has, or took after the snapshot, a lease with a TTL may believe in it for that TTL. Until then
    /// the new mesh has all slots itself; nobody renews them, so they end by time like any other.
    fn lock_leases(&mut self, member: MemberId, when: When) -> (Vec<LeaseName>, u64) {
        let holder = Holder {
            identity: Identity::Coordinator(member),
            incarnation: format!("recovery-{}", self.incarnation),
            attributes: [("why".to_owned(), "until nobody can believe in it any more from before the recovery".to_owned())].into(),
            takes_over: false,
        };
        let by_time = self.leases.iter().filter(|(_, lease)| lease.spec.kind == LeaseKind::Ttl);
        let names: Vec<(LeaseName, Millis)> = by_time.map(|(name, lease)| (name.clone(), lease.spec.ttl)).collect();
        let longest = names.iter().map(|(_, ttl)| ttl.0).max().unwrap_or(0);
        for (name, _) in &names {
            self.hand_all_slots_to(name, &holder, when);
        }
        (names.into_iter().map(|(name, _)| name).collect(), longest)
    }

    fn leave_members_behind(&mut self, when: When) -> Vec<FormerMember> {
        let members = std::mem::take(&mut self.members);
        self.issuers.clear();
        for id in members.keys() {
            self.artifacts.forget_member(*id);
            let revocation = Revocation { at: when.wall, reason: "left behind when the mesh was recovered".into() };
            self.revoked.insert(Identity::Coordinator(*id), revocation);
        }
        let former = |member: &Member| FormerMember { id: member.id.to_string(), name: member.name.clone(), address: member.address.clone() };
        members.values().map(former).collect()
    }
}
