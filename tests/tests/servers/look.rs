//! One run of a plan, as somebody who reads it sees it.

use mainstay_tests::Up;
use serde_json::Value;

/// One check of a run.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What its step was done to: `orders-db` for a connection of that name.
    pub target: String,
    pub step: String,
    pub id: String,
    pub verdict: String,
    pub message: String,
    pub hint: String,
}

/// What a run saw.
pub struct Look {
    pub plan: String,
    pub checks: Vec<Seen>,
}

/// Runs a plan to its end.
pub async fn look(up: &Up, plan: &str, with: &[&str]) -> Look {
    let mut words = vec!["run", "start", plan];
    words.extend(with.iter().flat_map(|set| ["--set", set]));
    let id = up.json(&words)["run"].as_str().expect("a run's id").to_owned();
    let run = up.ended(&id).await;
    assert_eq!(run["state"], "completed", "a look that finds something is a run that has come to its end: {run}");
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let mut checks = Vec::new();
    for work in run["work"].as_array().into_iter().flatten() {
        let target = text(work, "target");
        let target = target.strip_prefix("connection:").unwrap_or(&target).to_owned();
        let last = work["attempts"].as_array().and_then(|attempts| attempts.last());
        for check in last.and_then(|attempt| attempt["outcome"]["report"]["checks"].as_array()).into_iter().flatten() {
            checks.push(Seen {
                target: target.clone(),
                step: text(work, "step"),
                id: text(check, "id"),
                verdict: text(check, "verdict"),
                message: text(check, "message"),
                hint: text(check, "hint"),
            });
        }
    }
    Look { plan: plan.to_owned(), checks }
}

impl Look {
    /// Checks of connections; those of the machine are what they are here.
    pub fn of_connections(&self) -> impl Iterator<Item = &Seen> {
        self.checks.iter().filter(|seen| !seen.target.contains('/'))
    }

    /// Those that need a person.
    pub fn bad(&self) -> Vec<&Seen> {
        self.of_connections().filter(|seen| !matches!(seen.verdict.as_str(), "ok" | "skipped")).collect()
    }
}

/// Findings of connections that are open, as target, check and subject.
pub fn findings(up: &Up) -> Vec<(String, String, String)> {
    let answer = up.json(&["finding", "list"]);
    let all = answer["findings"].as_array().or(answer.as_array()).cloned().unwrap_or_default();
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let all = all.iter().map(|one| (text(one, "target"), text(one, "check"), text(one, "subject")));
    all.filter_map(|(target, check, subject)| Some((target.strip_prefix("connection:")?.to_owned(), check, subject))).collect()
}
