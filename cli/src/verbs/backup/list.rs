//! `mainstay backup list`, `show` and `keys`

use std::collections::BTreeMap;

use mainstay_backup::judge::{Judged, Standing};
use mainstay_backup::manifest::Role;
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
    let message = json!({ "place": store.place(), "backups": found.backups, "strays": found.strays });
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
        table.render() + &strays
    })?;
    let damaged = found.backups.iter().any(|judged| matches!(judged.standing, Standing::Damaged { .. }));
    Ok(if damaged { Exit::Failed } else { Exit::Success })
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
        for part in &manifest.parts {
            let (plain, stored) = (units::bytes(part.plain.bytes as f64), units::bytes(part.stored.bytes as f64));
            text.push_str(&format!("  {}  {plain}, stored as {stored}  {}\n", part.name, part.content));
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
    screen.show(&json!({ "keys": listed, "withoutBreakGlass": without }), |_| {
        let mut table = Table::new(screen.terminal, &["key", "for", "opens"]);
        for ((for_what, key), backups) in &opens {
            table.row(vec![key.as_str().into(), role(*for_what).into(), units::count(backups.len() as u64, "backup", "backups").into()]);
        }
        let warning = match without.len() as u64 {
            0 => String::new(),
            count => format!("▲ {} no break-glass key\n", units::count(count, "backup has", "backups have")),
        };
        table.render() + &warning
    })?;
    Ok(Exit::Success)
}

fn role(role: Role) -> &'static str {
    match role {
        Role::BreakGlass => "break-glass",
        Role::Drill => "drill",
        Role::Check => "its own check, and by nobody since",
    }
}
