//! `with`: the parameters of a step kind, typed by the catalogue.

use serde_json::{Map, Value};

use super::check::Checker;
use super::tree::{Node, Place};
use crate::catalogue::Kind;
use crate::expr::template::has_template;

/// The parameter that is a program and its arguments.
const COMMAND: &str = "command";

/// Reads a `with` block; `uses` is where to say what is missing from it.
pub(super) fn read(c: &mut Checker<'_>, kind: &Kind, node: Option<&Node>, uses: Place) -> Map<String, Value> {
    let with = node.map(Node::values).unwrap_or_default();
    for (path, message) in kind.check_written(&with) {
        // The parameter is the path up to its first `.` or `[`; without one, something is missing.
        let name = path.split(['.', '[']).next().unwrap_or_default();
        let key = node.map(Node::fields).unwrap_or_default().iter().find(|(key, _)| key.name == name).map(|(key, _)| key.at);
        let at = match (key, kind.param(name), node) {
            (Some(_), Some(_), Some(node)) => node.follow(&path).at,
            (Some(key), ..) => key,
            (None, ..) => uses,
        };
        c.problem(at, message);
    }
    if let Some(node) = node {
        names(c, node);
        if let Some(program) = node.field(COMMAND).and_then(|command| command.items().first())
            && program.text().is_some_and(has_template)
        {
            c.problem(program.at, "the program of a command is not named by an expression: write it out");
        }
    }
    with
}

/// Names are what they are; only values are filled in.
fn names(c: &mut Checker<'_>, node: &Node) {
    for (key, inner) in node.fields() {
        if has_template(&key.name) {
            c.problem(key.at, "`${{ }}` is filled in within values, and this is a name");
        }
        names(c, inner);
    }
    node.items().iter().for_each(|item| names(c, item));
}
