//! `mainstay operator`, `mainstay login`, `mainstay token` and `mainstay revoke`.

use clap::{Args, Subcommand, ValueEnum};
use mainstay_core::Millis;

use super::duration;

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a join token; it is shown once
    Create(Create),
    /// Join tokens that can still be used, without their secrets
    #[command(after_help = "Example:\n  mainstay token list")]
    List,
    /// Make a join token useless
    #[command(after_help = "Example:\n  mainstay token revoke 5f2c9a81d0b3")]
    Revoke {
        /// Id of the token, or its beginning: at least 8 characters
        id: String,
        /// Only say which one it is
        #[arg(long)]
        dry_run: bool,
    },
}

const TOKEN_EXAMPLES: &str = "Examples:
  mainstay token create --nodes prod-eu --uses 40 --valid 2h > join-token
  mainstay token create --client deployer";

#[derive(Debug, Args)]
#[command(after_help = TOKEN_EXAMPLES)]
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
    /// Only ask the mesh whether it would make it
    #[arg(long)]
    pub dry_run: bool,
}

/// Whom it lets in.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Scope {
    /// Nodes of this cluster
    #[arg(long, value_name = "CLUSTER")]
    pub nodes: Option<String>,
    /// Cluster agents of this cluster: the replicas that speak for it
    #[arg(long, value_name = "CLUSTER")]
    pub cluster_agents: Option<String>,
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

#[derive(Debug, Subcommand)]
pub enum Operator {
    /// Give somebody a role, and print the line with which they log in
    #[command(after_help = "Examples:
  mainstay operator add ana --role operator
  mainstay operator add ben --role viewer --valid 8h

Whoever uses the printed line first is that operator: hand it over by a way
that others do not read. The same again makes a line for another machine.")]
    Add {
        /// Name of the operator
        name: String,
        /// What the operator may do
        #[arg(long, value_enum)]
        role: Role,
        /// How long the line may be used, at most 30d
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
        valid: Millis,
        /// Only give the role: the certificate is issued elsewhere
        #[arg(long, conflicts_with = "valid")]
        no_login: bool,
        /// Only ask the mesh whether it would
        #[arg(long)]
        dry_run: bool,
    },
    /// Operators, what they may do, and when they were here
    #[command(after_help = "Example:\n  mainstay operator list -o json | jq '.operators[] | select(.role == \"admin\")'")]
    List,
    /// Give an operator another role; it counts from the next call on
    #[command(after_help = "Example:\n  mainstay operator role ana admin")]
    Role {
        /// Name of the operator
        name: String,
        /// What the operator may do from now on
        #[arg(value_enum)]
        role: Role,
        /// Only ask the mesh whether it would
        #[arg(long)]
        dry_run: bool,
    },
    /// Take an operator's role away; the name can be given again
    #[command(after_help = "Example:\n  mainstay operator remove ana")]
    Remove {
        /// Name of the operator
        name: String,
        /// Only ask the mesh whether it would
        #[arg(long)]
        dry_run: bool,
    },
    /// Refuse an operator for good, and end its connections
    #[command(after_help = "Example:\n  mainstay operator revoke ana --reason \"laptop was stolen\"

The name is not given again: certificates of it may still be about.")]
    Revoke {
        /// Name of the operator
        name: String,
        /// Why; kept in the audit log
        #[arg(long)]
        reason: String,
        /// Only ask the mesh whether it would
        #[arg(long)]
        dry_run: bool,
    },
}

const LOGIN_EXAMPLES: &str = "Examples:
  mainstay login mst1.4f…c2.9b…07.operator/ana@mesh.example:7401
  mainstay login --token-file - --name prod < token
  mainstay login                        a new certificate now, for the mesh in use

Certificates last a day and are renewed by whatever verb is used next, up to
30 days after their end. The token is good once; where others can see this
machine's processes, give it by --token-file or MAINSTAY_JOIN_TOKEN.";

#[derive(Debug, Args)]
#[command(after_help = LOGIN_EXAMPLES)]
pub struct Login {
    /// Join token from `mainstay operator add`; without one, the certificate in use is renewed
    #[arg(conflicts_with = "token_file")]
    pub token: Option<String>,
    /// File with the join token; - for standard input  [default: MAINSTAY_JOIN_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<String>,
    /// Name of the context that is added  [default: the name of the mesh]
    #[arg(long, value_name = "CONTEXT", conflicts_with_all = ["context", "dir"])]
    pub name: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mainstay revoke cluster/prod-eu/node/node-17 --reason \"machine was stolen\"")]
pub struct Revoke {
    /// Identity, for example operator/ana or cluster/prod-eu/node/node-17
    pub identity: String,
    /// Why; kept in the audit log
    #[arg(long)]
    pub reason: String,
    /// Only ask the mesh whether it would
    #[arg(long)]
    pub dry_run: bool,
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
