//! `kube.certificates`: the certificates in a cluster's TLS Secrets.
//!
//! In: Secrets of type kubernetes.io/tls, read as the runner of their namespace, in those namespaces whose runner may;
//! the Ingresses that show them. Out: the days left of each certificate, whether the key is the certificate's, and
//! whether the certificate is for the hosts that it is shown for. No key leaves this file.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use k8s_openapi::ByteString;
use mainstay_core::WallTime;
use mainstay_core::catalogue::fits;
use mainstay_core::report::{Check, Report, Thresholds, Verdict};
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::Zeroize;

use super::super::params::{self, Limits};
use super::super::tls::{Certificate, days_left};
use super::super::{Context, StepError, trust, wording};
use super::acting;
use crate::kube::account::RUNNER;
use crate::kube::objects::Meta;
use crate::kube::{Cluster, ClusterError, Selected};

const KIND: &str = "kube.certificates";
const DAYS: &str = "tls.daysLeft";
/// Namespaces read at once.
const AT_ONCE: usize = 4;
/// Certificates of one Secret that are told.
const CHAIN_MAX: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    namespaces: Vec<String>,
    exclude_namespaces: Vec<String>,
    names: Vec<String>,
    days_left: Limits<f64>,
    service_account: Option<String>,
}

impl Default for Params {
    fn default() -> Params {
        let (namespaces, names) = (super::everywhere(), super::everywhere());
        Params { namespaces, exclude_namespaces: Vec::new(), names, days_left: Limits::default(), service_account: None }
    }
}

#[derive(Deserialize)]
struct Named {
    metadata: Meta,
}

#[derive(Deserialize)]
struct Secret {
    metadata: Meta,
    #[serde(default)]
    data: BTreeMap<String, ByteString>,
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.data.values_mut().for_each(|value| value.0.zeroize());
    }
}

#[derive(Deserialize)]
struct Ingress {
    #[serde(default)]
    spec: IngressSpec,
}

#[derive(Default, Deserialize)]
struct IngressSpec {
    #[serde(default)]
    tls: Vec<IngressTls>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IngressTls {
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    secret_name: String,
}

/// Looks at all TLS Secrets that it may.
///
/// # Errors
/// Refused parameters; a cluster that cannot be seen.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let cluster = super::cluster(KIND, context)?;
    let thresholds = params.days_left.below(30.0, 7.0);
    let runner = params.service_account.as_deref().unwrap_or(RUNNER);
    let field = format!("metadata.name={runner}");
    let selected = Selected { fields: Some(&field), ..Selected::default() };
    let accounts: Vec<Named> = cluster.list("/api/v1/serviceaccounts", selected).await.map_err(|error| super::failed(KIND, &error))?;
    let namespaces = accounts.into_iter().map(|account| account.metadata.namespace);
    let namespaces: BTreeSet<String> = namespaces.filter(|name| super::wants(&params.namespaces, &params.exclude_namespaces, name)).collect();
    // Who is named is expected to be there.
    let named = params.namespaces.iter().filter(|name| !name.contains('*') && !namespaces.contains(*name));
    let mut checks: Vec<Check> = named
        .map(|name| Check::stated(DAYS, name, Verdict::Skipped, format!("not read: the namespace has no ServiceAccount {runner}")).with_hint(HINT))
        .collect();
    let asked = namespaces.iter().cloned().map(|namespace| of_namespace(cluster, namespace, runner, &params, thresholds, context.host.wall()));
    let seen: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let (mut read, mut count) = (0_u64, 0_u64);
    for (namespace, seen) in namespaces.iter().zip(seen) {
        match seen {
            Ok((secrets, found)) => {
                (read, count) = (read + 1, count + secrets);
                checks.extend(found);
            }
            Err(ClusterError::ForbiddenTo { .. }) => {
                let message = format!("not read: its ServiceAccount {runner} may not list Secrets");
                checks.push(Check::stated(DAYS, namespace, Verdict::Skipped, message).with_hint(HINT));
            }
            Err(error) => checks.push(Check::stated(DAYS, namespace, Verdict::Unknown, format!("not read: {error}"))),
        }
    }
    checks.sort_by_key(|check| std::cmp::Reverse(check.verdict));
    let (secrets, of) = (wording::count(count, "TLS Secret", "TLS Secrets"), wording::count(read, "namespace", "namespaces"));
    let verdict = if read == 0 { Verdict::Skipped } else { Verdict::Ok };
    let message =
        if read == 0 { format!("no namespace has a ServiceAccount {runner} that may list Secrets") } else { format!("{secrets} in {of} were read") };
    checks.push(Check::stated(KIND, "", verdict, message).with_hint(if read == 0 { HINT } else { "" }));
    let least = checks.iter().filter(|check| check.id == DAYS).filter_map(|check| check.value).reduce(f64::min);
    let mut outputs: BTreeMap<String, Value> = least.map(|days| ("minDaysLeft".to_owned(), Value::from(days))).into_iter().collect();
    outputs.insert("secrets".to_owned(), Value::from(count));
    Ok(Report { checks, outputs, ..Report::default() })
}

const HINT: &str = "bind a Role that lists secrets, and ingresses of networking.k8s.io, to it";

async fn of_namespace(
    cluster: &Cluster,
    namespace: String,
    runner: &str,
    params: &Params,
    thresholds: Thresholds,
    now: WallTime,
) -> Result<(u64, Vec<Check>), ClusterError> {
    let cluster = acting::runner(cluster, &namespace, Some(runner));
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let add = |ingress: Ingress| ingress.spec.tls.into_iter().for_each(|tls| shown.entry(tls.secret_name).or_default().extend(tls.hosts));
    match cluster.each(&format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses"), Selected::default(), add).await {
        // Where nobody may see for which hosts it is shown, all else can be said.
        Ok(()) | Err(ClusterError::ForbiddenTo { .. }) => {}
        Err(error) => return Err(error),
    }
    let (mut count, mut checks) = (0, Vec::new());
    let judged = |secret: Secret| {
        if params.names.iter().any(|pattern| fits(pattern, &secret.metadata.name)) {
            count += 1;
            let hosts = shown.get(&secret.metadata.name);
            let part = |name: &str| secret.data.get(name).map_or(&[][..], |value| &value.0);
            let subject = format!("{namespace}/Secret/{}", secret.metadata.name);
            checks.extend(judge(&subject, part("tls.crt"), part("tls.key"), hosts.into_iter().flatten(), thresholds, now));
        }
    };
    let selected = Selected { fields: Some("type=kubernetes.io/tls"), ..Selected::default() };
    cluster.each(&format!("/api/v1/namespaces/{namespace}/secrets"), selected, judged).await?;
    Ok((count, checks))
}

/// Every check of one Secret.
fn judge<'h>(subject: &str, chain: &[u8], key: &[u8], hosts: impl Iterator<Item = &'h String>, thresholds: Thresholds, now: WallTime) -> Vec<Check> {
    let ders: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(chain).take(CHAIN_MAX).collect();
    let ders = match ders {
        Ok(ders) if !ders.is_empty() => ders,
        _ => return vec![Check::stated(DAYS, subject, Verdict::Critical, "tls.crt holds no certificate that can be read")],
    };
    let mut checks = Vec::new();
    for (i, der) in ders.iter().enumerate() {
        match Certificate::parse(der) {
            Ok(certificate) => {
                let subject = if i == 0 { subject.to_owned() } else { format!("{subject} #{} {}", i + 1, certificate.name()) };
                checks.push(days_left(DAYS, &subject, &certificate, thresholds, now));
            }
            Err(cause) => checks.push(Check::stated(DAYS, subject, Verdict::Critical, format!("a certificate in tls.crt cannot be read: {cause}"))),
        }
    }
    if let Some(problem) = key_problem(&ders, key) {
        checks
            .push(Check::stated("tls.key", subject, Verdict::Critical, problem).with_hint("a server cannot use it: write both parts anew, together"));
    }
    let leaf = ParsedCertificate::try_from(&ders[0]);
    let wrong: Vec<&str> = hosts.filter(|host| leaf.as_ref().is_ok_and(|leaf| !is_for(leaf, host))).map(String::as_str).collect();
    if !wrong.is_empty() {
        let message = format!("the certificate is not for {}, and an Ingress shows it there", wrong.join(", "));
        checks.push(Check::stated("tls.hosts", subject, Verdict::Critical, message).with_hint("clients refuse it: issue it for these names too"));
    }
    checks
}

fn key_problem(ders: &[CertificateDer<'static>], key: &[u8]) -> Option<String> {
    let Ok(key) = PrivateKeyDer::from_pem_slice(key) else { return Some("tls.key holds no key that can be read".to_owned()) };
    // Of a kind that this program cannot use, nothing can be said.
    let key = trust::provider().key_provider.load_private_key(key).ok()?;
    match CertifiedKey::new(ders.to_vec(), key).keys_match() {
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Some("tls.key is not the key of the certificate in tls.crt".to_owned()),
        _ => None,
    }
}

fn is_for(leaf: &ParsedCertificate<'_>, host: &str) -> bool {
    // What is shown for all names of a domain has to be for any of them.
    let name = host.strip_prefix("*.").map_or_else(|| host.to_owned(), |domain| format!("any.{domain}"));
    ServerName::try_from(name).is_ok_and(|name| verify_server_name(leaf, &name).is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// 2026-11-23T12:00:00Z
    const NOW: WallTime = WallTime(1_795_435_200_000);

    fn pair(names: &[&str], to: (i32, u8, u8)) -> (String, String) {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn told(chain: &str, key: &str, hosts: &[&str]) -> Vec<(String, Verdict)> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let checks = judge("shop/Secret/web", chain.as_bytes(), key.as_bytes(), hosts.iter(), Thresholds::below(30.0, 7.0), NOW);
        checks.into_iter().map(|check| (check.id, check.verdict)).collect()
    }

    #[test]
    fn days_key_and_hosts_are_judged() {
        let (well, key) = pair(&["shop.example", "*.shop.example"], (2027, 11, 1));
        let (ended, its_key) = pair(&["shop.example"], (2026, 11, 20));
        let told_of = |ids: &[(&str, Verdict)]| ids.iter().map(|(id, verdict)| ((*id).to_owned(), *verdict)).collect::<Vec<_>>();
        assert_eq!(told(&well, &key, &["shop.example", "*.shop.example", "www.shop.example"]), told_of(&[(DAYS, Verdict::Ok)]));
        assert_eq!(told(&ended, &its_key, &[]), told_of(&[(DAYS, Verdict::Critical)]));
        assert_eq!(told(&well, &its_key, &[]), told_of(&[(DAYS, Verdict::Ok), ("tls.key", Verdict::Critical)]));
        assert_eq!(told(&well, &key, &["bank.example"]), told_of(&[(DAYS, Verdict::Ok), ("tls.hosts", Verdict::Critical)]));
        assert_eq!(told(&well, "nothing", &[]), told_of(&[(DAYS, Verdict::Ok), ("tls.key", Verdict::Critical)]));
        assert_eq!(told("nothing", &key, &[]), told_of(&[(DAYS, Verdict::Critical)]));
    }
}
