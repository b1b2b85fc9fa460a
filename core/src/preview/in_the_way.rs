//! What of a plan would get in its own way: times that do not fit each other, leases that it takes twice, and approvals
//! that nobody could give.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::least::Times;
use super::look::{Look, some};
use super::{Ask, Severity, StepPreview};
use crate::almanac;
use crate::calendar;
use crate::catalogue;
use crate::command::Actor;
use crate::evaluate;
use crate::id::{LeaseName, StepName};
use crate::identity::Identity;
use crate::outlook;
use crate::plan::gate::{Approval, Gate};
use crate::plan::schedule::Concurrency;
use crate::plan::{Plan, Step};
use crate::rollout;
use crate::seen::Opening;
use crate::state::enrolment::OperatorRole;
use crate::state::run::WorkState;
use crate::stuck;
use crate::time::{Millis, WallTime};

/// A gate with the step that has it; nothing where it is the plan's.
type Of<'g> = (Option<&'g StepName>, &'g Gate);

impl Look<'_> {
    /// A step that takes longer by itself than it may.
    pub(super) fn own_time(&mut self, step: &Step, with: &Map<String, Value>, certain: bool) {
        let Some(takes) = catalogue::kind(&step.uses).and_then(|kind| kind.lasts(with)) else { return };
        if takes >= step.timeout {
            let verb = match step.uses.as_str() {
                catalogue::LEASE_HOLD => "holds its lease for",
                catalogue::WATCH => "watches for",
                catalogue::SWITCH => "watches its shares for",
                _ => "waits",
            };
            let message = format!("it would be stopped before its end: it {verb} {takes}, and its timeout is {}", step.timeout);
            self.remark(severity(certain), Some(step), message, format!("give it a longer one:  timeout: {}", longer(takes)));
        }
    }

    /// A step that is omitted and that this one reads.
    pub(super) fn reads_omitted(&self, step: &Step) -> Option<StepName> {
        let is_omitted = |name: &&StepName| {
            let works = self.run.work.get(*name);
            works.is_some_and(|works| works.values().all(|work| matches!(work.forward, WorkState::Omitted { .. })))
        };
        evaluate::steps_read(step).iter().find(is_omitted).cloned()
    }

    /// Approvals that nobody could give as the operators are now.
    pub(super) fn people(&mut self, asks: &[Ask], by: &Actor) {
        for ask in asks {
            let starts = |name: &str| ask.not_author && matches!(by, Actor::Identity(Identity::Operator(own)) if own.as_str() == name);
            let may = self.state.operators.iter().filter(|(_, role)| **role >= ask.by);
            let (own, others): (Vec<_>, Vec<_>) = may.partition(|(name, _)| starts(name.as_str()));
            if !others.is_empty() {
                continue;
            }
            let (who, role) = (format!("an {}", ask.by), if ask.by == OperatorRole::Admin { "admin" } else { "operator" });
            let message = match own.first() {
                Some((name, _)) => format!("nobody could approve it: it takes {who} other than who starts the run, and {name} is the only one"),
                None => format!("nobody could approve it: it takes {who}, and there is none"),
            };
            let step = ask.step.as_ref().and_then(|name| self.run.plan.step(name)).cloned();
            self.remark(severity(ask.only_if.is_none()), step.as_ref(), message, format!("mainstay operator add NAME --role {role}"));
        }
    }

    /// Windows and freezes against each other, against how long the run takes, and against approvals that expire.
    pub(super) fn calendar(&mut self, steps: &[StepPreview], times: &Times) {
        if self.run.without_calendar.is_some() {
            return;
        }
        let plan = std::sync::Arc::clone(&self.run.plan);
        let of_plan: Vec<&Gate> = plan.gates.iter().filter(|gate| gate.is_calendar()).collect();
        let starts = almanac::first_opening(&of_plan, self.wall).unwrap_or(self.wall);
        let mut told: BTreeSet<String> = BTreeSet::new();
        let mut soonest: Option<(Approval, Millis, WallTime)> = None;
        for preview in steps.iter().filter(|preview| preview.omitted.is_none()) {
            let step = &preview.step;
            let gates = self.gates_of(&plan, step);
            let begins = times.begins(&step.name);
            if let Some(why) = stuck::never_open(&calendar_of(&gates), self.wall) {
                if told.insert(why.clone()) {
                    self.remark(Severity::Problem, Some(step), format!("it would wait for ever: {why}"), "mend one of them");
                }
                continue;
            }
            let at = almanac::after(starts, begins);
            for (of, gate) in gates.iter().filter(|(_, gate)| gate.is_calendar() && begins > Millis::ZERO) {
                if let Some(message) = closes(gate, starts, at, begins)
                    && told.insert(format!("{of:?} {gate}"))
                {
                    self.remark(Severity::Warning, Some(step), message, "");
                }
            }
            for (place, (of, gate)) in gates.iter().enumerate() {
                let Gate::Approval(approval) = gate else { continue };
                // It is asked for as soon as what stands before it is open: at the start of the run, where nothing does.
                let from = if begins == Millis::ZERO { self.wall } else { at };
                let Some(asked) = almanac::first_opening(&calendar_of(gates.get(..place).unwrap_or_default()), from) else { continue };
                let Some(opens) = almanac::first_opening(&calendar_of(&gates), asked) else { continue };
                let delay = Millis(u64::try_from(opens.0 - asked.0).unwrap_or(0));
                match of {
                    // What the plan asks for has done its work when the first step of the run begins.
                    None if !step.needs.is_empty() => {}
                    None => soonest = Some(soonest.take().filter(|(_, known, _)| *known <= delay).unwrap_or((approval.clone(), delay, opens))),
                    Some(_) if delay > approval.expires => self.expires(Some(step), approval, opens),
                    Some(_) => {}
                }
            }
        }
        if let Some((approval, delay, opens)) = soonest
            && delay > approval.expires
        {
            self.expires(None, &approval, opens);
        }
    }

    /// A schedule that aborts whatever run of the plan has not ended.
    fn replaced(&mut self, plan: &Plan, times: &Times) {
        let next = plan.schedules.iter().filter(|schedule| !schedule.suspended).filter_map(|schedule| almanac::next_of(schedule, self.wall)).min();
        let Some(next) = next.filter(|_| plan.concurrency == Concurrency::Replace) else { return };
        let at = calendar::local(next, "UTC");
        if almanac::after(self.wall, times.at_least) >= next {
            let message = format!("it would be aborted: its schedule starts another run {at}, and this one takes at least {}", times.at_least);
            self.remark(Severity::Warning, None, message, "");
        } else {
            self.remark(Severity::Note, None, format!("its schedule starts another run {at}, and aborts what has not ended by then"), "");
        }
    }

    /// A schedule that comes again before a run of the plan can have ended.
    pub(super) fn overtaken(&mut self, plan: &Plan, times: &Times) {
        self.replaced(plan, times);
        let intervals = plan.schedules.iter().filter(|schedule| !schedule.suspended).filter_map(|schedule| almanac::interval(schedule, self.wall));
        let Some(interval) = intervals.min().filter(|interval| *interval <= times.at_least) else { return };
        let takes = format!("a run takes at least {}, and the schedule comes again after {interval}", times.at_least);
        match plan.concurrency {
            Concurrency::Replace => {
                let hint = "give it more time between two, or let it forbid: spec.concurrency";
                self.remark(Severity::Problem, None, format!("{takes}: it aborts the run before, and none would end"), hint);
            }
            Concurrency::Forbid => self.remark(Severity::Note, None, format!("{takes}: some of its instants are held back"), ""),
            Concurrency::Allow => self.remark(Severity::Warning, None, format!("{takes}: runs of it go side by side, ever more of them"), ""),
        }
    }

    fn expires(&mut self, step: Option<&Step>, approval: &Approval, opens: WallTime) {
        let message = outlook::would_have_expired(approval, opens);
        self.remark(Severity::Warning, step, message, "write the approval after the window, or let it count for longer");
    }

    /// The gates before a step, the plan's first where they stand before it.
    fn gates_of<'g>(&self, plan: &'g Plan, step: &'g Step) -> Vec<Of<'g>> {
        let rolls = |step: &Step| rollout::is_in_plans_rollout(self.run, step);
        let is_later_of_node = rolls(step) && step.needs.iter().filter_map(|need| plan.step(need)).any(rolls);
        let of_plan = plan.gates.iter().filter(|_| !is_later_of_node).map(|gate| (None, gate));
        of_plan.chain(step.gates.iter().map(|gate| (Some(&step.name), gate))).collect()
    }

    /// Leases that a step takes while the run keeps it from them, and those that keep other steps of the run waiting.
    pub(super) fn leases(&mut self, steps: &[StepPreview]) {
        let plan = std::sync::Arc::clone(&self.run.plan);
        for preview in steps.iter().filter(|preview| preview.omitted.is_none() && preview.step.uses == catalogue::LEASE_HOLD) {
            let Some(name) = preview.with.get("name").and_then(Value::as_str).and_then(|name| name.parse::<LeaseName>().ok()) else { continue };
            let hold = &preview.step;
            if let Some(own) = hold.lease.as_ref().filter(|own| own.name == name) {
                let slots = self.state.leases.get(&name).map_or(own.spec.slots, |lease| lease.spec.slots);
                if slots < 2 {
                    let message = format!("it would wait for itself: the run holds lease {name} for the step, and the step waits for the same lease");
                    self.remark(Severity::Problem, Some(hold), message, "leave out the step's `lease`");
                }
            }
            let wants = |gate: &Gate| matches!(gate, Gate::Lease { name: pattern } if catalogue::fits(pattern, name.as_str()));
            let of_plan = plan.gates.iter().any(wants);
            if !of_plan && !plan.steps.iter().any(|step| step.gates.iter().any(wants)) {
                continue;
            }
            let before = related(&plan, &hold.name, |step| step.needs.iter().collect());
            let needed_by = |name: &StepName| plan.steps.iter().filter(|step| step.needs.contains(name)).map(|step| &step.name).collect();
            let after = related(&plan, &hold.name, |step| needed_by(&step.name));
            let beside = |step: &&Step| step.name != hold.name && !before.contains(&step.name) && !after.contains(&step.name);
            let kept = plan.steps.iter().filter(beside).filter(|step| of_plan || step.gates.iter().any(wants));
            let kept: Vec<&str> = kept.map(|step| step.name.as_str()).collect();
            if !kept.is_empty() {
                let message = format!("while it holds lease {name}, a gate that wants that lease to be free keeps {} from beginning", some(&kept));
                let hint = "a step's own `lease` is held by the run itself, and shuts no gate of it";
                self.remark(Severity::Warning, Some(hold), message, hint);
            }
        }
    }
}

/// What keeps a run from a good end, or only may: of a step whose condition is not known yet.
fn severity(certain: bool) -> Severity {
    if certain { Severity::Problem } else { Severity::Warning }
}

/// All steps that one comes to from a step, going on and on.
fn related<'p>(plan: &'p Plan, from: &StepName, next: impl Fn(&'p Step) -> Vec<&'p StepName>) -> BTreeSet<&'p StepName> {
    let mut known: BTreeSet<&StepName> = BTreeSet::new();
    let mut open: Vec<&Step> = plan.step(from).into_iter().collect();
    while let Some(step) = open.pop() {
        open.extend(next(step).into_iter().filter(|name| known.insert(name)).filter_map(|name| plan.step(name)));
    }
    known
}

/// The windows and freezes among gates.
fn calendar_of<'g>(gates: &[Of<'g>]) -> Vec<&'g Gate> {
    gates.iter().map(|(_, gate)| *gate).filter(|gate| gate.is_calendar()).collect()
}

/// A gate that is open when the run starts, and shut when a step begins.
fn closes(gate: &Gate, starts: WallTime, at: WallTime, begins: Millis) -> Option<String> {
    let (Opening::Open { .. }, Opening::Closed { evidence, .. }) = (almanac::opening(gate, starts), almanac::opening(gate, at)) else {
        return None;
    };
    Some(format!("it would wait: it begins {begins} after the start at the earliest, when {gate} is {evidence}"))
}

/// A timeout that is enough for something that takes so long.
fn longer(takes: Millis) -> Millis {
    Millis(takes.0.saturating_add((takes.0 / 10).max(60_000)))
}
