//! What the kernel complained about since a time.

use mainstay_core::report::{Check, Thresholds, Verdict};
use mainstay_core::{Millis, WallTime, bounds};

use super::Params;
use crate::execute::{Context, wording};
use crate::observe::kernel::{self, KernelEvent, KernelLog, Trouble};

/// Messages shown of one kind, the newest.
const EXAMPLES: usize = 3;

pub(super) fn checks(params: &Params, context: &Context) -> Vec<Check> {
    let events = match kernel::read(&context.host) {
        Ok(KernelLog::Events(events)) => events,
        Ok(KernelLog::Closed(why)) => return Trouble::ALL.map(|trouble| Check::stated(id(trouble), "", Verdict::Skipped, why.clone())).to_vec(),
        Err(error) => {
            return Trouble::ALL.map(|trouble| Check::stated(id(trouble), "", Verdict::Unknown, format!("/dev/kmsg not read: {error}"))).to_vec();
        }
    };
    let (now, since) = (context.host.wall(), params.since.0);
    let from = now.0.saturating_sub(i64::try_from(since.0).unwrap_or(i64::MAX));
    Trouble::ALL
        .map(|trouble| check(trouble, &events.iter().filter(|event| event.trouble == trouble && event.at.0 >= from).collect::<Vec<_>>(), now, since))
        .to_vec()
}

fn check(trouble: Trouble, events: &[&KernelEvent], now: WallTime, since: Millis) -> Check {
    let (one, many, hint) = match trouble {
        Trouble::OutOfMemory => {
            ("process killed for want of memory", "processes killed for want of memory", "dmesg -T | grep -iE 'oom|out of memory' | tail -n 20")
        }
        Trouble::DiskError => ("disk error", "disk errors", "dmesg -T | grep -iE 'I/O error|medium error' | tail; smartctl -a /dev/DISK"),
        Trouble::ReadOnly => ("file system gone read-only", "file systems gone read-only", "dmesg -T | grep -i read-only | tail; findmnt -O ro"),
        Trouble::HungTask => ("task that hung", "tasks that hung", "dmesg -T | grep -A 20 'blocked for more than' | tail -n 40"),
        Trouble::Hardware => ("hardware error", "hardware errors", "dmesg -T | grep -iE 'mce|hardware error|edac' | tail"),
    };
    // One is enough: each of the first three means lost work, the others that it is near.
    let thresholds = match trouble {
        Trouble::OutOfMemory | Trouble::DiskError | Trouble::ReadOnly => Thresholds { critical: Some(1.0), ..Thresholds::default() },
        Trouble::HungTask | Trouble::Hardware => Thresholds { warning: Some(1.0), ..Thresholds::default() },
    };
    let span = wording::span(since);
    let Some(last) = events.last() else {
        return Check::measured(id(trouble), "", 0.0, "", thresholds, format!("none in the last {span}"));
    };
    let ago = wording::span(Millis(u64::try_from(now.0 - last.at.0).unwrap_or(0)));
    let message = format!("{} in the last {span}, the latest {ago} ago", wording::count(events.len() as u64, one, many));
    let examples = events.iter().rev().take(EXAMPLES.min(bounds::CHECK_DETAILS)).map(|event| event.text.clone());
    Check::measured(id(trouble), "", events.len() as f64, "", thresholds, message).with_details(examples).with_hint(hint)
}

fn id(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::OutOfMemory => "kernel.outOfMemory",
        Trouble::DiskError => "kernel.diskErrors",
        Trouble::ReadOnly => "kernel.readOnly",
        Trouble::HungTask => "kernel.hungTasks",
        Trouble::Hardware => "kernel.hardware",
    }
}
