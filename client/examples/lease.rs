//! Does a piece of work while holding a lease, so that no other program does the same at the same time.
//!
//! ```text
//! cargo run -p mainstay-client --example lease -- IDENTITY_DIR HOST:PORT[,HOST:PORT…] LEASE
//! ```
//! `IDENTITY_DIR` holds the `identity.pem` that enrolment wrote; `HOST:PORT` are the coordinators' gRPC addresses.
#![allow(clippy::print_stdout, reason = "an example tells who runs it what it does")]

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use mainstay_client::lease::HoldOptions;
use mainstay_client::{Bundle, ClientIdentity, Mesh};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    mainstay_client::tls::install_provider();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, members, name] = arguments.as_slice() else { bail!("usage: lease IDENTITY_DIR HOST:PORT[,HOST:PORT…] LEASE") };

    let identity = ClientIdentity::new(Bundle::load(Path::new(dir))?)?;
    let mesh = Mesh::new(members.split(',').map(str::to_owned).collect(), identity);

    // Waits its turn for up to a minute; from then on the lease renews itself.
    let held = mesh.hold_lease(name, HoldOptions { wait: Duration::from_secs(60), ..HoldOptions::default() }).await?;
    tokio::select! {
        // Whatever is in here stops at its next await when the lease is lost.
        done = work(held.token()) => done?,
        () = held.lost() => bail!("lease {name} was lost: stopped in the middle of the work"),
    }
    held.release().await.context("the work is done, and the lease ends by itself after its TTL")
}

/// The token grows with each grant: an outside system that remembers the highest one it saw can refuse the
/// writes of a holder that was paused and does not know yet that it has lost the lease.
async fn work(token: &str) -> anyhow::Result<()> {
    println!("working with token {token}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    Ok(())
}
