//! `mainstay mesh`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::backup::{Known, Way};

#[derive(Debug, Subcommand)]
pub enum Mesh {
    /// Write the mesh's own state into a file
    Snapshot(Snapshot),
    /// Begin the mesh again from such a file, when its coordinators are lost
    Recover(Box<Recover>),
    /// Roots of trust: another one takes the place of the present one while the mesh runs
    #[command(subcommand)]
    Root(super::root::Root),
}

const SNAPSHOT: &str = "Examples:
  mainstay mesh snapshot --to /backup/mesh.snapshot
  mainstay mesh snapshot --to - | age -r age1… > mesh.snapshot.age

It has plans, runs, leases, findings, operators and the audit log; no key, no
password and no join token, of which there are digests only. It needs an admin.";

#[derive(Debug, Args)]
#[command(after_help = SNAPSHOT)]
pub struct Snapshot {
    /// File to write; - for standard output  [default: MESH-INCARNATION-ENTRIES.snapshot]
    #[arg(long, value_name = "FILE")]
    pub to: Option<String>,
}

const RECOVER: &str = "Examples:
  mainstay mesh recover --from mesh.snapshot --dir /var/lib/mainstay --root-key mesh-root.pem --dry-run
  mainstay mesh recover --from mesh.snapshot --dir /var/lib/mainstay --root-key mesh-root.pem
  mainstay mesh recover --from mesh.snapshot --dir .mainstay        a mesh of `mainstay up`
  mainstay mesh recover --from-store s3://backups/prod --endpoint https://s3.internal --identity break-glass.txt \\
      --signer ed25519:… --dir /var/lib/mainstay --root-key mesh-root.pem --dry-run

Run it on the machine of the new first coordinator, once all old coordinators
are gone for good. It makes the directory of a mesh of one member with the state
of the snapshot, and starts nothing. Agents come back by themselves when the new
coordinator has an address that they know; further members join as usual.

With --from-store the newest good backup of the mesh itself is taken, as a step
backup.run with `mesh: true` makes it. What is newer and was good once, but is
not as it was, is not passed over: name another one, by --backup or by --at.";

#[derive(Debug, Args)]
#[command(after_help = RECOVER)]
pub struct Recover {
    /// File of `mainstay mesh snapshot`
    #[arg(long, value_name = "FILE", required_unless_present = "from_store", conflicts_with = "from_store")]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    pub bucket: Bucket,
    /// Name of the new first member  [default: c1]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The mesh's root: its key, and its certificate in the same file or in root.pem beside it
    #[arg(long, value_name = "FILE", conflicts_with = "issuer")]
    pub root_key: Option<PathBuf>,
    /// Instead of the root: directory of an old coordinator with issuer.pem and issuer.key
    #[arg(long, value_name = "DIR")]
    pub issuer: Option<PathBuf>,
    /// An incarnation of the mesh that is known to have been used, as `mainstay status -o json` shows it
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub above: u64,
    /// Set what an old coordinator has left in the directory aside
    #[arg(long)]
    pub replace: bool,
    /// Say what would be done, and what cannot be known; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Where backups of the mesh itself are, and which one is taken.
#[derive(Debug, Args)]
pub struct Bucket {
    /// Store with backups of the mesh: a directory, or s3://BUCKET/PREFIX with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment
    #[arg(long, value_name = "PLACE", requires = "identity", help_heading = "Store")]
    pub from_store: Option<String>,
    #[command(flatten)]
    pub way: Way,
    #[command(flatten)]
    pub known: Known,
    /// File with the secret key that opens them, as age-keygen writes it
    #[arg(long, value_name = "FILE", requires = "from_store")]
    pub identity: Option<PathBuf>,
    /// CLUSTER/CONNECTION that they are of, where the store has those of several
    #[arg(long, value_name = "TARGET", requires = "from_store")]
    pub target: Option<String>,
    /// The newest good one at or before this instant
    #[arg(long, value_name = "TIME", requires = "from_store")]
    pub at: Option<Timestamp>,
    /// This one, CLUSTER/CONNECTION/TIME-TOKEN, also where no receipt says that it counts
    #[arg(long, value_name = "BACKUP", requires = "from_store", conflicts_with_all = ["at", "target"])]
    pub backup: Option<String>,
}
