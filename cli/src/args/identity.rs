//! `mainstay token` and `mainstay revoke`.

use clap::{Args, Subcommand, ValueEnum};
use mainstay_core::Millis;

use super::duration;

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a join token; it is shown once
    Create(Create),
}

const EXAMPLES: &str = "Examples:
  mainstay token create --nodes prod-eu --uses 40 --valid 2h > join-token
  mainstay token create --operator ana --role operator";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Create {
    #[command(flatten)]
    pub scope: Scope,
    /// What an operator may do
    #[arg(long, value_enum, default_value_t, requires = "operator")]
    pub role: Role,
    /// How long it may be used, at most 30d
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
    pub valid: Millis,
    /// How often it may be used
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub uses: u32,
}

/// Whom it lets in.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Scope {
    /// Nodes of this cluster
    #[arg(long, value_name = "CLUSTER")]
    pub nodes: Option<String>,
    /// The operator of this name
    #[arg(long, value_name = "NAME")]
    pub operator: Option<String>,
    /// The program of this name
    #[arg(long, value_name = "NAME")]
    pub client: Option<String>,
    /// A coordinator
    #[arg(long)]
    pub coordinator: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Role {
    /// Looks only
    Viewer,
    /// Starts and aborts runs, applies plans
    #[default]
    Operator,
    /// Also lets others in, and changes members
    Admin,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mainstay revoke operator/ana --reason \"left the company\"")]
pub struct Revoke {
    /// Identity, for example operator/ana or cluster/prod-eu/node/node-17
    pub identity: String,
    /// Why; kept in the audit log
    #[arg(long)]
    pub reason: String,
}

impl Role {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}
