//! Who is at the other end of a connection.

use mainstay_core::Identity;
use mainstay_core::id::MeshName;
use mainstay_core::time::WallTime;
use rustls_pki_types::CertificateDer;

use super::certificate::{Certificate, CertificateError};

/// Who a verified leaf certificate speaks for; read once per connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    pub identity: Identity,
    pub mesh: MeshName,
    /// Last moment of the certificate's validity.
    pub not_after: WallTime,
    /// Serial number of the certificate, hexadecimal.
    pub serial: String,
    /// Whether the certificate had ended when the connection was made. Such a peer may renew it, and nothing else. For a
    /// connection that lives on, ask [`PeerIdentity::is_expired`].
    pub expired: bool,
}

impl PeerIdentity {
    /// Reads the identity in a leaf. Whether the leaf can be believed is the verifier's to say, not this function's.
    ///
    /// # Errors
    /// When it does not name exactly one URI, or one that is not an identity.
    pub fn from_certificate(leaf: &CertificateDer<'_>, now: WallTime) -> Result<Self, CertificateError> {
        let certificate = Certificate::read(leaf)?;
        let (mesh, identity) = Identity::from_uri(certificate.uri()?)?;
        Ok(PeerIdentity { identity, mesh, expired: certificate.not_after < now, not_after: certificate.not_after, serial: certificate.serial })
    }

    /// Whether the certificate has ended by now.
    #[must_use]
    pub fn is_expired(&self, now: WallTime) -> bool {
        self.expired || self.not_after < now
    }
}
