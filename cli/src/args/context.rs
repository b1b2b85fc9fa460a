//! `mainstay context`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum Context {
    /// Meshes that this user knows
    #[command(after_help = "Example:\n  mainstay context list")]
    List,
    /// The mesh that is meant when nothing else says so
    #[command(after_help = "Example:\n  mainstay context use prod")]
    Use {
        /// Name of the context
        name: String,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Add a mesh, with an identity that is there already or by a join token
    Add(Add),
}

const EXAMPLES: &str = "Examples:
  mainstay context add prod --members mesh.example:7400 \\
      --enrol mesh.example:7401 --as operator/ana --token-file token
  mainstay context add lab --members 10.0.0.1:7400 --identity /etc/mainstay/ana
  mainstay context add k8s --members mesh:7400 \\
      --chain /tls/tls.crt --key /tls/tls.key --roots /tls/ca.crt

A join token is a secret: it is read from a file, from standard input (-) or
from MAINSTAY_JOIN_TOKEN, never from the command line.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Add {
    /// Name of the context
    pub name: String,
    /// Addresses of coordinators, gRPC
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    pub members: Vec<String>,
    /// Directory with an identity.pem
    #[arg(long, value_name = "DIR", conflicts_with = "enrol", required_unless_present_any = ["enrol", "chain"])]
    pub identity: Option<PathBuf>,
    /// Certificate that somebody else issues and renews, and what signed it
    #[arg(long, value_name = "FILE", requires_all = ["key", "roots"], conflicts_with_all = ["enrol", "identity"])]
    pub chain: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE", requires = "chain")]
    pub key: Option<PathBuf>,
    /// Roots that are trusted then
    #[arg(long, value_name = "FILE", requires = "chain")]
    pub roots: Option<PathBuf>,
    /// Address of a coordinator's enrolment listener
    #[arg(long, value_name = "HOST:PORT", requires = "identity_name")]
    pub enrol: Option<String>,
    /// Identity to ask for, for example operator/ana
    #[arg(long = "as", id = "identity_name", value_name = "IDENTITY", requires = "enrol")]
    pub identity_name: Option<String>,
    /// File with the join token; - for standard input  [default: MAINSTAY_JOIN_TOKEN]
    #[arg(long, value_name = "FILE", requires = "enrol")]
    pub token_file: Option<String>,
    /// Only say what would be done; a join token is not used up
    #[arg(long)]
    pub dry_run: bool,
}
