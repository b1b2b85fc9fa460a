//! `mainstay support-bundle`.

use std::path::PathBuf;

use clap::Args;

const EXAMPLES: &str = "Examples:
  mainstay support-bundle --dry-run
  mainstay support-bundle --to /tmp/mesh.tar.gz

One file for whoever helps you: what `doctor` says, versions, status, members,
agents, findings, the newest runs and for what they wait, settings without their
secrets, and of a mesh of `mainstay up` the ends of its logs and its metrics. Known
shapes of credentials are taken out; MANIFEST in it says what is there and what was
left out. Read it before you send it: names of machines and people are in it.

A mesh that does not answer leaves less in it. Exit status: 0 it was written, also
without the mesh's answer; 1 it cannot be written; 2 bad usage";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SupportBundle {
    /// File to write, which must not be there yet  [default: mainstay-support-DATE-TIME.tar.gz in this folder]
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Say what would be in it; write nothing
    #[arg(long)]
    pub dry_run: bool,
}
