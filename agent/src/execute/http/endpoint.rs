//! Which endpoints a step asks: from its `with` block to URLs with rules.

use std::path::PathBuf;

use reqwest::Url;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::rules::{Given, Rules};
use super::{KIND, refused};
use crate::connections::{Connection, ConnectionKind, Place, TlsMode};
use crate::execute::{Context, StepError, dial, params};

/// Endpoints of one step.
const ENDPOINTS_MAX: usize = 200;
/// Keys of a step's block that are about where; the others are rules.
const WHERE: [&str; 6] = ["url", "urls", "endpoints", "ca", "connection", "paths"];

/// All that one step asks.
pub(super) struct Asked<'a> {
    pub endpoints: Vec<Endpoint>,
    /// Authorities that certificates must end in, instead of the ones that the agent trusts.
    pub ca: Option<PathBuf>,
    pub connection: Option<&'a Connection>,
}

/// One endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub url: Url,
    /// As checks name it: its URL, or the path of a connection, which is named already.
    pub subject: String,
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

/// The endpoints of a block.
///
/// # Errors
/// Refused, with what is wrong.
pub(super) fn read<'a>(with: &Map<String, Value>, context: &'a Context) -> Result<Asked<'a>, StepError> {
    let (places, rules): (Map<_, _>, Map<_, _>) = with.clone().into_iter().partition(|(key, _)| WHERE.contains(&key.as_str()));
    let places: Where = params::read(KIND, &places)?;
    let common: Given = params::read(KIND, &rules)?;
    if let Some(connection) = context.connection_if_named(KIND, &[ConnectionKind::Http], places.connection.as_deref())? {
        return of_connection(connection, &places, &common);
    }
    if !places.paths.is_empty() {
        return Err(refused("`paths` are those of a connection, and there is no `connection`"));
    }
    let mut given: Vec<(String, Given)> = places.url.into_iter().chain(places.urls).map(|url| (url, common.clone())).collect();
    for mut endpoint in places.endpoints {
        let Some(Value::String(url)) = endpoint.remove("url") else { return Err(refused("an item of `endpoints` has no `url`")) };
        given.push((url, params::read::<Given>(KIND, &endpoint)?.or(&common)));
    }
    if given.is_empty() {
        return Err(refused("needs `url`, `urls`, `endpoints` or `connection`"));
    }
    not_too_many(given.len())?;
    let endpoints = given.into_iter().map(|(text, given)| {
        let url = url(&text).map_err(refused)?;
        let rules = given.checked().map_err(|why| refused(format!("{text}: {why}")))?;
        Ok(Endpoint { subject: url.as_str().trim_end_matches('/').to_owned(), url, rules })
    });
    Ok(Asked { endpoints: endpoints.collect::<Result<_, StepError>>()?, ca: places.ca.map(PathBuf::from), connection: None })
}

fn of_connection<'a>(connection: &'a Connection, places: &Where, common: &Given) -> Result<Asked<'a>, StepError> {
    if places.url.is_some() || !places.urls.is_empty() || !places.endpoints.is_empty() || places.ca.is_some() {
        return Err(refused("a connection says where and whom to trust; ask for other URLs in a step of its own"));
    }
    let base = base(connection).map_err(refused)?;
    let urls = if places.paths.is_empty() { vec![base] } else { places.paths.iter().map(|path| at(&base, path)).collect::<Result<_, _>>()? };
    not_too_many(urls.len())?;
    let endpoints = urls.into_iter().map(|url| {
        let subject = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        Ok(Endpoint { subject, url, rules: common.clone().checked().map_err(refused)? })
    });
    Ok(Asked { endpoints: endpoints.collect::<Result<_, StepError>>()?, ca: None, connection: Some(connection) })
}

/// What a connection's own URL is asked as: by the name that its server is to prove.
fn base(connection: &Connection) -> Result<Url, String> {
    let Place::Tcp { port, .. } = &connection.address.place else { return Err("its address is a socket".to_owned()) };
    let scheme = if connection.tls.mode == TlsMode::Off { "http" } else { "https" };
    let host = dial::server_name(connection);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let text = format!("{scheme}://{host}:{port}{}", connection.address.path);
    Url::parse(&text).map_err(|error| format!("`{text}` is not a URL: {error}"))
}

fn at(base: &Url, path: &str) -> Result<Url, StepError> {
    if !path.starts_with('/') {
        return Err(refused(format!("`{path}` in `paths` does not begin with /")));
    }
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut url = base.clone();
    url.set_path(path);
    url.set_query(query);
    Ok(url)
}

fn not_too_many(endpoints: usize) -> Result<(), StepError> {
    let few = endpoints <= ENDPOINTS_MAX;
    few.then_some(()).ok_or_else(|| refused(format!("{endpoints} endpoints, and {ENDPOINTS_MAX} is the most of one step: make two of it")))
}

/// The URL of a plan.
///
/// # Errors
/// What is wrong with it.
pub(super) fn url(text: &str) -> Result<Url, String> {
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
