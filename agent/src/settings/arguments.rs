//! The flags.

use std::path::PathBuf;

use clap::Parser;

use super::Fragment;
use super::identity::IdentityFragment;

/// Agent of a Mainstay mesh: observes a node and carries out maintenance steps on it.
///
/// Every flag can also be a key of the settings file (`dir`) or a variable (`MAINSTAY_DIR`, lists
/// joined by commas); flags go over variables, variables over the file. A join token is read from a file or
/// from MAINSTAY_JOIN_TOKEN.
#[derive(Debug, Default, Parser)]
#[command(name = "mainstay-agent", version)]
pub struct Arguments {
    /// Settings file, TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Cluster that the agent belongs to
    #[arg(long)]
    pub cluster: Option<String>,
    /// Name of the node that this agent speaks for
    #[arg(long)]
    pub node: Option<String>,
    /// Speak for the Kubernetes cluster itself, as the replica of this name; in place of a node
    #[arg(long, value_name = "ID", conflicts_with = "node")]
    pub cluster_agent: Option<String>,
    /// Be the hands of that node, which do what changes it, beside an agent of it that looks
    #[arg(long, conflicts_with = "cluster_agent")]
    pub hands: bool,
    /// How a cluster agent reaches its cluster, where it does not run in it
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Directory of the agent's identity and ledger
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Addresses of the coordinators, gRPC
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub coordinators: Option<Vec<String>>,
    /// Enrolment addresses of the coordinators, for the first start
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub enrol: Option<Vec<String>>,
    /// File with the join token, for the first start
    #[arg(long, value_name = "FILE")]
    pub join_token_file: Option<PathBuf>,
    /// File with the pod's own token, projected for the mesh, in place of a join token: for the agent of a node that
    /// runs as a pod
    #[arg(long, value_name = "FILE")]
    pub pod_token_file: Option<PathBuf>,
    /// Digest of the mesh's root certificate, for enrolment with the pod's own token
    #[arg(long, value_name = "HEX")]
    pub root_sha256: Option<String>,
    /// ServiceAccounts of node agents' pods for which this cluster agent vouches
    #[arg(long, value_name = "NAMESPACE/NAME", value_delimiter = ',')]
    pub vouch_for: Option<Vec<String>>,
    /// ServiceAccounts of pods for which it vouches as hands of their nodes
    #[arg(long, value_name = "NAMESPACE/NAME", value_delimiter = ',')]
    pub vouch_for_hands: Option<Vec<String>>,
    /// Secret in which this cluster agent keeps its identity, where its directory does not outlive its pod
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub identity_secret: Option<String>,
    /// Mirror MaintenancePlans and MaintenanceRuns of the cluster
    #[arg(long)]
    pub custom_resources: bool,
    /// Write to the cluster's Nodes, as conditions, what their agents see: true unless said otherwise. With false, what was
    /// written is taken away
    #[arg(long, value_name = "BOOL")]
    pub node_conditions: Option<bool>,
    /// Certificate that somebody else issues and renews, and what signed it; then nobody enrols
    #[arg(long, value_name = "FILE", requires_all = ["identity_key", "identity_roots"])]
    pub identity_chain: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE", requires = "identity_chain")]
    pub identity_key: Option<PathBuf>,
    /// Roots that this agent trusts then
    #[arg(long, value_name = "FILE", requires = "identity_chain")]
    pub identity_roots: Option<PathBuf>,
    /// Speak for the machine that this agent runs on
    #[arg(long)]
    pub host: bool,
    /// Where the host's file system is mounted, for hands that run in a container: commands run in it
    #[arg(long, value_name = "DIR")]
    pub host_root: Option<PathBuf>,
    /// What the mesh may do here, TOML; without it, only what looks
    #[arg(long, value_name = "FILE")]
    pub policy_file: Option<PathBuf>,
    /// Named ways to outside systems, TOML: tables [connections.NAME]
    #[arg(long, value_name = "FILE")]
    pub connections: Option<PathBuf>,
    /// Log files that `logs.errors` reads; * and ** stand for any text
    #[arg(long, value_name = "GLOB")]
    pub logs: Option<Vec<String>>,
    /// Certificate files that `tls.check` reads; `usual` stands for the usual places
    #[arg(long, value_name = "GLOB")]
    pub certificates: Option<Vec<String>>,
    /// Networks, addresses or host names that checks may reach although they are refused otherwise
    #[arg(long = "allow-address", value_name = "ADDRESS", value_delimiter = ',')]
    pub allow_addresses: Option<Vec<String>>,
    /// The kubelet of this node, which tells how full its pods' volumes are: an address, with a port where that is not 10250
    #[arg(long, value_name = "ADDRESS")]
    pub kubelet: Option<String>,
    /// File with the pod's token that the kubelet is shown, of a ServiceAccount that may get nodes/stats
    #[arg(long, value_name = "FILE")]
    pub kubelet_token_file: Option<PathBuf>,
    /// The helm program, version 4, for steps helm.…: of an agent that speaks for a cluster
    #[arg(long, value_name = "FILE")]
    pub helm: Option<PathBuf>,
    /// Folder of charts that such steps may name by a path below it
    #[arg(long, value_name = "DIR")]
    pub helm_charts: Option<PathBuf>,
    /// Credentials of chart registries, as `helm registry login` writes them
    #[arg(long, value_name = "FILE")]
    pub helm_registry_config: Option<PathBuf>,
    /// Where metrics and health are served: an address such as 127.0.0.1:7412, or none
    #[arg(long, value_name = "ADDRESS")]
    pub http_listen: Option<String>,
    /// What the paths of metrics and health begin with, for example /agent-1
    #[arg(long, value_name = "PATH")]
    pub http_root_path: Option<String>,
    /// What is logged: error, warn, info, debug, trace, or a filter such as mainstay_agent=debug
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// How it is logged: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// How long running attempts may go on after the order to stop
    #[arg(long, value_name = "SECONDS")]
    pub drain_seconds: Option<u64>,
    /// End when the process that started this one ends
    #[arg(long)]
    pub die_with_parent: bool,
}

impl Arguments {
    pub(super) fn into_fragment(self) -> Fragment {
        Fragment {
            cluster: self.cluster,
            node: self.node,
            cluster_agent: self.cluster_agent,
            hands: self.hands.then_some(true),
            kubeconfig: self.kubeconfig,
            dir: self.dir,
            coordinators: self.coordinators,
            enrol: self.enrol,
            join_token_file: self.join_token_file,
            join_token: None,
            pod_token_file: self.pod_token_file,
            root_sha256: self.root_sha256,
            vouch_for: self.vouch_for,
            vouch_for_hands: self.vouch_for_hands,
            identity_secret: self.identity_secret,
            custom_resources: self.custom_resources.then_some(true),
            node_conditions: self.node_conditions,
            identity: IdentityFragment::of(self.identity_chain, self.identity_key, self.identity_roots),
            host: self.host.then_some(true),
            host_root: self.host_root,
            services: None,
            logs: self.logs,
            certificates: self.certificates,
            trust: None,
            allow_addresses: self.allow_addresses,
            kubelet: self.kubelet,
            kubelet_token_file: self.kubelet_token_file,
            helm: self.helm,
            helm_charts: self.helm_charts,
            helm_registry_config: self.helm_registry_config,
            policy_file: self.policy_file,
            connections: None,
            connections_file: self.connections,
            http_listen: self.http_listen,
            http_root_path: self.http_root_path,
            log: self.log,
            log_format: self.log_format,
            drain_seconds: self.drain_seconds,
            die_with_parent: self.die_with_parent.then_some(true),
        }
    }
}
