//! `mainstay connection`.

use clap::Subcommand;

const TEST_EXAMPLES: &str = "Examples:
  mainstay connection test orders-db
  mainstay connection test orders-db --dry-run

It is a run of the plan connection-test: an agent that has the connection looks
at what it leads to, and nothing is changed there. Exit status: 0 it leads where
it should; 1 it does not, or nobody who has it is linked; 2 nobody has it.";

#[derive(Debug, Subcommand)]
pub enum Connection {
    /// Outside systems that agents have a way to, and who has it
    #[command(
        after_help = "Examples:\n  mainstay connection list\n  mainstay connection list -o json | jq '.connections[].name'\n\nA connection is declared at an agent, in connections.toml:\n  [connections.orders-db]\n  kind = \"postgres\"\n  url = \"postgres://app@db.example/orders\"\n  password = { file = \"secrets/orders-db\" }"
    )]
    List,
    /// Look whether a connection leads where it should
    #[command(after_help = TEST_EXAMPLES)]
    Test {
        /// Connection, as `mainstay connection list` names it
        name: String,
        /// Say what would be looked at and by whom, and start nothing
        #[arg(long)]
        dry_run: bool,
    },
}
