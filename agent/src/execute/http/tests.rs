#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]
use std::sync::Arc;

use mainstay_core::WallTime;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::tls::stand::{Authority, Shows, self_signed};
use super::super::{Ended, ExecuteSettings, Labels, Policy, execute};
use super::*;
use crate::connections::Connections;
use crate::host::Host;
use crate::observe::readings::Readings;

/// A server that answers each path with what it is told to.
async fn server(answers: &'static [(&'static str, &'static str)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 4_096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                match answers.iter().find(|(known, _)| *known == path) {
                    Some((_, "hang")) => std::future::pending::<()>().await,
                    Some((_, answer)) => drop(stream.write_all(answer.as_bytes()).await),
                    None => {}
                }
            });
        }
    });
    format!("http://{address}")
}

fn context(allow: &[&str]) -> Context {
    let settings = ExecuteSettings { allow_addresses: allow.iter().map(|&a| a.to_owned()).collect(), ..ExecuteSettings::default() };
    Context::new(Arc::default(), Readings::default(), Arc::new(settings), Arc::new(Policy::default())).unwrap()
}

async fn check(context: &Context, with: Value) -> Check {
    execute("http.check", with.as_object().unwrap(), context).await.unwrap().checks.remove(0)
}

const ANSWERS: &[(&str, &str)] = &[
    ("/", "HTTP/1.1 200 OK\r\ncontent-length: 13\r\nconnection: close\r\n\r\nall is well.\n"),
    ("/broken", "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    ("/moved", "HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    ("/circle", "HTTP/1.1 302 Found\r\nlocation: /circle\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    ("/metadata", "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    ("/name", "HTTP/1.1 302 Found\r\nlocation: http://localhost:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    ("/hang", "hang"),
];

#[tokio::test]
async fn an_endpoint_is_judged_by_status_body_and_time() {
    let (base, context) = (server(ANSWERS).await, context(&["127.0.0.1"]));
    let cases = [
        (json!({"url": format!("{base}/")}), Verdict::Ok, "HTTP 200 in "),
        (json!({"url": format!("{base}/"), "contains": "is well"}), Verdict::Ok, "HTTP 200 in "),
        (json!({"url": format!("{base}/"), "contains": "not there"}), Verdict::Critical, "the body does not contain \"not there\""),
        (json!({"url": format!("{base}/"), "method": "HEAD"}), Verdict::Ok, "HTTP 200 in "),
        (json!({"url": format!("{base}/"), "status": "201-299"}), Verdict::Critical, "201-299 is expected"),
        (json!({"url": format!("{base}/broken")}), Verdict::Critical, "HTTP 503 in "),
        (json!({"url": format!("{base}/broken"), "status": [200, 503]}), Verdict::Ok, "HTTP 503 in "),
        (json!({"url": format!("{base}/broken"), "status": 503}), Verdict::Ok, "HTTP 503 in "),
        (json!({"url": format!("{base}/moved")}), Verdict::Ok, ", redirected to http://127.0.0.1"),
        (json!({"url": format!("{base}/moved"), "followRedirects": 0}), Verdict::Ok, "HTTP 302 in "),
        (json!({"url": format!("{base}/circle"), "followRedirects": 3}), Verdict::Critical, "more than 3 redirects"),
        (json!({"url": format!("{base}/hang"), "timeout": "50ms"}), Verdict::Critical, "no answer within 50ms"),
        (json!({"url": format!("{base}/nothing")}), Verdict::Critical, ""),
        (json!({"url": format!("{base}/"), "latency": {"warning": "0s", "critical": "1d"}}), Verdict::Warning, "HTTP 200 in "),
    ];
    for (with, verdict, part) in cases {
        let check = check(&context, with.clone()).await;
        assert_eq!(check.verdict, verdict, "{with}: {}", check.message);
        assert!(check.message.contains(part), "{with}: {}", check.message);
    }
}

#[tokio::test]
async fn causes_are_named() {
    let context = context(&["127.0.0.1"]);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = check(&context, json!({"url": format!("http://{free}/")})).await;
    assert_eq!((refused.verdict, refused.message), (Verdict::Critical, format!("{free} refuses connections: nothing listens there")));
    let no_name = check(&context, json!({"url": "http://no-such-host.invalid/"})).await;
    assert!(no_name.verdict == Verdict::Critical && no_name.message.contains("no-such-host.invalid cannot be resolved"), "{}", no_name.message);
    let base = server(ANSWERS).await;
    let no_tls = check(&context, json!({"url": format!("{}/", base.replace("http:", "https:"))})).await;
    assert!(no_tls.verdict == Verdict::Critical && no_tls.message.starts_with("TLS: "), "{}", no_tls.message);
}

#[tokio::test]
async fn addresses_that_are_not_reached_are_refused_at_first_and_at_redirects() {
    let base = server(ANSWERS).await;
    for (allow, url) in [
        (vec![], format!("{base}/")),
        (vec![], "http://localhost:1/".to_owned()),
        (vec![], "http://2130706433:1/".to_owned()),
        (vec![], "http://0x7f.1:1/".to_owned()),
        (vec![], "http://[::ffff:127.0.0.1]:1/".to_owned()),
        (vec![], "http://169.254.169.254/latest/meta-data".to_owned()),
        (vec!["127.0.0.1"], format!("{base}/metadata")),
    ] {
        let check = check(&context(&allow), json!({"url": url})).await;
        assert_eq!(
            (check.verdict, check.message.as_str()),
            (Verdict::Unknown, "not asked: its address is one that this agent does not reach"),
            "{url}"
        );
        assert!(check.hint.contains("allow_addresses = ["), "{}", check.hint);
    }
    // The server's own address is allowed by number; the name that it sends on to is not.
    let port_only = context(&[&base.trim_start_matches("http://").split(':').next().map(|host| format!("{host}/32")).unwrap()]);
    let name = check(&port_only, json!({"url": format!("{base}/name")})).await;
    assert!(matches!(name.verdict, Verdict::Unknown | Verdict::Critical), "{}", name.message);
}

#[tokio::test]
async fn many_endpoints_keep_their_order_and_bad_ones_are_counted() {
    let (base, context) = (server(ANSWERS).await, context(&["127.0.0.1"]));
    let urls: Vec<String> = (0..20).map(|i| format!("{base}{}", if i % 2 == 0 { "/" } else { "/broken" })).collect();
    let report = execute("http.check", json!({"urls": urls}).as_object().unwrap(), &context).await.unwrap();
    let subjects: Vec<&str> = report.checks.iter().map(|check| check.subject.as_str()).collect();
    assert_eq!(subjects, urls.iter().map(|url| url.trim_end_matches('/')).collect::<Vec<_>>());
    assert_eq!(report.outputs["failed"], 10);
}

#[tokio::test]
async fn wrong_parameters_are_refused() {
    for (with, part) in [
        (json!({}), "needs `url`, `urls`, `endpoints` or `connection`"),
        (json!({"url": "ftp://x/"}), "is not an http or https URL"),
        (json!({"url": "x"}), "is not a URL"),
        (json!({"url": "http://x/", "status": "ok"}), "is not a range of status"),
        (json!({"url": "http://x/", "verb": "GET"}), "unknown field `verb`"),
        (json!({"endpoints": [{"url": "http://x/", "verb": "GET"}]}), "unknown field `verb`"),
        (json!({"endpoints": [{"status": 200}]}), "has no `url`"),
        (json!({"url": "http://x/", "paths": ["/a"]}), "there is no `connection`"),
        (json!({"connection": "shop"}), "this agent has no connection shop"),
        (json!({"url": "http://x/", "method": "HEAD", "contains": "x"}), "has no body"),
        (json!({"url": "http://x/", "json": {"status": "ok"}}), "did you mean `/status`?"),
        (json!({"url": "http://x/", "headers": {"a b": "c"}}), "cannot be the name of a header"),
        (json!({"url": "http://x/", "requestHeaders": {"Authorization": "Bearer x"}}), "is a credential"),
        (json!({"url": "http://x/", "requestHeaders": {"X-Api-Key": "x"}}), "is a credential"),
        (json!({"url": "http://x/", "requestHeaders": {"Content-Length": "1"}}), "is not a plan's to set"),
        (json!({"url": "http://x/", "requestHeaders": {"X-A": "a\r\nX-B: b"}}), "holds what a header cannot"),
        (json!({"url": "http://me:hunter2@x/"}), "a URL holds a user or a password"),
    ] {
        let error = execute("http.check", with.as_object().unwrap(), &context(&[])).await.unwrap_err();
        assert!(error.ended == Ended::Refused && error.message.contains(part), "{error}");
    }
}

#[tokio::test]
async fn headers_and_body_are_held_against_rules() {
    const ANSWERS: &[(&str, &str)] = &[(
        "/",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\nset-cookie: sid=hunter2\r\nx-version: 7\r\ncontent-length: 32\r\n\r\n{\"status\":\"ok\",\"db\":{\"up\":true}}",
    )];
    let (base, context) = (server(ANSWERS).await, context(&["127.0.0.1"]));
    for (rules, problems) in [
        (json!({"headers": {"Content-Type": "application/json*", "x-version": "*"}, "json": {"/status": "ok", "/db/up": true}}), vec![]),
        (json!({"contains": "status", "notContains": "error", "maxBytes": 32}), vec![]),
        (
            json!({"headers": {"content-type": "text/html"}}),
            vec!["the header content-type is \"application/json; charset=utf-8\" and not \"text/html\""],
        ),
        (json!({"headers": {"x-other": "*"}}), vec!["the header x-other is missing"]),
        (json!({"headers": {"set-cookie": "sid=1"}}), vec!["the header set-cookie is not as expected"]),
        (json!({"notContains": "status"}), vec!["the body contains \"status\""]),
        (json!({"maxBytes": 31}), vec!["the body is larger than 31 B"]),
        (
            json!({"json": {"/status": "down", "/db/down": 1}, "status": 204}),
            vec!["204 is expected", "the body has no /db/down, which should be 1", "/status is \"ok\" and not \"down\""],
        ),
    ] {
        let mut with = rules.clone();
        with["url"] = base.clone().into();
        let check = check(&context, with).await;
        assert_eq!(check.verdict, if problems.is_empty() { Verdict::Ok } else { Verdict::Critical }, "{rules}: {}", check.message);
        if let Some((first, others)) = problems.split_first() {
            assert!(check.message.ends_with(&format!(", and {first}")), "{rules}: {}", check.message);
            assert_eq!(check.details, others, "{rules}");
        }
    }
}

#[tokio::test]
async fn each_endpoint_has_its_own_rules_over_those_of_the_step() {
    let (base, context) = (server(ANSWERS).await, context(&["127.0.0.1"]));
    let with = json!({
        "url": format!("{base}/"),
        "contains": "is well",
        "endpoints": [
            {"url": format!("{base}/broken"), "status": 503, "contains": ""},
            {"url": format!("{base}/moved"), "followRedirects": 0, "status": "302", "contains": ""},
            {"url": format!("{base}/moved")},
            {"url": format!("{base}/hang"), "timeout": "50ms"},
            {"url": format!("{base}/"), "notContains": "well"},
        ],
    });
    let report = execute("http.check", with.as_object().unwrap(), &context).await.unwrap();
    let verdicts: Vec<Verdict> = report.checks.iter().map(|check| check.verdict).collect();
    assert_eq!(verdicts, [Verdict::Ok, Verdict::Ok, Verdict::Ok, Verdict::Ok, Verdict::Critical, Verdict::Critical], "{:#?}", report.checks);
}

#[tokio::test]
async fn a_name_that_resolves_to_what_is_not_reached_is_refused_at_first_and_at_a_redirect() {
    let base = server(ANSWERS).await;
    // The server is reached by its number; the name that it sends on to resolves to the same place and is not allowed:
    // what counts is asked of each hop, not of the first.
    let by_name = context(&["localhost"]);
    let port = base.rsplit(':').next().unwrap();
    let first = check(&by_name, json!({"url": format!("http://localhost:{port}/")})).await;
    assert_eq!(first.verdict, Verdict::Ok, "{}", first.message);
    for url in [format!("{base}/"), format!("http://localhost:{port}/metadata")] {
        let check = check(&by_name, json!({"url": url})).await;
        assert_eq!(check.verdict, Verdict::Unknown, "{url}: {}", check.message);
        assert!(check.message.starts_with("not asked") && check.hint.contains("allow_addresses"), "{url}: {check:?}");
    }
}

#[tokio::test]
async fn certificates_are_judged_and_what_is_wrong_with_them_is_said() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.write(dir.path());
    let now: WallTime = WallTime(1_795_435_200_000);
    let settings = ExecuteSettings { allow_addresses: vec!["127.0.0.1".into()], ..ExecuteSettings::default() };
    let host = Arc::new(Host::below(dir.path()).with_wall(now));
    let context = Context::new(host, Readings::default(), Arc::new(settings), Arc::new(Policy::default())).unwrap();
    // The library that verifies goes by the clock of this machine.
    let long = (2120, 1, 1);
    let leaf = |names: &[&str], to| authority.leaf(names, to);
    for (port, ca, verdict, message, hint) in [
        (authority.server(leaf(&["127.0.0.1"], long), Shows::Chain).await, true, Verdict::Ok, "HTTP 200 in ", ""),
        (
            authority.server(leaf(&["other.example"], long), Shows::Chain).await,
            true,
            Verdict::Critical,
            "TLS: its certificate is for other.example, and not for 127.0.0.1",
            "serve the certificate of that host",
        ),
        (
            authority.server(leaf(&["127.0.0.1"], (2021, 1, 1)), Shows::Chain).await,
            true,
            Verdict::Critical,
            "TLS: a certificate expired ",
            "renew it",
        ),
        (
            authority.server(leaf(&["127.0.0.1"], long), Shows::Chain).await,
            false,
            Verdict::Critical,
            "TLS: no trusted authority has issued its certificate",
            "name its file: `ca`",
        ),
        (
            authority.server(leaf(&["127.0.0.1"], long), Shows::LeafAlone).await,
            true,
            Verdict::Critical,
            "TLS: no trusted authority has issued its certificate",
            "serve the whole chain",
        ),
        (self_signed(&["127.0.0.1"]).server().await, true, Verdict::Critical, "TLS: no trusted authority has issued its certificate", ""),
    ] {
        let mut with = json!({"urls": [format!("https://127.0.0.1:{port}/a"), format!("https://127.0.0.1:{port}/b")]});
        if ca {
            with["ca"] = "/ca.pem".into();
        }
        let report = execute("http.check", with.as_object().unwrap(), &context).await.unwrap();
        let first = &report.checks[0];
        assert!(first.verdict == verdict && first.message.starts_with(message) && first.hint.contains(hint), "{message}: {first:?}");
        let days: Vec<(&str, Verdict)> =
            report.checks.iter().filter(|check| check.id == "http.daysLeft").map(|check| (check.subject.as_str(), check.verdict)).collect();
        let place = format!("127.0.0.1:{port}");
        assert_eq!(days, if verdict == Verdict::Ok { vec![(place.as_str(), Verdict::Ok)] } else { vec![] }, "once for a server: {message}");
    }
}

/// A context for the one connection that is declared, `PORT` in it standing for the server's.
fn through(dir: &std::path::Path, declared: &str, port: &str, allow: &[&str]) -> Context {
    let text = format!("[connections.shop]\nkind = \"http\"\n{declared}").replace("PORT", port);
    let (connections, problems) = Connections::parse(&dir.join("connections.toml"), &text);
    assert_eq!(problems, Vec::<String>::new());
    let labels = Labels { connection: Some("shop".parse().unwrap()), ..Labels::default() };
    Context { labels, ..context(allow).with_connections(connections) }
}

/// A server that says which credential it was shown, and sends `/away` on to another port.
async fn guarded(away: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4_096];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let shown = request.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or("nothing");
            let head = if request.starts_with("GET /away") {
                format!("302 Found\r\nlocation: {away}")
            } else {
                format!("200 OK\r\nx-shown: {}", shown.len())
            };
            let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{shown}", shown.len());
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    port.to_string()
}

#[tokio::test]
async fn a_connections_credential_goes_to_its_server_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "hunter2\n").unwrap();
    let other = guarded(String::new()).await;
    let port = guarded(format!("http://127.0.0.1:{other}/")).await;
    let basic = "url = \"http://127.0.0.1:PORT/\"\nusername = \"me\"\npassword = { file = \"secret\" }";
    let bearer = "url = \"http://127.0.0.1:PORT/\"\ntoken = { file = \"secret\" }";
    let none = "url = \"http://127.0.0.1:PORT/\"";
    for (declared, path, expected) in [
        (basic, "/", "Basic bWU6aHVudGVyMg=="),
        (bearer, "/", "Bearer hunter2"),
        (none, "/", "nothing"),
        // The other port is another server.
        (basic, "/away", "nothing"),
        (bearer, "/away", "nothing"),
    ] {
        let context = through(dir.path(), declared, &port, &["127.0.0.1"]);
        let check = check(&context, json!({"connection": "*", "paths": [path], "contains": expected})).await;
        assert_eq!((check.verdict, check.subject.as_str()), (Verdict::Ok, path), "{}", check.message);
        let wrong = self::check(&context, json!({"connection": "*", "paths": [path], "contains": "something else"})).await;
        let said = format!("{wrong:?}");
        assert!(wrong.verdict == Verdict::Critical && !said.contains("hunter2") && !said.contains("aHVudGVy"), "{said}");
    }
}

#[tokio::test]
async fn a_declared_host_is_reached_and_what_it_redirects_to_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let base = server(ANSWERS).await;
    let port = base.rsplit(':').next().unwrap();
    // Nothing is allowed by settings: the loopback address counts where the connection writes it, for its own host only.
    for (host, path, verdict) in [
        ("127.0.0.1", "/", Verdict::Ok),
        ("localhost", "/", Verdict::Ok),
        ("127.0.0.1", "/moved", Verdict::Ok),
        ("127.0.0.1", "/metadata", Verdict::Unknown),
        ("localhost", "/metadata", Verdict::Unknown),
        ("127.0.0.1", "/name", Verdict::Unknown),
    ] {
        let context = through(dir.path(), &format!("url = \"http://{host}:PORT{path}\""), port, &[]);
        let check = check(&context, json!({"connection": "shop"})).await;
        assert_eq!((check.verdict, check.subject.as_str()), (verdict, path), "{host}{path}: {}", check.message);
    }
    let through = through(dir.path(), "url = \"http://127.0.0.1:PORT/\"", port, &[]);
    let both = execute("http.check", json!({"connection": "shop", "url": "http://x/"}).as_object().unwrap(), &through).await.unwrap_err();
    assert!(both.ended == Ended::Refused && both.message.contains("in a step of its own"), "{both}");
    let plain = check(&context(&[]), json!({"url": format!("{base}/")})).await;
    assert_eq!(plain.verdict, Verdict::Unknown, "a plan's own URL has no such right");
}

#[tokio::test]
async fn what_keeps_this_agent_from_asking_is_unknown_and_says_where_to_look() {
    let dir = tempfile::tempdir().unwrap();
    let base = server(&[("/", "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")]).await;
    let port = base.rsplit(':').next().unwrap();
    let declared = "url = \"http://127.0.0.1:PORT/\"\ntoken = { file = \"secret\" }";
    let context = through(dir.path(), declared, port, &[]);
    let missing = check(&context, json!({"connection": "shop"})).await;
    assert!(
        missing.verdict == Verdict::Unknown && missing.message.starts_with("not asked: its secret cannot be read: No such file or directory (file /"),
        "{missing:?}"
    );
    assert!(missing.hint.contains("connections.toml line 1"), "{missing:?}");
    std::fs::write(dir.path().join("secret"), "a\nb").unwrap();
    let malformed = check(&context, json!({"connection": "shop"})).await;
    let path = dir.path().join("secret").display().to_string();
    assert_eq!(
        (malformed.verdict, malformed.message.replace(&path, "PATH").as_str()),
        (Verdict::Unknown, "not asked: the token of its file PATH holds what cannot stand in a header")
    );
    std::fs::write(dir.path().join("secret"), "old").unwrap();
    let refused = check(&context, json!({"connection": "shop"})).await;
    assert!(refused.verdict == Verdict::Critical && refused.hint.ends_with("does its credential hold?"), "{refused:?}");
}

#[tokio::test]
async fn the_name_that_a_connection_gives_is_the_one_that_is_proven() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.write(dir.path());
    let port = authority.server(authority.leaf(&["shop.example"], (2120, 1, 1)), Shows::Chain).await.to_string();
    for (name, verdict) in [("serverName = \"shop.example\"", Verdict::Ok), ("", Verdict::Critical)] {
        let context = through(dir.path(), &format!("url = \"https://127.0.0.1:PORT/\"\nca = \"ca.pem\"\n{name}"), &port, &[]);
        let report = execute("http.check", json!({"connection": "shop"}).as_object().unwrap(), &context).await.unwrap();
        assert_eq!((report.checks[0].verdict, report.checks[0].subject.as_str()), (verdict, "/"), "{:?}", report.checks);
        assert!(verdict != Verdict::Ok || (report.checks[1].id == "http.daysLeft" && report.checks[1].subject.is_empty()));
    }
}
