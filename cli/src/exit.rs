//! How a verb ends, as an exit status.

use std::process::ExitCode;

use mainstay_proto::v1::{Run, RunState, Verdict};

/// How a verb ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Success,
    /// It ran, and failed, was aborted, or came to a verdict of critical or unknown.
    Failed,
    /// The command line, or a file it names, is wrong; nothing was done.
    Usage,
    /// No coordinator could be reached, or a store did not let a backup be read.
    Unreachable,
    /// A lease was not had in time, or was lost.
    LeaseLost,
    /// The status of the command that was run under a lease.
    Command(u8),
}

impl Exit {
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::LeaseLost => 125,
            Exit::Command(status) => status,
        }
    }

    /// What a run that has ended comes to: warnings and skipped checks do not count against it.
    #[must_use]
    pub fn of_run(run: &Run) -> Exit {
        let completed = run.state() == RunState::Completed;
        let bad = matches!(run.verdict(), Verdict::Critical | Verdict::Unknown);
        if completed && !bad { Exit::Success } else { Exit::Failed }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(state: RunState, verdict: Verdict) -> Exit {
        Exit::of_run(&Run { state: state.into(), verdict: verdict.into(), ..Run::default() })
    }

    #[test]
    fn a_run_fails_by_its_state_or_by_a_bad_verdict() {
        for verdict in [Verdict::Unspecified, Verdict::Ok, Verdict::Skipped, Verdict::Warning] {
            assert_eq!(run(RunState::Completed, verdict), Exit::Success, "{verdict:?}");
        }
        for verdict in [Verdict::Critical, Verdict::Unknown] {
            assert_eq!(run(RunState::Completed, verdict), Exit::Failed, "{verdict:?}");
        }
        for state in [RunState::Failed, RunState::Aborted, RunState::Running, RunState::Undoing] {
            assert_eq!(run(state, Verdict::Ok), Exit::Failed, "{state:?}");
        }
    }

    #[test]
    fn statuses_are_the_documented_ones() {
        let all = [Exit::Success, Exit::Failed, Exit::Usage, Exit::Unreachable, Exit::LeaseLost, Exit::Command(7)];
        assert_eq!(all.map(Exit::status), [0, 1, 2, 3, 125, 7]);
    }
}
