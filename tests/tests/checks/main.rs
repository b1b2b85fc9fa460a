//! What the steps that look through connections find, against real servers, healthy and broken.
//!
//! The executors of the agent are called as the agent calls them; the mesh around them has suites of its own.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

mod postgres;
mod prometheus;
mod redis;
mod traps;
mod web;

use std::path::Path;
use std::sync::Arc;

use mainstay_agent::connections::Connections;
use mainstay_agent::execute::{Context, Labels, Output, execute};
use mainstay_agent::observe::readings::Readings;
use mainstay_core::report::{Check, Report, Verdict};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The password of every server of this suite: in no report may there be a trace of it.
const CANARY: &str = "canary-Sx7vQ2-word";

/// An agent with connections.
struct Bench {
    _dir: TempDir,
    context: Context,
}

impl Bench {
    /// With these tables; `PASSWORD` in them stands for the file of the password that is given.
    fn new(password: &str, connections: &str) -> Bench {
        mainstay_client::tls::install_provider();
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("password"), password).expect("a file");
        let text = connections.replace("PASSWORD", "password = { file = \"password\" }");
        let (connections, problems) = Connections::parse(&dir.path().join("connections.toml"), &text);
        assert_eq!(problems, Vec::<String>::new());
        let context = Context::new(Arc::default(), Readings::default(), Arc::default(), Arc::default()).expect("a context");
        Bench { _dir: dir, context: context.with_connections(connections) }
    }

    /// What a step finds whose target is the one connection of this agent, as it leaves the agent.
    async fn run(&self, kind: &str, with: Value) -> Report {
        let target = self.context.connections.told().first().map(|connection| connection.name.clone());
        let labels = Labels { attempt: "42".into(), plan: Some("daily".parse().expect("a name")), connection: target, ..Labels::default() };
        let context = self.context.for_attempt(labels, Output::unwatched(), CancellationToken::new());
        let with = with.as_object().cloned().expect("parameters");
        let report = execute(kind, &with, &context).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        let said = serde_json::to_string(&report).expect("JSON");
        assert!(!said.contains(CANARY), "the password is in the report: {said}");
        report
    }
}

/// A check that must be there, with how it must have ended.
#[track_caller]
fn is<'a>(report: &'a Report, id: &str, subject: &str, verdict: Verdict) -> &'a Check {
    let found = report.checks.iter().find(|check| check.id == id && check.subject == subject);
    let check = found.unwrap_or_else(|| panic!("no {id} {subject} in {:#?}", report.checks));
    assert_eq!(check.verdict, verdict, "{check:#?}");
    check
}

/// Everything that is not ok, by id.
fn not_ok(report: &Report) -> Vec<(&str, Verdict)> {
    report.checks.iter().filter(|check| check.verdict != Verdict::Ok).map(|check| (check.id.as_str(), check.verdict)).collect()
}

/// A path as TOML has it.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}
