//! `mainstay plan suspend`, `resume` and `remove`.

use mainstay_client::Mesh;
use mainstay_proto::v1::{GetPlanRequest, Plan, RemovePlanRequest, ResumePlanRequest, SuspendPlanRequest};

use crate::error::CliError;
use crate::render::forecast::Forecast;
use crate::render::plan::list::next_time;
use crate::render::units;
use crate::verbs::{Screen, now};

pub async fn suspend(name: &str, reason: &str, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<(), CliError> {
    let plan = get(mesh, name).await?;
    let answer = mesh.suspend_plan(SuspendPlanRequest { name: name.to_owned(), reason: reason.to_owned(), dry_run }).await?;
    if dry_run {
        return screen.show(&suspension(&plan), Forecast::text);
    }
    let words = match plan.suspended_by.as_str() {
        "" => format!("✔ the schedules of {name} start nothing from now on\n  mainstay plan resume {name}"),
        by => format!("✔ {name} was suspended before, by {by}; that stays as it is"),
    };
    screen.done(&answer, &words)
}

pub async fn resume(name: &str, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<(), CliError> {
    let plan = get(mesh, name).await?;
    let answer = mesh.resume_plan(ResumePlanRequest { name: name.to_owned(), dry_run }).await?;
    if dry_run {
        return screen.show(&resumption(&plan), Forecast::text);
    }
    let after = get(mesh, name).await?;
    screen.done(&answer, &format!("✔ {name} is not suspended; {}", next(&after)))
}

pub async fn remove(name: &str, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<(), CliError> {
    let plan = get(mesh, name).await?;
    let answer = mesh.remove_plan(RemovePlanRequest { name: name.to_owned(), dry_run }).await?;
    if dry_run {
        return screen.show(&removal(&plan), Forecast::text);
    }
    let words = match bundled(&plan) {
        Some(revision) => format!("✔ your revisions of {name} are removed; revision {revision}, which came with the program, is in force"),
        None => format!("✔ {name} is removed"),
    };
    screen.done(&answer, &words)
}

async fn get(mesh: &Mesh, name: &str) -> Result<Plan, CliError> {
    Ok(mesh.get_plan(GetPlanRequest { name: name.to_owned(), revision: 0 }).await?)
}

fn suspension(plan: &Plan) -> Forecast {
    let mut forecast = Forecast::new(format!("plan {}", plan.name), "be suspended");
    match plan.suspended_by.as_str() {
        "" if plan.schedules.is_empty() => forecast.nothing("it has no schedule: it starts nothing by itself anyway"),
        "" => {
            for schedule in &plan.schedules {
                let next = next_time(schedule, now())
                    .map_or_else(|| "is suspended by the plan itself".to_owned(), |next| format!("would not start at {next}"));
                forecast.would(format!("{} {} {next}", schedule.cron, schedule.zone));
            }
        }
        by => forecast.nothing(format!("it was suspended before, by {by}")),
    }
    forecast
}

fn resumption(plan: &Plan) -> Forecast {
    let mut forecast = Forecast::new(format!("plan {}", plan.name), "be resumed");
    if plan.suspended_by.is_empty() {
        forecast.nothing("it is not suspended");
    } else {
        forecast.would(format!("its {} would start runs again", units::count(plan.schedules.len() as u64, "schedule", "schedules")));
        forecast.would("what was due in the meantime would not be made up for");
    }
    forecast
}

fn removal(plan: &Plan) -> Forecast {
    let mut forecast = Forecast::new(format!("plan {}", plan.name), "be removed");
    let own: Vec<String> = plan.revisions.iter().filter(|revision| !revision.bundled).map(|revision| revision.number.to_string()).collect();
    let noun = if own.len() == 1 { "revision" } else { "revisions" };
    forecast.would(format!("{noun} {} would be gone", own.join(", ")));
    match bundled(plan) {
        Some(revision) => forecast.would(format!("revision {revision}, which came with the program, would be in force")),
        None if !plan.schedules.is_empty() => forecast.would("its schedules would start nothing any more"),
        None => {}
    }
    forecast
}

/// The newest revision that came with the program.
fn bundled(plan: &Plan) -> Option<u32> {
    plan.revisions.iter().filter(|revision| revision.bundled).map(|revision| revision.number).max()
}

/// When it starts next.
fn next(plan: &Plan) -> String {
    let soonest = plan.schedules.iter().filter(|schedule| schedule.next_unix_ms > 0).min_by_key(|schedule| schedule.next_unix_ms);
    soonest
        .and_then(|schedule| next_time(schedule, now()))
        .map_or_else(|| "it has no schedule that starts anything".to_owned(), |next| format!("next run {next}"))
}

#[cfg(test)]
mod tests {
    use mainstay_proto::v1::{PlanRevision, PlanSchedule};

    use super::*;

    fn plan() -> Plan {
        let revision = |number, bundled| PlanRevision { number, bundled, ..PlanRevision::default() };
        let schedule = PlanSchedule { cron: "0 3 * * *".into(), zone: "UTC".into(), ..PlanSchedule::default() };
        Plan {
            name: "daily".into(),
            revisions: vec![revision(1, true), revision(2, false), revision(3, false)],
            schedules: vec![schedule],
            ..Plan::default()
        }
    }

    #[test]
    fn a_removal_says_what_would_be_in_force() {
        assert_eq!(
            removal(&plan()).text(),
            "plan daily would be removed; nothing was changed\n  revisions 2, 3 would be gone\n  revision 1, which came with the program, would be in force\n"
        );
    }

    #[test]
    fn what_would_change_nothing_is_said() {
        assert_eq!(resumption(&plan()).text(), "plan daily: nothing would change: it is not suspended\n");
        let suspended = Plan { suspended_by: "operator/jo".into(), ..plan() };
        assert_eq!(suspension(&suspended).text(), "plan daily: nothing would change: it was suspended before, by operator/jo\n");
        assert!(suspension(&plan()).text().contains("0 3 * * * UTC is suspended by the plan itself"));
    }
}
