//! `mainstay run start`

use mainstay_client::Mesh;
use mainstay_proto::v1::{GetPlanRequest, PreviewPlanRequest, Remark, Severity, StartRunRequest};

use super::follow::{Follow, follow};
use crate::args::run::Start;
use crate::error::CliError;
use crate::exit::Exit;
use crate::verbs::{Screen, inputs};

/// Problems that are told when a run starts; the preview has all.
const PROBLEMS_SHOWN: usize = 3;

pub async fn start(args: &Start, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let Start { plan, revision, without_calendar, dry_run, wait, .. } = args;
    let request = StartRunRequest {
        plan: plan.clone(),
        revision: *revision,
        inputs: values(args, mesh).await?,
        without_calendar: without_calendar.clone(),
        dry_run: *dry_run,
    };
    let problems = problems(mesh, &request).await?;
    let started = mesh.start_run(request).await?;
    if *dry_run {
        let words = format!("✔ a run of {plan} would start; nothing was started{problems}\n  what it would do:  mainstay plan preview {plan}");
        screen.done(&started, &words)?;
        return Ok(Exit::Success);
    }
    if *wait {
        return follow(mesh, &started.run, Follow { screen, quiet: false }).await;
    }
    let run = &started.run;
    let words = format!("✔ {run} has started{problems}\n  follow it:          mainstay run watch {run}\n  for what it waits:  mainstay why {run}");
    screen.done(&started, &words)?;
    Ok(Exit::Success)
}

/// What would keep it from a good end, as lines: what starts without anybody looking at the preview is told of it.
async fn problems(mesh: &Mesh, start: &StartRunRequest) -> Result<String, CliError> {
    let StartRunRequest { plan, revision, inputs, .. } = start.clone();
    let preview = mesh.preview_plan(PreviewPlanRequest { source: String::new(), name: plan, revision, inputs }).await?;
    let problems: Vec<&Remark> = preview.remarks.iter().filter(|remark| remark.severity() == Severity::Problem).collect();
    let mut lines: String = problems.iter().take(PROBLEMS_SHOWN).map(|problem| format!("\n▲ as things are now: {}", sentence(problem))).collect();
    if problems.len() > PROBLEMS_SHOWN {
        lines += &format!("\n  and {} more", problems.len() - PROBLEMS_SHOWN);
    }
    Ok(lines)
}

fn sentence(remark: &Remark) -> String {
    if remark.step.is_empty() { remark.message.clone() } else { format!("{}: {}", remark.step, remark.message) }
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
