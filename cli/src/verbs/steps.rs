//! `mainstay steps`: the catalogue, as it is compiled into this program.

use mainstay_core::catalogue::{Connections, KINDS, Kind, Together, Undo, kind, nearest};
use serde_json::{Value, json};

use super::Screen;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::{Table, Terminal, Tone};

pub fn steps(name: Option<&str>, screen: Screen) -> Result<Exit, CliError> {
    match name {
        None => {
            let all: Vec<Value> = KINDS.iter().map(described).collect();
            screen.show(&json!({ "kinds": all }), |_| list(screen.terminal))?;
        }
        Some(name) => {
            let kind = kind(name).ok_or_else(|| unknown(name))?;
            screen.show(&described(kind), |_| page(kind, screen.terminal))?;
        }
    }
    Ok(Exit::Success)
}

fn unknown(name: &str) -> CliError {
    let error = CliError::usage(format!("there is no step kind `{name}`"));
    match nearest(name, KINDS.iter().map(|kind| kind.name)) {
        Some(meant) => error.with_next(format!("did you mean  mainstay steps {meant}")),
        None => error.with_next("see all of them:  mainstay steps"),
    }
}

fn list(terminal: Terminal) -> String {
    let mut table = Table::new(terminal, &["kind", "effect", "scope", "connections", "what it does"]).wrapping(&[4]);
    for kind in KINDS {
        let connections = kind.connection.kinds().join(", ");
        table.row(vec![kind.name.into(), kind.effect.as_str().into(), kind.scope.as_str().into(), connections.into(), kind.summary.into()]);
    }
    table.render() + "\nparameters of one:  mainstay steps KIND\n"
}

fn page(kind: &Kind, terminal: Terminal) -> String {
    let mut text = format!("{} · {}\n\n", terminal.paint(Tone::Strong, kind.name), kind.summary);
    let together = kind.together.iter().map(|rule| ("parameters", rule.describe()));
    let mut table = Table::new(terminal, &["", ""]).wrapping(&[1]).indented(2);
    kind.facts().into_iter().chain(together).for_each(|(name, value)| table.row(vec![name.into(), value.into()]));
    text += table.render().trim_start_matches([' ', '\n']).trim_start();
    text = text.replacen("\n\n", "\n\n  ", 1);
    if !kind.params.is_empty() {
        let mut table = Table::new(terminal, &["parameter", "should be", "default", "meaning"]).wrapping(&[1, 2, 3]).indented(2);
        for param in kind.params {
            let default = if param.required { "needed" } else { param.default };
            table.row(vec![param.name.into(), param.ty.describe().into(), default.into(), param.doc.into()]);
        }
        text += &format!("\n{}", table.render());
    }
    if !kind.outputs.is_empty() {
        let mut table = Table::new(terminal, &["output", "type", "meaning"]).wrapping(&[2]).indented(2);
        kind.outputs.iter().for_each(|(name, ty, doc)| table.row(vec![(*name).into(), (*ty).into(), (*doc).into()]));
        text += &format!("\n{}", table.render());
    }
    let example: String = kind.example.lines().map(|line| format!("      {line}\n")).collect();
    let accept = if kind.undo == Undo::Irreversible { "    acceptIrreversible: true\n" } else { "" };
    text + &format!("\n  - name: example\n    uses: {}\n{accept}    with:\n{example}", kind.name)
}

fn described(kind: &Kind) -> Value {
    let params: Vec<Value> = kind
        .params
        .iter()
        .map(|param| json!({ "name": param.name, "type": param.ty.describe(), "required": param.required, "default": param.default, "description": param.doc }))
        .collect();
    let outputs: Vec<Value> = kind.outputs.iter().map(|(name, ty, doc)| json!({ "name": name, "type": ty, "description": doc })).collect();
    let together: Vec<String> = kind.together.iter().map(Together::describe).collect();
    let when = match kind.connection {
        Connections::None => "none",
        Connections::Always(_) => "always",
        Connections::WhenNamed(_) => "whenNamed",
    };
    json!({
        "connections": { "kinds": kind.connection.kinds(), "when": when }, "needs": kind.needs,
        "name": kind.name, "summary": kind.summary, "scope": kind.scope.as_str(), "effect": kind.effect.as_str(), "idempotent": kind.idempotent,
        "startedBy": kind.started_by.to_string(),
        "undo": kind.undo.as_str(), "protection": kind.protection, "params": params, "together": together, "outputs": outputs,
        "defaultTimeout": kind.default_timeout.to_string(), "example": kind.example,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::layout::width;

    #[test]
    fn every_kind_has_a_page_that_fits() {
        for kind in KINDS {
            let text = page(kind, Terminal { width: Some(100), colour: false });
            assert!(text.lines().skip(2).all(|line| width(line) <= 100 || kind.example.contains(line.trim())), "{text}");
        }
        insta::assert_snapshot!(page(kind("http.check").unwrap(), Terminal { width: Some(100), colour: false }));
    }

    #[test]
    fn a_slip_is_met_with_the_right_word() {
        assert_eq!(unknown("http.chek").next, ["did you mean  mainstay steps http.check"]);
        assert_eq!(unknown("zzzzzzzz").next, ["see all of them:  mainstay steps"]);
    }
}
