//! `mainstay mesh root`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum Root {
    /// Roots that the mesh trusts, how far everybody is with each, and what comes next
    #[command(after_help = "Example:\n  mainstay mesh root list")]
    List,
    /// Make a root and its key in files; needs no mesh
    New(New),
    /// Have the mesh trust another root, beside those that it trusts
    #[command(after_help = "Example:\n  mainstay mesh root add new-root/root.pem

Every member trusts it at once and asks for an issuer under it; agents and
operators learn of it as they renew, which the mesh asks them to do now.")]
    Add {
        /// File with the root certificate
        file: PathBuf,
        /// Only ask the mesh whether it would
        #[arg(long)]
        dry_run: bool,
    },
    /// Sign what members ask for with a root's key, which stays on this machine
    #[command(after_help = "Examples:
  mainstay mesh root issue --root-key new-root/root.key
  mainstay mesh root issue --root-key /media/offline/root.key --dry-run

Once all members sign under a new root, leaves are issued under it, and those
that are about are renewed. Also for issuers that end within four months.")]
    Issue {
        /// File with the private key of one of the roots
        #[arg(long, value_name = "FILE")]
        root_key: PathBuf,
        /// Only say for whom it would be
        #[arg(long)]
        dry_run: bool,
    },
    /// Have the mesh trust a root no longer; refused while anybody depends on it
    #[command(after_help = "Example:\n  mainstay mesh root retire 9b71c2d4e6f80a13")]
    Retire {
        /// Id of the root, as `mainstay mesh root list` shows it
        id: String,
        /// Also where agents, operators and programs depend on it: these have to enrol again
        #[arg(long)]
        cut_off: bool,
        /// Only ask the mesh whether it would
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mainstay mesh root new --mesh prod --to new-root

Keep root.key offline: whoever has it can be anybody in the mesh.")]
pub struct New {
    /// Name of the mesh
    #[arg(long, value_name = "NAME")]
    pub mesh: String,
    /// Directory for root.pem and root.key; it is made
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Only say what would be written
    #[arg(long)]
    pub dry_run: bool,
}
