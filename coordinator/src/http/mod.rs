//! Plain HTTP for machines that watch: `/metrics`, `/healthz`, `/readyz`. Tells nothing that is secret, and
//! takes nothing.

mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use mainstay_client::network::{Listener, Socket};
use tokio_util::sync::CancellationToken;

pub use metrics::Metrics;

/// Requests at one time.
const AT_ONCE: usize = 16;
/// After a connection that could not be accepted.
const RETRY: Duration = Duration::from_millis(100);

/// Serves until `end`.
pub async fn serve(listener: Listener, metrics: Arc<Metrics>, end: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(show))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(metrics)
        .layer(tower::limit::GlobalConcurrencyLimitLayer::new(AT_ONCE));
    axum::serve(Door(listener), router).with_graceful_shutdown(end.cancelled_owned()).await
}

/// A listener, as axum wants one.
struct Door(Listener);

impl axum::serve::Listener for Door {
    type Io = Socket;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Socket, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    // Out of descriptors, most likely: those that are open will end.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

async fn show(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    match metrics.text() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

async fn alive(State(metrics): State<Arc<Metrics>>) -> (StatusCode, String) {
    answer(metrics.failure().map_or(Ok("ok"), Err))
}

async fn ready(State(metrics): State<Arc<Metrics>>) -> (StatusCode, String) {
    answer(metrics.readiness())
}

fn answer(result: Result<&'static str, String>) -> (StatusCode, String) {
    match result {
        Ok(text) => (StatusCode::OK, format!("{text}\n")),
        Err(text) => (StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n")),
    }
}
