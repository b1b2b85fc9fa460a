use mainstay_core::report::Verdict;
use mainstay_tests::servers::certificates::{Authority, LONG};
use mainstay_tests::servers::{Login, Nginx, NginxOptions, Upstream, free_port};
use serde_json::json;

use super::{Bench, CANARY, is, not_ok, quoted};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_brings_authority_and_credential_to_its_own_server() {
    let upstream = Upstream::start().await;
    let authority = Authority::new();
    let leaf = authority.leaf(&["127.0.0.1"], LONG);
    let login = Login::new("mainstay", CANARY);
    let nginx = Nginx::start(&NginxOptions { leaf: &leaf, application: upstream.port, prometheus: (free_port(), "t0ken"), login: &login }).await;
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("root.pem"), authority.root()).expect("a file");
    let ca = format!("ca = {}\n", quoted(&dir.path().join("root.pem")));
    let site = |path: &str, more: &str| format!("[connections.shop]\nkind = \"http\"\nurl = \"https://127.0.0.1:{}{path}\"\n{more}", nginx.tls);

    let with_login = Bench::new(CANARY, &site("/private/health", &format!("{ca}username = \"mainstay\"\nPASSWORD\n")));
    let report = with_login.run("http.check", json!({"json": {"/status": "ok"}})).await;
    assert_eq!(not_ok(&report), []);
    is(&report, "http", "/private/health", Verdict::Ok);
    let report = with_login.run("http.check", json!({"paths": ["/health", "/private/health", "/500", "/redirect"]})).await;
    is(&report, "http", "/500", Verdict::Critical);
    let redirected = is(&report, "http", "/redirect", Verdict::Unknown);
    assert!(redirected.hint.contains("169.254.169.254"), "{redirected:?}");
    let report =
        Bench::new("another", &site("/private/health", &format!("{ca}username = \"mainstay\"\nPASSWORD\n"))).run("http.check", json!({})).await;
    assert!(is(&report, "http", "/private/health", Verdict::Critical).message.starts_with("HTTP 401"));
    let unreadable = site("/health", &format!("{ca}token = {{ file = \"no-such\" }}\n"));
    let report = Bench::new("", &unreadable).run("http.check", json!({})).await;
    assert!(is(&report, "http", "/health", Verdict::Unknown).message.contains("No such file or directory (file "));

    // The same server by its certificate.
    let report = Bench::new("", &site("/health", &ca)).run("tls.check", json!({})).await;
    is(&report, "tls.chain", "", Verdict::Ok);
    let plain = format!("[connections.shop]\nkind = \"tls\"\nurl = \"tls://127.0.0.1:{}\"\n", nginx.tls);
    let report = Bench::new("", &plain).run("tls.check", json!({})).await;
    is(&report, "tls.chain", "", Verdict::Critical);
    let report = Bench::new("", &format!("{plain}{ca}serverName = \"shop.example\"\n")).run("tls.check", json!({})).await;
    let chain = is(&report, "tls.chain", "", Verdict::Critical);
    assert!(chain.message.contains("shop.example"), "{chain:?}");
}
