//! Settings as one source gave them: nothing is required, nothing is checked beyond its type.

use std::path::{Path, PathBuf};

use mainstay_client::files;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::FILE_MAX;
use super::identity::IdentityFragment;
use crate::connections::Connections;
use crate::observe::service::Service;

/// One source's part.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fragment {
    pub cluster: Option<String>,
    pub node: Option<String>,
    /// Id of the replica, of an agent that speaks for its cluster.
    pub cluster_agent: Option<String>,
    /// Whether it is the node's hands, beside an agent that looks.
    pub hands: Option<bool>,
    pub kubeconfig: Option<PathBuf>,
    pub dir: Option<PathBuf>,
    pub coordinators: Option<Vec<String>>,
    pub enrol: Option<Vec<String>>,
    pub join_token_file: Option<PathBuf>,
    /// From the environment only: a settings file is read by more eyes than a secret should be.
    #[serde(skip)]
    pub join_token: Option<String>,
    pub pod_token_file: Option<PathBuf>,
    pub root_sha256: Option<String>,
    pub vouch_for: Option<Vec<String>>,
    pub vouch_for_hands: Option<Vec<String>>,
    pub identity_secret: Option<String>,
    pub custom_resources: Option<bool>,
    pub node_conditions: Option<bool>,
    /// Certificates issued elsewhere; one source says all of it.
    pub identity: Option<IdentityFragment>,
    pub host: Option<bool>,
    pub host_root: Option<PathBuf>,
    pub services: Option<Vec<Service>>,
    pub logs: Option<Vec<String>>,
    pub certificates: Option<Vec<String>>,
    pub trust: Option<Vec<String>>,
    pub allow_addresses: Option<Vec<String>>,
    pub kubelet: Option<String>,
    pub kubelet_token_file: Option<PathBuf>,
    pub helm: Option<PathBuf>,
    pub helm_charts: Option<PathBuf>,
    pub helm_registry_config: Option<PathBuf>,
    pub policy_file: Option<PathBuf>,
    /// Tables of the settings file itself.
    #[serde(skip)]
    pub connections: Option<Connections>,
    /// A file of their own, where `connections` is the path of one.
    #[serde(rename = "connections", deserialize_with = "path_or_tables")]
    pub connections_file: Option<PathBuf>,
    pub http_listen: Option<String>,
    pub http_root_path: Option<String>,
    pub log: Option<String>,
    pub log_format: Option<String>,
    pub drain_seconds: Option<u64>,
    pub die_with_parent: Option<bool>,
}

impl Fragment {
    /// Reads a settings file. What is wrong with it goes to `problems`, with the file's name and the line, and
    /// without the line's text: a secret may be in the wrong place.
    pub fn read(path: &Path, problems: &mut Vec<String>) -> Fragment {
        let text = match files::read_text(path, FILE_MAX) {
            Ok(text) => text,
            Err(error) => {
                problems.push(format!("the settings file {} cannot be read: {error}", path.display()));
                return Fragment::default();
            }
        };
        match toml::from_str::<Fragment>(&text) {
            Ok(mut fragment) => {
                // A path is meant as it stands beside the file that names it.
                let folder = path.parent().unwrap_or(Path::new(""));
                fragment.identity = fragment.identity.map(|identity| identity.below(folder));
                fragment.connections_file = fragment.connections_file.map(|file| folder.join(file));
                if fragment.connections_file.is_none() {
                    let (connections, wrong) = Connections::parse(path, &text);
                    problems.extend(wrong);
                    fragment.connections = Some(connections);
                }
                fragment
            }
            Err(error) => {
                let line = error.span().and_then(|span| text.get(..span.start)).map_or(0, |before| before.matches('\n').count() + 1);
                problems.push(format!("the settings file {}, line {line}: {}", path.display(), error.message()));
                Fragment::default()
            }
        }
    }

    /// This, and where it says nothing, the weaker one.
    #[must_use]
    pub fn over(self, weaker: Fragment) -> Fragment {
        // A token is one setting with two forms: the stronger source's form counts.
        let says_token = self.join_token.is_some() || self.join_token_file.is_some();
        let (join_token, join_token_file) =
            if says_token { (self.join_token, self.join_token_file) } else { (weaker.join_token, weaker.join_token_file) };
        // For what an agent speaks is one setting too.
        let says_whom = self.node.is_some() || self.cluster_agent.is_some();
        let (node, cluster_agent) = if says_whom { (self.node, self.cluster_agent) } else { (weaker.node, weaker.cluster_agent) };
        Fragment {
            cluster: self.cluster.or(weaker.cluster),
            node,
            cluster_agent,
            hands: self.hands.or(weaker.hands),
            kubeconfig: self.kubeconfig.or(weaker.kubeconfig),
            dir: self.dir.or(weaker.dir),
            coordinators: self.coordinators.or(weaker.coordinators),
            enrol: self.enrol.or(weaker.enrol),
            join_token_file,
            join_token,
            pod_token_file: self.pod_token_file.or(weaker.pod_token_file),
            root_sha256: self.root_sha256.or(weaker.root_sha256),
            vouch_for: self.vouch_for.or(weaker.vouch_for),
            vouch_for_hands: self.vouch_for_hands.or(weaker.vouch_for_hands),
            identity_secret: self.identity_secret.or(weaker.identity_secret),
            custom_resources: self.custom_resources.or(weaker.custom_resources),
            node_conditions: self.node_conditions.or(weaker.node_conditions),
            identity: self.identity.or(weaker.identity),
            host: self.host.or(weaker.host),
            host_root: self.host_root.or(weaker.host_root),
            services: self.services.or(weaker.services),
            logs: self.logs.or(weaker.logs),
            certificates: self.certificates.or(weaker.certificates),
            trust: self.trust.or(weaker.trust),
            allow_addresses: self.allow_addresses.or(weaker.allow_addresses),
            kubelet: self.kubelet.or(weaker.kubelet),
            kubelet_token_file: self.kubelet_token_file.or(weaker.kubelet_token_file),
            helm: self.helm.or(weaker.helm),
            helm_charts: self.helm_charts.or(weaker.helm_charts),
            helm_registry_config: self.helm_registry_config.or(weaker.helm_registry_config),
            policy_file: self.policy_file.or(weaker.policy_file),
            connections: self.connections.or(weaker.connections),
            connections_file: self.connections_file.or(weaker.connections_file),
            http_listen: self.http_listen.or(weaker.http_listen),
            http_root_path: self.http_root_path.or(weaker.http_root_path),
            log: self.log.or(weaker.log),
            log_format: self.log_format.or(weaker.log_format),
            drain_seconds: self.drain_seconds.or(weaker.drain_seconds),
            die_with_parent: self.die_with_parent.or(weaker.die_with_parent),
        }
    }
}

/// `connections` is a path, or tables that are read elsewhere.
fn path_or_tables<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    match toml::Value::deserialize(deserializer)? {
        toml::Value::String(path) => Ok(Some(path.into())),
        toml::Value::Table(_) => Ok(None),
        _ => Err(D::Error::custom("connections should be the path of a file, or tables  [connections.NAME]")),
    }
}
