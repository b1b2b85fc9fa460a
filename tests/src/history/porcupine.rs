//! The same histories for Porcupine, a checker written by others (`tests/porcupine`, a Go program around its module).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Operation, lease, register};

/// The path of the checker, which is built at the first time. That takes a network.
///
/// # Errors
/// Why there is none.
pub fn program() -> Result<String, String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("porcupine");
    let built = Command::new(dir.join("build")).stderr(Stdio::inherit()).output().map_err(|error| format!("{}: {error}", dir.display()))?;
    if !built.status.success() {
        return Err("Porcupine is not built: Go is needed".to_owned());
    }
    Ok(String::from_utf8_lossy(&built.stdout).trim().to_owned())
}

/// Has Porcupine judge histories, each with its name and its kind.
///
/// # Errors
/// What it says of those that are not linearizable, or why it could not judge.
pub fn judge(histories: &[Value]) -> Result<(), String> {
    let program = program()?;
    let spawned = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| format!("{program}: {error}"))?;
    let text = serde_json::to_vec(histories).map_err(|error| error.to_string())?;
    child.stdin.take().ok_or("no input")?.write_all(&text).map_err(|error| error.to_string())?;
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// The history of a lease.
#[must_use]
pub fn of_lease(name: &str, operations: &[Operation<lease::Ask, lease::Answer>]) -> Value {
    history(
        "lease",
        name,
        operations,
        |ask| match ask {
            lease::Ask::Acquire => ("acquire", [0, 0]),
            lease::Ask::Renew(token) => ("renew", [token.0, token.1]),
            lease::Ask::Release(token) => ("release", [token.0, token.1]),
            lease::Ask::Read => ("read", [0, 0]),
        },
        |answer| match answer {
            lease::Answer::Granted(token) => ("granted", [token.0, token.1]),
            lease::Answer::Taken => ("taken", [0, 0]),
            lease::Answer::Done => ("done", [0, 0]),
            lease::Answer::Gone => ("gone", [0, 0]),
            lease::Answer::Holder(Some(token)) => ("holder", [token.0, token.1]),
            lease::Answer::Holder(None) => ("nobody", [0, 0]),
        },
    )
}

/// The history of a store that checks tokens.
#[must_use]
pub fn of_register(name: &str, operations: &[Operation<register::Ask, register::Answer>]) -> Value {
    let mut told = history(
        "register",
        name,
        operations,
        |ask| match ask {
            register::Ask::Write { token, .. } => ("write", [token.0, token.1]),
            register::Ask::Read => ("read", [0, 0]),
        },
        |answer| match answer {
            register::Answer::Written => ("written", [0, 0]),
            register::Answer::Stale => ("stale", [0, 0]),
            register::Answer::Value(_) => ("value", [0, 0]),
        },
    );
    for (operation, told) in operations.iter().zip(told["operations"].as_array_mut().into_iter().flatten()) {
        let value = match (&operation.input, &operation.output) {
            (register::Ask::Write { value, .. }, _) | (register::Ask::Read, Some(register::Answer::Value(value))) => *value,
            (register::Ask::Read, _) => 0,
        };
        told["value"] = json!(value);
    }
    told
}

fn history<I, O>(
    kind: &str,
    name: &str,
    operations: &[Operation<I, O>],
    ask: impl Fn(&I) -> (&'static str, [u64; 2]),
    answer: impl Fn(&O) -> (&'static str, [u64; 2]),
) -> Value {
    let nanoseconds = |at: Duration| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
    let told = operations.iter().map(|operation| {
        let (asked, with) = ask(&operation.input);
        let (answered, token) = operation.output.as_ref().map_or(("", [0, 0]), &answer);
        json!({
            "client": operation.client, "asked": asked, "with": with, "answered": answered, "token": token,
            "from": nanoseconds(operation.called), "to": operation.answered.map(nanoseconds),
        })
    });
    json!({ "kind": kind, "name": name, "operations": told.collect::<Vec<_>>() })
}
