//! What a store did not do, and what somebody can do about it.

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is no such object.
    Missing,
    /// There is one already.
    Exists,
    /// The credentials are not let do it.
    Refused,
    /// There is no such bucket.
    NoBucket,
    /// There is no room.
    Full,
    /// No answer in time.
    Late,
    /// The store cannot do this at all, or its settings are wrong.
    Unusable,
    /// Anything else, which may pass.
    Failed,
}

/// A store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {object}: {said}{}", .why.next())]
pub struct StoreError {
    /// What kind of failure.
    pub why: Why,
    place: String,
    object: String,
    said: String,
}

impl Why {
    /// What to do next, where there is something.
    fn next(self) -> &'static str {
        match self {
            Why::Refused => "; give these credentials the rights to list, read, write and delete there",
            Why::NoBucket => "; make the bucket, or correct its name",
            Why::Full => "; make room, by `mainstay backup prune` or a larger disk",
            Why::Late => "; look whether it can be reached from here",
            Why::Missing | Why::Exists | Why::Unusable | Why::Failed => "",
        }
    }
}

impl StoreError {
    pub(super) fn new(why: Why, place: &str, object: &str, said: &(impl Display + ?Sized)) -> StoreError {
        StoreError { why, place: place.to_owned(), object: object.to_owned(), said: said.to_string() }
    }

    pub(crate) fn late(place: &str, object: &str, waited: Duration) -> StoreError {
        StoreError::new(Why::Late, place, object, &format!("no answer within {} s", waited.as_secs_f64().ceil()))
    }

    pub(super) fn from_store(place: &str, object: &str, error: &object_store::Error) -> StoreError {
        use object_store::Error as E;
        let said = chain(error);
        let why = match error {
            _ if said.contains("NoSuchBucket") => Why::NoBucket,
            _ if is_full(error) => Why::Full,
            E::NotFound { .. } => Why::Missing,
            E::AlreadyExists { .. } | E::Precondition { .. } => Why::Exists,
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Why::Refused,
            E::NotSupported { .. } | E::NotImplemented { .. } | E::InvalidPath { .. } | E::UnknownConfigurationKey { .. } => Why::Unusable,
            _ => Why::Failed,
        };
        StoreError { why, place: place.to_owned(), object: object.to_owned(), said }
    }

    /// May it go well the next time?
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self.why, Why::Failed | Why::Late)
    }
}

/// All that an error says, each thing once.
fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !said.contains(&more) {
            said = format!("{said}: {more}");
        }
        next = error.source();
    }
    said
}

fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        next = error.source();
    }
    false
}
