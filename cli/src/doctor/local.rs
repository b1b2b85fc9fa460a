//! What is wrong on this machine, and between it and each member.

use std::collections::BTreeSet;

use mainstay_core::WallTime;
use mainstay_proto::v1::{MemberDescription, Verdict};

use super::diagnosis::{Diagnosis, when};
use super::facts::{Answer, Facts, IdentityFile, MemberFacts};
use crate::render::units;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// Clocks may differ by this much.
const CLOCK: i64 = 5_000;
/// Beyond this, what one member signs is of the future to another.
const CLOCK_FATAL: i64 = 300_000;
/// A leaf lives a day and is renewed after a third: with less left than this, that has not worked.
const LEAF_LATE: i64 = 12 * HOUR;
const LEAF_FATAL: i64 = 2 * HOUR;
/// An issuer is replaced by a person: time enough to find the root's key.
const ISSUER_SOON: i64 = 30 * DAY;
const ISSUER_FATAL: i64 = 3 * DAY;
/// Twice what a member keeps free before it refuses proposals.
const DISK_SHORT: u64 = 256 << 20;

pub fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    let mut all = Vec::new();
    if let Some(trouble) = &facts.not_chosen {
        all.push(Diagnosis::new(Verdict::Critical, "context", "this machine", &trouble.what).then(&trouble.then));
    }
    if let Some(chosen) = &facts.chosen {
        let place = chosen.members.join(", ");
        all.push(match &chosen.asleep {
            Some(dir) => Diagnosis::new(Verdict::Critical, "context", dir, format!("the mesh that {} means does not run", chosen.by))
                .then(format!("mainstay up --dir {dir}")),
            None => Diagnosis::new(Verdict::Ok, "context", place, format!("the mesh that {} means", chosen.by)),
        });
    }
    if let Some(file) = &facts.identity {
        all.extend(identity(file, facts.now));
    }
    for member in &facts.members {
        all.extend(reach(member, facts));
        if let Answer::Described(described, ahead) = &member.answer {
            all.extend(clock(&described.name, *ahead));
            all.extend(certificates(described, facts.now));
            all.extend(disk(described));
        }
    }
    all.extend(issuers(facts));
    all.extend(versions(facts));
    all
}

fn identity(file: &IdentityFile, now: WallTime) -> Vec<Diagnosis> {
    let again = "an admin makes a login: mainstay operator add NAME --role ROLE; then, here: mainstay login TOKEN";
    if let Some(why) = &file.unusable {
        return vec![Diagnosis::new(Verdict::Critical, "identity", &file.path, format!("cannot be used: {why}")).then(again)];
    }
    let mut all = Vec::new();
    if file.mode & 0o077 != 0 {
        let what = format!("others on this machine can read the private key (mode {:04o})", file.mode & 0o7777);
        all.push(Diagnosis::new(Verdict::Critical, "identity", &file.path, what).then(format!("chmod 600 {}", file.path)));
    }
    let who = file.identity.as_ref().map(ToString::to_string).unwrap_or_default();
    all.push(match now.0 - file.ends.0 {
        late if late >= 30 * DAY => {
            Diagnosis::new(Verdict::Critical, "identity", &file.path, format!("the certificate of {who} ended {}", when(file.ends, now))).then(again)
        }
        late if late >= 0 => {
            Diagnosis::new(Verdict::Warning, "identity", &file.path, format!("the certificate of {who} ended {}", when(file.ends, now)))
                .then("the next verb that reaches the mesh renews it: mainstay login")
        }
        _ => Diagnosis::new(Verdict::Ok, "identity", &file.path, format!("{who}, whose certificate ends {} and renews itself", when(file.ends, now))),
    });
    all
}

/// One that is silent is a warning where others answer: the mesh itself says how bad that is.
fn reach(member: &MemberFacts, facts: &Facts) -> Option<Diagnosis> {
    let others = facts.members.iter().any(|member| matches!(member.answer, Answer::Described(..)));
    let verdict = if others { Verdict::Warning } else { Verdict::Critical };
    let place = named(member);
    match &member.answer {
        Answer::Unreachable(why) => Some(
            Diagnosis::new(verdict, "reach", place, format!("no connection: {why}"))
                .then("is the coordinator up there, and its port open from here? On its machine: systemctl status mainstay-coordinator"),
        ),
        Answer::Certificate(why) => Some(
            Diagnosis::new(Verdict::Critical, "reach", place, format!("somebody is there, and certificates are not taken: {why}"))
                .then("it is of another mesh, or this identity is too old or revoked: mainstay context list, mainstay login TOKEN"),
        ),
        Answer::Refused(why) => {
            Some(Diagnosis::new(Verdict::Critical, "reach", place, format!("answers, and refuses: {why}")).then("an admin can change that"))
        }
        Answer::Described(..) => {
            let took = units::duration_ms(member.answered_in_ms);
            Some(Diagnosis::new(Verdict::Ok, "reach", place, format!("answers within {took}")))
        }
        Answer::NotAsked => None,
    }
}

fn named(member: &MemberFacts) -> String {
    if member.name.is_empty() { member.address.clone() } else { format!("{} ({})", member.name, member.address) }
}

fn clock(name: &str, ahead: i64) -> Option<Diagnosis> {
    let verdict = match ahead.abs() {
        0..=CLOCK => return None,
        CLOCK_FATAL.. => Verdict::Critical,
        _ => Verdict::Warning,
    };
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let what = format!("the clock is {} {side} this machine's", units::duration_ms(ahead.unsigned_abs()));
    Some(Diagnosis::new(verdict, "clock", name, what).then("run an NTP client on both; schedules, windows and certificates go by the clock"))
}

fn certificates(member: &MemberDescription, now: WallTime) -> Vec<Diagnosis> {
    let mut all = Vec::new();
    let left = member.leaf_not_after_unix_ms - now.0;
    if left < LEAF_LATE {
        let verdict = if left < LEAF_FATAL { Verdict::Critical } else { Verdict::Warning };
        let what = format!("its certificate ends {}, and was not renewed in time", when(WallTime(member.leaf_not_after_unix_ms), now));
        all.push(
            Diagnosis::new(verdict, "certificate", &member.name, what)
                .then("its log says why; without an issuer it needs another member that has one"),
        );
    }
    let left = member.issuer_not_after_unix_ms - now.0;
    if member.issuer_not_after_unix_ms != 0 && left < ISSUER_SOON {
        let verdict = if left < ISSUER_FATAL { Verdict::Critical } else { Verdict::Warning };
        let what = format!("its issuer ends {}: after that it signs nothing", when(WallTime(member.issuer_not_after_unix_ms), now));
        all.push(Diagnosis::new(verdict, "certificate", &member.name, what).then(new_issuer(&member.name)));
    }
    all
}

fn new_issuer(name: &str) -> String {
    format!("on its machine, with the root's key: mainstay member issuer --dir DIR --name {name} --root-key FILE")
}

fn disk(member: &MemberDescription) -> Option<Diagnosis> {
    let free = units::bytes(member.free_bytes as f64);
    if member.disk_full {
        let what = format!("its disk is full ({free} left): it refuses proposals and does not lead");
        return Some(Diagnosis::new(Verdict::Critical, "disk", &member.name, what).then("make room; it goes on by itself"));
    }
    (member.free_bytes < DISK_SHORT).then(|| {
        Diagnosis::new(Verdict::Warning, "disk", &member.name, format!("{free} left on the disk of its state"))
            .then("make room before it refuses proposals")
    })
}

/// A mesh in which nobody signs, or only one does.
fn issuers(facts: &Facts) -> Option<Diagnosis> {
    let known: Vec<&MemberDescription> = facts
        .members
        .iter()
        .filter_map(|member| if let Answer::Described(described, _) = &member.answer { Some(&**described) } else { None })
        .collect();
    let without: Vec<&str> = known.iter().filter(|member| member.issuer_not_after_unix_ms == 0).map(|member| member.name.as_str()).collect();
    if without.is_empty() {
        return None;
    }
    // No more than a warning: when certificates are not renewed in time, each member's own line is worse.
    let what = if without.len() == known.len() {
        "no member that answers has an issuer: unless certificates come from elsewhere, none can be renewed".to_owned()
    } else {
        "without an issuer: another member that has one signs, as long as one is up".to_owned()
    };
    Some(Diagnosis::new(Verdict::Warning, "issuer", without.join(", "), what).then(new_issuer(without.first().copied().unwrap_or("NAME"))))
}

fn versions(facts: &Facts) -> Vec<Diagnosis> {
    let members: BTreeSet<&str> = facts
        .members
        .iter()
        .filter_map(|member| if let Answer::Described(described, _) = &member.answer { Some(described.version.as_str()) } else { None })
        .collect();
    let mut all = Vec::new();
    if members.len() > 1 {
        let what = format!("they run different versions: {}", members.iter().copied().collect::<Vec<_>>().join(", "));
        all.push(Diagnosis::new(Verdict::Warning, "version", "members", what).then("go on with the upgrade: docs/upgrade.md"));
    }
    if let Some(version) = members.iter().next_back()
        && !members.contains(facts.version.as_str())
    {
        let what = format!("this program is {}, the members are {version}", facts.version);
        all.push(Diagnosis::new(Verdict::Warning, "version", "this machine", what).then("use the version of the mesh, or a newer one"));
    }
    let agents: BTreeSet<&str> = facts
        .mesh
        .nodes
        .iter()
        .filter(|node| !node.version.is_empty() && !members.contains(node.version.as_str()))
        .map(|node| node.version.as_str())
        .collect();
    if !agents.is_empty() && !members.is_empty() {
        let count = facts.mesh.nodes.iter().filter(|node| agents.contains(node.version.as_str())).count();
        let what = format!(
            "{} of another version than the members: {}",
            units::count(count as u64, "agent is", "agents are"),
            agents.into_iter().collect::<Vec<_>>().join(", ")
        );
        all.push(Diagnosis::new(Verdict::Warning, "version", "agents", what).then("upgrade agents after members: docs/upgrade.md"));
    }
    all
}
