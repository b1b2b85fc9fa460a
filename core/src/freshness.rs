//! How the gates stand whose source is the catalogue of backups, or nothing yet. Pure: decisions, previews and `why` ask here,
//! with the leader's wall clock.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::almanac;
use crate::backup::BackupTarget;
use crate::calendar;
use crate::catalogue::{self, BACKUP_RUN, CONNECTION_PARAM, RECOVERY_DRILL};
use crate::evaluate;
use crate::id::{PlanName, StepName, Target};
use crate::plan::gate::Declared;
use crate::plan::schedule::{Concurrency, Schedule};
use crate::plan::{Plan, Step, input};
use crate::state::State;
use crate::state::backup::{TargetBackups, age};
use crate::state::plan::PlanHistory;
use crate::state::run::Run;
use crate::state::work::Work;
use crate::time::{Millis, WallTime};

/// How such a gate stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// What makes it so.
    Open(String),
    /// It is known that it does not hold, and why.
    Closed(String),
    /// Nobody knows.
    Unknown(String),
}

/// How a gate stands at an instant.
#[must_use]
pub fn standing(state: &State, gate: &Declared, wall: WallTime) -> Standing {
    match gate {
        Declared::Capacity => Standing::Unknown("no source of capacity in this version".to_owned()),
        Declared::ErrorBudget { service, .. } => Standing::Unknown(format!("no objective of service {service} is measured in this version")),
        Declared::BackupFresh { target, max_age } => known(state, target).map_or_else(Standing::Unknown, |known| backup(known, *max_age, wall)),
        Declared::DrillFresh { target, max_age } => known(state, target).map_or_else(Standing::Unknown, |known| drill(known, *max_age, wall)),
    }
}

/// Why a gate is shut, in words that begin with `unknown` where nobody knows; nothing where it is open.
#[must_use]
pub fn shut(state: &State, gate: &Declared, wall: WallTime) -> Option<String> {
    match standing(state, gate, wall) {
        Standing::Open(_) => None,
        Standing::Closed(evidence) => Some(evidence),
        Standing::Unknown(why) => Some(format!("unknown: {why}")),
    }
}

fn known<'s>(state: &'s State, target: &str) -> Result<&'s TargetBackups, String> {
    // What was applied before targets were written in this form is not guessed at.
    let parsed: BackupTarget =
        target.parse().map_err(|_| format!("`{target}` is no target of backups: write CLUSTER/CONNECTION, and apply the plan anew"))?;
    let known = state.backups.get(&parsed).map(|known| &**known);
    known.ok_or_else(|| format!("the catalogue of backups has nothing of {target}"))
}

fn backup(known: &TargetBackups, max_age: Millis, wall: WallTime) -> Standing {
    let Some((_, newest)) = known.newest_good() else {
        return Standing::Closed("there is no good backup of it".to_owned());
    };
    let is = format!("the newest good one is of {}", calendar::local(newest.begun, "UTC"));
    within(age(newest.begun, wall), max_age, is)
}

fn drill(known: &TargetBackups, max_age: Millis, wall: WallTime) -> Standing {
    let Some(last) = &known.drill else { return Standing::Closed("its backups have never been restored in a drill".to_owned()) };
    let at = calendar::local(last.at, "UTC");
    if !last.drill.proven {
        return Standing::Closed(format!("the last one, of {at}, did not go well"));
    }
    within(age(last.at, wall), max_age, format!("the last one is of {at}"))
}

fn within(age: Millis, max_age: Millis, is: String) -> Standing {
    match age.0.checked_sub(max_age.0) {
        None | Some(0) => Standing::Open(is),
        Some(over) => Standing::Closed(format!("{is}, {} too old", coarse(Millis(over)))),
    }
}

/// Whole minutes, so that what is said does not change with every look.
fn coarse(span: Millis) -> Millis {
    Millis(span.0.div_ceil(60_000) * 60_000)
}

/// The plan that comes with the program and opens such a gate, and the connection that it is told of.
#[must_use]
pub fn opens(gate: &Declared) -> Option<(&'static str, &str)> {
    let (plan, target) = match gate {
        Declared::BackupFresh { target, .. } => ("backup", target),
        Declared::DrillFresh { target, .. } => ("recovery-drill", target),
        Declared::Capacity | Declared::ErrorBudget { .. } => return None,
    };
    target.rsplit('/').next().map(|connection| (plan, connection))
}

/// Whether something opens such a gate without anybody's doing: a run that has not ended makes a backup of its target, or
/// drills one, or a schedule starts one that does. `waiting` is the run that waits at the gate, and the step that does, or
/// nothing where all of its steps do: what it does only afterwards opens nothing.
#[must_use]
pub fn opens_by_itself(state: &State, gate: &Declared, waiting: (&Run, Option<&StepName>), wall: WallTime) -> bool {
    let (kind, target) = match gate {
        Declared::BackupFresh { target, .. } => (BACKUP_RUN, target),
        Declared::DrillFresh { target, .. } => (RECOVERY_DRILL, target),
        Declared::Capacity | Declared::ErrorBudget { .. } => return false,
    };
    let Ok(wanted) = target.parse::<BackupTarget>() else { return false };
    let (own, gated) = waiting;
    let is_scheduled = |(name, history): (&PlanName, &PlanHistory)| {
        let Some((_, current)) = history.current().filter(|_| history.suspended.is_none()) else { return false };
        let plan = &current.plan;
        // No instant of it starts another run while this one waits.
        let is_held_back = *name == own.id.plan && plan.concurrency == Concurrency::Forbid;
        let starts = |schedule: &Schedule| !schedule.suspended && is_of(plan, &schedule.inputs, kind, &wanted);
        !is_held_back && plan.schedules.iter().any(|schedule| starts(schedule) && almanac::next_of(schedule, wall).is_some())
    };
    let is_wanted = |target: &Target| !matches!(target, Target::Connection(name) if *name != wanted.connection);
    let is_open = |run: &Run| {
        let is_to_come = |step: &Step, work: &Work| {
            let comes_by_itself = run.id != own.id || gated.is_some_and(|gated| !comes_after(&run.plan, step, gated));
            !work.forward.is_over() && (comes_by_itself || !work.forward.is_waiting())
        };
        let mut steps = run.plan.steps.iter().filter(|step| step.uses == kind);
        !run.is_ended()
            && steps.any(|step| run.work.get(&step.name).is_some_and(|works| works.iter().any(|(of, work)| is_wanted(of) && is_to_come(step, work))))
    };
    state.plans.iter().any(is_scheduled) || state.runs.values().any(is_open)
}

/// Whether a run of a plan with these inputs does something of this kind to a target.
fn is_of(plan: &Plan, inputs: &BTreeMap<String, Value>, kind: &str, wanted: &BackupTarget) -> bool {
    // Where they do not fit, no run starts.
    let Ok(filled) = input::resolve(&plan.inputs, inputs).and_then(|inputs| evaluate::connections(plan, &inputs)) else { return false };
    let fits = |step: &Step| {
        let named = filled.get(&step.name).map(String::as_str).or_else(|| step.with.get(CONNECTION_PARAM).and_then(Value::as_str));
        named.is_none_or(|pattern| catalogue::fits(pattern, wanted.connection.as_str()))
    };
    plan.steps.iter().any(|step| step.uses == kind && fits(step))
}

/// Whether a step is another one, or begins only when that has ended.
fn comes_after(plan: &Plan, step: &Step, other: &StepName) -> bool {
    let (mut next, mut seen) = (vec![&step.name], BTreeSet::new());
    while let Some(name) = next.pop() {
        if name == other {
            return true;
        }
        if seen.insert(name)
            && let Some(step) = plan.step(name)
        {
            next.extend(&step.needs);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backup::{BackupName, Drill};
    use crate::command::{Actor, Command, Entry};
    use crate::plan::parse;
    use crate::reply::Reply;
    use crate::report::Verdict;
    use crate::state::FEATURE_LEVEL;
    use crate::state::backup::{Backup, Drilled, Read};
    use crate::time::MeshTime;

    const HOUR: i64 = 3_600_000;
    const DAY: Millis = Millis(86_400_000);

    fn backup_of(hours: i64) -> Backup {
        let store = "backups".parse().unwrap();
        Backup {
            begun: WallTime(hours * HOUR),
            store,
            stored_bytes: 1,
            checksum: String::new(),
            counts: true,
            read: None,
            hold: None,
            missing: None,
            erased: None,
        }
    }

    /// At the hundredth hour.
    fn stands(known: TargetBackups, gate: &Declared) -> String {
        let mut state = State::default();
        state.backups.insert("prod/orders-db".parse().unwrap(), Arc::new(known));
        shut(&state, gate, WallTime(100 * HOUR)).unwrap_or_else(|| "open".to_owned())
    }

    #[test]
    fn a_backup_is_fresh_while_the_newest_good_one_is_young() {
        let gate = |target: &str| Declared::BackupFresh { target: target.into(), max_age: DAY };
        let with = |backups: &[(&str, Backup)]| TargetBackups {
            backups: backups.iter().map(|(name, backup)| (name.parse::<BackupName>().unwrap(), backup.clone())).collect(),
            ..TargetBackups::default()
        };
        let (old, new) = ("20261129T020000Z-3.41", "20261130T020000Z-3.42");
        let damaged = Backup { read: Some(Read { at: WallTime(0), verdict: Verdict::Critical }), ..backup_of(99) };
        for (known, expected) in [
            (with(&[]), "there is no good backup of it"),
            (with(&[(old, backup_of(76))]), "open"),
            (with(&[(old, backup_of(75))]), "the newest good one is of Sun 4 Jan 03:00 UTC, 1h too old"),
            (with(&[(old, backup_of(10)), (new, backup_of(99))]), "open"),
            (with(&[(old, backup_of(75)), (new, damaged.clone())]), "the newest good one is of Sun 4 Jan 03:00 UTC, 1h too old"),
            (with(&[(new, Backup { counts: false, ..backup_of(99) })]), "there is no good backup of it"),
            (with(&[(new, Backup { missing: Some(WallTime(0)), ..backup_of(99) })]), "there is no good backup of it"),
            // A clock that went back makes nothing old.
            (with(&[(new, backup_of(200))]), "open"),
        ] {
            assert_eq!(stands(known.clone(), &gate("prod/orders-db")), expected, "{known:?}");
        }
        assert_eq!(stands(with(&[]), &gate("prod/other")), "unknown: the catalogue of backups has nothing of prod/other");
        assert!(stands(with(&[]), &gate("orders-db")).starts_with("unknown: `orders-db` is no target of backups"));
    }

    fn apply(state: &mut State, command: Command) -> Reply {
        state.apply(&Entry { at: MeshTime(0), wall: WallTime(0), by: Actor::Mesh, key: None, command })
    }

    fn add(state: &mut State, name: &str, spec: &str) {
        let text = format!("apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: {name} }}\nspec: {spec}");
        let reply = apply(state, Command::ApplyPlan { plan: Box::new(parse(&text).unwrap()), bundled: false });
        assert!(matches!(reply, Reply::Applied { .. }), "{reply:?}");
    }

    fn start(state: &mut State, name: &str) -> Run {
        let (plan, inputs) = (name.parse().unwrap(), BTreeMap::new());
        let command = Command::StartRun { plan, revision: None, inputs, connections: BTreeMap::new(), without_calendar: None, object: None };
        match apply(state, command) {
            Reply::Started(id) => state.runs.get(&id).unwrap().clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_gate_opens_by_itself_where_something_makes_a_backup_of_its_target_that_does_not_wait_for_it() {
        let gate = Declared::BackupFresh { target: "prod/orders-db".into(), max_age: DAY };
        let makes = |of: &str| format!("{{ steps: [{{ name: make, uses: backup.run, with: {{ connection: {of} }} }}] }}");
        let daily = |rest: &str| {
            format!(
                "{{ inputs: {{ of: {{ type: text, default: \"*\" }} }}, schedules: [{{ cron: \"0 2 * * *\", zone: UTC{rest} }}], \
                 steps: [{{ name: make, uses: backup.run, with: {{ connection: \"${{{{ inputs.of }}}}\" }} }}] }}"
            )
        };
        let idle = "{ steps: [{ name: gated, uses: wait, with: { for: 1s } }] }".to_owned();
        let own = |gated: &str, make: &str| {
            let make = format!("{{ name: make, uses: backup.run, with: {{ connection: orders-db }}{make} }}");
            format!("{{ steps: [{make}, {{ name: gated, uses: wait, with: {{ for: 1s }}{gated} }}] }}")
        };
        for (waits, other, is_started, expected) in [
            (idle.clone(), makes("orders-db"), true, true),
            (idle.clone(), makes("orders-db"), false, false),
            (idle.clone(), makes("cache"), true, false),
            (idle.clone(), daily(""), false, true),
            (idle.clone(), daily(", suspended: true"), false, false),
            (idle.clone(), daily(", inputs: { of: \"orders*\" }"), false, true),
            (idle.clone(), daily(", inputs: { of: cache }"), false, false),
            // What the run itself does: before, at the same time, and only afterwards.
            (own(", needs: [make]", ""), idle.clone(), false, true),
            (own("", ""), idle.clone(), false, true),
            (own("", ", needs: [gated]"), idle, false, false),
        ] {
            let mut state = State::default();
            state.feature_level = FEATURE_LEVEL;
            add(&mut state, "waits", &waits);
            add(&mut state, "other", &other);
            let run = start(&mut state, "waits");
            if is_started {
                start(&mut state, "other");
            }
            let gated: StepName = "gated".parse().unwrap();
            assert_eq!(opens_by_itself(&state, &gate, (&run, Some(&gated)), WallTime(0)), expected, "{waits} {other}");
            let of_all = opens_by_itself(&state, &gate, (&run, None), WallTime(0));
            assert_eq!(of_all, expected && !waits.contains("backup.run"), "where all of its steps wait: {waits} {other}");
        }
    }

    #[test]
    fn a_drill_is_fresh_when_the_last_one_went_well_and_is_young() {
        let gate = Declared::DrillFresh { target: "prod/orders-db".into(), max_age: DAY };
        let with = |hours: i64, proven: bool| TargetBackups {
            drill: Some(Drilled { at: WallTime(hours * HOUR), drill: Drill { backup: None, proven, rto: None, rpo: None } }),
            ..TargetBackups::default()
        };
        for (known, expected) in [
            (TargetBackups::default(), "its backups have never been restored in a drill"),
            (with(90, true), "open"),
            (with(70, true), "the last one is of Sat 3 Jan 22:00 UTC, 6h too old"),
            (with(99, false), "the last one, of Mon 5 Jan 03:00 UTC, did not go well"),
        ] {
            assert_eq!(stands(known.clone(), &gate), expected, "{known:?}");
        }
    }
}
