//! Whom a TLS client of this agent trusts, and why a server is not trusted, in words.
//!
//! The public authorities, those of the system, and those that the agent's settings name; or only those of
//! one file, where a step asks for that.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use mainstay_core::{Millis, WallTime};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::{Context, wording};
use crate::host::Host;

/// Where systems keep the authorities that their owner trusts; the first that is there counts.
const SYSTEM_BUNDLES: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

/// Certificates of a chain that are kept; a longer one is not a chain.
const CHAIN_MAX: usize = 10;

/// The one provider of cryptography.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Every authority that this agent trusts.
///
/// # Errors
/// In words, when a file that the settings name cannot be used.
pub(super) fn roots(context: &Context) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(system) = SYSTEM_BUNDLES.iter().find_map(|path| context.host.text(path).ok()) {
        // Systems carry authorities that are too old or odd to be used; those are passed over.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(system.as_bytes()).flatten());
    }
    for path in &context.settings.trust {
        add_file(&mut roots, &context.host, path)?;
    }
    Ok(roots)
}

/// The authorities of one file, and no others.
///
/// # Errors
/// In words, when the file cannot be used.
pub(super) fn roots_of_file(host: &Host, path: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    add_file(&mut roots, host, path)?;
    Ok(roots)
}

fn add_file(roots: &mut RootCertStore, host: &Host, path: &str) -> Result<(), String> {
    let text = host.text(path).map_err(|error| format!("authorities of {path}: {}", super::outgoing::plain_cause(&error)))?;
    add_pem(roots, &text, path)
}

/// Adds the authorities of a text that was read from `path`.
///
/// # Errors
/// In words, when there is none, or one that cannot be used.
pub(super) fn add_pem(roots: &mut RootCertStore, text: &str, path: &str) -> Result<(), String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certificates = certificates.map_err(|error| format!("authorities of {path}: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("authorities of {path}: there is no certificate in it"));
    }
    certificates.into_iter().try_for_each(|certificate| roots.add(certificate)).map_err(|error| format!("authorities of {path}: {error}"))
}

/// Judges a server's chain against authorities.
///
/// # Errors
/// In words, when there are none.
pub(super) fn verifier(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, String> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(|error| error.to_string())
}

/// A client that looks at servers with `verifier`. Servers of others may still speak TLS 1.2.
///
/// # Errors
/// In words; it does not happen with the provider that is built in.
pub(super) fn client(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, String> {
    Ok(builder(verifier)?.with_no_client_auth())
}

/// The same, for servers that want a certificate of their clients.
///
/// # Errors
/// In words, when key and certificate do not belong together.
pub(super) fn client_with(
    verifier: Arc<dyn ServerCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, String> {
    builder(verifier)?.with_client_auth_cert(chain, key).map_err(|error| format!("the client's certificate: {error}"))
}

fn builder(verifier: Arc<dyn ServerCertVerifier>) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

/// Takes any server, and keeps the chain that it showed. The signature of the handshake is checked all the same:
/// what was shown is what the server has the key of.
#[derive(Debug, Default)]
pub(super) struct AnyServer {
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl AnyServer {
    /// The chain of the last handshake.
    pub fn take_chain(&self) -> Vec<CertificateDer<'static>> {
        std::mem::take(&mut *self.chain.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for AnyServer {
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
        verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Wall time as certificates have it.
pub(super) fn unix_time(at: WallTime) -> UnixTime {
    UnixTime::since_unix_epoch(Millis(u64::try_from(at.0).unwrap_or(0)).as_duration())
}

/// Why TLS did not come about, for a person.
pub(super) fn explain(error: &rustls::Error, now: WallTime) -> String {
    let day = |time: &UnixTime| {
        Timestamp::from_second(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
            .map_or_else(|_| "?".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
    };
    let apart = |time: &UnixTime| wording::span(Millis(unix_time(now).as_secs().abs_diff(time.as_secs()) * 1_000));
    let rustls::Error::InvalidCertificate(certificate) = error else { return error.to_string() };
    match certificate {
        CertificateError::Expired => "a certificate has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => format!("a certificate expired {} ago, on {}", apart(not_after), day(not_after)),
        CertificateError::NotValidYet => "a certificate is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("a certificate is not valid before {}, in {}", day(not_before), apart(not_before))
        }
        CertificateError::UnknownIssuer => "no trusted authority has issued its certificate".to_owned(),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. } | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its chain has a signature of a kind that is no longer accepted".to_owned()
        }
        CertificateError::NotValidForName => "its certificate is for another host".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            if presented.is_empty() {
                format!("its certificate is for no host, and not for {expected}")
            } else {
                let names: Vec<String> = presented.iter().take(4).map(|name| plain_name(name)).collect();
                format!("its certificate is for {}{}, and not for {expected}", names.join(", "), if presented.len() > 4 { ", …" } else { "" })
            }
        }
        CertificateError::Revoked => "its certificate has been revoked".to_owned(),
        CertificateError::BadSignature => "a signature in its chain is wrong".to_owned(),
        CertificateError::BadEncoding => "its certificate cannot be read".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => "its certificate is not meant for servers".to_owned(),
        // What has no variant of its own can only be told by its name.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => "its certificate is an authority's own and not a server's".to_owned(),
        other => other.to_string(),
    }
}

/// What to do so that TLS comes about, where that is known.
pub(super) fn advice(error: &rustls::Error) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(certificate) = error else { return None };
    Some(match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "renew it, and reload what serves it",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "serve the earlier one until then; or the clock of this machine is wrong: timedatectl"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "serve the certificate of that host there, issue one that has its name too, or ask by a name that it is for"
        }
        CertificateError::UnknownIssuer => {
            "serve the whole chain, leaf first (often called fullchain.pem); where the authority is your own, name its file: `ca` of the step or connection, or `trust` in the agent's settings"
        }
        CertificateError::Revoked => "have another one issued, and find out why this one was revoked",
        _ => return None,
    })
}

/// `DnsName("shop.example")` as `shop.example`, `IpAddress(10.0.0.1)` as `10.0.0.1`.
fn plain_name(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"').to_owned()
}

/// The innermost error of that type along a chain of causes, also where one is wrapped as an I/O error.
pub(super) fn find<'a, E: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a E> {
    let mut found = None;
    let mut next = Some(error);
    while let Some(error) = next {
        found = error.downcast_ref::<E>().or(found);
        // What an I/O error wraps is not among its causes.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = wrapped.map(|wrapped| wrapped as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    found
}

/// The innermost cause, in its own words.
pub(super) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
