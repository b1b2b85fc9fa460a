//! `mainstay run start`

use mainstay_client::Mesh;
use mainstay_proto::v1::{GetPlanRequest, StartRunRequest};

use super::follow::{Follow, follow};
use crate::args::run::Start;
use crate::error::CliError;
use crate::exit::Exit;
use crate::verbs::{Screen, inputs};

pub async fn start(args: &Start, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let Start { plan, revision, without_calendar, dry_run, wait, .. } = args;
    let request = StartRunRequest {
        plan: plan.clone(),
        revision: *revision,
        inputs: values(args, mesh).await?,
        without_calendar: without_calendar.clone(),
        dry_run: *dry_run,
    };
    let started = mesh.start_run(request).await?;
    if *dry_run {
        screen.done(&started, &format!("✔ a run of {plan} would start; nothing was started\n  what it would do:  mainstay plan preview {plan}"))?;
        return Ok(Exit::Success);
    }
    if *wait {
        return follow(mesh, &started.run, Follow { screen, quiet: false }).await;
    }
    let run = &started.run;
    screen
        .done(&started, &format!("✔ {run} has started\n  follow it:          mainstay run watch {run}\n  for what it waits:  mainstay why {run}"))?;
    Ok(Exit::Success)
}

/// Only values from the command line need the plan's word on what they are.
async fn values(args: &Start, mesh: &Mesh) -> Result<std::collections::BTreeMap<String, String>, CliError> {
    let declared = if args.inputs.set.is_empty() {
        None
    } else {
        let plan = mesh.get_plan(GetPlanRequest { name: args.plan.clone(), revision: args.revision }).await?;
        // A plan that only another version of this program can read: the values are taken as they look.
        mainstay_core::plan::parse(&plan.source).ok()
    };
    inputs::values(&args.inputs, &declared.map(|plan| plan.inputs).unwrap_or_default())
}
