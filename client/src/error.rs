//! Errors of connections and calls, in words that say what to do next.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};
use tonic::{Code, Status};

/// Why there is no connection to an address.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{address}: {reason}")]
pub struct ConnectError {
    /// `host:port`, as it was given.
    pub address: String,
    /// What is there instead of a connection.
    pub reason: Reason,
}

/// Why a connection was not made or did not last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Nothing answers there, now.
    Unreachable(String),
    /// The machine answers, and says that nothing listens there.
    Refused(String),
    /// The other end does not take this certificate, or this end not its.
    Certificate(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Unreachable(text) | Reason::Refused(text) | Reason::Certificate(text) => f.write_str(text),
        }
    }
}

impl ConnectError {
    pub(crate) fn new(address: &str, error: &(dyn Error + 'static)) -> ConnectError {
        ConnectError { address: address.to_owned(), reason: Reason::of(error) }
    }

    /// Trying again later does not help: a certificate has to be renewed or another mesh addressed.
    #[must_use]
    pub fn is_about_certificates(&self) -> bool {
        matches!(self.reason, Reason::Certificate(_))
    }

    /// Whether an error of a call, or of making a connection, is the machine's word that nothing listens there.
    #[must_use]
    pub fn is_refusal(error: &(dyn Error + 'static)) -> bool {
        matches!(Reason::of(error), Reason::Refused(_))
    }
}

impl Reason {
    /// Finds the TLS error, if it is one, in a chain of sources. With TLS 1.3 the other end's refusal comes as
    /// an alert at the first read, and HTTP/2 passes on no more of it than its text.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Reason {
        let mut words = error.to_string();
        let mut next = Some(error);
        let (mut spoke, mut refused) = (false, false);
        while let Some(error) = next {
            words = error.to_string();
            let io = error.downcast_ref::<std::io::Error>();
            refused |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused);
            let io_inner = io.and_then(std::io::Error::get_ref);
            let tls = error.downcast_ref::<rustls::Error>().or_else(|| io_inner.and_then(|inner| inner.downcast_ref()));
            if let Some(reason) = tls.cloned().or_else(|| alert_in(&words)).as_ref().and_then(Reason::of_tls) {
                return reason;
            }
            spoke |= error.is::<hyper::Error>();
            next = error.source();
        }
        if refused {
            return Reason::Refused(words);
        }
        // Errors of dialling do not come from hyper: this is of a connection that had been made.
        if spoke {
            return Reason::Unreachable(format!("the other end closed the connection ({words}); if it does so each time, its log says why"));
        }
        Reason::Unreachable(words)
    }

    fn of_tls(error: &rustls::Error) -> Option<Reason> {
        certificate_words(error).map(Reason::Certificate).or_else(|| other_end_words(error).map(|words| Reason::Unreachable(words.into())))
    }
}

/// Alerts that speak of a certificate or of the protocol's version.
const ALERTS: [AlertDescription; 11] = [
    AlertDescription::CertificateExpired,
    AlertDescription::UnknownCA,
    AlertDescription::CertificateRequired,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateUnknown,
    AlertDescription::CertificateRevoked,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::AccessDenied,
    AlertDescription::DecryptError,
    AlertDescription::ProtocolVersion,
    AlertDescription::NoApplicationProtocol,
];

/// The alert whose text, as rustls writes it, this is.
fn alert_in(words: &str) -> Option<rustls::Error> {
    ALERTS.into_iter().map(rustls::Error::AlertReceived).find(|alert| words.ends_with(&alert.to_string()))
}

/// For an address at which something else listens than was expected.
fn other_end_words(error: &rustls::Error) -> Option<&'static str> {
    match error {
        rustls::Error::InvalidMessage(_) => Some("what answers there does not speak TLS: is it a coordinator's gRPC address?"),
        rustls::Error::PeerIncompatible(_) | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            Some("what answers there does not speak TLS 1.3: is it a coordinator's gRPC address?")
        }
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) | rustls::Error::NoApplicationProtocol => {
            Some("what answers there does not speak HTTP/2: is it a coordinator's gRPC address?")
        }
        _ => None,
    }
}

fn certificate_words(error: &rustls::Error) -> Option<String> {
    Some(match error {
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the coordinator's certificate has expired: look at its log, and at the clocks of both machines".into()
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "the coordinator's certificate is not valid yet: compare the clocks of both machines".into()
        }
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the coordinator's certificate is of another mesh: its root is not one that this identity trusts".into()
        }
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => other.to_string(),
        rustls::Error::InvalidCertificate(CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. }) => {
            "the other end is not a coordinator: its certificate is not one for a server of the mesh; check the address".into()
        }
        rustls::Error::InvalidCertificate(other) => format!("the coordinator's certificate is not good: {other}"),
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "the coordinator refuses this certificate: either it expired more than 30 days ago, then enrol again with a join token, or it is not \
             valid yet, then compare the clocks of both machines"
                .into()
        }
        rustls::Error::AlertReceived(AlertDescription::UnknownCA) => {
            "the coordinator refuses this certificate: it is of another mesh; use this mesh's identity, or enrol with its join token".into()
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the coordinator wants a certificate, and none was shown: without one there is only enrolment, at its enrolment address".into()
        }
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::UnsupportedCertificate),
        ) => format!("the coordinator refuses this certificate ({alert:?}): its log says why"),
        _ => return None,
    })
}

/// Why a call came to nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// No member answered. What to look at is in the reasons.
    #[error("no coordinator could be reached: {}", listed(tried))]
    Unreachable { tried: Vec<ConnectError> },
    /// The mesh answered, and there was no leader until the deadline.
    #[error("the mesh has no leader: {message}; `mainstay member list` shows which members answer")]
    NoLeader { message: String },
    /// The answer is no.
    #[error("{message}")]
    Refused { code: Code, message: String },
    /// No answer in time. A change may still take effect; repeating it with the same key is harmless.
    #[error("no answer within {0:?}; a change that was asked for may still take effect")]
    DeadlineExceeded(Duration),
}

pub(crate) fn listed(tried: &[ConnectError]) -> String {
    if tried.is_empty() {
        return "no address is known; name their gRPC addresses, host:port".to_owned();
    }
    tried.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl CallError {
    /// Whether the same call may succeed later without anybody doing anything about it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            CallError::Unreachable { tried } => !tried.iter().any(ConnectError::is_about_certificates),
            CallError::NoLeader { .. } | CallError::DeadlineExceeded(_) => true,
            CallError::Refused { code, .. } => matches!(code, Code::Unavailable | Code::ResourceExhausted | Code::Aborted),
        }
    }

    /// The mesh's own code, where it answered.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            CallError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// Whether a status is this end's own word for a connection that broke, not an answer.
pub(crate) fn is_broken_connection(status: &Status) -> bool {
    status.source().is_some() && matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)
}
