//! `mainstay run`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Run {
    /// Start a run of a plan
    #[command(after_help = "Examples:\n  mainstay run start daily --wait\n  mainstay run start reboot --set wave=2 -o json")]
    Start {
        /// Plan, for example daily
        plan: String,
        /// Revision of the plan; the current one if left out
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        revision: u32,
        /// Value of an input of the plan
        #[arg(long, value_name = "NAME=VALUE", value_parser = input)]
        set: Vec<(String, String)>,
        /// Stay until it has ended, print its report, end with its status
        #[arg(long)]
        wait: bool,
    },
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
        /// Everything: messages, hints and details of checks that are well, too
        #[arg(long)]
        all: bool,
    },
    /// Follow a run until it has ended; ends with its status
    #[command(after_help = "Example:\n  mainstay run watch daily-1")]
    Watch {
        /// Run, for example daily-1
        run: String,
    },
    /// Stop a run and undo what it did
    #[command(after_help = "Example:\n  mainstay run abort reboot-7 --reason \"wrong cluster\"")]
    Abort {
        /// Run, for example daily-1
        run: String,
        /// Why; kept with the run and in the audit log
        #[arg(long)]
        reason: String,
    },
}

/// `NAME=VALUE`, the value as JSON: numbers, true and false are themselves, everything else is text.
pub fn input(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name.is_empty() {
        return Err("there is no name before the =".to_owned());
    }
    let json = match serde_json::from_str::<serde_json::Value>(value) {
        Ok(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => value,
        _ => serde_json::Value::String(value.to_owned()),
    };
    Ok((name.to_owned(), json.to_string()))
}
