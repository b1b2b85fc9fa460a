//! The last lines of a report: the commands that come next.

use mainstay_proto::v1::{Run, RunState};

use super::Options;
use super::rows::Row;
use crate::render::layout::width;
use crate::render::why;

/// `next: mainstay …`: only commands that have something to show.
pub fn next(run: &Run, rows: &[Row], options: Options) -> String {
    let mut commands = Vec::new();
    if matches!(run.state(), RunState::Running | RunState::Undoing) {
        commands.push(format!("mainstay why {}", run.id));
        commands.push(format!("mainstay run watch {}", run.id));
    }
    commands.extend(why::retry_unknown(run));
    if rows.iter().any(Row::needs_attention) {
        commands.push("mainstay finding list".to_owned());
    }
    if !options.all && !rows.is_empty() {
        commands.push(format!("mainstay run show {} --all", run.id));
    }
    if commands.is_empty() {
        return String::new();
    }
    let mut lines = vec!["next: ".to_owned()];
    for (i, command) in commands.iter().enumerate() {
        let gap = if i == 0 { "" } else { " · " };
        let fits = lines.last().is_some_and(|line| options.terminal.width.is_none_or(|columns| width(line) + width(gap) + width(command) <= columns));
        match lines.last_mut() {
            Some(line) if fits || i == 0 => *line += &format!("{gap}{command}"),
            _ => lines.push(format!("      {command}")),
        }
    }
    lines.join("\n") + "\n"
}
