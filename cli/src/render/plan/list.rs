//! `mainstay plan list` and the revisions of one plan.

use mainstay_core::WallTime;
use mainstay_proto::v1::{Plan, PlanRevision, PlanSchedule, Run, RunState, Verdict};

use crate::render::table::{Entry, Table};
use crate::render::terminal::{Terminal, Tone};
use crate::render::{time, units, verdict};

/// On narrower terminals the descriptions are left out: they would be a word a line.
const WIDE: usize = 120;

/// Plans, when each runs next, and how its last run went.
#[must_use]
pub fn list(plans: &[Plan], terminal: Terminal, now: WallTime) -> String {
    if plans.is_empty() {
        return "no plans yet: add one with  mainstay plan apply -f FILE\n".to_owned();
    }
    let mut table = Table::new(terminal, &["plan", "revision", "steps", "from", "next run", "last run", "description"]).wrapping(&[3, 6]);
    let described = terminal.width.is_none_or(|columns| columns >= WIDE);
    for plan in plans {
        table.row(vec![
            plan.name.as_str().into(),
            plan.revision.to_string().into(),
            plan.steps.to_string().into(),
            if plan.bundled { "the program".into() } else { plan.applied_by.as_str().into() },
            next(plan, now),
            last(plan.last_run.as_ref(), now),
            if described { plan.description.as_str().into() } else { "".into() },
        ]);
    }
    let suspended = plans.iter().filter(|plan| !plan.suspended_by.is_empty()).map(|plan| {
        let since = time::ago(plan.suspended_unix_ms, now);
        let reason = if plan.suspended_reason.is_empty() { String::new() } else { format!(": {}", plan.suspended_reason) };
        format!("‖ {} was suspended {since} by {}{reason}\n  → mainstay plan resume {}\n", plan.name, plan.suspended_by, plan.name)
    });
    let held = plans.iter().filter_map(|plan| {
        let schedule = soonest(plan).filter(|schedule| !schedule.condition.is_empty())?;
        Some(format!("· {} is due {}, {}\n", plan.name, until(schedule.next_unix_ms, now), schedule.condition))
    });
    let notes: String = suspended.chain(held).collect();
    if notes.is_empty() { table.render() } else { format!("{}\n{notes}", table.render()) }
}

fn next(plan: &Plan, now: WallTime) -> Entry {
    match soonest(plan) {
        _ if !plan.suspended_by.is_empty() => Entry::toned("‖ suspended", Tone::Warning),
        Some(schedule) => until(schedule.next_unix_ms, now).into(),
        None if plan.schedules.is_empty() => "–".into(),
        None => Entry::toned("‖ suspended", Tone::Quiet),
    }
}

fn soonest(plan: &Plan) -> Option<&PlanSchedule> {
    plan.schedules.iter().filter(|schedule| schedule.next_unix_ms > 0).min_by_key(|schedule| schedule.next_unix_ms)
}

/// `in 4h10m`
fn until(unix_ms: i64, now: WallTime) -> String {
    let left = u64::try_from(unix_ms - now.0).unwrap_or(0);
    if left < 1_000 { "now".to_owned() } else { format!("in {}", units::duration_ms(left)) }
}

/// The next instant of a schedule and how far away it is; nothing where it starts nothing.
#[must_use]
pub fn next_time(schedule: &PlanSchedule, now: WallTime) -> Option<String> {
    let condition = if schedule.condition.is_empty() { String::new() } else { format!(", {}", schedule.condition) };
    (schedule.next_unix_ms > 0).then(|| format!("{} ({}){condition}", schedule.next, until(schedule.next_unix_ms, now)))
}

/// What a schedule has done so far: `12 started, 1 missed, 3 held back`; empty where it has done nothing.
#[must_use]
pub fn so_far(schedule: &PlanSchedule) -> String {
    let counted = [(schedule.started, "started"), (schedule.missed, "missed"), (schedule.held, "held back")];
    counted.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

/// `✔ daily-4 3h ago`
fn last(run: Option<&Run>, now: WallTime) -> Entry {
    let Some(run) = run else { return "–".into() };
    let open = run.ended_unix_ms == 0;
    let mark = match run.state() {
        RunState::Completed if run.verdict() != Verdict::Unspecified => verdict::verdict(run.verdict()),
        state => verdict::run(state),
    };
    let when = if open { format!("for {}", time::since(run.started_unix_ms, now)) } else { time::ago(run.ended_unix_ms, now) };
    Entry::toned(format!("{} {} {when}", mark.text(), run.id), mark.tone)
}

/// The revisions of one plan, newest first.
#[must_use]
pub fn revisions(plan: &Plan, terminal: Terminal, now: WallTime) -> String {
    let mut table = Table::new(terminal, &["revision", "applied", "by", "steps", ""]).wrapping(&[2]);
    for revision in plan.revisions.iter().rev() {
        table.row(row(revision, plan.revision, now));
    }
    table.render()
}

fn row(revision: &PlanRevision, current: u32, now: WallTime) -> Vec<Entry> {
    vec![
        revision.number.to_string().into(),
        time::ago(revision.applied_unix_ms, now).into(),
        if revision.bundled { "the program".into() } else { revision.applied_by.as_str().into() },
        revision.steps.to_string().into(),
        if revision.number == current { Entry::toned("current", Tone::Strong) } else { "".into() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::layout::width;

    const NOW: WallTime = WallTime(1_764_590_400_000);

    fn plans() -> Vec<Plan> {
        let hour = 3_600_000;
        let last = Run {
            id: "daily-4".into(),
            state: RunState::Completed.into(),
            verdict: Verdict::Critical.into(),
            ended_unix_ms: NOW.0 - 3 * hour,
            ..Run::default()
        };
        let schedule = PlanSchedule { next_unix_ms: NOW.0 + 4 * hour, ..PlanSchedule::default() };
        let daily = Plan {
            name: "daily".into(),
            revision: 1,
            steps: 4,
            bundled: true,
            description: "Resources, services, log errors and certificates of every machine".into(),
            last_run: Some(last),
            ..Plan::default()
        };
        let open = Run { id: "reboot-7".into(), state: RunState::Running.into(), started_unix_ms: NOW.0 - 60_000, ..Run::default() };
        let reboot = Plan {
            name: "reboot".into(),
            revision: 3,
            steps: 5,
            applied_by: "operator/ana".into(),
            schedules: vec![PlanSchedule { condition: "if reboot-7 has ended".into(), ..schedule.clone() }],
            last_run: Some(open),
            ..Plan::default()
        };
        let weekly = Plan {
            name: "weekly".into(),
            revision: 2,
            steps: 1,
            applied_by: "operator/ana".into(),
            schedules: vec![schedule],
            suspended_by: "operator/jo".into(),
            suspended_reason: "the move, OPS-31".into(),
            suspended_unix_ms: NOW.0 - 50 * hour,
            ..Plan::default()
        };
        vec![daily, reboot, weekly]
    }

    #[test]
    fn a_list_says_when_and_how() {
        let text = list(&plans(), Terminal { width: Some(80), colour: false }, NOW);
        assert!(text.lines().all(|line| width(line) <= 80), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn revisions_say_who_applied_them() {
        let revision =
            |number, bundled| PlanRevision { number, applied_unix_ms: NOW.0 - 7_300_000, applied_by: "operator/ana".into(), bundled, steps: 4 };
        let plan = Plan { revision: 3, revisions: vec![revision(1, true), revision(3, false)], ..Plan::default() };
        assert_eq!(
            revisions(&plan, Terminal::PIPE, NOW),
            "REVISION  APPLIED  BY            STEPS\n3         2h ago   operator/ana  4      current\n1         2h ago   the program   4\n"
        );
    }
}
