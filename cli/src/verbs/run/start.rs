//! `mainstay run start`

use mainstay_client::Mesh;
use mainstay_proto::v1::{GetPlanRequest, PreviewPlanRequest, Remark, Severity, StartRunRequest};
use serde::Serialize;

use super::follow::{Follow, follow};
use crate::args::run::Start;
use crate::error::CliError;
use crate::exit::Exit;
use crate::verbs::{Screen, inputs};

/// Problems, and warnings, that are told when a run starts; the preview has all.
const PROBLEMS_SHOWN: usize = 3;

/// `-o json` of a dry run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Would<'a> {
    dry_run: bool,
    would_start: bool,
    remarks: &'a [Remark],
}

pub async fn start(args: &Start, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let Start { plan, revision, without_calendar, dry_run, wait, .. } = args;
    let request = StartRunRequest {
        plan: plan.clone(),
        revision: *revision,
        inputs: values(args, mesh).await?,
        without_calendar: without_calendar.clone(),
        dry_run: *dry_run,
    };
    let remarks = remarks(mesh, &request).await?;
    let problems = told(&remarks, *dry_run);
    let started = mesh.start_run(request).await?;
    if *dry_run {
        let ends_well = !remarks.iter().any(|remark| remark.severity() == Severity::Problem);
        let mark = if ends_well { "✔" } else { "✖" };
        let words = format!("{mark} a run of {plan} would start; nothing was started{problems}\n  what it would do:  mainstay plan preview {plan}");
        let would = Would { dry_run: true, would_start: true, remarks: &remarks };
        screen.show(&would, |_| format!("{words}\n"))?;
        // As a preview of it does.
        return Ok(if ends_well { Exit::Success } else { Exit::Failed });
    }
    if *wait {
        return follow(mesh, &started.run, Follow { screen, quiet: false }).await;
    }
    let run = &started.run;
    let words = format!("✔ {run} has started{problems}\n  follow it:          mainstay run watch {run}\n  for what it waits:  mainstay why {run}");
    screen.done(&started, &words)?;
    Ok(Exit::Success)
}

/// What the preview finds: what starts without anybody looking at it is told of that.
async fn remarks(mesh: &Mesh, start: &StartRunRequest) -> Result<Vec<Remark>, CliError> {
    let StartRunRequest { plan, revision, inputs, without_calendar, .. } = start.clone();
    let request = PreviewPlanRequest { source: String::new(), name: plan, revision, inputs, without_calendar };
    Ok(mesh.preview_plan(request).await?.remarks)
}

/// What would keep a run from a good end, as lines; with `all`, also what may not go as expected.
fn told(remarks: &[Remark], all: bool) -> String {
    let mut lines = String::new();
    for (severity, mark, most) in [(Severity::Problem, "✖", PROBLEMS_SHOWN), (Severity::Warning, "▲", if all { PROBLEMS_SHOWN } else { 0 })] {
        let of_it: Vec<&Remark> = remarks.iter().filter(|remark| remark.severity() == severity).collect();
        lines += &of_it.iter().take(most).map(|remark| format!("\n{mark} as things are now: {}", sentence(remark))).collect::<String>();
        if most > 0 && of_it.len() > most {
            lines += &format!("\n  and {} more", of_it.len() - most);
        }
    }
    lines
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_tells_warnings_too() {
        let remark = |severity: Severity, message: &str| Remark { severity: severity.into(), message: message.into(), ..Remark::default() };
        let mut remarks = vec![remark(Severity::Warning, "late"), remark(Severity::Problem, "nobody"), remark(Severity::Note, "small")];
        assert_eq!(told(&remarks, false), "\n✖ as things are now: nobody");
        assert_eq!(told(&remarks, true), "\n✖ as things are now: nobody\n▲ as things are now: late");
        remarks.extend((0..4).map(|_| remark(Severity::Problem, "nobody")));
        assert!(told(&remarks, false).ends_with("\n  and 2 more"));
    }
}
