//! Settings in three stages: fragments as found (file, environment, flags) → merged → validated. The program
//! sees only the last, and every bad value is reported at one start.

mod flags;
mod fragment;
mod validate;

use std::fmt;
use std::path::PathBuf;

use mainstay_client::identity::IdentityFiles;
use mainstay_core::id::PrincipalName;
use mainstay_core::state::enrolment::JoinGrant;
use mainstay_core::{AgentId, MemberId};

use crate::artifacts::ArtifactSettings;
pub use flags::Flags;
pub use fragment::Fragment;
pub use validate::{grants, validate};

/// What a coordinator runs with.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Certificates and state.
    pub dir: PathBuf,
    /// Certificates issued elsewhere, in place of those in the directory.
    pub identity: Option<IdentityFiles>,
    /// For people: `c1`.
    pub name: String,
    /// Node that this member runs on, as the node's agent is called; nothing: it does not know.
    pub node: Option<AgentId>,
    /// gRPC with mutual TLS.
    pub listen: String,
    /// `host:port` at which others call this member; nothing: where it listens.
    pub advertise: Option<String>,
    /// Enrolment, HTTPS with a server certificate only.
    pub enrol_listen: String,
    pub enrol_advertise: Option<String>,
    /// `/metrics`, `/healthz`, `/readyz`; nothing: switched off.
    pub http_listen: Option<String>,
    /// All first members with their addresses; empty unless the installer says that a mesh is to be formed.
    pub form: Vec<(MemberId, String)>,
    /// What an installer made for the first members.
    pub founding: Option<PathBuf>,
    /// Members of a mesh to join.
    pub join: Vec<String>,
    /// Enrolment listeners of members, for one that joins with a token.
    pub enrol: Vec<String>,
    pub join_token: Option<JoinTokenSource>,
    /// First operators, admins, of a mesh that is formed.
    pub admins: Vec<PrincipalName>,
    /// Join tokens of a mesh that is formed.
    pub grants: Vec<JoinGrant>,
    /// How files of steps are kept.
    pub artifacts: ArtifactSettings,
    pub die_with_parent: bool,
    pub log: Log,
}

/// Where a join token is.
#[derive(Clone, PartialEq, Eq)]
pub enum JoinTokenSource {
    File(PathBuf),
    Text(String),
}

impl fmt::Debug for JoinTokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinTokenSource::File(path) => write!(f, "{}", path.display()),
            JoinTokenSource::Text(_) => f.write_str("a join token"),
        }
    }
}

/// How the program logs, to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Directives of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    pub json: bool,
}

/// Everything that is wrong with the settings, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct SettingsError {
    pub problems: Vec<String>,
}

impl Settings {
    /// From everywhere, in order of increasing strength: file, environment, flags.
    pub fn load(flags: Flags) -> Result<Settings, SettingsError> {
        let mut problems = Vec::new();
        let environment = Fragment::from_environment(&|name| std::env::var(name).ok());
        let file = flags.config.clone().or_else(|| environment.config.clone());
        let file = file.map_or_else(Fragment::default, |path| {
            Fragment::from_file(&PathBuf::from(path)).unwrap_or_else(|problem| {
                problems.push(problem);
                Fragment::default()
            })
        });
        let merged = flags.into_fragment().or(environment).or(file);
        match validate(merged) {
            Ok(settings) if problems.is_empty() => Ok(settings),
            Ok(_) => Err(SettingsError { problems }),
            Err(more) => {
                problems.extend(more.problems);
                Err(SettingsError { problems })
            }
        }
    }
}
