//! The HTTP API of a declared system: its address, TLS and credential, and how much of an answer is read. A redirect may
//! stay on the host and no less protected; nothing else is followed, since the credential goes where the request goes.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Method, StatusCode, Url};

use super::credential::Credential;
use super::{Context, dial, http, trust, wording};
use crate::connections::{Connection, Place, TlsMode};

/// Of an answer.
const BODY_BYTES: usize = 4 << 20;
/// From one place of a host to another.
const REDIRECTS_MAX: usize = 5;

/// The way to one API.
pub(super) struct Api<'a> {
    client: reqwest::Client,
    base: Url,
    connection: &'a Connection,
    context: &'a Context,
    credential: Credential,
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

impl<'a> Api<'a> {
    /// # Errors
    /// In words, why it cannot be asked.
    pub fn of(connection: &'a Connection, context: &'a Context) -> Result<Api<'a>, String> {
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
        Ok(Api { client, base, connection, context, credential })
    }

    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Status and body of an answer that lets us in.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        pairs: &[(&str, String)],
        body: Option<&serde_json::Value>,
        within: Duration,
    ) -> Result<(StatusCode, Vec<u8>), NoAnswer> {
        let mut url = self.base.join(path).map_err(|error| NoAnswer::NotAsked(format!("not asked: {error}")))?;
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        let request = self.credential.add(self.client.request(method, url.clone()));
        let request = if let Some(body) = body { request.json(body) } else { request };
        let asked = async {
            let mut response = request.send().await.map_err(|error| self.explain(&url, &error))?;
            let status = response.status();
            let mut body = Vec::new();
            while let Some(piece) = response.chunk().await.map_err(|error| self.explain(&url, &error))? {
                if body.len() + piece.len() > BODY_BYTES {
                    return Err(NoAnswer::Refused(format!("the answer has more than {}", wording::bytes(BODY_BYTES as u64))));
                }
                body.extend_from_slice(&piece);
            }
            Ok((status, body))
        };
        let late = || Err(NoAnswer::Down(format!("no answer within {} s", within.as_secs_f64())));
        let (status, body) = tokio::time::timeout(within, asked).await.unwrap_or_else(|_| late())?;
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let secret = self.connection.secret.as_ref();
            let secret = secret.map_or_else(|| "no credential".to_owned(), |secret| format!("the credential of its {secret}"));
            return Err(NoAnswer::Down(format!("it does not let us in with {secret} (HTTP {})", status.as_u16())));
        }
        Ok((status, body))
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
