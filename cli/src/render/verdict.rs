//! Symbol, word and tone of a state. The symbol and the word say the same; the tone repeats them.

use mainstay_proto::v1::{LinkState, Run, RunState, Verdict, WorkState};
use mainstay_proto::words::Word;

use super::terminal::Tone;

/// How a state is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub symbol: &'static str,
    pub word: String,
    pub tone: Tone,
}

impl Mark {
    fn new(symbol: &'static str, word: String, tone: Tone) -> Mark {
        Mark { symbol, word, tone }
    }

    /// `✖ critical`
    #[must_use]
    pub fn text(&self) -> String {
        format!("{} {}", self.symbol, self.word)
    }
}

/// Mark of a verdict.
#[must_use]
pub fn verdict(verdict: Verdict) -> Mark {
    let (symbol, tone) = match verdict {
        Verdict::Critical => ("✖", Tone::Bad),
        Verdict::Warning => ("▲", Tone::Warning),
        Verdict::Unknown => ("?", Tone::Unknown),
        Verdict::Ok => ("✔", Tone::Good),
        Verdict::Skipped => ("–", Tone::Quiet),
        Verdict::Unspecified => return Mark::new("·", "none".to_owned(), Tone::Quiet),
    };
    Mark::new(symbol, verdict.word(), tone)
}

/// Mark of what a run found, where its state does not tell: one can have completed and found something.
#[must_use]
pub fn found(run: &Run) -> Option<Mark> {
    matches!(run.verdict(), Verdict::Critical | Verdict::Unknown | Verdict::Warning).then(|| verdict(run.verdict()))
}

/// Mark of a run's state.
#[must_use]
pub fn run(state: RunState) -> Mark {
    let (symbol, tone) = match state {
        RunState::Completed => ("✔", Tone::Good),
        RunState::Failed => ("✖", Tone::Bad),
        RunState::Aborted => ("✖", Tone::Warning),
        RunState::Running => ("●", Tone::Strong),
        RunState::Undoing => ("↺", Tone::Warning),
        RunState::Unspecified => ("?", Tone::Unknown),
    };
    Mark::new(symbol, state.word(), tone)
}

/// Mark of a step on a target.
#[must_use]
pub fn work(state: WorkState) -> Mark {
    let (symbol, tone) = match state {
        WorkState::Succeeded => ("✔", Tone::Good),
        WorkState::Failed | WorkState::Unreachable => ("✖", Tone::Bad),
        WorkState::Unknown | WorkState::Unspecified => ("?", Tone::Unknown),
        WorkState::Active => ("●", Tone::Strong),
        WorkState::Retrying => ("↻", Tone::Warning),
        WorkState::Waiting => ("·", Tone::Quiet),
        WorkState::Cancelled | WorkState::Skipped | WorkState::Omitted => ("–", Tone::Quiet),
    };
    Mark::new(symbol, state.word(), tone)
}

/// Mark of an agent's link.
#[must_use]
pub fn link(state: LinkState) -> Mark {
    let (symbol, tone) = match state {
        LinkState::Up => ("✔", Tone::Good),
        LinkState::Lost => ("✖", Tone::Bad),
        LinkState::Never => ("·", Tone::Quiet),
        LinkState::Unspecified => ("?", Tone::Unknown),
    };
    Mark::new(symbol, state.word(), tone)
}

/// How much a verdict needs a person: greater is more.
#[must_use]
pub fn urgency(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Critical => 5,
        Verdict::Unknown => 4,
        Verdict::Warning => 3,
        Verdict::Unspecified => 2,
        Verdict::Ok => 1,
        Verdict::Skipped => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_and_words_go_together() {
        let texts = [Verdict::Critical, Verdict::Warning, Verdict::Unknown, Verdict::Ok, Verdict::Skipped].map(|v| verdict(v).text());
        assert_eq!(texts, ["✖ critical", "▲ warning", "? unknown", "✔ ok", "– skipped"]);
        assert_eq!(link(LinkState::Lost).text(), "✖ lost");
        assert_eq!(work(WorkState::Unreachable).text(), "✖ unreachable");
    }
}
