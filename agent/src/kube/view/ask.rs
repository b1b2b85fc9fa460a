//! Requests to the API server, each made once: a page of a list, the lines of a watch, a change.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures::StreamExt;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyDataStream, BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::pace::Pace;
use crate::kube::causes;

/// Objects of one page.
const PAGE: usize = 500;
/// Largest page, and largest line of a watch: an object may have 3 MiB as JSON, and most have a hundredth of it.
const PAGE_BYTES: usize = 256 << 20;
const LINE_BYTES: usize = 8 << 20;
/// Of an answer that says why not.
const REFUSAL_BYTES: usize = 64 << 10;
/// For one page, and for a watch to be opened.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a watch is asked for; the server ends it then, and the next goes on from there.
const WATCH_SECONDS: u64 = 300;
/// A watch says something at least once a minute.
const SILENCE: Duration = Duration::from_secs(90);

/// Why a list or a watch did not come off.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The version or the continuation is older than what the server remembers: only a list tells what there is.
    #[error("the API server has forgotten that version")]
    Forgotten,
    #[error("the API server refuses it: {0}: the agent's ServiceAccount needs the right")]
    Forbidden(String),
    #[error("{status}: {message}")]
    Refused { status: StatusCode, message: String, retry_after: Option<Duration> },
    #[error("{0}")]
    Failed(String),
}

/// One way of asking, which all loops share.
pub struct Ask {
    client: Client,
    pace: Pace,
    requests: Counter,
    page: usize,
}

/// One page.
#[derive(Deserialize)]
pub struct Page<T> {
    #[serde(default)]
    pub metadata: PageMeta,
    pub items: Vec<T>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PageMeta {
    pub r#continue: String,
    pub resource_version: String,
}

/// What a watch says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub enum Event<T> {
    Added(T),
    Modified(T),
    Deleted(T),
    Bookmark(Version),
    Error(Status),
}

/// An object of which only the version counts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Version {
    pub metadata: VersionMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VersionMeta {
    pub resource_version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub code: u16,
    pub message: String,
}

impl Ask {
    #[must_use]
    pub fn new(client: Client, requests: Counter) -> Ask {
        Ask { client, pace: Pace::default(), requests, page: PAGE }
    }

    /// The same with so many objects of one page, where they may be large.
    #[must_use]
    pub fn in_pages_of(self, page: usize) -> Ask {
        Ask { page, ..self }
    }

    /// One page of a list, from its beginning where `next` is empty.
    pub async fn page<T: DeserializeOwned>(&self, path: &str, next: &str) -> Result<Page<T>, AskError> {
        let mut uri = format!("{path}?limit={}", self.page);
        if !next.is_empty() {
            uri.push_str(&format!("&continue={}", utf8_percent_encode(next, NON_ALPHANUMERIC)));
        }
        self.pace.wait().await;
        let read = async {
            let response = self.get(&uri).await?;
            let body = Limited::new(response.into_body(), PAGE_BYTES).collect().await;
            body.map_err(|error| AskError::Failed(causes(&*error))).map(http_body_util::Collected::aggregate)
        };
        let body = within(read).await?;
        serde_json::from_reader(body.reader()).map_err(|error| AskError::Failed(format!("its answer is not what was asked for: {error}")))
    }

    /// Watches from a version on.
    pub async fn watch(&self, path: &str, version: &str) -> Result<Lines, AskError> {
        let uri = format!(
            "{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}",
            utf8_percent_encode(version, NON_ALPHANUMERIC)
        );
        self.pace.wait().await;
        let response = within(self.get(&uri)).await?;
        Ok(Lines { body: response.into_body().into_data_stream(), read: BytesMut::new(), searched: 0 })
    }

    /// Changes what is at a path. Whoever calls has waited for its [`Ask::turn`]: it may look once more in between.
    pub async fn patch(&self, path: &str, content: &'static str, fields: &Value) -> Result<(), AskError> {
        let mut request =
            Request::patch(path).body(Body::from(fields.to_string().into_bytes())).map_err(|error| AskError::Failed(error.to_string()))?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
        within(self.send(request)).await.map(drop)
    }

    /// Returns when a request may be made.
    pub async fn turn(&self) {
        self.pace.wait().await;
    }

    /// Nothing is asked for so long.
    pub async fn hold(&self, pause: Duration) {
        self.pace.hold(pause).await;
    }

    async fn get(&self, uri: &str) -> Result<Response<Body>, AskError> {
        let mut request = Request::get(uri).body(Body::empty()).map_err(|error| AskError::Failed(error.to_string()))?;
        // A watch that is compressed piece by piece is not read whole by what unpacks it.
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        self.send(request).await
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, AskError> {
        self.requests.inc();
        let response = self.client.send(request).await.map_err(|error| AskError::Failed(causes(&error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
        let body = Limited::new(response.into_body(), REFUSAL_BYTES).collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let message = match serde_json::from_slice::<Status>(&body) {
            Ok(told) if !told.message.is_empty() => told.message,
            _ => String::from_utf8_lossy(&body).chars().take(200).collect(),
        };
        if let Some(pause) = retry_after {
            self.pace.hold(pause).await;
        }
        Err(match status {
            StatusCode::GONE => AskError::Forgotten,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => AskError::Forbidden(message),
            _ => AskError::Refused { status, message, retry_after },
        })
    }
}

async fn within<T>(asked: impl Future<Output = Result<T, AskError>>) -> Result<T, AskError> {
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(AskError::Failed(format!("no answer within {PATIENCE:?}"))))
}

/// The lines of one watch.
pub struct Lines {
    body: BodyDataStream<Body>,
    read: BytesMut,
    /// How much of what was read holds no end of a line.
    searched: usize,
}

impl Lines {
    /// The next event; nothing when the server has ended the watch.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<Event<T>>, AskError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.read[self.searched..]) {
                let line = self.read.split_to(self.searched + end + 1);
                self.searched = 0;
                if line.len() <= 1 {
                    continue;
                }
                return serde_json::from_slice(&line).map(Some).map_err(|error| AskError::Failed(format!("a watch says what is no event: {error}")));
            }
            self.searched = self.read.len();
            if self.read.len() > LINE_BYTES {
                return Err(AskError::Failed(format!("a watch tells of an object of more than {LINE_BYTES} bytes")));
            }
            let piece = tokio::time::timeout(SILENCE, self.body.next()).await;
            match piece.map_err(|_| AskError::Failed(format!("a watch said nothing for {SILENCE:?}")))? {
                // What is left is half a line, and comes again.
                None => return Ok(None),
                Some(piece) => self.read.extend_from_slice(&piece.map_err(|error| AskError::Failed(causes(&error)))?),
            }
        }
    }
}
