//! `mainstay run`.

use clap::{Args, Subcommand};

use super::inputs::Inputs;

#[derive(Debug, Subcommand)]
pub enum Run {
    /// Start a run of a plan
    Start(Start),
    /// Runs, newest first
    #[command(after_help = "Example:\n  mainstay run list --plan daily")]
    List {
        /// Only runs of this plan
        #[arg(long, value_name = "PLAN", default_value = "", hide_default_value = true)]
        plan: String,
        /// Only runs that have not ended
        #[arg(long)]
        open: bool,
    },
    /// Steps and report of a run
    #[command(after_help = "Examples:\n  mainstay run show daily-1\n  mainstay run show daily-1 --all\n  mainstay run show daily-1 -o json")]
    Show {
        /// Run, for example daily-1
        run: String,
        /// Everything: outputs, messages, hints and details of checks that are well, too
        #[arg(long)]
        all: bool,
    },
    /// Follow a run until it has ended; ends with its status
    #[command(after_help = "Example:\n  mainstay run watch daily-1")]
    Watch {
        /// Run, for example daily-1
        run: String,
    },
    /// Say yes or no to what a run waits for, having seen it
    Approve(Approve),
    /// Begin nothing further in a run until it is resumed
    #[command(
        after_help = "Examples:\n  mainstay run pause reboot-7\n  mainstay run pause reboot-7 --reason \"looking at node-17\"\n\nWhat is under way goes on to its end."
    )]
    Pause {
        /// Run, for example daily-1
        run: String,
        /// Why; `why` shows it
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Let a run that was paused go on
    #[command(after_help = "Example:\n  mainstay run resume reboot-7")]
    Resume {
        /// Run, for example daily-1
        run: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    Artifacts(super::artifact::Artifacts),
    /// Stop a run and undo what it did
    #[command(
        after_help = "Examples:\n  mainstay run abort reboot-7 --reason \"wrong cluster\"\n  mainstay run abort reboot-7 --reason test --dry-run"
    )]
    Abort {
        /// Run, for example daily-1
        run: String,
        /// Why; kept with the run and in the audit log
        #[arg(long)]
        reason: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Take back what a run did, also after it has ended
    #[command(
        after_help = "Examples:\n  mainstay run undo deploy-4 --reason \"errors since the switch\" --dry-run\n  mainstay run undo deploy-4 --reason \"errors since the switch\"\n\nA run that has not ended is aborted. After an undo that was incomplete, what it\nleft in place is tried again."
    )]
    Undo {
        /// Run, for example daily-1
        run: String,
        /// Why; kept in the audit log
        #[arg(long)]
        reason: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Do again what did not come off in a run that has ended
    #[command(
        after_help = "Examples:\n  mainstay run retry reboot-7\n  mainstay run retry reboot-7 --step drain\n  mainstay run retry reboot-7 --unknown      also what may have begun already"
    )]
    Retry {
        /// Run, for example daily-1
        run: String,
        /// Only this step
        #[arg(long, default_value = "", hide_default_value = true)]
        step: String,
        /// Also what may have been done, and nobody knows: it may be done twice
        #[arg(long)]
        unknown: bool,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
}

const START: &str = "Examples:
  mainstay run start daily --wait
  mainstay run start deploy --set service=shop/web --set replicas=3
  mainstay run start deploy --set 'hosts=[\"a\", \"b\"]' --dry-run
  mainstay run start weekly --override \"agreed with jo, OPS-12\"

See before what it would do:  mainstay plan preview PLAN";

#[derive(Debug, Args)]
#[command(after_help = START)]
pub struct Start {
    /// Plan, for example daily
    pub plan: String,
    /// Revision of the plan; the current one if left out
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub revision: u32,
    #[command(flatten)]
    pub inputs: Inputs,
    /// Begin outside of windows and within freezes, for this reason; it is kept in the audit log
    #[arg(long = "override", value_name = "REASON", default_value = "", hide_default_value = true)]
    pub without_calendar: String,
    /// Only check whether it would start
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// Stay until it has ended, print its report, end with its status
    #[arg(long)]
    pub wait: bool,
}

const APPROVE: &str = "Examples:
  mainstay run approve reboot-7                  shows what there is to agree to, and asks
  mainstay run approve reboot-7 --wave 3 --yes
  mainstay run approve reboot-7 --step ask --deny --reason \"not before Monday\"

It counts for what was shown, and for nothing else: when that has changed in the
meantime, it is refused. Without a terminal it needs --yes.";

#[derive(Debug, Args)]
#[command(after_help = APPROVE)]
pub struct Approve {
    /// Run, for example reboot-7
    pub run: String,
    /// Step that asks for it; needed only where several do
    #[arg(long)]
    pub step: Option<String>,
    /// Wave that asks for it; needed only where several do
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub wave: Option<u32>,
    /// The approval that the plan itself asks for; needed only where steps ask too
    #[arg(long, conflicts_with = "step")]
    pub plan: bool,
    /// Say no: the step fails
    #[arg(long)]
    pub deny: bool,
    /// Why; kept with the run and in the audit log
    #[arg(long, default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Only show what there is to agree to
    #[arg(long)]
    pub dry_run: bool,
}
