//! The first file of a bundle: what is in it, and what is not.

use jiff::Timestamp;
use mainstay_core::WallTime;

use super::Bundle;
use crate::render::units;

/// Name of it.
pub const NAME: &str = "MANIFEST";

/// What no bundle has, so that whoever is to send it knows.
const NEVER: [(&str, &str); 4] = [
    ("keys, certificates, join tokens", "they are secrets, or of no use to others"),
    ("connections: addresses, users, passwords", "they are the fleet's own; their names and kinds are there"),
    ("of runs: inputs, outputs, what steps printed, details of checks", "they are the fleet's own; messages and hints of checks are there"),
    ("plans, the audit log, artifacts", "they are the fleet's own:  mainstay plan show NAME, if it is about a plan"),
];

pub(super) fn never_in(bundle: &mut Bundle) {
    NEVER.iter().for_each(|(what, why)| bundle.leave_out(what, why));
}

/// The text of it.
#[must_use]
pub fn manifest(bundle: &Bundle, now: WallTime, version: &str) -> String {
    let at = Timestamp::from_millisecond(now.0).map(|at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()).unwrap_or_default();
    let mut text = format!(
        "Support bundle of Mainstay, made by mainstay {version} at {at}.\n\
         Known shapes of credentials are replaced by [redacted]. Host names, addresses and names of\n\
         people who use the mesh are in it: read it before you send it.\n\nIn it:\n"
    );
    for entry in &bundle.entries {
        text += &format!("  {:<28} {:>9}  {}\n", entry.name, units::bytes(entry.bytes as f64), entry.about);
    }
    text += "\nLeft out:\n";
    for left in &bundle.left_out {
        text += &format!("  {}: {}\n", left.what, left.why);
    }
    text
}
