//! `mainstay plan`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Plan {
    /// Plans of the mesh
    #[command(after_help = "Example:\n  mainstay plan list")]
    List,
    /// Source of a plan
    #[command(after_help = "Example:\n  mainstay plan show daily > daily.yaml")]
    Show {
        /// Name of the plan
        name: String,
        /// Revision; the current one if left out
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        revision: u32,
    },
    /// Check a plan and store it as a new revision
    #[command(after_help = "Examples:\n  mainstay plan apply -f weekly.yaml\n  cat weekly.yaml | mainstay plan apply -f - --dry-run")]
    Apply {
        /// File with the plan; - for standard input
        #[arg(short = 'f', long = "file", value_name = "FILE")]
        file: String,
        /// Only check it, here and by the mesh
        #[arg(long)]
        dry_run: bool,
    },
    /// Check a plan's file; needs no mesh
    #[command(after_help = "Example:\n  mainstay plan validate weekly.yaml")]
    Validate {
        /// File with the plan; - for standard input
        file: String,
    },
}
