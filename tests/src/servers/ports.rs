//! Ports for servers that cannot be asked to choose one themselves.
//!
//! They lie below the range from which the kernel takes ports of outgoing connections, and above that of
//! `mainstay up`, so that neither takes one between the look and the start.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

const RANGE: Range<u16> = 32_000..32_760;

static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port on the loopback address that nobody listens on; never the same twice in one process.
pub fn free() -> u16 {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let size = RANGE.end - RANGE.start;
    let from = rand::random::<u16>() % size;
    let mut candidates = (0..size).map(|i| RANGE.start + (from + i) % size);
    let port = candidates.find(|port| !taken.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let port = port.expect("one of 760 ports is free");
    taken.insert(port);
    port
}
