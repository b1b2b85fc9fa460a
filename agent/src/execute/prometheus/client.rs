//! Asks the HTTP API of Prometheus.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;

use super::super::Context;
use super::super::api::{Api, NoAnswer};
use super::answer::{Answer, Target, Targets};
use crate::connections::Connection;

pub(super) struct Client<'a> {
    api: Api<'a>,
    at_s: Option<f64>,
    timeout: Duration,
}

impl<'a> Client<'a> {
    pub fn new(connection: &'a Connection, context: &'a Context, at_s: Option<f64>, timeout: Duration) -> Result<Client<'a>, String> {
        Ok(Client { api: Api::of(connection, context)?, at_s, timeout })
    }

    /// Whether there is an API that lets us in: the cheapest query there is.
    pub async fn look(&self) -> Result<(), NoAnswer> {
        self.query("vector(1)").await.map(|_| ())
    }

    pub async fn query(&self, query: &str) -> Result<Answer, NoAnswer> {
        let mut pairs = vec![("query", query.to_owned()), ("timeout", format!("{}ms", self.timeout.as_millis()))];
        pairs.extend(self.at_s.map(|at_s| ("time", format!("{at_s:.3}"))));
        let answer: Answer = self.get("api/v1/query", &pairs).await?;
        if answer.status == "success" { Ok(answer) } else { Err(NoAnswer::Refused(format!("{}: {}", answer.error_type, answer.error))) }
    }

    /// Targets that are scraped now, with what was wrong at the last scrape.
    pub async fn targets(&self) -> Result<Vec<Target>, NoAnswer> {
        let targets: Targets = self.get("api/v1/targets", &[("state", "active".to_owned())]).await?;
        Ok(targets.data.active_targets)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, pairs: &[(&str, String)]) -> Result<T, NoAnswer> {
        // The server is told to give up by then, and its own words are better.
        let patience = self.timeout + Duration::from_secs(1);
        let (status, body) = self.api.ask(Method::GET, path, pairs, None, patience).await.map_err(|error| match error {
            NoAnswer::Refused(why) => NoAnswer::Refused(format!("{why}: sum it up in the query, for example with topk or sum by")),
            other => other,
        })?;
        self.read(status, &body)
    }

    fn read<T: DeserializeOwned>(&self, status: StatusCode, body: &[u8]) -> Result<T, NoAnswer> {
        let base = self.api.base();
        // An error of the API has its words in the same form.
        if !status.is_success() && serde_json::from_slice::<Answer>(body).is_err() {
            return Err(NoAnswer::Down(format!("no API of Prometheus at {base}: HTTP {}", status.as_u16())));
        }
        serde_json::from_slice(body).map_err(|error| NoAnswer::Down(format!("no API of Prometheus at {base}: its answer cannot be read: {error}")))
    }
}
