//! Mutual TLS 1.3 on both sides, judged by the mesh's own roots and SPIFFE ids instead of host names.

mod by_trust;
mod config;
mod connections;
mod incoming;
mod verify;

pub use by_trust::name_of_root;
pub use config::{client_config, enrolment_config, pinned_config, server_config};
pub use connections::Connections;
pub use incoming::{Limits, PeerInfo, TlsConnection, enrol_incoming, incoming};
pub use verify::holds;

/// Makes ring the process's TLS provider. First thing in every `main`; again is harmless.
pub fn install_provider() {
    // An error says that one is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
