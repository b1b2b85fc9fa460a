//! `mainstay plan`

mod control;
mod diff;
mod preview;

use mainstay_client::Mesh;
use mainstay_core::plan::{Input, Plan};
use mainstay_proto::v1::{ApplyPlanRequest, GetPlanRequest, ListPlansRequest};

use super::validate::{check, print_schema, read, validate};
use super::{Screen, now};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::plan::list;
use crate::render::values::quoted;

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
        Verb::Apply { source: file, dry_run } => {
            let source = read(file.path())?;
            let plan = check(&source, file.path())?;
            let applied = mesh.apply_plan(ApplyPlanRequest { source, dry_run: *dry_run }).await?;
            let what = format!("{} revision {}", applied.name, applied.revision);
            let words = match (*dry_run, applied.changed) {
                (true, true) => format!("✔ would become {what}; nothing was changed"),
                (true, false) => format!("✔ is {what} already; nothing was changed"),
                (false, true) => format!("✔ {what}\n  mainstay run start {}{} --wait", applied.name, to_set(&plan)),
                (false, false) => format!("✔ {what}, as before"),
            };
            screen.done(&applied, &words)?;
        }
        Verb::Validate { source } => return validate(&source.paths(), screen),
        Verb::Schema => return print_schema(),
        Verb::Preview(args) => return preview::preview(args, mesh, screen).await,
        Verb::Diff(args) => return diff::diff(args, mesh, screen).await,
        Verb::Suspend { name, reason, dry_run } => control::suspend(name, reason, *dry_run, mesh, screen).await?,
        Verb::Resume { name, dry_run } => control::resume(name, *dry_run, mesh, screen).await?,
        Verb::Remove { name, dry_run } => control::remove(name, *dry_run, mesh, screen).await?,
    }
    Ok(Exit::Success)
}

/// What a start has to be given, as it is typed.
fn to_set(plan: &Plan) -> String {
    let needed = plan.inputs.iter().filter(|(_, input)| input.default.is_none());
    let value = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let set = |(name, input): (&String, &Input)| match input.one_of.first() {
        Some(first) => format!(" --set {}", quoted(&format!("{name}={}", value(first)))),
        None => format!(" --set {name}=…"),
    };
    needed.map(set).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_has_to_be_given_is_named() {
        let source = "apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: { name: p }
spec:
  inputs:
    note: { type: text }
    service: { type: text, oneOf: [web one, api] }
    limit: { type: integer, default: 3 }
  steps: [{ name: a, uses: wait, with: { for: \"${{ inputs.note }}\" } }]
";
        assert_eq!(to_set(&mainstay_core::plan::parse(source).unwrap()), " --set note=… --set 'service=web one'");
    }
}
