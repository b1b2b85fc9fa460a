//! From what was said to what holds. Every value is looked at, whatever the others are.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use mainstay_client::files;
use mainstay_core::AgentId;
use mainstay_core::id::SpeaksFor;

use super::{FILE_MAX, Fragment, JoinTokenSource, Logging, PodTokenSource, Settings, SettingsError};
use crate::connections::Connections;
use crate::execute::{ExecuteSettings, Helm, Kubelet, Outgoing, Policy};
use crate::kube::kept::SecretName;

/// Port of every listener of an agent; loopback unless set.
const HTTP: &str = "127.0.0.1:7412";
/// Port of a kubelet, unless said otherwise.
const KUBELET: u16 = 10250;
/// Below what Kubernetes waits before it kills, so that results are still reported.
const DRAIN_SECONDS: u64 = 20;
/// Longer than this an agent is not to hold up a reboot.
const DRAIN_SECONDS_MAX: u64 = 3_600;
/// Members of one mesh, learners included, and room for their other names.
const ADDRESSES_MAX: usize = 64;

struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    /// A value that has to be there and has to be right.
    fn required<T: FromStr<Err: std::fmt::Display>>(&mut self, name: &str, value: Option<String>) -> Option<T> {
        match value {
            None => {
                self.add(missing(name));
                None
            }
            Some(text) => text.parse().map_err(|error| self.add(format!("{name}: {error}"))).ok(),
        }
    }
}

fn missing(name: &str) -> String {
    format!("{name} is not set: give --{}, MAINSTAY_{} or `{name}` in the settings file", name.replace('_', "-"), name.to_uppercase())
}

fn speaks_for(node: Option<String>, replica: Option<String>, hands: bool, problems: &mut Problems) -> Option<SpeaksFor> {
    match (node, replica) {
        (Some(_), Some(_)) => {
            problems.add("node and cluster_agent are both set: an agent speaks for a node or for its cluster");
            None
        }
        (None, Some(_)) if hands => {
            problems.add("hands and cluster_agent are both set: hands are of a node, which `node` names");
            None
        }
        (None, Some(id)) => problems.required("cluster_agent", Some(id)).map(SpeaksFor::Cluster),
        (node, None) => problems.required("node", node).map(if hands { SpeaksFor::Hands } else { SpeaksFor::Node }),
    }
}

/// The accounts for whose pods a cluster agent vouches: as agents of their nodes, and as hands. No account is for both.
fn vouching(nodes: Option<Vec<String>>, hands: Option<Vec<String>>, problems: &mut Problems) -> (Vec<String>, Vec<String>) {
    let (nodes, hands) = (nodes.unwrap_or_default(), hands.unwrap_or_default());
    for (name, accounts) in [("vouch_for", &nodes), ("vouch_for_hands", &hands)] {
        for account in accounts.iter().filter(|account| account.parse::<SecretName>().is_err()) {
            problems.add(format!("{name}: `{account}` is not NAMESPACE/NAME of a ServiceAccount"));
        }
    }
    for account in hands.iter().filter(|account| nodes.contains(account)) {
        problems.add(format!("vouch_for_hands: `{account}` is in vouch_for too: whoever could be either could be hands"));
    }
    (nodes, hands)
}

/// Where the host's file system is: absolute, for it is named to another process.
fn host_root(path: Option<PathBuf>, problems: &mut Problems) -> Option<PathBuf> {
    let path = std::path::absolute(path.as_ref()?).ok().or(path)?;
    if !files::exists(&path) {
        problems.add(format!("host_root: there is no folder {}", path.display()));
    }
    Some(path)
}

pub(super) fn check(merged: Fragment, earlier: Vec<String>) -> Result<Settings, SettingsError> {
    let mut problems = Problems(earlier);
    let cluster = problems.required("cluster", merged.cluster);
    let speaks_for = speaks_for(merged.node, merged.cluster_agent, merged.hands.unwrap_or(false), &mut problems);
    let coordinators = addresses("coordinators", merged.coordinators, &mut problems);
    if coordinators.is_empty() {
        problems.add(missing("coordinators"));
    }
    let enrol = addresses("enrol", merged.enrol, &mut problems);
    if merged.dir.is_none() {
        problems.add(missing("dir"));
    }
    let http = http(merged.http_listen.as_deref().unwrap_or(HTTP), &mut problems);
    let http_root_path = root_path(merged.http_root_path.unwrap_or_default(), &mut problems);
    let log = logging(merged.log, merged.log_format, &mut problems);
    let drain_seconds = merged.drain_seconds.unwrap_or(DRAIN_SECONDS);
    if drain_seconds > DRAIN_SECONDS_MAX {
        problems.add(format!("drain_seconds is {drain_seconds}, and at most {DRAIN_SECONDS_MAX}"));
    }
    let allow_addresses = merged.allow_addresses.unwrap_or_default();
    if let Err(error) = Outgoing::new(&allow_addresses) {
        problems.add(format!("allow_addresses: {error}"));
    }
    let execute = ExecuteSettings {
        services: merged.services.unwrap_or_default(),
        logs: globs("logs", merged.logs, &mut problems),
        certificates: globs("certificates", merged.certificates, &mut problems),
        trust: merged.trust.unwrap_or_default(),
        allow_addresses,
        kubelet: kubelet(merged.kubelet, merged.kubelet_token_file, &mut problems),
        host_root: host_root(merged.host_root, &mut problems),
        helm: helm((merged.helm, merged.helm_charts, merged.helm_registry_config), merged.kubeconfig.clone(), merged.dir.as_deref(), &mut problems),
    };
    let policy =
        merged.policy_file.as_deref().map(|path| policy(path).map_err(|problem| problems.add(problem))).and_then(Result::ok).unwrap_or_default();
    let connections = connections(merged.connections, merged.connections_file, &mut problems);
    let pod_token = pod_token(merged.pod_token_file, merged.root_sha256, &mut problems);
    let (vouch_for, vouch_for_hands) = vouching(merged.vouch_for, merged.vouch_for_hands, &mut problems);
    let identity_secret = merged
        .identity_secret
        .and_then(|text| text.parse::<SecretName>().map_err(|problem| problems.add(format!("identity_secret: {problem}"))).ok());
    let custom_resources = merged.custom_resources.unwrap_or(false);
    match &speaks_for {
        Some(SpeaksFor::Node(_) | SpeaksFor::Hands(_)) => {
            for (name, said) in [
                ("vouch_for", !vouch_for.is_empty()),
                ("vouch_for_hands", !vouch_for_hands.is_empty()),
                ("identity_secret", identity_secret.is_some()),
                ("custom_resources", custom_resources),
                ("node_conditions", merged.node_conditions.is_some()),
                ("helm", execute.helm.is_some()),
            ] {
                if said {
                    problems.add(format!("{name} is for agents that speak for their cluster"));
                }
            }
        }
        Some(SpeaksFor::Cluster(_)) if pod_token.is_some() => {
            problems.add("pod_token_file is for the agents of nodes: one that speaks for its cluster enrols with a join token");
        }
        Some(SpeaksFor::Cluster(_)) | None => {}
    }
    if matches!(speaks_for, Some(SpeaksFor::Cluster(_))) && execute.kubelet.is_some() {
        problems.add("kubelet is for the agents of nodes: each asks its own");
    }
    let is_hands = matches!(speaks_for, Some(SpeaksFor::Hands(_)));
    if execute.host_root.is_some() && !is_hands {
        problems.add("host_root is for hands, which do what changes the host");
    }
    if is_hands {
        let has_connections = !connections.told().is_empty();
        for (name, said) in [("host", merged.host == Some(true)), ("kubelet", execute.kubelet.is_some()), ("connections", has_connections)] {
            if said {
                problems.add(format!("{name} is for the agent of the node that looks: its hands do nothing but change it"));
            }
        }
    }
    let identity = merged.identity.map(|identity| identity.checked(|problem| problems.add(problem)));
    match (cluster, speaks_for, merged.dir) {
        (Some(cluster), Some(speaks_for), Some(dir)) if problems.0.is_empty() => Ok(Settings {
            agent: AgentId { cluster, speaks_for },
            kubeconfig: merged.kubeconfig,
            dir,
            coordinators,
            enrol,
            join_token: merged.join_token.map(JoinTokenSource::Text).or(merged.join_token_file.map(JoinTokenSource::File)),
            pod_token,
            vouch_for,
            vouch_for_hands,
            identity_secret,
            custom_resources,
            node_conditions: merged.node_conditions.unwrap_or(true),
            identity: identity.flatten(),
            host: merged.host.unwrap_or(false),
            execute,
            policy,
            connections,
            http,
            http_root_path,
            log,
            drain: Duration::from_secs(drain_seconds),
            die_with_parent: merged.die_with_parent.unwrap_or(false),
        }),
        _ => Err(SettingsError { problems: problems.0 }),
    }
}

fn pod_token(file: Option<PathBuf>, root_sha256: Option<String>, problems: &mut Problems) -> Option<PodTokenSource> {
    let file = file?;
    let Some(root_sha256) = root_sha256 else {
        problems.add(missing("root_sha256"));
        return None;
    };
    if root_sha256.len() != 64 || !root_sha256.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        let shown: String = root_sha256.chars().take(80).collect();
        problems.add(format!("root_sha256: `{shown}` is not a SHA-256 in 64 lower-case hexadecimal digits"));
    }
    Some(PodTokenSource { file, root_sha256 })
}

fn kubelet(address: Option<String>, token_file: Option<PathBuf>, problems: &mut Problems) -> Option<Kubelet> {
    let (address, token_file) = match (address, token_file) {
        (None, None) => return None,
        (Some(address), Some(token_file)) => (address, token_file),
        (None, Some(_)) => {
            problems.add(missing("kubelet"));
            return None;
        }
        (Some(_), None) => {
            problems.add(missing("kubelet_token_file"));
            return None;
        }
    };
    let parsed = address.parse::<SocketAddr>().or_else(|_| address.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, KUBELET)));
    parsed
        .map(|address| Kubelet { address, token_file })
        .map_err(|_| problems.add(format!("kubelet: `{address}` is not an address such as 10.0.0.7 or 10.0.0.7:{KUBELET}")))
        .ok()
}

/// Paths become absolute: helm works elsewhere than this process.
fn helm(
    (program, charts, registry_config): (Option<PathBuf>, Option<PathBuf>, Option<PathBuf>),
    kubeconfig: Option<PathBuf>,
    dir: Option<&Path>,
    problems: &mut Problems,
) -> Option<Helm> {
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let Some(program) = program else {
        for (name, said) in [("helm_charts", charts.is_some()), ("helm_registry_config", registry_config.is_some())] {
            if said {
                problems.add(format!("{name} is set, and helm is not: say where the program is"));
            }
        }
        return None;
    };
    let program = absolute(program);
    for (name, path) in [("helm", Some(&program)), ("helm_charts", charts.as_ref()), ("helm_registry_config", registry_config.as_ref())] {
        if let Some(missing) = path.filter(|path| !files::exists(path)) {
            problems.add(format!("{name}: there is no {}", missing.display()));
        }
    }
    Some(Helm {
        program,
        charts: charts.map(absolute),
        registry_config: registry_config.map(absolute),
        kubeconfig: kubeconfig.map(absolute),
        dir: absolute(dir?.join("helm")),
    })
}

fn addresses(name: &str, addresses: Option<Vec<String>>, problems: &mut Problems) -> Vec<String> {
    let addresses = addresses.unwrap_or_default();
    for address in addresses.iter().filter(|address| !is_address(address)) {
        problems.add(format!("{name}: `{address}` is not host:port"));
    }
    if addresses.len() > ADDRESSES_MAX {
        problems.add(format!("{name}: {} addresses, and at most {ADDRESSES_MAX}", addresses.len()));
    }
    addresses
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_is_good = match bare {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
    };
    host_is_good && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn http(text: &str, problems: &mut Problems) -> Option<SocketAddr> {
    if text == "none" {
        return None;
    }
    text.parse().map_err(|_| problems.add(format!("http_listen: `{text}` is neither an address such as {HTTP} nor none"))).ok()
}

fn root_path(text: String, problems: &mut Problems) -> String {
    let path = text.trim_end_matches('/');
    let is_plain = path.is_empty()
        || (path.starts_with('/')
            && path.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'.' | b'_'))
            && !path.contains("//"));
    if !is_plain {
        problems.add(format!("http_root_path: `{text}` should begin with / and hold letters, digits, `-`, `.`, `_` and / only"));
    }
    path.to_owned()
}

fn logging(filter: Option<String>, format: Option<String>, problems: &mut Problems) -> Logging {
    let filter = filter.unwrap_or_else(|| "info".to_owned());
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&filter) {
        problems.add(format!("log: `{filter}`: {error}"));
    }
    let json = match format.as_deref() {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => {
            problems.add(format!("log_format: `{other}` is neither text nor json"));
            false
        }
    };
    Logging { filter, json }
}

fn globs(name: &str, globs: Option<Vec<String>>, problems: &mut Problems) -> Vec<String> {
    let globs = globs.unwrap_or_default();
    for text in &globs {
        if let Err(error) = glob::Pattern::new(text) {
            problems.add(format!("{name}: `{text}`: {error}"));
        }
    }
    globs
}

fn policy(path: &std::path::Path) -> Result<Policy, String> {
    let text = files::read_text(path, FILE_MAX).map_err(|error| format!("the policy file {} cannot be read: {error}", path.display()))?;
    Policy::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn connections(own: Option<Connections>, file: Option<std::path::PathBuf>, problems: &mut Problems) -> Connections {
    let mut all = own.unwrap_or_default();
    if let Some(path) = file {
        // Absolute, so that files named in it are found from wherever this process works.
        let path = std::path::absolute(&path).unwrap_or(path);
        let (more, wrong) = Connections::read(&path);
        problems.0.extend(wrong);
        problems.0.extend(all.join(more));
    }
    all
}
