//! What a store did not do, and what somebody can do about it.

use std::error::Error;
use std::fmt::Display;
use std::io::ErrorKind;
use std::time::Duration;

/// How the library calls a directory.
const LOCAL: &str = "LocalFileSystem";
/// What S3 says to somebody whom it does not know.
const STRANGERS: [&str; 5] = ["SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidToken", "ExpiredToken", "InvalidClientTokenId"];

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is no such object.
    Missing,
    /// There is one already.
    Exists,
    /// Whoever asks is not let do it.
    Refused,
    /// There is such an object, and the disk below does not give it.
    Broken,
    /// It does not know these credentials.
    Stranger,
    /// It takes only what comes with a checksum.
    Checksum,
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
            Why::Refused => "; give whoever asks the rights to list, read, write and delete there",
            Why::Broken => "; look at the disk, and at what the system's log says of it",
            Why::Stranger => "; look at the id of the access key and at its secret: one of them is wrong, or has ended",
            Why::Checksum => "; have checksums sent, by  checksums = true  where the store is declared, or --checksums",
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
        let (code, said) = match document(&said) {
            Some((code, message)) => (code.to_owned(), format!("{code}: {message}")),
            None => (String::new(), said),
        };
        let why = match error {
            _ if code == "NoSuchBucket" => Why::NoBucket,
            // Amazon's word for it; others say it in a like sentence.
            _ if said.contains("Content-MD5") => Why::Checksum,
            // The library tells a listing that is refused as it tells anything else that fails.
            _ if code == "AccessDenied" => Why::Refused,
            _ if STRANGERS.contains(&code.as_str()) => Why::Stranger,
            _ if is_of_disk(error, &[ErrorKind::StorageFull, ErrorKind::QuotaExceeded]) => Why::Full,
            // Of a directory: what a network refuses is something else.
            E::Generic { store: LOCAL, .. } if is_of_disk(error, &[ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem]) => Why::Refused,
            E::Generic { store: LOCAL, .. } if is_of_bad_disk(error) => Why::Broken,
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

fn is_of_disk(error: &(dyn Error + 'static), kinds: &[ErrorKind]) -> bool {
    is_of_system(error, |error| kinds.contains(&error.kind()))
}

/// EIO, EBADMSG and EUCLEAN: what is on the disk cannot be read, or is not what the file system wrote there.
fn is_of_bad_disk(error: &(dyn Error + 'static)) -> bool {
    is_of_system(error, |error| matches!(error.raw_os_error(), Some(5 | 74 | 117)))
}

fn is_of_system(error: &(dyn Error + 'static), is_it: impl Fn(&std::io::Error) -> bool) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<std::io::Error>().is_some_and(&is_it) {
            return true;
        }
        next = error.source();
    }
    false
}

/// What S3 says of itself, where it does: a code, and a sentence. All around it is the request, which says nothing more.
fn document(said: &str) -> Option<(&str, &str)> {
    let of = |from: &str, to: &str| Some(said.split_once(from)?.1.split_once(to)?.0.trim());
    of("<Code>", "</Code>").filter(|code| !code.is_empty()).zip(of("<Message>", "</Message>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: &str) -> StoreError {
        let source = format!("Error performing PUT https://s3/b/o in 3ms: {status}").into();
        StoreError::from_store("s3://b", "o", &object_store::Error::PermissionDenied { path: "o".to_owned(), source })
    }

    #[test]
    fn what_a_store_says_is_told_without_what_is_around_it() {
        let said = of("403: <?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>");
        assert_eq!(said.why, Why::Refused);
        assert_eq!(said.to_string(), "s3://b: o: AccessDenied: Access Denied; give whoever asks the rights to list, read, write and delete there");
        let said = of("403: <Error><Code>SignatureDoesNotMatch</Code><Message>It differs.</Message></Error>");
        assert_eq!(said.why, Why::Stranger);
        assert!(said.to_string().ends_with("look at the id of the access key and at its secret: one of them is wrong, or has ended"), "{said}");
        // Whatever stands between such a server and this one answers in its own words.
        let said = of("403: <html>no</html>");
        assert!(said.why == Why::Refused && said.to_string().contains("<html>no</html>"), "{said}");
    }

    #[test]
    fn a_directory_that_is_read_only_is_no_passing_fault() {
        let of = |store: &'static str, kind: ErrorKind| {
            let error = object_store::Error::Generic { store, source: Box::new(std::io::Error::from(kind)) };
            StoreError::from_store("/backups", "o", &error).why
        };
        assert_eq!(of(LOCAL, ErrorKind::PermissionDenied), Why::Refused);
        assert_eq!(of(LOCAL, ErrorKind::ReadOnlyFilesystem), Why::Refused);
        assert_eq!(of(LOCAL, ErrorKind::StorageFull), Why::Full);
        let bad = object_store::Error::Generic { store: LOCAL, source: Box::new(std::io::Error::from_raw_os_error(5)) };
        assert_eq!(StoreError::from_store("/backups", "o", &bad).why, Why::Broken);
        // A firewall's word.
        assert_eq!(of("S3", ErrorKind::PermissionDenied), Why::Failed);
    }
}
