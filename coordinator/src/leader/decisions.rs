//! The loop that decides. A change may wake it, or a clock; then it reads everything again. One pass at a
//! time: what a pass proposed has an outcome before the next one looks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use mainstay_client::random::Backoff;
use mainstay_client::work;
use mainstay_core::evaluate::Evaluation;
use mainstay_core::plan::Gate;
use mainstay_core::seen::{Due, Opening};
use mainstay_core::{Actor, Command, MemberId, Seen, State, WallTime, almanac, decide};

use super::Office;

/// Longest time between two passes.
const TICK: Duration = Duration::from_secs(1);
/// Between two looks for observations of what the state has forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(5);
/// How often the calendar is asked.
const ALMANAC_MS: i64 = 1_000;
/// Silence after which a member does not count as one that answers; heartbeats are far more frequent.
const SILENCE: Duration = Duration::from_secs(3);
/// Steps whose expressions one pass evaluates.
const EVALUATIONS: usize = 100;
/// Proposals of one pass that are on their way together.
const AT_ONCE: usize = 64;
/// After a pass, so many times its length passes before the next: deciding takes a twentieth of a core at most, also
/// where the state is large and changes thousands of times a second.
const REST: u32 = 19;
/// Longest such rest.
const REST_MAX: Duration = Duration::from_millis(250);

/// Decides until the process or the store ends; the caller ends it with the tenure.
pub(super) async fn run(office: &Office) {
    let mut applied = office.consensus().applied();
    let mut pauses = Backoff::new(Duration::from_millis(50), TICK);
    let mut pruned = office.clock().monotonic();
    let mut almanac = Almanac::default();
    loop {
        let began = office.clock().monotonic();
        if office.pulse().beat(began) && !resume(office).await {
            tokio::time::sleep(pauses.pause()).await;
            continue;
        }
        let (index, state) = {
            let applied = applied.borrow_and_update();
            (applied.index, applied.state.clone())
        };
        if began >= pruned + PRUNE_EVERY {
            pruned = began;
            office.memory().prune(&state);
        }
        let seen = Seen { voters: voters(office), ..office.memory().seen() };
        let seen = almanac.complete(seen, &state, office.wall());
        let now = office.now();
        let mut decision = decide(&state, &seen, now);
        decision.waits.go_on_from(&office.waits(), now);
        let took = office.clock().monotonic().saturating_sub(began);
        office.tell_waits(index, decision.waits);
        let mut commands = decision.commands;
        commands.extend(evaluate(state, decision.evaluate).await);
        let decided = commands.len();
        let effective = carry_out(office, &seen, commands).await;

        let mut pause = (took * REST).min(REST_MAX);
        if decided > 0 && effective == 0 {
            // Nothing came of it: looking again at once would find the same.
            pause = pause.max(pauses.pause());
        } else {
            pauses.reset();
        }
        tokio::time::sleep(pause).await;
        if effective > 0 {
            continue;
        }
        let wait = decision.wake_at.map_or(TICK, |at| at.since(office.now()).as_duration().min(TICK));
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return },
            () = office.woken() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// The members that vote, and whether each has answered lately; this one has.
fn voters(office: &Office) -> BTreeMap<MemberId, bool> {
    let (consensus, own) = (office.consensus(), office.consensus().member());
    let followers = consensus.progress().map(|progress| progress.followers).unwrap_or_default();
    let answers = |member: &MemberId| followers.get(member).and_then(|follower| follower.silent_for).is_some_and(|silent| silent < SILENCE);
    consensus.group().voters.keys().map(|member| (*member, *member == own || answers(member))).collect()
}

/// Evaluates expressions beside the decisions: one that is costly within its bounds holds up no lease.
async fn evaluate(state: Arc<State>, wanted: Vec<Evaluation>) -> Vec<Command> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let evaluated = work::blocking(move || {
        wanted.iter().take(EVALUATIONS).filter_map(|evaluation| mainstay_core::evaluate::evaluate(&state, evaluation)).collect()
    });
    evaluated.await.unwrap_or_else(|error| {
        tracing::error!(%error, "expressions could not be evaluated");
        Vec::new()
    })
}

/// What the wall clock said when it was last asked. A pass may come many times a second, and a calendar does
/// not change that fast.
#[derive(Default)]
struct Almanac {
    asked: Option<(WallTime, usize, usize)>,
    openings: BTreeMap<Gate, Opening>,
    due: Vec<Due>,
}

impl Almanac {
    fn complete(&mut self, seen: Seen, state: &State, wall: WallTime) -> Seen {
        let asked = (WallTime(wall.0 / ALMANAC_MS), state.runs.len(), state.plans.values().map(|history| history.revisions.len()).sum());
        if self.asked != Some(asked) || !self.due.is_empty() {
            self.asked = Some(asked);
            self.openings = almanac::openings(state, wall);
            self.due = almanac::due(state, wall);
        }
        Seen { wall, calendar: self.openings.clone(), due: self.due.clone(), ..seen }
    }
}

/// After standing still: whether this member still leads.
async fn resume(office: &Office) -> bool {
    match office.confirm().await {
        Ok(()) => {
            tracing::warn!("this process stood still for a while, and still leads");
            office.note(false, |memory, now| memory.resumed(now));
            office.pulse().forgive();
            true
        }
        Err(error) => {
            tracing::warn!(%error, "this process stood still for a while: nothing is decided until a majority confirms that it leads");
            false
        }
    }
}

/// Proposes all commands and waits for all outcomes; says how many changed something.
async fn carry_out(office: &Office, seen: &Seen, mut commands: Vec<Command>) -> usize {
    {
        let mut memory = office.memory();
        commands.retain(|command| memory.admits(command, seen));
    }
    let proposals = commands.into_iter().map(|command| async {
        let answer = office.propose(Actor::Mesh, None, command.clone()).await;
        (command, answer)
    });
    let outcomes: Vec<_> = futures::stream::iter(proposals).buffer_unordered(AT_ONCE).collect().await;
    let mut effective = 0;
    let mut failed = Vec::new();
    for (command, answer) in outcomes {
        match answer.map(mainstay_core::Reply::into_result) {
            Ok(Ok(_)) => effective += 1,
            Ok(Err(refusal)) => {
                tracing::debug!(%command, %refusal, "a decision was overtaken");
                office.memory().came_to_nothing(&command);
            }
            Err(error) => {
                if !error.outcome_unknown() {
                    office.memory().came_to_nothing(&command);
                }
                failed.push((command, error));
            }
        }
    }
    // Without a majority all of them fail for the same reason, and there may be one for each lease.
    if let Some((command, error)) = failed.first() {
        tracing::info!(%command, %error, others = failed.len() - 1, "decisions were not carried out");
    }
    effective
}
