//! A client that never stops and never retries: every answer is written down, and who gave it.
//!
//! Some clients open a new connection for each request; others keep theirs, and open one anew only where the server has
//! ended it. They are counted apart: a server that ends may cut a kept connection while a request is on its way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Clients of each sort.
pub const CLIENTS: usize = 2;
/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(20);
/// For one answer; what takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Whether connections are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    New,
    Kept,
}

/// One request, and what came of it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub at: Instant,
    pub sort: Sort,
    /// The body of a 200, or what went wrong.
    pub answer: Result<String, String>,
}

/// Asks until it is ended.
pub struct Steady {
    stop: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Asked>>>,
    clients: JoinSet<()>,
}

impl Steady {
    /// Asks that address for `/`.
    pub fn of(address: SocketAddr) -> Steady {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut clients = JoinSet::new();
        for sort in [Sort::New, Sort::Kept] {
            for _ in 0..CLIENTS {
                clients.spawn(ask_on(address, sort, Arc::clone(&stop), Arc::clone(&asked)));
            }
        }
        Steady { stop, asked, clients }
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it, and says what was asked.
    pub async fn end(mut self) -> Vec<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
        self.asked()
    }
}

/// What failed of one sort, counted by words.
pub fn failures(asked: &[Asked], sort: Sort) -> BTreeMap<&str, usize> {
    let mut counted = BTreeMap::new();
    for one in asked.iter().filter(|one| one.sort == sort) {
        if let Err(why) = &one.answer {
            *counted.entry(why.as_str()).or_default() += 1;
        }
    }
    counted
}

async fn ask_on(address: SocketAddr, sort: Sort, stop: Arc<AtomicBool>, asked: Arc<Mutex<Vec<Asked>>>) {
    let mut kept: Option<TcpStream> = None;
    while !stop.load(Ordering::Relaxed) {
        let at = Instant::now();
        let answer = match tokio::time::timeout(TIMEOUT, ask(address, sort, &mut kept)).await {
            Ok(answer) => answer,
            Err(_) => Err("no answer in time".to_owned()),
        };
        if answer.is_err() {
            kept = None;
        }
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(Asked { at, sort, answer });
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask(address: SocketAddr, sort: Sort, kept: &mut Option<TcpStream>) -> Result<String, String> {
    // One that was closed while nothing was asked is no connection any more.
    let mut stream = match kept.take().filter(|kept| !matches!(kept.try_read(&mut [0; 1]), Ok(0))) {
        Some(stream) => stream,
        None => TcpStream::connect(address).await.map_err(|error| format!("connect: {}", error.kind()))?,
    };
    let connection = if sort == Sort::Kept { "keep-alive" } else { "close" };
    let request = format!("GET / HTTP/1.1\r\nHost: steady\r\nConnection: {connection}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| format!("send: {}", error.kind()))?;
    let mut read = Vec::new();
    loop {
        if let Some((head, body)) = whole(&read) {
            if sort == Sort::Kept && !head.to_ascii_lowercase().contains("connection: close") {
                *kept = Some(stream);
            }
            let status = head.split_whitespace().nth(1).unwrap_or_default();
            return if status == "200" { Ok(body) } else { Err(format!("HTTP {status}")) };
        }
        let count = stream.read_buf(&mut read).await.map_err(|error| format!("read: {}", error.kind()))?;
        if count == 0 {
            return Err("the connection ended before the answer".to_owned());
        }
    }
}

/// Head and body of an answer, where all of it is there.
fn whole(read: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(read).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok())?;
    (body.len() >= length).then(|| (head.to_owned(), body.trim().to_owned()))
}
