//! Listeners, with words for what is wrong with an address.

use std::io;

use mainstay_client::network::{self, Listener};

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {purpose}: {}", words(source))]
pub struct ListenError {
    pub address: String,
    pub purpose: &'static str,
    #[source]
    pub source: io::Error,
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there; stop that one, or set another port".to_owned(),
        io::ErrorKind::PermissionDenied => "ports below 1024 need a right that this process lacks; set another port".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    }
}

/// Listens on `host:port`; port 0 takes a free one.
pub async fn listen(address: &str, purpose: &'static str) -> Result<Listener, ListenError> {
    network::listen(address).await.map_err(|source| ListenError { address: address.to_owned(), purpose, source })
}
