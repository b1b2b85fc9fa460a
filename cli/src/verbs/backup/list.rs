//! `mainstay backup list`, `show` and `keys`

use std::collections::BTreeMap;

use jiff::Timestamp;
use mainstay_backup::judge::{Judged, Set, Standing, sets};
use mainstay_backup::manifest::{CanOpen, Role};
use mainstay_backup::scan::{Key, Scan};
use serde_json::json;

use super::{one, places, scanned, standing, target};
use crate::args::backup::{Known, Store};
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::{Entry, Table, Tone, units};
use crate::verbs::Screen;

/// All there is, and what it is worth. One that is damaged is a failure.
pub async fn list(store: &Store, known: &Known, of: Option<&str>, screen: Screen) -> Result<Exit, CliError> {
    let store = places::store(store)?;
    let of = of.map(target).transpose()?;
    let found = scanned(&store, of.as_ref(), known).await?;
    let message = json!({ "place": store.place(), "backups": found.backups, "sets": sets(&found.backups), "strays": found.strays });
    screen.show(&message, |_| {
        if found.backups.is_empty() {
            return format!("{}: no backups\n", store.place());
        }
        let mut table = Table::new(screen.terminal, &["backup", "size", "is"]).wrapping(&[2]);
        for judged in &found.backups {
            table.row(vec![
                judged.id.to_string().into(),
                units::bytes(judged.stored_bytes as f64).into(),
                Entry::toned(standing(&judged.standing), tone(judged)),
            ]);
        }
        let strays = match found.strays.len() as u64 {
            0 => String::new(),
            count => format!("{} part of no backup\n", units::count(count, "object is", "objects are")),
        };
        let of_sets: String = sets(&found.backups).iter().map(told_of_set).collect();
        table.render() + &of_sets + &strays
    })?;
    let damaged = found.backups.iter().any(|judged| matches!(judged.standing, Standing::Damaged { .. }));
    let unread = found.backups.iter().any(|judged| matches!(judged.standing, Standing::Unread { .. }));
    Ok(match (damaged, unread) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::Unreachable,
        (false, false) => Exit::Success,
    })
}

/// `set backup-12  3 targets · 2026-11-30T02:00:03Z to 2026-11-30T02:04:10Z · span 4m7s`
fn told_of_set(set: &Set<'_>) -> String {
    let count = units::count(set.backups.len() as u64, "target", "targets");
    let (from, to) = (second(set.span.from), second(set.span.to));
    format!("set {}  {count} · {from} to {to} · span {}\n", set.name, units::duration_ms(set.span_ms()))
}

/// An instant without its fractions.
fn second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn tone(judged: &Judged) -> Tone {
    match judged.standing {
        Standing::Good => Tone::Good,
        Standing::Damaged { .. } => Tone::Bad,
        _ => Tone::Plain,
    }
}

pub async fn show(store: &Store, known: &Known, name: &str, screen: Screen) -> Result<Exit, CliError> {
    let store = places::store(store)?;
    let judged = one(&store, known, name).await?;
    let message = json!({ "judged": judged, "manifest": judged.manifest });
    screen.show(&message, |_| {
        let mut text = format!("{} · {} · {}\n", judged.id, units::bytes(judged.stored_bytes as f64), standing(&judged.standing));
        let Some(manifest) = &judged.manifest else { return text };
        let versions: Vec<String> = manifest.source.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        text.push_str(&format!("  {}  {}\n", manifest.source.kind, versions.join(", ")));
        let taken = manifest.taken();
        text.push_str(&format!("  as of {} to {}\n", second(taken.from), second(taken.to)));
        if let Some(set) = &manifest.set {
            text.push_str(&format!("  in set {set}\n"));
        }
        for part in &manifest.parts {
            let (plain, stored) = (units::bytes(part.plain.bytes as f64), units::bytes(part.stored.bytes as f64));
            text.push_str(&format!("  {}  {plain}, stored as {stored}  {}\n", part.name, part.content));
        }
        if let Some(key) = &manifest.key {
            text.push_str(&format!("  encrypted to the target's key {}  {}\n", key.generation, key.key));
        }
        for one in &manifest.recipients {
            text.push_str(&format!("  opened by {} {}\n", role(one.role), one.key));
        }
        text
    })?;
    Ok(Exit::Success)
}

/// Who can open what, and what nobody can open who keeps a key offline.
pub async fn keys(store: &Store, known: &Known, screen: Screen) -> Result<Exit, CliError> {
    let store = places::store(store)?;
    let found = scanned(&store, None, known).await?;
    let mut opens: BTreeMap<(Role, String), Vec<String>> = BTreeMap::new();
    let mut without = Vec::new();
    for (judged, manifest) in found.backups.iter().filter_map(|judged| Some((judged, judged.manifest.as_ref()?))) {
        let lasting = manifest.recipients.iter().filter(|one| one.role != Role::Check);
        lasting.for_each(|one| opens.entry((one.role, one.key.clone())).or_default().push(judged.id.to_string()));
        if !manifest.recipients.iter().any(|one| one.role == Role::BreakGlass) {
            without.push(judged.id.to_string());
        }
    }
    let listed: Vec<_> = opens.iter().map(|((role, key), backups)| json!({ "role": role, "key": key, "backups": backups })).collect();
    let of_targets: Vec<OfTarget<'_>> = found.keys.iter().map(|key| OfTarget::of(key, &found)).collect();
    let told: Vec<_> = of_targets.iter().map(OfTarget::told).collect();
    screen.show(&json!({ "keys": listed, "withoutBreakGlass": without, "targetKeys": told }), |_| {
        let mut table = Table::new(screen.terminal, &["key", "for", "opens"]);
        for ((for_what, key), backups) in &opens {
            table.row(vec![key.as_str().into(), role(*for_what).into(), units::count(backups.len() as u64, "backup", "backups").into()]);
        }
        let warning = match without.len() as u64 {
            0 => String::new(),
            count => format!("▲ {} no break-glass key\n", units::count(count, "backup has", "backups have")),
        };
        table.render() + &warning + &generations(&of_targets, screen)
    })?;
    Ok(Exit::Success)
}

/// A target's key, with who can open it and what needs it.
struct OfTarget<'s> {
    key: &'s Key,
    opened_by: Vec<CanOpen>,
    needed_by: Vec<String>,
    is_erased: bool,
}

impl<'s> OfTarget<'s> {
    fn of(key: &'s Key, found: &Scan) -> OfTarget<'s> {
        let manifests = found.backups.iter().filter(|judged| judged.id.target == key.target);
        let manifests = manifests.filter_map(|judged| Some((judged, judged.manifest.as_ref()?)));
        let needing: Vec<_> = manifests.filter(|(_, manifest)| manifest.key.as_ref().is_some_and(|of| of.generation == key.generation)).collect();
        // Those who made backups with it wrote down the same.
        let by_record = key.record.as_ref().map(|record| record.recipients.clone());
        let opened_by = by_record.or_else(|| needing.first().map(|(_, manifest)| manifest.recipients.clone())).unwrap_or_default();
        OfTarget {
            key,
            opened_by: opened_by.into_iter().filter(|one| one.role != Role::Check).collect(),
            is_erased: needing.iter().any(|(judged, _)| matches!(judged.standing, Standing::Erased { .. })),
            needed_by: needing.iter().map(|(judged, _)| judged.id.to_string()).collect(),
        }
    }

    fn told(&self) -> serde_json::Value {
        json!({ "target": self.key.target, "generation": self.key.generation, "isThere": self.key.secret.is_some(), "isErased": self.is_erased,
            "openedBy": self.opened_by, "backups": self.needed_by })
    }

    fn is(&self) -> Entry {
        match (&self.key.secret, self.is_erased) {
            (Some(_), _) => Entry::toned("✔ there", Tone::Good),
            (None, true) => Entry::toned("· erased", Tone::Plain),
            (None, false) if self.needed_by.is_empty() => Entry::toned("· gone, and nothing needs it", Tone::Plain),
            (None, false) => Entry::toned("✖ gone: nothing else opens them", Tone::Bad),
        }
    }
}

fn generations(all: &[OfTarget<'_>], screen: Screen) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut table = Table::new(screen.terminal, &["key of", "nth", "opened by", "opens", "is"]).wrapping(&[2]);
    for one in all {
        let opened_by: Vec<String> = one.opened_by.iter().map(|by| format!("{} {}", role(by.role), by.key)).collect();
        table.row(vec![
            one.key.target.to_string().into(),
            one.key.generation.to_string().into(),
            opened_by.join(", ").into(),
            units::count(one.needed_by.len() as u64, "backup", "backups").into(),
            one.is(),
        ]);
    }
    format!("\n{}", table.render())
}

fn role(role: Role) -> &'static str {
    match role {
        Role::BreakGlass => "break-glass",
        Role::Drill => "drill",
        Role::Check => "its own check, and by nobody since",
    }
}
