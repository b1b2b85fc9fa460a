//! Which endpoints a step asks: from its `with` block to URLs with rules.

use std::path::PathBuf;

use reqwest::Url;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::rules::{Given, Rules};
use super::{KIND, refused};
use crate::execute::{StepError, params};

/// Endpoints of one step.
const ENDPOINTS_MAX: usize = 200;
/// Keys of a step's block that are about where; the others are rules.
const WHERE: [&str; 5] = ["url", "urls", "endpoints", "ca", "connection"];

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
}

/// The endpoints of a block.
///
/// # Errors
/// Refused, with what is wrong.
pub(super) fn read(with: &Map<String, Value>) -> Result<Asked, StepError> {
    let (places, rules): (Map<_, _>, Map<_, _>) = with.clone().into_iter().partition(|(key, _)| WHERE.contains(&key.as_str()));
    let places: Where = params::read(KIND, &places)?;
    let common: Given = params::read(KIND, &rules)?;
    let mut given: Vec<(String, Given)> = places.url.into_iter().chain(places.urls).map(|url| (url, common.clone())).collect();
    for mut endpoint in places.endpoints {
        let Some(Value::String(url)) = endpoint.remove("url") else { return Err(refused("an item of `endpoints` has no `url`")) };
        given.push((url, params::read::<Given>(KIND, &endpoint)?.or(&common)));
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
