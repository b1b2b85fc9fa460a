//! What the tests stand on.

mod authority;
mod clock;
mod member;
mod register;

use std::future::Future;
use std::time::Duration;

pub use authority::{Authority, COORDINATOR, days_ago, identity};
pub use clock::ShiftedClock;
pub use member::{Answers, LOST, Member, PLENTY, ask};
pub use register::{Register, Table};

/// Longest that anything here may take; reached only when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a future to its end, or fails with what was waited for.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
