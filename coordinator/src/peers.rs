//! Connections to other members, and the store's calls over them.
//!
//! Large messages have a connection of their own, and files another, so that neither on a slow network holds up
//! heartbeats. A connection on which a call failed is given up: the next call makes a new one, with the
//! newest certificate.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use mainstay_client::channel;
use mainstay_client::error::{ConnectError, Reason};
use mainstay_client::identity::ClientIdentity;
use mainstay_core::MemberId;
use mainstay_proto::v1::raft_client::RaftClient;
use mainstay_proto::v1::{RaftRequest, RaftResponse};
use tokio::sync::Semaphore;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::store::{CallFuture, CallKind, Peer, RaftCall, Transport, TransportError};

/// Largest message between members.
pub const MESSAGE_MAX: usize = 8 << 20;
/// From this size on a message takes the connection for large ones.
const LARGE: usize = 64 << 10;
/// Calls of one connection that are on their way together.
const IN_FLIGHT: usize = 64;

/// Connections to members, by address. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Peers {
    identity: ClientIdentity,
    lines: Arc<Mutex<Lines>>,
}

/// By address and purpose.
type Lines = BTreeMap<(String, Lane), Arc<Line>>;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Small,
    Large,
    Files,
}

struct Line {
    address: String,
    connection: Mutex<Connection>,
    in_flight: Semaphore,
}

/// A connection that is open or being opened. Opening goes on when the call that began it has given up: a
/// heartbeat's deadline is too short for a handshake on a busy machine.
#[derive(Default)]
struct Connection {
    number: u64,
    opening: Option<Opening>,
}

type Opening = Shared<BoxFuture<'static, Result<Channel, TransportError>>>;

impl Peers {
    #[must_use]
    pub fn new(identity: ClientIdentity) -> Peers {
        Peers { identity, lines: Arc::default() }
    }

    /// Gives up all connections, so that the next calls show the newest certificate.
    pub fn reconnect(&self) {
        self.lines().clear();
    }

    /// Makes a call to the member at `address` that is small, and bounded by `deadline` as a whole.
    pub async fn ask<R, F, Fut>(&self, address: &str, deadline: Duration, send: F) -> Result<R, TransportError>
    where
        F: FnOnce(Channel) -> Fut,
        Fut: Future<Output = Result<tonic::Response<R>, Status>>,
    {
        let line = self.line(address, Lane::Small);
        self.over(&line, deadline, send).await
    }

    /// Makes a call that a file goes over. `deadline` is for its opening; what comes after that has its own.
    pub async fn open<R, F, Fut>(&self, address: &str, deadline: Duration, send: F) -> Result<R, TransportError>
    where
        F: FnOnce(Channel) -> Fut,
        Fut: Future<Output = Result<tonic::Response<R>, Status>>,
    {
        let line = self.line(address, Lane::Files);
        self.over(&line, deadline, send).await
    }

    async fn over<R, F, Fut>(&self, line: &Line, deadline: Duration, send: F) -> Result<R, TransportError>
    where
        F: FnOnce(Channel) -> Fut,
        Fut: Future<Output = Result<tonic::Response<R>, Status>>,
    {
        let call = async {
            let _permit = line.in_flight.acquire().await.map_err(|closed| TransportError::Unreachable(closed.to_string()))?;
            let (number, opening) = line.connection(&self.identity);
            let answer = match opening.await {
                Ok(channel) => send(channel).await.map_err(|status| told(&status)),
                Err(error) => Err(error),
            };
            if let Err(TransportError::Unreachable(_) | TransportError::Gone(_)) = answer {
                line.give_up(number);
            }
            answer
        };
        tokio::time::timeout(deadline, call).await.unwrap_or(Err(TransportError::TimedOut(deadline))).map(tonic::Response::into_inner)
    }

    fn line(&self, address: &str, lane: Lane) -> Arc<Line> {
        let new = || Arc::new(Line { address: address.to_owned(), connection: Mutex::default(), in_flight: Semaphore::new(IN_FLIGHT) });
        self.lines().entry((address.to_owned(), lane)).or_insert_with(new).clone()
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// The connection and its number.
    fn connection(&self, identity: &ClientIdentity) -> (u64, Opening) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opening) = &connection.opening {
            return (connection.number, opening.clone());
        }
        let (address, identity) = (self.address.clone(), identity.clone());
        let task = tokio::spawn(async move { channel::connect(&address, &identity).await.map_err(not_connected) });
        let opening = async move { task.await.unwrap_or_else(|ended| Err(TransportError::Unreachable(ended.to_string()))) }.boxed().shared();
        connection.number += 1;
        connection.opening = Some(opening.clone());
        (connection.number, opening)
    }

    fn give_up(&self, number: u64) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.number == number {
            connection.opening = None;
        }
    }
}

fn not_connected(error: ConnectError) -> TransportError {
    match error.reason {
        Reason::Refused(_) => TransportError::Gone(error.to_string()),
        Reason::Unreachable(_) | Reason::Certificate(_) => TransportError::Unreachable(error.to_string()),
    }
}

fn told(status: &Status) -> TransportError {
    match status.code() {
        // A connection that is open dials again by itself when it has broken.
        _ if ConnectError::is_refusal(status) => TransportError::Gone(status.message().to_owned()),
        Code::FailedPrecondition | Code::InvalidArgument | Code::ResourceExhausted => TransportError::Refused(status.message().to_owned()),
        _ => TransportError::Unreachable(status.message().to_owned()),
    }
}

impl Transport for Peers {
    fn call(&self, _to: MemberId, peer: &Peer, call: RaftCall, deadline: Duration) -> CallFuture {
        let lane = if call.kind == CallKind::Snapshot || call.body.len() > LARGE { Lane::Large } else { Lane::Small };
        let (peers, line) = (self.clone(), self.line(&peer.address, lane));
        Box::pin(async move {
            let request = RaftRequest { kind: u32::from(call.kind.number()), payload: call.body.into() };
            let response: RaftResponse = peers
                .over(&line, deadline, |channel| async move {
                    RaftClient::new(channel).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX).call(request).await
                })
                .await?;
            Ok(Bytes::from(response.payload))
        })
    }
}
