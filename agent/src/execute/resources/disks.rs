//! How full file systems are, where that is heading, and which went read-only.

use std::io;

use glob::Pattern;
use mainstay_core::report::{Check, Verdict};

use super::{Params, rounded, with_hint};
use crate::execute::{Context, StepError, wording};
use crate::observe::disk::{Answer, Usage};
use crate::observe::mount::{self, Mount};

/// The kernel calls a file system full at this percentage.
const FULL: f64 = 100.0;

pub(super) async fn checks(params: &Params, context: &Context) -> Result<Vec<Check>, StepError> {
    let excluded = excluded(&params.exclude_mounts)?;
    let keep = |mount: &Mount| !excluded.iter().any(|pattern| pattern.matches(&mount.point));
    let mounts = match mount::read(&context.host) {
        Ok(mounts) => mounts.into_iter().filter(keep).collect::<Vec<_>>(),
        Err(error) => return Ok(vec![Check::stated("disk.used", "", Verdict::Unknown, format!("mounts not read: {error}"))]),
    };
    let mut checks = Vec::new();
    for (mount, answer) in context.prober.ask(mount::that_fill(&mounts)).await {
        match answer {
            Answer::Usage(usage) => checks.extend(fill(params, context, &mount, &usage)),
            Answer::Failed(cause) => checks.push(Check::stated("disk.used", &mount.point, Verdict::Unknown, format!("cannot be asked: {cause}"))),
            Answer::NoAnswer => {
                let check =
                    Check::stated("disk.used", &mount.point, Verdict::Unknown, format!("does not answer; {} of {} hangs", mount.kind, mount.source));
                checks.push(check.with_hint(format!("findmnt {}", wording::quoted(&mount.point))));
            }
        }
    }
    checks.extend(read_only(context, &mounts));
    Ok(checks)
}

fn excluded(globs: &[String]) -> Result<Vec<Pattern>, StepError> {
    let pattern = |glob: &String| {
        Pattern::new(glob).map_err(|error| StepError::refused(format!("node.resources: `{glob}` in `excludeMounts` is not a pattern: {error}")))
    };
    globs.iter().map(pattern).collect()
}

fn fill(params: &Params, context: &Context, mount: &Mount, usage: &Usage) -> Vec<Check> {
    let point = mount.point.as_str();
    let word = wording::quoted(point);
    let used = usage.used_percent();
    let history = context.readings.history(&format!("disk:{point}"));
    let mut message = format!("{} full, {} left", wording::percent(used), wording::bytes(usage.bytes_left));
    if let Some(ahead) = history.as_ref().and_then(|history| history.time_until(FULL)) {
        message += &format!(", full in about {}", wording::span(ahead));
    }
    let mut check = Check::measured("disk.used", point, rounded(used), "%", params.disk.above(80.0, 90.0), message);
    check.history = history.map(|history| history.plot()).unwrap_or_default();
    let mut checks = vec![with_hint(check, &format!("du -xh --max-depth=2 {word} | sort -h | tail -n 15"))];
    if let Some(used) = usage.inodes_used_percent() {
        let message = format!("{} of inodes used, {} left", wording::percent(used), wording::count(usage.inodes_left, "inode", "inodes"));
        let mut check = Check::measured("disk.inodes", point, rounded(used), "%", params.inodes.above(80.0, 90.0), message);
        check.history = context.readings.history(&format!("inodes:{point}")).map(|history| history.plot()).unwrap_or_default();
        checks.push(with_hint(check, &format!("du -x --inodes --max-depth=2 {word} | sort -n | tail -n 15")));
    }
    checks
}

fn read_only(context: &Context, mounts: &[Mount]) -> Vec<Check> {
    let fstab = match context.host.text("/etc/fstab") {
        Ok(fstab) => fstab,
        // Without one, nobody has said what is to be writable.
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return vec![Check::stated("disk.readOnly", "", Verdict::Unknown, format!("/etc/fstab not read: {error}"))],
    };
    let gone = mount::gone_read_only(mounts, &fstab);
    if gone.is_empty() {
        return vec![Check::stated("disk.readOnly", "", Verdict::Ok, "every file system of /etc/fstab that is mounted can be written to")];
    }
    let check = |mount: &Mount| {
        let check = Check::stated("disk.readOnly", &mount.point, Verdict::Critical, "mounted read-only, and /etc/fstab says it can be written to");
        check.with_hint("dmesg -T | grep -iE 'read-only|I/O error|EXT4-fs|XFS' | tail -n 20")
    };
    gone.into_iter().map(check).collect()
}
