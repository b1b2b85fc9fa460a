//! What the mesh says of itself. Of runs there is how they went, and nothing of what they were given or printed.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use mainstay_client::{CallError, Mesh};
use mainstay_proto::v1::{
    GetRunRequest, ListConnectionsRequest, ListFindingsRequest, ListLeasesRequest, ListMembersRequest, ListRunsRequest, Run, RunState, WhyResponse,
};
use serde_json::{Value, json};

use super::Bundle;
use crate::args::Global;
use crate::connection;
use crate::doctor::facts::{Answer, Facts};

/// Runs of which everything is there, the newest.
const RUNS: usize = 20;
/// What stands in the place of a value that is left out.
const LEFT_OUT: &str = "(left out)";

/// Versions of this program, of members and of agents.
pub fn versions(facts: &Facts) -> Value {
    let members: BTreeMap<&str, &str> = described(facts).map(|member| (member.name.as_str(), member.version.as_str())).collect();
    let mut agents: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &facts.mesh.nodes {
        *agents.entry(&node.version).or_default() += 1;
    }
    json!({
        "mainstay": facts.version,
        "members": members,
        "agents": agents,
        "featureLevel": facts.mesh.status.as_ref().map(|status| status.feature_level),
        "system": crate::host::system(),
    })
}

fn described(facts: &Facts) -> impl Iterator<Item = &mainstay_proto::v1::MemberDescription> {
    facts.members.iter().filter_map(|member| if let Answer::Described(described, _) = &member.answer { Some(&**described) } else { None })
}

/// What `doctor` has asked already.
pub fn of_facts(facts: &Facts, bundle: &mut Bundle) {
    let mesh = &facts.mesh;
    let own: Vec<_> = described(facts).collect();
    if own.is_empty() {
        bundle.leave_out("members/described.json", &"no member answered");
    } else {
        bundle.json("members/described.json", "each member's word about itself: clock, certificates, disk", &own);
    }
    match &mesh.status {
        Some(status) => bundle.json("status.json", "the mesh at a glance", status),
        None => bundle.leave_out("status.json", &"the mesh did not answer"),
    }
    if mesh.status.is_some() {
        bundle.json("agents.json", "nodes and their agents", &mesh.nodes);
    } else {
        bundle.leave_out("agents.json", &"the mesh did not answer");
    }
    if let Some(check) = &mesh.check {
        bundle.json("invariants.json", "what must hold of the state, and whether it does", check);
    }
}

/// What else somebody would ask. Nothing of it is asked where no member answered.
pub async fn ask(global: &Global, facts: &Facts, patience: Duration, bundle: &mut Bundle) {
    const ALL: &str = "members/list.json, findings.json, leases.json, connections.json, runs/";
    if described(facts).next().is_none() {
        return bundle.leave_out(ALL, &"no member answered");
    }
    let mesh = match connection::open(global) {
        Ok((mesh, _)) => mesh.with_deadline(patience / 5),
        Err(error) => return bundle.leave_out(ALL, &error.message),
    };
    if tokio::time::timeout(patience, ask_all(&mesh, bundle)).await.is_err() {
        bundle.leave_out("some of what the mesh was asked", &format!("it did not answer within {} s", patience.as_secs()));
    }
}

async fn ask_all(mesh: &Mesh, bundle: &mut Bundle) {
    keep(bundle, "members/list.json", "the group of coordinators", mesh.list_members(ListMembersRequest {}).await);
    keep(bundle, "findings.json", "what is wrong or unknown", mesh.list_findings(ListFindingsRequest::default()).await);
    keep(bundle, "leases.json", "leases, who holds them, and who waits", mesh.list_leases(ListLeasesRequest::default()).await);
    keep(bundle, "connections.json", "which agents have which connection", mesh.list_connections(ListConnectionsRequest {}).await);
    match mesh.list_runs(ListRunsRequest::default()).await {
        Ok(runs) => self::runs(mesh, runs.runs, bundle).await,
        Err(error) => bundle.leave_out("runs/", &error),
    }
}

fn keep<T: serde::Serialize>(bundle: &mut Bundle, name: &str, about: &str, answer: Result<T, CallError>) {
    match answer {
        Ok(answer) => bundle.json(name, about, &answer),
        Err(error) => bundle.leave_out(name, &error),
    }
}

/// Those that are open first: they are what somebody asks about.
async fn runs(mesh: &Mesh, mut runs: Vec<Run>, bundle: &mut Bundle) {
    let is_open = |run: &Run| matches!(run.state(), RunState::Running | RunState::Undoing);
    runs.sort_by_key(|run| (!is_open(run), std::cmp::Reverse(run.started_unix_ms)));
    if runs.len() > RUNS {
        let more = runs.split_off(RUNS).len();
        bundle.leave_out(&format!("{more} older runs"), &format!("the newest {RUNS} are there"));
    }
    let of = |run: &Run| GetRunRequest { run: run.id.clone() };
    let whole = join_all(runs.iter().map(|run| mesh.get_run(of(run)))).await;
    for (run, whole) in runs.iter().zip(whole) {
        keep(bundle, &format!("runs/{}.json", run.id), "a run: its steps, and how each went", whole.map(without_contents));
    }
    let open: Vec<&Run> = runs.iter().filter(|run| is_open(run)).collect();
    let waits = join_all(open.iter().map(|run| mesh.why_run(of(run)))).await;
    for (run, waits) in open.iter().zip(waits) {
        keep(bundle, &format!("runs/{}-waits.json", run.id), "for what it waits", waits.map(waits_alone));
    }
}

/// For what a run waits, without the run, and without the values that somebody who approves is shown.
pub(super) fn waits_alone(mut why: WhyResponse) -> WhyResponse {
    why.run = None;
    for approval in why.waits.iter_mut().filter_map(|wait| wait.approval.as_mut()) {
        let steps = approval.steps.iter_mut().map(|step| &mut step.with);
        steps.chain([&mut approval.message]).filter(|text| !text.is_empty()).for_each(|text| *text = LEFT_OUT.to_owned());
    }
    why
}

/// A run without what it was given, what its steps printed and what they handed on: that is the fleet's own.
pub(super) fn without_contents(mut run: Run) -> Run {
    run.inputs.values_mut().for_each(|value| *value = LEFT_OUT.to_owned());
    for attempt in run.work.iter_mut().flat_map(|work| &mut work.attempts) {
        let Some(report) = attempt.outcome.as_mut().and_then(|outcome| outcome.report.as_mut()) else { continue };
        report.outputs.values_mut().for_each(|value| *value = LEFT_OUT.to_owned());
        if !report.output_tail.is_empty() {
            report.output_tail = LEFT_OUT.to_owned();
        }
        report.checks.iter_mut().filter(|check| !check.details.is_empty()).for_each(|check| check.details = vec![LEFT_OUT.to_owned()]);
    }
    run
}
