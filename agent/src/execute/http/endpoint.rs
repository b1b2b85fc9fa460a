//! Which endpoints a step asks: from its `with` block to URLs with rules.

use std::path::PathBuf;

use mainstay_core::catalogue::CONNECTION_PARAM;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::rules::{Given, Rules};
use super::{KIND, refused};
use crate::connections::{Connection, TlsMode};
use crate::execute::{StepError, params};

/// Endpoints of one step.
const ENDPOINTS_MAX: usize = 200;
/// Keys of a step's block that are about where; the others are rules.
const WHERE: [&str; 6] = ["url", "urls", "endpoints", "ca", "connection", "paths"];

/// All that one step asks.
pub(super) struct Asked {
    pub endpoints: Vec<Endpoint>,
    /// Authorities that certificates must end in, instead of the ones that the agent trusts.
    pub ca: Option<PathBuf>,
}

/// One endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub url: Url,
    pub rules: Rules,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Where {
    url: Option<String>,
    urls: Vec<String>,
    endpoints: Vec<Map<String, Value>>,
    ca: Option<String>,
    connection: Option<String>,
    paths: Vec<String>,
}

/// The connection that a block names.
pub(super) fn connection(with: &Map<String, Value>) -> Option<&str> {
    with.get(CONNECTION_PARAM).and_then(Value::as_str)
}

/// The endpoints of a block; those of the connection, where the step is done to one.
///
/// # Errors
/// Refused, with what is wrong.
pub(super) fn read(with: &Map<String, Value>, connection: Option<&Connection>) -> Result<Asked, StepError> {
    let (places, rules): (Map<_, _>, Map<_, _>) = with.clone().into_iter().partition(|(key, _)| WHERE.contains(&key.as_str()));
    let places: Where = params::read(KIND, &places)?;
    let common: Given = params::read(KIND, &rules)?;
    let mut given: Vec<(String, Given)> = places.url.into_iter().chain(places.urls).map(|url| (url, common.clone())).collect();
    for mut endpoint in places.endpoints {
        let Some(Value::String(url)) = endpoint.remove("url") else { return Err(refused("an item of `endpoints` has no `url`")) };
        given.push((url, params::read::<Given>(KIND, &endpoint)?.or(&common)));
    }
    match connection {
        Some(_) if !given.is_empty() => return Err(refused("has a connection and URLs: its URLs are those of the connection, with `paths`")),
        Some(_) if places.ca.is_some() => return Err(refused("`ca` is the connection's, where there is one")),
        Some(connection) => {
            let paths = if places.paths.is_empty() { vec![connection.address.path.clone()] } else { places.paths };
            given.extend(paths.into_iter().map(|path| below(connection, &path).map(|url| (url, common.clone()))).collect::<Result<Vec<_>, _>>()?);
        }
        None if !places.paths.is_empty() => return Err(refused("`paths` are those of a connection, and there is none")),
        None => {}
    }
    if given.is_empty() {
        return Err(refused("needs `url`, `urls`, `endpoints` or `connection`"));
    }
    if given.len() > ENDPOINTS_MAX {
        return Err(refused(format!("{} endpoints, and {ENDPOINTS_MAX} is the most of one step: make two of it", given.len())));
    }
    let endpoints = given.into_iter().map(|(text, given)| {
        let url = url(&text).map_err(refused)?;
        let rules = given.checked().map_err(|why| refused(format!("{text}: {why}")))?;
        Ok(Endpoint { url, rules })
    });
    Ok(Asked { endpoints: endpoints.collect::<Result<_, StepError>>()?, ca: places.ca.map(PathBuf::from) })
}

/// A path on the server of a connection. It cannot leave that server.
fn below(connection: &Connection, path: &str) -> Result<String, StepError> {
    if !path.starts_with('/') || path.starts_with("//") {
        return Err(refused(format!("`{path}` in `paths` should begin with one /")));
    }
    let scheme = if connection.tls.mode == TlsMode::Off { "http" } else { "https" };
    Ok(format!("{scheme}://{}{path}", connection.address.place_in_words()))
}

fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("`{text}` is not an http or https URL"));
    }
    if url.password().is_some() || !url.username().is_empty() {
        // Not repeated.
        return Err("a URL holds a user or a password, which a plan never holds: declare a connection of kind http, and name it".to_owned());
    }
    Ok(url)
}

impl Endpoint {
    /// The endpoint as checks name it.
    pub(super) fn subject(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }
}
