//! `mainstay node`, `mainstay member` and `mainstay finding`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum Node {
    /// Nodes, and whether their agents are linked
    #[command(after_help = "Example:\n  mainstay node list --cluster prod-eu")]
    List {
        /// Only nodes of this cluster
        #[arg(long, default_value = "", hide_default_value = true)]
        cluster: String,
    },
    /// One node: its agent, and what its cluster says of it
    #[command(after_help = "Examples:\n  mainstay node show prod-eu/node-17\n  mainstay node show prod-eu/agent/r1")]
    Show {
        /// Node, written CLUSTER/NODE
        node: String,
    },
    /// Take a node that will not come back out of the registry
    #[command(after_help = "Examples:\n  mainstay node forget prod-eu/node-17 --dry-run\n  mainstay node forget prod-eu/node-17")]
    Forget {
        /// Node, written CLUSTER/NODE
        node: String,
        /// Only ask the mesh whether it would
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Member {
    /// Members, their roles, and how far they are behind
    #[command(after_help = "Example:\n  mainstay member list")]
    List,
    /// Take a member out of the group for good
    #[command(
        after_help = "Examples:\n  mainstay member remove c3 --dry-run\n  mainstay member remove c3\n\nIts process ends and does not come back: its certificate is refused from then on."
    )]
    Remove {
        /// Member, by id or name
        member: String,
        /// Only ask the mesh whether it would
        #[arg(long)]
        dry_run: bool,
    },
    /// Move the leadership
    #[command(after_help = "Examples:\n  mainstay member transfer\n  mainstay member transfer c2")]
    Transfer {
        /// Member that is to lead, by id or name; any voter that has caught up if left out
        to: Option<String>,
        /// Only ask the mesh whether it would
        #[arg(long)]
        dry_run: bool,
    },
    /// Give the coordinator on this machine what it signs with, or the next one
    Issuer(Issuer),
}

const ISSUER: &str = "Example:
  mainstay member issuer --dir /var/lib/mainstay --name c2 --root-key prod-root.pem

On the coordinator's own machine, as root. A coordinator that joined with a token
has no issuer and asks another member to sign; each issuer ends after a year.";

#[derive(Debug, Args)]
#[command(after_help = ISSUER)]
pub struct Issuer {
    /// Name of the member, for whoever reads the certificate  [default: its id]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The mesh's root: its key, and its certificate in the same file or in root.pem beside it
    #[arg(long, value_name = "FILE")]
    pub root_key: PathBuf,
    /// Say what would be made; make nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub enum Finding {
    /// Open findings, worst first
    #[command(after_help = "Example:\n  mainstay finding list --cleared")]
    List {
        /// Also those that have cleared
        #[arg(long)]
        cleared: bool,
    },
}
