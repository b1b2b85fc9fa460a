//! Certificates of a server: asked for by a handshake that takes whatever it is shown, judged afterwards.
//!
//! So the days left are known of a chain that is not trusted, too, and a server that wants a certificate of
//! its clients can be looked at without one. Nothing is sent over the connection.

use std::sync::Arc;

use mainstay_core::WallTime;
use mainstay_core::report::{Check, Thresholds, Verdict};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

use super::certificate::Certificate;
use super::{DAYS, Params, chain, days_left};
use crate::connections::{Connection, Place};
use crate::execute::{Context, Outgoing, OutgoingError, dial, trust, wording};

pub(super) const CHAIN: &str = "tls.chain";

/// Whom a chain must lead to.
#[derive(Clone)]
pub(super) enum Trusted {
    /// An authority that this knows.
    By(Arc<WebPkiServerVerifier>),
    /// Whoever it is: that is what the connection says.
    NotJudged,
    /// It cannot be said, because the authorities cannot be read.
    Unknown(String),
}

/// One server, and what its checks are called.
struct Server<'a> {
    host: &'a str,
    port: u16,
    /// Name that it must prove.
    wanted: String,
    /// Subject of its checks: nothing where the connection is named already.
    subject: &'a str,
    outgoing: Outgoing,
    trusted: Trusted,
}

/// What a server showed.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    version: &'static str,
}

impl Trusted {
    pub(super) fn new(roots: Result<RootCertStore, String>) -> Trusted {
        roots.and_then(trust::verifier).map_or_else(Trusted::Unknown, Trusted::By)
    }
}

/// Every check of one endpoint, `host:port`.
pub(super) async fn of_place(place: String, params: &Params, trusted: Trusted, thresholds: Thresholds, context: &Context) -> Vec<Check> {
    let place = place.as_str();
    let Some((host, port)) = place.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))) else {
        return vec![Check::stated(CHAIN, place, Verdict::Unknown, "not asked: it is not host:port")];
    };
    let wanted = params.server_name.as_deref().unwrap_or(host).trim_matches(['[', ']']).to_owned();
    let server = Server { host, port, wanted, subject: place, outgoing: context.outgoing.clone(), trusted };
    checks(&server, params, thresholds, context).await
}

/// Every check of a connection's server.
pub(super) async fn of_connection(
    connection: &Connection,
    params: &Params,
    trusted: Trusted,
    thresholds: Thresholds,
    context: &Context,
) -> Vec<Check> {
    let Place::Tcp { host, port } = &connection.address.place else {
        return vec![Check::stated(CHAIN, "", Verdict::Unknown, "not asked: its address is a socket")];
    };
    let (wanted, outgoing) = (dial::server_name(connection), context.outgoing.declared(host));
    checks(&Server { host, port: *port, wanted, subject: "", outgoing, trusted }, params, thresholds, context).await
}

async fn checks(server: &Server<'_>, params: &Params, thresholds: Thresholds, context: &Context) -> Vec<Check> {
    let Server { host, port, wanted, subject, .. } = server;
    let place = wording::quoted(&format!("{host}:{port}"));
    let hint = format!("openssl s_client -connect {place} -servername {} -showcerts </dev/null", wording::quoted(wanted));
    let stated = |verdict, message: String| vec![Check::stated(CHAIN, subject, verdict, message).with_hint(hint.clone())];
    let Ok(name) = ServerName::try_from(wanted.clone()) else {
        return stated(Verdict::Unknown, format!("not asked: `{wanted}` cannot be the name of a server"));
    };
    let shown = match ask(server, name.clone(), params, context).await {
        Ok(shown) => shown,
        Err(Problem::Refused(refused)) => {
            return vec![
                Check::stated(CHAIN, subject, Verdict::Unknown, "not asked: its address is one that this agent does not reach")
                    .with_hint(refused.to_string()),
            ];
        }
        Err(Problem::Other(message)) => return stated(Verdict::Critical, message),
    };
    let now = context.host.wall();
    let certificates: Vec<Result<Certificate, String>> = shown.chain.iter().map(|der| Certificate::parse(der)).collect();
    let mut checks = Vec::new();
    for (i, certificate) in certificates.iter().enumerate() {
        let numbered = |name: &str| format!("{subject} #{} {name}", i + 1).trim().to_owned();
        checks.push(match certificate {
            Ok(certificate) if i == 0 => days_left(DAYS, subject, certificate, thresholds, now),
            Ok(certificate) => days_left(DAYS, &numbered(&certificate.name), certificate, thresholds, now),
            Err(cause) => Check::stated(DAYS, &numbered(""), Verdict::Unknown, format!("cannot be read: {cause}")),
        });
    }
    let certificates: Vec<Certificate> = certificates.into_iter().flatten().collect();
    let (verdict, message, advice) = match judge(&shown, &name, certificates.first(), &server.trusted, now) {
        Ok(true) => match chain::disorder(&certificates) {
            None => (Verdict::Ok, format!("trusted for {wanted}, {}", shown.version), ""),
            Some(what) => (Verdict::Warning, format!("trusted for {wanted}, but {what}"), chain::SHOW_IN_ORDER),
        },
        Ok(false) => (Verdict::Skipped, "who issued it is not judged: its connection says  tls = \"require\"".to_owned(), ""),
        Err(Judged::Untrusted(error)) => {
            let (why, advice) = chain::explain(&error, &certificates, now);
            (Verdict::Critical, why, advice)
        }
        Err(Judged::NoAuthorities(why)) => (Verdict::Unknown, why, "mend the file that the step, the connection or the agent's settings name"),
    };
    let check = Check::stated(CHAIN, subject, verdict, message);
    checks.push(if matches!(verdict, Verdict::Ok | Verdict::Skipped) { check } else { check.with_hint(advice).with_details([hint]) });
    checks
}

enum Problem {
    Refused(OutgoingError),
    Other(String),
}

async fn ask(server: &Server<'_>, name: ServerName<'static>, params: &Params, context: &Context) -> Result<Shown, Problem> {
    let timeout = params.timeout.0.as_duration();
    let stream = server.outgoing.connect(server.host, server.port, timeout).await.map_err(|error| match error {
        OutgoingError::Refused { .. } => Problem::Refused(error),
        other => Problem::Other(other.to_string()),
    })?;
    let recorder = Arc::new(trust::AnyServer::default());
    let config = trust::client(recorder.clone()).map_err(Problem::Other)?;
    let handshake = tokio::time::timeout(timeout, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    let chain = recorder.take_chain();
    let version = match &handshake {
        Ok(Ok(stream)) => match stream.get_ref().1.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS 1.2",
        },
        _ => "TLS",
    };
    // A server that goes on to refuse a client without a certificate has shown its own by then.
    if !chain.is_empty() {
        return Ok(Shown { chain, version });
    }
    Err(Problem::Other(match handshake {
        Err(_) => format!("connects, and shows no certificate within {}", params.timeout.0),
        Ok(Ok(_)) => "shows no certificate".to_owned(),
        Ok(Err(error)) => match trust::find::<rustls::Error>(&error) {
            Some(tls) => format!("no TLS: {}", trust::explain(tls, context.host.wall())),
            None => format!("no TLS: {}", crate::execute::outgoing::plain_cause(&error)),
        },
    }))
}

enum Judged {
    Untrusted(rustls::Error),
    NoAuthorities(String),
}

/// Judges name and issuers as if the leaf held now: whether it does has a check of its own. False where nobody
/// wants that judged.
fn judge(shown: &Shown, name: &ServerName<'_>, leaf: Option<&Certificate>, trusted: &Trusted, now: WallTime) -> Result<bool, Judged> {
    let verifier = match trusted {
        Trusted::By(verifier) => verifier,
        Trusted::NotJudged => return Ok(false),
        Trusted::Unknown(why) => return Err(Judged::NoAuthorities(why.clone())),
    };
    let none = || Judged::Untrusted(rustls::Error::NoCertificatesPresented);
    let (end_entity, intermediates) = shown.chain.split_first().ok_or_else(none)?;
    let within = leaf.map_or(now, |leaf| {
        let (from, to) = (leaf.not_before_s.saturating_mul(1_000), leaf.not_after_s.saturating_mul(1_000));
        WallTime(now.0.max(from).min(to.max(from)))
    });
    let verdict = verifier.verify_server_cert(end_entity, intermediates, name, &[], trust::unix_time(within));
    verdict.map(|_| true).map_err(Judged::Untrusted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::super::stand::{Authority, Shows, self_signed};
    use super::super::tests::{context, run};
    use super::*;
    use crate::connections::Connections;
    use crate::execute::Labels;

    const LONG: (i32, u8, u8) = (2027, 11, 23);

    async fn chain_and_leaf(context: &Context, with: serde_json::Value) -> ((Verdict, String), (Verdict, String)) {
        let seen = run(context, with).await;
        let plain = |i: usize| (seen[i].1, seen[i].3.clone());
        (plain(seen.len() - 1), plain(0))
    }

    #[tokio::test]
    async fn t17_days_left_are_compared_and_a_server_is_judged_by_name_and_chain() {
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        authority.write(dir.path());
        let context = context(dir.path());
        let well = authority.server(authority.leaf(&["shop.example"], LONG), Shows::Chain).await;
        let soon = authority.server(authority.leaf(&["shop.example"], (2026, 12, 5)), Shows::Chain).await;
        let ended = authority.server(authority.leaf(&["shop.example"], (2026, 11, 20)), Shows::Chain).await;
        let with = |port: u16, name: &str| json!({"endpoints": [format!("127.0.0.1:{port}")], "serverName": name, "ca": "/ca.pem"});

        let (chain, leaf) = chain_and_leaf(&context, with(well, "shop.example")).await;
        assert_eq!(chain, (Verdict::Ok, "trusted for shop.example, TLS 1.3".into()));
        assert_eq!(leaf, (Verdict::Ok, "ends in 364 days, on 2027-11-23 (shop.example)".into()));

        let (_, leaf) = chain_and_leaf(&context, with(soon, "shop.example")).await;
        assert_eq!(leaf, (Verdict::Warning, "ends in 11 days, on 2026-12-05 (shop.example)".into()));

        let (chain, leaf) = chain_and_leaf(&context, with(ended, "shop.example")).await;
        assert_eq!(chain, (Verdict::Ok, "trusted for shop.example, TLS 1.3".into()));
        assert_eq!(leaf, (Verdict::Critical, "expired 3 d ago, on 2026-11-20 (shop.example)".into()));

        let (chain, _) = chain_and_leaf(&context, with(well, "other.example")).await;
        assert_eq!(chain, (Verdict::Critical, "its certificate is for shop.example, and not for other.example".into()));

        let (chain, leaf) = chain_and_leaf(&context, json!({"endpoints": [format!("127.0.0.1:{well}")], "serverName": "shop.example"})).await;
        let ends = "its chain ends too early: test root, which issued test intermediate, is neither shown nor a trusted authority";
        assert_eq!((chain, leaf.0), ((Verdict::Critical, ends.into()), Verdict::Ok));
    }

    #[tokio::test]
    async fn names_are_matched_as_clients_match_them() {
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        authority.write(dir.path());
        let context = context(dir.path());
        let wild = authority.server(authority.leaf(&["*.shop.example", "127.0.0.1"], LONG), Shows::Chain).await;
        let nameless = authority.server(authority.leaf(&[], LONG), Shows::Chain).await;
        for (port, name, message) in [
            (wild, "www.shop.example", "trusted for www.shop.example, TLS 1.3"),
            (wild, "127.0.0.1", "trusted for 127.0.0.1, TLS 1.3"),
            (wild, "shop.example", "its certificate is for *.shop.example, 127.0.0.1, and not for shop.example"),
            (wild, "a.b.shop.example", "its certificate is for *.shop.example, 127.0.0.1, and not for a.b.shop.example"),
            (wild, "127.0.0.2", "its certificate is for *.shop.example, 127.0.0.1, and not for 127.0.0.2"),
            (nameless, "common.example", "its certificate has common.example as its common name only, where clients no longer look"),
        ] {
            let with = json!({"endpoints": [format!("127.0.0.1:{port}")], "serverName": name, "ca": "/ca.pem"});
            let (chain, _) = chain_and_leaf(&context, with).await;
            assert_eq!(chain.1, message, "{name}");
            assert_eq!(chain.0 == Verdict::Ok, message.starts_with("trusted"), "{name}");
        }
    }

    #[tokio::test]
    async fn what_a_chain_lacks_or_has_in_the_wrong_place_is_named() {
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        authority.write(dir.path());
        let context = context(dir.path());
        let leaf = || authority.leaf(&["shop.example"], LONG);
        let early = "its chain ends too early: test intermediate, which issued shop.example, is neither shown nor a trusted authority";
        let order = "trusted for shop.example, but its chain is out of order: #2 test root did not issue #1 shop.example";
        let own = self_signed(&["shop.example"]).server().await;
        for (port, ca, verdict, message) in [
            (authority.server(leaf(), Shows::ChainAndRoot).await, true, Verdict::Ok, "trusted for shop.example, TLS 1.3"),
            (authority.server(leaf(), Shows::LeafAlone).await, true, Verdict::Critical, early),
            (authority.server(leaf(), Shows::OutOfOrder).await, true, Verdict::Warning, order),
            (
                authority.server(leaf(), Shows::ChainAndRoot).await,
                false,
                Verdict::Critical,
                "its chain ends in test root, which is no authority that this agent trusts",
            ),
            (own, true, Verdict::Critical, "self-signed: nobody but itself vouches for it"),
        ] {
            let mut with = json!({"endpoints": [format!("127.0.0.1:{port}")], "serverName": "shop.example"});
            if ca {
                with["ca"] = "/ca.pem".into();
            }
            let report = super::super::super::execute("tls.check", with.as_object().unwrap(), &context).await.unwrap();
            let check = report.checks.last().unwrap();
            assert_eq!((check.verdict, check.message.as_str()), (verdict, message));
            let says_what_to_do = !check.hint.is_empty() && check.details[0].starts_with("openssl s_client -connect 127.0.0.1:");
            assert!(verdict == Verdict::Ok || says_what_to_do, "{check:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_says_where_and_whom_to_trust() {
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        authority.write(dir.path());
        let port = authority.server(authority.leaf(&["shop.example"], LONG), Shows::Chain).await;
        let seen = async |declared: &str| {
            let text = format!("[connections.shop]\n{declared}").replace("PORT", &port.to_string());
            let (connections, problems) = Connections::parse(&dir.path().join("connections.toml"), &text);
            assert_eq!(problems, Vec::<String>::new());
            let labels = Labels { connection: Some("shop".parse().unwrap()), ..Labels::default() };
            let context = Context { labels, ..context(dir.path()).with_connections(connections) };
            let with = json!({"connection": "*"});
            let report = crate::execute::execute("tls.check", with.as_object().unwrap(), &context).await.unwrap();
            report.checks.into_iter().map(|check| (check.id, check.subject, check.verdict, check.message)).collect::<Vec<_>>()
        };
        let days = |subject: &str| ("tls.daysLeft".to_owned(), subject.to_owned(), Verdict::Ok);
        let well = seen("kind = \"tls\"\nurl = \"tls://localhost:PORT\"\nca = \"ca.pem\"\nserverName = \"shop.example\"").await;
        let first: Vec<_> = well.iter().take(2).map(|(id, subject, verdict, _)| (id.clone(), subject.clone(), *verdict)).collect();
        assert_eq!(first, [days(""), days("#2 test intermediate")]);
        let chain = |verdict, message: &str| ("tls.chain".to_owned(), String::new(), verdict, message.to_owned());
        assert_eq!(well[2], chain(Verdict::Ok, "trusted for shop.example, TLS 1.3"));

        let other = seen("kind = \"http\"\nurl = \"https://127.0.0.1:PORT/health\"\nca = \"ca.pem\"").await;
        assert_eq!(other[2], chain(Verdict::Critical, "its certificate is for shop.example, and not for 127.0.0.1"));
        let unjudged = seen("kind = \"http\"\nurl = \"https://127.0.0.1:PORT/health\"\ntls = \"require\"").await;
        assert_eq!(unjudged[2].2, Verdict::Skipped, "{unjudged:?}");
        let plain = seen("kind = \"http\"\nurl = \"http://127.0.0.1:PORT/health\"").await;
        assert_eq!(plain, [chain(Verdict::Skipped, "its URL begins with http: there is no certificate")]);
        std::fs::remove_file(dir.path().join("ca.pem")).unwrap();
        let unknown = seen("kind = \"tls\"\nurl = \"tls://127.0.0.1:PORT\"\nca = \"ca.pem\"").await;
        assert_eq!((unknown[2].2, unknown[0].2), (Verdict::Unknown, Verdict::Ok), "{unknown:?}");
    }

    #[tokio::test]
    async fn an_endpoint_without_tls_or_without_anybody_says_which() {
        let dir = tempfile::tempdir().unwrap();
        let context = context(dir.path());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let check = async |place: String| {
            let seen = run(&context, json!({"endpoints": [place], "timeout": "200ms"})).await.remove(0);
            (seen.1, seen.3)
        };
        assert_eq!(check(format!("127.0.0.1:{port}")).await, (Verdict::Critical, "connects, and shows no certificate within 200ms".into()));
        drop(listener);
        assert_eq!(
            check(format!("127.0.0.1:{port}")).await,
            (Verdict::Critical, format!("127.0.0.1:{port} refuses connections: nothing listens there"))
        );
        assert_eq!(
            check("169.254.169.254:443".into()).await,
            (Verdict::Unknown, "not asked: its address is one that this agent does not reach".into())
        );
        assert_eq!(check("no-port".into()).await.0, Verdict::Unknown);
    }
}
