//! Certificates of a server: asked for by a handshake that takes whatever it is shown, judged afterwards.
//!
//! So the days left are known of a chain that is not trusted, too, and a server that wants a certificate of
//! its clients can be looked at without one. Nothing is sent over the connection.

use std::sync::{Arc, Mutex, PoisonError};

use mainstay_core::WallTime;
use mainstay_core::report::{Check, Thresholds, Verdict};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::certificate::Certificate;
use super::{Params, days_left};
use crate::execute::{Context, OutgoingError, trust, wording};

const CHAIN: &str = "tls.chain";
/// Certificates of a chain that are looked at; a longer one is not a chain.
const CHAIN_MAX: usize = 10;

/// What a server showed.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    version: &'static str,
}

/// Every check of one endpoint, `host:port`.
pub(super) async fn checks(place: String, params: &Params, thresholds: Thresholds, context: &Context) -> Vec<Check> {
    let place = place.as_str();
    let hint = format!("openssl s_client -connect {} -showcerts </dev/null", wording::quoted(place));
    let stated = |verdict, message: String| vec![Check::stated(CHAIN, place, verdict, message).with_hint(hint.clone())];
    let Some((host, port)) = place.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?))) else {
        return stated(Verdict::Unknown, "not asked: it is not host:port".to_owned());
    };
    let wanted = params.server_name.as_deref().unwrap_or(host).trim_matches(['[', ']']);
    let Ok(name) = ServerName::try_from(wanted.to_owned()) else {
        return stated(Verdict::Unknown, format!("not asked: `{wanted}` cannot be the name of a server"));
    };
    let shown = match ask(host, port, name.clone(), params, context).await {
        Ok(shown) => shown,
        Err(Problem::Refused(refused)) => {
            return vec![
                Check::stated(CHAIN, place, Verdict::Unknown, "not asked: its address is one that this agent does not reach")
                    .with_hint(refused.to_string()),
            ];
        }
        Err(Problem::Other(message)) => return stated(Verdict::Critical, message),
    };
    let now = context.host.wall();
    let certificates: Vec<Result<Certificate, String>> = shown.chain.iter().take(CHAIN_MAX).map(|der| Certificate::parse(der)).collect();
    let mut checks = Vec::new();
    for (i, certificate) in certificates.iter().enumerate() {
        checks.push(match certificate {
            Ok(certificate) if i == 0 => days_left(place, certificate, thresholds, now),
            Ok(certificate) => days_left(&format!("{place} #{} {}", i + 1, certificate.name), certificate, thresholds, now),
            Err(cause) => Check::stated(super::DAYS, &format!("{place} #{}", i + 1), Verdict::Unknown, format!("cannot be read: {cause}")),
        });
    }
    let leaf = certificates.into_iter().next().and_then(Result::ok);
    let (verdict, message) = match judge(&shown, &name, leaf.as_ref(), params, context) {
        Ok(()) => (Verdict::Ok, format!("trusted for {wanted}, {}", shown.version)),
        Err(Judged::Untrusted(why)) if leaf.as_ref().is_some_and(|leaf| leaf.self_signed) => (Verdict::Critical, format!("self-signed: {why}")),
        Err(Judged::Untrusted(why)) => (Verdict::Critical, why),
        Err(Judged::NoAuthorities(why)) => (Verdict::Unknown, why),
    };
    let check = Check::stated(CHAIN, place, verdict, message);
    checks.push(if verdict == Verdict::Ok { check } else { check.with_hint(hint) });
    checks
}

enum Problem {
    Refused(OutgoingError),
    Other(String),
}

async fn ask(host: &str, port: u16, name: ServerName<'static>, params: &Params, context: &Context) -> Result<Shown, Problem> {
    let timeout = params.timeout.0.as_duration();
    let stream = context.outgoing.connect(host, port, timeout).await.map_err(|error| match error {
        OutgoingError::Refused { .. } => Problem::Refused(error),
        other => Problem::Other(other.to_string()),
    })?;
    let recorder = Arc::new(Recorder::default());
    let config = trust::client(recorder.clone()).map_err(Problem::Other)?;
    let handshake = tokio::time::timeout(timeout, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    let chain = std::mem::take(&mut *recorder.chain.lock().unwrap_or_else(PoisonError::into_inner));
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
    Untrusted(String),
    NoAuthorities(String),
}

/// Judges name and issuers as if the leaf held now: whether it does has a check of its own.
fn judge(shown: &Shown, name: &ServerName<'_>, leaf: Option<&Certificate>, params: &Params, context: &Context) -> Result<(), Judged> {
    let roots = match &params.ca {
        Some(path) => trust::roots_of_file(&context.host, path),
        None => trust::roots(context),
    };
    let verifier = roots.and_then(trust::verifier).map_err(Judged::NoAuthorities)?;
    let Some((end_entity, intermediates)) = shown.chain.split_first() else { return Err(Judged::Untrusted("shows no certificate".to_owned())) };
    let now = context.host.wall();
    let within = leaf.map_or(now, |leaf| {
        let (from, to) = (leaf.not_before_s.saturating_mul(1_000), leaf.not_after_s.saturating_mul(1_000));
        WallTime(now.0.max(from).min(to.max(from)))
    });
    let verdict = verifier.verify_server_cert(end_entity, intermediates, name, &[], trust::unix_time(within));
    verdict.map(|_| ()).map_err(|error| Judged::Untrusted(trust::explain(&error, now)))
}

/// Takes any chain and keeps it. The signature of the handshake is checked all the same: what was shown is
/// what the server has the key of.
#[derive(Debug, Default)]
struct Recorder {
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates).take(CHAIN_MAX).map(|der| der.clone().into_owned()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &trust::provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &trust::provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        trust::provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]
    use std::path::Path;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use serde_json::json;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::super::tests::{context, run};
    use super::*;

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Authority {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        /// A server on this machine with a certificate for `name` that ends on that day; its port.
        async fn server(&self, name: &str, to: (i32, u8, u8)) -> u16 {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.not_before = rcgen::date_time_ymd(2026, 1, 1);
            params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
            let leaf = params.signed_by(&key, &self.0).unwrap();
            let chain = vec![leaf.der().clone(), self.0.der().clone()];
            let config = rustls::ServerConfig::builder_with_provider(trust::provider()).with_safe_default_protocol_versions().unwrap();
            let config = config.with_no_client_auth().with_single_cert(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(async move {
                let acceptor = TlsAcceptor::from(Arc::new(config));
                while let Ok((stream, _)) = listener.accept().await {
                    let acceptor = acceptor.clone();
                    tokio::spawn(async move { drop(acceptor.accept(stream).await) });
                }
            });
            port
        }

        fn write(&self, dir: &Path) {
            std::fs::write(dir.join("ca.pem"), self.0.pem()).unwrap();
        }
    }

    async fn chain_and_leaf(context: &Context, with: serde_json::Value) -> ((Verdict, String), (Verdict, String)) {
        let seen = run(context, with).await;
        let plain = |i: usize| (seen[i].1, seen[i].3.clone());
        (plain(seen.len() - 1), plain(0))
    }

    #[tokio::test]
    async fn a_servers_chain_name_and_days_are_judged() {
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        authority.write(dir.path());
        let context = context(dir.path());
        let (well, ended) = (authority.server("shop.example", (2027, 11, 23)).await, authority.server("shop.example", (2026, 11, 20)).await);
        let with = |port: u16, name: &str| json!({"endpoints": [format!("127.0.0.1:{port}")], "serverName": name, "ca": "/ca.pem"});

        let (chain, leaf) = chain_and_leaf(&context, with(well, "shop.example")).await;
        assert_eq!(chain, (Verdict::Ok, "trusted for shop.example, TLS 1.3".into()));
        assert_eq!(leaf, (Verdict::Ok, "ends in 364 days, on 2027-11-23 (shop.example)".into()));

        let (chain, leaf) = chain_and_leaf(&context, with(ended, "shop.example")).await;
        assert_eq!(chain, (Verdict::Ok, "trusted for shop.example, TLS 1.3".into()));
        assert_eq!(leaf, (Verdict::Critical, "expired 3 d ago, on 2026-11-20 (shop.example)".into()));

        let (chain, _) = chain_and_leaf(&context, with(well, "other.example")).await;
        assert_eq!(chain, (Verdict::Critical, "its certificate is for shop.example, and not for other.example".into()));

        let (chain, leaf) = chain_and_leaf(&context, json!({"endpoints": [format!("127.0.0.1:{well}")], "serverName": "shop.example"})).await;
        assert_eq!((chain, leaf.0), ((Verdict::Critical, "no trusted authority has issued its certificate".into()), Verdict::Ok));
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
