//! Units that systemd knows, from `systemctl`, where systemd runs this machine.
//!
//! In: the output of `systemctl list-units` and `systemctl show`. Out: the units that failed, and the state
//! of named ones. Where another program is process 1, or the host's file system is mounted elsewhere, there
//! is nobody to ask.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::host::Host;

/// systemd answers at once, unless its bus is stuck.
const DEADLINE: Duration = Duration::from_secs(5);

/// Taken over from the agent: where the program is, and where its bus.
const INHERITED: [&str; 2] = ["PATH", "DBUS_SYSTEM_BUS_ADDRESS"];

/// A unit that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedUnit {
    pub name: String,
    pub description: String,
}

/// State of one unit, as systemd words it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitState {
    /// `loaded`, or `not-found` when there is no such unit.
    pub load: String,
    /// `active`, `inactive`, `failed`, …
    pub active: String,
    /// When it entered that state, in systemd's words; may be empty.
    pub since: String,
}

/// Whether systemd runs this machine and can be asked from here.
#[must_use]
pub fn is_here(host: &Host) -> bool {
    host.is_own_root() && host.exists("/run/systemd/system")
}

/// Units that failed.
///
/// # Errors
/// In words, when systemd cannot be asked.
pub async fn failed() -> Result<Vec<FailedUnit>, String> {
    ask(&["list-units", "--state=failed", "--all", "--plain", "--no-legend", "--no-pager"]).await.map(|text| parse_failed(&text))
}

/// The state of one unit; a name without a suffix is a service.
///
/// # Errors
/// In words, when systemd cannot be asked.
pub async fn state(unit: &str) -> Result<UnitState, String> {
    ask(&["show", "--no-pager", "--property=LoadState,ActiveState,StateChangeTimestamp", "--", unit]).await.map(|text| parse_state(&text))
}

async fn ask(arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("systemctl");
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    // The agent's environment may hold secrets of connections.
    command.env_clear().envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)))).env("LC_ALL", "C");
    let output = match tokio::time::timeout(DEADLINE, command.output()).await {
        Err(_) => return Err(format!("systemctl did not answer within {} s", DEADLINE.as_secs())),
        Ok(Err(error)) => return Err(format!("systemctl cannot be run: {error}")),
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("systemctl {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
    }
}

fn parse_failed(text: &str) -> Vec<FailedUnit> {
    let unit = |line: &str| {
        // Older versions mark failed units with a dot even in plain output.
        let mut words = line.split_whitespace().skip_while(|word| matches!(*word, "●" | "*"));
        let name = words.next()?.to_owned();
        Some(FailedUnit { name, description: words.skip(3).collect::<Vec<_>>().join(" ") })
    };
    text.lines().filter_map(unit).collect()
}

fn parse_state(text: &str) -> UnitState {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().to_owned();
    UnitState { load: field("LoadState"), active: field("ActiveState"), since: field("StateChangeTimestamp") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_units_with_and_without_a_mark() {
        let text = "nginx.service      loaded failed failed A high performance web server\n● backup.timer loaded failed failed Nightly backup\n\n";
        let unit = |name: &str, description: &str| FailedUnit { name: name.into(), description: description.into() };
        assert_eq!(parse_failed(text), [unit("nginx.service", "A high performance web server"), unit("backup.timer", "Nightly backup")]);
        assert_eq!(parse_failed(""), []);
    }

    #[test]
    fn a_units_state_is_read_by_name() {
        let text = "LoadState=loaded\nActiveState=failed\nStateChangeTimestamp=Mon 2026-11-23 10:00:00 UTC\n";
        assert_eq!(parse_state(text), UnitState { load: "loaded".into(), active: "failed".into(), since: "Mon 2026-11-23 10:00:00 UTC".into() });
    }

    #[test]
    fn a_root_elsewhere_cannot_be_asked() {
        assert!(!is_here(&Host::below("/nowhere")));
    }
}
