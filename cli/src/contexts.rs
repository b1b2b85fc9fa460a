//! The file of meshes that this user knows: `$XDG_CONFIG_HOME/mainstay/contexts.toml`.
//!
//! ```toml
//! current = "prod"
//!
//! [contexts.prod]
//! members = ["mesh.example:7400"]
//! identity = "/home/ana/.config/mainstay/prod"   # a directory with identity.pem
//!
//! [contexts.lab]                                 # certificates issued elsewhere
//! members = ["10.0.0.1:7400"]
//! identity = { chain = "/run/spire/svid.pem", key = "/run/spire/svid.key", roots = "/run/spire/bundle.pem" }
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use mainstay_client::failpoint::Point;
use mainstay_client::files;
use mainstay_client::identity::{Bundle, IdentityError, IdentityFiles};
use serde::{Deserialize, Serialize};

use crate::error::CliError;
use crate::host;

/// More than anybody has meshes for.
const FILE_MAX: u64 = 1 << 20;

/// All contexts of one user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The one that is meant when nothing else says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// One mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// gRPC addresses of coordinators; one that answers is enough.
    pub members: Vec<String>,
    pub identity: Source,
}

/// Where an identity lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Source {
    /// A directory with `identity.pem`, which the mesh renews.
    Dir(PathBuf),
    /// Files that somebody else renews.
    Files(IdentityFiles),
}

impl Source {
    pub fn load(&self) -> Result<Bundle, IdentityError> {
        match self {
            Source::Dir(dir) => Bundle::load(dir),
            Source::Files(files) => files.load(),
        }
    }

    /// The directory, where there is one.
    #[must_use]
    pub fn dir(&self) -> Option<&Path> {
        match self {
            Source::Dir(dir) => Some(dir),
            Source::Files(_) => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Dir(dir) => dir.display().fmt(f),
            Source::Files(files) => write!(f, "{} (issued elsewhere)", files.chain.display()),
        }
    }
}

/// The directory of this user's settings of Mainstay.
pub fn config_dir() -> Result<PathBuf, CliError> {
    let base = host::variable("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    base.or_else(|| host::variable("HOME").map(|home| Path::new(&home).join(".config")))
        .map(|base| base.join("mainstay"))
        .ok_or_else(|| CliError::usage("neither XDG_CONFIG_HOME nor HOME is set").with_next("name the mesh with --dir, or set HOME"))
}

/// A context's name becomes a directory's.
pub fn directory_name(name: &str) -> Result<&str, CliError> {
    let good = !name.is_empty() && name.len() <= 63 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if good { Ok(name) } else { Err(CliError::usage(format!("`{name}` is no name for a context: letters, digits, `-` and `_`, at most 63"))) }
}

impl Contexts {
    /// Reads the file of a settings directory; none is an empty one.
    pub fn load(config_dir: &Path) -> Result<Contexts, CliError> {
        let path = config_dir.join("contexts.toml");
        let text = match files::read_sealed(&path, FILE_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contexts::default()),
            Err(error) => return Err(CliError::usage(format!("{} cannot be read: {error}", path.display()))),
        };
        toml::from_str(&text).map_err(|error| {
            CliError::usage(format!("{} is not a list of contexts: {}", path.display(), error.message()))
                .with_next("mend it, or remove it and add your meshes again:  mainstay context add")
        })
    }

    pub fn store(&self, config_dir: &Path) -> Result<(), CliError> {
        let path = config_dir.join("contexts.toml");
        let failed = |error: &dyn std::fmt::Display| CliError::failed(format!("{} cannot be written: {error}", path.display()));
        let text = toml::to_string(self).map_err(|error| failed(&error))?;
        files::create_private_dir(Point::CliDirectory, config_dir)
            .and_then(|()| files::write_sealed(Point::Contexts, &path, &text, 0o600))
            .map_err(|error| failed(&error))
    }

    /// The context of a name; the error names those that there are.
    pub fn named(&self, name: &str) -> Result<&Context, CliError> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let error = CliError::usage(format!("there is no context `{name}`"));
            if known.is_empty() {
                error.with_next("there is none yet; add one:  mainstay context add NAME --members HOST:PORT …")
            } else {
                error.with_next(format!("known are {}; add another one:  mainstay context add", known.join(", ")))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn contexts_survive_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("mainstay");
        assert_eq!(Contexts::load(&config).unwrap(), Contexts::default());
        let context = Context { members: vec!["mesh.example:7400".into()], identity: Source::Dir("/tmp/x".into()) };
        let files = IdentityFiles { chain: "/c".into(), key: "/k".into(), roots: "/r".into() };
        let elsewhere = Context { identity: Source::Files(files), ..context.clone() };
        let contexts = Contexts { current: Some("prod".into()), contexts: [("prod".to_owned(), context), ("lab".to_owned(), elsewhere)].into() };
        contexts.store(&config).unwrap();
        assert_eq!(Contexts::load(&config).unwrap(), contexts);
    }

    #[test]
    fn a_wrong_file_or_name_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        files::write_atomic(Point::Contexts, &dir.path().join("contexts.toml"), b"current = 5", 0o600).unwrap();
        let error = Contexts::load(dir.path()).unwrap_err();
        assert!(error.message.contains("is not a list of contexts") && !error.next.is_empty(), "{error}");
        let error = Contexts::default().named("prod").unwrap_err();
        assert_eq!(error.exit.status(), 2);
        assert!(error.to_string().starts_with("error: there is no context `prod`\n  there is none yet; add one:"), "{error}");
    }
}
