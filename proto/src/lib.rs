//! The wire format: `mainstay.v1`, and its conversions from and to `mainstay_core`.
//!
//! Every message has a JSON form for `-o json`: camelCase, enums as lower-case words.

pub mod convert;
pub mod words;

/// Generated from `proto/mainstay/v1`.
#[allow(clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
pub mod v1 {
    tonic::include_proto!("mainstay.v1");
}

/// Descriptors of all services, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Metadata key under which a member that does not lead says who does: `host:port`.
pub const LEADER_HEADER: &str = "mainstay-leader";
/// Metadata key of a caller's idempotency key.
pub const REQUEST_KEY_HEADER: &str = "mainstay-request-key";
/// Metadata key under which a caller says which roots it trusts: their ids, commas between.
pub const TRUSTS_HEADER: &str = "mainstay-trusts";
/// Metadata key of an answer to a caller who is to renew its certificate before its time.
pub const RENEW_HEADER: &str = "mainstay-renew";
