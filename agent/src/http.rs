//! `/metrics`, `/healthz` and `/readyz`, plain, for whoever watches this process.
//!
//! Healthy: the process answers. Ready: it has a link to the mesh. Connections, their number and the time
//! that each may take are bounded; nothing here changes anything.
#![allow(clippy::disallowed_methods)] // this module is the seam to its listener's socket

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// Connections at one time.
const CONNECTIONS: usize = 32;
/// For the head of a request.
const HEAD: Duration = Duration::from_secs(5);
/// For a whole connection; who watches for longer opens another.
const CONNECTION: Duration = Duration::from_secs(60);
/// After a connection could not be accepted: for want of file descriptors, as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The form of metrics that `prometheus_client` writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; choose another address with --http-listen, or none")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// A listener that does not serve yet.
#[derive(Debug)]
pub struct Http {
    listener: TcpListener,
}

impl Http {
    /// Takes the address. Port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is in use or not this machine's.
    pub async fn bind(address: SocketAddr) -> Result<Http, ListenError> {
        let listener = TcpListener::bind(address).await.map_err(|source| ListenError { address, source })?;
        Ok(Http { listener })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the task ends. Paths begin with `root_path`.
    pub async fn serve(self, root_path: &str, registry: Arc<Registry>, ready: watch::Receiver<bool>) -> Infallible {
        let router = router(root_path, registry, ready);
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let slot = Arc::clone(&room).acquire_owned().await;
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(async move {
                let _slot = slot;
                let connection =
                    http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(HEAD).serve_connection(TokioIo::new(stream), service);
                // Whoever is on the other end knows best why it broke off.
                let _ = tokio::time::timeout(CONNECTION, connection).await;
            });
        }
    }
}

fn router(root_path: &str, registry: Arc<Registry>, ready: watch::Receiver<bool>) -> Router {
    let path = |name: &str| format!("{root_path}/{name}");
    Router::new().route(&path("metrics"), get(move || async move { metrics(&registry) })).route(&path("healthz"), get(|| async { "ok\n" })).route(
        &path("readyz"),
        get(move || async move {
            if *ready.borrow() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "there is no link to the mesh\n") }
        }),
    )
}

fn metrics(registry: &Registry) -> axum::response::Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_three_paths_answer_below_their_root() {
        let http = Http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = http.address().unwrap();
        let mut registry = Registry::default();
        crate::link::LinkMetrics::default().register(&mut registry);
        let (up, ready) = watch::channel(false);
        tokio::spawn(async move { http.serve("/a1", Arc::new(registry), ready).await });
        assert!(ask(address, "/a1/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(ask(address, "/a1/readyz").await.starts_with("HTTP/1.1 503"));
        up.send_replace(true);
        assert!(ask(address, "/a1/readyz").await.starts_with("HTTP/1.1 200"));
        let metrics = ask(address, "/a1/metrics").await;
        assert!(
            metrics.contains("openmetrics-text")
                && metrics.contains("mainstay_agent_link_up 0")
                && metrics.contains("mainstay_agent_reconnects_total 0"),
            "{metrics}"
        );
        assert!(ask(address, "/metrics").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_what_to_do() {
        let held = Http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = Http::bind(held.address().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains(&held.address().unwrap().to_string()) && error.contains("--http-listen"), "{error}");
    }
}
