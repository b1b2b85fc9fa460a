//! The first certificate of a coordinator that joins with a token.
//!
//! In: an empty directory, enrolment addresses of members, a token. Out: `identity.pem` of a member with an id that
//! nobody has had. It has no issuer: what others ask it to sign, a member that has one signs.

use std::io;
use std::time::Duration;

use mainstay_client::enrol::{EnrolError, enrol_at_any};
use mainstay_client::failpoint::Point;
use mainstay_client::files;
use mainstay_client::identity::{Bundle, IdentityError, JoinToken};
use mainstay_client::random::{self, Backoff};
use mainstay_core::{Identity, MemberId};

use crate::settings::{JoinTokenSource, Settings};

/// Between two tries: the mesh may be starting, or have no leader for a moment.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// A token is about 200 characters.
const TOKEN_MAX: u64 = 4 << 10;
/// Tries after which it is said that there is something to be seen to.
const PATIENCE: u32 = 4;

/// Why a coordinator was not let in.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    #[error("{path} cannot be read: {source}. `mainstay token create --coordinator` makes a token", path = path.display())]
    Token {
        path: std::path::PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("{0}")]
    Refused(#[from] EnrolError),
    #[error("{dir} cannot be made: {source}", dir = dir.display())]
    Dir {
        dir: std::path::PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Has an identity put into the directory, where there is none and a token says that the mesh will give one.
/// Waits for a mesh that is not there yet.
pub async fn obtain(settings: &Settings) -> Result<(), EnrolmentError> {
    let Some(source) = settings.join_token.as_ref().filter(|_| !Bundle::is_in(&settings.dir)) else { return Ok(()) };
    let token: JoinToken = text(source)?.parse()?;
    // Chosen once: the mesh answers a repeated request with the certificate of the first.
    let identity = Identity::Coordinator(MemberId(random::number()));
    let mut pauses = Backoff::new(PAUSES.0, PAUSES.1);
    let mut tries = 0_u32;
    let enrolled = loop {
        match enrol_at_any(&settings.enrol, &token, &identity).await {
            Ok(enrolled) => break enrolled,
            Err(error) if error.is_transient() => {
                tries = tries.saturating_add(1);
                if tries == PATIENCE {
                    tracing::warn!(%error, "this coordinator is not let in yet; it tries on");
                }
                tokio::time::sleep(pauses.pause()).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    files::create_private_dir(Point::StoreDirectory, &settings.dir).map_err(|source| EnrolmentError::Dir { dir: settings.dir.clone(), source })?;
    enrolled.bundle.store(&settings.dir)?;
    tracing::info!(%identity, "enrolled");
    Ok(())
}

fn text(source: &JoinTokenSource) -> Result<String, EnrolmentError> {
    match source {
        JoinTokenSource::Text(text) => Ok(text.clone()),
        JoinTokenSource::File(path) => files::read_text(path, TOKEN_MAX).map_err(|source| EnrolmentError::Token { path: path.clone(), source }),
    }
}
