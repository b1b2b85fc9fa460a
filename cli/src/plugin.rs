//! `kubectl mainstay`: this program, under the names by which kubectl finds its plugins.
//!
//! In: the name it was called by, and the words after it. Out: the command line with usage as it was typed, or what
//! could come next in the form in which kubectl asks its plugins for completions.

use std::ffi::OsStr;
use std::path::Path;

use clap::{Arg, Command};

/// By which name kubectl runs it.
const PLUGIN: &str = "kubectl-mainstay";
/// By which name kubectl asks it what could come next.
const COMPLETE: &str = "kubectl_complete-mainstay";
/// What is printed last: whether the shell offers files too, in kubectl's numbers.
const FILES_TOO: &str = ":0";
const NO_FILES: &str = ":4";

/// As what this program was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    Mainstay,
    Plugin,
    Completion,
}

impl Called {
    /// By the first word of the command line.
    pub fn by(program: &OsStr) -> Called {
        match Path::new(program).file_stem().and_then(OsStr::to_str) {
            Some(PLUGIN) => Called::Plugin,
            Some(COMPLETE) => Called::Completion,
            _ => Called::Mainstay,
        }
    }

    /// The command line, with the name that was typed.
    pub fn command(self, command: Command) -> Command {
        if self == Called::Plugin { command.bin_name("kubectl mainstay") } else { command }
    }
}

/// What could stand in place of the last of these words, a line each.
pub fn complete(mut command: Command, words: &[String]) -> String {
    command.build();
    let Some((last, before)) = words.split_last() else { return NO_FILES.to_owned() };
    let (mut at, mut waits) = (&command, None);
    for word in before {
        let flag = flag_of(at, word);
        match at.find_subcommand(word) {
            // What follows a flag is its value.
            _ if waits.take().is_some() => {}
            Some(inner) => at = inner,
            None => waits = flag.filter(|flag| flag.get_action().takes_values() && !word.contains('=')),
        }
    }
    let (mut found, directive) = match waits {
        Some(flag) => values_of(flag),
        None if last.starts_with('-') => (at.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(long_of).collect(), NO_FILES),
        None if at.has_subcommands() => (at.get_subcommands().filter(|verb| !verb.is_hide_set()).map(verb_of).collect(), NO_FILES),
        None => at.get_positionals().next().map_or((Vec::new(), NO_FILES), values_of),
    };
    found.retain(|line| line.starts_with(last.as_str()));
    found.push(directive.to_owned());
    found.join("\n")
}

/// The flag that a word names, alone or with its value.
fn flag_of<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    let long = word.strip_prefix("--").map(|name| name.split('=').next().unwrap_or(name));
    let short = word.strip_prefix('-').and_then(|name| name.chars().next());
    let is_it = |arg: &&Arg| if long.is_some() { arg.get_long() == long } else { short.is_some() && arg.get_short() == short };
    command.get_arguments().find(is_it)
}

/// The values that there are; files, where it is one.
fn values_of(arg: &Arg) -> (Vec<String>, &'static str) {
    let words: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let is_file = matches!(arg.get_value_hint(), clap::ValueHint::AnyPath | clap::ValueHint::FilePath | clap::ValueHint::DirPath);
    (words, if is_file { FILES_TOO } else { NO_FILES })
}

/// With what it is for after a tab, which a shell shows beside it.
fn long_of(arg: &Arg) -> Option<String> {
    let help = arg.get_help().map(|help| format!("\t{help}")).unwrap_or_default();
    arg.get_long().map(|long| format!("--{long}{help}"))
}

fn verb_of(verb: &Command) -> String {
    let about = verb.get_about().map(|about| format!("\t{about}")).unwrap_or_default();
    format!("{}{about}", verb.get_name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::CommandFactory;

    fn completed(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        complete(Cli::command(), &words).lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn it_knows_what_it_was_called() {
        assert_eq!(Called::by(OsStr::new("/usr/bin/mainstay")), Called::Mainstay);
        assert_eq!(Called::by(OsStr::new("/usr/bin/kubectl-mainstay")), Called::Plugin);
        assert_eq!(Called::by(OsStr::new("kubectl_complete-mainstay")), Called::Completion);
        let mut command = Called::Plugin.command(Cli::command());
        command.build();
        let run = command.find_subcommand_mut("run").unwrap();
        assert!(run.render_help().to_string().contains("Usage: kubectl mainstay run"), "{}", run.render_help());
    }

    #[test]
    fn what_could_come_next_is_known() {
        assert_eq!(completed(&["sta"]), ["status", ":4"]);
        assert_eq!(completed(&["run", "sta"]), ["start", ":4"]);
        assert_eq!(completed(&["run", "start", "--wa"]), ["--wait", ":4"]);
        assert_eq!(completed(&["-o", ""]), ["table", "json", ":4"]);
        assert_eq!(completed(&["status", "--output", "j"]), ["json", ":4"]);
        // A flag's value is no verb.
        assert_eq!(completed(&["--context", "run", "sta"]), ["status", ":4"]);
        assert_eq!(completed(&["completion", "ba"]), ["bash", ":4"]);
        assert_eq!(completed(&["--dir", ""]), [":0"]);
        assert_eq!(completed(&["nothing-like-it", "x"]), [":4"]);
    }
}
