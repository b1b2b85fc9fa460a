//! What there is to agree to, before somebody says yes.

use mainstay_core::WallTime;
use mainstay_proto::v1::{AwaitedStep, Run, WantedApproval};

use super::names::{Names, is_by_mesh};
use super::page::{Page, cell, column};
use super::plan::{undo, undo_words};
use super::terminal::{Terminal, Tone};
use super::why::{covered, who};
use super::{time, units, values};

/// Columns of the words in front.
const LABEL: usize = 12;
/// Columns of the word in front of what takes a step back.
const UNDO: usize = 9;
/// Wider names and kinds move what is beside them.
const NAME_MOST: usize = 22;

/// All that an approval is about: what begins, with what, where, and who may agree.
#[must_use]
pub fn view(run: &Run, approval: &WantedApproval, terminal: Terminal, now: WallTime) -> String {
    let all = run.work.iter().map(|work| work.target.as_str());
    let names = Names::of(all.chain(approval.targets.iter().map(String::as_str)));
    let mut page = Page::new(terminal);
    page.line(0, Tone::Strong, &format!("{} asks for approval: {}", run.id, covered(approval, names)));
    if !approval.message.is_empty() {
        page.line(2, Tone::Strong, &approval.message);
    }
    page.gap();
    if approval.wave > 0 || approval.targets.len() > 1 {
        let targets: Vec<&str> = approval.targets.iter().map(|target| names.short(target)).filter(|name| !name.is_empty()).collect();
        page.labelled(2, LABEL, ("where", Tone::Quiet), Tone::Plain, &targets.join(", "));
    }
    page.labelled(2, LABEL, ("who may", Tone::Quiet), Tone::Plain, &who(approval).replace("to be approved by ", ""));
    if !approval.may_not.is_empty() {
        page.labelled(2, LABEL, ("", Tone::Quiet), Tone::Warning, &format!("not you: {}", approval.may_not));
    }
    if !approval.too_early.is_empty() {
        page.labelled(2, LABEL, ("▲ too soon", Tone::Warning), Tone::Warning, &approval.too_early);
    }
    let started = format!("{} revision {}, started {} by {}", run.plan, run.revision, time::ago(run.started_unix_ms, now), run.started_by);
    page.labelled(2, LABEL, ("run", Tone::Quiet), Tone::Plain, &started);
    for (i, (name, value)) in run.inputs.iter().enumerate() {
        let label = if i == 0 { "inputs" } else { "" };
        page.labelled(2, LABEL, (label, Tone::Quiet), Tone::Plain, &format!("{name} = {}", values::short_json(value)));
    }
    if !run.without_calendar.is_empty() {
        page.labelled(2, LABEL, ("▲ override", Tone::Warning), Tone::Plain, &format!("windows and freezes do not count: {}", run.without_calendar));
    }
    page.gap();
    steps(&mut page, &approval.steps, names);
    page.finish()
}

fn steps(page: &mut Page, steps: &[AwaitedStep], names: Names) {
    if steps.is_empty() {
        page.line(2, Tone::Plain, "no step waits for it: the run ends with it");
        return;
    }
    page.line(2, Tone::Quiet, "what begins then, sooner or later");
    let name = column(steps.iter().map(|step| step.name.as_str()), NAME_MOST);
    let kind = column(steps.iter().map(|step| step.kind.as_str()), NAME_MOST);
    for step in steps {
        let where_to =
            if is_by_mesh(&step.kind) { "the mesh asks again".to_owned() } else { units::count(step.target_count.into(), "target", "targets") };
        let mut facts = vec![where_to];
        if step.effect != "read" && step.undo_step.is_none() {
            facts.push(undo(&step.undo));
        }
        page.labelled(4, name + kind + 4, (&format!("{}{}", cell(&step.name, name), step.kind), Tone::Strong), Tone::Plain, &facts.join(" · "));
        let parameters = values::parameters(&step.with);
        if !parameters.is_empty() {
            let on = if step.with_of.is_empty() { String::new() } else { format!("on {}: ", names.short(&step.with_of)) };
            page.line(6, Tone::Plain, &format!("{on}{}", parameters.join(" · ")));
        }
        if let Some(undo) = &step.undo_step {
            page.labelled(6, UNDO, ("↺ undo", Tone::Quiet), Tone::Plain, &undo_words(undo, names));
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_proto::v1::UndoStep;

    use super::*;
    use crate::render::layout::width;

    #[test]
    fn it_shows_what_begins_with_what_and_where() {
        let step = |name: &str, with: &str| AwaitedStep {
            name: name.into(),
            kind: "node.exec".into(),
            with: with.into(),
            effect: "exec".into(),
            undo: "none given".into(),
            target_count: 40,
            with_of: String::new(),
            undo_step: (name == "drain").then(|| UndoStep {
                kind: "node.exec".into(),
                with: r#"{"command":["/usr/bin/pool","back","web"]}"#.into(),
                with_of: String::new(),
            }),
        };
        let approval = WantedApproval {
            step: "reboot".into(),
            wave: 3,
            by: "operator".into(),
            not: "operator/ana".into(),
            targets: (21..=30).map(|n| format!("prod/node-{n}")).collect(),
            steps: vec![
                step("drain", r#"{"command":["/usr/bin/pool","drain","web"]}"#),
                step("reboot", r#"{"command":["/sbin/reboot","--reason","kernel 6.12"]}"#),
            ],
            too_early:
                "an approval counts for 1h, and would have expired when what comes after it opens, Tue 24 Nov 02:00 UTC: it would be asked for \
                        again"
                    .into(),
            ..WantedApproval::default()
        };
        let now = WallTime(1_764_590_400_000);
        let run = Run {
            id: "reboot-7".into(),
            plan: "reboot".into(),
            revision: 3,
            started_by: "operator/ana".into(),
            started_unix_ms: now.0 - 1_320_000,
            inputs: [("kernel".to_owned(), "\"6.12\"".to_owned())].into(),
            ..Run::default()
        };
        let text = view(&run, &approval, Terminal { width: Some(80), colour: false }, now);
        assert!(text.lines().all(|line| width(line) <= 80), "{text}");
        insta::assert_snapshot!(text);
    }
}
