//! Leads from an address of this machine to a server that listens on the loopback address only: pods of a test's cluster come
//! to it there.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Ends with the value.
pub struct Relay {
    pub port: u16,
    serves: JoinHandle<()>,
}

impl Relay {
    /// From any port of `address` to a port of the loopback address.
    pub async fn start(address: &str, to: u16) -> Relay {
        let listener = TcpListener::bind((address, 0)).await.expect("a port for the relay");
        let port = listener.local_addr().expect("its address").port();
        let serves = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // Whoever goes away is missed at both ends.
                    if let Ok(mut far) = TcpStream::connect(("127.0.0.1", to)).await {
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        Relay { port, serves }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serves.abort();
    }
}
