//! Plain HTTP for machines that watch: `/metrics`, `/healthz`, `/readyz`. Tells nothing that is secret, and
//! takes nothing.

mod metrics;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use metrics::Metrics;

/// Requests at one time.
const AT_ONCE: usize = 16;

/// Serves until `end`.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, end: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(show))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(metrics)
        .layer(tower::limit::GlobalConcurrencyLimitLayer::new(AT_ONCE));
    axum::serve(listener, router).with_graceful_shutdown(end.cancelled_owned()).await
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
