//! Leases beside those of etcd, in one run: three members each, mutual TLS on both sides, fsync on, the same disk,
//! the same loop of clients. Rounds of both take turns, so that what else the machine does meets both.

mod etcd;
mod failover;
mod held;
mod load;
mod mainstay;
mod metrics;
mod restart;
mod stalls;
mod throughput;

use crate::results::Row;

/// Who is measured beside.
pub const PEER: &str = "etcd 3.7.3";
/// What holds for all of them.
pub const COMMON: &str = "3 members each on one machine, mutual TLS to clients and members, fsync on";

/// Parts that can be measured alone, and what their rows are called.
const THROUGHPUT: (&str, &[&str]) = ("lease.throughput", &["lease.write", "lease.acquire_release", "lease.read"]);
const HELD: (&str, &[&str]) = ("lease.held", &["lease.keepalive", "lease.memory"]);
const RESTART: (&str, &[&str]) = ("lease.restart", &[]);
const FAILOVER: (&str, &[&str]) = ("lease.failover", &["lease.failover.equal", "lease.failover.default"]);
const STALLS: (&str, &[&str]) = ("lease.stalls", &["lease.failover.false_elections"]);

/// Measures all parts, or the one that `only` names by itself or by one of its rows.
pub async fn measure(only: Option<&str>) -> Vec<Row> {
    let wanted = |(part, rows): (&str, &[&str])| only.is_none_or(|only| part.starts_with(only) || rows.iter().any(|row| only.starts_with(row)));
    let mut rows = Vec::new();
    if wanted(THROUGHPUT) {
        rows.extend(throughput::measure().await);
    }
    if wanted(HELD) {
        rows.extend(held::measure().await);
    }
    if wanted(RESTART) {
        rows.push(restart::measure().await);
    }
    if wanted(FAILOVER) {
        rows.extend(failover::measure().await);
    }
    if wanted(STALLS) {
        rows.push(stalls::measure().await);
    }
    rows
}
