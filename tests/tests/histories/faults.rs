//! What happens to the members, one after the other, each mended before the next.

use std::time::Duration;

use mainstay_proto::v1;
use mainstay_tests::namespaces::{self, Group};
use rustix::process::Signal;

use crate::clients::TTL;

/// Longer than any lease: whoever believes in one that it had before is wrong by now.
const LONG: Duration = Duration::from_millis(TTL.as_millis() as u64 + 500);
/// Longer than a follower waits for word of its leader, and shorter than a lease.
const SHORT: Duration = Duration::from_millis(1_500);
/// Room that is too little for a leader, and enough for what it has under way, in KiB.
const NEARLY_FULL: u64 = 12 << 10;
const HOUR: Duration = Duration::from_secs(3_600);

/// One of them.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The leader is killed, and comes back when another leads.
    LeaderKilled,
    /// All are killed at once.
    AllKilled,
    /// The leader stands still for longer than a lease.
    LeaderStopped,
    /// A follower does.
    FollowerStopped,
    /// The leader is out of the others' reach, and clients still reach it.
    LeaderApart,
    /// The leader hears nobody, and is heard.
    LeaderDeaf,
    /// The leader is not heard, and hears all.
    LeaderMute,
    /// Nobody reaches the leader.
    LeaderGone,
    /// Every fifth packet to the leader and to one more is lost.
    Loss,
    /// The way to one member is long, and that one leads.
    FarLeader,
    /// The leader's disk is filled, first nearly, then wholly.
    DiskFull,
    /// The leader's clock jumps, and another takes over.
    ClockAhead,
    ClockBehind,
}

/// All, in an order in which a change of leaders by one is followed by another fault of the next.
pub const ALL: [Fault; 13] = [
    Fault::LeaderKilled,
    Fault::LeaderApart,
    Fault::LeaderStopped,
    Fault::ClockAhead,
    Fault::LeaderDeaf,
    Fault::DiskFull,
    Fault::Loss,
    Fault::LeaderMute,
    Fault::FarLeader,
    Fault::ClockBehind,
    Fault::FollowerStopped,
    Fault::LeaderGone,
    Fault::AllKilled,
];

impl Fault {
    /// Has it happen, and waits until all is well again.
    pub async fn happens(self, group: &mut Group) {
        let leader = group.leader().await;
        match self {
            Fault::LeaderKilled => {
                group.kill(leader);
                group.another_leads(leader).await;
                group.begin(leader);
            }
            Fault::AllKilled => {
                (0..group.len()).for_each(|member| group.kill(member));
                (0..group.len()).for_each(|member| group.begin(member));
            }
            Fault::LeaderStopped => stopped(group, leader).await,
            Fault::FollowerStopped => stopped(group, next(group, leader)).await,
            Fault::LeaderApart => network(group, &[leader], namespaces::Fault::Apart, LONG).await,
            Fault::LeaderDeaf => network(group, &[leader], namespaces::Fault::Deaf, LONG).await,
            Fault::LeaderMute => network(group, &[leader], namespaces::Fault::Mute, SHORT).await,
            Fault::LeaderGone => network(group, &[leader], namespaces::Fault::Gone, SHORT).await,
            Fault::Loss => network(group, &[leader, next(group, leader)], namespaces::Fault::Lossy(20), LONG).await,
            Fault::FarLeader => {
                transfer(group, group.len() - 1).await;
                group.set_delay(Duration::from_millis(40));
                tokio::time::sleep(SHORT).await;
                group.set_delay(Duration::ZERO);
            }
            Fault::DiskFull => {
                group.disk(leader).fill_but(NEARLY_FULL);
                group.another_leads(leader).await;
                // Somebody else writes on, until a follower cannot write either.
                group.disk(leader).fill();
                tokio::time::sleep(SHORT).await;
                group.disk(leader).make_room();
                group.begin_if_ended(leader);
            }
            Fault::ClockAhead => jump(group, leader, "+1h").await,
            Fault::ClockBehind => jump(group, leader, "-1h").await,
        }
        group.ready().await;
    }
}

fn next(group: &Group, member: usize) -> usize {
    (member + 1) % group.len()
}

async fn stopped(group: &Group, member: usize) {
    group.signal(member, Signal::STOP);
    tokio::time::sleep(LONG).await;
    group.signal(member, Signal::CONT);
}

async fn network(group: &Group, members: &[usize], fault: namespaces::Fault, lasts: Duration) {
    members.iter().for_each(|member| group.network(*member, Some(fault)));
    tokio::time::sleep(lasts).await;
    members.iter().for_each(|member| group.network(*member, None));
}

/// Has that member lead.
async fn transfer(group: &Group, to: usize) {
    let mesh = group.client();
    mainstay_tests::eventually("leadership is given away", || async {
        if group.leader().await == to {
            return Ok(());
        }
        let request = v1::TransferLeadershipRequest { to: group.id(to), dry_run: false };
        let moved = mesh.transfer_leadership(request).await;
        Err(moved.err().map_or_else(|| "asked for".to_owned(), |error| error.to_string()))
    })
    .await;
}

/// The leader's clock jumps; then it gives leadership away, and has it back from somebody whose clock is right; then the
/// clock jumps back.
async fn jump(group: &Group, leader: usize, by: &str) {
    group.set_clock(leader, by, HOUR).await;
    transfer(group, next(group, leader)).await;
    transfer(group, leader).await;
    group.set_clock(leader, "+0", Duration::ZERO).await;
}
