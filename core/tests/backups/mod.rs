//! What attempts of scenarios tell of backups, and what the catalogue has in the end.

use mainstay_core::backup::{BackupName, BackupNote, BackupTarget, Drill, ListedBackup};
use mainstay_core::report::Verdict;
use mainstay_core::{Millis, State, WallTime};

/// What is told, by the attempt of what, of which target.
pub fn note<'w>(what: &str, words: &[&'w str]) -> (BackupNote, &'w str, BackupTarget) {
    match (what, words) {
        ("made", [name, attempt, target]) => {
            (BackupNote::Made { store: "backups".parse().unwrap(), backup: listed(name) }, attempt, target.parse().unwrap())
        }
        ("confirmed", [name, attempt, target]) => (BackupNote::Confirmed { backup: named(name) }, attempt, target.parse().unwrap()),
        ("removed", [name, attempt, target]) => (BackupNote::Removed { backups: vec![named(name)] }, attempt, target.parse().unwrap()),
        ("found", [attempt, target, removals, rest @ ..]) => {
            let removals = removals.strip_prefix("removals=").unwrap().parse().unwrap();
            let (missing, there): (Vec<&str>, Vec<&str>) = rest.iter().partition(|word| word.ends_with(":missing"));
            let missing = missing.iter().map(|word| named(word.trim_end_matches(":missing"))).collect();
            let backups = there.iter().map(|word| listed(word)).collect();
            let note = BackupNote::Found { store: "backups".parse().unwrap(), backups, missing, removals };
            (note, attempt, target.parse().unwrap())
        }
        ("drilled" | "not-drilled", [attempt, target]) => {
            let drill = Drill { backup: None, proven: what == "drilled", rto: Some(Millis(90_000)), rpo: Some(Millis(3_600_000)) };
            (BackupNote::Drilled { drill }, attempt, target.parse().unwrap())
        }
        _ => panic!("what is noted by `{what} {words:?}`?"),
    }
}

fn named(text: &str) -> BackupName {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// `NAME`, `NAME:unconfirmed` or `NAME:damaged`; it was begun when its name says.
fn listed(word: &str) -> ListedBackup {
    let (name, is) = word.split_once(':').unwrap_or((word, ""));
    let begun = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", name.split('-').next().unwrap()).unwrap();
    let begun = begun.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_millisecond();
    ListedBackup {
        name: named(name),
        begun: WallTime(begun),
        stored_bytes: 1_000,
        checksum: "ab".repeat(32),
        counts: is != "unconfirmed",
        read: match is {
            "" => Some(Verdict::Ok),
            "damaged" => Some(Verdict::Critical),
            _ => None,
        },
    }
}

/// Every target with its backups, in lines.
pub fn show(state: &State) -> Vec<String> {
    let mut lines = Vec::new();
    for (target, known) in &state.backups {
        let drill = known.drill.as_ref().map_or("never drilled", |drilled| if drilled.drill.proven { "drilled" } else { "drilled without success" });
        lines.push(format!("{target}: {drill}, {} removals", known.removals));
        for (name, backup) in &known.backups {
            let read = backup.read.map_or_else(|| "not read".to_owned(), |read| format!("read {}", read.verdict));
            let counts = if backup.counts { "counts" } else { "does not count" };
            let held = backup.hold.as_ref().map_or_else(String::new, |hold| format!(", held by {}: {}", hold.by, hold.reason));
            let missing = if backup.missing.is_some() { ", missing" } else { "" };
            lines.push(format!("  {name} in {}: {counts}, {read}{held}{missing}", backup.store));
        }
    }
    if lines.is_empty() {
        lines.push("no backups are known".to_owned());
    }
    lines
}
