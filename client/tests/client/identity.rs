//! Keys, certificates and join tokens, as values and on disk.

use std::os::unix::fs::PermissionsExt;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::identity::{Bundle, ClientIdentity, ISSUER_LIFE, Issuer, JoinToken, LEAF_LIFE, NewKey, PeerIdentity, Root, root_sha256};
use mainstay_core::time::WallTime;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::stand::{Authority, identity};

const NODE: &str = "cluster/prod/node/n1";
const DAY: i64 = 86_400_000;

fn leaf(chain_pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(chain_pem.as_bytes()).unwrap()
}

/// All alternative names and the subject of a leaf.
fn names(chain_pem: &str) -> (Vec<String>, String) {
    let der = leaf(chain_pem);
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => (*uri).to_owned(),
        other => format!("{other:?}"),
    };
    (names.value.general_names.iter().map(text).collect(), certificate.subject().to_string())
}

#[test]
fn a_bundle_survives_its_file_which_only_its_owner_reads() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = Authority::new("local").bundle(NODE);
    bundle.store(dir.path()).unwrap();
    assert_eq!(std::fs::metadata(dir.path().join("identity.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    let loaded = Bundle::load(dir.path()).unwrap();
    assert_eq!(loaded.identity().unwrap(), ("local".parse().unwrap(), identity(NODE)));
    ClientIdentity::new(loaded.clone()).unwrap();
    // Storing what was loaded changes nothing any more.
    loaded.store(dir.path()).unwrap();
    assert!(Bundle::load(dir.path()).unwrap() == loaded);
    assert_eq!(loaded.roots_pem.trim(), bundle.roots_pem.trim());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_torn_or_foreign_file_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let absent = Bundle::load(dir.path()).unwrap_err().to_string();
    assert!(absent.contains("identity.pem") && absent.contains("No such file"), "{absent}");

    let file = dir.path().join("identity.pem");
    Authority::new("local").bundle(NODE).store(dir.path()).unwrap();
    let whole = std::fs::read_to_string(&file).unwrap();
    for (what, text) in [
        ("empty", String::new()),
        ("half", whole[..whole.len() / 2].to_owned()),
        ("without its certificates", whole.split_inclusive("-----END PRIVATE KEY-----").next().unwrap().to_owned()),
        ("with a damaged key", whole.replacen("MI", "AA", 1)),
        ("something else", "[settings]\nname = 1\n".to_owned()),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = Bundle::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()) && error.contains("enrol again with a join token"), "{what}: {error}");
    }
    std::fs::write(&file, vec![b'x'; 300 << 10]).unwrap();
    assert!(Bundle::load(dir.path()).is_err());
}

#[test]
fn a_key_of_somebody_else_is_refused() {
    let authority = Authority::new("local");
    let mixed = Bundle { key_pem: authority.bundle(NODE).key_pem, ..authority.bundle("operator/ana") };
    assert!(ClientIdentity::new(mixed).is_err());
}

#[test]
fn a_request_that_asks_for_other_names_gets_only_the_authoritys() {
    let authority = Authority::new("local");
    let key = KeyPair::generate().unwrap();
    let mut asked = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    asked.subject_alt_names.push(SanType::URI("spiffe://local/operator/root".try_into().unwrap()));
    asked.distinguished_name.push(DnType::CommonName, "root");
    let csr = asked.serialize_request(&key).unwrap().pem().unwrap();
    let chain = authority.issuer.issue(&csr, &authority.mesh, &identity(NODE), SystemClock.wall(), LEAF_LIFE).unwrap();
    assert_eq!(names(&chain), (vec!["spiffe://local/cluster/prod/node/n1".to_owned()], "CN=cluster/prod/node/n1".to_owned()));
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let authority = Authority::new("local");
    let (mine, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let csr = |key: &KeyPair| CertificateParams::default().serialize_request(key).unwrap().der().to_vec();
    // The public keys have one length, so that the request still parses with the other one in it.
    let (mut der, raw) = (csr(&mine), mine.public_key_raw().to_vec());
    let at = der.windows(raw.len()).position(|window| window == raw).unwrap();
    der[at..at + raw.len()].copy_from_slice(other.public_key_raw());
    let forged = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der));
    let refused = authority.issuer.issue(&forged, &authority.mesh, &identity(NODE), SystemClock.wall(), LEAF_LIFE).unwrap_err();
    assert!(refused.to_string().contains("certificate request"), "{refused}");
}

#[test]
fn a_leaf_lasts_a_day_and_never_longer_than_its_issuer() {
    let authority = Authority::new("local");
    let now = WallTime(SystemClock.wall().0 / 1_000 * 1_000);
    let (from, to) = authority.bundle_at(NODE, now).validity().unwrap();
    // It counts from five minutes earlier, for clocks that are behind.
    assert_eq!((from.0 - now.0, to.0 - now.0), (-300_000, DAY));

    let issuer = authority.root.issuer("late", WallTime(now.0 - ISSUER_LIFE.0 as i64 + DAY / 4)).unwrap();
    let issuer = Issuer::from_pem(issuer.cert_pem(), &issuer.key_pem()).unwrap();
    let csr = NewKey::generate().unwrap().csr_pem().unwrap();
    let issue = |now| issuer.issue(&csr, &authority.mesh, &identity(NODE), now, LEAF_LIFE);
    let der = leaf(&issue(now).unwrap());
    let leaf_end = PeerIdentity::of(&der, now).unwrap().not_after;
    assert_eq!(leaf_end.0, now.0 + DAY / 4);
    let ended = issue(WallTime(now.0 + DAY / 4)).unwrap_err().to_string();
    assert!(ended.contains("issuer") && ended.contains("expired") && ended.contains("root key"), "{ended}");
}

#[test]
fn an_authority_with_the_key_of_another_is_refused() {
    let (one, other) = (Authority::new("local"), Authority::new("local"));
    assert!(Issuer::from_pem(one.issuer.cert_pem(), &one.issuer.key_pem()).is_ok());
    assert!(Root::from_pem(one.root.cert_pem(), &one.root.key_pem()).is_ok());
    assert!(Issuer::from_pem(one.issuer.cert_pem(), "no key").is_err());
    for error in
        [Issuer::from_pem(one.issuer.cert_pem(), &other.issuer.key_pem()).err(), Root::from_pem(one.root.cert_pem(), &other.root.key_pem()).err()]
    {
        let error = error.expect("a mixed pair is refused").to_string();
        assert!(error.contains("do not belong together"), "{error}");
    }
}

#[test]
fn an_issuer_ends_with_its_root_at_the_latest() {
    let now = WallTime(SystemClock.wall().0 / 1_000 * 1_000);
    let mesh = "local".parse().unwrap();
    // Ten years ago less a day: one day of the root is left.
    let root = Root::create(&mesh, WallTime(now.0 - 10 * 365 * DAY + DAY)).unwrap();
    let root = Root::from_pem(root.cert_pem(), &root.key_pem()).unwrap();
    let issuer = root.issuer("a", now).unwrap();
    let end = X509Certificate::from_der(&leaf(issuer.cert_pem())).unwrap().1.validity().not_after.timestamp();
    assert_eq!(end * 1_000, now.0 + DAY);
    let error = root.issuer("a", WallTime(now.0 + DAY)).err().expect("an expired root signs nothing").to_string();
    assert!(error.contains("root") && error.contains("expired"), "{error}");
}

#[test]
fn a_bundle_is_renewed_after_a_third_of_its_life_and_a_fleet_not_at_once() {
    let now = WallTime(SystemClock.wall().0 / 1_000 * 1_000);
    let bundle = Authority::new("local").bundle_at(NODE, now);
    let (from, to) = bundle.validity().unwrap();
    let life = to.0 - from.0;
    assert_eq!(bundle.renew_at(0.0).unwrap().0, from.0 + life / 3);
    let latest = bundle.renew_at(1.0).unwrap().0 - from.0;
    assert!((latest - (life / 3 + life / 10)).abs() <= 1, "{latest} of {life}");
    assert_eq!(bundle.renew_at(7.0).unwrap(), bundle.renew_at(1.0).unwrap());
}

#[test]
fn serial_numbers_and_authority_names_differ() {
    let authority = Authority::new("local");
    let serial = |chain: &str| X509Certificate::from_der(&leaf(chain)).unwrap().1.tbs_certificate.raw_serial_as_string();
    let subject = |pem: &str| X509Certificate::from_der(&leaf(pem)).unwrap().1.subject().to_string();
    let serials: std::collections::BTreeSet<String> = (0..32).map(|_| serial(&authority.bundle(NODE).chain_pem)).collect();
    assert_eq!(serials.len(), 32);
    let (one, two) = (authority.root.issuer("a", SystemClock.wall()).unwrap(), authority.root.issuer("a", SystemClock.wall()).unwrap());
    assert_ne!(subject(one.cert_pem()), subject(two.cert_pem()));
    assert_ne!(subject(authority.root.cert_pem()), subject(Authority::new("local").root.cert_pem()));
}

#[test]
fn a_certificate_names_exactly_one_identity() {
    let now = SystemClock.wall();
    let with = |uris: &[&str]| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    };
    let peer = PeerIdentity::of(&with(&["spiffe://local/operator/ana"]), now).unwrap();
    assert_eq!((peer.mesh.as_str(), peer.identity, peer.expired), ("local", identity("operator/ana"), false));
    let two = PeerIdentity::of(&with(&["spiffe://local/operator/ana", "spiffe://local/operator/bo"]), now).unwrap_err();
    assert!(two.to_string().contains("2 URIs"), "{two}");
    assert!(PeerIdentity::of(&with(&["spiffe://local/operator/ana", "https://local/"]), now).is_err());
    assert!(PeerIdentity::of(&with(&[]), now).is_err());
    assert!(PeerIdentity::of(&with(&["https://local/operator/ana"]), now).is_err());
    assert!(PeerIdentity::of(&CertificateDer::from(vec![0x30, 3, 1, 2, 3]), now).is_err());
}

#[test]
fn a_join_token_survives_its_text_and_hides_its_secret() {
    let root = root_sha256(Authority::new("local").root.cert_pem()).unwrap();
    let token = JoinToken::create(&root);
    assert_eq!((root.len(), token.secret().len()), (64, 64));
    assert_eq!(token.to_string(), format!("mst1.{root}.{}", token.secret()));
    assert!(format!(" {token}\n").parse::<JoinToken>().unwrap() == token);
    assert_eq!(token.id(), JoinToken::id_of(token.secret()));
    assert!(!format!("{token:?}").contains(token.secret()));
    assert!(JoinToken::create(&root) != token);
    let secret = token.secret();
    for wrong in [
        String::new(),
        "mst1".to_owned(),
        format!("mst2.{root}.{secret}"),
        format!("mst1.{root}.{secret}.x"),
        format!("mst1.{}.{secret}", &root[1..]),
        format!("mst1.{}.{secret}", root.to_uppercase()),
        format!("mst1.{root}.{}zz", &secret[2..]),
    ] {
        let error = wrong.parse::<JoinToken>().unwrap_err().to_string();
        assert!(error.contains("mainstay token create") && !error.contains(secret), "{wrong}: {error}");
    }
}

#[test]
fn what_is_printed_for_a_bundle_holds_no_key() {
    let bundle = Authority::new("local").bundle(NODE);
    let printed = format!("{bundle:?} {:?}", ClientIdentity::new(bundle.clone()).unwrap());
    assert!(printed.contains("cluster/prod/node/n1") && !printed.contains("PRIVATE") && !printed.contains("BEGIN"), "{printed}");
}
