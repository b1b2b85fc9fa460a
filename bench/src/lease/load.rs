//! A closed loop of clients: each sends its next request when it has the answer to the last. The same for both.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Barrier;

use crate::results::median;

/// What one phase came to.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Operations per second.
    pub rate: f64,
    /// Latency, in milliseconds, that one in a hundred was slower than.
    pub p99_ms: f64,
    /// Cores that this process, which makes the load, was busy with.
    pub generator: f64,
}

impl Load {
    /// The middle of several rounds, each figure by itself.
    pub fn middle(rounds: &[Load]) -> Load {
        let of = |figure: fn(&Load) -> f64| median(rounds.iter().map(figure).collect());
        Load { rate: of(|load| load.rate), p99_ms: of(|load| load.p99_ms), generator: of(|load| load.generator) }
    }
}

/// Runs `each` operations on each of so many clients; the operation is given the client and the number.
pub async fn closed<F, Fut>(clients: usize, each: usize, operation: F) -> Load
where
    F: Fn(usize, usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let operation = Arc::new(operation);
    let start = Arc::new(Barrier::new(clients + 1));
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (operation, start) = (operation.clone(), start.clone());
            tokio::spawn(async move {
                start.wait().await;
                let mut took = Vec::with_capacity(each);
                for number in 0..each {
                    let begun = Instant::now();
                    operation(client, number).await;
                    took.push(begun.elapsed());
                }
                took
            })
        })
        .collect();
    let busy = busy_seconds();
    start.wait().await;
    let begun = Instant::now();
    let mut took: Vec<Duration> = Vec::with_capacity(clients * each);
    for task in tasks {
        took.extend(task.await.expect("a client of the load"));
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let generator = (busy_seconds() - busy) / elapsed;
    took.sort();
    let p99 = took[took.len().saturating_sub(1) * 99 / 100];
    Load { rate: took.len() as f64 / elapsed, p99_ms: p99.as_secs_f64() * 1_000.0, generator }
}

fn busy_seconds() -> f64 {
    mainstay_tests::process::cpu_seconds(rustix::process::getpid())
}
