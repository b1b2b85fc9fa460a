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
    /// Check plans' files; needs no mesh
    #[command(after_help = "Examples:\n  mainstay plan validate weekly.yaml\n  mainstay plan validate deploy/plans/*.yaml -o json")]
    Validate {
        /// Files with one plan each; - for standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
    },
    /// JSON Schema of plans, for editors; needs no mesh
    #[command(
        after_help = "Example:\n  mainstay plan schema > maintenanceplan.v1alpha1.json\n\nIn a plan:\n  # yaml-language-server: $schema=maintenanceplan.v1alpha1.json"
    )]
    Schema,
}
