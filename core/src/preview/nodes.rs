//! What a rollout meets that rests on what is known of nodes: those that are out of use already, those of which nothing is
//! known, and their zones.

use std::collections::BTreeMap;

use super::look::{Look, some};
use super::{Severity, StepPreview};
use crate::catalogue::{self, Kind};
use crate::fact::Known;
use crate::id::Target;
use crate::plan::strategy::Order;
use crate::rollout::Rollout;
use crate::wait;

impl Look<'_> {
    /// Looks at each rollout that takes nodes out of use, or goes zone by zone.
    pub(super) fn nodes(&mut self, steps: &[StepPreview], known: Known<'_>) {
        for rollout in self.rollouts(steps) {
            let takes_out = rollout.steps(self.run).any(|step| catalogue::kind(&step.uses).is_some_and(Kind::takes_out));
            let by_zones = rollout.strategy.order == Order::Zones;
            if !takes_out && !by_zones {
                continue;
            }
            let targets: Vec<&Target> = rollout.targets.iter().map(|(target, _)| *target).collect();
            let step = rollout.step.and_then(|name| self.run.plan.step(name)).cloned();
            let dark = known.not_known(self.state, targets.iter().copied());
            let out: Vec<&Target> =
                if takes_out { targets.iter().copied().filter(|target| known.is_out_of_use(target)).collect() } else { Vec::new() };
            let most = rollout.strategy.most_away(targets.len());
            // The first to go does not count against itself.
            let is_held = !dark.is_empty() && (by_zones || out.len() + dark.len() > most);
            if is_held {
                let message = format!("it would wait: nothing is known of {}: {}", named(&dark), wait::told_words(&known.silent(&dark)));
                self.remark(Severity::Warning, step.as_ref(), message, "see `mainstay node list`");
            }
            if !out.is_empty() {
                let are = if out.len() == 1 { "is not ready or cordoned, and counts" } else { "are not ready or cordoned, and count" };
                let message = format!("{} {are} as unavailable, of {most} that may be", named(&out));
                self.remark(Severity::Note, step.as_ref(), message, "");
            }
            if by_zones && dark.is_empty() {
                self.zones(&rollout, known);
            }
        }
    }

    fn zones(&mut self, rollout: &Rollout<'_>, known: Known<'_>) {
        let mut zones: BTreeMap<&str, Vec<&Target>> = BTreeMap::new();
        for (target, _) in &rollout.targets {
            zones.entry(known.zone(target)).or_default().push(target);
        }
        let zone = |(name, targets): (&&str, &Vec<&Target>)| {
            let name = if name.is_empty() { "without a zone" } else { name };
            format!("{name} ({})", named(targets))
        };
        let words: Vec<String> = zones.iter().map(zone).collect();
        let step = rollout.step.and_then(|name| self.run.plan.step(name)).cloned();
        let message = format!("one zone after the other: {}", some(&words.iter().map(String::as_str).collect::<Vec<_>>()));
        self.remark(Severity::Note, step.as_ref(), message, "");
    }
}

fn named(targets: &[&Target]) -> String {
    let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
    some(&names.iter().map(String::as_str).collect::<Vec<_>>())
}
