//! Backups of what connections lead to: made, looked at, thinned out.

use super::super::{Connections, Effect, Kind, ParamType, Scope, Undo};
use super::{DURATION, LOOKS_ONLY, PERCENT, TEXTS, optional, required};
use crate::catalogue::{Param, Together};
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

/// What can be backed up.
const SOURCES: Connections = Connections::Always(&["postgres", "redis", "files", "kubernetes", "mesh"]);
const CONNECTION: Param = optional("connection", ParamType::Connection, "every one of these kinds", "What is backed up");
const STORE: Param = optional("store", ParamType::Text, "the agent's only one of kind store", "Connection of kind store in which the backups are");
const DRY_RUN: Param =
    optional("dryRun", ParamType::Boolean, "false", "Look at the source, the keys and the store, say what would be done, and do nothing of it");
const FENCED: &str = "the lease backup/CLUSTER/CONNECTION, whose token is in the name: who has a later one makes void what was not finished before, \
                      the manifest is written last, and the mesh's catalogue takes it only while the lease is held, before it is signed";
/// Backups of a target that each retention rule may ask for.
const KEPT: ParamType = ParamType::Integer(0, 10_000);

pub(super) const RUN: Kind = Kind {
    name: super::super::BACKUP_RUN,
    summary: "A backup of a database, a cache, a directory, objects of Kubernetes or the mesh itself, streamed to a store, encrypted, read back, and confirmed",
    scope: Scope::View,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: FENCED,
    connection: SOURCES,
    needs: "a connection of kind store at the same agent, which names who can open what is written (breakGlass, drill) and what signs that it counts \
            (sign); for PostgreSQL its client programs, not older than the server, and a user that may read all of the database; for Redis a user that \
            may replicate (ACL: +psync +replconf +ping +info; of a cluster also CLUSTER NODES); for objects of Kubernetes an agent of the cluster, \
            and in each namespace a runner that may list each kind; for the mesh itself a name that no other agent has a connection of",
    params: &[
        CONNECTION,
        STORE,
        optional("set", ParamType::Text, "", "Name of a set: those of one set are kept or removed together, and can be restored together"),
        optional(
            "content",
            ParamType::Boolean,
            "false",
            "PostgreSQL: sum up the rows of each table too, so that a drill compares more than their number",
        ),
        optional(
            "queries",
            ParamType::Map,
            "{}",
            "PostgreSQL: up to 16 by name, each one SELECT that gives one row of up to 64 KiB, asked in the snapshot that is dumped, reading only; a \
             drill asks what it restored the same. The answers stand in the manifest, which is not encrypted",
        ),
        optional(
            "streams",
            ParamType::Integer(1, 8),
            "1",
            "PostgreSQL: how many streams of data are read at the same time, under one snapshot; one is the whole dump in one part",
        ),
        optional(
            super::super::MESH_PARAM,
            ParamType::Boolean,
            "false",
            "The connection is of kind mesh, and the mesh's own snapshot is what is backed up; `connection` is its name then, and no pattern",
        ),
        optional("limit", ParamType::Size, "none", "Bytes that are sent a second, at most"),
        optional("deadline", ParamType::Duration, "4h", "How long a source may be held: a snapshot of PostgreSQL keeps it from cleaning up"),
        DRY_RUN,
    ],
    together: &[],
    outputs: &[
        ("backup", "text", "Its name, CLUSTER/CONNECTION/TIME-TOKEN"),
        ("counts", "boolean", "Whether it was confirmed: signed as one that counts"),
        ("plainBytes", "number", "As the source gave it"),
        ("storedBytes", "number", "Compressed and encrypted"),
        ("checksum", "text", "SHA-256 of its manifest, in which those of its parts are"),
        ("tookMs", "number", "Until all of it was stored"),
        ("checkMs", "number", "Until it was read back, besides"),
        ("parts", "number", "Streams in it"),
        ("counted", "number", "What the source has: tables, keys, files or objects; of the mesh, entries applied"),
    ],
    default_timeout: Millis::from_secs(6 * 3_600),
    example: "connection: orders-db\nstore: backups\nlimit: 100Mi",
};

pub(super) const CHECK: Kind = Kind {
    name: super::super::BACKUP_CHECK,
    summary: "What a store has of a target: age and size of the newest good backup, its checksums, damaged and vanished ones, who can open it, and when \
              one was restored in a drill",
    scope: Scope::View,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: SOURCES,
    needs: "a connection of kind store at the same agent; with `identity` there what is read is opened too, without it only its checksums are compared",
    params: &[
        CONNECTION,
        STORE,
        optional("age", DURATION, "{ warning: 26h, critical: 50h }", "Age of the newest good backup"),
        optional("sizeChange", PERCENT, "{ warning: 50% }", "By how much its size differs from what is usual, the median of up to ten before it"),
        optional("drillWithin", DURATION, "never", "Time since the last drill of its backups; that there was none is as bad"),
        optional("read", ParamType::OneOf(&["newest", "all", "none"]), "newest", "Which good ones are read to their ends"),
        optional(
            "onlyBackedUp",
            ParamType::Boolean,
            "false",
            "Say nothing of a connection of which there never was a backup, or whose agent has no store",
        ),
    ],
    together: &[],
    outputs: &[
        ("newest", "text", "Name of the newest good backup"),
        ("ageSeconds", "number", "How old it is"),
        ("storedBytes", "number", "What it takes in the store"),
        ("good", "number", "Good backups"),
        ("damaged", "number", "Damaged ones"),
    ],
    default_timeout: Millis::from_secs(6 * 3_600),
    example: "connection: orders-db\nstore: backups\nage: { warning: 13h, critical: 25h }",
};

pub(super) const PRUNE: Kind = Kind {
    name: super::super::BACKUP_PRUNE,
    summary: "Removes the backups of a target that no rule keeps; never the newest good one, none that is held, and nothing while it is not known which \
              are good",
    scope: Scope::View,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Irreversible,
    protection: "the lease backup/CLUSTER/CONNECTION: nobody writes a backup of the target meanwhile; the mesh's catalogue refuses what is held, and what \
                 a store has locked stays",
    connection: SOURCES,
    needs: "a connection of kind store at the same agent that may remove, and says whose word counts (sign or signers)",
    params: &[
        CONNECTION,
        STORE,
        optional("last", KEPT, "7", "The newest ones"),
        optional("daily", KEPT, "0", "The newest of each of so many days that have one"),
        optional("weekly", KEPT, "0", "The same by weeks, which begin on Monday"),
        optional("monthly", KEPT, "0", "By months"),
        optional("yearly", KEPT, "0", "By years"),
        optional("maximum", ParamType::Integer(1, 10_000), "none", "However many the others ask for, no more than these"),
        optional("zone", ParamType::Text, "UTC", "Whose days, weeks, months and years"),
        DRY_RUN,
    ],
    together: &[],
    outputs: &[
        ("removed", "number", "Backups that were removed; with `dryRun`, that would be"),
        ("kept", "number", "That stay"),
        ("locked", "number", "That no rule keeps, and the store still does"),
    ],
    default_timeout: Millis::from_secs(3_600),
    example: "connection: orders-db\nstore: backups\nlast: 3\ndaily: 14\nmonthly: 12",
};

pub(super) const RESTORE: Kind = Kind {
    name: super::super::BACKUP_RESTORE,
    summary: "Puts the newest good backup of a target, or one that is named, into an empty database or directory, whole or not at all, or its objects into \
              namespaces that have none of them, and compares it with what the source had counted",
    scope: Scope::View,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: "the lease backup/CLUSTER/CONNECTION of where it is put: nobody restores or backs up there meanwhile. Nothing is put where something is; a \
                 database is restored in one transaction unless `jobs` says otherwise, a directory takes its place in one move, objects are made by names that nobody has and taken back \
                 where one cannot be made, and a mark there tells the next try what was done",
    connection: Connections::Always(&["postgres", "files", "kubernetes"]),
    needs: "a connection of kind store at the same agent, with `identity`, what opens backups, and whose word counts (sign or signers); for PostgreSQL its \
            client programs, and an empty database that its user owns; for directories and snapshots of Redis a connection of kind files, in a directory to \
            which the agent may write, with room for it; for objects of Kubernetes an agent of the cluster, and in each namespace a runner that may get, \
            create, patch and delete each kind; an allowed `backup.restore`",
    params: &[
        required(
            "connection",
            ParamType::Connection,
            "Where it is put: an empty database (postgres), an empty or missing directory (files), or the namespaces that it names (kubernetes)",
        ),
        required(
            "backup",
            ParamType::Text,
            "CLUSTER/CONNECTION, or CONNECTION of the agent's cluster, whose newest good backup is taken; or CLUSTER/CONNECTION/TIME-TOKEN",
        ),
        optional("at", ParamType::Text, "now", "The newest good one at or before this instant, such as 2026-11-30T02:00:00Z"),
        optional("set", ParamType::Text, "", "The target's good one of this set, such as backup-12: those of a set were made together"),
        STORE,
        optional(
            "overwrite",
            ParamType::Text,
            "",
            "The name in `connection` once more: where what was backed up is itself restored into. It has to be empty all the same",
        ),
        optional(
            "tables",
            TEXTS,
            "all",
            "PostgreSQL: these alone, SCHEMA.TABLE each and of one schema, which has to be there; without their keys, indexes and what they refer to",
        ),
        optional("paths", TEXTS, "all", "Directories: these alone, with all that is below them, such as conf.d/app.conf"),
        optional(
            "namespace",
            TEXTS,
            "the connection's one, or where they were",
            "Kubernetes: the namespace into which they go, or OLD=NEW for each that is put back; of those that the connection names",
        ),
        optional("only", TEXTS, "all", "Kubernetes: these alone, KIND or KIND/NAME, in which * stands for any text"),
        optional("labels", TEXTS, "any", "Kubernetes: those alone that have these labels, NAME=VALUE each"),
        optional("withoutOwners", ParamType::Boolean, "false", "PostgreSQL: all objects belong to who restores, and rights are left out"),
        optional(
            "jobs",
            ParamType::Integer(1, 16),
            "1",
            "PostgreSQL: connections at a time. From 2 on it is faster, takes scratch space for the dump, and is no transaction: what a failure leaves has to be \
             dropped (dropdb, createdb)",
        ),
        optional("scratch", ParamType::Text, "/var/tmp", "Directory with room for the dump, where there are several jobs"),
        optional("rtoWithin", DURATION, "never", "Time from the order until all of it is there to be used"),
        optional("rpoWithin", DURATION, "never", "Age of what is restored"),
        optional("deadline", ParamType::Duration, "4h", "When it is given up"),
        optional("dryRun", ParamType::Boolean, "false", "Look at the store, the key and the place, say what would be restored, and do nothing of it"),
    ],
    together: &[
        Together::Excludes(
            "tables",
            &["paths", "namespace", "only", "labels"],
            "a database has tables, a directory has paths, and the others are for objects",
        ),
        Together::Excludes("paths", &["namespace", "only", "labels"], "a directory has paths, and the others are for objects of Kubernetes"),
    ],
    outputs: &[
        ("backup", "text", "What was restored"),
        ("rpoSeconds", "number", "Age of what was restored"),
        ("rtoSeconds", "number", "Time until all of it was there; nothing where an earlier try had done it"),
        ("counted", "number", "Rows, keys or files, as the source had counted them; or objects"),
        ("same", "boolean", "Whether what is there is what the source had counted"),
    ],
    default_timeout: Millis::from_secs(6 * 3_600),
    example: "connection: orders-db-new\nbackup: prod/orders-db\nstore: backups\nrtoWithin: { warning: 15m, critical: 1h }",
};

pub(super) const DRILL: Kind = Kind {
    name: super::super::RECOVERY_DRILL,
    summary: "Restores the newest good backup of a target into a server of its own, compares it with what the source had counted, and measures RTO and RPO",
    scope: Scope::View,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: "a server of its own, without a port, in a directory of its own that goes with it: nothing of the source and nothing in the store is touched",
    connection: SOURCES,
    needs: "a connection of kind store at the same agent, with `identity`: the secret half of a drill key; the server's own programs (postgres, redis-server), \
            not older than what was backed up; room for what is restored; where the agent is root, a user nobody and setpriv, since servers do not run as root",
    params: &[
        CONNECTION,
        STORE,
        optional("rto", DURATION, "never", "Time from the order until all of it is there to be used"),
        optional("rpo", DURATION, "{ warning: 26h, critical: 50h }", "Age of what would be restored"),
        optional("scratch", ParamType::Text, "/var/tmp", "Directory with room for what is restored"),
        optional("deadline", ParamType::Duration, "4h", "When it is given up"),
    ],
    together: &[],
    outputs: &[
        ("backup", "text", "What was restored"),
        ("proven", "boolean", "Whether it was restored and is what it was"),
        ("rtoMs", "number", "Time until it was there to be used"),
        ("rpoSeconds", "number", "Age of what was restored"),
    ],
    default_timeout: Millis::from_secs(6 * 3_600),
    example: "connection: orders-db\nstore: backups\nrto: { warning: 15m, critical: 1h }",
};
