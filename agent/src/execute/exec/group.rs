//! The processes of one command: a process group, ended as a whole.
//!
//! A group is addressed by the id of its first process, its leader. That id stays taken for as long as the
//! leader has not been collected; so everything here happens before that, and no signal can reach a stranger.

use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};

use crate::host::Host;

/// Between two looks at whether the group is empty, while it is being ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Between two looks at the leader, should the signal of its end be missed.
const LEADER_LOOK_EVERY: Duration = Duration::from_secs(1);

/// A running group. Dropping it kills what is left of it.
#[derive(Debug)]
pub(in crate::execute) struct Group {
    leader: Pid,
    open: bool,
}

impl Group {
    /// The group that a child was started in as its leader.
    pub(in crate::execute) fn of(child: &Child) -> io::Result<Group> {
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        id.map(|leader| Group { leader, open: true }).ok_or_else(|| io::Error::other("the command has no process id"))
    }

    /// Waits until the leader has ended, without collecting it.
    pub(in crate::execute) async fn leader_ended(&self) -> io::Result<()> {
        // Listened for before the first look, so that an end in between is not missed.
        let mut ended = signal(SignalKind::child())?;
        while !self.has_leader_ended()? {
            // A signal that was taken by another listener shows at the next look.
            let _ = tokio::time::timeout(LEADER_LOOK_EVERY, ended.recv()).await;
        }
        Ok(())
    }

    fn has_leader_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.leader), options)?.is_some())
    }

    /// Asks every process to end, waits for that as long as `grace`, and then makes them.
    pub(in crate::execute) async fn end(&self, grace: Duration) {
        if self.lives() {
            self.signal(Signal::TERM);
            let all_ended = async {
                while self.lives() {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            };
            // Out of patience or not, what is left is killed.
            let _ = tokio::time::timeout(grace, all_ended).await;
        }
        self.signal(Signal::KILL);
    }

    /// The leader is about to be collected: from here on its id is not the group's any more.
    pub(in crate::execute) fn close(mut self) {
        self.open = false;
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone is what was wanted; there is no other error for a group of one's own.
        let _ = kill_process_group(self.leader, signal);
    }

    /// Whether a process of the group still runs, the leader included.
    fn lives(&self) -> bool {
        let own = Host::default();
        let leader = self.leader.as_raw_nonzero().get().to_string();
        let is_member = |pid: &String| {
            let stat = own.text(format!("/proc/{pid}/stat")).unwrap_or_default();
            let mut fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_ascii_whitespace()).into_iter().flatten();
            let (state, group) = (fields.next(), fields.nth(1));
            group == Some(&leader) && !matches!(state, Some("Z" | "X"))
        };
        own.names("/proc").is_ok_and(|names| names.iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit())).any(is_member))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.open {
            self.signal(Signal::KILL);
        }
    }
}
