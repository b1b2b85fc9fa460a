//! `mainstay node`, `mainstay member` and `mainstay finding`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Node {
    /// Nodes, and whether their agents are linked
    #[command(after_help = "Example:\n  mainstay node list --cluster prod-eu")]
    List {
        /// Only nodes of this cluster
        #[arg(long, default_value = "", hide_default_value = true)]
        cluster: String,
    },
    /// Take a node that will not come back out of the registry
    #[command(after_help = "Example:\n  mainstay node forget prod-eu/node-17")]
    Forget {
        /// Node, written CLUSTER/NODE
        node: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Member {
    /// Members, their roles, and how far they are behind
    #[command(after_help = "Example:\n  mainstay member list")]
    List,
    /// Take a member out of the group for good
    #[command(after_help = "Example:\n  mainstay member remove c3")]
    Remove {
        /// Member, by id or name
        member: String,
    },
    /// Move the leadership
    #[command(after_help = "Examples:\n  mainstay member transfer\n  mainstay member transfer c2")]
    Transfer {
        /// Member that is to lead, by id or name; any voter that has caught up if left out
        to: Option<String>,
    },
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
