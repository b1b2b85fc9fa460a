//! What is done to databases and caches, through connections.

use super::super::{Connections, Effect, Kind, ParamType, Scope, Undo};
use super::{DURATION, LOOKS_ONLY, NUMBER, PERCENT, SIZE, optional};
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

/// Groups of what `postgres.check` looks at besides whether the server can be reached.
const POSTGRES_GROUPS: ParamType =
    ParamType::List(&ParamType::OneOf(&["version", "connections", "replication", "transactionAge", "longTransactions", "archive", "size", "bloat"]));

pub(super) const POSTGRES_CHECK: Kind = Kind {
    name: "postgres.check",
    summary: "PostgreSQL: reachable, version, connections, replication, transaction age, long transactions, size, bloat",
    scope: Scope::View,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::Always(&["postgres"]),
    needs: "a role that may log in, with GRANT pg_monitor; without it, what cannot be seen is unknown",
    params: &[
        optional("connection", ParamType::Connection, "every one of kind postgres", "What to look at"),
        optional("checks", POSTGRES_GROUPS, "all of them", "What to look at besides whether it can be reached"),
        optional("latency", DURATION, "{ warning: 1s, critical: 5s }", "Time until one is logged in"),
        optional("connections", PERCENT, "{ warning: 80%, critical: 95% }", "Share of the connections that users may have"),
        optional("standbys", ParamType::Integer(0, 1_000), "the connection's `replicas`", "Standbys that a primary must have"),
        optional("replicationLag", DURATION, "{ warning: 30s, critical: 5m }", "How far a standby is behind, in time"),
        optional("replicationLagBytes", SIZE, "{ warning: 64Mi, critical: 1Gi }", "How far a standby is behind, in write-ahead log"),
        optional("slotRetained", SIZE, "{ warning: 1Gi, critical: 10Gi }", "Write-ahead log that a replication slot keeps from being removed"),
        optional("transactionAge", PERCENT, "{ warning: 40%, critical: 70% }", "Share of the transactions until the server stops taking writes"),
        optional("longTransactions", DURATION, "{ warning: 5m, critical: 1h }", "Age of the oldest transaction, also of prepared ones"),
        optional("databaseSize", SIZE, "never", "Size of each database"),
        optional("deadTuples", PERCENT, "{ warning: 30% }", "Share of dead rows in the worst large table"),
        optional("bloat", PERCENT, "{ warning: 50% }", "Estimated share of empty space in the worst large table"),
        optional("timeout", ParamType::Duration, "10s", "When to give up on connecting, and on each query"),
    ],
    together: &[],
    outputs: &[
        ("latencyMs", "number", "Time until logged in"),
        ("version", "text", "Version of the server"),
        ("connectionsPercent", "number", "Connections in use"),
        ("replicationLagSeconds", "number", "Lag of the standby that is furthest behind"),
        ("sizeBytes", "number", "Size of all databases"),
    ],
    default_timeout: Millis::from_secs(120),
    example: "connection: orders-db\nstandbys: 1\nreplicationLag: { warning: 10s, critical: 1m }",
};

pub(super) const REDIS_CHECK: Kind = Kind {
    name: "redis.check",
    summary: "Redis: ping, memory, persistence, replication, evictions and clients",
    scope: Scope::View,
    effect: Effect::Read,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Nothing,
    protection: LOOKS_ONLY,
    connection: Connections::Always(&["redis"]),
    needs: "a user that may PING, INFO and CONFIG GET (ACL: +ping +info +config|get); what it may not see is unknown",
    params: &[
        optional("connection", ParamType::Connection, "every one of kind redis", "What to look at"),
        optional("latency", DURATION, "{ warning: 100ms, critical: 1s }", "Time until a PING is answered"),
        optional("memory", PERCENT, "{ warning: 80%, critical: 95% }", "Share of `maxmemory` in use, where there is one"),
        optional("fragmentation", NUMBER, "{ warning: 1.5 }", "Memory that the system gave, for each byte in use; from 64 MiB on"),
        optional("saveAge", DURATION, "{ warning: 6h, critical: 24h }", "Age of the last snapshot while there are changes since"),
        optional("replicas", ParamType::Integer(0, 1_000), "the connection's `replicas`", "Replicas that a primary must have"),
        optional("replicationLag", DURATION, "{ warning: 30s, critical: 2m }", "Since when a replica and its primary have not heard of each other"),
        optional("replicationLagBytes", SIZE, "{ warning: 16Mi, critical: 256Mi }", "How far a replica is behind"),
        optional("evictions", NUMBER, "never", "Keys evicted since the last look"),
        optional("clients", PERCENT, "{ warning: 80%, critical: 95% }", "Share of `maxclients` that are connected"),
        optional("blockedClients", NUMBER, "never", "Clients that wait in a blocking command"),
        optional("timeout", ParamType::Duration, "5s", "When to give up on connecting, and on each command"),
    ],
    together: &[],
    outputs: &[
        ("latencyMs", "number", "Time until a PING was answered"),
        ("version", "text", "Version of the server"),
        ("memoryUsedBytes", "number", "Memory in use"),
        ("memoryPercent", "number", "Share of `maxmemory` in use, where there is one"),
        ("replicas", "number", "Replicas of a primary that are online"),
    ],
    default_timeout: Millis::from_secs(60),
    example: "connection: cache\nreplicas: 1\nmemory: { warning: 70%, critical: 90% }",
};
