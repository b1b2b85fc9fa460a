//! Targets that Prometheus scrapes, and which of them are down.

use std::collections::BTreeMap;

use mainstay_core::catalogue;
use mainstay_core::report::{Check, Thresholds, Verdict};

use super::super::api::NoAnswer;
use super::answer::{Answer, Data, Series, Target};
use super::client::Client;
use super::judge::Found;

const ID: &str = "prometheus.up";

/// One check for each target of the jobs, and one for each pattern that no target fits.
pub(super) async fn checks(client: &Client<'_>, patterns: &[String]) -> Found {
    let answer = client.query(&query(patterns)).await;
    let is_down = matches!(&answer, Ok(Answer { data: Some(Data::Vector(series)), .. }) if series.iter().any(is_down));
    let errors = if is_down { errors(client).await } else { BTreeMap::new() };
    judge(patterns, answer, &errors)
}

/// `up` of these jobs; of all without a pattern.
fn query(patterns: &[String]) -> String {
    if patterns.is_empty() {
        return "up".to_owned();
    }
    let jobs: Vec<String> = patterns.iter().map(|pattern| pattern.split('*').map(regex::escape).collect::<Vec<_>>().join(".*")).collect();
    // A text of PromQL is one of Go: what a regular expression escapes is escaped once more.
    format!("up{{job=~{:?}}}", jobs.join("|"))
}

/// Why the last scrape of a target failed. It is a help, and nothing hangs on it.
async fn errors(client: &Client<'_>) -> BTreeMap<(String, String), String> {
    let targets = client.targets().await.unwrap_or_else(|error| {
        tracing::debug!(%error, "Prometheus does not say why targets are down");
        Vec::new()
    });
    let failed = targets.into_iter().filter(|target| !target.last_error.is_empty());
    failed.map(|target: Target| (who(&target.labels), target.last_error)).collect()
}

fn who(labels: &BTreeMap<String, String>) -> (String, String) {
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    (label("job"), label("instance"))
}

fn is_down(series: &Series) -> bool {
    series.value.as_ref().and_then(|sample| sample.value()) != Some(1.0)
}

fn judge(patterns: &[String], answer: Result<Answer, NoAnswer>, errors: &BTreeMap<(String, String), String>) -> Found {
    let unknown = |subject: &str, message: String| Check::stated(ID, subject, Verdict::Unknown, message);
    let series = match answer {
        Err(error) => return Found { checks: vec![unknown("", format!("not known: {error}"))], ..Found::default() },
        Ok(Answer { data: Some(Data::Vector(series)), .. }) => series,
        Ok(_) => return Found { checks: vec![unknown("", "not known: the answer has no targets in it".to_owned())], ..Found::default() },
    };
    let job = |series: &Series| series.metric.get("job").cloned().unwrap_or_default();
    let missing = patterns.iter().filter(|pattern| !series.iter().any(|series| catalogue::fits(pattern, &job(series))));
    let mut checks: Vec<Check> = missing
        .map(|pattern| {
            unknown(pattern, "no data: no target of this job is scraped".to_owned())
                .with_hint("is the job still in the settings of Prometheus, and does it find targets?")
        })
        .collect();
    if series.is_empty() && patterns.is_empty() {
        checks.push(
            unknown("", "no data: no target is scraped".to_owned())
                .with_hint("is there a job in the settings of Prometheus, and does it find targets?"),
        );
    }
    let mut found = Found::of_series("up", series.iter().map(|series| target(series, errors)).collect());
    checks.append(&mut found.checks);
    Found { checks, ..found }
}

fn target(series: &Series, errors: &BTreeMap<(String, String), String>) -> Check {
    let (job, instance) = who(&series.metric);
    let subject = format!("{job} {instance}");
    let thresholds = Thresholds { critical: Some(0.0), below: true, ..Thresholds::default() };
    match series.value.as_ref().and_then(|sample| sample.value()) {
        Some(value) if value.is_finite() => {
            let check = Check::measured(ID, subject.trim(), value, "", thresholds, if value > 0.0 { "up" } else { "down" });
            if check.verdict == Verdict::Ok {
                return check;
            }
            let check = check.with_hint("does it run, and does Prometheus reach it? see /targets of Prometheus");
            match errors.get(&(job, instance)) {
                Some(why) => Check { message: format!("down: {why}"), ..check },
                None => check,
            }
        }
        _ => Check::stated(ID, subject.trim(), Verdict::Unknown, "not known: its value is no number"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::Sample;
    use super::*;

    fn series(job: &str, instance: &str, value: &str) -> Series {
        let metric = [("__name__", "up"), ("job", job), ("instance", instance)];
        Series { metric: metric.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), value: Some(Sample::of(value)) }
    }

    fn seen(patterns: &[&str], all: Vec<Series>) -> Vec<(String, Verdict, String)> {
        let answer =
            Answer { status: "success".into(), data: Some(Data::Vector(all)), error_type: String::new(), error: String::new(), warnings: Vec::new() };
        let errors = [(("node".to_owned(), "b:1".to_owned()), "connection refused".to_owned())].into();
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        judge(&patterns, Ok(answer), &errors).checks.into_iter().map(|check| (check.subject, check.verdict, check.message)).collect()
    }

    #[test]
    fn every_target_is_up_or_critical() {
        let all = vec![series("node", "a:1", "1"), series("node", "b:1", "0"), series("web", "c:1", "0")];
        assert_eq!(
            seen(&[], all),
            [
                ("node b:1".to_owned(), Verdict::Critical, "down: connection refused".to_owned()),
                ("web c:1".to_owned(), Verdict::Critical, "down".to_owned()),
                ("node a:1".to_owned(), Verdict::Ok, "up".to_owned()),
            ]
        );
    }

    #[test]
    fn a_job_without_targets_is_unknown() {
        assert_eq!(seen(&[], Vec::new())[0].1, Verdict::Unknown);
        let checks = seen(&["node", "web*"], vec![series("node", "a:1", "1")]);
        assert_eq!(checks[0], ("web*".to_owned(), Verdict::Unknown, "no data: no target of this job is scraped".to_owned()));
        assert_eq!(checks[1].1, Verdict::Ok);
    }

    #[test]
    fn jobs_are_patterns_and_never_parsed_as_anything_else() {
        let of = |patterns: &[&str]| query(&patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&[]), "up");
        assert_eq!(of(&["node", "web.*"]), r#"up{job=~"node|web\\..*"}"#);
        assert_eq!(of(&["\"} or vector(1) #"]), r#"up{job=~"\"\\} or vector\\(1\\) \\#"}"#);
    }
}
