//! A private key that was just made, and the request for a certificate of it.

use std::fmt;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::PrivateKeyDer;

use super::bundle::{Bundle, BundleError};

/// An ECDSA P-256 key for which a certificate is still to be had. The key stays with whoever made it: only the request
/// travels. It comes from the crypto provider's own generator.
pub struct NewKey(KeyPair);

impl NewKey {
    /// Makes a key.
    pub fn generate() -> Result<Self, rcgen::Error> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(NewKey)
    }

    /// The request for a certificate: PKCS #10 in PEM. It names nobody, since an issuer does not read names from it;
    /// what it proves is that the sender has the key.
    pub fn csr(&self) -> Result<String, rcgen::Error> {
        let mut asked = CertificateParams::default();
        asked.distinguished_name = rcgen::DistinguishedName::new();
        asked.serialize_request(&self.0)?.pem()
    }

    /// Key and certificate together: `chain_pem` is the leaf and its issuers, `roots_pem` what to trust.
    pub fn into_bundle(self, chain_pem: &str, roots_pem: &str) -> Result<Bundle, BundleError> {
        Bundle::from_parts(chain_pem.as_bytes(), PrivateKeyDer::from(self.0), roots_pem.as_bytes())
    }

    pub(super) fn into_pair(self) -> KeyPair {
        self.0
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewKey(…)")
    }
}
