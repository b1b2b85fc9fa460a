//! A coordinator's certificates: its own, and those that it signs for others.
//!
//! ```text
//! DIR/identity.pem   key, leaf and issuer, trusted roots of this member (0600)
//! DIR/issuer*        what it signs with: see `issuers`
//! DIR/roots.pem      roots that are handed out; without it, those of identity.pem
//! DIR/member.toml    which member lives here, and whose place it is to take
//! DIR/state/         the store's
//! ```
//! Without an issuer, a member has its own certificate renewed by the others. Where certificates are issued
//! elsewhere, by cert-manager or SPIRE for example, nothing of this is read: the settings name the files.

mod follow;
mod home;
mod issuers;
mod record;
mod renewal;
mod signing;

pub use follow::keep_following;
pub use home::{Home, HomeError, IssueError, Standing};
pub use record::{MemberRecord, RecordError};
pub use renewal::{Renewal, keep_renewed};
pub use signing::Signing;
