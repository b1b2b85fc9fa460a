//! What is wrong with a chain as a server shows it: the links that are missing or out of place, in words.
//!
//! Whether a chain can be trusted is decided by the library that verifies it; this says why not. A client that
//! is less patient than that library also wants the chain in order, so that is looked at for a trusted one.

use mainstay_core::WallTime;
use rustls::CertificateError;

use super::Certificate;
use crate::execute::trust;

pub(super) const SHOW_IN_ORDER: &str = "serve the leaf first, then each one's issuer, and nothing else: some clients refuse it otherwise";
const STRONGER: &str = "have it issued again with a key of at least 2048 bits (or an elliptic curve) and a SHA-256 signature";
const SHOW_ALL: &str = "serve the certificate with its intermediates (often called fullchain.pem); where that authority is your own, name its file: `ca`, or `trust` in the agent's settings";
const TRUST_OWN: &str = "where that authority is your own, name its file: `ca` of the step or connection, or `trust` in the agent's settings";
const ISSUE: &str = "have one issued by an authority; or trust this one alone: `ca` with its file";
const ADD_NAMES: &str = "have it issued again with its hosts as subject alternative names";

/// What is out of place in a chain that is trusted all the same.
pub(super) fn disorder(chain: &[Certificate]) -> Option<String> {
    for (i, pair) in chain.windows(2).enumerate() {
        if pair[0].self_signed {
            return Some(format!("{} more certificates follow its root {}", chain.len() - i - 1, pair[0].name));
        }
        if pair[0].issuer != pair[1].subject {
            let later = chain.iter().skip(i + 2).any(|one| one.subject == pair[0].issuer);
            let what = if later { "is out of order" } else { "has one that does not belong to it" };
            return Some(format!("its chain {what}: #{} {} did not issue #{} {}", i + 2, pair[1].name, i + 1, pair[0].name));
        }
    }
    None
}

/// Why a chain is not trusted, and what to do.
pub(super) fn explain(error: &rustls::Error, chain: &[Certificate], now: WallTime) -> (String, &'static str) {
    if let Some((one, weakness)) = chain.iter().find_map(|one| Some((one, one.weakness.as_ref()?))) {
        return (format!("{} has {weakness}", one.name), STRONGER);
    }
    let plain = || (trust::explain(error, now), trust::advice(error).unwrap_or(""));
    let (Some(leaf), rustls::Error::InvalidCertificate(why)) = (chain.first(), error) else { return plain() };
    match why {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } if !leaf.has_alternative_names => {
            (format!("its certificate has {} as its common name only, where clients no longer look", leaf.name), ADD_NAMES)
        }
        _ if leaf.self_signed => ("self-signed: nobody but itself vouches for it".to_owned(), ISSUE),
        CertificateError::UnknownIssuer => {
            let last = last_link(leaf, chain);
            if last.self_signed {
                (format!("its chain ends in {}, which is no authority that this agent trusts", last.name), TRUST_OWN)
            } else {
                (
                    format!("its chain ends too early: {}, which issued {}, is neither shown nor a trusted authority", last.issued_by, last.name),
                    SHOW_ALL,
                )
            }
        }
        _ => plain(),
    }
}

/// How far one gets from the leaf by what the server shows.
fn last_link<'a>(leaf: &'a Certificate, chain: &'a [Certificate]) -> &'a Certificate {
    let mut last = leaf;
    for _ in chain {
        match chain.iter().find(|one| one.subject == last.issuer) {
            Some(next) if !last.self_signed => last = next,
            _ => break,
        }
    }
    last
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn weak_certificates_are_named_before_anything_else() {
        let pem = include_str!("weak.pem");
        let chain: Vec<Certificate> = CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| Certificate::parse(&der.unwrap()).unwrap()).collect();
        let said = |chain: &[Certificate]| explain(&rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer), chain, WallTime(0));
        let short = "short.example has an RSA key of 1024 bits, and 2048 are the least that is accepted";
        assert_eq!(said(&chain[..1]), (short.to_owned(), STRONGER));
        assert_eq!(said(&chain[1..]), ("forged.example has a signature with SHA-1, which can be forged".to_owned(), STRONGER));
    }
}
