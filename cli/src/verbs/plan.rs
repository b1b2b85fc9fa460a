//! `mainstay plan`

use mainstay_client::{Mesh, files};
use mainstay_core::plan::PlanError;
use mainstay_core::{WallTime, bounds, plan};
use mainstay_proto::v1::{ApplyPlanRequest, GetPlanRequest, ListPlansRequest, Plan};
use serde::Serialize;

use super::{Screen, now};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::host;
use crate::render::{Table, Terminal, time, units};

/// Problems shown at once; a file that is no plan at all has as many as it has lines.
const PROBLEMS_SHOWN: usize = 20;

pub async fn plan(verb: &args::plan::Plan, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    use args::plan::Plan as Verb;
    match verb {
        Verb::List => {
            let plans = mesh.list_plans(ListPlansRequest {}).await?;
            screen.show(&plans, |plans| render(&plans.plans, screen.terminal, now()))?;
        }
        Verb::Show { name, revision } => {
            let plan = mesh.get_plan(GetPlanRequest { name: name.clone(), revision: *revision }).await?;
            screen.show(&plan, |plan| if plan.source.ends_with('\n') { plan.source.clone() } else { format!("{}\n", plan.source) })?;
        }
        Verb::Apply { file, dry_run } => {
            let source = read(file)?;
            check(&source, file)?;
            let applied = mesh.apply_plan(ApplyPlanRequest { source, dry_run: *dry_run }).await?;
            let what = format!("{} revision {}", applied.name, applied.revision);
            let words = match (*dry_run, applied.changed) {
                (true, true) => format!("✔ would become {what}; nothing was changed"),
                (true, false) => format!("✔ is {what} already; nothing was changed"),
                (false, true) => format!("✔ {what}\n  mainstay run start {} --wait", applied.name),
                (false, false) => format!("✔ {what}, as before"),
            };
            screen.done(&applied, &words)?;
        }
        Verb::Validate { file } => validate(file, screen)?,
    }
    Ok(Exit::Success)
}

/// `-o json` of `plan validate`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Validity {
    name: String,
    steps: usize,
    valid: bool,
}

/// Checks a plan's file without a mesh.
pub fn validate(file: &str, screen: Screen) -> Result<(), CliError> {
    let plan = check(&read(file)?, file)?;
    let validity = Validity { name: plan.name.to_string(), steps: plan.steps.len(), valid: true };
    screen.done(&validity, &format!("✔ {} is sound: {}", plan.name, units::count(plan.steps.len() as u64, "step", "steps")))
}

fn read(file: &str) -> Result<String, CliError> {
    // One byte more than the limit, so that it is the plan language that refuses, in its own words.
    let max = bounds::PLAN_BYTES as u64 + 1;
    let read = if file == "-" { host::standard_input(max) } else { files::read_text(std::path::Path::new(file), max) };
    read.map_err(|error| CliError::usage(format!("the plan cannot be read from {}: {error}", shown(file))))
}

fn shown(file: &str) -> &str {
    if file == "-" { "standard input" } else { file }
}

fn check(source: &str, file: &str) -> Result<plan::Plan, CliError> {
    plan::parse(source).map_err(|error| refused(&error, source, file))
}

/// Each problem with its place, the line of the file, and a mark under the place.
fn refused(error: &PlanError, source: &str, file: &str) -> CliError {
    let count = error.problems.len();
    let mut told = CliError::usage(format!("{} is not a sound plan: {}", shown(file), units::count(count as u64, "problem", "problems")));
    let lines: Vec<&str> = source.lines().collect();
    for problem in error.problems.iter().take(PROBLEMS_SHOWN) {
        let line = usize::try_from(problem.line).ok().and_then(|number| lines.get(number.checked_sub(1)?));
        let Some(line) = line else {
            told = told.with_next(problem.message.clone());
            continue;
        };
        let number = problem.line.to_string();
        let before = usize::try_from(problem.column).unwrap_or(1).saturating_sub(1);
        told = told
            .with_next(format!("{}:{}:{}: {}", shown(file), problem.line, problem.column, problem.message))
            .with_next(format!("  {number} │ {}", line.chars().take(120).collect::<String>()))
            .with_next(format!("  {} │ {}^", " ".repeat(number.len()), " ".repeat(before.min(120))));
    }
    if count > PROBLEMS_SHOWN {
        told = told.with_next(format!("… and {} more", count - PROBLEMS_SHOWN));
    }
    told.with_next("step kinds and their parameters:  mainstay steps [KIND]")
}

fn render(plans: &[Plan], terminal: Terminal, now: WallTime) -> String {
    if plans.is_empty() {
        return "no plans yet: add one with  mainstay plan apply -f FILE\n".to_owned();
    }
    let mut table = Table::new(terminal, &["plan", "revision", "steps", "from", "applied", "description"]).wrapping(&[5]);
    for plan in plans {
        table.row(vec![
            plan.name.as_str().into(),
            plan.revision.to_string().into(),
            plan.steps.to_string().into(),
            if plan.bundled { "the program".into() } else { plan.applied_by.as_str().into() },
            time::ago(plan.applied_unix_ms, now).into(),
            plan.description.as_str().into(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: &str = "apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata:
  name: weekly
spec:
  steps:
    - name: look
      uses: node.resourcs
";

    #[test]
    fn a_wrong_plan_is_shown_where_it_is_wrong() {
        let error = check(WRONG, "weekly.yaml").unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        let text = error.to_string();
        assert!(text.starts_with("error: weekly.yaml is not a sound plan: 1 problem\n  weekly.yaml:8:13: "), "{text}");
        assert!(text.contains("did you mean `node.resources`?\n    8 │       uses: node.resourcs\n      │             ^\n"), "{text}");
    }

    #[test]
    fn a_good_plan_is_sound() {
        let plan = check(&WRONG.replace("resourcs", "resources"), "-").unwrap();
        assert_eq!((plan.name.as_str(), plan.steps.len()), ("weekly", 1));
    }
}
