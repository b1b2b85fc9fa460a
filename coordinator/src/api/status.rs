//! What goes wrong, as gRPC statuses. Whatever the code: the message says what to do next.

use mainstay_core::authz::Denial;
use mainstay_core::{MemberId, Refusal, Reply};
use mainstay_proto::LEADER_HEADER;
use mainstay_proto::convert::InvalidMessage;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::store::{ChangeError, Leader, ProposeError, ReadError, TransferError};

pub fn denied(denial: Denial) -> Status {
    Status::permission_denied(denial.reason)
}

pub fn invalid(error: InvalidMessage) -> Status {
    Status::invalid_argument(error.to_string())
}

pub fn refused(refusal: Refusal) -> Status {
    let code = match refusal {
        Refusal::NotFound { .. } => Code::NotFound,
        Refusal::Bound { .. } => Code::ResourceExhausted,
        Refusal::Conflict(_) | Refusal::Changed(_) => Code::FailedPrecondition,
        Refusal::Invalid(_) => Code::InvalidArgument,
        Refusal::Unsupported(_) => Code::Unimplemented,
    };
    Status::new(code, refusal.to_string())
}

/// Only success.
pub fn done(reply: Reply) -> Result<Reply, Status> {
    reply.into_result().map_err(refused)
}

/// A reply of a kind that the command cannot have.
pub fn unexpected(reply: &Reply) -> Status {
    Status::internal(format!("the command was answered with {reply:?}, which makes no sense here"))
}

/// Another member leads, or none does: the metadata say where to go.
pub fn not_leader(message: impl Into<String>, leader: Option<&str>) -> Status {
    let mut status = Status::unavailable(message);
    let value = leader.and_then(|leader| MetadataValue::try_from(leader).ok()).unwrap_or_else(|| MetadataValue::from_static(""));
    status.metadata_mut().insert(LEADER_HEADER, value);
    status
}

fn address(leader: &Option<Leader>) -> Option<&str> {
    leader.as_ref()?.peer.as_ref().map(|peer| peer.address.as_str())
}

pub fn not_proposed(error: ProposeError, member: MemberId) -> Status {
    let message = error.to_string();
    match error {
        ProposeError::NotLeader { leader } | ProposeError::Uncertain { leader } => not_leader(message, address(&leader)),
        ProposeError::TooLarge { .. } => Status::resource_exhausted(message),
        ProposeError::DiskFull { free } => {
            Status::resource_exhausted(format!("the disk of member {member} is full ({free} bytes free): nothing is taken until there is room again"))
        }
        ProposeError::Busy { .. } | ProposeError::Stopped(_) => not_leader(message, None),
        ProposeError::TimedOut(_) => Status::deadline_exceeded(message),
    }
}

pub fn not_read(error: ReadError) -> Status {
    let message = error.to_string();
    match error {
        ReadError::NotLeader { leader } => not_leader(message, address(&leader)),
        ReadError::NoMajority(_) | ReadError::Stopped(_) => not_leader(message, None),
    }
}

pub fn not_changed(error: ChangeError) -> Status {
    let message = error.to_string();
    match error {
        ChangeError::NotLeader { leader } | ChangeError::Uncertain { leader } => not_leader(message, address(&leader)),
        ChangeError::NoSuchMember(_) => Status::not_found(message),
        ChangeError::InProgress | ChangeError::LastVoter(_) | ChangeError::NotCaughtUp { .. } | ChangeError::Refused(_) => {
            Status::failed_precondition(message)
        }
        ChangeError::TimedOut(_) => Status::deadline_exceeded(message),
        ChangeError::Stopped(_) => not_leader(message, None),
    }
}

pub fn not_transferred(error: TransferError) -> Status {
    let message = error.to_string();
    match error {
        TransferError::NotLeader { leader } => not_leader(message, address(&leader)),
        TransferError::NoCandidate(_) => Status::failed_precondition(message),
        TransferError::TimedOut { .. } => Status::deadline_exceeded(message),
        TransferError::Stopped(_) => not_leader(message, None),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::Peer;

    #[test]
    fn refusals_have_the_code_that_tells_what_to_do() {
        let code = |refusal| refused(refusal).code();
        assert_eq!(code(Refusal::NotFound { what: "plan x".into(), hint: String::new() }), Code::NotFound);
        assert_eq!(code(Refusal::Bound { what: "plans".into(), limit: 1 }), Code::ResourceExhausted);
        assert_eq!(code(Refusal::Conflict("c".into())), Code::FailedPrecondition);
        assert_eq!(code(Refusal::Changed("c".into())), Code::FailedPrecondition);
        assert_eq!(code(Refusal::Invalid("i".into())), Code::InvalidArgument);
    }

    #[test]
    fn a_member_that_does_not_lead_says_who_does() {
        let leader = Leader { id: MemberId(2), peer: Some(Peer { address: "host:7400".into() }) };
        let status = not_proposed(ProposeError::NotLeader { leader: Some(leader) }, MemberId(1));
        assert_eq!((status.code(), status.metadata().get(LEADER_HEADER).unwrap().to_str().unwrap()), (Code::Unavailable, "host:7400"));
        let status = not_read(ReadError::NoMajority(Duration::from_secs(2)));
        assert_eq!((status.code(), status.metadata().get(LEADER_HEADER).unwrap().to_str().unwrap()), (Code::Unavailable, ""));
    }

    #[test]
    fn a_full_disk_names_its_member() {
        let status = not_proposed(ProposeError::DiskFull { free: 5 }, MemberId(0xab));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "the disk of member 00000000000000ab is full (5 bytes free): nothing is taken until there is room again");
    }
}
