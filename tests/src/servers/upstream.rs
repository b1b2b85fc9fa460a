//! What nginx stands in front of: an application that answers as slowly as it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nslowly";

pub struct Upstream {
    pub port: u16,
    delay_ms: Arc<AtomicU64>,
    serves: JoinHandle<()>,
}

impl Upstream {
    pub async fn start() -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the application");
        let port = listener.local_addr().expect("its address").port();
        let delay_ms = Arc::new(AtomicU64::new(0));
        let delay = Arc::clone(&delay_ms);
        let serves = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let delay = Duration::from_millis(delay.load(Ordering::Relaxed));
                tokio::spawn(async move {
                    let mut request = [0; 2_048];
                    // A client that has gone away is nobody's fault here.
                    if stream.read(&mut request).await.is_ok() {
                        tokio::time::sleep(delay).await;
                        let _ = stream.write_all(ANSWER).await;
                    }
                });
            }
        });
        Upstream { port, delay_ms, serves }
    }

    /// From now on each answer takes that long.
    pub fn answers_after(&self, delay: Duration) {
        self.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serves.abort();
    }
}
