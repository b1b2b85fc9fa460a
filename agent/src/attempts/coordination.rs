//! What carrying out attempts needs of the mesh, and of those who know the step kinds: two seams.

use std::future::Future;

use mainstay_client::{CallError, Mesh};
use mainstay_core::id::{AttemptId, LedgerId};
use mainstay_core::reconcile::DesiredAttempt;
use mainstay_core::report::Report;
use mainstay_core::state::run::Outcome;
use mainstay_proto::convert::outcome_to_wire;
use mainstay_proto::v1;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::execute::{Output, StepError};

/// Why a call to the mesh has no answer that settles it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The same call may succeed later.
    #[error("{0}")]
    Later(String),
    /// The mesh has decided otherwise: the attempt is not this agent's any more.
    #[error("{0}")]
    Refused(String),
}

/// The mesh, as attempts see it. Both calls may be repeated.
pub trait Coordination: Send + Sync + 'static {
    /// Commits that the attempt begins.
    fn begin(&self, attempt: AttemptId, ledger: &LedgerId) -> impl Future<Output = Result<(), Unanswered>> + Send;
    /// Commits how it ended.
    fn end(&self, attempt: AttemptId, ledger: &LedgerId, outcome: &Outcome) -> impl Future<Output = Result<(), Unanswered>> + Send;
}

/// Whoever can carry out a step.
pub trait Executor: Send + Sync + 'static {
    /// Why it will not be done here, as far as that shows without doing anything. Asked before it begins, so that the mesh
    /// knows that nothing can have happened.
    fn refuses(&self, attempt: &DesiredAttempt) -> Option<StepError>;

    /// Does it, once. It has ended its children before it ends, also when `cancel` asked for that.
    fn execute(&self, attempt: DesiredAttempt, output: Output, cancel: CancellationToken) -> impl Future<Output = Result<Report, StepError>> + Send;
}

impl Coordination for Mesh {
    async fn begin(&self, attempt: AttemptId, ledger: &LedgerId) -> Result<(), Unanswered> {
        let request = v1::BeginRequest { attempt: attempt.to_string(), ledger: ledger.to_string() };
        self.begin_attempt(request).await.map(drop).map_err(Unanswered::from)
    }

    async fn end(&self, attempt: AttemptId, ledger: &LedgerId, outcome: &Outcome) -> Result<(), Unanswered> {
        let request = v1::EndRequest { attempt: attempt.to_string(), ledger: ledger.to_string(), outcome: Some(outcome_to_wire(outcome)) };
        self.end_attempt(request).await.map(drop).map_err(Unanswered::from)
    }
}

/// Only a clear no of the mesh itself is a refusal: a certificate that is not taken today, or a member that
/// has no room, does not decide what becomes of an attempt.
impl From<CallError> for Unanswered {
    fn from(error: CallError) -> Unanswered {
        match error.code() {
            Some(Code::FailedPrecondition | Code::NotFound | Code::InvalidArgument | Code::PermissionDenied) => {
                Unanswered::Refused(error.to_string())
            }
            _ => Unanswered::Later(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_no_settles_an_attempt() {
        let refused = |code| Unanswered::from(CallError::Refused { code, message: "m".into() });
        assert_eq!(refused(Code::FailedPrecondition), Unanswered::Refused("m".into()));
        assert_eq!(refused(Code::NotFound), Unanswered::Refused("m".into()));
        assert_eq!(refused(Code::ResourceExhausted), Unanswered::Later("m".into()));
        assert_eq!(refused(Code::Internal), Unanswered::Later("m".into()));
        assert!(matches!(Unanswered::from(CallError::NoLeader { message: String::new() }), Unanswered::Later(_)));
        assert!(matches!(Unanswered::from(CallError::Unreachable { tried: Vec::new() }), Unanswered::Later(_)));
    }
}
