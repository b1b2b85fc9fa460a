//! Asks one endpoint: sends the request, follows redirects within what is allowed, reads the body.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use reqwest::header::HeaderMap;
use reqwest::redirect::{Attempt, Policy as Redirects};
use reqwest::tls::TlsInfo;
use reqwest::{Client, Url};

use super::endpoint::{Asked, Endpoint};
use super::way::{Filter, Way};
use crate::execute::{Context, OutgoingError, trust};

/// One client for each number of redirects that some endpoint lets it follow.
pub(super) struct Clients {
    by_redirects: BTreeMap<usize, Client>,
    way: Way,
}

/// What an endpoint answered.
pub(super) struct Answer {
    pub status: u16,
    pub took_ms: f64,
    /// Where it came from in the end.
    pub url: Url,
    pub headers: HeaderMap,
    /// What is wrong with the body.
    pub body: Vec<String>,
    /// The server's certificate, DER, where there was TLS.
    pub certificate: Option<Vec<u8>>,
}

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// Its address is one that is not reached.
    NotAsked(OutgoingError),
    TimedOut,
    Failed(reqwest::Error),
}

#[derive(Debug, thiserror::Error)]
#[error("more than {0} redirects")]
pub(super) struct TooManyRedirects(usize);

impl Clients {
    /// # Errors
    /// In words, when files of this agent are in the way.
    pub(super) fn new(asked: &Asked, context: &Context) -> Result<Clients, String> {
        let way = Way::new(asked, context)?;
        let mut by_redirects = BTreeMap::new();
        for most in asked.endpoints.iter().map(|endpoint| endpoint.rules.follow_redirects) {
            if let Entry::Vacant(entry) = by_redirects.entry(most) {
                entry.insert(client(&way, most)?);
            }
        }
        Ok(Clients { by_redirects, way })
    }

    /// # Errors
    /// Why there is no answer.
    pub(super) async fn ask(&self, endpoint: &Endpoint, context: &Context) -> Result<Answer, NoAnswer> {
        if let Some(Err(refused)) = literal(&endpoint.url).map(|(host, address)| self.way.filter.judge(&host, address)) {
            return Err(NoAnswer::NotAsked(refused));
        }
        let Some(client) = self.by_redirects.get(&endpoint.rules.follow_redirects) else { return Err(NoAnswer::TimedOut) };
        let answer = answer(client, endpoint, &self.way, context);
        match tokio::time::timeout(endpoint.rules.timeout.as_duration(), answer).await {
            Err(_) => Err(NoAnswer::TimedOut),
            Ok(answer) => answer.map_err(NoAnswer::Failed),
        }
    }
}

fn client(way: &Way, most: usize) -> Result<Client, String> {
    let judge = way.filter.clone();
    let builder = Client::builder()
        .tls_backend_preconfigured(way.tls.clone())
        .tls_info(true)
        .dns_resolver(Arc::new(way.filter.clone()))
        .redirect(Redirects::custom(move |attempt| redirect(attempt, &judge, most)))
        .no_proxy()
        .referer(false)
        .pool_max_idle_per_host(0)
        .user_agent(concat!("mainstay/", env!("CARGO_PKG_VERSION")));
    builder.build().map_err(|error| trust::root_cause(&error))
}

fn redirect(attempt: Attempt<'_>, filter: &Filter, most: usize) -> reqwest::redirect::Action {
    if most == 0 {
        return attempt.stop();
    }
    if attempt.previous().len() > most {
        return attempt.error(TooManyRedirects(most));
    }
    match literal(attempt.url()).map(|(host, address)| filter.judge(&host, address)) {
        Some(Err(refused)) => attempt.error(refused),
        _ => attempt.follow(),
    }
}

/// The address of a URL that names no host but an address; such a one is not asked of the resolver.
fn literal(url: &Url) -> Option<(String, IpAddr)> {
    let host = url.host_str()?;
    host.trim_matches(['[', ']']).parse().ok().map(|address| (host.to_owned(), address))
}

async fn answer(client: &Client, endpoint: &Endpoint, way: &Way, context: &Context) -> Result<Answer, reqwest::Error> {
    let Endpoint { url, rules, .. } = endpoint;
    let from_ms = context.host.monotonic_ms();
    let request = client.request(rules.method.clone(), url.clone()).headers(rules.request_headers.clone());
    let mut response = way.credential.add(request).send().await?;
    let certificate = response.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate).map(<[u8]>::to_vec);
    let (status, last_url, headers) = (response.status().as_u16(), response.url().clone(), response.headers().clone());
    let mut body = rules.body.begin();
    while let Some(piece) = response.chunk().await? {
        if !body.take(&piece) {
            break;
        }
    }
    let took_ms = context.host.monotonic_ms().saturating_sub(from_ms) as f64;
    Ok(Answer { status, took_ms, url: last_url, headers, body: body.problems(), certificate })
}
