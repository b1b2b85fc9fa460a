//! A coordinator's certificates: its own, and those that it signs for others.
//!
//! ```text
//! DIR/identity.pem   key, leaf and issuer, trusted roots of this member (0600)
//! DIR/issuer.pem     certificate of its issuing authority, signed by the mesh's root
//! DIR/issuer.key     key of that authority (0600)
//! DIR/roots.pem      roots that are handed out; without it, those of identity.pem
//! DIR/member.toml    which member lives here, and whose place it is to take
//! DIR/state/         the store's
//! ```
//! Without an issuer, a member has its own certificate renewed by the others. Where certificates are issued
//! elsewhere, by cert-manager or SPIRE for example, nothing of this is read: the settings name the files.

mod home;
mod record;
mod renewal;
mod signing;

pub use home::{Home, HomeError, IssueError};
pub use record::{MemberRecord, RecordError};
pub use renewal::{Renewal, keep_renewed};
pub use signing::Signing;
