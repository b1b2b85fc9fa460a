//! What this agent was told: from fragments as found, to one merged, to one checked.
//!
//! ```text
//!  file (TOML) ─┐
//!  environment ─┼─▶ Fragment::over ─▶ Fragment ─▶ check ─▶ Settings
//!  flags ───────┘     later is stronger             every bad value, all at once
//! ```
//! The program sees only [`Settings`]. A join token comes from a file or from the environment, never from a
//! flag, since flags can be read by everybody on the machine.

mod arguments;
mod check;
mod environment;
mod fragment;
mod identity;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_client::enrol::PodToken;
use mainstay_client::files;
use mainstay_client::identity::IdentityFiles;
use mainstay_core::AgentId;

pub use arguments::Arguments;
pub use fragment::Fragment;

use crate::connections::Connections;
use crate::execute::{ExecuteSettings, Policy};
use crate::kube::kept::SecretName;

/// A settings or policy file larger than this is something else.
const FILE_MAX: u64 = 1 << 20;
/// A join token is about 150 characters.
const TOKEN_MAX: u64 = 4 << 10;
/// A pod's token has about 1,200 characters, and the mesh looks at no longer ones.
const POD_TOKEN_MAX: u64 = 8 << 10;

/// Everything an agent needs to know, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who this agent is: what it speaks for in its cluster.
    pub agent: AgentId,
    /// How a cluster agent reaches its cluster; without one, as the pod that it runs in.
    pub kubeconfig: Option<PathBuf>,
    /// Identity, ledger and lock of this agent.
    pub dir: PathBuf,
    /// gRPC addresses of the coordinators, `host:port`.
    pub coordinators: Vec<String>,
    /// Enrolment addresses of the coordinators, `host:port`; needed at the first start only.
    pub enrol: Vec<String>,
    /// Needed at the first start only.
    pub join_token: Option<JoinTokenSource>,
    /// In place of a join token, for the agent of a node that runs as a pod.
    pub pod_token: Option<PodTokenSource>,
    /// `NAMESPACE/NAME` of the ServiceAccounts for whose pods this cluster agent vouches, as agents of their nodes.
    pub vouch_for: Vec<String>,
    /// The same, as hands of their nodes.
    pub vouch_for_hands: Vec<String>,
    /// Where this cluster agent keeps its identity beside its directory.
    pub identity_secret: Option<SecretName>,
    /// Whether this cluster agent mirrors the custom resources. Of all meshes that have agents in a cluster one does.
    pub custom_resources: bool,
    /// Whether this cluster agent writes to Nodes what their agents see; else it takes away what was written.
    pub node_conditions: bool,
    /// Certificates issued elsewhere, in place of enrolment.
    pub identity: Option<IdentityFiles>,
    /// Whether this agent speaks for the machine it runs on.
    pub host: bool,
    pub execute: ExecuteSettings,
    pub policy: Policy,
    /// Ways to outside systems.
    pub connections: Connections,
    /// Where metrics and health are served, if anywhere.
    pub http: Option<SocketAddr>,
    /// What their paths begin with: empty, or `/` and a text without a slash at its end.
    pub http_root_path: String,
    pub log: Logging,
    /// How long running attempts may go on after the order to stop.
    pub drain: Duration,
    /// Whether this process ends with the one that started it.
    pub die_with_parent: bool,
}

/// How this process logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// A `tracing` filter: `info`, `mainstay_agent=debug`.
    pub filter: String,
    pub json: bool,
}

/// Where a join token is to be read, at the time that it is needed.
#[derive(Clone, PartialEq, Eq)]
pub enum JoinTokenSource {
    File(PathBuf),
    Text(String),
}

/// Where the pod's own token is, which the kubelet writes anew before it ends, and which root the mesh has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodTokenSource {
    pub file: PathBuf,
    pub root_sha256: String,
}

/// Every reason for which the settings are not usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    pub problems: Vec<String>,
}

impl Settings {
    /// Reads the file that the flags or the environment name, puts the environment and the flags over it,
    /// and checks the result.
    ///
    /// # Errors
    /// All bad values together.
    pub fn load(arguments: Arguments, variable: &dyn Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let mut problems = Vec::new();
        let config = arguments.config.clone().or_else(|| variable("MAINSTAY_CONFIG").map(PathBuf::from));
        let file = config.map(|path| Fragment::read(&std::path::absolute(&path).unwrap_or(path), &mut problems)).unwrap_or_default();
        let environment = environment::fragment(variable, &mut problems);
        let merged = arguments.into_fragment().over(environment).over(file);
        check::check(merged, problems)
    }
}

impl JoinTokenSource {
    /// The token's text.
    ///
    /// # Errors
    /// When the file cannot be read, or is far too large for a token.
    pub fn read(&self) -> io::Result<String> {
        match self {
            JoinTokenSource::Text(text) => Ok(text.clone()),
            JoinTokenSource::File(path) => files::read_text(path, TOKEN_MAX)
                .map(|text| text.trim().to_owned())
                .map_err(|error| io::Error::new(error.kind(), format!("the join token's file {}: {error}", path.display()))),
        }
    }
}

impl PodTokenSource {
    /// The token as it is now.
    ///
    /// # Errors
    /// When the file cannot be read, or is far too large for a token.
    pub fn read(&self) -> io::Result<PodToken> {
        let text = files::read_text(&self.file, POD_TOKEN_MAX)
            .map_err(|error| io::Error::new(error.kind(), format!("the pod's token {}: {error}", self.file.display())))?;
        Ok(PodToken { root_sha256: self.root_sha256.clone(), token: text.trim().to_owned() })
    }
}

/// Without the token.
impl fmt::Debug for JoinTokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinTokenSource::File(path) => write!(f, "File({})", path.display()),
            JoinTokenSource::Text(_) => f.write_str("Text(…)"),
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings cannot be used:")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl std::error::Error for SettingsError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::collections::BTreeMap;
    use std::path::Path;

    use clap::Parser;

    use super::*;

    fn load(flags: &[&str], variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        let arguments = Arguments::try_parse_from([&["mainstay-agent"], flags].concat()).unwrap();
        Settings::load(arguments, &|name| variables.get(name).map(|value| (*value).to_owned()))
    }

    const ENOUGH: [&str; 8] = ["--dir", "/s", "--coordinators", "a:7400", "--cluster", "local", "--node", "n1"];

    #[test]
    fn flags_go_over_the_environment_and_that_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        std::fs::write(&path, "cluster = \"file\"\nnode = \"file\"\ndir = \"/file\"\ncoordinators = [\"file:1\"]\nhost = true\nlogs = [\"/var/log/*.log\"]\n\n[[services]]\nname = \"web\"\nport = 80\n").unwrap();
        let variables = [
            ("MAINSTAY_CONFIG", path.to_str().unwrap()),
            ("MAINSTAY_NODE", "variable"),
            ("MAINSTAY_CLUSTER", "variable"),
            ("MAINSTAY_COORDINATORS", "a:1, b:2"),
        ];
        let settings = load(&["--node", "flag"], &variables).unwrap();
        assert_eq!(settings.agent.to_string(), "variable/flag");
        assert_eq!(settings.coordinators, ["a:1", "b:2"]);
        assert_eq!(settings.dir, Path::new("/file"));
        assert_eq!((settings.host, settings.execute.services[0].port, settings.execute.logs.len()), (true, Some(80), 1));
    }

    #[test]
    fn what_nobody_said_has_its_default() {
        let settings = load(&ENOUGH, &[]).unwrap();
        assert_eq!(settings.http, Some("127.0.0.1:7412".parse().unwrap()));
        assert_eq!((settings.drain, settings.host, settings.die_with_parent), (Duration::from_secs(20), false, false));
        assert_eq!(settings.log, Logging { filter: "info".into(), json: false });
        assert!(settings.join_token.is_none() && settings.http_root_path.is_empty() && settings.policy == Policy::default());
    }

    #[test]
    fn a_pods_token_needs_a_root_and_what_only_a_cluster_agent_does_needs_one() {
        let root = "a".repeat(64);
        let settings = load(&[&ENOUGH[..], &["--pod-token-file", "/t", "--root-sha256", &root]].concat(), &[]).unwrap();
        assert_eq!(settings.pod_token, Some(PodTokenSource { file: "/t".into(), root_sha256: root.clone() }));
        let problems =
            load(&[&ENOUGH[..], &["--pod-token-file", "/t", "--vouch-for", "a/b", "--identity-secret", "a/b", "--custom-resources"]].concat(), &[])
                .unwrap_err();
        let words = problems.to_string();
        assert!(
            words.contains("root_sha256 is not set") && words.contains("vouch_for is for") && words.contains("identity_secret is for"),
            "{words}"
        );
        assert!(words.contains("custom_resources is for"), "{words}");
        let problems = load(&[&ENOUGH[..], &["--node-conditions", "false"]].concat(), &[]).unwrap_err().to_string();
        assert!(problems.contains("node_conditions is for"), "{problems}");
        let replica = ["--dir", "/s", "--coordinators", "a:7400", "--cluster", "c", "--cluster-agent", "r1"];
        let settings = load(&[&replica[..], &["--vouch-for", "a/b,c/d", "--identity-secret", "a/s"]].concat(), &[]).unwrap();
        assert_eq!((settings.vouch_for.len(), settings.identity_secret.unwrap().to_string().as_str()), (2, "a/s"));
        assert!(settings.node_conditions && !load(&replica, &[("MAINSTAY_NODE_CONDITIONS", "false")]).unwrap().node_conditions);
        assert!(load(&[&replica[..], &["--node-conditions", "true"]].concat(), &[("MAINSTAY_NODE_CONDITIONS", "false")]).unwrap().node_conditions);
        assert!(!settings.custom_resources && load(&replica, &[("MAINSTAY_CUSTOM_RESOURCES", "true")]).unwrap().custom_resources);
        let words =
            load(&[&replica[..], &["--vouch-for", "a", "--identity-secret", "s", "--pod-token-file", "/t", "--root-sha256", "x"]].concat(), &[]);
        let words = words.unwrap_err().to_string();
        for wrong in ["vouch_for: `a`", "identity_secret: `s`", "root_sha256: `x`", "pod_token_file is for"] {
            assert!(words.contains(wrong), "{wrong}: {words}");
        }
    }

    #[test]
    fn hands_are_of_a_node_and_look_at_nothing() {
        let hands = [&ENOUGH[..], &["--hands"]].concat();
        let settings = load(&[&hands[..], &["--host-root", "/"]].concat(), &[]).unwrap();
        assert_eq!((settings.agent.to_string().as_str(), settings.execute.host_root.as_deref()), ("local/hands/n1", Some(Path::new("/"))));
        assert!(load(&ENOUGH, &[("MAINSTAY_HANDS", "true")]).unwrap().agent.is_hands() && load(&ENOUGH, &[]).unwrap().agent.is_node());
        let refused = |flags: &[&str], variables: &[(&str, &str)]| load(flags, variables).unwrap_err().to_string();
        let words = refused(&[&hands[..], &["--host", "--kubelet", "::1", "--kubelet-token-file", "/t", "--vouch-for", "a/b"]].concat(), &[]);
        for wrong in ["host is for the agent of the node that looks", "kubelet is for the agent of the node that looks", "vouch_for is for"] {
            assert!(words.contains(wrong), "{wrong}: {words}");
        }
        assert!(refused(&[&ENOUGH[..], &["--host-root", "/"]].concat(), &[]).contains("host_root is for hands"));
        assert!(refused(&[&hands[..], &["--host-root", "/no/such"]].concat(), &[]).contains("host_root: there is no folder /no/such"));
        let replica = ["--dir", "/s", "--coordinators", "a:7400", "--cluster", "c", "--cluster-agent", "r1"];
        assert!(refused(&replica, &[("MAINSTAY_HANDS", "true")]).contains("hands and cluster_agent are both set"));
        let both = load(&[&replica[..], &["--vouch-for", "a/b", "--vouch-for-hands", "a/c"]].concat(), &[]).unwrap();
        assert_eq!((both.vouch_for.len(), both.vouch_for_hands), (1, vec!["a/c".to_owned()]));
        let words = refused(&[&replica[..], &["--vouch-for", "a/b", "--vouch-for-hands", "a/b,x"]].concat(), &[]);
        assert!(words.contains("vouch_for_hands: `a/b` is in vouch_for too") && words.contains("vouch_for_hands: `x` is not"), "{words}");
    }

    #[test]
    fn a_kubelet_is_an_address_with_the_token_that_it_is_shown() {
        let kubelet = |address: &str| load(&[&ENOUGH[..], &["--kubelet", address, "--kubelet-token-file", "/t"]].concat(), &[]);
        for (said, meant) in [("10.0.0.7", "10.0.0.7:10250"), ("10.0.0.7:1", "10.0.0.7:1"), ("fd00::1", "[fd00::1]:10250")] {
            let kubelet = kubelet(said).unwrap().execute.kubelet.unwrap();
            assert_eq!((kubelet.address.to_string().as_str(), kubelet.token_file.to_str()), (meant, Some("/t")));
        }
        assert!(kubelet("n1").unwrap_err().to_string().contains("kubelet: `n1` is not an address"));
        let variables = [("MAINSTAY_KUBELET_TOKEN_FILE", "/t")];
        assert!(load(&ENOUGH, &variables).unwrap_err().to_string().contains("kubelet is not set"));
        assert!(load(&[&ENOUGH[..], &["--kubelet", "::1"]].concat(), &[]).unwrap_err().to_string().contains("kubelet_token_file is not set"));
        let replica = ["--dir", "/s", "--coordinators", "a:7400", "--cluster", "c", "--cluster-agent", "r1", "--kubelet", "::1"];
        assert!(load(&replica, &variables).unwrap_err().to_string().contains("kubelet is for the agents of nodes"));
    }

    #[test]
    fn every_bad_value_is_reported_at_once() {
        let variables = [("MAINSTAY_DRAIN_SECONDS", "soon"), ("MAINSTAY_HOST", "maybe"), ("MAINSTAY_CONFIG", "/no/such/file.toml")];
        let flags = [
            "--coordinators",
            "a",
            "--node",
            "N1",
            "--http-listen",
            "7412",
            "--http-root-path",
            "x",
            "--log-format",
            "xml",
            "--policy-file",
            "/no/such/policy",
            "--allow-address",
            "not an address",
        ];
        let problems = load(&flags, &variables).unwrap_err().problems.join("\n");
        for part in [
            "MAINSTAY_DRAIN_SECONDS",
            "MAINSTAY_HOST",
            "/no/such/file.toml",
            "dir",
            "`a` is not host:port",
            "cluster",
            "`N1` is not a node name",
            "http_listen: `7412`",
            "http_root_path",
            "log_format: `xml`",
            "/no/such/policy",
            "not an address",
        ] {
            assert!(problems.contains(part), "{part} is missing in:\n{problems}");
        }
    }

    #[test]
    fn an_unknown_key_of_the_file_is_a_problem_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        std::fs::write(&path, "cluster = \"c\"\nnod = \"n\"\n").unwrap();
        let problems = load(&[&ENOUGH[..], &["--config", path.to_str().unwrap()]].concat(), &[]).unwrap_err().problems;
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("line 2") && problems[0].contains("unknown field `nod`"), "{}", problems[0]);
    }

    #[test]
    fn connections_stand_in_the_settings_or_in_a_file_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            dir.path().join(name).to_str().unwrap().to_owned()
        };
        let connection = |name: &str| format!("[connections.{name}]\nkind = \"redis\"\nurl = \"redis://127.0.0.1\"\n");
        let names = |settings: Settings| settings.connections.told().iter().map(|told| told.name.to_string()).collect::<Vec<_>>();
        let tables = write("tables.toml", &connection("a"));
        let path = write("path.toml", "connections = \"own.toml\"\n");
        let own = write("own.toml", &connection("b"));
        let with = |config: &str, more: &[&str]| load(&[&ENOUGH[..], &["--config", config], more].concat(), &[]);
        assert_eq!(names(with(&tables, &[]).unwrap()), ["a"]);
        assert_eq!(names(with(&path, &[]).unwrap()), ["b"]);
        assert_eq!(names(with(&tables, &["--connections", &own]).unwrap()), ["a", "b"]);
        assert_eq!(names(load(&ENOUGH, &[("MAINSTAY_CONNECTIONS", &own)]).unwrap()), ["b"]);
        let problems = with(&own, &["--connections", &own]).unwrap_err().problems;
        assert!(problems.len() == 1 && problems[0].contains("declared already"), "{problems:?}");
        let wrong = write("wrong.toml", "\nnod = 1\n");
        let problems = with(&wrong, &["--connections", "/no/such"]).unwrap_err().problems.join("\n");
        assert!(problems.contains("line 2: unknown field `nod`") && problems.contains("/no/such cannot be read"), "{problems}");
        let number = write("number.toml", "connections = 5\n");
        let problems = with(&number, &[]).unwrap_err().problems.join("\n");
        assert!(problems.contains("should be the path of a file, or tables"), "{problems}");
    }

    #[test]
    fn a_join_token_is_in_no_debug_output_and_its_file_is_read_when_needed() {
        let settings = load(&ENOUGH, &[("MAINSTAY_JOIN_TOKEN", "mst1.x.y")]).unwrap();
        assert!(!format!("{settings:?}").contains("mst1"));
        assert_eq!(settings.join_token.unwrap().read().unwrap(), "mst1.x.y");
        let missing = load(&[&ENOUGH[..], &["--join-token-file", "/no/such/token"]].concat(), &[]).unwrap();
        assert!(missing.join_token.unwrap().read().unwrap_err().to_string().contains("/no/such/token"));
    }

    #[test]
    fn certificates_from_elsewhere_are_three_files_of_one_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        std::fs::write(&path, "[identity]\nchain = \"/t/tls.crt\"\nkey = \"/t/tls.key\"\nroots = \"/t/ca.crt\"\n").unwrap();
        let settings = load(&[&ENOUGH[..], &["--config", path.to_str().unwrap()]].concat(), &[]).unwrap();
        assert_eq!(settings.identity, Some(IdentityFiles { chain: "/t/tls.crt".into(), key: "/t/tls.key".into(), roots: "/t/ca.crt".into() }));
        let problems = load(&ENOUGH, &[("MAINSTAY_IDENTITY_CHAIN", "/t/tls.crt")]).unwrap_err().problems;
        assert_eq!(problems, ["identity: key and roots are missing: a certificate issued elsewhere is three files, chain, key and roots"]);
        assert_eq!(load(&ENOUGH, &[]).unwrap().identity, None);
    }

    #[test]
    fn the_listener_can_be_switched_off() {
        assert_eq!(load(&[&ENOUGH[..], &["--http-listen", "none"]].concat(), &[]).unwrap().http, None);
    }
}
