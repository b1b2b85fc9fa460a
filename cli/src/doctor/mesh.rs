//! What is wrong in the mesh, by its leader's word.

use mainstay_proto::v1::{LinkState, Member, MemberRole, Status, Verdict};

use super::diagnosis::Diagnosis;
use super::facts::{Facts, MeshFacts};
use crate::render::{time, units};

/// A follower that lacks more than this many entries is not just a moment behind.
const BEHIND: u64 = 1_000;
/// Shares of the state's bound.
const STATE_NEAR: f64 = 0.8;
const STATE_FULL: f64 = 0.95;
/// A run that has waited for so long may have been forgotten.
const WAITS_LONG_MS: u64 = 3_600_000;
/// An agent that enrolled and was not seen for so long does not come by itself.
const NEVER_SEEN_MS: i64 = 3_600_000;
/// Things of one kind that are listed one by one.
const LISTED: usize = 10;

pub fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    let mesh = &facts.mesh;
    let mut all = Vec::new();
    for (question, why) in &mesh.unanswered {
        all.push(
            Diagnosis::new(Verdict::Unknown, "mesh", question, format!("not known: {why}"))
                .then("see to the members first, then ask again: mainstay doctor"),
        );
    }
    if let Some(status) = &mesh.status {
        all.extend(members(status));
        all.extend(state(status));
        all.extend(level(facts, status));
        all.push(findings(status));
    }
    all.extend(agents(facts));
    all.extend(invariants(mesh));
    all.extend(connections(mesh));
    all.extend(plans(facts));
    all.extend(runs(mesh));
    all
}

fn members(status: &Status) -> Vec<Diagnosis> {
    let voters: Vec<&Member> = status.members.iter().filter(|member| member.role() == MemberRole::Voter).collect();
    let up = voters.iter().filter(|member| member.reachable).count();
    let quorum = voters.len() / 2 + 1;
    let mut all = Vec::new();
    if !status.members.iter().any(|member| member.leader) {
        all.push(
            Diagnosis::new(Verdict::Critical, "quorum", "members", "nobody leads: nothing can be decided")
                .then("start the members that are down: mainstay member list"),
        );
    }
    let spare = up.saturating_sub(quorum);
    all.push(match (voters.len(), up) {
        (total, up) if up < quorum => {
            Diagnosis::new(Verdict::Critical, "quorum", "members", format!("{up} of {total} are up, and {quorum} are needed"))
                .then("start the others; when they are gone for good: docs/backup.md")
        }
        (total, up) if up < total => Diagnosis::new(
            Verdict::Warning,
            "quorum",
            "members",
            format!(
                "{up} of {total} are up: {}",
                if spare == 0 { "the loss of one more stops the mesh".to_owned() } else { format!("{spare} more can be lost") }
            ),
        )
        .then("start the ones that are silent"),
        (2, _) => Diagnosis::new(Verdict::Warning, "quorum", "members", "two vote: the loss of either stops the mesh")
            .then("let a third join: mainstay token create --coordinator"),
        (1, _) => Diagnosis::new(Verdict::Ok, "quorum", "members", "one, and it is up: its loss stops the mesh"),
        (total, _) => Diagnosis::new(Verdict::Ok, "quorum", "members", format!("{total} of {total} are up: {spare} can be lost")),
    });
    for member in &status.members {
        if !member.reachable {
            all.push(
                Diagnosis::new(Verdict::Warning, "member", &member.name, format!("silent, at {}", member.address))
                    .then("on its machine: systemctl status mainstay-coordinator"),
            );
        } else if member.role() == MemberRole::Learner {
            let what = format!("does not vote yet: {} behind", units::count(member.behind, "entry", "entries"));
            all.push(
                Diagnosis::new(Verdict::Warning, "member", &member.name, what)
                    .then("it votes when it has caught up; if it does not, its log says why"),
            );
        } else if member.behind > BEHIND {
            let what = format!("{} behind the leader", units::count(member.behind, "entry", "entries"));
            all.push(Diagnosis::new(Verdict::Warning, "member", &member.name, what).then("its disk or its network is slow"));
        }
    }
    all
}

fn state(status: &Status) -> Option<Diagnosis> {
    let share = status.state_bytes as f64 / status.state_bytes_max.max(1) as f64;
    let verdict = match share {
        share if share >= STATE_FULL => Verdict::Critical,
        share if share >= STATE_NEAR => Verdict::Warning,
        _ => return None,
    };
    let what = format!(
        "{} of {} that the state may have: at the end, new plans, runs and leases are refused",
        units::bytes(status.state_bytes as f64),
        units::bytes(status.state_bytes_max as f64)
    );
    Some(Diagnosis::new(verdict, "state", "mesh", what).then("remove plans that nobody needs, and let fewer runs be kept (spec.history)"))
}

/// The mesh does what all of its members can do, and no more.
fn level(facts: &Facts, status: &Status) -> Option<Diagnosis> {
    use super::facts::Answer;
    let known = facts.members.iter().filter_map(|member| if let Answer::Described(described, _) = &member.answer { Some(described) } else { None });
    let newest = known.map(|member| member.feature_level).max()?;
    (status.feature_level < newest).then(|| {
        let what = format!("works at feature level {}, and a member could do {newest}", status.feature_level);
        Diagnosis::new(Verdict::Warning, "level", "mesh", what).then("it is raised when all members have been upgraded: docs/upgrade.md")
    })
}

fn findings(status: &Status) -> Diagnosis {
    let open = status.critical + status.unknown + status.warning;
    let what = if open == 0 {
        "no open findings".to_owned()
    } else {
        format!("{} about the fleet: mainstay finding list", units::count(open.into(), "open finding", "open findings"))
    };
    Diagnosis::new(Verdict::Ok, "findings", "mesh", what)
}

fn agents(facts: &Facts) -> Vec<Diagnosis> {
    let nodes = &facts.mesh.nodes;
    if nodes.is_empty() {
        return Vec::new();
    }
    let lost: Vec<_> = nodes.iter().filter(|node| node.link() == LinkState::Lost).collect();
    let never: Vec<_> = nodes.iter().filter(|node| node.link() == LinkState::Never && facts.now.0 - node.since_unix_ms > NEVER_SEEN_MS).collect();
    let mut all = Vec::new();
    if lost.len() == nodes.len() {
        let what = format!("none of {} is connected", units::count(nodes.len() as u64, "agent", "agents"));
        all.push(
            Diagnosis::new(Verdict::Critical, "agents", "mesh", what)
                .then("can they reach the coordinators' port 7400? On a node: systemctl status mainstay-agent"),
        );
        return all;
    }
    for node in lost.iter().take(LISTED) {
        let what = format!("its agent was lost {}", time::ago(node.since_unix_ms, facts.now));
        let steps =
            if node.steps_open > 0 { format!(", with {} open", units::count(node.steps_open.into(), "step", "steps")) } else { String::new() };
        let place = format!("{}/{}", node.cluster, node.name);
        let then = format!("on the node: systemctl status mainstay-agent; if it is gone for good: mainstay node forget {place}");
        all.push(Diagnosis::new(Verdict::Warning, "agents", &place, what + &steps).then(then));
    }
    if lost.len() > LISTED {
        all.push(
            Diagnosis::new(Verdict::Warning, "agents", "mesh", format!("{} more agents are lost", lost.len() - LISTED)).then("mainstay node list"),
        );
    }
    if !never.is_empty() {
        let names: Vec<String> = never.iter().take(LISTED).map(|node| format!("{}/{}", node.cluster, node.name)).collect();
        let what = format!("{} enrolled and never connected", units::count(never.len() as u64, "agent has", "agents have"));
        all.push(Diagnosis::new(Verdict::Warning, "agents", names.join(", "), what).then("its log says why; port 7400 must be open from there"));
    }
    if all.is_empty() {
        all.push(Diagnosis::new(Verdict::Ok, "agents", "mesh", format!("{} connected", units::count(nodes.len() as u64, "agent", "agents"))));
    }
    all
}

fn invariants(mesh: &MeshFacts) -> Vec<Diagnosis> {
    let Some(check) = &mesh.check else { return Vec::new() };
    let broken: Vec<Diagnosis> = check
        .invariants
        .iter()
        .filter(|invariant| !invariant.broken.is_empty())
        .map(|invariant| {
            let what = format!("does not hold: {} ({})", invariant.says, invariant.broken);
            let then = if invariant.name == "audit" {
                "somebody changed what was written, or it is damaged: compare with snapshots, look at who can write the coordinators' disks"
            } else {
                "this is a fault of Mainstay: mainstay support-bundle, and report it"
            };
            Diagnosis::new(Verdict::Critical, "invariant", &invariant.name, what).then(then)
        })
        .collect();
    if broken.is_empty() {
        let what = format!("{} of the state hold, the audit chain is whole", units::count(check.invariants.len() as u64, "invariant", "invariants"));
        return vec![Diagnosis::new(Verdict::Ok, "invariant", "mesh", what)];
    }
    broken
}

fn connections(mesh: &MeshFacts) -> Vec<Diagnosis> {
    let missing = mesh.check.iter().flat_map(|check| &check.missing_connections);
    missing
        .take(LISTED)
        .map(|missing| {
            let what = format!("step {} names connection {}, which no agent has", missing.step, missing.connection);
            let then = format!(
                "add to an agent's connections:  [connections.{}]  kind = \"{}\"  url = …",
                missing.connection,
                missing.kinds.join("\" or \"")
            );
            Diagnosis::new(Verdict::Warning, "connection", format!("plan {}", missing.plan), what).then(then)
        })
        .collect()
}

fn plans(facts: &Facts) -> Vec<Diagnosis> {
    let suspended = facts.mesh.plans.iter().filter(|plan| plan.suspended_unix_ms != 0);
    suspended
        .map(|plan| {
            let reason = if plan.suspended_reason.is_empty() { String::new() } else { format!(": {}", plan.suspended_reason) };
            let ago = time::ago(plan.suspended_unix_ms, facts.now);
            let what = format!("was suspended {ago} by {}{reason}; its schedules start nothing", plan.suspended_by);
            Diagnosis::new(Verdict::Warning, "plan", format!("plan {}", plan.name), what).then(format!("mainstay plan resume {}", plan.name))
        })
        .collect()
}

fn runs(mesh: &MeshFacts) -> Vec<Diagnosis> {
    let mut all = Vec::new();
    for run in &mesh.runs {
        if !run.paused_by.is_empty() {
            let what = format!("held up by {}: {}", run.paused_by, run.reason);
            all.push(
                Diagnosis::new(Verdict::Warning, "run", format!("run {}", run.id), what)
                    .then(format!("mainstay run resume {id}, or mainstay run abort {id}", id = run.id)),
            );
        } else if run.longest_ms >= WAITS_LONG_MS {
            let what = format!("step {} on {} has waited for {}: {}", run.step, run.target, units::duration_ms(run.longest_ms), run.reason);
            all.push(Diagnosis::new(Verdict::Warning, "run", format!("run {}", run.id), what).then(format!("mainstay why {}", run.id)));
        }
    }
    for run in mesh.unsettled.iter().take(LISTED) {
        let left = run.left.iter().map(|left| left.what.as_str()).collect::<Vec<_>>().join("; ");
        let command = run.left.iter().find(|left| !left.command.is_empty()).map_or_else(String::new, |left| format!(", then {}", left.command));
        let what = format!("has ended, and leaves something to a person: {left}");
        all.push(Diagnosis::new(Verdict::Warning, "run", format!("run {}", run.id), what).then(format!("mainstay why {}{command}", run.id)));
    }
    if mesh.unsettled.len() > LISTED {
        let what = format!("{} more ended runs leave something to a person", mesh.unsettled.len() - LISTED);
        all.push(Diagnosis::new(Verdict::Warning, "run", "mesh", what).then("mainstay why"));
    }
    all
}
