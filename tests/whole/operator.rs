//! Somebody who applies plans, starts runs and changes their mind; and who looks in the end what has become of it all.

use std::time::Duration;

use mainstay_client::Mesh;
use mainstay_proto::v1;

use crate::chance::Chance;
use crate::invariants::undone;
use crate::{members, plans, trace, watch};

/// Between two looks at what has become of the runs.
const LOOK: Duration = Duration::from_millis(700);

pub async fn run(who: &'static str, mesh: Mesh, mut chance: Chance) {
    while !watch::with(|seen| seen.is_calm) {
        if watch::with(|seen| std::mem::take(&mut seen.exchange)) {
            members::exchange(who, &mesh, &mut chance).await;
        }
        let (name, text) = *chance.one(&plans::ALL);
        let known: Vec<String> = watch::with(|seen| seen.started.iter().cloned().collect());
        match chance.between(0, 10) {
            0..=4 => start(who, &mesh, name, text).await,
            5 if !known.is_empty() => {
                let run = chance.one(&known).clone();
                let answer = mesh.abort_run(v1::AbortRunRequest { run: run.clone(), reason: "changed my mind".into(), dry_run: false }).await;
                trace::line(who, &format!("aborts {run}: {}", told(&answer)));
            }
            6 if !known.is_empty() => {
                let run = chance.one(&known).clone();
                let answer = mesh.pause_run(v1::PauseRunRequest { run: run.clone(), reason: "lunch".into(), dry_run: false }).await;
                trace::line(who, &format!("pauses {run}: {}", told(&answer)));
                tokio::time::sleep(chance.millis(100, 3_000)).await;
                let answer = mesh.resume_run(v1::ResumeRunRequest { run: run.clone(), dry_run: false }).await;
                trace::line(who, &format!("resumes {run}: {}", told(&answer)));
            }
            7 if !known.is_empty() => {
                let run = chance.one(&known).clone();
                let answer = mesh.undo_run(v1::UndoRunRequest { run: run.clone(), reason: "it was wrong".into(), dry_run: false }).await;
                trace::line(who, &format!("undoes {run}: {}", told(&answer)));
            }
            8 if !known.is_empty() => {
                let denies = chance.percent(20);
                let run = chance.one(&known).clone();
                look(who, &mesh, &run, denies).await;
            }
            _ => {}
        }
        tokio::time::sleep(chance.millis(100, 3_000)).await;
    }
    watch::with(|seen| seen.waits_for = Some("the operator's last run".into()));
    let last = &plans::ALL[0];
    let before = watch::with(|seen| seen.started.len());
    while watch::with(|seen| seen.started.len()) == before {
        start(who, &mesh, last.0, last.1).await;
        tokio::time::sleep(LOOK).await;
    }
    loop {
        let waits = still_waits(who, &mesh).await;
        watch::with(|seen| seen.waits_for = waits);
        tokio::time::sleep(LOOK).await;
    }
}

/// Applies a plan and starts a run of it. A start that failed may have come off.
async fn start(who: &'static str, mesh: &Mesh, name: &str, text: &str) {
    let applied = mesh.apply_plan(v1::ApplyPlanRequest { source: plans::source(text), dry_run: false }).await;
    if let Err(error) = applied {
        return trace::line(who, &format!("cannot apply {name}: {error}"));
    }
    match mesh.start_run(v1::StartRunRequest { plan: name.to_owned(), ..Default::default() }).await {
        Ok(started) => {
            trace::line(who, &format!("starts {}", started.run));
            watch::with(|seen| seen.started.insert(started.run.clone()));
            if name == "windowed" {
                tokio::time::sleep(LOOK).await;
                look(who, mesh, &started.run, false).await;
            }
        }
        Err(error) => trace::line(who, &format!("cannot start {name}: {error}")),
    }
}

/// Looks at what a run waits for, and decides where somebody has to.
async fn look(who: &'static str, mesh: &Mesh, run: &str, denies: bool) {
    let Ok(why) = mesh.why_run(v1::GetRunRequest { run: run.to_owned() }).await else { return };
    for wait in why.waits {
        if wait.reason.contains("window") || wait.reason.contains("freeze") {
            watch::struck("a window holds a step");
        }
        let Some(wanted) = wait.approval else { continue };
        watch::struck("an approval holds a step");
        if !denies {
            // It may come off, whatever the answer.
            watch::with(|seen| seen.approved.insert(run.to_owned()));
        }
        let decided = v1::ApproveRunRequest {
            run: run.to_owned(),
            step: wait.step.clone(),
            wave: wanted.wave,
            seen: wanted.seen,
            deny: denies,
            reason: "looked at it".into(),
            dry_run: false,
        };
        let answer = mesh.approve_run(decided).await;
        trace::line(who, &format!("{} {run}: {}", if denies { "denies" } else { "approves" }, told(&answer)));
    }
}

/// A step of an unknown outcome keeps its lease until somebody has looked at the machine, which nobody works on any more.
async fn free_claims(who: &'static str, mesh: &Mesh) {
    let Ok(answer) = mesh.list_leases(v1::ListLeasesRequest { prefix: "deploy/".into() }).await else { return };
    for lease in answer.leases {
        for held in &lease.held {
            let run = held.identity.trim_start_matches("run/");
            if watch::with(|seen| seen.works.is_at_work(run)) {
                continue;
            }
            let proof = "looked at the machines".to_owned();
            let answer = mesh.free_claim(v1::FreeClaimRequest { name: lease.name.clone(), token: held.token.clone(), proof, dry_run: false }).await;
            trace::line(who, &format!("frees {} of {run}: {}", lease.name, told(&answer)));
        }
    }
}

/// What has not ended; nothing when everything has, and is as it should be.
async fn still_waits(who: &'static str, mesh: &Mesh) -> Option<String> {
    match mesh.check(v1::CheckRequest {}).await {
        Err(error) => return Some(format!("an answer to whether the state is sound: {error}")),
        Ok(answer) => {
            if let Some(wrong) = answer.invariants.iter().find(|known| !known.broken.is_empty()) {
                watch::broken("state", &format!("{}: {}", wrong.name, wrong.broken));
            }
        }
    }
    let known: Vec<String> = watch::with(|seen| seen.started.iter().cloned().collect());
    for name in known {
        let run = match mesh.get_run(v1::GetRunRequest { run: name.clone() }).await {
            Ok(run) => run,
            Err(error) if error.is_transient() => return Some(format!("an answer about {name}: {error}")),
            Err(error) => {
                watch::broken("acknowledged", &format!("{name} was started, and is not there: {error}"));
                continue;
            }
        };
        if !run.paused_by.is_empty() {
            let answer = mesh.resume_run(v1::ResumeRunRequest { run: name.clone(), dry_run: false }).await;
            trace::line(who, &format!("resumes {name}: {}", told(&answer)));
        }
        if run.ended_unix_ms == 0 {
            let why = mesh.why_run(v1::GetRunRequest { run: name.clone() }).await;
            if why.as_ref().is_ok_and(|why| why.waits.iter().any(|wait| wait.reason.starts_with("lease "))) {
                free_claims(who, mesh).await;
            }
            if why.as_ref().is_ok_and(|why| why.waits.iter().any(|wait| wait.approval.is_some())) {
                look(who, mesh, &name, false).await;
            }
            let why =
                why.map(|why| why.waits.iter().map(|wait| format!("{} {} {}", wait.step, wait.target, wait.reason)).collect::<Vec<_>>().join("; "));
            return Some(format!("{name}: {}", why.unwrap_or_else(|error| error.to_string())));
        }
        undone::look(&run);
    }
    members::misplaced(mesh).await
}

fn told<T>(answer: &Result<T, mainstay_client::CallError>) -> String {
    answer.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned())
}
