//! `mainstay plan`

mod control;
mod diff;
mod preview;

use mainstay_client::Mesh;
use mainstay_proto::v1::{ApplyPlanRequest, GetPlanRequest, ListPlansRequest};

use super::validate::{check, print_schema, read, validate};
use super::{Screen, now};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::plan::list;

pub async fn plan(verb: &args::plan::Plan, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    use args::plan::Plan as Verb;
    match verb {
        Verb::List => {
            let plans = mesh.list_plans(ListPlansRequest {}).await?;
            screen.show(&plans, |plans| list::list(&plans.plans, screen.terminal, now()))?;
        }
        Verb::Show { name, revision, revisions } => {
            let plan = mesh.get_plan(GetPlanRequest { name: name.clone(), revision: *revision }).await?;
            if *revisions {
                screen.show(&plan, |plan| list::revisions(plan, screen.terminal, now()))?;
                return Ok(Exit::Success);
            }
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
        Verb::Preview(args) => return preview::preview(args, mesh, screen).await,
        Verb::Diff(args) => return diff::diff(args, mesh, screen).await,
        Verb::Suspend { name, reason, dry_run } => control::suspend(name, reason, *dry_run, mesh, screen).await?,
        Verb::Resume { name, dry_run } => control::resume(name, *dry_run, mesh, screen).await?,
        Verb::Remove { name, dry_run } => control::remove(name, *dry_run, mesh, screen).await?,
    }
    Ok(Exit::Success)
}
