//! An authority of the suite's own: a root, an intermediate, and leaves that are well or not.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

/// First and last day of a certificate, as year, month, day.
pub type Days = [(i32, u8, u8); 2];

/// Holds for as long as these tests will be run.
pub const LONG: Days = [(2020, 1, 1), (2120, 1, 1)];
/// Has ended.
pub const ENDED: Days = [(2020, 1, 1), (2021, 1, 1)];

/// What a server is given to show.
#[derive(Clone)]
pub struct Leaf {
    pub certificate: String,
    pub key: String,
    intermediate: String,
}

impl Leaf {
    /// Leaf and intermediate, as it should be.
    #[must_use]
    pub fn chain(&self) -> String {
        format!("{}{}", self.certificate, self.intermediate)
    }
}

pub struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}

impl Authority {
    #[must_use]
    pub fn new() -> Authority {
        let root = CertifiedIssuer::self_signed(issuer("Suite Root"), key()).expect("a root");
        let intermediate = CertifiedIssuer::signed_by(issuer("Suite Intermediate"), key(), &root).expect("an intermediate");
        Authority { root, intermediate }
    }

    /// The root's certificate, for those who are to trust it.
    #[must_use]
    pub fn root(&self) -> String {
        self.root.pem()
    }

    /// A server's certificate for these names and addresses.
    #[must_use]
    pub fn leaf(&self, names: &[&str], days: Days) -> Leaf {
        self.signed(&server(names, days))
    }

    /// The certificate of a server that is a client, too.
    #[must_use]
    pub fn both_ways(&self, names: &[&str], days: Days) -> Leaf {
        let mut params = server(names, days);
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        self.signed(&params)
    }

    fn signed(&self, params: &CertificateParams) -> Leaf {
        let key = key();
        let leaf = params.signed_by(&key, &self.intermediate).expect("a leaf");
        Leaf { certificate: leaf.pem(), key: key.serialize_pem(), intermediate: self.intermediate.pem() }
    }
}

/// One that nobody but itself has signed.
#[must_use]
pub fn self_signed(names: &[&str]) -> Leaf {
    let key = key();
    let leaf = server(names, LONG).self_signed(&key).expect("a certificate");
    Leaf { certificate: leaf.pem(), key: key.serialize_pem(), intermediate: String::new() }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn issuer(name: &str) -> CertificateParams {
    let mut params = dated(CertificateParams::default(), LONG);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server(names: &[&str], days: Days) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = dated(CertificateParams::new(names.clone()).expect("names"), days);
    params.distinguished_name.push(DnType::CommonName, names.first().cloned().unwrap_or_default());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn dated(mut params: CertificateParams, [from, to]: Days) -> CertificateParams {
    params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
    params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
    params
}
