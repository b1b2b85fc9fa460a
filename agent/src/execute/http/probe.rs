//! One endpoint, asked again and again, each time over a new connection.

use std::path::PathBuf;

use mainstay_core::Millis;
use mainstay_core::report::Verdict;
use serde_json::{Map, Value};

use super::ask::Clients;
use super::endpoint::{Asked, Endpoint, url};
use super::judge;
use super::rules::Given;
use crate::execute::{Context, StepError, params};

/// What is asked, and what is expected.
pub struct Probe {
    asked: Asked<'static>,
}

/// A probe with the way to its endpoint.
pub struct Ready<'p> {
    endpoint: &'p Endpoint,
    clients: Clients,
}

/// What came of asking once.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// Until the answer was complete, where there was one.
    pub took_ms: Option<f64>,
    /// What is wrong.
    pub problem: Option<String>,
}

impl Probe {
    /// Reads `url`, `ca`, and what is expected, of a step of this kind. A probe is given up after `timeout`.
    ///
    /// # Errors
    /// Refused, with what is wrong.
    pub fn read(kind: &str, with: &Map<String, Value>, timeout: Millis) -> Result<Probe, StepError> {
        let refused = |why: String| StepError::refused(format!("{kind}: a gate `http`: {why}; see `mainstay steps {kind}`"));
        let mut rules = with.clone();
        let mut text = |name: &str| rules.remove(name).and_then(|value| value.as_str().map(str::to_owned));
        let address = text("url").ok_or_else(|| refused("it has no `url`".to_owned()))?;
        let ca = text("ca").map(PathBuf::from);
        rules.insert("timeout".to_owned(), Value::String(format!("{}ms", timeout.0)));
        let given: Given = params::read(kind, &rules)?;
        let url = url(&address).map_err(refused)?;
        let rules = given.checked().map_err(refused)?;
        let endpoint = Endpoint { subject: url.as_str().trim_end_matches('/').to_owned(), url, rules };
        Ok(Probe { asked: Asked { endpoints: vec![endpoint], ca, connection: None } })
    }

    /// As messages name it.
    pub fn subject(&self) -> &str {
        self.asked.endpoints.first().map_or("", |endpoint| endpoint.subject.as_str())
    }

    /// # Errors
    /// In words, when files of this agent are in the way.
    pub fn ready(&self, context: &Context) -> Result<Ready<'_>, String> {
        let endpoint = self.asked.endpoints.first().ok_or("there is nothing to ask")?;
        Ok(Ready { endpoint, clients: Clients::new(&self.asked, context)? })
    }
}

impl Ready<'_> {
    pub async fn ask(&self, context: &Context) -> Answered {
        let answer = self.clients.ask(self.endpoint, context).await;
        let took_ms = answer.as_ref().ok().map(|answer| answer.took_ms);
        let check = judge::checks(self.endpoint, None, answer, context).check;
        let is_bad = matches!(check.verdict, Verdict::Critical | Verdict::Unknown);
        Answered { took_ms, problem: is_bad.then_some(check.message) }
    }
}
