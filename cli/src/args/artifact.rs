//! `mainstay run artifacts`.

use std::path::PathBuf;

use clap::Args;

const EXAMPLES: &str = "Examples:
  mainstay run artifacts weekly-3
  mainstay run artifacts weekly-3 --get report.html
  mainstay run artifacts weekly-3 --get output.log --step vacuum --target prod/db-1 --to - | less
  mainstay run artifacts weekly-3 --forget output.log --step vacuum --dry-run";

/// Files that the steps of a run have left, and all that they printed
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Artifacts {
    /// Run, for example weekly-3
    pub run: String,
    /// Save the artifact of this name; it is checked against what was stored
    #[arg(long, value_name = "NAME")]
    pub get: Option<String>,
    /// Drop the artifact of this name: it makes room on the coordinators' disks
    #[arg(long, value_name = "NAME", conflicts_with = "get")]
    pub forget: Option<String>,
    /// Only of this step
    #[arg(long)]
    pub step: Option<String>,
    /// Only of this target, for example prod/db-1 or once
    #[arg(long)]
    pub target: Option<String>,
    /// Only of this attempt; with --get and --forget the newest one if left out
    #[arg(long, value_name = "ID")]
    pub attempt: Option<String>,
    /// Where to save it, - for standard output; a file of its name in this folder if left out
    #[arg(long, value_name = "FILE", requires = "get")]
    pub to: Option<PathBuf>,
    /// Say what would be dropped, and drop nothing
    #[arg(long, requires = "forget")]
    pub dry_run: bool,
}
