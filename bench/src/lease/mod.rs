//! Leases beside those of etcd, in one run: three members each, mutual TLS on both sides, fsync on, the same disk,
//! the same loop of clients. Rounds of both take turns, so that what else the machine does meets both.

mod etcd;
mod failover;
mod held;
mod load;
mod mainstay;
mod restart;
mod throughput;

use crate::results::Row;

/// Who is measured beside.
pub const PEER: &str = "etcd 3.7.3";
/// What holds for all of them.
pub const COMMON: &str = "3 members each on one machine, mutual TLS to clients and members, fsync on";

pub async fn measure() -> Vec<Row> {
    let mut rows = throughput::measure().await;
    rows.extend(held::measure().await);
    rows.push(restart::measure().await);
    rows.extend(failover::measure().await);
    rows
}
