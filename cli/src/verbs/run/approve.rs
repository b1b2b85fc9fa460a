//! `mainstay run approve`: shows what there is to agree to, asks, and says what was seen.

use std::io::{IsTerminal, stdin};

use mainstay_client::Mesh;
use mainstay_proto::v1::{ApproveRunRequest, GetRunRequest, Run, RunState, WantedApproval, WhyResponse};
use serde::Serialize;

use crate::args::run::Approve;
use crate::error::CliError;
use crate::exit::Exit;
use crate::host;
use crate::render::approval::view;
use crate::render::names::Names;
use crate::render::why::{command_among, covered};
use crate::verbs::{Screen, now, print};

/// `-o json` of what was said.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Said<'a> {
    run: &'a str,
    step: &'a str,
    wave: u32,
    denied: bool,
    seen: &'a str,
}

pub async fn approve(args: &Approve, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let answer = mesh.why_run(GetRunRequest { run: args.run.clone() }).await?;
    let Some(run) = &answer.run else { return Err(CliError::failed("the mesh gave no run")) };
    let approval = wanted(&answer, run, args)?;
    let request = ApproveRunRequest {
        run: run.id.clone(),
        step: approval.step.clone(),
        wave: approval.wave,
        seen: approval.seen.clone(),
        deny: args.deny,
        reason: args.reason.clone(),
        dry_run: args.dry_run,
    };
    let shown = view(run, approval, screen.terminal, now());
    let verb = if args.deny { "deny" } else { "approve" };
    if args.dry_run {
        // Whether this operator may is part of the answer.
        mesh.approve_run(request).await?;
        screen.show(approval, |_| format!("{shown}\n✔ you may {verb} it; nothing was sent\n"))?;
        return Ok(Exit::Success);
    }
    if !args.yes {
        if !(stdin().is_terminal() && screen.terminal.is_terminal()) || screen.is_json() {
            return Err(nobody_to_ask(&command_among(run, approval, &answer)));
        }
        print(&format!("{shown}\n"))?;
        let question = if args.deny { "Say no to it? The step fails then. [y/N] " } else { "Approve it? [y/N] " };
        let reply = host::ask(question).map_err(|error| CliError::failed(format!("the answer cannot be read: {error}")))?;
        if !agrees(&reply) {
            return Err(CliError::failed("nothing was sent"));
        }
    }
    mesh.approve_run(request).await?;
    let said = Said { run: &run.id, step: &approval.step, wave: approval.wave, denied: args.deny, seen: &approval.seen };
    let names = Names::of(approval.targets.iter().map(String::as_str));
    let word = if args.deny { "denied" } else { "approved" };
    screen.done(&said, &format!("✔ {word}: {}\n  mainstay why {}", covered(approval, names), run.id))?;
    Ok(Exit::Success)
}

/// The approval that is meant, of those that the run waits for.
fn wanted<'a>(answer: &'a WhyResponse, run: &Run, args: &Approve) -> Result<&'a WantedApproval, CliError> {
    let mut open: Vec<&WantedApproval> = Vec::new();
    for approval in answer.waits.iter().filter_map(|wait| wait.approval.as_ref()) {
        if !open.iter().any(|known| (&known.step, known.wave) == (&approval.step, approval.wave)) {
            open.push(approval);
        }
    }
    if open.is_empty() {
        return Err(no_approval(run));
    }
    let is_meant = |approval: &&&WantedApproval| {
        args.step.as_ref().is_none_or(|step| *step == approval.step)
            && args.wave.is_none_or(|wave| wave == approval.wave)
            && (!args.plan || approval.step.is_empty())
    };
    let mut meant = open.iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(listed(CliError::usage(format!("{} does not wait for that approval; it waits for", run.id)), answer, run, &open)),
        (Some(_), Some(_)) => {
            let several = format!("{} waits for {} approvals: say which one", run.id, open.len());
            Err(listed(CliError::usage(several), answer, run, &open))
        }
    }
}

/// Each with what to type for it.
fn listed(error: CliError, answer: &WhyResponse, run: &Run, open: &[&WantedApproval]) -> CliError {
    let names = Names::of(open.iter().flat_map(|approval| &approval.targets).map(String::as_str));
    open.iter().fold(error, |error, approval| error.with_next(format!("{}   {}", command_among(run, approval, answer), covered(approval, names))))
}

fn no_approval(run: &Run) -> CliError {
    if !matches!(run.state(), RunState::Running | RunState::Undoing) {
        return CliError::failed(format!("{} has ended: it waits for nothing", run.id)).with_next(format!("how it went:  mainstay why {}", run.id));
    }
    let error = CliError::failed(format!("{} waits for no approval now", run.id));
    if run.paused_by.is_empty() {
        error.with_next(format!("for what it waits:  mainstay why {}", run.id))
    } else {
        error.with_next(format!("it was paused by {}, and asks when it goes on:  mainstay run resume {}", run.paused_by, run.id))
    }
}

fn nobody_to_ask(command: &str) -> CliError {
    CliError::usage("there is nobody to ask here: this is no terminal")
        .with_next(format!("see what there is to agree to:  {command} --dry-run"))
        .with_next(format!("agree to it without a question:  {command} --yes"))
}

fn agrees(reply: &str) -> bool {
    matches!(reply.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use mainstay_proto::v1::Wait;

    use super::*;

    fn args(step: Option<&str>, wave: Option<u32>) -> Approve {
        Approve {
            run: "reboot-7".into(),
            step: step.map(str::to_owned),
            wave,
            deny: false,
            reason: String::new(),
            plan: false,
            yes: true,
            dry_run: false,
        }
    }

    fn run() -> Run {
        Run { id: "reboot-7".into(), state: RunState::Running.into(), ..Run::default() }
    }

    fn waits(open: &[(&str, u32)]) -> WhyResponse {
        let approval = |(step, wave): &(&str, u32)| WantedApproval { step: (*step).into(), wave: *wave, ..WantedApproval::default() };
        // Each target of a wave waits for the same approval.
        let waits = open.iter().flat_map(|open| [approval(open), approval(open)]);
        WhyResponse { waits: waits.map(|approval| Wait { approval: Some(approval), ..Wait::default() }).collect(), ..WhyResponse::default() }
    }

    #[test]
    fn the_only_one_is_meant() {
        let (one, run) = (waits(&[("reboot", 3)]), run());
        assert_eq!(wanted(&one, &run, &args(None, None)).unwrap().wave, 3);
        let several = waits(&[("reboot", 3), ("switch", 0)]);
        assert_eq!(wanted(&several, &run, &args(Some("switch"), None)).unwrap().step, "switch");
        assert_eq!(wanted(&several, &run, &args(None, Some(3))).unwrap().step, "reboot");
    }

    #[test]
    fn of_several_one_is_to_be_named() {
        let error = wanted(&waits(&[("reboot", 3), ("switch", 0)]), &run(), &args(None, None)).unwrap_err();
        assert_eq!((error.exit, error.message.as_str()), (Exit::Usage, "reboot-7 waits for 2 approvals: say which one"));
        assert!(error.next[0].starts_with("mainstay run approve reboot-7 --step reboot --wave 3   "), "{error}");
        let error = wanted(&waits(&[("reboot", 3)]), &run(), &args(Some("drain"), None)).unwrap_err();
        assert_eq!((error.exit, error.next.len()), (Exit::Usage, 1));
    }

    #[test]
    fn without_one_it_says_why() {
        let none = waits(&[]);
        assert_eq!(wanted(&none, &run(), &args(None, None)).unwrap_err().exit, Exit::Failed);
        let paused = Run { paused_by: "operator/jo".into(), ..run() };
        assert!(wanted(&none, &paused, &args(None, None)).unwrap_err().to_string().contains("mainstay run resume reboot-7"));
        let ended = Run { state: RunState::Failed.into(), ..run() };
        assert!(wanted(&none, &ended, &args(None, None)).unwrap_err().message.contains("has ended"));
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(["y", "Y\n", " yes\n"].into_iter().all(agrees));
        assert!(!["", "\n", "n", "yep", "no"].into_iter().any(agrees));
    }
}
