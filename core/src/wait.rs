//! Why anything waits, in typed reasons; the CLI's `why` shows them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::catalogue::{self, Effect, Scope};
use crate::fact;
use crate::id::{AgentId, AttemptId, ClusterName, ConnectionName, LeaseName, RunId, StepName, Target};
use crate::state::enrolment::OperatorRole;
use crate::state::run::Direction;
use crate::state::trust::{InUse, Lack, RootId, Those};
use crate::time::{MeshTime, Millis};

/// Everything that waits after one decision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Waits {
    pub waits: Vec<Wait>,
}

/// One work item that does not move by itself right now.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    pub run: RunId,
    pub step: StepName,
    pub target: Target,
    pub direction: Direction,
    pub reason: Reason,
    /// Since when, in mesh time.
    pub since: MeshTime,
    /// When the mesh does something about it, and what.
    pub until: Option<(MeshTime, &'static str)>,
}

/// For what it waits.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// A step that it needs has not ended on this many targets.
    NeedsStep { step: StepName, open: usize },
    /// The node's agent is not connected.
    AgentAway { agent: AgentId },
    /// No connected agent can do the kind; and the first of those that could, and are away.
    NobodyCan { kind: String, away: Vec<AgentId> },
    /// None of the cluster's agents acts for it.
    NobodyActs { cluster: ClusterName, known: usize, up: usize },
    /// The agent that acts for the cluster does not do the kind.
    ActingCannot { agent: AgentId, kind: String },
    /// No connected agent has the connection; `kind` is what the step needs it to be.
    NoConnection { name: ConnectionName, kind: &'static str },
    /// The agent has as many steps as it carries out at once.
    AgentBusy { agent: AgentId, open: usize },
    /// Failed, and is tried again after a pause.
    Pause { last: String, attempt: u32, of: u32 },
    /// An agent has it and has not begun.
    Offered { agent: AgentId, attempt: AttemptId },
    /// An agent works on it.
    Works { agent: AgentId, attempt: AttemptId },
    /// An agent has been told to stop.
    Stopping { agent: AgentId, attempt: AttemptId },
    /// It began, and its agent is not connected.
    NotHeardOf { agent: AgentId, attempt: AttemptId },
    /// Undo goes in reverse: something later is taken back first.
    UndoOf { step: StepName, target: Target },
    /// Somebody holds the run up.
    Paused { by: String, reason: String, run: RunId },
    /// Its expressions are being evaluated.
    Evaluating,
    /// An earlier wave has not ended.
    Wave { wave: usize, of: usize },
    /// The wave before has ended, and is watched for a while.
    Soak { wave: usize, of: usize },
    /// As many targets as may be are unavailable: `out` are nodes that are not ready or cordoned, by no work of this run.
    Unavailable { going: Arc<Taken>, failed: Arc<Taken>, away: Arc<Taken>, out: Arc<Taken>, most: usize },
    /// Of so many targets nobody knows whether they are out of use: the agents of these clusters have not told of their
    /// nodes lately. With all of them out, more than may be would be.
    NodesNotKnown { clusters: Vec<(ClusterName, LastTold)>, nodes: Arc<Taken> },
    /// The nodes of one zone go before those of the next.
    Zone { under_way: String, own: String },
    /// The agent that acts for the node's cluster is there: the other nodes go first.
    ActsFromHere { agent: AgentId },
    /// Members of the mesh run on the node, and the others that answer would be too few.
    Quorum(Quorum),
    /// A gate is closed, or nobody knows.
    Gate { gate: String, evidence: String },
    /// Somebody else has the lease.
    LeaseHeld { name: LeaseName, by: String },
    /// An agent has begun it, and waits for the lease that the step is to hold.
    LeaseWanted { agent: AgentId, name: LeaseName, by: String },
    /// A new root is not in place everywhere.
    RootLacks { root: RootId, lack: Lack },
    /// Somebody depends on roots that are to go.
    RootNeeded { roots: Vec<RootId>, those: Those },
    /// Leaves are issued under a root that is to go.
    RootInUse(InUse),
    /// A person has to agree.
    Approval {
        run: RunId,
        step: Option<StepName>,
        wave: Option<u32>,
        by: OperatorRole,
        /// Who may not, because they started the run.
        not: Option<String>,
        message: String,
        /// [`crate::state::run::Run::sight`] of what there is to agree to.
        seen: String,
        /// Whose earlier approval has expired.
        expired: Option<String>,
    },
}

/// What a run waits for, for whoever sees one line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    /// Whether a person is asked.
    pub asks: bool,
}

/// Characters of a line.
const LINE: usize = 300;

/// Targets that take up places of a rollout: how many, and the first few of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    pub count: usize,
    pub named: Vec<Target>,
}

/// Targets that are named.
const NAMED: usize = 3;

impl Taken {
    /// So many, of which these are the first: no more of them are looked at than are named.
    #[must_use]
    pub fn of<'t>(count: usize, first: impl Iterator<Item = &'t Target>) -> Taken {
        Taken { count, named: first.take(NAMED).cloned().collect() }
    }

    pub fn add(&mut self, target: &Target) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(target.clone());
        }
    }

    /// `2 failed (c/n1, c/n2)`
    fn words(&self, what: &str) -> Option<String> {
        (self.count > 0).then(|| format!("{} {what} ({})", self.count, self.names()))
    }

    /// `c/n1, c/n2 and 3 more`
    #[must_use]
    pub fn names(&self) -> String {
        let named: Vec<String> = self.named.iter().map(ToString::to_string).collect();
        let more = self.count.saturating_sub(named.len());
        named.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
    }
}

impl<'t> FromIterator<&'t Target> for Taken {
    fn from_iter<I: IntoIterator<Item = &'t Target>>(targets: I) -> Taken {
        let mut all = Taken::default();
        targets.into_iter().for_each(|target| all.add(target));
        all
    }
}

/// What would be left of the mesh's members without those on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// Names of those on the node.
    pub here: Vec<String>,
    /// Of those elsewhere that do not count: they do not answer, or their node is taken out of use as well.
    pub away: Vec<String>,
    pub left: usize,
    pub of: usize,
    /// As many as decide anything.
    pub needed: usize,
}

impl Quorum {
    /// Whether more would be too few also if all others answered.
    #[must_use]
    pub fn is_never_kept(&self) -> bool {
        self.left + self.away.len() < self.needed
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (here, verb) = (self.here.join(", "), if self.here.len() == 1 { "runs" } else { "run" });
        let Quorum { left, of, needed, .. } = self;
        write!(f, "{here} of the mesh {verb} on this node: without, {left} of {of} members would be left, and it takes {needed} to decide anything")?;
        if self.away.is_empty() {
            Ok(())
        } else {
            write!(f, "; not counted, since silent or on a node that is taken out of use: {}", self.away.join(", "))
        }
    }
}

/// Whether an agent has ever told of its cluster's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastTold {
    Never,
    /// Longer ago than it counts.
    LongAgo,
}

/// Who has not told of the nodes of their clusters.
pub(crate) fn told_words(clusters: &[(ClusterName, LastTold)]) -> String {
    let told = |(cluster, told): &(ClusterName, LastTold)| match told {
        LastTold::Never => format!("no agent of cluster {cluster} has told of its nodes yet"),
        LastTold::LongAgo => format!("no agent of cluster {cluster} has told of its nodes for {}", fact::STALE),
    };
    let more = if clusters.len() > NAMED { ", and of others" } else { "" };
    clusters.iter().take(NAMED).map(told).collect::<Vec<_>>().join(", ") + more
}

impl Reason {
    /// Agents that are named, of those that are away.
    pub(crate) const NAMED: usize = 3;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NeedsStep { step, open: 1 } => write!(f, "step {step} has not ended"),
            Reason::NeedsStep { step, open } => write!(f, "step {step} has not ended on {open} targets"),
            Reason::AgentAway { agent } => write!(f, "agent {agent} is not connected"),
            Reason::NobodyCan { kind, away } if away.is_empty() => {
                write!(f, "no connected agent can do {kind}")?;
                let known = catalogue::kind(kind);
                if known.is_some_and(|kind| matches!(kind.scope, Scope::Cluster | Scope::Node)) {
                    f.write_str(": the mesh knows no cluster agent: start one (docs/clusters.md):  mainstay token create --cluster-agents CLUSTER")
                } else if known.is_none_or(|kind| kind.effect == Effect::Read) {
                    Ok(())
                } else {
                    write!(f, ": {}", catalogue::how_to_allow(kind))
                }
            }
            Reason::NobodyCan { kind, away } => {
                let named: Vec<String> = away.iter().take(Reason::NAMED).map(ToString::to_string).collect();
                let others = if away.len() > Reason::NAMED { " and others" } else { "" };
                write!(f, "no agent that can do {kind} is connected: {}{others} could", named.join(", "))
            }
            Reason::NobodyActs { cluster, known: 0, .. } => write!(
                f,
                "the mesh knows no agent of cluster {cluster}: start one (docs/clusters.md):  mainstay token create --cluster-agents {cluster}"
            ),
            Reason::NobodyActs { cluster, known: 1, up: 0 } => write!(f, "the one agent of cluster {cluster} is not connected"),
            Reason::NobodyActs { cluster, known, up: 0 } => write!(f, "none of the {known} agents of cluster {cluster} is connected"),
            Reason::NobodyActs { cluster, .. } => {
                write!(
                    f,
                    "no agent of cluster {cluster} acts: the lease agent/{cluster} of the one that did is not free yet, or somebody else holds it"
                )
            }
            Reason::ActingCannot { agent, kind } => {
                write!(f, "agent {agent}, which acts for its cluster, does not do {kind}: {}", catalogue::why_not(kind))
            }
            Reason::NoConnection { name, kind } => {
                write!(
                    f,
                    "no connected agent has the connection {name}: add to an agent's connections.toml, and start the agent anew:  \
                     [connections.{name}]  kind = \"{kind}\"  url = …"
                )
            }
            Reason::AgentBusy { agent, open } => write!(f, "agent {agent} is busy with {open} other steps"),
            Reason::Pause { last, attempt, of } => write!(f, "attempt {attempt} of {of} failed: {last}"),
            Reason::Offered { agent, .. } => write!(f, "offered to agent {agent}, which has not begun"),
            Reason::Works { agent, .. } => write!(f, "agent {agent} works on it"),
            Reason::Stopping { agent, .. } => write!(f, "agent {agent} has been told to stop"),
            Reason::NotHeardOf { agent, .. } => write!(f, "agent {agent} began it and is not connected"),
            Reason::UndoOf { step, target } => write!(f, "undo goes in reverse: {step}{} comes first", target.on()),
            Reason::Paused { by, reason, run } => {
                write!(f, "paused by {by}")?;
                if !reason.is_empty() {
                    write!(f, " ({reason})")?;
                }
                write!(f, ": mainstay run resume {run}")
            }
            Reason::Evaluating => f.write_str("its expressions are being evaluated"),
            Reason::Wave { wave, of } => write!(f, "wave {wave} of {of} has not ended"),
            Reason::Soak { wave, of } => write!(f, "wave {wave} of {of} has ended and soaks"),
            Reason::Unavailable { going, failed, away, out, most } => {
                let out = out.words("not ready or cordoned");
                let parts = [going.words("begun and not ended"), failed.words("failed"), away.words("not connected"), out];
                write!(f, "at most {most} unavailable at once: {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
            }
            Reason::NodesNotKnown { clusters, nodes } => {
                let (they, words) = (if nodes.count == 1 { "it is" } else { "they are" }, told_words(clusters));
                write!(f, "nothing is known of {} (whether {they} in use, and in which zone): {words}", nodes.names())
            }
            Reason::Zone { under_way, own } => {
                let zone = |zone: &str| if zone.is_empty() { "nodes without a zone".to_owned() } else { format!("zone {zone}") };
                write!(f, "one zone after the other: {} before {}", zone(under_way), zone(own))
            }
            Reason::ActsFromHere { agent } => write!(f, "agent {agent}, which acts for its cluster, is on this node: the other nodes go first"),
            Reason::Quorum(quorum) => quorum.fmt(f),
            Reason::Gate { gate, evidence } => write!(f, "gate: {gate}: {evidence}"),
            Reason::LeaseHeld { name, by } => write!(f, "lease {name} is held by {by}"),
            Reason::LeaseWanted { agent, name, by } => write!(f, "agent {agent} waits for lease {name}, held by {by}"),
            Reason::RootLacks { root, lack } => f.write_str(&lack.sentence(*root)),
            Reason::RootNeeded { roots, those } => {
                let (noun, verb) = if roots.len() == 1 { ("root", "is") } else { ("roots", "are") };
                let roots = roots.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "{noun} {roots} {verb} still needed by {those}; each renews when it is next connected, and what will not come back is to be revoked"
                )
            }
            Reason::RootInUse(in_use) => in_use.fmt(f),
            Reason::Approval { run, step, wave, by, not, message, expired, .. } => {
                if !message.is_empty() {
                    write!(f, "{message}: ")?;
                }
                write!(f, "approval by an {by}")?;
                if let Some(not) = not {
                    write!(f, " other than {not}")?;
                }
                if let Some(expired) = expired {
                    write!(f, "; the one of {expired} has expired")?;
                }
                write!(f, ":  mainstay run approve {run}")?;
                if let Some(step) = step {
                    write!(f, " --step {step}")?;
                }
                wave.map_or(Ok(()), |wave| write!(f, " --wave {wave}"))
            }
        }
    }
}

impl Reason {
    /// Whether it is for the same thing that somebody waits, and since when that is cannot be seen in the state.
    fn goes_on_from(&self, before: &Reason) -> bool {
        match (self, before) {
            (Reason::Gate { gate, .. }, Reason::Gate { gate: before, .. }) => gate == before,
            (Reason::LeaseHeld { name, .. }, Reason::LeaseHeld { name: before, .. }) => name == before,
            (Reason::Approval { step, wave, .. }, Reason::Approval { step: step_before, wave: wave_before, .. }) => {
                (step, wave) == (step_before, wave_before)
            }
            (Reason::NeedsStep { step, .. }, Reason::NeedsStep { step: before, .. }) => step == before,
            (Reason::Wave { wave, .. }, Reason::Wave { wave: before, .. }) => wave == before,
            (Reason::Zone { under_way, .. }, Reason::Zone { under_way: before, .. }) => under_way == before,
            _ => std::mem::discriminant(self) == std::mem::discriminant(before),
        }
    }

    /// Whether the state does not say since when this is so: a gate closes and a lease is taken without the run.
    fn begins_unseen(&self) -> bool {
        matches!(
            self,
            Reason::Gate { .. }
                | Reason::LeaseHeld { .. }
                | Reason::Approval { .. }
                | Reason::NeedsStep { .. }
                | Reason::Wave { .. }
                | Reason::Unavailable { .. }
                | Reason::NodesNotKnown { .. }
                | Reason::Zone { .. }
                | Reason::ActsFromHere { .. }
                | Reason::Quorum(_)
                | Reason::AgentBusy { .. }
        )
    }
}

impl Waits {
    /// Since when each reason has held, from what the decision before found: what waited for something else then
    /// waits for this only from now on. Whoever has decided nothing before knows no better than the state.
    pub fn go_on_from(&mut self, before: &Waits, now: MeshTime) {
        let key = |wait: &Wait| (wait.run.clone(), wait.step.clone(), wait.target.clone(), wait.direction);
        let known: BTreeMap<_, &Wait> = before.waits.iter().map(|wait| (key(wait), wait)).collect();
        for wait in self.waits.iter_mut().filter(|wait| wait.reason.begins_unseen()) {
            match known.get(&key(wait)) {
                Some(before) if wait.reason.goes_on_from(&before.reason) => wait.since = before.since,
                Some(_) => wait.since = now,
                None => {}
            }
        }
    }

    /// What a run waits for, in a line: what a person is asked for first, and what only another step has to end for last.
    /// Nothing where it waits for nothing.
    #[must_use]
    pub fn in_a_line(&self, run: &RunId) -> Option<Line> {
        let rank = |wait: &&Wait| match wait.reason {
            Reason::Approval { .. } => 0,
            Reason::NeedsStep { .. } | Reason::UndoOf { .. } | Reason::Wave { .. } | Reason::Zone { .. } => 2,
            _ => 1,
        };
        let (first, count) = (self.of_run(run).min_by_key(rank)?, self.of_run(run).count());
        let mut text: String = format!("step {}{}: {}", first.step, first.target.on(), first.reason).chars().take(LINE).collect();
        if count > 1 {
            text += &format!(" (and {} more)", count - 1);
        }
        Some(Line { text, asks: matches!(first.reason, Reason::Approval { .. }) })
    }

    pub fn of_run<'a>(&'a self, run: &'a RunId) -> impl Iterator<Item = &'a Wait> {
        self.waits.iter().filter(move |wait| wait.run == *run)
    }
}

impl Wait {
    /// How long it has waited, and how long until the mesh acts.
    #[must_use]
    pub fn times(&self, now: MeshTime) -> (Millis, Option<Millis>) {
        (now.since(self.since), self.until.map(|(at, _)| at.since(now)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wait(target: &str, reason: Reason, since: u64) -> Wait {
        let target = target.parse().unwrap();
        let (run, step) = ("roll-1".parse().unwrap(), "mark".parse().unwrap());
        Wait { run, step, target, direction: Direction::Do, reason, since: MeshTime(since), until: None }
    }

    fn gate(gate: &str, evidence: &str) -> Reason {
        Reason::Gate { gate: gate.into(), evidence: evidence.into() }
    }

    fn since(before: Vec<Wait>, now: Vec<Wait>) -> Vec<u64> {
        let mut waits = Waits { waits: now };
        waits.go_on_from(&Waits { waits: before }, MeshTime(900));
        waits.waits.iter().map(|wait| wait.since.0).collect()
    }

    #[test]
    fn a_line_names_what_a_person_can_do_something_about() {
        let run = "roll-1".parse().unwrap();
        let needs = || wait("cluster:c", Reason::NeedsStep { step: "look".parse().unwrap(), open: 1 }, 0);
        let line = |waits: Vec<Wait>| Waits { waits }.in_a_line(&run).map(|line| (line.text, line.asks));
        assert_eq!(line(vec![]), None);
        assert_eq!(line(vec![needs()]), Some(("step mark in cluster c: step look has not ended".to_owned(), false)));
        let of_gate = line(vec![needs(), wait("once", gate("window", "closed until 22:00"), 0)]);
        assert_eq!(of_gate, Some(("step mark: gate: window: closed until 22:00 (and 1 more)".to_owned(), false)));
        let approval = Reason::Approval {
            run: run.clone(),
            step: None,
            wave: None,
            by: OperatorRole::Operator,
            not: None,
            message: String::new(),
            seen: String::new(),
            expired: None,
        };
        let asked = line(vec![wait("once", gate("window", "x"), 0), wait("once", approval, 0), needs()]).unwrap();
        assert!(asked.1 && asked.0.contains("mainstay run approve roll-1") && asked.0.ends_with("(and 2 more)"), "{asked:?}");
        assert_eq!(line(vec![wait("once", gate("g", &"x".repeat(999)), 0)]).unwrap().0.len(), LINE);
        assert_eq!(line(vec![Wait { run: "roll-2".parse().unwrap(), ..needs() }]), None, "another run");
    }

    #[test]
    fn what_waits_for_something_else_now_waits_from_now_on() {
        let window = || wait("c/n1", gate("window", "closed until 22:00"), 100);
        let wave = |wave| wait("c/n1", Reason::Wave { wave, of: 3 }, 100);
        assert_eq!(since(vec![window()], vec![wave(1)]), [900]);
        assert_eq!(since(vec![wave(1)], vec![wave(2)]), [900], "another wave");
        assert_eq!(since(vec![Wait { since: MeshTime(300), ..window() }], vec![wait("c/n1", gate("window", "closed until 23:00"), 100)]), [300]);
        assert_eq!(since(vec![], vec![window()]), [100], "a new leader knows what the state says");
        assert_eq!(since(vec![wait("c/n2", gate("window", ""), 300)], vec![window()]), [100], "another target");
        let works = Reason::Evaluating;
        assert_eq!(since(vec![window()], vec![wait("c/n1", works, 500)]), [500], "the state says since when");
    }
}
