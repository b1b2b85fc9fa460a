//! `mainstay plan diff`

use mainstay_client::Mesh;
use mainstay_proto::v1::{GetPlanRequest, Plan};
use serde_json::Value;

use super::{check, read};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::plan::changes::changes;
use crate::render::plan::diff::{self as rendered, Difference};
use crate::verbs::Screen;
use crate::verbs::validate::shown;
use crate::yaml;

pub async fn diff(args: &args::plan::Diff, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let difference = match (args.source.file(), args.source.name()) {
        (Some(file), _) => {
            let source = read(file)?;
            let plan = check(&source, file)?;
            let old = get(mesh, plan.name.as_str(), args.revision).await?;
            between(&old, shown(file), &source)
        }
        (None, name) => {
            let name = name.map(String::as_str).unwrap_or_default();
            let current = get(mesh, name, 0).await?;
            let old = get(mesh, name, if args.revision > 0 { args.revision } else { before(&current)? }).await?;
            between(&old, &format!("revision {}", current.revision), &current.source)
        }
    };
    screen.show(&difference, |difference| rendered::diff(difference, screen.terminal))?;
    Ok(if difference.same { Exit::Success } else { Exit::Failed })
}

async fn get(mesh: &Mesh, name: &str, revision: u32) -> Result<Plan, CliError> {
    Ok(mesh.get_plan(GetPlanRequest { name: name.to_owned(), revision }).await?)
}

/// The revision before the current one.
fn before(plan: &Plan) -> Result<u32, CliError> {
    let earlier = plan.revisions.iter().map(|revision| revision.number).filter(|number| *number < plan.revision).max();
    earlier.ok_or_else(|| {
        CliError::usage(format!("plan {} has no revision before {}", plan.name, plan.revision))
            .with_next(format!("compare it with a file:  mainstay plan diff -f FILE   (its source:  mainstay plan show {})", plan.name))
    })
}

fn between(old: &Plan, to: &str, new: &str) -> Difference {
    let from = format!("revision {}", old.revision);
    let same = old.source == new;
    // Both are sound plans, or they would not have come here; one that cannot be read has no fields to compare.
    let document = |source: &str| yaml::read::<Value>(source).unwrap_or_default();
    Difference {
        changes: if same { Vec::new() } else { changes(&document(&old.source), &document(new)) },
        diff: if same { String::new() } else { rendered::unified(&old.name, (&from, &old.source), (to, new)) },
        plan: old.name.clone(),
        from,
        to: to.to_owned(),
        same,
    }
}

#[cfg(test)]
mod tests {
    use mainstay_proto::v1::PlanRevision;

    use super::*;

    #[test]
    fn the_revision_before_is_the_newest_that_is_kept() {
        let revision = |number| PlanRevision { number, ..PlanRevision::default() };
        let plan = Plan { name: "weekly".into(), revision: 7, revisions: vec![revision(2), revision(5), revision(7)], ..Plan::default() };
        assert_eq!(before(&plan), Ok(5));
        assert_eq!(before(&Plan { revision: 2, ..plan }).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_comment_is_a_difference_without_a_change() {
        let old = Plan { name: "weekly".into(), revision: 1, source: "spec: { steps: [] }\n".into(), ..Plan::default() };
        assert!(between(&old, "revision 2", &old.source).same);
        let commented = between(&old, "revision 2", "# why\nspec: { steps: [] }\n");
        assert!(!commented.same && commented.changes.is_empty() && commented.diff.contains("+# why"), "{commented:?}");
    }
}
