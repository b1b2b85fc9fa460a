//! The command line: verbs, nouns and flags, as clap sees them. Values are checked for their form here, and
//! for their meaning by the mesh.

pub mod artifact;
pub mod backup;
pub mod bundle;
pub mod connection;
pub mod context;
pub mod identity;
pub mod init;
pub mod inputs;
pub mod lease;
pub mod mesh;
pub mod node;
pub mod plan;
pub mod root;
pub mod run;
pub mod up;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mainstay_core::Millis;

/// Maintenance for fleets: plans that survive the laptop they were started from.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, propagate_version = true, disable_help_subcommand = true, max_term_width = 110, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

const EXAMPLES: &str = "Examples:
  mainstay up                           a whole mesh on this machine, with a first daily report
  mainstay status                       the mesh at a glance
  mainstay run start daily --wait       look at every machine now
  mainstay why daily-1                  for what a run waits
  mainstay lease run deploy -- make deploy

Exit status: 0 success; 1 ran and failed, was aborted, or found something
critical or unknown; 2 bad usage; 3 no coordinator could be reached";

/// Flags of every verb, before or after it.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// State directory of a mesh that `mainstay up` runs on this machine
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "context", help_heading = "Which mesh")]
    pub dir: Option<PathBuf>,
    /// Mesh by its name in `mainstay context list`
    #[arg(long, global = true, value_name = "NAME", help_heading = "Which mesh")]
    pub context: Option<String>,
    /// How the answer is written
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Output")]
    pub output: Output,
    /// No colour, as NO_COLOR does
    #[arg(long, global = true, help_heading = "Output")]
    pub no_color: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people; plain lines in a pipe
    #[default]
    Table,
    /// All of it, for programs
    Json,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "a program has one of them")]
pub enum Verb {
    /// Run a whole mesh on this machine
    Up(up::Up),
    /// Lay out a mesh on servers: its first coordinator, its root key, its first operator
    Init(init::Init),
    /// Lay out a mesh in a Kubernetes cluster: what the chart's first coordinators read
    InitCluster(init::InitCluster),
    /// The mesh at a glance: members, agents, runs, findings
    #[command(after_help = "Example:\n  mainstay status -o json | jq .agentsUp")]
    Status,
    /// Nodes and their agents
    #[command(subcommand)]
    Node(node::Node),
    /// Members of the coordinator group
    #[command(subcommand)]
    Member(node::Member),
    /// The mesh as a whole: a snapshot of its state, beginning again from one, its roots of trust
    #[command(subcommand)]
    Mesh(mesh::Mesh),
    /// Runs: start them, watch them, steer them, read their reports
    #[command(subcommand)]
    Run(run::Run),
    /// For what a run waits, what needs a person first; of an ended run, what did not come off
    #[command(
        after_help = "Examples:\n  mainstay why\n  mainstay why daily-1\n  mainstay why daily-1 -o json | jq .waits[].kind\n\nWithout a run: all that waits for a person in open runs, and what ended ones have\nleft to one: an undo that did not come off, an unknown outcome, a lease still held."
    )]
    Why {
        /// Run, for example daily-1; without it, all that waits for a person
        run: Option<String>,
    },
    /// What is wrong or unknown
    #[command(subcommand)]
    Finding(node::Finding),
    /// Leases: run a command under one, see who holds what
    #[command(subcommand)]
    Lease(lease::Lease),
    /// Plans: preview, apply, compare and read them
    #[command(subcommand)]
    Plan(plan::Plan),
    /// Backups: what the mesh knows of them; and in a store, without a mesh, make, read, check, restore them
    #[command(subcommand)]
    Backup(backup::Backup),
    /// Outside systems that agents have a way to
    #[command(subcommand)]
    Connection(connection::Connection),
    /// Step kinds and their parameters; needs no mesh
    #[command(after_help = "Examples:\n  mainstay steps\n  mainstay steps http.check")]
    Steps {
        /// Step kind, for example http.check; all of them if left out
        kind: Option<String>,
    },
    /// Who changed what
    #[command(after_help = "Example:\n  mainstay audit --limit 20")]
    Audit {
        /// At most this many records, the newest
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=5_000))]
        limit: u32,
    },
    /// Operators: people who may use this mesh, and what each may do
    #[command(subcommand)]
    Operator(identity::Operator),
    /// Become an operator by a join token, or renew the certificate in use
    Login(identity::Login),
    /// Join tokens, with which nodes, operators and programs are let in
    #[command(subcommand)]
    Token(identity::Token),
    /// Refuse an identity from now on
    Revoke(identity::Revoke),
    /// Meshes that this user knows
    #[command(subcommand)]
    Context(context::Context),
    /// What is wrong here and in the mesh, and what to do about it
    #[command(after_help = DOCTOR)]
    Doctor,
    /// What somebody who helps with a mesh asks for, in one file without secrets
    SupportBundle(bundle::SupportBundle),
    /// Completions for a shell
    #[command(after_help = "Example:\n  mainstay completion bash > ~/.local/share/bash-completion/completions/mainstay")]
    Completion { shell: clap_complete::Shell },
    /// Version of this program
    Version,
}

const DOCTOR: &str = "Examples:
  mainstay doctor
  mainstay doctor -o json | jq '.diagnoses[] | select(.verdict != \"ok\")'

It changes nothing. Exit status: 0 nothing is wrong (warnings do not count);
1 something is, or is not known; 2 bad usage; 3 no coordinator could be reached, and what this
machine shows is told all the same";

/// A length of time on the command line.
pub fn duration(text: &str) -> Result<Millis, String> {
    text.parse::<Millis>().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
