//! `node.services`: services that have failed or do not run.
//!
//! In: the services of the agent's settings, and what systemd says where it runs the machine. Out: a check
//! for each configured service and each failed unit. A machine of which nobody said what it is to run has one
//! skipped check that names the setting.

use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Context, StepError, params, wording};
use crate::observe::service::{self, Liveness, Service};
use crate::observe::systemd;

const ID: &str = "service";
const SETTING: &str = "add to the agent's settings:  services = [{ name = \"web\", process = \"nginx\" }]";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    services: Vec<String>,
}

pub(super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read("node.services", with)?;
    let with_systemd = systemd::is_here(&context.host);
    let configured = &context.settings.services;
    let wanted: Vec<Service> =
        configured.iter().filter(|service| params.services.is_empty() || params.services.contains(&service.name)).cloned().collect();

    let seen = service::look(&context.host, &wanted);
    context.readings.record_services(context.host.wall(), &wanted, &seen);
    let mut checks: Vec<Check> = wanted.iter().zip(&seen).map(|(service, seen)| configured_check(context, service, seen)).collect();
    for name in params.services.iter().filter(|name| !configured.iter().any(|service| service.name == **name)) {
        checks.push(if with_systemd { unit_check(name).await } else { unheard_of(name) });
    }
    if params.services.is_empty() {
        checks.extend(if with_systemd { failed_units().await } else { without_systemd(configured.is_empty()) });
    }
    let failed = checks.iter().filter(|check| check.verdict == Verdict::Critical).count();
    let outputs = [("failed".to_owned(), Value::from(failed))].into();
    Ok(Report { checks, outputs, ..Report::default() })
}

fn configured_check(context: &Context, service: &Service, seen: &Liveness) -> Check {
    let now = context.host.wall();
    let since = |from: mainstay_core::WallTime| wording::span(Millis(u64::try_from(now.0 - from.0).unwrap_or(0)));
    match seen {
        Liveness::Running { pid, since: from } => {
            let pid = pid.map_or_else(String::new, |pid| format!(", process {pid}"));
            let from = from.map_or_else(String::new, |from| format!(" for {}", since(from)));
            let port = service.port.map_or_else(String::new, |port| format!(", listens on port {port}"));
            Check::stated(ID, &service.name, Verdict::Ok, format!("running{from}{pid}{port}"))
        }
        Liveness::Dead { why } => {
            let last = context.readings.last_alive(&service.name).map_or_else(String::new, |last| format!("; last seen running {} ago", since(last)));
            Check::stated(ID, &service.name, Verdict::Critical, format!("not running: {why}{last}"))
                .with_hint(format!("start {}, and look into its log for why it ended", service.name))
        }
        Liveness::Unclear { why } => Check::stated(ID, &service.name, Verdict::Unknown, why.clone())
            .with_hint(format!("services = [{{ name = \"{}\", … }}] in the agent's settings", service.name)),
    }
}

fn unheard_of(name: &str) -> Check {
    Check::stated(ID, name, Verdict::Unknown, "this agent does not know how to recognise it")
        .with_hint(format!("add to the agent's settings:  services = [{{ name = \"{name}\", process = \"…\" }}]"))
}

async fn unit_check(name: &str) -> Check {
    match systemd::state(name).await {
        Err(error) => Check::stated(ID, name, Verdict::Unknown, error),
        Ok(state) if state.load == "not-found" => Check::stated(ID, name, Verdict::Unknown, "systemd knows no such unit").with_hint(SETTING),
        Ok(state) => {
            let since = if state.since.is_empty() { String::new() } else { format!(" since {}", state.since) };
            let runs = matches!(state.active.as_str(), "active" | "activating" | "reloading");
            let check = Check::stated(ID, name, if runs { Verdict::Ok } else { Verdict::Critical }, format!("{}{since}", state.active));
            if runs { check } else { check.with_hint(format!("systemctl status {0}; journalctl -u {0} -n 50", wording::quoted(name))) }
        }
    }
}

async fn failed_units() -> Vec<Check> {
    match systemd::failed().await {
        Err(error) => vec![Check::stated("service.failedUnits", "", Verdict::Unknown, error)],
        Ok(units) if units.is_empty() => vec![Check::stated("service.failedUnits", "", Verdict::Ok, "no unit of systemd has failed")],
        Ok(units) => {
            let check = |unit: systemd::FailedUnit| {
                Check::stated(ID, &unit.name, Verdict::Critical, format!("failed: {}", unit.description))
                    .with_hint(format!("systemctl status {0}; journalctl -u {0} -n 50", wording::quoted(&unit.name)))
            };
            units.into_iter().map(check).collect()
        }
    }
}

fn without_systemd(nothing_configured: bool) -> Vec<Check> {
    if nothing_configured {
        vec![
            Check::stated("service.failedUnits", "", Verdict::Skipped, "systemd does not run this machine, and no services are named")
                .with_hint(SETTING),
        ]
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]
    use std::sync::Arc;

    use mainstay_core::WallTime;
    use serde_json::json;

    use super::super::{ExecuteSettings, Policy, execute};
    use super::*;
    use crate::host::Host;
    use crate::observe::readings::Readings;

    fn machine(services: &[(&str, &str)]) -> (tempfile::TempDir, Context) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("proc/7")).unwrap();
        std::fs::write(dir.path().join("proc/7/stat"), "7 (nginx) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 6000 1 1\n").unwrap();
        std::fs::write(dir.path().join("proc/stat"), "cpu  1 1 1 1\nbtime 1700000000\n").unwrap();
        let service = |(name, process): &(&str, &str)| Service { name: (*name).into(), pidfile: None, process: Some((*process).into()), port: None };
        let settings = ExecuteSettings { services: services.iter().map(service).collect(), ..ExecuteSettings::default() };
        let host = Arc::new(Host::below(dir.path()).with_wall(WallTime(1_700_003_660_000)));
        let context = Context::new(host, Readings::default(), Arc::new(settings), Arc::new(Policy::default())).unwrap();
        (dir, context)
    }

    async fn run(context: &Context, with: serde_json::Value) -> Vec<(String, Verdict, String)> {
        let report = execute("node.services", with.as_object().unwrap(), context).await.unwrap();
        report.checks.into_iter().map(|check| (check.subject, check.verdict, check.message)).collect()
    }

    #[tokio::test]
    async fn dead_services_are_critical_and_say_since_when() {
        let (dir, context) = machine(&[("web", "nginx"), ("db", "postgres")]);
        let running = ("web".to_owned(), Verdict::Ok, "running for 60 min, process 7".to_owned());
        assert_eq!(run(&context, json!({})).await, [running.clone(), ("db".into(), Verdict::Critical, "not running: no process `postgres`".into())]);
        assert_eq!(run(&context, json!({"services": ["web"]})).await, [running]);

        std::fs::remove_dir_all(dir.path().join("proc/7")).unwrap();
        assert_eq!(
            run(&context, json!({"services": ["web"]})).await,
            [("web".into(), Verdict::Critical, "not running: no process `nginx`; last seen running 0 ms ago".into())]
        );
    }

    #[tokio::test]
    async fn without_settings_the_line_to_add_is_named() {
        let (_dir, context) = machine(&[]);
        let report = execute("node.services", json!({}).as_object().unwrap(), &context).await.unwrap();
        assert_eq!((report.checks.len(), report.checks[0].verdict, report.checks[0].hint.as_str()), (1, Verdict::Skipped, SETTING));
        assert_eq!(run(&context, json!({"services": ["ghost"]})).await[0].1, Verdict::Unknown);
    }
}
