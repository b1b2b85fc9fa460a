//! `logs.errors`: error lines in log files, by source, with their most frequent messages.
//!
//! In: globs of files. Out: one check for each source (a log file with its rotated predecessors, or a container of a
//! pod), with the
//! number of lines at the level or worse since a time. Files are read on a blocking thread, so that a slow
//! disk does not hold up the agent.

pub(super) mod level;
mod scan;
mod signature;
mod stamp;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_client::work;
use mainstay_core::report::{Check, Report, Thresholds, Verdict};
use mainstay_core::{Millis, bounds};
use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use self::level::Level;
use self::scan::{Counted, Wanted};
use super::params::{self, Span};
use super::{Context, StepError, wording};
use crate::host::{FileFacts, Host};

/// Files read in one step, the most recently written first.
const FILES_MAX: usize = 2_000;
/// Sources without an error line that are listed one by one; of more only their number is told.
const CLEAN_SOURCES_MAX: usize = 20;
/// Messages shown of one source.
const EXAMPLES: usize = 3;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    files: Vec<String>,
    since: Span,
    level: LevelName,
    warning: u64,
    critical: Option<u64>,
    max_bytes: u64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum LevelName {
    Error,
    Warning,
}

impl Default for Params {
    fn default() -> Params {
        Params { files: Vec::new(), since: Span(Millis(86_400_000)), level: LevelName::Error, warning: 1, critical: None, max_bytes: 64 << 20 }
    }
}

/// A log file and those that it was before it was rotated.
#[derive(Debug, Default)]
struct Source {
    counted: Counted,
    files: u32,
    failed: Option<String>,
}

pub(super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read("logs.errors", with)?;
    let globs = if params.files.is_empty() { context.settings.log_globs() } else { params.files.clone() };
    let (now, since) = (context.host.wall().0, i64::try_from(params.since.0.0).unwrap_or(i64::MAX));
    let instant =
        |ms: i64| Timestamp::from_millisecond(ms).map_err(|error| StepError::refused(format!("logs.errors: `since` is out of range: {error}")));
    let wanted = Wanted {
        since: instant(now.saturating_sub(since))?,
        now: instant(now)?,
        zone: TimeZone::system(),
        level: if matches!(params.level, LevelName::Warning) { Level::Warning } else { Level::Error },
        max_bytes: params.max_bytes,
    };
    let (host, wanted_there, cancel) = (Arc::clone(&context.host), wanted.clone(), context.cancel.child_token());
    // Dropped together with the step, so that the thread ends with it.
    let _ends_the_thread = cancel.clone().drop_guard();
    let scanned = work::blocking(move || scan_all(&host, &globs, &wanted_there, &cancel));
    let sources = scanned.await.map_err(|error| StepError::failed(format!("logs.errors: the scan ended early: {error}")))??;
    let total: u64 = sources.values().map(|source| source.counted.found).sum();
    let mut report = Report { checks: checks(&sources, &params), ..Report::default() };
    report.outputs.insert("lines".into(), total.into());
    Ok(report)
}

fn scan_all(host: &Host, globs: &[String], wanted: &Wanted, cancel: &CancellationToken) -> Result<BTreeMap<String, Source>, StepError> {
    let mut sources: BTreeMap<String, Source> = BTreeMap::new();
    for (path, facts) in files(host, globs)? {
        let source = sources.entry(source_of(&path)).or_default();
        source.files += 1;
        let facts = match facts {
            Ok(facts) => facts,
            Err(error) => {
                source.failed = Some(format!("{}: {}", path.display(), super::outgoing::plain_cause(&error)));
                continue;
            }
        };
        // What was last written before the time holds nothing of it.
        if facts.modified.0 < wanted.since.as_millisecond() {
            continue;
        }
        match scan::file(host, &path, facts, wanted, cancel, &mut source.counted) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(StepError::cancelled("logs.errors was called off")),
            // Rotated away in between: its successor is read under its own name.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => source.failed = Some(format!("{}: {}", path.display(), super::outgoing::plain_cause(&error))),
        }
    }
    Ok(sources)
}

type Found = (PathBuf, io::Result<FileFacts>);

/// Every file that a glob matches, once, the most recently written first.
fn files(host: &Host, globs: &[String]) -> Result<Vec<Found>, StepError> {
    let mut seen = BTreeSet::new();
    let mut files: Vec<Found> = Vec::new();
    for glob in globs {
        let paths = host.glob(glob).map_err(|error| StepError::refused(format!("logs.errors: `{glob}` in `files` is not a pattern: {error}")))?;
        for path in paths {
            match host.file_facts(&path) {
                Ok(None) => {}
                Ok(Some(facts)) => {
                    if seen.insert(facts.identity) {
                        files.push((path, Ok(facts)));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => files.push((path, Err(error))),
            }
        }
    }
    files.sort_by_key(|(_, facts)| std::cmp::Reverse(facts.as_ref().map_or(i64::MAX, |facts| facts.modified.0)));
    files.truncate(FILES_MAX);
    Ok(files)
}

/// The name of a log file before it was rotated; of a container's, `NAMESPACE/POD/CONTAINER`, whichever of its lives the
/// file is of.
fn source_of(path: &Path) -> String {
    static ROTATED: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?:[.-](?:\d{1,4}|\d{8}(?:-\d+)?|\d{4}-\d{2}-\d{2}(?:[T_-][\d-]+)?|old|gz))+$").ok());
    static OF_POD: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"/pods/([a-z0-9-]+)_([a-z0-9.-]+)_[0-9a-f-]{32,36}/([a-z0-9-]+)/\d+\.log(?:\.[^/]*)?$").ok());
    let text = path.to_string_lossy();
    if let Some([namespace, pod, container]) = OF_POD.as_ref().and_then(|of_pod| of_pod.captures(&text)).map(|found| found.extract().1) {
        return format!("{namespace}/{pod}/{container}");
    }
    match ROTATED.as_ref().and_then(|rotated| rotated.find(&text)) {
        Some(end) if !text[..end.start()].ends_with('/') => text[..end.start()].to_owned(),
        _ => text.into_owned(),
    }
}

fn checks(sources: &BTreeMap<String, Source>, params: &Params) -> Vec<Check> {
    let thresholds = Thresholds { warning: Some(params.warning as f64), critical: params.critical.map(|n| n as f64), below: false };
    let word = if matches!(params.level, LevelName::Warning) { "warning or error" } else { "error" };
    let span = &wording::span(params.since.0);
    if sources.is_empty() {
        let files = if params.files.is_empty() {
            "no log files in the usual places".to_owned()
        } else {
            format!("no file matches {}", params.files.join(", "))
        };
        return vec![
            Check::stated("logs.errors", "", Verdict::Skipped, files).with_hint("name them in the agent's settings: logs = [\"/path/*.log\"]"),
        ];
    }
    let (clean, telling): (Vec<_>, Vec<_>) = sources.iter().partition(|(_, source)| source.counted.found == 0 && source.failed.is_none());
    let mut checks: Vec<Check> = telling.into_iter().flat_map(|(name, source)| source_checks(name, source, thresholds, word, span)).collect();
    if clean.len() <= CLEAN_SOURCES_MAX {
        checks.extend(clean.into_iter().flat_map(|(name, source)| source_checks(name, source, thresholds, word, span)));
    } else {
        let lines: u64 = clean.iter().map(|(_, source)| source.counted.lines).sum();
        let message =
            format!("no {word} lines in {} other sources in the last {span} ({} read)", clean.len(), wording::count(lines, "line", "lines"));
        checks.push(Check::measured("logs.errors", "", 0.0, "", thresholds, message));
    }
    checks
}

fn source_checks(name: &str, source: &Source, thresholds: Thresholds, word: &str, span: &str) -> Vec<Check> {
    let Counted { lines, found, untimed, bytes_left_out, groups } = &source.counted;
    let mut checks = Vec::new();
    if let Some(failed) = &source.failed {
        let check = Check::stated("logs.readable", name, Verdict::Unknown, format!("not read: {failed}"));
        checks.push(check.with_hint("let the agent's user read it, or leave it out of `logs` in the agent's settings"));
        if *lines == 0 {
            return checks;
        }
    }
    let mut message = if *found == 0 {
        format!("no {word} lines in the last {span} ({} read)", wording::count(*lines, "line", "lines"))
    } else {
        let signatures = wording::count(groups.len() as u64, "signature", "signatures");
        format!("{} in the last {span}, {signatures}", wording::count(*found, &format!("{word} line"), &format!("{word} lines")))
    };
    if *untimed > 0 {
        message += &format!("; {untimed} without a readable time, counted because the file was written since");
    }
    if *bytes_left_out > 0 {
        message += "; only the newest part of the file was read";
    }
    let examples =
        groups.most_frequent(EXAMPLES.min(bounds::CHECK_DETAILS)).into_iter().map(|group| format!("×{}  {}", group.count, group.example.trim_end()));
    let check = Check::measured("logs.errors", name, *found as f64, "", thresholds, message).with_details(examples);
    checks.push(if check.verdict == Verdict::Ok { check } else { check.with_hint(format!("tail -n 100 {}", wording::quoted(name))) });
    checks
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]
    use std::io::Write;

    use mainstay_core::WallTime;
    use serde_json::json;

    use super::super::{ExecuteSettings, Policy, execute};
    use super::*;
    use crate::observe::readings::Readings;

    struct Machine {
        dir: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Machine {
            Machine { dir: tempfile::tempdir().unwrap() }
        }

        fn file(&self, path: &str, bytes: impl AsRef<[u8]>) {
            let path = self.dir.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }

        async fn run(&self, with: serde_json::Value) -> Result<Report, StepError> {
            let now: WallTime = Host::default().wall();
            let host = Arc::new(Host::below(self.dir.path()).with_wall(now));
            let context = Context::new(host, Readings::default(), Arc::new(ExecuteSettings::default()), Arc::new(Policy::default())).unwrap();
            execute("logs.errors", with.as_object().unwrap(), &context).await
        }
    }

    fn now() -> String {
        Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    fn found(report: &Report) -> Vec<(String, Option<f64>, Verdict)> {
        report.checks.iter().map(|check| (check.subject.clone(), check.value, check.verdict)).collect()
    }

    #[tokio::test]
    async fn errors_are_counted_by_source_with_rotated_files() {
        let machine = Machine::new();
        let now = now();
        machine.file("/var/log/web/error.log", format!("{now} ERROR boom 1\n{now} ERROR boom 2\n{now} INFO 0 errors\n"));
        machine.file("/var/log/web/error.log.1", format!("{now} ERROR boom 3\n"));
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(format!("{now} ERROR password=hunter2 wrong\n").as_bytes()).unwrap();
        machine.file("/var/log/web/error.log.2.gz", gz.finish().unwrap());
        machine.file("/var/log/quiet.log", format!("{now} INFO fine\n"));
        let report = machine.run(json!({"files": ["/var/log/**/*.log*"], "critical": 100})).await.unwrap();
        assert_eq!(
            found(&report),
            [("/var/log/web/error.log".into(), Some(4.0), Verdict::Warning), ("/var/log/quiet.log".into(), Some(0.0), Verdict::Ok)]
        );
        assert_eq!(report.checks[0].message, "4 error lines in the last 24 h, 2 signatures");
        assert!(report.checks[0].details[0].starts_with("×3  ERROR boom "), "{:?}", report.checks[0].details);
        assert_eq!(report.checks[0].details[1], "×1  ERROR password=[redacted] wrong");
        assert_eq!(report.outputs["lines"], 4);
    }

    #[tokio::test]
    async fn a_machine_without_logs_says_so() {
        let report = Machine::new().run(json!({})).await.unwrap();
        assert_eq!(found(&report), [(String::new(), None, Verdict::Skipped)]);
        assert_eq!(report.checks[0].message, "no log files in the usual places");
    }

    #[tokio::test]
    async fn thresholds_and_level_are_the_steps() {
        let machine = Machine::new();
        let now = now();
        machine.file("/var/log/a.log", format!("{now} ERROR x\n{now} WARN y\n").repeat(5));
        let verdict = async |with| found(&machine.run(with).await.unwrap())[0].clone();
        assert_eq!(verdict(json!({"level": "warning", "critical": 10})).await, ("/var/log/a.log".into(), Some(10.0), Verdict::Critical));
        assert_eq!(verdict(json!({"warning": 6})).await, ("/var/log/a.log".into(), Some(5.0), Verdict::Ok));
        let error = machine.run(json!({"files": ["/var/[log"]})).await.unwrap_err();
        assert!(error.message.contains("is not a pattern"), "{error}");
    }

    #[test]
    fn rotated_files_have_the_name_of_their_source() {
        for (path, source) in [
            ("/var/log/syslog.1", "/var/log/syslog"),
            ("/var/log/syslog.2.gz", "/var/log/syslog"),
            ("/var/log/app.log-20261123.gz", "/var/log/app.log"),
            ("/var/log/app.log.2026-11-23", "/var/log/app.log"),
            ("/var/log/app.log.old", "/var/log/app.log"),
            ("/var/log/app-8080.log", "/var/log/app-8080.log"),
            ("/var/log/123", "/var/log/123"),
            ("/var/log/pods/shop_web-5d8-x_1b2c3d4e-0000-4000-8000-123456789abc/app/1.log", "shop/web-5d8-x/app"),
            ("/var/log/pods/shop_web-5d8-x_1b2c3d4e-0000-4000-8000-123456789abc/app/0.log.20261128-101010.gz", "shop/web-5d8-x/app"),
            ("/var/log/pods/kube-system_etcd-n1_0123456789abcdef0123456789abcdef/etcd/0.log", "kube-system/etcd-n1/etcd"),
            ("/srv/pods/a/b/0.log", "/srv/pods/a/b/0.log"),
        ] {
            assert_eq!(source_of(Path::new(path)), source);
        }
    }
}
