//! Conversions between the wire and `mainstay_core`. From core to the wire nothing can fail; the other way
//! everything is checked, and what does not fit is an [`InvalidMessage`] that names the field.

mod artifact;
mod backup;
mod condition;
mod desired;
mod enrolment;
mod fact;
mod lease;
mod mesh;
mod object;
mod preview;
mod report;
mod rights;
mod run;

pub use artifact::{artifact_to_wire, file_from_wire, file_to_wire};
pub use backup::{backup_note_from_wire, backup_note_to_wire, backups_to_wire};
pub use condition::{conditions_from_wire, conditions_to_wire};
pub use desired::{desired_from_wire, desired_to_wire, hello_from_wire, hello_to_wire};
pub use enrolment::{join_grant_to_wire, role_from_wire, token_reviewed_from_wire, token_reviewed_to_wire};
pub use fact::{fact_from_wire, fact_to_wire, known_to_wire, told_from_wire};
pub use lease::{lease_to_wire, spec_from_wire, spec_to_wire};
pub use mesh::{audit_to_wire, connections_to_wire, finding_to_wire, missing_connection_to_wire, node_to_wire};
pub use object::{object_plans, object_refusal};
pub use preview::{preview_to_wire, remark_to_wire};
pub use report::{outcome_from_wire, outcome_to_wire, report_from_wire, report_to_wire, verdict_from_wire, verdict_to_wire};
pub use rights::{rights_reviewed_from_wire, rights_reviewed_to_wire};
pub use run::{last_runs, left_to_wire, plan_to_wire, rollouts_to_wire, run_summary, run_to_wire, waits_to_wire};

/// A message that cannot be what it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {problem}")]
pub struct InvalidMessage {
    pub field: &'static str,
    pub problem: String,
}

impl InvalidMessage {
    pub fn new(field: &'static str, problem: impl std::fmt::Display) -> InvalidMessage {
        InvalidMessage { field, problem: problem.to_string() }
    }
}

/// Parses a name or id; the error names the field.
pub fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(field: &'static str, text: &str) -> Result<T, InvalidMessage> {
    text.parse().map_err(|error: T::Err| InvalidMessage::new(field, error))
}
