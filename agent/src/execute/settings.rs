//! What the agent's own settings say about how it executes.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::observe::service::Service;

/// The part of the settings file that steps look at. The mesh cannot write any of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecuteSettings {
    /// Services that this node is to run.
    pub services: Vec<Service>,
    /// Globs of log files that `logs.errors` reads when the step names none.
    pub logs: Vec<String>,
    /// Globs of certificate files that `tls.check` reads when the step names no file and no endpoint.
    pub certificates: Vec<String>,
    /// Files of authorities trusted besides the public ones and the system's own.
    pub trust: Vec<String>,
    /// Addresses that outgoing requests may reach although they are refused otherwise (loopback,
    /// link-local, metadata): networks such as `127.0.0.0/8`, addresses, or host names.
    pub allow_addresses: Vec<String>,
    /// Who knows how full the volumes of this node's pods are.
    pub kubelet: Option<Kubelet>,
    /// The helm program, of an agent that speaks for a cluster.
    pub helm: Option<Helm>,
    /// Where the host's file system is mounted, of hands in a container: commands run in it.
    pub host_root: Option<PathBuf>,
}

/// helm, and what it gets from this agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Helm {
    pub program: PathBuf,
    /// Folder of charts that steps may name by a path below it.
    pub charts: Option<PathBuf>,
    /// Credentials of registries, as `helm registry login` or docker write them.
    pub registry_config: Option<PathBuf>,
    /// How it reaches the cluster; without one, as the pod that it runs in.
    pub kubeconfig: Option<PathBuf>,
    /// Where each attempt has its home: this folder goes with what is in it.
    pub dir: PathBuf,
}

/// The kubelet of this node, and with which token it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubelet {
    pub address: SocketAddr,
    /// A ServiceAccount's, of this pod: whose it is, the kubelet asks the API server.
    pub token_file: PathBuf,
}

/// Log files of a usual machine.
pub const LOGS: [&str; 7] = [
    "/var/log/**/*.log",
    "/var/log/**/*.log.[0-9]*",
    "/var/log/**/*.err",
    "/var/log/syslog*",
    "/var/log/messages*",
    "/var/log/kern.log*",
    "/var/log/**/error_log*",
];
/// Certificate files of a usual machine: of servers and of clusters, without the bundles of public authorities.
pub const CERTIFICATES: [&str; 12] = [
    "/etc/ssl/*.pem",
    "/etc/ssl/*.crt",
    "/etc/ssl/private/*.pem",
    "/etc/ssl/private/*.crt",
    "/etc/nginx/**/*.pem",
    "/etc/nginx/**/*.crt",
    "/etc/haproxy/**/*.pem",
    "/etc/letsencrypt/live/*/cert.pem",
    "/etc/kubernetes/pki/**/*.crt",
    "/var/lib/kubelet/pki/*.crt",
    "/var/lib/kubelet/pki/*-current.pem",
    "/etc/pki/tls/private/*.pem",
];

/// Stands for the usual places in a list of globs.
const USUAL: &str = "usual";

impl ExecuteSettings {
    /// Globs of log files; those of a usual machine when none are set.
    #[must_use]
    pub fn log_globs(&self) -> Vec<String> {
        if self.logs.is_empty() { LOGS.map(str::to_owned).to_vec() } else { self.logs.clone() }
    }

    /// Globs of certificate files; those of a usual machine when none are set, or in the place of `usual`.
    #[must_use]
    pub fn certificate_globs(&self) -> Vec<String> {
        let usual = || CERTIFICATES.map(str::to_owned).to_vec();
        if self.certificates.is_empty() {
            return usual();
        }
        self.certificates.iter().flat_map(|glob| if glob == USUAL { usual() } else { vec![glob.clone()] }).collect()
    }
}
