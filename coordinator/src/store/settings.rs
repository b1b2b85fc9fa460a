//! Settings of the store. The defaults are what a mesh runs with; tests shorten them.

use std::time::Duration;

use mainstay_core::bounds;
use openraft::{Config, SnapshotPolicy, StepDownPolicy};

use super::error::StartError;

/// How one member keeps its log, its snapshots and its place in the group.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Between two heartbeats of a leader.
    pub heartbeat: Duration,
    /// A follower stands for election this long, chosen at random between the two, after the leader's
    /// lease has ended; the lease is the longer of the two, counted from the last sign of the leader.
    /// With 250 ms and 600 ms a dead leader is noticed after 850 to 1,200 ms, so the next write comes
    /// within 1.5 s, and a stall of 500 ms anywhere is no reason for an election. One whose process has
    /// ended, and whose machine says so, is not waited for: see [`super::vigil`].
    pub election: (Duration, Duration),
    /// Entries between two snapshots. A snapshot costs as much as the state is large, and so many entries are
    /// applied again in a fraction of a second.
    pub snapshot_every: u64,
    /// Bytes of log since the last snapshot after which the next one is made earlier.
    pub snapshot_log_bytes: u64,
    /// Entries kept behind a snapshot: followers that lag less catch up by log, and the snapshot before
    /// the last one can still be continued if the last one is damaged. More than `snapshot_every`.
    pub keep_entries: u64,
    /// Bytes of one piece of a snapshot on the wire.
    pub snapshot_chunk_bytes: usize,
    /// Bytes of entries in one message, unless a single entry is longer.
    pub append_bytes: usize,
    /// For one message that carries entries or a piece of a snapshot. Heartbeats and votes have less.
    pub rpc_timeout: Duration,
    /// For the last piece of a snapshot: the receiver checks, syncs and installs it before it answers.
    pub install_timeout: Duration,
    /// From proposal to reply.
    pub propose_timeout: Duration,
    /// For a linearizable read, and for a leader to confirm that it leads.
    pub read_timeout: Duration,
    /// For a membership change, the time to catch up included, and for a transfer of leadership.
    pub change_timeout: Duration,
    /// Bytes of proposals that may wait for their reply at one time; each counts as 4 KiB at least.
    pub proposal_bytes: usize,
    /// Entries that a learner may lack when it is promoted.
    pub promote_lag: u64,
    /// Free bytes below which proposals are refused. Raised by the size of the last snapshot.
    pub free_bytes: u64,
    /// Bytes of the file that is given up when even votes and membership could no longer be written.
    pub reserve_bytes: u64,
    /// Between two looks at the free space.
    pub space_interval: Duration,
    /// Every this many entries the members compare digests of their states, seldomer where those are large.
    pub digest_every: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            heartbeat: Duration::from_millis(100),
            election: (Duration::from_millis(250), Duration::from_millis(600)),
            snapshot_every: 20_000,
            snapshot_log_bytes: 32 << 20,
            keep_entries: 24_000,
            snapshot_chunk_bytes: 512 << 10,
            append_bytes: 768 << 10,
            rpc_timeout: Duration::from_secs(3),
            install_timeout: Duration::from_secs(30),
            propose_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(2),
            change_timeout: Duration::from_secs(20),
            proposal_bytes: 16 << 20,
            promote_lag: 64,
            free_bytes: 64 << 20,
            reserve_bytes: 16 << 20,
            space_interval: Duration::from_millis(500),
            digest_every: bounds::DIGEST_EVERY,
        }
    }
}

impl Settings {
    /// The same in openraft's terms.
    pub(super) fn raft_config(&self) -> Result<Config, StartError> {
        self.check()?;
        let config = Config {
            cluster_name: "mainstay".into(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election.0),
            election_timeout_max: millis(self.election.1),
            install_snapshot_timeout: millis(self.install_timeout),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.keep_entries,
            purge_batch_size: (self.keep_entries / 8).max(1),
            // A follower that lags more than what is kept needs a snapshot in any case.
            replication_lag_threshold: self.keep_entries,
            max_payload_entries: 512,
            api_channel_size: Some(8_192),
            notification_channel_size: Some(16_384),
            removed_leader_step_down: StepDownPolicy::After(150),
            // A member that was cut off must not disturb the others when it is back.
            enable_pre_vote: Some(true),
            // How far the log is committed may be forgotten in a crash, so a restarted leader asks again.
            enable_leader_restore: Some(false),
            backoff: "100ms 200ms ...1s".into(),
            ..Config::default()
        };
        config.validate().map_err(|error| StartError::Setting { name: "store", why: error.to_string() })
    }

    fn check(&self) -> Result<(), StartError> {
        let wrong = |name, why: &str| Err(StartError::Setting { name, why: why.to_owned() });
        if self.keep_entries <= self.snapshot_every {
            return wrong("keep_entries", "must be more than snapshot_every, or a follower could never catch up by log");
        }
        if !(1..=1 << 20).contains(&self.snapshot_chunk_bytes) {
            return wrong("snapshot_chunk_bytes", "must be 1 to 1048576: what one message carries");
        }
        if self.digest_every == 0 {
            return wrong("digest_every", "must be at least 1");
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
