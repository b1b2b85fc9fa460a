//! What a member says of itself over plain HTTP.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Largest answer that is read.
const ANSWER_MAX: u64 = 1 << 20;

/// `GET` by hand: status line, headers and body as they come. Nothing while nobody answers.
pub async fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: member\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

/// The value of a metric that has no labels.
pub async fn gauge(port: u16, name: &str) -> Option<f64> {
    let answer = get(port, "/metrics").await?;
    answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Whether a member follows or leads, and has all that it knows to be committed.
pub async fn is_ready(port: u16) -> bool {
    get(port, "/readyz").await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
