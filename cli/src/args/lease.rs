//! `mainstay lease`.

use clap::{Args, Subcommand};
use mainstay_core::Millis;

use super::duration;

#[derive(Debug, Subcommand)]
pub enum Lease {
    /// Leases, who holds them, and who waits
    #[command(after_help = "Example:\n  mainstay lease list node/")]
    List {
        /// Only names that begin with this
        #[arg(default_value = "", hide_default_value = true)]
        prefix: String,
    },
    /// Holders and waiters of one lease
    #[command(after_help = "Example:\n  mainstay lease show deploy/shop")]
    Show {
        /// Name of the lease
        name: String,
    },
    /// Run a command while holding a lease
    Run(Hold),
    /// Free a claim whose holder is known to be gone
    #[command(after_help = "Example:\n  mainstay lease release node/prod/node-19 --proof \"replaced, see OPS-12\"")]
    Release {
        /// Name of the claim
        name: String,
        /// Why its holder is known to be gone; kept in the audit log
        #[arg(long, value_name = "TEXT")]
        proof: String,
        /// Token of the holder that is gone; may be left out where there is only one holder
        #[arg(long)]
        token: Option<String>,
        /// Only ask the mesh whether it would
        #[arg(long)]
        dry_run: bool,
    },
}

const EXAMPLES: &str = "Examples:
  mainstay lease run deploy/shop -- make deploy
  mainstay lease run backup --wait 0s -- ./backup.sh      give up at once if somebody else holds it
  mainstay lease run crawl --slots 3 -- ./crawl

The command has the token of its grant in MAINSTAY_LEASE_TOKEN; a later grant
always has a greater one. When the lease is lost, the command is ended (SIGTERM,
10 s later SIGKILL). Exit status: the command's own; 125 when the lease was not
had in time, or was lost.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Hold {
    /// Name of the lease, for example deploy/shop
    pub name: String,
    /// How many may hold it at once  [default: as defined, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub slots: Option<u32>,
    /// When it ends if its holder falls silent  [default: as defined, else 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub ttl: Option<Millis>,
    /// How long to wait for it
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
    pub wait: Millis,
    /// Command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND", num_args = 1..)]
    pub command: Vec<std::ffi::OsString>,
}
