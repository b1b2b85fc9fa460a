//! `mainstay why` without a run: what in all open runs waits for a person, and what ended ones have left to one. What
//! goes on by itself is named.

use mainstay_core::WallTime;
use mainstay_proto::v1::{Run, WhyResponse};
use serde::Serialize;

use super::groups::{self, some};
use super::{Explained, ended, far, state, waits};
use crate::render::names::Names;
use crate::render::page::Page;
use crate::render::terminal::{Terminal, Tone};
use crate::render::time;

/// Ended runs that are told; the newest come first.
const ENDED_SHOWN: usize = 10;

/// The JSON form.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Any<'a> {
    pub runs: Vec<Explained<'a>>,
    /// Ended runs that leave something to a person.
    pub ended: &'a [Run],
    /// Open runs beyond the bound.
    pub not_looked_at: usize,
}

/// The whole page.
#[must_use]
pub fn any(answers: &[WhyResponse], ended: &[Run], not_looked_at: usize, terminal: Terminal, now: WallTime) -> String {
    let mut page = Page::new(terminal);
    let (needing, others): (Vec<&WhyResponse>, Vec<&WhyResponse>) = answers.iter().partition(|answer| needs_a_person(answer));
    for (answer, run) in needing.iter().filter_map(|answer| Some((answer, answer.run.as_ref()?))) {
        page.gap();
        page.parts(0, &[(run.id.clone(), Tone::Strong), state(run), (far(run), Tone::Plain)]);
        let names = Names::of(run.work.iter().map(|work| work.target.as_str()));
        ended::so_far(&mut page, answer, run, names);
        waits::for_a_person(&mut page, answer, run, names);
    }
    for run in ended.iter().take(ENDED_SHOWN) {
        page.gap();
        page.parts(0, &[(run.id.clone(), Tone::Strong), state(run), (format!("ended {}", time::ago(run.ended_unix_ms, now)), Tone::Plain)]);
        ended::left_to_a_person(&mut page, run);
        page.command(2, &format!("mainstay why {}", run.id));
    }
    if ended.len() > ENDED_SHOWN {
        page.gap();
        page.line(0, Tone::Warning, &format!("▲ {} more ended runs leave something to a person:  mainstay why -o json", ended.len() - ENDED_SHOWN));
    }
    page.gap();
    let others: Vec<&str> = others.iter().filter_map(|answer| answer.run.as_ref()).map(|run| run.id.as_str()).collect();
    match (needing.is_empty() && ended.is_empty(), others.as_slice()) {
        (true, []) => page.line(0, Tone::Good, "✔ no run is open: nothing waits for a person"),
        (true, others) => page.line(0, Tone::Good, &format!("✔ nothing waits for a person; open, and going on without one: {}", some(others))),
        (false, []) => {}
        (false, others) => page.line(0, Tone::Plain, &format!("going on without a person: {}", some(others))),
    }
    if not_looked_at > 0 {
        page.line(0, Tone::Warning, &format!("▲ {not_looked_at} more open runs were not looked at:  mainstay run list --open"));
    }
    page.finish()
}

fn needs_a_person(answer: &WhyResponse) -> bool {
    let paused = |run: &Run| !run.paused_by.is_empty();
    answer.run.as_ref().is_some_and(paused) || groups::of(&answer.waits).iter().any(groups::Group::needs_a_person)
}
