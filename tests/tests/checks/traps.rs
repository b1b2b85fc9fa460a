//! The traps of a shell script that asks Prometheus: each has its test.

use mainstay_core::report::Verdict;
use mainstay_tests::servers::{Exporter, Prometheus, free_port};
use serde_json::json;

use super::{Bench, is, not_ok};

const KIND: &str = "prometheus.query";

fn bench(prometheus: &Prometheus) -> Bench {
    Bench::new("", &format!("[connections.metrics]\nkind = \"prometheus\"\nurl = \"http://127.0.0.1:{}\"\n", prometheus.port))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t15_an_empty_result_is_unknown_and_never_well() {
    let exporter = Exporter::start().await;
    let mut prometheus = Prometheus::start(&[("node", exporter.port)]).await;
    let queries = json!({"up": ["node"], "queries": [
        {"name": "high", "query": "node_load1", "above": {"critical": 1e6}},
        {"name": "low", "query": "node_load1", "below": {"critical": -1}},
        {"name": "none", "query": "no_such_metric > 5"},
        {"name": "nan", "query": "0 * (vector(0) / vector(0))", "above": {"critical": 1}},
    ]});
    let report = bench(&prometheus).run(KIND, queries.clone()).await;
    assert_eq!(not_ok(&report), [("prometheus.query", Verdict::Unknown), ("prometheus.query", Verdict::Unknown)]);
    prometheus.loses_its_data().await;
    let report = bench(&prometheus).run(KIND, queries).await;
    for subject in ["high", "low", "none"] {
        assert!(is(&report, KIND, subject, Verdict::Unknown).message.starts_with("no data"), "{report:#?}");
    }
    is(&report, "prometheus.up", "node", Verdict::Unknown);
    assert!(report.verdict() == Verdict::Unknown && report.verdict().is_bad(), "and a run with it does not end with status 0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t20_every_series_is_judged_and_a_wrong_question_is_said_to_be_one() {
    let exporter = Exporter::start().await;
    let nobody = free_port();
    let prometheus = Prometheus::start(&[("a", exporter.port), ("b", exporter.port), ("z", nobody)]).await;
    let with = json!({"queries": [
        {"name": "up", "query": "up", "below": {"critical": 0}},
        {"name": "quantile", "query": "histogram_quantile(0.95, rate(prometheus_http_request_duration_seconds_bucket[5m]))", "above": {"critical": 1}},
        {"name": "ratio", "query": "rate(prometheus_http_requests_total{code=~\"5..\"}[5m])", "above": {"critical": 0.01}},
    ]});
    let report = bench(&prometheus).run(KIND, with).await;
    let up: Vec<Verdict> = report.checks.iter().filter(|check| check.subject.starts_with("up{")).map(|check| check.verdict).collect();
    assert_eq!(up.iter().filter(|verdict| **verdict == Verdict::Ok).count(), 2, "{report:#?}");
    assert_eq!(up.iter().filter(|verdict| **verdict == Verdict::Critical).count(), 1, "the last one of three, too: {report:#?}");
    for (name, words) in [("quantile", "histogram_quantile without  sum by (le"), ("ratio", "is compared with events per second")] {
        let said = report.checks.iter().find(|check| check.subject.starts_with(name) && check.message.contains(words));
        let check = said.unwrap_or_else(|| panic!("{name}: {report:#?}"));
        assert!(check.verdict != Verdict::Ok && !check.hint.is_empty(), "{check:#?}");
    }
}
