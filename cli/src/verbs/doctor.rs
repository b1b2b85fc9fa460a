//! `mainstay doctor`

use mainstay_proto::v1::Verdict;
use serde_json::{Value, json};

use super::Screen;
use crate::args::Global;
use crate::doctor::diagnosis::{self, Diagnosis};
use crate::doctor::look;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::layout::{harmless, pad, wrap};
use crate::render::progress::Waiting;
use crate::render::{Terminal, Tone, units, verdict};

/// Columns of symbol and word.
const MARK: usize = 10;

pub async fn doctor(global: &Global, screen: Screen) -> Result<Exit, CliError> {
    let waiting = Waiting::on(screen.notes, "looking at this machine, the members and the mesh");
    let facts = look::look(global).await;
    drop(waiting);
    let diagnoses = diagnosis::diagnose(&facts);
    let exit = diagnosis::exit(&facts, &diagnoses);
    screen.show(&told(&diagnoses, exit), |_| render(&diagnoses, screen.terminal))?;
    Ok(exit)
}

/// The answer for programs.
pub fn told(diagnoses: &[Diagnosis], exit: Exit) -> Value {
    json!({ "exit": exit.status(), "diagnoses": diagnoses })
}

/// A line each: symbol and word, where, what; and below it, what to do.
pub fn render(diagnoses: &[Diagnosis], terminal: Terminal) -> String {
    let mut text = String::new();
    for diagnosis in diagnoses {
        let mark = verdict::verdict(diagnosis.verdict);
        let room = terminal.width.map(|columns| columns.saturating_sub(MARK + 4));
        let words = format!("{}: {}", harmless(&diagnosis.place), harmless(&diagnosis.what));
        for (number, line) in wrap(&words, room).into_iter().enumerate() {
            let start = if number == 0 { terminal.paint(mark.tone, &pad(&mark.text(), MARK)) } else { " ".repeat(MARK) };
            text += &format!("  {start}  {line}\n");
        }
        for (number, line) in wrap(&harmless(&diagnosis.then), room.map(|room| room.saturating_sub(2))).into_iter().enumerate() {
            if !line.is_empty() {
                let arrow = if number == 0 { "→" } else { " " };
                text += &format!("  {}  {arrow} {line}\n", " ".repeat(MARK));
            }
        }
    }
    let bad = diagnoses.iter().filter(|diagnosis| diagnosis.verdict != Verdict::Ok).count() as u64;
    let sum = match bad {
        0 => terminal.paint(Tone::Good, "✔ nothing is wrong"),
        bad => format!("{} to look at", units::count(bad, "thing", "things")),
    };
    text + "\n" + &sum + "\n"
}
