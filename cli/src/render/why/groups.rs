//! Waits that have the same reason, as one: the same for forty nodes is said once.

use std::collections::BTreeMap;

use mainstay_proto::v1::{GateNow, Wait, WaitKind, WantedApproval};

use crate::render::names::{self, Names};
use crate::render::terminal::Tone;

/// The least urgent that somebody has to do something about.
const NEEDS_A_PERSON: u8 = 5;

/// What waits for the same.
#[derive(Debug, Clone)]
pub struct Group<'a> {
    pub kind: WaitKind,
    pub undo: bool,
    /// In the order of the plan, each once.
    pub steps: Vec<&'a str>,
    /// Each once.
    pub targets: Vec<&'a str>,
    /// With the target's own agent called so where there are several.
    pub reason: String,
    pub then: &'a str,
    /// The longest so far, and the least that is left; 0 where it has no end by itself.
    pub waited_ms: u64,
    pub remaining_ms: u64,
    /// Whether some have longer left.
    pub varies: bool,
    pub approval: Option<&'a WantedApproval>,
    /// What comes after that, each once.
    pub ahead: Vec<&'a GateNow>,
    /// Why it does not end by itself; empty where it may.
    pub stuck: &'a str,
    /// What somebody can do about that.
    pub remedies: &'a [String],
}

/// All of them, those first that need a person most.
pub fn of(waits: &[Wait]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for wait in waits {
        let key = key(wait);
        let place = *places.entry(key).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.add(wait),
            None => groups.push(Group::new(wait)),
        }
    }
    for group in &mut groups {
        group.name_the_agent();
    }
    groups.sort_by_key(|group| group.urgency());
    groups
}

/// What makes two waits the same. An approval is about what it covers, whichever step waits for it; a turn and
/// an order are about all steps alike.
fn key(wait: &Wait) -> String {
    if let Some(approval) = &wait.approval {
        return format!("approval\0{}\0{}", approval.step, approval.wave);
    }
    let step = match wait.kind() {
        WaitKind::Wave | WaitKind::Soak | WaitKind::Unavailable | WaitKind::UndoOrder | WaitKind::Evaluating | WaitKind::Paused => "",
        _ => wait.step.as_str(),
    };
    let reason = if names_others(wait.kind()) { wait.reason.clone() } else { names::replaced(&wait.reason, &wait.target, "\u{1}") };
    format!("{:?}\0{step}\0{}\0{}\0{reason}", wait.kind(), wait.undo, wait.then)
}

/// Whether the targets that the reason names are others than those that wait.
fn names_others(kind: WaitKind) -> bool {
    kind == WaitKind::Unavailable
}

impl<'a> Group<'a> {
    fn new(wait: &'a Wait) -> Group<'a> {
        Group {
            kind: wait.kind(),
            undo: wait.undo,
            steps: vec![&wait.step],
            targets: vec![&wait.target],
            reason: wait.reason.clone(),
            then: wait.then.strip_prefix("then ").unwrap_or(&wait.then),
            waited_ms: wait.waited_ms,
            remaining_ms: wait.remaining_ms,
            varies: false,
            approval: wait.approval.as_ref(),
            ahead: wait.ahead.iter().collect(),
            stuck: &wait.stuck,
            remedies: &wait.remedies,
        }
    }

    fn add(&mut self, wait: &'a Wait) {
        if self.steps.last() != Some(&wait.step.as_str()) && !self.steps.contains(&wait.step.as_str()) {
            self.steps.push(&wait.step);
        }
        if self.targets.last() != Some(&wait.target.as_str()) && !self.targets.contains(&wait.target.as_str()) {
            self.targets.push(&wait.target);
        }
        for gate in &wait.ahead {
            if !self.ahead.contains(&gate) {
                self.ahead.push(gate);
            }
        }
        self.waited_ms = self.waited_ms.max(wait.waited_ms);
        self.varies |= self.remaining_ms.abs_diff(wait.remaining_ms) > 1_000;
        self.remaining_ms = self.remaining_ms.min(wait.remaining_ms);
    }

    /// A reason that was kept from the first target must not name it where it is about several.
    fn name_the_agent(&mut self) {
        if let [first, _, ..] = self.targets.as_slice()
            && !names_others(self.kind)
        {
            self.reason = names::about_each(&self.reason, first);
        }
    }

    /// Lower is told first.
    fn urgency(&self) -> u8 {
        match self.kind {
            WaitKind::Approval | WaitKind::Signature => 0,
            WaitKind::Paused => 1,
            WaitKind::NotHeardOf => 2,
            WaitKind::Gate if self.is_unknown() => 3,
            WaitKind::NoConnection | WaitKind::NobodyCan => 4,
            WaitKind::AgentAway => 5,
            WaitKind::Unavailable if !self.stuck.is_empty() => 5,
            WaitKind::Gate => 6,
            WaitKind::Lease | WaitKind::Root => 7,
            WaitKind::Retry => 8,
            WaitKind::Stopping => 9,
            WaitKind::Works | WaitKind::Offered | WaitKind::AgentBusy | WaitKind::Evaluating => 10,
            WaitKind::Soak | WaitKind::Unavailable | WaitKind::Wave => 11,
            WaitKind::NeedsStep | WaitKind::UndoOrder | WaitKind::Unspecified => 12,
        }
    }

    /// Whether it does not end, or not well, unless somebody does something: about what it waits for, or about what
    /// comes after that.
    pub fn needs_a_person(&self) -> bool {
        // What waits for other steps of the run is not asked yet.
        let meets_one = || self.ahead.iter().any(|gate| matches!(gate.state.as_str(), "asks" | "unknown" | "nobody"));
        self.urgency() <= NEEDS_A_PERSON || !self.stuck.is_empty() || (self.kind != WaitKind::NeedsStep && meets_one())
    }

    /// Whether it waits for a window, or for the end of a freeze.
    pub fn is_calendar(&self) -> bool {
        self.kind == WaitKind::Gate && ["gate: window ", "gate: freeze "].iter().any(|gate| self.reason.starts_with(gate))
    }

    /// Whether nobody knows how its gate stands.
    pub fn is_unknown(&self) -> bool {
        self.kind == WaitKind::Gate && self.reason.contains(": unknown: ")
    }

    /// Symbol, word and tone.
    pub fn mark(&self) -> (&'static str, Tone) {
        match self.kind {
            WaitKind::Approval => ("▲ approve", Tone::Warning),
            WaitKind::Signature => ("▲ sign", Tone::Warning),
            WaitKind::Root => ("‖ root", Tone::Warning),
            WaitKind::Paused => ("‖ paused", Tone::Warning),
            WaitKind::NotHeardOf => ("? unknown", Tone::Unknown),
            WaitKind::Gate if self.is_unknown() => ("? gate", Tone::Unknown),
            WaitKind::NoConnection => ("✖ missing", Tone::Bad),
            WaitKind::NobodyCan => ("✖ nobody", Tone::Bad),
            WaitKind::AgentAway => ("✖ away", Tone::Bad),
            WaitKind::Gate => ("‖ gate", Tone::Warning),
            WaitKind::Lease => ("‖ lease", Tone::Warning),
            WaitKind::Retry => ("↻ retry", Tone::Warning),
            WaitKind::Stopping => ("● stopping", Tone::Warning),
            WaitKind::Works | WaitKind::Offered | WaitKind::Evaluating => ("● works", Tone::Good),
            WaitKind::AgentBusy => ("· busy", Tone::Quiet),
            WaitKind::Soak => ("· soak", Tone::Quiet),
            WaitKind::Unavailable if !self.stuck.is_empty() => ("✖ turn", Tone::Bad),
            WaitKind::Unavailable => ("· turn", Tone::Quiet),
            WaitKind::Wave => ("· wave", Tone::Quiet),
            WaitKind::NeedsStep | WaitKind::UndoOrder | WaitKind::Unspecified => ("· later", Tone::Quiet),
        }
    }

    /// `undo of drain on a1, a2, a3 and 37 more`
    pub fn name(&self, names: Names) -> String {
        let undo = if self.undo { "undo of " } else { "" };
        let targets = names.list(self.targets.iter().copied(), self.targets.len());
        let on = if targets.is_empty() { String::new() } else { format!(" on {targets}") };
        format!("{undo}{}{on}", some(&self.steps))
    }
}

/// Up to three are named.
pub fn some(names: &[&str]) -> String {
    match names {
        [first, second, third, _, ..] => format!("{first}, {second}, {third} and {} more", names.len() - 3),
        few => few.join(", "),
    }
}
