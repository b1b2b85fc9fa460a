//! Waiting for a state: asked again until it holds or the deadline has passed.

use std::future::Future;
use std::time::{Duration, Instant};

/// What a test allows a mesh under load to take for anything. Never decides by itself whether a test passes:
/// it only ends one that would hang.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks. Looks that take long, such as those by a program, are further apart: what is waited for needs the
/// machine as well.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Asks `state` until it answers with something.
pub async fn eventually<T, F, Fut>(what: &str, state: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    eventually_within(PATIENCE, what, state).await
}

/// As [`eventually`], with a deadline of its own.
pub async fn eventually_within<T, F, Fut>(patience: Duration, what: &str, state: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    eventually_or(patience, what, state, String::new).await
}

/// As [`eventually_within`]; when it gives up it also says what `around` found.
pub async fn eventually_or<T, F, Fut>(patience: Duration, what: &str, mut state: F, around: impl FnOnce() -> String) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let begun = Instant::now();
    loop {
        let look = Instant::now();
        match state().await {
            Ok(value) => return value,
            Err(last) if begun.elapsed() > patience => panic!("{what}: not within {patience:?}; last: {last}\n{}", around()),
            Err(_) => tokio::time::sleep((look.elapsed() * 2).clamp(PAUSE.0, PAUSE.1)).await,
        }
    }
}
