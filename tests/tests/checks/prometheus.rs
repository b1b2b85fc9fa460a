use mainstay_core::report::Verdict;
use mainstay_tests::servers::certificates::{Authority, LONG};
use mainstay_tests::servers::{Exporter, Login, Nginx, NginxOptions, Prometheus, Upstream, free_port};
use serde_json::json;

use super::{Bench, CANARY, is, not_ok, quoted};

const KIND: &str = "prometheus.query";

fn connection(port: u16) -> String {
    format!("[connections.metrics]\nkind = \"prometheus\"\nurl = \"http://127.0.0.1:{port}\"\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_and_queries_well_and_broken() {
    let mut exporter = Exporter::start().await;
    let nobody = free_port();
    let mut prometheus = Prometheus::start(&[("node", exporter.port)]).await;
    let bench = Bench::new("", &connection(prometheus.port));
    let node = format!("node 127.0.0.1:{}", exporter.port);

    let report = bench.run(KIND, json!({})).await;
    assert_eq!(not_ok(&report), []);
    is(&report, "prometheus.up", &node, Verdict::Ok);

    // Every series of a result has its own verdict; no data is unknown.
    let with = json!({
        "queries": [
            {"name": "load", "query": "node_load1", "above": {"critical": 1e6}},
            {"name": "uname", "query": "node_uname_info", "below": {"critical": 1}},
            {"name": "scalar", "query": "scalar(vector(3))", "above": {"warning": 3}},
            {"name": "both", "query": "label_replace(vector(1), \"i\", \"a\", \"\", \"\") or label_replace(vector(0), \"i\", \"b\", \"\", \"\")", "below": {"critical": 0}, "expect": 3},
            {"name": "nothing", "query": "no_such_metric", "above": {"critical": 1}},
            {"name": "nan", "query": "vector(0) / vector(0)"},
            {"name": "matrix", "query": "up[1m]"},
            {"name": "wrong", "query": "sum(("},
        ],
        "up": ["node", "web*"],
    });
    let report = bench.run(KIND, with).await;
    let of = |subject: &str, verdict| is(&report, KIND, subject, verdict).message.clone();
    let load = report.checks.iter().find(|check| check.subject.starts_with("load{")).expect("a load");
    assert_eq!((load.verdict, load.subject.contains("job=\"node\"")), (Verdict::Ok, true), "{load:?}");
    assert!(report.checks.iter().any(|check| check.subject.starts_with("uname{") && check.verdict == Verdict::Critical));
    of("scalar", Verdict::Warning);
    of("both{i=\"a\"}", Verdict::Ok);
    of("both{i=\"b\"}", Verdict::Critical);
    assert_eq!(is(&report, "prometheus.query.series", "both", Verdict::Critical).message, "2 of at least 3 series that are expected");
    assert_eq!(of("nothing", Verdict::Unknown), "no data: the result has no series");
    assert!(of("nan", Verdict::Unknown).contains("NaN"));
    assert!(of("matrix", Verdict::Unknown).contains("matrix"));
    assert!(of("wrong", Verdict::Unknown).starts_with("not known: bad_data: "));
    is(&report, "prometheus.up", "web*", Verdict::Unknown);
    is(&report, "prometheus.up", &node, Verdict::Ok);

    // A target is down, and comes back.
    exporter.stop();
    prometheus.sees("node", false).await;
    let check = is(&bench.run(KIND, json!({})).await, "prometheus.up", &node, Verdict::Critical).clone();
    assert!(check.message.starts_with("down: ") && check.message.contains("connection refused"), "{check:?}");
    let ago = json!({"query": "up{job=\"node\"}", "at": "100d", "below": {"critical": 0}});
    is(&bench.run(KIND, ago).await, KIND, "up{job=\"node\"}", Verdict::Unknown);
    exporter.go_on().await;
    prometheus.sees("node", true).await;
    assert_eq!(not_ok(&bench.run(KIND, json!({"up": ["node"]})).await), []);

    // It has lost all that it knew; then it is gone.
    prometheus.loses_its_data().await;
    is(&bench.run(KIND, json!({})).await, "prometheus.up", "", Verdict::Unknown);
    prometheus.stop();
    let report = bench.run(KIND, json!({"query": "up"})).await;
    assert!(is(&report, "prometheus.reachable", "", Verdict::Critical).message.ends_with("refuses connections: nothing listens there"));
    assert_eq!((report.checks.len(), report.left_out), (1, 1), "what was not looked at is not called mended");
    let report = Bench::new("", &connection(nobody)).run(KIND, json!({})).await;
    is(&report, "prometheus.reachable", "", Verdict::Critical);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_goes_to_its_host_and_nowhere_else() {
    let exporter = Exporter::start().await;
    let prometheus = Prometheus::start(&[("node", exporter.port)]).await;
    let upstream = Upstream::start().await;
    let authority = Authority::new();
    let leaf = authority.leaf(&["127.0.0.1"], LONG);
    let login = Login::new("mainstay", "s3cret");
    let nginx = Nginx::start(&NginxOptions { leaf: &leaf, application: upstream.port, prometheus: (prometheus.port, CANARY), login: &login }).await;
    let root = tempfile::tempdir().expect("a directory");
    std::fs::write(root.path().join("root.pem"), authority.root()).expect("a file");
    let root = quoted(&root.path().join("root.pem"));
    let behind = |path: &str, more: &str| {
        let url = format!("https://127.0.0.1:{}{path}", nginx.tls);
        format!("[connections.metrics]\nkind = \"prometheus\"\nurl = \"{url}\"\ntoken = {{ file = \"password\" }}\n{more}")
    };
    let ca = format!("ca = {root}\n");
    assert_eq!(not_ok(&Bench::new(CANARY, &behind("/prometheus", &ca)).run(KIND, json!({})).await), []);
    let of = async |password: &str, connection: String| {
        let report = Bench::new(password, &connection).run(KIND, json!({})).await;
        is(&report, "prometheus.reachable", "", Verdict::Critical).message.clone()
    };
    assert!(of("another", behind("/prometheus", &ca)).await.starts_with("it does not let us in with the credential of its file "));
    assert_eq!(of(CANARY, behind("/prometheus", "")).await, "TLS: no trusted authority has issued its certificate");
    assert!(of(CANARY, behind("/health", &ca)).await.starts_with("no API of Prometheus at https://127.0.0.1:"));
}
