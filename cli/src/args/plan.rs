//! `mainstay plan`.

use clap::{Args, Subcommand};

use super::inputs::Inputs;

#[derive(Debug, Subcommand)]
pub enum Plan {
    /// Plans of the mesh, when each runs next, and how its last run went
    #[command(after_help = "Example:\n  mainstay plan list")]
    List,
    /// Source of a plan
    #[command(after_help = "Examples:\n  mainstay plan show daily > daily.yaml\n  mainstay plan show daily --revisions")]
    Show {
        /// Name of the plan
        name: String,
        /// Revision; the current one if left out
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        revision: u32,
        /// Its revisions in place of the source: who applied which, and when
        #[arg(long, conflicts_with = "revision")]
        revisions: bool,
    },
    /// What a run would do, where, in which order, and what is in its way; changes nothing
    Preview(Preview),
    /// What differs between two revisions of a plan, or between a file and the mesh
    Diff(Diff),
    /// Check a plan and store it as a new revision
    #[command(after_help = "Examples:\n  mainstay plan apply -f weekly.yaml\n  cat weekly.yaml | mainstay plan apply -f - --dry-run")]
    Apply {
        #[command(flatten)]
        source: File,
        /// Only check it, here and by the mesh
        #[arg(long)]
        dry_run: bool,
    },
    /// Check plans' files; needs no mesh
    #[command(after_help = "Examples:\n  mainstay plan validate weekly.yaml\n  mainstay plan validate deploy/plans/*.yaml -o json")]
    Validate {
        #[command(flatten)]
        source: Files,
    },
    /// JSON Schema of plans, for editors; needs no mesh
    #[command(
        after_help = "Example:\n  mainstay plan schema > maintenanceplan.v1alpha1.json\n\nIn a plan:\n  # yaml-language-server: $schema=maintenanceplan.v1alpha1.json"
    )]
    Schema,
    /// Keep a plan's schedules from starting runs
    #[command(
        after_help = "Examples:\n  mainstay plan suspend weekly --reason \"the move, OPS-31\"\n  mainstay plan suspend weekly --reason test --dry-run\n\nRuns that go on go on, and a run can be started by hand."
    )]
    Suspend {
        /// Name of the plan
        name: String,
        /// Why; `plan list` shows it
        #[arg(long)]
        reason: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Let a plan's schedules start runs again
    #[command(after_help = "Example:\n  mainstay plan resume weekly\n\nWhat was due in the meantime is not made up for.")]
    Resume {
        /// Name of the plan
        name: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove a plan, with all its revisions; one that came with the program is in force again
    #[command(
        after_help = "Examples:\n  mainstay plan remove weekly --dry-run\n  mainstay plan remove weekly\n\nIts runs must have ended; their reports stay."
    )]
    Remove {
        /// Name of the plan
        name: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
}

/// One file, with `-f` or without.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct File {
    /// File with a plan; - for standard input
    #[arg(value_name = "FILE")]
    here: Option<String>,
    /// The same
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: Option<String>,
}

impl File {
    #[must_use]
    pub fn path(&self) -> &str {
        self.file.as_ref().or(self.here.as_ref()).map_or("", String::as_str)
    }
}

/// Several files, with `-f` or without.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Files {
    /// Files with one plan each; - for standard input
    #[arg(value_name = "FILE")]
    here: Vec<String>,
    /// The same
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: Vec<String>,
}

impl Files {
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.here.iter().chain(&self.file).cloned().collect()
    }
}

/// A plan of the mesh, or a file.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Source {
    /// Name of a plan of the mesh; what ends in .yaml or .yml, or has a / in it, is a file
    #[arg(value_name = "PLAN|FILE")]
    name: Option<String>,
    /// File with a plan, applied or not; - for standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: Option<String>,
}

impl Source {
    #[must_use]
    pub fn file(&self) -> Option<&String> {
        self.file.as_ref().or(self.name.as_ref().filter(|name| is_file(name)))
    }

    #[must_use]
    pub fn name(&self) -> Option<&String> {
        self.name.as_ref().filter(|name| !is_file(name))
    }
}

/// No plan has a name with a `/` in it, and nobody calls one `daily.yaml`.
fn is_file(name: &str) -> bool {
    name == "-" || name.contains('/') || [".yaml", ".yml"].iter().any(|end| name.ends_with(end))
}

const PREVIEW: &str = "Examples:
  mainstay plan preview reboot
  mainstay plan preview deploy --set service=shop/web --set image=shop/web:2.4.1
  mainstay plan preview -f weekly.yaml --values prod.yaml

Exit status: 0 if a run could start and come to its end as things are now, also
if it would have to wait; 1 if something would keep it from that (✖). The same
is found, and the same is the status, of  mainstay run start PLAN --dry-run";

#[derive(Debug, Args)]
#[command(after_help = PREVIEW)]
pub struct Preview {
    #[command(flatten)]
    pub source: Source,
    /// Revision of the plan; the current one if left out
    #[arg(long, default_value_t = 0, hide_default_value = true, conflicts_with = "file")]
    pub revision: u32,
    #[command(flatten)]
    pub inputs: Inputs,
}

const DIFF: &str = "Examples:
  mainstay plan diff -f weekly.yaml               what applying the file would change
  mainstay plan diff -f weekly.yaml --revision 3  the same, from revision 3 on
  mainstay plan diff weekly                       what the newest revision changed
  mainstay plan diff weekly --revision 3          what has changed since revision 3

Exit status: 0 if they are the same, 1 if they differ";

#[derive(Debug, Args)]
#[command(after_help = DIFF)]
pub struct Diff {
    #[command(flatten)]
    pub source: Source,
    /// Revision to compare with; the current one for a file, else the one before
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub revision: u32,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Verb};

    fn parsed(line: &str) -> Plan {
        match Cli::try_parse_from(["mainstay", "plan"].into_iter().chain(line.split(' '))).unwrap().verb {
            Verb::Plan(plan) => plan,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_is_given_with_and_without_its_flag() {
        for line in ["apply a.yaml", "apply -f a.yaml", "apply --file a.yaml"] {
            let Plan::Apply { source, .. } = parsed(line) else { panic!("{line}") };
            assert_eq!(source.path(), "a.yaml", "{line}");
        }
        for line in ["validate a.yaml b.yaml", "validate -f a.yaml -f b.yaml", "validate a.yaml -f b.yaml"] {
            let Plan::Validate { source } = parsed(line) else { panic!("{line}") };
            assert_eq!(source.paths(), ["a.yaml", "b.yaml"], "{line}");
        }
        for (line, file, name) in [
            ("preview a.yaml", Some("a.yaml"), None),
            ("preview -f weekly", Some("weekly"), None),
            ("preview ./weekly", Some("./weekly"), None),
            ("preview -", Some("-"), None),
            ("preview weekly", None, Some("weekly")),
        ] {
            let Plan::Preview(preview) = parsed(line) else { panic!("{line}") };
            assert_eq!((preview.source.file().map(String::as_str), preview.source.name().map(String::as_str)), (file, name), "{line}");
        }
        assert!(Cli::try_parse_from(["mainstay", "plan", "validate"]).is_err());
        assert!(Cli::try_parse_from(["mainstay", "plan", "apply"]).is_err());
    }
}
