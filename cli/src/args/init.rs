//! `mainstay init`.

use std::path::PathBuf;

use clap::Args;

const EXAMPLES: &str = "Examples:
  mainstay init --name prod --advertise server1.example:7400 --dry-run
  mainstay init --name prod --advertise server1.example:7400 --members 3

Run it once, as root, on the machine of a mesh's first coordinator. It makes the
mesh's certificate authority, the coordinator's identity and settings, and the
first operator, who is an admin; it starts nothing. Further members join with a
token: mainstay token create --coordinator.";

#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Init {
    /// Name of the mesh
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Where members, agents and operators reach this coordinator  [default: name of this machine, port 7400]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Members that the mesh is to have: 1, 3 or 5; this is the first
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = super::up::members)]
    pub members: usize,
    /// Name of this member
    #[arg(long, value_name = "NAME", default_value = "c1")]
    pub member: String,
    /// Where it listens for gRPC
    #[arg(long, value_name = "HOST:PORT", default_value = "0.0.0.0:7400")]
    pub listen: String,
    /// Where it listens for enrolment
    #[arg(long, value_name = "HOST:PORT", default_value = "0.0.0.0:7401")]
    pub enrol_listen: String,
    /// Where it serves metrics and health; none for nowhere
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7402")]
    pub http_listen: String,
    /// The first operator, an admin  [default: SUDO_USER, else USER, else admin]
    #[arg(long, value_name = "NAME")]
    pub operator: Option<String>,
    /// Settings file of the coordinator
    #[arg(long, value_name = "FILE", default_value = "/etc/mainstay/coordinator.toml")]
    pub config: PathBuf,
    /// File for the root's key, to be kept elsewhere  [default: NAME-root.pem in this folder]
    #[arg(long, value_name = "FILE")]
    pub root_key: Option<PathBuf>,
    /// Say what would be made; make nothing
    #[arg(long)]
    pub dry_run: bool,
}

const CLUSTER_EXAMPLES: &str = "Examples:
  mainstay init-cluster --name prod --namespace mainstay --prefix mainstay --print --root-key prod-root.pem | kubectl apply -f -

The chart's installer runs it in the cluster, as a ServiceAccount that may make
Secrets, and is gone then. With --print it runs anywhere, before the chart is
installed, and the root's key never gets into the cluster.";

/// `mainstay init-cluster`.
#[derive(Debug, Clone, Args)]
#[command(after_help = CLUSTER_EXAMPLES)]
pub struct InitCluster {
    /// Name of the mesh
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Namespace of the chart's release
    #[arg(long, value_name = "NAME")]
    pub namespace: String,
    /// What the names of the release's objects begin with
    #[arg(long, value_name = "NAME", default_value = "mainstay")]
    pub prefix: String,
    /// Members that the mesh begins with: 1, 3 or 5
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = super::up::members)]
    pub members: usize,
    /// Where others reach a member; POD stands for its name  [default: POD.PREFIX-coordinator.NAMESPACE.svc:7400]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Name of the cluster whose agents get a join token
    #[arg(long, value_name = "NAME")]
    pub cluster: String,
    /// How many cluster agents it lets in
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub cluster_agents: u32,
    /// The first operator, an admin
    #[arg(long, value_name = "NAME", default_value = "admin")]
    pub operator: String,
    /// File for the root's key, with --print; or one that is there already, to go on with
    #[arg(long, value_name = "FILE")]
    pub root_key: Option<PathBuf>,
    /// Print the objects instead of making them
    #[arg(long, requires = "root_key")]
    pub print: bool,
}
