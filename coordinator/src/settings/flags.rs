//! The command line.

use std::path::PathBuf;

use clap::Parser;

use super::Fragment;

/// One coordinator of a Mainstay mesh.
///
/// Each setting can also come from the environment (MAINSTAY_ and its name, for example MAINSTAY_HTTP_LISTEN) or
/// from a TOML file (http_listen = "…"); flags go before the environment, and that before the file.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "mainstay-coordinator", version)]
pub struct Flags {
    /// Settings file, TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// Directory of certificates and state [default: /var/lib/mainstay]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<String>,
    /// Name of this member, for people [default: its id]
    #[arg(long)]
    pub name: Option<String>,
    /// Node that this member runs on, as its agent is called: the mesh does not take it out of use while it needs this member
    #[arg(long, value_name = "CLUSTER/NODE")]
    pub node: Option<String>,
    /// Where to listen for gRPC with mutual TLS [default: 0.0.0.0:7400]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Where others reach that listener [default: where it listens]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Where to listen for enrolment [default: 0.0.0.0:7401]
    #[arg(long, value_name = "HOST:PORT")]
    pub enrol_listen: Option<String>,
    /// Where others reach that listener [default: host of --advertise, port of --enrol-listen]
    #[arg(long, value_name = "HOST:PORT")]
    pub enrol_advertise: Option<String>,
    /// Where to listen for /metrics, /healthz and /readyz; `none` for nowhere [default: 127.0.0.1:7402]
    #[arg(long, value_name = "HOST:PORT")]
    pub http_listen: Option<String>,
    /// By the installer only: all first members of a mesh that is to be formed
    #[arg(long, value_name = "ID=HOST:PORT,…")]
    pub form: Option<String>,
    /// What an installer made for the first members of a mesh: a folder of certificates, which says who they are
    #[arg(long, value_name = "DIR")]
    pub founding: Option<String>,
    /// Members of a mesh to join
    #[arg(long, value_name = "HOST:PORT,…")]
    pub join: Option<String>,
    /// Enrolment addresses of members, for the first start of one that joins with a token
    #[arg(long, value_name = "HOST:PORT,…")]
    pub enrol: Option<String>,
    /// File with the join token, for that start; MAINSTAY_JOIN_TOKEN has the token itself
    #[arg(long, value_name = "FILE")]
    pub join_token_file: Option<String>,
    /// First admins of a mesh that is formed
    #[arg(long = "admin", value_name = "NAME,…")]
    pub admins: Option<String>,
    /// Join tokens of a mesh that is formed; lines of SCOPE TOKEN_ID EXPIRES_UNIX_MS USES
    #[arg(long = "join-grants", value_name = "FILE")]
    pub join_grants: Option<String>,
    /// Most that all files of steps together may take, on each member's disk [default: 2Gi]
    #[arg(long, value_name = "SIZE")]
    pub artifacts_max: Option<String>,
    /// Free space of the disk that no file of a step takes [default: 256Mi]
    #[arg(long, value_name = "SIZE")]
    pub artifacts_reserve: Option<String>,
    /// Certificate that somebody else issues and renews, and what signed it; this member then signs nothing
    #[arg(long, value_name = "FILE")]
    pub identity_chain: Option<String>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE")]
    pub identity_key: Option<String>,
    /// Roots that are trusted then
    #[arg(long, value_name = "FILE")]
    pub identity_roots: Option<String>,
    /// Start nothing; write what this member has on its disk into a file, for `mainstay mesh recover`, when a majority
    /// of the members is lost for good
    #[arg(long, value_name = "FILE")]
    pub salvage: Option<PathBuf>,
    /// End when the process that started this one ends
    #[arg(long)]
    pub die_with_parent: bool,
    /// What to log, for example debug or warn,mainstay_coordinator=info [default: info,openraft=error]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl Flags {
    pub(super) fn into_fragment(self) -> Fragment {
        Fragment {
            config: self.config,
            dir: self.dir,
            name: self.name,
            node: self.node,
            listen: self.listen,
            advertise: self.advertise,
            enrol_listen: self.enrol_listen,
            enrol_advertise: self.enrol_advertise,
            http_listen: self.http_listen,
            form: self.form,
            founding: self.founding,
            join: self.join,
            enrol: self.enrol,
            // From the environment only: arguments are read by everybody on the machine.
            join_token: None,
            join_token_file: self.join_token_file,
            admins: self.admins,
            join_grants: self.join_grants,
            artifacts_max: self.artifacts_max,
            artifacts_reserve: self.artifacts_reserve,
            identity_chain: self.identity_chain,
            identity_key: self.identity_key,
            identity_roots: self.identity_roots,
            die_with_parent: self.die_with_parent.then(|| "true".to_owned()),
            log: self.log,
            log_format: self.log_format,
        }
    }
}
