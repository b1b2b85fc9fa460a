//! What went wrong, where, and what to do next.

use std::fmt;

use mainstay_client::CallError;
use mainstay_client::error::ConnectError;
use tonic::Code;

use crate::exit::Exit;
use crate::render::layout::harmless;

/// An error for a person: one sentence, lines of what to do next, and the exit status it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    pub message: String,
    pub next: Vec<String>,
    pub exit: Exit,
}

impl CliError {
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> CliError {
        CliError { message: message.into(), next: Vec::new(), exit }
    }

    /// The command line, or a file it names, is wrong.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> CliError {
        CliError::new(Exit::Usage, message)
    }

    /// It was tried and did not come off.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> CliError {
        CliError::new(Exit::Failed, message)
    }

    /// Adds a line of what to do next.
    #[must_use]
    pub fn with_next(mut self, next: impl Into<String>) -> CliError {
        self.next.push(next.into());
        self
    }

    /// Says what was being done, in front of the message.
    #[must_use]
    pub fn while_doing(self, doing: &str) -> CliError {
        CliError { message: format!("{doing}: {}", self.message), ..self }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What comes from elsewhere must not steer the terminal.
        write!(f, "error: {}", harmless_lines(&self.message))?;
        self.next.iter().try_for_each(|line| write!(f, "\n  {}", harmless_lines(line)))
    }
}

impl std::error::Error for CliError {}

fn harmless_lines(text: &str) -> String {
    text.split('\n').map(harmless).collect::<Vec<_>>().join("\n")
}

impl From<CallError> for CliError {
    fn from(error: CallError) -> CliError {
        match &error {
            CallError::Unreachable { tried } => unreachable(tried),
            CallError::NoLeader { message } => CliError::new(Exit::Unreachable, format!("the mesh has no leader: {message}"))
                .with_next("a majority of its coordinators must be up; which ones answer:  mainstay member list"),
            CallError::DeadlineExceeded(_) => {
                CliError::new(Exit::Unreachable, error.to_string()).with_next("look at the coordinators:  mainstay status")
            }
            CallError::Refused { code, message } => CliError::new(refused(*code), message.clone()),
        }
    }
}

fn unreachable(tried: &[ConnectError]) -> CliError {
    let mut told = CliError::new(Exit::Unreachable, "no coordinator could be reached");
    told.next.extend(tried.iter().map(|tried| format!("tried {tried}")));
    if tried.iter().any(ConnectError::is_about_certificates) {
        told.with_next("the mesh is there, but the certificate is not good: log in again with a token from an admin:  mainstay login TOKEN")
    } else {
        told.with_next("what is in the way:  mainstay doctor")
    }
}

/// What a refusal comes to: a wrong word in the request is bad usage, the rest was tried and failed.
fn refused(code: Code) -> Exit {
    match code {
        Code::InvalidArgument | Code::NotFound | Code::OutOfRange => Exit::Usage,
        Code::Unavailable | Code::Unauthenticated => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_refusal_has_its_status() {
        let status = |code| CliError::from(CallError::Refused { code, message: "no".into() }).exit;
        assert_eq!(status(Code::NotFound), Exit::Usage);
        assert_eq!(status(Code::InvalidArgument), Exit::Usage);
        assert_eq!(status(Code::FailedPrecondition), Exit::Failed);
        assert_eq!(status(Code::PermissionDenied), Exit::Failed);
        assert_eq!(status(Code::Unauthenticated), Exit::Unreachable);
        assert_eq!(CliError::from(CallError::DeadlineExceeded(Duration::from_secs(1))).exit, Exit::Unreachable);
    }

    #[test]
    fn an_error_says_what_to_do_next() {
        let error = CliError::from(CallError::Unreachable { tried: Vec::new() });
        assert_eq!(error.to_string(), "error: no coordinator could be reached\n  what is in the way:  mainstay doctor");
        assert_eq!(error.exit, Exit::Unreachable);
    }
}
