//! `mainstay plan preview`

use mainstay_client::Mesh;
use mainstay_proto::v1::{GetPlanRequest, Preview, PreviewPlanRequest, Severity};

use super::{check, read};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::plan::preview as rendered;
use crate::render::values::quoted;
use crate::verbs::{Screen, inputs, now};

pub async fn preview(args: &args::plan::Preview, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let request = request(args, mesh).await?;
    let preview = mesh.preview_plan(request).await?;
    screen.show(&preview, |preview| rendered::preview(preview, &next(args, &preview.plan), screen.terminal, now()))?;
    Ok(exit(&preview))
}

async fn request(args: &args::plan::Preview, mesh: &Mesh) -> Result<PreviewPlanRequest, CliError> {
    let (source, plan) = match (args.source.file(), args.source.name()) {
        (Some(file), _) => {
            let source = read(file)?;
            let plan = check(&source, file)?;
            (source, Some(plan))
        }
        (None, Some(name)) if !args.inputs.set.is_empty() => {
            let plan = mesh.get_plan(GetPlanRequest { name: name.clone(), revision: args.revision }).await?;
            (String::new(), mainstay_core::plan::parse(&plan.source).ok())
        }
        _ => (String::new(), None),
    };
    let declared = plan.map(|plan| plan.inputs).unwrap_or_default();
    let inputs = inputs::values(&args.inputs, &declared)?;
    Ok(PreviewPlanRequest {
        source,
        name: args.source.name().cloned().unwrap_or_default(),
        revision: args.revision,
        inputs,
        without_calendar: String::new(),
    })
}

/// What to type when it looks right.
fn next(args: &args::plan::Preview, plan: &str) -> String {
    match args.source.file() {
        Some(file) => format!("mainstay plan apply -f {}", quoted(file)),
        None => {
            let mut command = format!("mainstay run start {plan}");
            if args.revision > 0 {
                command += &format!(" --revision {}", args.revision);
            }
            for (name, value) in &args.inputs.set {
                command += &format!(" --set {}", set(name, value));
            }
            if let Some(file) = &args.inputs.values {
                command += &format!(" --values {}", quoted(file));
            }
            command
        }
    }
}

/// A value as it is typed again; one of several lines was read from a file, which is not known here.
fn set(name: &str, value: &str) -> String {
    if value.contains('\n') { format!("{name}=\"$(cat FILE)\"") } else { quoted(&format!("{name}={value}")) }
}

/// That it would have to wait is no fault of the plan; that it cannot come to its end is.
fn exit(preview: &Preview) -> Exit {
    if preview.remarks.iter().any(|remark| remark.severity() == Severity::Problem) { Exit::Failed } else { Exit::Success }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;
    use mainstay_proto::v1::Remark;

    use super::*;

    fn parsed(line: &[&str]) -> args::plan::Preview {
        let cli = args::Cli::try_parse_from(["mainstay", "plan", "preview"].iter().chain(line)).unwrap();
        match cli.verb {
            args::Verb::Plan(args::plan::Plan::Preview(preview)) => preview,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_next_command_has_the_same_values() {
        assert_eq!(
            next(&parsed(&["deploy", "--set", "image=shop/web:2", "--set", "note=a b", "--revision", "3"]), "deploy"),
            "mainstay run start deploy --revision 3 --set image=shop/web:2 --set 'note=a b'"
        );
        assert_eq!(
            next(&parsed(&["root-rotation", "--set", "root=-----BEGIN\n-----END"]), "root-rotation"),
            "mainstay run start root-rotation --set root=\"$(cat FILE)\""
        );
        assert_eq!(next(&parsed(&["-f", "my plan.yaml"]), "deploy"), "mainstay plan apply -f 'my plan.yaml'");
    }

    #[test]
    fn only_a_problem_counts_against_it() {
        let with = |severity: Severity| Preview { remarks: vec![Remark { severity: severity.into(), ..Remark::default() }], ..Preview::default() };
        assert_eq!(exit(&Preview::default()), Exit::Success);
        assert_eq!(
            [exit(&with(Severity::Note)), exit(&with(Severity::Warning)), exit(&with(Severity::Problem))],
            [Exit::Success, Exit::Success, Exit::Failed]
        );
    }
}
