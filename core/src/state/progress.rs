//! How a run moves on besides its attempts: what is skipped, settled, filled in and ended, and how long it is kept.

use super::resolution::Resolution;
use super::run::{Direction, Run, RunEnd, RunPhase, WorkState, has_undo};
use super::{State, When};
use crate::bounds;
use crate::catalogue::{self, Scope};
use crate::id::{PlanName, RunId, StepName, Target};
use crate::plan::History;
use crate::reply::Reply;

impl State {
    pub(super) fn skip_step(&mut self, id: &RunId, step: &StepName, target: &Target, direction: Direction, state: &WorkState, when: When) -> Reply {
        let Some(run) = self.runs.get_mut(id).filter(|run| run.accepts(direction)) else {
            return Reply::Stale(format!("run {id} does not go that way now"));
        };
        let order = run.order + 1;
        match run.work_mut(step, target) {
            Some(work) if work.state(direction).is_waiting() && matches!(state, WorkState::Skipped { .. } | WorkState::Unreachable { .. }) => {
                work.skipped(direction, state.clone(), order, when.at);
                run.order = order;
                run.moved_at = when.at;
                Reply::Done
            }
            _ => Reply::Stale(format!("{id}/{step} on {target} is not waiting")),
        }
    }

    /// Ends a work item that no agent had.
    pub(super) fn settle_step(&mut self, id: &RunId, step: &StepName, target: &Target, state: &WorkState, when: When) -> Reply {
        let Some(run) = self.runs.get_mut(id).filter(|run| run.accepts(Direction::Do)) else {
            return Reply::Stale(format!("run {id} does not go that way now"));
        };
        let is_the_meshs_own = run.plan.step(step).and_then(|step| catalogue::kind(&step.uses)).is_some_and(|kind| kind.scope == Scope::Mesh);
        let may = match state {
            WorkState::Omitted { .. } | WorkState::Failed { .. } => true,
            WorkState::Succeeded { .. } => is_the_meshs_own,
            _ => false,
        };
        let order = run.order + 1;
        match run.work_mut(step, target) {
            Some(work) if work.state(Direction::Do).is_waiting() && may => {
                work.skipped(Direction::Do, state.clone(), order, when.at);
                run.order = order;
                run.moved_at = when.at;
                Reply::Done
            }
            _ => Reply::Stale(format!("{id}/{step} on {target} is not waiting")),
        }
    }

    pub(super) fn resolve_step(&mut self, id: &RunId, step: &StepName, direction: Direction, resolved: &[(Option<Target>, Resolution)]) -> Reply {
        let Some(run) = self.runs.get_mut(id).filter(|run| run.accepts(direction)) else {
            return Reply::Stale(format!("run {id} does not go that way now"));
        };
        if run.plan.step(step).is_none() {
            return Reply::Stale(format!("run {id} has no step {step}"));
        }
        let fresh = |target: &Option<Target>| run.resolved.get(step, target.as_ref(), direction).is_none();
        let new: Vec<_> = resolved.iter().filter(|(target, _)| fresh(target)).cloned().collect();
        if new.is_empty() {
            return Reply::Stale(format!("{id}/{step} is resolved already"));
        }
        for (target, resolution) in new {
            run.resolved.put(step, target, direction, resolution);
        }
        run.reweigh_resolutions(&mut self.weight);
        Reply::Done
    }

    pub(super) fn begin_undo(&mut self, id: &RunId, when: When) -> Reply {
        let Some(run) = self.runs.get_mut(id).filter(|run| run.is_to_undo()) else {
            return Reply::Stale(format!("run {id} is not to be undone now"));
        };
        let undo: Vec<(StepName, Target)> =
            run.steps().filter(|item| has_undo(*item)).map(|(step, target, _)| (step.name.clone(), target.clone())).collect();
        for (step, target) in undo {
            if let Some(work) = run.work_mut(&step, &target) {
                work.undo = Some(WorkState::Waiting);
            }
        }
        run.phase = RunPhase::Undoing;
        run.moved_at = when.at;
        Reply::Done
    }

    pub(super) fn end_run(&mut self, id: &RunId, end: &RunEnd, when: When) -> Reply {
        let level = self.feature_level;
        let Some(run) = self.runs.get_mut(id).filter(|run| run.conclusion(level).as_ref() == Some(end)) else {
            return Reply::Stale(format!("run {id} does not end like that now"));
        };
        run.phase = RunPhase::Ended(*end);
        run.skip_waiting(Direction::Undo, "what came after it was not taken back", when);
        run.ended = Some(when.wall);
        run.took = when.at.since(run.started_at);
        self.prune_runs(&id.plan);
        Reply::Done
    }

    /// Drops the oldest ended runs of a plan beyond its history limits; and of all plans while the state is
    /// more than half full, but for the newest of each.
    fn prune_runs(&mut self, plan: &PlanName) {
        let History { successful, failed } =
            self.plans.get(plan).and_then(|history| history.current()).map_or_else(History::default, |(_, current)| current.plan.history);
        for (bad, most) in [(false, successful), (true, failed)] {
            let ends = |run: &Run| run.end().is_some_and(|end| end.is_bad() == bad);
            let ended: Vec<RunId> = self.runs.values().filter(|run| run.id.plan == *plan && ends(run)).map(|run| run.id.clone()).collect();
            for id in ended.iter().take(ended.len().saturating_sub(most.clamp(1, bounds::RUNS_KEPT_MAX) as usize)) {
                self.drop_run(id);
            }
        }
        while self.weight > bounds::STATE_BYTES as u64 / 2 {
            let has_newer =
                |run: &&Run| self.runs.values().any(|other| other.is_ended() && other.id.plan == run.id.plan && other.id.number > run.id.number);
            let oldest = self.runs.values().filter(|run| run.is_ended()).filter(has_newer).min_by_key(|run| run.started_at).map(|run| run.id.clone());
            let Some(oldest) = oldest else { return };
            self.drop_run(&oldest);
        }
    }

    fn drop_run(&mut self, id: &RunId) {
        let Some(run) = self.runs.remove(id) else { return };
        self.weight = self.weight.saturating_sub(run.weight);
        self.drop_artifacts(id);
        let attempts: Vec<_> = run.works().flat_map(|(_, _, work)| work.attempts.iter().copied()).collect();
        for attempt in attempts.iter().filter_map(|attempt| self.attempts.remove(attempt)) {
            self.weight = self.weight.saturating_sub(attempt.weight());
        }
    }
}
