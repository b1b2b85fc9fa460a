//! `tls.check`: certificates of endpoints and files.
//!
//! In: servers to ask, globs of files to read. Out: the days left of every certificate found, leaf and chain;
//! for an endpoint also whether its chain is whole, ends in a trusted authority, and is for that host.
//! A certificate that has ended, or does not hold yet, is critical whatever the thresholds are.

mod certificate;
mod chain;
mod endpoint;
#[cfg(test)]
pub(super) mod stand;

use std::collections::BTreeSet;
use std::path::Path;

use futures::{StreamExt, stream};
use mainstay_client::work;
use mainstay_core::report::{Check, Report, Thresholds, Verdict};
use mainstay_core::{Millis, WallTime};
use serde::Deserialize;
use serde_json::{Map, Value};

pub(super) use self::certificate::Certificate;
use self::endpoint::Trusted;
use super::params::{self, Limits, Span};
use super::{Context, StepError, dial, trust};
use crate::connections::{Connection, ConnectionKind, TlsMode};
use crate::host::Host;

const KIND: &str = "tls.check";
const DAYS: &str = "tls.daysLeft";
/// Endpoints asked at once.
const AT_ONCE: usize = 8;
/// Endpoints of one step.
const ENDPOINTS_MAX: usize = 100;
/// A bundle of more certificates than this is a list of authorities: those that are well are counted together.
const LISTED_MAX: usize = 8;
/// A file of certificates is not larger than this.
const FILE_BYTES: u64 = 4 << 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    endpoints: Vec<String>,
    connection: Option<String>,
    files: Vec<String>,
    server_name: Option<String>,
    ca: Option<String>,
    days_left: Limits<f64>,
    timeout: Span,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            endpoints: Vec::new(),
            connection: None,
            files: Vec::new(),
            server_name: None,
            ca: None,
            days_left: Limits::default(),
            timeout: Span(Millis::from_secs(10)),
        }
    }
}

pub(super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    if params.endpoints.len() > ENDPOINTS_MAX {
        return Err(StepError::refused(format!("{KIND} has {} endpoints, and {ENDPOINTS_MAX} is the most of one step", params.endpoints.len())));
    }
    let thresholds = params.days_left.below(30.0, 7.0);
    let connection = context.connection_if_named(KIND, &[ConnectionKind::Tls, ConnectionKind::Http], params.connection.as_deref())?;
    if let Some(connection) = connection {
        return of_connection(connection, &params, thresholds, context).await.map(report);
    }
    let mut checks = of_endpoints(&params, thresholds, context).await;

    let usual = params.files.is_empty() && params.endpoints.is_empty();
    let globs = if usual { context.settings.certificate_globs() } else { params.files.clone() };
    let (host, now) = (context.host.clone(), context.host.wall());
    let of_files = work::blocking(move || file_checks(&host, &globs, usual, thresholds, now)).await;
    checks.extend(of_files.map_err(|error| StepError::failed(format!("{KIND}: reading files ended early: {error}")))??);

    Ok(report(checks))
}

fn report(checks: Vec<Check>) -> Report {
    let least = checks.iter().filter(|check| check.id == DAYS).filter_map(|check| check.value).reduce(f64::min);
    let outputs = least.map(|days| ("minDaysLeft".to_owned(), Value::from(days))).into_iter().collect();
    Report { checks, outputs, ..Report::default() }
}

async fn of_endpoints(params: &Params, thresholds: Thresholds, context: &Context) -> Vec<Check> {
    if params.endpoints.is_empty() {
        return Vec::new();
    }
    let roots = match &params.ca {
        Some(path) => trust::roots_of_file(&context.host, path),
        None => trust::roots(context),
    };
    let trusted = Trusted::new(roots);
    let asked = params.endpoints.iter().cloned().map(|place| endpoint::of_place(place, params, trusted.clone(), thresholds, context));
    stream::iter(asked).buffered(AT_ONCE).collect::<Vec<_>>().await.into_iter().flatten().collect()
}

async fn of_connection(connection: &Connection, params: &Params, thresholds: Thresholds, context: &Context) -> Result<Vec<Check>, StepError> {
    if !params.endpoints.is_empty() || !params.files.is_empty() || params.ca.is_some() || params.server_name.is_some() {
        return Err(StepError::refused(format!("{KIND}: a connection says where and whom to trust; ask for others in a step of its own")));
    }
    let trusted = match connection.tls.mode {
        TlsMode::Off => return Ok(vec![Check::stated(endpoint::CHAIN, "", Verdict::Skipped, "its URL begins with http: there is no certificate")]),
        TlsMode::Require => Trusted::NotJudged,
        TlsMode::Verify => Trusted::new(dial::roots(connection, context)),
    };
    Ok(endpoint::of_connection(connection, params, trusted, thresholds, context).await)
}

fn file_checks(host: &Host, globs: &[String], usual: bool, thresholds: Thresholds, now: WallTime) -> Result<Vec<Check>, StepError> {
    let (mut checks, mut seen, mut unmatched) = (Vec::new(), BTreeSet::new(), Vec::new());
    for glob in globs {
        let paths = host.glob(glob).map_err(|error| StepError::refused(format!("{KIND}: `{glob}` in `files` is not a pattern: {error}")))?;
        if paths.is_empty() {
            unmatched.push(glob.as_str());
        }
        for path in paths {
            match host.file_facts(&path) {
                Ok(Some(facts)) if facts.bytes > FILE_BYTES => checks.push(not_read(&path, "too large to be a certificate")),
                Ok(Some(facts)) if seen.insert(facts.identity) => checks.extend(checks_of_file(host, &path, thresholds, now)),
                Ok(_) => {}
                Err(error) => checks.push(not_read(&path, &super::outgoing::plain_cause(&error))),
            }
        }
    }
    if usual && checks.is_empty() {
        let hint = "name them in the agent's settings: certificates = [\"/path/*.pem\"]";
        checks.push(Check::stated(DAYS, "", Verdict::Skipped, "no certificate files in the usual places").with_hint(hint));
    } else if !usual {
        checks.extend(unmatched.into_iter().map(|glob| Check::stated(DAYS, glob, Verdict::Skipped, "no file matches")));
    }
    Ok(checks)
}

fn checks_of_file(host: &Host, path: &Path, thresholds: Thresholds, now: WallTime) -> Vec<Check> {
    let subject = path.to_string_lossy();
    let certificates = match certificate::read(host, path) {
        Ok(certificates) => certificates,
        Err(cause) => return vec![not_read(path, &cause)],
    };
    if certificates.is_empty() {
        return vec![Check::stated(DAYS, &subject, Verdict::Skipped, "holds no certificate")];
    }
    let many = certificates.len() > 1;
    let all = certificates.iter().enumerate().map(|(i, certificate)| {
        let subject = if many { format!("{subject} #{} {}", i + 1, certificate.name) } else { subject.to_string() };
        days_left(DAYS, &subject, certificate, thresholds, now)
    });
    gathered(&subject, all.collect(), thresholds)
}

/// Of many certificates in one place, those that need a look, and the rest as one.
fn gathered(subject: &str, checks: Vec<Check>, thresholds: Thresholds) -> Vec<Check> {
    if checks.len() <= LISTED_MAX {
        return checks;
    }
    let (well, mut bad): (Vec<Check>, Vec<Check>) = checks.into_iter().partition(|check| check.verdict == Verdict::Ok);
    if let Some(first) = well.iter().min_by(|a, b| a.value.unwrap_or(f64::MAX).total_cmp(&b.value.unwrap_or(f64::MAX))) {
        let other = if bad.is_empty() { "" } else { "other " };
        let message = format!("{} {other}certificates, of which the first {}", well.len(), first.message);
        bad.push(Check::measured(DAYS, subject, first.value.unwrap_or_default(), "d", thresholds, message));
    }
    bad
}

fn not_read(path: &Path, cause: &str) -> Check {
    let path = path.to_string_lossy();
    Check::stated(DAYS, &path, Verdict::Unknown, format!("not read: {cause}"))
        .with_hint(format!("openssl x509 -noout -text -in {}", super::wording::quoted(&path)))
}

/// Judges the days that a certificate has left. One that does not hold now is critical.
pub(super) fn days_left(id: &str, subject: &str, certificate: &Certificate, thresholds: Thresholds, now: WallTime) -> Check {
    let days = certificate.days_left(now);
    let check = Check::measured(id, subject, (days * 10.0).floor() / 10.0, "d", thresholds, certificate.in_words(now));
    let verdict = if certificate.holds(now) { check.verdict } else { Verdict::Critical };
    let hint = if verdict == Verdict::Ok { "" } else { "renew it, and reload what serves it" };
    Check { verdict, hint: hint.to_owned(), ..check }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]
    use std::sync::Arc;

    use rcgen::{CertificateParams, KeyPair};
    use serde_json::json;

    use super::super::{ExecuteSettings, Policy, execute};
    use super::*;
    use crate::observe::readings::Readings;

    /// 2026-11-23T12:00:00Z
    const NOW: WallTime = WallTime(1_795_435_200_000);

    pub(super) fn pem(name: &str, from: (i32, u8, u8), to: (i32, u8, u8)) -> String {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    pub(super) fn context(root: &Path) -> Context {
        let host = Arc::new(Host::below(root).with_wall(NOW));
        let settings = ExecuteSettings { allow_addresses: vec!["127.0.0.1".into()], ..ExecuteSettings::default() };
        Context::new(host, Readings::default(), Arc::new(settings), Arc::new(Policy::default())).unwrap()
    }

    pub(super) async fn run(context: &Context, with: Value) -> Vec<(String, Verdict, Option<f64>, String)> {
        let report = execute("tls.check", with.as_object().unwrap(), context).await.unwrap();
        report.checks.into_iter().map(|check| (check.subject, check.verdict, check.value, check.message)).collect()
    }

    #[tokio::test]
    async fn every_certificate_of_a_file_has_its_days() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let well = pem("well.example", (2026, 1, 1), (2027, 11, 23));
        write("well.pem", &well);
        write("soon.pem", &pem("soon.example", (2026, 1, 1), (2026, 12, 5)));
        write("ended.pem", &pem("ended.example", (2026, 1, 1), (2026, 11, 20)));
        write("early.pem", &pem("early.example", (2026, 11, 25), (2027, 11, 23)));
        write("two.pem", &(KeyPair::generate().unwrap().serialize_pem() + &well + &pem("ca.example", (2026, 1, 1), (2026, 11, 28))));
        write("key.pem", &KeyPair::generate().unwrap().serialize_pem());
        write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        write("nothing.pem", "nothing");
        std::fs::write(dir.path().join("x.der"), ::pem::parse(&well).unwrap().contents()).unwrap();
        let seen = run(&context(dir.path()), json!({"files": ["/*.pem", "/x.der", "/no/*.pem"]})).await;
        let expected = [
            ("/broken.pem", Verdict::Unknown, None, "not read: a certificate in it cannot be read"),
            ("/early.pem", Verdict::Critical, Some(364.5), "not valid before 2026-11-25, in 36 h (early.example, self-signed)"),
            ("/ended.pem", Verdict::Critical, Some(-3.5), "expired 3 d ago, on 2026-11-20 (ended.example, self-signed)"),
            ("/key.pem", Verdict::Skipped, None, "holds no certificate"),
            ("/nothing.pem", Verdict::Unknown, None, "not read: neither PEM nor DER"),
            ("/soon.pem", Verdict::Warning, Some(11.5), "ends in 11 days, on 2026-12-05 (soon.example, self-signed)"),
            ("/two.pem #1 well.example", Verdict::Ok, Some(364.5), "ends in 364 days, on 2027-11-23 (well.example, self-signed)"),
            ("/two.pem #2 ca.example", Verdict::Critical, Some(4.5), "ends in 4 days, on 2026-11-28 (ca.example, self-signed)"),
            ("/well.pem", Verdict::Ok, Some(364.5), "ends in 364 days, on 2027-11-23 (well.example, self-signed)"),
            ("/x.der", Verdict::Ok, Some(364.5), "ends in 364 days, on 2027-11-23 (well.example, self-signed)"),
            ("/no/*.pem", Verdict::Skipped, None, "no file matches"),
        ];
        assert_eq!(seen, expected.map(|(subject, verdict, value, message)| (subject.to_owned(), verdict, value, message.to_owned())));
    }

    #[tokio::test]
    async fn thresholds_are_the_steps_and_an_ended_certificate_stays_critical() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("soon.pem"), pem("soon.example", (2026, 1, 1), (2026, 12, 5))).unwrap();
        std::fs::write(dir.path().join("ended.pem"), pem("ended.example", (2026, 1, 1), (2026, 11, 20))).unwrap();
        let seen = run(&context(dir.path()), json!({"files": ["/*.pem"], "daysLeft": {"warning": -10, "critical": -20}})).await;
        assert_eq!(seen.iter().map(|check| check.1).collect::<Vec<_>>(), [Verdict::Critical, Verdict::Ok]);
    }

    #[tokio::test]
    async fn a_large_bundle_is_told_in_few_lines() {
        let dir = tempfile::tempdir().unwrap();
        let ended = pem("ended.example", (2026, 1, 1), (2026, 11, 20));
        let bundle: String = (0..10).map(|i| pem(&format!("ca{i}.example"), (2026, 1, 1), (2030 + i, 1, 1))).collect();
        std::fs::write(dir.path().join("bundle.pem"), bundle + &ended).unwrap();
        let seen = run(&context(dir.path()), json!({"files": ["/bundle.pem"]})).await;
        assert_eq!(seen.len(), 2);
        assert_eq!((seen[0].0.as_str(), seen[0].1), ("/bundle.pem #11 ended.example", Verdict::Critical));
        assert_eq!(seen[1].3, "10 other certificates, of which the first ends in 1134 days, on 2030-01-01 (ca0.example, self-signed)");
    }

    #[tokio::test]
    async fn a_machine_without_certificates_says_so() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            run(&context(dir.path()), json!({})).await,
            [(String::new(), Verdict::Skipped, None, "no certificate files in the usual places".to_owned())]
        );
    }
}
