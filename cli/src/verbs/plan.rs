//! `mainstay plan`

use mainstay_client::Mesh;
use mainstay_core::WallTime;
use mainstay_proto::v1::{ApplyPlanRequest, GetPlanRequest, ListPlansRequest, Plan};

use super::validate::{check, print_schema, read, validate};
use super::{Screen, now};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::{Table, Terminal, time};

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
        Verb::Validate { files } => return validate(files, screen),
        Verb::Schema => return print_schema(),
    }
    Ok(Exit::Success)
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
