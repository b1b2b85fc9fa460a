//! What a cluster agent tells the mesh of its cluster, and what the mesh says to that.
//!
//! One message at a time: the next one follows the answer to the last, so that a mesh that is slow is told less often,
//! and of what is newest then.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mainstay_proto::v1::agent_message::Message as ToMesh;
use mainstay_proto::v1::mesh_message::Message as FromMesh;
use tokio::sync::{Notify, mpsc, watch};

/// Answers that wait to be read. There is one for each message, and a word each second at most of who else is to know.
const ANSWERS: usize = 256;

/// The link's end.
#[derive(Debug)]
pub struct Exchange {
    waiting: Mutex<Option<ToMesh>>,
    filled: Notify,
    answers: mpsc::Sender<FromMesh>,
    /// The link that is up now, or 0.
    link: watch::Sender<u64>,
}

/// The end of whoever tells.
#[derive(Debug)]
pub struct Teller {
    exchange: std::sync::Arc<Exchange>,
    answers: mpsc::Receiver<FromMesh>,
    link: watch::Receiver<u64>,
}

impl Exchange {
    #[must_use]
    pub fn open() -> (std::sync::Arc<Exchange>, Teller) {
        let (answers, received) = mpsc::channel(ANSWERS);
        let (link, seen) = watch::channel(0);
        let exchange = std::sync::Arc::new(Exchange { waiting: Mutex::default(), filled: Notify::new(), answers, link });
        let teller = Teller { exchange: exchange.clone(), answers: received, link: seen };
        (exchange, teller)
    }

    /// A link is up, or with 0 none is. What was not sent before is of no use on another one.
    pub fn linked(&self, number: u64) {
        *self.waiting() = None;
        self.link.send_replace(number);
    }

    /// Ends when there is something to take.
    pub async fn filled(&self) {
        loop {
            if self.waiting().is_some() {
                return;
            }
            self.filled.notified().await;
        }
    }

    pub fn take(&self) -> Option<ToMesh> {
        self.waiting().take()
    }

    /// Hands an answer on. `false`: nobody has read the ones before, or nobody asked.
    pub fn answered(&self, answer: FromMesh) -> bool {
        self.answers.try_send(answer).is_ok()
    }

    fn waiting(&self) -> MutexGuard<'_, Option<ToMesh>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Teller {
    /// The number of the link that is up.
    pub async fn up(&mut self) -> u64 {
        match self.link.wait_for(|number| *number > 0).await.map(|number| *number) {
            Ok(number) => number,
            // There will be no other link.
            Err(_) => std::future::pending().await,
        }
    }

    /// Returns when the link of that number is not the one that is up.
    pub fn ended(&self, number: u64) -> impl Future<Output = ()> + Send + use<> {
        let mut link = self.link.clone();
        async move {
            if link.wait_for(|now| *now != number).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Has a message sent, in place of one that was not sent yet.
    pub fn tell(&self, message: ToMesh) {
        *self.exchange.waiting() = Some(message);
        self.exchange.filled.notify_one();
    }

    /// The next thing that the mesh says.
    pub async fn answer(&mut self) -> FromMesh {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}
