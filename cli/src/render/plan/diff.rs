//! `mainstay plan diff`: what changes in meaning, then the lines.

use serde::Serialize;
use similar::TextDiff;

use super::changes::{Change, Kind};
use crate::render::layout::harmless;
use crate::render::page::Page;
use crate::render::terminal::{Terminal, Tone};
use crate::render::units;

/// Two sources of a plan, side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    pub plan: String,
    /// `revision 3`
    pub from: String,
    /// `revision 4`, or the file's name.
    pub to: String,
    /// Whether the sources are the same, letter by letter.
    pub same: bool,
    pub changes: Vec<Change>,
    /// The lines, in the unified format.
    pub diff: String,
}

/// Lines around a change that are shown with it.
const CONTEXT: usize = 3;

/// The lines that differ.
#[must_use]
pub fn unified(plan: &str, (from, old): (&str, &str), (to, new): (&str, &str)) -> String {
    let diff = TextDiff::from_lines(old, new);
    diff.unified_diff().context_radius(CONTEXT).header(&format!("{plan} {from}"), &format!("{plan} {to}")).to_string()
}

#[must_use]
pub fn diff(difference: &Difference, terminal: Terminal) -> String {
    let mut page = Page::new(terminal);
    let between = format!("{} → {}", difference.from, difference.to);
    if difference.same {
        page.line(0, Tone::Plain, &format!("{} · {between} · they are the same", difference.plan));
        return page.finish();
    }
    let count = match difference.changes.len() {
        0 => "nothing changes in meaning: comments and layout only".to_owned(),
        n => units::count(n as u64, "change", "changes"),
    };
    page.parts(0, &[(difference.plan.clone(), Tone::Strong), (between, Tone::Plain), (count, Tone::Plain)]);
    page.gap();
    for change in &difference.changes {
        let (sign, tone) = match change.change {
            Kind::Added => ("+", Tone::Good),
            Kind::Removed => ("-", Tone::Bad),
            Kind::Changed => ("~", Tone::Warning),
        };
        page.labelled(2, 2, (sign, tone), Tone::Plain, &change.what);
        change.details.iter().for_each(|detail| page.line(6, Tone::Plain, detail));
    }
    page.gap();
    for line in difference.diff.lines() {
        page.raw(&format!("{}\n", terminal.paint(tone(line), &harmless(line))));
    }
    page.finish()
}

fn tone(line: &str) -> Tone {
    match line.chars().next() {
        _ if line.starts_with("--- ") || line.starts_with("+++ ") => Tone::Strong,
        Some('+') => Tone::Good,
        Some('-') => Tone::Bad,
        Some('@') => Tone::Quiet,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference() -> Difference {
        let (old, new) = ("a\nb\nc\n", "a\nB\nc\n");
        Difference {
            plan: "weekly".into(),
            from: "revision 3".into(),
            to: "weekly.yaml".into(),
            same: false,
            changes: vec![
                Change { change: Kind::Changed, what: "step restart".into(), details: vec!["timeout: 5m → 10m".into()] },
                Change { change: Kind::Added, what: "step smoke (http.check)".into(), details: vec![] },
            ],
            diff: unified("weekly", ("revision 3", old), ("weekly.yaml", new)),
        }
    }

    #[test]
    fn meaning_comes_before_lines() {
        assert_eq!(
            diff(&difference(), Terminal { width: Some(80), colour: false }),
            "weekly · revision 3 → weekly.yaml · 2 changes\n\n  ~ step restart\n      timeout: 5m → 10m\n  + step smoke (http.check)\n\n\
             --- weekly revision 3\n+++ weekly weekly.yaml\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"
        );
    }

    #[test]
    fn the_same_is_said_in_one_line() {
        let same = Difference { same: true, changes: vec![], diff: String::new(), ..difference() };
        assert_eq!(diff(&same, Terminal::PIPE), "weekly · revision 3 → weekly.yaml · they are the same\n");
    }

    #[test]
    fn json_has_all_of_it() {
        insta::assert_snapshot!(crate::render::json::json(&difference()).unwrap());
    }
}
