//! A long way to a host: what is sent to its far address arrives there later, and so do the answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Pieces that are on their way in one direction of one connection.
const UNDER_WAY: usize = 1_024;
const PIECE: usize = 16 << 10;

/// How long the way is, in each direction. Ends with the process.
#[derive(Debug, Clone, Default)]
pub struct Way {
    delay_ms: Arc<AtomicU64>,
}

impl Way {
    pub fn set_delay(&self, delay: Duration) {
        self.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// Passes on what comes to `far`, from its own address, to `near`; both with their port.
    pub async fn open(far: &str, near: &str) -> Way {
        let way = Way::default();
        let listener = TcpListener::bind(far).await.unwrap_or_else(|error| panic!("{far}: {error}"));
        let (near, own) = (near.to_owned(), way.clone());
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(own.clone().pass_on(from, near.clone()));
            }
        });
        way
    }

    async fn pass_on(self, from: TcpStream, near: String) {
        let Ok(to) = connect(&from, &near).await else { return };
        // Small messages go at once, as they would without a stop on the way.
        for stream in [&from, &to] {
            let _ = stream.set_nodelay(true);
        }
        let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
        tokio::join!(self.carry(from_read, to_write), self.carry(to_read, from_write));
    }

    async fn carry(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (send, mut receive) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
        let read = async move {
            let mut piece = vec![0; PIECE];
            while let Ok(length @ 1..) = from.read(&mut piece).await {
                let due = Instant::now() + Duration::from_millis(self.delay_ms.load(Ordering::Relaxed));
                if send.send((due, piece[..length].to_vec())).await.is_err() {
                    break;
                }
            }
        };
        let write = async move {
            while let Some((due, piece)) = receive.recv().await {
                tokio::time::sleep_until(due).await;
                if to.write_all(&piece).await.is_err() {
                    break;
                }
            }
        };
        tokio::join!(read, write);
    }
}

/// As whoever passes it on: the host sees the far address, and a rule against it meets this way too.
async fn connect(from: &TcpStream, near: &str) -> std::io::Result<TcpStream> {
    let mut own = from.local_addr()?;
    own.set_port(0);
    let socket = TcpSocket::new_v4()?;
    socket.bind(own)?;
    socket.connect(near.parse().map_err(std::io::Error::other)?).await
}
