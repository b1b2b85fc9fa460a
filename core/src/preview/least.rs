//! What a run takes at the very least: what its steps and soaks wait by themselves, along the longest way.

use std::collections::BTreeMap;

use super::StepPreview;
use crate::catalogue;
use crate::id::StepName;
use crate::rollout::{self, Rollout};
use crate::state::run::Run;
use crate::time::Millis;

/// The longest way to a step, and the longest that leads through the plan's rollout.
#[derive(Clone, Copy, Default)]
struct Way {
    any: u64,
    through: Option<u64>,
}

/// Of all steps that would be done.
pub(super) fn duration(run: &Run, steps: &[StepPreview]) -> Millis {
    let of_plan = Rollout::of_plan(run);
    let (waves, soaks) = of_plan.as_ref().map_or((1, 0), times);
    let mut ways: BTreeMap<&StepName, Way> = BTreeMap::new();
    // A plan has few steps: they are looked at until the way to each is known.
    for _ in 0..steps.len() {
        for preview in steps {
            let step = &preview.step;
            let before = step.needs.iter().filter_map(|need| ways.get(need));
            let before = before.fold(Way::default(), |a, b| Way { any: a.any.max(b.any), through: a.through.max(b.through) });
            let rolls = rollout::is_in_plans_rollout(run, step);
            let own = if rolls { own(preview) * waves } else { of_step(run, preview) };
            let through = if rolls { Some(before.any.max(before.through.unwrap_or(0)) + own) } else { before.through.map(|way| way + own) };
            ways.insert(&step.name, Way { any: before.any + own, through });
        }
    }
    Millis(ways.values().map(|way| way.any.max(way.through.map_or(0, |through| through + soaks))).max().unwrap_or(0))
}

/// A step outside of the plan's rollout, with a strategy of its own or without.
fn of_step(run: &Run, preview: &StepPreview) -> u64 {
    let rollout = preview.step.strategy.as_ref().and_then(|_| Rollout::of_step(run, &preview.step));
    let (waves, soaks) = rollout.as_ref().map_or((1, 0), times);
    own(preview) * waves + if preview.omitted.is_none() { soaks } else { 0 }
}

/// Waves, and what is waited between them.
fn times(rollout: &Rollout<'_>) -> (u64, u64) {
    let waves = rollout.strategy.wave_ends(rollout.targets.len()).len().max(1) as u64;
    (waves, (waves - 1) * rollout.strategy.soak.0)
}

/// What a step waits by itself, on one target. What may be skipped does not count.
fn own(preview: &StepPreview) -> u64 {
    let is_certain = preview.omitted.is_none() && (preview.step.condition.is_none() || preview.condition == Some(true));
    let waits = is_certain && preview.step.uses == catalogue::WAIT;
    let written = preview.with.get("for").filter(|_| waits).and_then(serde_json::Value::as_str);
    written.and_then(|written| written.parse::<Millis>().ok()).map_or(0, |own| own.0)
}
