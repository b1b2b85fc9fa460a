//! What a machine has of the network whether or not its process runs: connections, and what has come in on them.
//!
//! ```text
//!  process ─▶ Call ─▶ kernel ─▶ turmoil's sockets ─▶ the simulated network
//!     └──────── bytes ──┘ as much as a buffer holds, in either direction
//! ```
//! As an operating system does, it takes in what comes for a process that stands still. It dies with its machine.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use turmoil::net::{TcpListener, TcpStream};

/// Bytes that wait in one direction of a connection until the process takes them.
const BUFFER: usize = 64 << 10;
/// Connections that wait to be accepted.
const BACKLOG: usize = 128;

/// What a process asks of it.
pub enum Call {
    Connect { address: String, answer: oneshot::Sender<io::Result<Pipe>> },
    Listen { address: String, answer: oneshot::Sender<io::Result<Door>> },
}

/// The process's end of a connection.
#[derive(Debug)]
pub struct Pipe {
    pub bytes: DuplexStream,
    /// The two ends, as one text.
    pub ends: String,
    pub broken: Broken,
}

/// Why a connection has broken.
#[derive(Debug, Clone, Default)]
pub struct Broken(Arc<Mutex<Option<ErrorKind>>>);

/// The process's end of a listener.
#[derive(Debug)]
pub struct Door {
    pub address: SocketAddr,
    pub opened: mpsc::Receiver<(Pipe, SocketAddr)>,
}

impl Broken {
    pub fn why(&self) -> Option<ErrorKind> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, why: ErrorKind) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

thread_local! {
    static KERNELS: RefCell<BTreeMap<String, mpsc::UnboundedSender<Call>>> = RefCell::default();
    /// What is asked of those that have not run yet.
    static ASKED: RefCell<BTreeMap<String, mpsc::UnboundedReceiver<Call>>> = RefCell::default();
}

/// A machine is started: from here on its process may ask.
pub fn begin(machine: &str) {
    let (calls, asked) = mpsc::unbounded_channel();
    KERNELS.with_borrow_mut(|kernels| kernels.insert(machine.to_owned(), calls));
    ASKED.with_borrow_mut(|all| all.insert(machine.to_owned(), asked));
}

/// Asks the kernel of a machine. One that is down answers nothing.
pub fn ask(machine: &str, call: Call) {
    KERNELS.with_borrow(|kernels| {
        if let Some(kernel) = kernels.get(machine) {
            // Whoever asked sees its answer dropped.
            let _ = kernel.send(call);
        }
    });
}

/// What runs on a machine of turmoil's.
pub async fn run(machine: &'static str) -> turmoil::Result {
    let Some(mut asked) = ASKED.with_borrow_mut(|all| all.remove(machine)) else { return Ok(()) };
    while let Some(call) = asked.recv().await {
        match call {
            Call::Connect { address, answer } => drop(tokio::task::spawn_local(connect(address, answer))),
            Call::Listen { address, answer } => drop(tokio::task::spawn_local(listen(address, answer))),
        }
    }
    Ok(())
}

async fn connect(address: String, answer: oneshot::Sender<io::Result<Pipe>>) {
    // Nobody listens for the answer where the process has given up.
    let _ = answer.send(TcpStream::connect(address).await.and_then(pipe));
}

async fn listen(address: String, mut answer: oneshot::Sender<io::Result<Door>>) {
    let bound = tokio::select! {
        bound = TcpListener::bind(address) => bound,
        () = answer.closed() => return,
    };
    let (listener, address) = match bound.and_then(|listener| listener.local_addr().map(|address| (listener, address))) {
        Ok(bound) => bound,
        Err(error) => return drop(answer.send(Err(error))),
    };
    let (accepted, opened) = mpsc::channel(BACKLOG);
    if answer.send(Ok(Door { address, opened })).is_err() {
        return;
    }
    loop {
        let (stream, from) = tokio::select! {
            () = accepted.closed() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(_) => continue,
            },
        };
        if let Ok(pipe) = pipe(stream)
            && accepted.send((pipe, from)).await.is_err()
        {
            return;
        }
    }
}

/// Carries bytes between a socket and a process until either end has ended.
fn pipe(stream: TcpStream) -> io::Result<Pipe> {
    let ends = format!("{}-{}", stream.local_addr()?, stream.peer_addr()?);
    let (bytes, inside) = tokio::io::duplex(BUFFER);
    let broken = Broken::default();
    let told = broken.clone();
    tokio::task::spawn_local(async move {
        let (mut incoming, mut outgoing) = stream.into_split();
        let (mut from_process, mut to_process) = tokio::io::split(inside);
        let into = async {
            tokio::io::copy(&mut incoming, &mut to_process).await?;
            to_process.shutdown().await
        };
        let out = async {
            tokio::io::copy(&mut from_process, &mut outgoing).await?;
            outgoing.shutdown().await
        };
        if let Err(error) = tokio::try_join!(into, out) {
            told.say(error.kind());
        }
    });
    Ok(Pipe { bytes, ends, broken })
}
