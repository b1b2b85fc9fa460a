//! What a run takes at the very least: what its steps and soaks wait by themselves, along the longest way.

use std::collections::{BTreeMap, BTreeSet};

use super::StepPreview;
use crate::catalogue;
use crate::id::StepName;
use crate::rollout::{self, Rollout};
use crate::state::run::Run;
use crate::time::Millis;

/// How long a run takes at the least, and when each step begins at the earliest.
pub(super) struct Times {
    pub at_least: Millis,
    /// After the run's own beginning; of a step that goes in waves when its last wave begins with it.
    begins: BTreeMap<StepName, Millis>,
}

/// The longest way to the end of a step, and the longest that leads through the plan's rollout; without what is waited
/// between the waves.
#[derive(Clone, Copy, Default)]
struct Way {
    any: u64,
    through: Option<u64>,
    /// Within the rollout, on one target.
    rolling: u64,
    /// How long after the beginning of the run the rollout begins with it.
    enters: u64,
}

impl Way {
    /// The longest of several.
    fn longest(self, other: Way) -> Way {
        Way {
            any: self.any.max(other.any),
            through: self.through.max(other.through),
            rolling: self.rolling.max(other.rolling),
            enters: self.enters.max(other.enters),
        }
    }

    fn end(self, soaks: u64) -> u64 {
        self.any.max(self.through.map_or(0, |through| through + soaks))
    }
}

impl Times {
    /// Of all steps that would be done.
    pub fn of(run: &Run, steps: &[StepPreview]) -> Times {
        let of_plan = Rollout::of_plan(run);
        let (waves, soaks) = of_plan.as_ref().map_or((1, 0), times);
        let in_rollout: BTreeSet<&StepName> =
            steps.iter().filter(|preview| rollout::is_in_plans_rollout(run, &preview.step)).map(|preview| &preview.step.name).collect();
        let rolls = |preview: &StepPreview| in_rollout.contains(&preview.step.name);
        let mut ways: BTreeMap<&StepName, Way> = BTreeMap::new();
        let before = |ways: &BTreeMap<&StepName, Way>, step: &StepPreview| {
            step.step.needs.iter().filter_map(|need| ways.get(need)).copied().fold(Way::default(), Way::longest)
        };
        // A plan has few steps: they are looked at until the way to each is known.
        for _ in 0..steps.len() {
            for preview in steps {
                let before = before(&ways, preview);
                let (own_time, is_rolling) = (own(preview), rolls(preview));
                let takes = if is_rolling { own_time * waves } else { of_step(run, preview) };
                let through =
                    if is_rolling { Some(before.any.max(before.through.unwrap_or(0)) + takes) } else { before.through.map(|way| way + takes) };
                let rolling = if is_rolling { before.rolling + own_time } else { 0 };
                let needed = preview.step.needs.iter().filter_map(|need| Some((need, ways.get(need)?)));
                let enters =
                    needed.map(|(need, way)| if is_rolling && in_rollout.contains(need) { way.enters } else { way.end(soaks) }).max().unwrap_or(0);
                ways.insert(&preview.step.name, Way { any: before.any + takes, through, rolling, enters });
            }
        }
        let one_wave = ways.values().map(|way| way.rolling).max().unwrap_or(0);
        let begins = |preview: &StepPreview| {
            let Some(way) = ways.get(&preview.step.name) else { return Millis::ZERO };
            let own_waves = of_step(run, preview).saturating_sub(own(preview));
            let within = if rolls(preview) { (waves - 1) * one_wave + soaks + way.rolling - own(preview) } else { own_waves };
            Millis(way.enters + within)
        };
        Times {
            at_least: Millis(ways.values().map(|way| way.end(soaks)).max().unwrap_or(0)),
            begins: steps.iter().map(|preview| (preview.step.name.clone(), begins(preview))).collect(),
        }
    }

    pub fn begins(&self, step: &StepName) -> Millis {
        self.begins.get(step).copied().unwrap_or_default()
    }
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
    let lasts = catalogue::kind(&preview.step.uses).filter(|_| is_certain).and_then(|kind| kind.lasts(&preview.with));
    lasts.map_or(0, |own| own.0)
}
