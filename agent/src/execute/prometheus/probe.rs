//! One query, asked again and again.

use std::time::Duration;

use mainstay_core::report::Verdict;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::client::Client;
use super::{QUERY_BYTES, Query, judge};
use crate::connections::ConnectionKind;
use crate::execute::params::{self, Limits};
use crate::execute::{Context, StepError};

/// What is asked of whom, and what is expected.
pub struct Probe {
    connection: String,
    query: Query,
    timeout: Duration,
}

/// A probe with the way to whom it asks.
pub struct Ready<'p> {
    query: &'p Query,
    client: Client<'p>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    connection: String,
    query: String,
    #[serde(default)]
    above: Limits<f64>,
    #[serde(default)]
    below: Limits<f64>,
}

impl Probe {
    /// Reads it, of a step of this kind. A probe is given up after `timeout`.
    ///
    /// # Errors
    /// Refused, with what is wrong.
    pub fn read(kind: &str, with: &Map<String, Value>, timeout: Duration) -> Result<Probe, StepError> {
        let Given { connection, query, above, below } = params::read(kind, with)?;
        let refused = |why: String| StepError::refused(format!("{kind}: a gate `prometheus`: {why}; see `mainstay steps {kind}`"));
        if query.trim().is_empty() || query.len() > QUERY_BYTES {
            return Err(refused(format!("its query has {} characters, and should have 1 to {QUERY_BYTES}", query.len())));
        }
        if above.critical.is_none() && below.critical.is_none() {
            return Err(refused("it never fails: give it `above` or `below` with `critical`".to_owned()));
        }
        let query = Query { name: String::new(), query, above, below, expect: None, unit: String::new() };
        Ok(Probe { connection, query, timeout })
    }

    /// As messages name it.
    pub fn subject(&self) -> String {
        judge::subject_of(&self.query)
    }

    /// # Errors
    /// In words, when the agent has no such connection, or files of it are in the way.
    pub fn ready<'p>(&'p self, kind: &str, context: &'p Context) -> Result<Ready<'p>, String> {
        let connection = context.connection(kind, &[ConnectionKind::Prometheus], Some(&self.connection)).map_err(|error| error.message)?;
        Ok(Ready { query: &self.query, client: Client::new(connection, context, None, self.timeout)? })
    }
}

impl Ready<'_> {
    /// # Errors
    /// What is wrong: the first series that is beyond its bound, or that nobody knows.
    pub async fn ask(&self) -> Result<(), String> {
        let answer = self.client.query(&self.query.query).await;
        let found = judge::checks(self.query, answer);
        match found.checks.into_iter().find(|check| matches!(check.verdict, Verdict::Critical | Verdict::Unknown)) {
            Some(check) => Err(format!("{}: {}", check.subject, check.message)),
            None => Ok(()),
        }
    }
}
