//! `mainstay up`.

use std::path::PathBuf;

use clap::Args;

const EXAMPLES: &str = "Examples:
  mainstay up                        three members, three agents; Ctrl-C ends it, `up` again goes on
  mainstay up --once daily           ends after the report, with the exit status of the plan
  mainstay up --dir /tmp/m --coordinators 1 --agents 1

State is kept in --dir (.mainstay if left out): certificates in ca/, logs in
logs/, what agents may do in agent-policy.toml. The ports are free ones of
this machine, loopback only, and kept in up.toml.";

#[derive(Debug, Clone, Default, Args)]
#[command(after_help = EXAMPLES)]
pub struct Up {
    /// Members of the coordinator group: 1, 3 or 5  [default: as last time, else 3]
    #[arg(long, value_name = "N", value_parser = members)]
    pub coordinators: Option<usize>,
    /// Agents of each cluster  [default: as last time, else 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub agents: Option<u16>,
    /// Clusters, named local, or local-1, local-2, …  [default: as last time, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10))]
    pub clusters: Option<u16>,
    /// Named ways to outside systems, and further settings of the agents, TOML
    #[arg(long, value_name = "FILE")]
    pub connections: Option<PathBuf>,
    /// End after one run of this plan, with its exit status
    #[arg(long, value_name = "PLAN")]
    pub once: Option<String>,
}

/// An odd number of members.
pub fn members(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("1, 3 or 5: an even number survives no more losses than one less".to_owned()),
    }
}
