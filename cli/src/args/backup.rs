//! `mainstay backup`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use mainstay_backup::place::postgres::JOBS_MAX;
use mainstay_core::Millis;

use super::duration;

#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Make a backup, read it back, and say what it is
    Run(Run),
    /// Backups that the mesh knows of, or those in a store, and what each is worth
    #[command(
        visible_alias = "scan",
        after_help = "Examples:
  mainstay backup list
  mainstay backup list prod/orders-db
  mainstay backup list --store /backups
  mainstay backup list --store s3://backups/prod --endpoint https://s3.internal --signer ed25519:…

Without --store the mesh's catalogue is asked: what its runs have made, seen and drilled, the newest of each target.
With it, the store itself is read, and no mesh is needed."
    )]
    List {
        /// Directory, or s3://BUCKET/PREFIX with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment
        #[arg(long, value_name = "PLACE", help_heading = "Store")]
        store: Option<String>,
        #[command(flatten)]
        way: Way,
        #[command(flatten)]
        known: Known,
        /// Of this target only
        target: Option<String>,
    },
    /// Keep retention from removing a backup, or let it again
    #[command(after_help = "Examples:
  mainstay backup hold prod/orders-db/20261130T020000Z-3.42 --reason \"the audit of November\"
  mainstay backup hold prod/orders-db/20261130T020000Z-3.42 --off

Neither the mesh's step backup.prune nor `mainstay backup prune` takes one that is held. It is in the mesh's catalogue
only: who prunes --without-mesh does not know of it.")]
    Hold {
        /// CLUSTER/TARGET/TIME-TOKEN, as `mainstay backup list` shows it
        backup: String,
        /// Why it is kept
        #[arg(long, default_value = "", value_name = "TEXT")]
        reason: String,
        /// Let it go again
        #[arg(long, conflicts_with = "reason")]
        off: bool,
        /// Only say whether it could be done
        #[arg(long)]
        dry_run: bool,
    },
    /// What a backup says of itself
    #[command(after_help = "Example:\n  mainstay backup show prod/orders-db/20261130T020000Z-3.42 --store /backups")]
    Show {
        #[command(flatten)]
        store: Store,
        #[command(flatten)]
        known: Known,
        /// CLUSTER/TARGET/TIME-TOKEN, as `mainstay backup list` shows it
        backup: String,
    },
    /// Read a backup to its end: checksums, decryption, decompression, form
    #[command(after_help = "Example:\n  mainstay backup check prod/orders-db/20261130T020000Z-3.42 --store /backups --identity drill.txt

Exit status: 0 all of it is as it was written; 1 a part is damaged, or no key here opens it; 3 the store did not let
it be read, which says nothing of the backup.")]
    Check {
        #[command(flatten)]
        store: Store,
        #[command(flatten)]
        known: Known,
        #[command(flatten)]
        keys: Identity,
        /// CLUSTER/TARGET/TIME-TOKEN
        backup: String,
    },
    /// Remove what no rule keeps; never the newest good one of a target
    Prune(Prune),
    /// Put a backup where nothing is
    Restore(Restore),
    /// Restore a backup into a server of its own, compare it, and throw it away
    Drill(Drill),
    /// Destroy the key of a target, so that nobody can open its backups any more
    Erase(Erase),
    /// Who can open the backups of a store
    #[command(after_help = "Example:
  mainstay backup keys --store /backups

Keys are made by age-keygen; the secret half of a break-glass key is kept offline.")]
    Keys {
        #[command(flatten)]
        store: Store,
        #[command(flatten)]
        known: Known,
    },
}

/// Where backups are.
#[derive(Debug, Clone, Args)]
pub struct Store {
    /// Directory, or s3://BUCKET/PREFIX with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment
    #[arg(long, value_name = "PLACE", help_heading = "Store")]
    pub store: String,
    #[command(flatten)]
    pub way: Way,
}

/// How a store is come to.
#[derive(Debug, Clone, Args)]
pub struct Way {
    /// Of an S3 that is not Amazon's; the bucket is part of the path then
    #[arg(long, value_name = "URL", help_heading = "Store")]
    pub endpoint: Option<String>,
    /// Region of the bucket
    #[arg(long, env = "AWS_REGION", value_name = "NAME", help_heading = "Store")]
    pub region: Option<String>,
    /// File with certificates of who signed the endpoint's
    #[arg(long, value_name = "FILE", help_heading = "Store")]
    pub ca: Option<PathBuf>,
    /// An endpoint without TLS
    #[arg(long, help_heading = "Store")]
    pub allow_http: bool,
    /// How the bucket's own service encrypts besides: AES256 or aws:kms
    #[arg(long, value_name = "HOW", help_heading = "Store")]
    pub sse: Option<String>,
    /// Key of its key service, for aws:kms
    #[arg(long, value_name = "KEY", help_heading = "Store")]
    pub kms_key: Option<String>,
    /// Send a checksum with each object, for a bucket with a default retention
    #[arg(long, help_heading = "Store")]
    pub checksums: bool,
    /// At most this many bytes a second, both ways
    #[arg(long, value_name = "BYTES", help_heading = "Store")]
    pub limit: Option<u64>,
}

impl Way {
    /// Whether anything of it is named. The region may come from the environment.
    #[must_use]
    pub fn is_said(&self) -> bool {
        let is_bucket = self.endpoint.is_some() || self.ca.is_some() || self.allow_http || self.checksums;
        is_bucket || self.sse.is_some() || self.kms_key.is_some() || self.limit.is_some()
    }
}

/// Whose receipts count.
#[derive(Debug, Clone, Default, Args)]
pub struct Known {
    /// Public key whose receipts count, as `mainstay backup run --sign` prints it
    #[arg(long, value_name = "KEY")]
    pub signer: Vec<String>,
}

/// What opens backups.
#[derive(Debug, Clone, Args)]
pub struct Identity {
    /// File with the secret key, as age-keygen writes it
    #[arg(long, value_name = "FILE")]
    pub identity: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  age-keygen -o break-glass.txt        keep it offline; -y FILE prints the public half
  openssl genpkey -algorithm ed25519 -outform DER -out sign.der
  mainstay backup run local/etc --store /backups --files /etc --break-glass age1… --sign sign.der
  PGPASSWORD=… mainstay backup run prod/orders-db --store /backups --postgres postgres://app@db/orders --drill age1…
  REDISCLI_AUTH=… mainstay backup run prod/cache --store /backups --redis redis://cache:6379 --drill age1…

Without --sign it stays unconfirmed: nothing says that it counts.")]
pub struct Run {
    /// CLUSTER/TARGET: what it is a backup of
    pub target: String,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub asked: Asked,
    /// Public key of the one kept offline
    #[arg(long, value_name = "KEY")]
    pub break_glass: Vec<String>,
    /// Public key of drills
    #[arg(long, value_name = "KEY", required_unless_present_any = ["break_glass", "worker"])]
    pub drill: Vec<String>,
    /// File with the Ed25519 key (PKCS #8, DER) that signs its receipt
    #[arg(long, value_name = "FILE")]
    pub sign: Option<PathBuf>,
    /// Those that belong together carry one name
    #[arg(long, value_name = "NAME")]
    pub set: Option<String>,
    /// After this a source is given up
    #[arg(long, default_value = "4h", value_name = "DURATION", value_parser = duration)]
    pub deadline: Millis,
    /// Only look whether it could be made
    #[arg(long)]
    pub dry_run: bool,
    /// What an agent has decided for its worker
    #[arg(long, value_name = "JSON", hide = true, conflicts_with_all = ["break_glass", "drill", "sign", "dry_run"])]
    pub worker: Option<String>,
}

/// What is backed up.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Source {
    /// Directories
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// postgres://USER@HOST:PORT/DATABASE, with its password in PGPASSWORD
    #[arg(long, value_name = "URL")]
    pub postgres: Option<String>,
    /// redis://USER@HOST:PORT, with its password in REDISCLI_AUTH
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,
}

/// What is asked for of a database.
#[derive(Debug, Clone, Args)]
pub struct Asked {
    /// Sum up what is in the rows of each table too, so that a restore is compared by more than their number
    #[arg(long, requires = "postgres", help_heading = "PostgreSQL")]
    pub content: bool,
    /// Read its data in so many streams at the same time, of one snapshot
    #[arg(long, requires = "postgres", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8), value_name = "N", help_heading = "PostgreSQL")]
    pub streams: u8,
    /// A query that gives one row, asked now and of what is restored; several times for several
    #[arg(long, requires = "postgres", value_name = "NAME=SELECT", help_heading = "PostgreSQL")]
    pub query: Vec<String>,
}

/// Which objects of Kubernetes are restored, and where they are to be.
#[derive(Debug, Clone, Default, Args)]
pub struct Objects {
    /// The namespace where they are to be, in place of their own; OLD=NEW where the backup is of several
    #[arg(long, value_name = "NEW", help_heading = "Objects of Kubernetes")]
    pub namespace: Vec<String>,
    /// Only these, such as Deployment, ConfigMap/web-* or */web
    #[arg(long, value_name = "KIND/NAME", help_heading = "Objects of Kubernetes")]
    pub only: Vec<String>,
    /// Only those that have this label; several are all needed
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Objects of Kubernetes")]
    pub label: Vec<String>,
}

impl Objects {
    /// Whether anything of it is named.
    #[must_use]
    pub fn is_said(&self) -> bool {
        !self.namespace.is_empty() || !self.only.is_empty() || !self.label.is_empty()
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mainstay backup prune --store /backups --signer ed25519:… --daily 7 --weekly 4 --monthly 12 --dry-run
  mainstay backup prune prod/orders-db --store /backups --signer ed25519:… --last 10
  mainstay backup prune --without-mesh --store /backups --signer ed25519:… --last 10 --dry-run

The mesh is asked first: what is held there (`mainstay backup hold`) stays, and nothing goes of a target whose lease
somebody holds, who makes or removes backups there. With --without-mesh nobody is asked, and nobody else may write to
these targets meanwhile.")]
pub struct Prune {
    /// Of this target only
    pub target: Option<String>,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub known: Known,
    /// Keep the newest ones
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub last: u32,
    /// Keep the newest of each of the last days that have one
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub daily: u32,
    /// The same by weeks
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub weekly: u32,
    /// The same by months
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub monthly: u32,
    /// The same by years
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub yearly: u32,
    /// No more than these of a target, whatever the others ask for
    #[arg(long, value_name = "N")]
    pub maximum: Option<u32>,
    /// Ask no mesh what is held there, and whether somebody is at it
    #[arg(long)]
    pub without_mesh: bool,
    /// Only say what would go, and why
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mainstay backup erase prod/orders-db --store /backups --dry-run
  mainstay backup erase prod/orders-db --store /backups --sign sign.der --confirm prod/orders-db

This cannot be taken back: no key opens them afterwards, the one that is kept offline neither. The mesh's audit log has
it, and it is refused while a backup is held (`mainstay backup hold`) or somebody makes or removes backups there.
The backups themselves are noise from then on, and go by retention. The next backup of the target makes a new key.")]
pub struct Erase {
    /// CLUSTER/TARGET: of what nothing is to be restored any more
    pub target: String,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub known: Known,
    /// File with the Ed25519 key (PKCS #8, DER) that signs that it was erased
    #[arg(long, value_name = "FILE", required_unless_present = "dry_run")]
    pub sign: Option<PathBuf>,
    /// The target's name once more; without it nothing is destroyed
    #[arg(long, value_name = "CLUSTER/TARGET", conflicts_with = "dry_run")]
    pub confirm: Option<String>,
    /// Ask no mesh what is held there, and tell none
    #[arg(long)]
    pub without_mesh: bool,
    /// Only say what could not be opened any more
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mainstay backup restore local/etc --store /backups --identity drill.txt --to /tmp/etc
  mainstay backup restore prod/orders-db --at 2026-11-30T02:00:00Z --store /backups --identity break-glass.txt --to postgres://app@db/restored
  mainstay backup restore prod/orders-db --set backup-12 --store /backups --signer ed25519:… --identity drill.txt --to postgres://app@db/restored
  mainstay backup restore prod/orders-db --jobs 4 --scratch /srv/scratch --store /backups --signer ed25519:… --identity drill.txt --to postgres://app@db/restored
  mainstay backup restore prod/cache/20261130T020000Z-3.42 --store /backups --identity drill.txt --to /var/lib/redis-new
  mainstay backup restore prod/shop-objects --store /backups --identity drill.txt --namespace shop-copy --to - | kubectl apply --server-side -f -

What is there already is not touched: it is an error.")]
pub struct Restore {
    /// CLUSTER/TARGET, whose newest good one is taken, or CLUSTER/TARGET/TIME-TOKEN
    pub backup: String,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub known: Known,
    #[command(flatten)]
    pub keys: Identity,
    /// The newest good one at or before this instant
    #[arg(long, value_name = "TIME", conflicts_with = "set")]
    pub at: Option<Timestamp>,
    /// The target's good one of this set; those of a set were made together
    #[arg(long, value_name = "NAME")]
    pub set: Option<String>,
    /// Empty directory (files, Redis, objects of Kubernetes), postgres://USER@HOST:PORT/DATABASE of an empty database, or - for objects on standard output
    #[arg(long, value_name = "PLACE")]
    pub to: String,
    /// Only this table of a database, SCHEMA.TABLE; several times for several of one schema
    #[arg(long, value_name = "TABLE", conflicts_with = "path")]
    pub table: Vec<String>,
    /// Only what is at or below this path of a directory; several times for several
    #[arg(long, value_name = "PATH")]
    pub path: Vec<String>,
    #[command(flatten)]
    pub objects: Objects,
    /// All objects belong to who restores, and rights are left out
    #[arg(long)]
    pub without_owners: bool,
    /// Connections at a time to a database; from 2 on it is faster, takes scratch space, and is no transaction any more
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(JOBS_MAX)), value_name = "N")]
    pub jobs: u8,
    /// Directory with room for the database as it was dumped, where there are several jobs
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub scratch: PathBuf,
    /// After this it is given up
    #[arg(long, default_value = "4h", value_name = "DURATION", value_parser = duration)]
    pub deadline: Millis,
    /// Only say what would be restored, and whether it is whole
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mainstay backup drill local/etc --store /backups --signer ed25519:… --identity drill.txt
  mainstay backup drill prod/orders-db --store s3://backups/prod --signer ed25519:… --identity drill.txt --scratch /srv/scratch
  mainstay backup drill prod/cache/20261130T020000Z-3.42 --store /backups --identity drill.txt -o json

The server that it starts has no port, and is gone afterwards.
Exit status: 0 it was restored and is what it was; 1 it is not, cannot be restored, or could not be
tried here; 3 the store did not let it be read, which says nothing of it.
The mesh is not told: what it knows of drills comes from  mainstay run start recovery-drill")]
pub struct Drill {
    /// CLUSTER/TARGET, whose newest good one is taken, or CLUSTER/TARGET/TIME-TOKEN
    pub backup: String,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub known: Known,
    #[command(flatten)]
    pub keys: Identity,
    /// The newest good one at or before this instant
    #[arg(long, value_name = "TIME", conflicts_with = "set")]
    pub at: Option<Timestamp>,
    /// The target's good one of this set; those of a set were made together
    #[arg(long, value_name = "NAME")]
    pub set: Option<String>,
    /// Directory with room for what is restored
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub scratch: PathBuf,
    /// Directory with the programs of the server; the newest that are installed, if left out
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// After this it is given up
    #[arg(long, default_value = "4h", value_name = "DURATION", value_parser = duration)]
    pub deadline: Millis,
}
