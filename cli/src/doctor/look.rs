//! Looking: this machine's files, each member by itself, and the mesh by its leader.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::identity::ClientIdentity;
use mainstay_client::{CallError, Mesh};
use mainstay_core::WallTime;
use mainstay_proto::v1::{
    CheckRequest, DescribeMemberRequest, GetRunRequest, GetStatusRequest, ListNodesRequest, ListPlansRequest, ListRunsRequest, Run, RunState,
};

use super::facts::{Answer, Chosen, Facts, IdentityFile, MemberFacts, MeshFacts, Trouble, WaitingRun};
use crate::args::Global;
use crate::contexts::Source;
use crate::error::CliError;
use crate::host;
use crate::mesh_finder::{self, Found};
use crate::up::layout::Layout;

/// For one member's own word, handshake included.
const MEMBER: Duration = Duration::from_secs(4);
/// For one question to the mesh.
const QUESTION: Duration = Duration::from_secs(6);
/// Open runs that are looked at one by one.
const RUNS: usize = 50;

/// Looks at all there is.
pub async fn look(global: &Global) -> Facts {
    let mut facts = Facts { now: SystemClock.wall(), version: env!("CARGO_PKG_VERSION").to_owned(), ..Facts::default() };
    let found = match mesh_finder::find(global) {
        Ok(found) => found,
        Err(error) => {
            facts.not_chosen = Some(trouble(&error));
            return facts;
        }
    };
    let asleep = found.local.as_ref().filter(|dir| !Layout::new(dir).is_alive()).map(|dir| dir.display().to_string());
    facts.chosen = Some(Chosen { by: found.by.clone(), members: found.members.clone(), asleep });
    let (file, identity) = identity(&found);
    facts.identity = Some(file);
    let Some(identity) = identity else { return facts };
    facts.members = members(&found.members, &identity).await;
    // Members that this context does not name are members all the same.
    let status = Mesh::new(found.members.clone(), identity.clone()).with_deadline(QUESTION).get_status(GetStatusRequest {}).await;
    let further: Vec<String> = status
        .iter()
        .flat_map(|status| &status.members)
        .map(|member| member.address.clone())
        .filter(|address| facts.members.iter().all(|known| known.address != *address))
        .collect();
    facts.members.extend(members(&further, &identity).await);
    facts.mesh = match status {
        Ok(status) => {
            let names: BTreeMap<&str, &str> = status.members.iter().map(|member| (member.address.as_str(), member.name.as_str())).collect();
            for member in &mut facts.members {
                member.name = names.get(member.address.as_str()).map(|name| (*name).to_owned()).unwrap_or_default();
            }
            let endpoints = status.members.iter().map(|member| member.address.clone()).collect();
            let mut told = mesh(&Mesh::new(endpoints, identity).with_deadline(QUESTION)).await;
            told.status = Some(status);
            told
        }
        Err(error) => MeshFacts { unanswered: vec![("status".to_owned(), words(&error))], ..MeshFacts::default() },
    };
    facts
}

fn trouble(error: &CliError) -> Trouble {
    Trouble { what: error.message.clone(), then: error.next.join("; ") }
}

fn identity(found: &Found) -> (IdentityFile, Option<ClientIdentity>) {
    let path = match &found.identity {
        Source::Dir(dir) => dir.join("identity.pem"),
        Source::Files(files) => files.key.clone(),
    };
    let file = |unusable| IdentityFile {
        path: path.display().to_string(),
        unusable,
        mode: host::mode(&path).unwrap_or(0),
        identity: None,
        ends: WallTime(0),
    };
    let bundle = match found.identity.load() {
        Ok(bundle) => bundle,
        Err(error) => return (file(Some(error.to_string())), None),
    };
    let (Ok((_, who)), Ok((_, ends))) = (bundle.identity(), bundle.validity()) else {
        return (file(Some("the certificate in it cannot be read".to_owned())), None);
    };
    match ClientIdentity::new(bundle) {
        Ok(identity) => (IdentityFile { identity: Some(who), ends, ..file(None) }, Some(identity)),
        Err(error) => (file(Some(error.to_string())), None),
    }
}

/// Each member, asked at its own address and about itself only.
async fn members(addresses: &[String], identity: &ClientIdentity) -> Vec<MemberFacts> {
    join_all(addresses.iter().map(|address| member(address, identity))).await
}

async fn member(address: &str, identity: &ClientIdentity) -> MemberFacts {
    let mesh = Mesh::new(vec![address.to_owned()], identity.clone()).with_deadline(MEMBER);
    // The first call makes the connection; the second one is the one that is timed.
    let first = mesh.describe_member(DescribeMemberRequest {}).await;
    let (begun, begun_wall) = (SystemClock.monotonic(), SystemClock.wall());
    let answer = match first {
        Ok(_) => mesh.describe_member(DescribeMemberRequest {}).await,
        Err(error) => Err(error),
    };
    let took = SystemClock.monotonic() - begun;
    let answered_in_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let answer = match answer {
        Ok(described) => {
            let halfway = begun_wall.0 + i64::try_from(answered_in_ms / 2).unwrap_or(0);
            let ahead = described.wall_unix_ms - halfway;
            Answer::Described(Box::new(described), ahead)
        }
        Err(CallError::Unreachable { tried }) => {
            let why = tried.first().map(|tried| tried.reason.to_string()).unwrap_or_default();
            if tried.iter().any(mainstay_client::error::ConnectError::is_about_certificates) {
                Answer::Certificate(why)
            } else {
                Answer::Unreachable(why)
            }
        }
        Err(CallError::Refused { message, .. }) => Answer::Refused(message),
        Err(error) => Answer::Unreachable(error.to_string()),
    };
    MemberFacts { address: address.to_owned(), name: String::new(), answered_in_ms, answer }
}

/// What the leader knows.
async fn mesh(mesh: &Mesh) -> MeshFacts {
    let mut told = MeshFacts::default();
    let (nodes, check, plans, runs) = tokio::join!(
        mesh.list_nodes(ListNodesRequest::default()),
        mesh.check(CheckRequest {}),
        mesh.list_plans(ListPlansRequest::default()),
        mesh.list_runs(ListRunsRequest::default())
    );
    told.nodes = kept("nodes", nodes, &mut told.unanswered).map(|answer| answer.nodes).unwrap_or_default();
    told.check = kept("invariants", check, &mut told.unanswered);
    told.plans = kept("plans", plans, &mut told.unanswered).map(|answer| answer.plans).unwrap_or_default();
    let runs = kept("runs", runs, &mut told.unanswered).map(|answer| answer.runs).unwrap_or_default();
    let (open, ended): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(|run| matches!(run.state(), RunState::Running | RunState::Undoing));
    told.unsettled = ended.into_iter().filter(|run| !run.left.is_empty()).collect();
    told.runs = join_all(open.into_iter().take(RUNS).map(|run| waiting(mesh, run))).await.into_iter().flatten().collect();
    told
}

fn kept<T>(question: &str, answer: Result<T, CallError>, unanswered: &mut Vec<(String, String)>) -> Option<T> {
    answer.map_err(|error| unanswered.push((question.to_owned(), words(&error)))).ok()
}

/// The error in one line; the members' own lines say more.
fn words(error: &CallError) -> String {
    match error {
        CallError::Unreachable { .. } => "no member could be reached".to_owned(),
        other => other.to_string(),
    }
}

/// For what an open run has waited longest; one that ends meanwhile waits for nothing.
async fn waiting(mesh: &Mesh, run: Run) -> Option<WaitingRun> {
    let why = mesh.why_run(GetRunRequest { run: run.id.clone() }).await.ok()?;
    let longest = why.waits.iter().max_by_key(|wait| wait.waited_ms).cloned().unwrap_or_default();
    let reason = if run.paused_by.is_empty() { longest.reason } else { run.pause_reason };
    Some(WaitingRun { id: run.id, paused_by: run.paused_by, longest_ms: longest.waited_ms, step: longest.step, target: longest.target, reason })
}
