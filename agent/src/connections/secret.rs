//! Secrets: references to them, and their text for as long as it is used.
//!
//! A reference may be printed, a secret may not: it has no `Display`, its `Debug` says nothing, and its memory
//! is overwritten when it is dropped. What an attempt has read is remembered until the attempt ends, so that
//! the text is taken out of whatever the attempt says, wherever a server may have put it.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_client::files;
use mainstay_core::report::Report;
use zeroize::Zeroizing;

use crate::redact;

/// Longer than any password or token; a larger file is another one.
const SECRET_MAX: u64 = 64 << 10;
/// A secret shorter than this is part of nearly every text: taking it out would destroy them and hide nothing.
const SHORTEST_HIDDEN: usize = 4;

/// Where a secret is to be read, at the time that it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    File(PathBuf),
    Env(String),
}

/// The text of a secret.
pub struct Secret(Zeroizing<String>);

/// Why there is no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("its secret cannot be read: {cause} (file {})", path.display())]
    File { path: PathBuf, cause: String },
    #[error("its secret is in the variable {0}, which this agent does not have")]
    NoVariable(String),
    #[error("its secret is empty: {0}")]
    Empty(String),
}

/// The secrets that one attempt has read.
#[derive(Clone, Default)]
pub struct Secrets {
    read: Arc<Mutex<Vec<Zeroizing<String>>>>,
}

impl Secret {
    /// The text. It goes to the server and nowhere else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::File(path) => write!(f, "file {}", path.display()),
            SecretRef::Env(name) => write!(f, "variable {name}"),
        }
    }
}

impl Secrets {
    /// Reads a secret. A line end at the end of a file is the editor's.
    ///
    /// # Errors
    /// Where it should be and is not; never anything of what is there.
    pub fn read(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let text = Zeroizing::new(match reference {
            SecretRef::File(path) => {
                let cause = |error: std::io::Error| error.to_string().split(" (os error").next().unwrap_or_default().to_owned();
                files::read_text(path, SECRET_MAX).map_err(|error| SecretError::File { path: path.clone(), cause: cause(error) })?
            }
            SecretRef::Env(name) => std::env::var(name).map_err(|_| SecretError::NoVariable(name.clone()))?,
        });
        let secret = Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned());
        if secret.is_empty() {
            return Err(SecretError::Empty(reference.to_string()));
        }
        self.keep(secret.clone());
        Ok(Secret(secret))
    }

    /// Knows of a secret that was read elsewhere, so that it is taken out of what this attempt says.
    pub fn keep(&self, secret: Zeroizing<String>) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if !read.contains(&secret) {
            read.push(secret);
            // One that holds another is taken out whole.
            read.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    /// Takes the secrets out of a text.
    pub fn hide(&self, text: &mut String) {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        for secret in read.iter().filter(|secret| secret.len() >= SHORTEST_HIDDEN && !redact::MARK.contains(secret.as_str())) {
            if text.contains(secret.as_str()) {
                *text = text.replace(secret.as_str(), redact::MARK);
            }
        }
    }

    /// Takes the secrets out of every text of a report.
    #[must_use]
    pub fn hide_in(&self, mut report: Report) -> Report {
        redact::each_text(&mut report, &mut |text| self.hide(text));
        report
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files")]
    use mainstay_core::report::{Check, Verdict};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_read_when_it_is_used_and_shown_by_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let (secrets, reference) = (Secrets::default(), SecretRef::File(path.clone()));
        assert!(secrets.read(&reference).unwrap_err().to_string().starts_with("its secret cannot be read: No such file or directory (file "));
        std::fs::write(&path, "first word\r\n").unwrap();
        assert_eq!(secrets.read(&reference).unwrap().reveal(), "first word");
        std::fs::write(&path, "second word").unwrap();
        let second = secrets.read(&reference).unwrap();
        assert_eq!(second.reveal(), "second word");
        assert!(!format!("{second:?} {secrets:?} {reference:?} {reference}").contains("second"));
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(secrets.read(&reference), Err(SecretError::Empty(_))));
        assert!(matches!(secrets.read(&SecretRef::Env("MAINSTAY_NO_SUCH".into())), Err(SecretError::NoVariable(_))));
        let here = secrets.read(&SecretRef::Env("PATH".into())).unwrap();
        assert_eq!(here.reveal(), std::env::var("PATH").unwrap());
    }

    #[test]
    fn what_was_read_is_taken_out_of_all_that_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::default();
        for (name, text) in [("short", "canary"), ("long", "canary-7f"), ("tiny", "ab")] {
            std::fs::write(dir.path().join(name), text).unwrap();
            secrets.read(&SecretRef::File(dir.path().join(name))).unwrap();
        }
        let mut text = "the canary-7f, the canary and about".to_owned();
        secrets.hide(&mut text);
        assert_eq!(text, "the [redacted], the [redacted] and about");
        let check = Check::stated("a", "canary", Verdict::Ok, "canary").with_hint("canary").with_details(["canary".into()]);
        let outputs = [("x".to_owned(), json!({"a": ["canary"], "canary": 1}))].into();
        let report = Report { checks: vec![check], outputs, output_tail: "canary".into(), ..Report::default() };
        assert!(!serde_json::to_string(&secrets.hide_in(report)).unwrap().contains("canary"));
    }
}
