//! Asks the HTTP API. A redirect may stay on the host and no less protected; nothing else is followed, since the
//! credential goes where the request goes.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{StatusCode, Url};
use serde::de::DeserializeOwned;

use super::super::credential::Credential;
use super::super::{Context, dial, http, trust};
use super::answer::{Answer, Target, Targets};
use crate::connections::{Connection, Place, TlsMode};

/// Of an answer. A result that is larger is a table and not a check.
const BODY_BYTES: usize = 4 << 20;
/// From one place of a host to another.
const REDIRECTS_MAX: usize = 5;

pub(super) struct Client<'a> {
    client: reqwest::Client,
    base: Url,
    connection: &'a Connection,
    context: &'a Context,
    credential: Credential,
    at_s: Option<f64>,
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// Nobody was asked.
    #[error("{0}")]
    NotAsked(String),
    /// There is no API there, or none that lets us in.
    #[error("{0}")]
    Down(String),
    /// It was asked, and said that this cannot be answered.
    #[error("{0}")]
    Refused(String),
}

#[derive(Debug, thiserror::Error)]
#[error("it redirects to {0}, which is another place: write that into the connection, if it is meant")]
struct Elsewhere(Url);

impl<'a> Client<'a> {
    pub fn new(connection: &'a Connection, context: &'a Context, at_s: Option<f64>, timeout: Duration) -> Result<Client<'a>, String> {
        let Place::Tcp { host, .. } = &connection.address.place else { return Err("not asked: its address is a socket".to_owned()) };
        let credential = Credential::of(connection, context).map_err(|error| format!("not asked: {error}"))?;
        let mut tls = dial::tls_config(connection, context).map_err(|error| error.to_string())?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let scheme = if connection.tls.mode == TlsMode::Off { "http" } else { "https" };
        let base = format!("{scheme}://{}{}/", connection.address.place_in_words(), connection.address.path);
        let base = Url::parse(&base).map_err(|error| format!("not asked: {base} is not a URL: {error}"))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(context.outgoing.declared(host)))
            .redirect(Policy::custom(redirect))
            .no_proxy()
            .referer(false)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("mainstay/", env!("CARGO_PKG_VERSION")));
        let client = client.build().map_err(|error| format!("not asked: {}", trust::root_cause(&error)))?;
        Ok(Client { client, base, connection, context, credential, at_s, timeout })
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
        let mut url = self.base.join(path).map_err(|error| NoAnswer::NotAsked(format!("not asked: {error}")))?;
        url.query_pairs_mut().extend_pairs(pairs);
        let asked = async {
            let (status, body) = self.body(url.clone()).await?;
            self.read(status, &body)
        };
        // The server is told to give up by then, and its own words are better.
        let patience = self.timeout + Duration::from_secs(1);
        let late = || Err(NoAnswer::Down(format!("no answer within {} s", self.timeout.as_secs_f64())));
        tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| late())
    }

    async fn body(&self, url: Url) -> Result<(StatusCode, Vec<u8>), NoAnswer> {
        let request = self.credential.add(self.client.get(url.clone()));
        let mut response = request.send().await.map_err(|error| self.explain(&url, &error))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.explain(&url, &error))? {
            if body.len() + piece.len() > BODY_BYTES {
                let most = super::super::wording::bytes(BODY_BYTES as u64);
                return Err(NoAnswer::Refused(format!("the result has more than {most}: sum it up in the query, for example with topk or sum by")));
            }
            body.extend_from_slice(&piece);
        }
        Ok((status, body))
    }

    fn read<T: DeserializeOwned>(&self, status: StatusCode, body: &[u8]) -> Result<T, NoAnswer> {
        let secret =
            || self.connection.secret.as_ref().map_or_else(|| "no credential".to_owned(), |secret| format!("the credential of its {secret}"));
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(NoAnswer::Down(format!("it does not let us in with {} (HTTP {})", secret(), status.as_u16())));
        }
        // An error of the API has its words in the same form.
        if !status.is_success() && serde_json::from_slice::<Answer>(body).is_err() {
            return Err(NoAnswer::Down(format!("no API of Prometheus at {}: HTTP {}", self.base, status.as_u16())));
        }
        serde_json::from_slice(body)
            .map_err(|error| NoAnswer::Down(format!("no API of Prometheus at {}: its answer cannot be read: {error}", self.base)))
    }

    fn explain(&self, url: &Url, error: &reqwest::Error) -> NoAnswer {
        if let Some(elsewhere) = trust::find::<Elsewhere>(error) {
            return NoAnswer::Down(elsewhere.to_string());
        }
        match http::explain(url, error, self.context) {
            Ok(down) => NoAnswer::Down(down),
            Err(refused) => NoAnswer::NotAsked(format!("not asked: {refused}")),
        }
    }
}

fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let Some(from) = attempt.previous().last().cloned() else { return attempt.stop() };
    if attempt.previous().len() > REDIRECTS_MAX {
        return attempt.stop();
    }
    let to = attempt.url().clone();
    if stays(&from, &to) { attempt.follow() } else { attempt.error(Elsewhere(without_query(to))) }
}

/// Whether a redirect stays on the host, and as well protected.
fn stays(from: &Url, to: &Url) -> bool {
    let same_place = from.port_or_known_default() == to.port_or_known_default() && from.scheme() == to.scheme();
    let goes_under_cover = from.scheme() == "http" && to.scheme() == "https";
    from.host_str() == to.host_str() && (same_place || goes_under_cover)
}

fn without_query(mut url: Url) -> Url {
    url.set_query(None);
    url
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_redirect_stays_on_its_host() {
        let stays = |from: &str, to: &str| stays(&from.parse().unwrap(), &to.parse().unwrap());
        assert!(stays("https://a/x", "https://a/y") && stays("http://a/", "https://a/") && stays("http://a:80/", "http://a/"));
        assert!(!stays("https://a/", "http://a/") && !stays("https://a/", "https://b/") && !stays("http://a:9090/", "http://a:9091/"));
        assert!(!stays("https://a/", "http://169.254.169.254/"));
    }
}
