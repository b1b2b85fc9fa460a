//! `node.reboot`: reboots the machine, and says that it came up again.
//!
//! ```text
//!  boot id ─▶ stored with the step ─▶ the command ─▶ this process ends with the machine
//!                                                       └─ the next one: another boot id than the one stored ─▶ done
//! ```
//! What proves it is the boot id, which the kernel makes anew each time. It is stored before the command runs, as what the
//! step found; so whoever looks again, the same attempt after the reboot or another one, knows whether there was one, and
//! none is made twice.

use std::time::Duration;

use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::exec;
use super::params::{self, Span};
use super::{Context, Policy, StepError};

const KIND: &str = "node.reboot";
/// Made by the kernel, new each time that it starts.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Params {
    #[serde(default = "systemctl")]
    command: Vec<String>,
    if_file: Option<String>,
    #[serde(default = "ten_minutes")]
    within: Span,
}

fn systemctl() -> Vec<String> {
    ["/usr/bin/systemctl", "reboot"].map(str::to_owned).to_vec()
}

fn ten_minutes() -> Span {
    Span(Millis::from_secs(600))
}

/// What to do, by what is known.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// It has been rebooted since the step began.
    Done(String),
    /// Nobody has asked for it.
    NotAsked(String),
    /// Store this boot id if none is stored, and run the command.
    Reboot,
}

/// What is to be run, where the policy has it.
///
/// # Errors
/// Refused: parameters that are none, or the policy.
pub(super) fn allowed(with: &Map<String, Value>, policy: &Policy) -> Result<Params, StepError> {
    let params: Params = params::read(KIND, with)?;
    exec::allowed(&command(&params), policy)?;
    if file(&params).is_some_and(|file| !file.starts_with('/')) {
        return Err(StepError::refused(format!("{KIND}: `ifFile` must be an absolute path")));
    }
    Ok(params)
}

/// The file without which it is not rebooted. An expression that wants none is empty.
fn file(params: &Params) -> Option<&str> {
    params.if_file.as_deref().filter(|file| !file.is_empty())
}

fn command(params: &Params) -> Map<String, Value> {
    [("command".to_owned(), json!(params.command))].into_iter().collect()
}

/// Reboots, or sees that it has been done.
///
/// # Errors
/// Refused by the policy; a command that fails, or after which the machine goes on.
pub(super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params = allowed(with, &context.policy)?;
    let failed = |why: String| StepError::failed(format!("{KIND}: {why}"));
    let now = context.host.text(BOOT_ID).map_err(|error| failed(format!("{BOOT_ID}: {error}: nothing would prove a reboot")))?.trim().to_owned();
    let stored = context.artifacts.get_undo().await.map_err(|error| failed(format!("nothing was done: {error}")))?;
    let before = stored.map(|stored| String::from_utf8_lossy(&stored).into_owned());
    // Once the step has begun, the file says nothing more.
    let asked = match file(&params).filter(|_| before.is_none()) {
        Some(file) => {
            let is_there = exec::root::is_there(context, file);
            let is_there = is_there.map_err(|error| failed(format!("nothing was done: whether the machine has {file} cannot be told: {error}")))?;
            Some((file, is_there))
        }
        None => None,
    };
    match next(before.as_deref(), &now, asked) {
        Next::Done(words) => return Ok(report(context, words, true, &now)),
        Next::NotAsked(words) => return Ok(report(context, words, false, &now)),
        Next::Reboot => {}
    }
    if before.is_none() {
        let stored = context.artifacts.put_undo(now.clone().into_bytes()).await;
        stored.map_err(|error| failed(format!("what it was cannot be stored, so nothing was done: {error}")))?;
    }
    exec::execute(&command(&params), context).await?;
    // The machine ends, and this process with it.
    let goes_on = async {
        tokio::time::sleep(params.within.0.as_duration().max(Duration::from_secs(1))).await;
        Err(failed(format!("the machine goes on, {} after {} has come off", params.within.0, params.command.join(" "))))
    };
    tokio::select! {
        biased;
        () = context.cancel.cancelled() => Err(StepError::cancelled(format!("{KIND} was called off; the machine may still go down"))),
        goes_on = goes_on => goes_on,
    }
}

fn next(before: Option<&str>, now: &str, asked: Option<(&str, bool)>) -> Next {
    match (before, asked) {
        (Some(before), _) if before != now => Next::Done(format!("it was rebooted: boot id {before} before, {now} now")),
        (None, Some((file, false))) => Next::NotAsked(format!("there is no {file}: it needs no reboot")),
        _ => Next::Reboot,
    }
}

fn report(context: &Context, words: String, rebooted: bool, boot_id: &str) -> Report {
    let subject = context.labels.node.as_ref().map(|node| format!("node/{node}")).unwrap_or_default();
    let outputs = [("rebooted".to_owned(), Value::Bool(rebooted)), ("bootId".to_owned(), Value::from(boot_id))].into();
    Report { checks: vec![Check::stated(KIND, &subject, Verdict::Ok, words)], outputs, ..Report::default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Ended;
    use super::*;

    #[test]
    fn another_boot_id_than_the_one_that_was_stored_proves_it() {
        assert_eq!(next(None, "a", None), Next::Reboot);
        assert_eq!(next(Some("a"), "a", None), Next::Reboot, "the command did not come off, or did nothing");
        assert!(matches!(next(Some("a"), "b", None), Next::Done(words) if words == "it was rebooted: boot id a before, b now"));
        let file = "/run/reboot-required";
        assert!(matches!(next(None, "a", Some((file, false))), Next::NotAsked(words) if words.contains("there is no /run/reboot-required")));
        assert_eq!(next(None, "a", Some((file, true))), Next::Reboot);
        assert!(matches!(next(Some("a"), "b", Some((file, false))), Next::Done(_)), "the file goes with the reboot that it asked for");
        assert_eq!(next(Some("a"), "a", Some((file, false))), Next::Reboot, "it was asked for when the step began");
    }

    #[test]
    fn the_policy_has_to_have_the_command() {
        let allow = "[policy]\nallow = [\"node.reboot\"]\n";
        let rule = "[[policy.exec]]\ncommand = [\"/usr/bin/systemctl\", \"reboot\"]\n";
        let by = |policy: &str, with: Value| allowed(with.as_object().unwrap(), &Policy::parse(policy).unwrap()).map(drop);
        assert!(by(&[allow, rule].concat(), json!({})).is_ok());
        assert_eq!(by(allow, json!({})).unwrap_err().ended, Ended::Refused);
        assert!(by(&[allow, rule].concat(), json!({ "command": ["/sbin/reboot"] })).is_err());
        assert!(by(&[allow, rule].concat(), json!({ "ifFile": "reboot-required" })).is_err());
        let in_any_case: Params = params::read(KIND, json!({ "ifFile": "" }).as_object().unwrap()).unwrap();
        assert!(by(&[allow, rule].concat(), json!({ "ifFile": "" })).is_ok() && file(&in_any_case).is_none());
    }
}
