//! The verbs: each asks the mesh and prints what it says. One file for each noun.

pub mod artifact;
pub mod audit;
pub mod backup;
pub mod bundle;
pub mod connection;
pub mod context;
pub mod doctor;
pub mod finding;
pub mod init;
pub mod inputs;
pub mod issuer;
pub mod lease;
pub mod login;
pub mod member;
pub mod mesh;
pub mod node;
pub mod operator;
pub mod plan;
pub mod root;
pub mod run;
pub mod status;
pub mod steps;
pub mod token;
pub mod validate;

use jiff::tz::TimeZone;
use mainstay_client::clock::{Clock, SystemClock};
use mainstay_core::WallTime;
use serde::Serialize;

use crate::args::{Global, Output};
use crate::error::CliError;
use crate::host;
use crate::render::Terminal;
use crate::render::json::json;

/// Where a verb's answer goes, and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    pub terminal: Terminal,
    /// Standard error: progress and remarks.
    pub notes: Terminal,
    pub output: Output,
}

impl Screen {
    #[must_use]
    pub fn new(global: &Global) -> Screen {
        Screen { terminal: Terminal::of_stdout(global.no_color), notes: Terminal::of_stderr(global.no_color), output: global.output }
    }

    #[must_use]
    pub fn is_json(self) -> bool {
        self.output == Output::Json
    }

    /// Prints a message: as JSON, or as what `table` makes of it.
    pub fn show<M: Serialize>(self, message: &M, table: impl FnOnce(&M) -> String) -> Result<(), CliError> {
        let text = match self.output {
            Output::Json => json(message)?,
            Output::Table => table(message),
        };
        print(&text)
    }

    /// Prints that something was done. A program learns it from the exit status and the message.
    pub fn done<M: Serialize>(self, message: &M, words: &str) -> Result<(), CliError> {
        self.show(message, |_| format!("{words}\n"))
    }
}

/// Prints to standard output.
pub fn print(text: &str) -> Result<(), CliError> {
    host::print(text).map_err(|error| CliError::failed(format!("nothing can be printed: {error}")))
}

/// The time for "4m ago".
#[must_use]
pub fn now() -> WallTime {
    SystemClock.wall()
}

/// The zone in which times of day are told.
#[must_use]
pub fn zone() -> TimeZone {
    TimeZone::system()
}
