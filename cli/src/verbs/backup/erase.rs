//! `mainstay backup erase`: what would become unreadable, the mesh's word, then the keys.

use jiff::Timestamp;
use mainstay_backup::erase::{Erased, erase};
use mainstay_backup::judge::{Judged, Standing};
use mainstay_backup::receipt::PublicKey;
use mainstay_backup::scan::Scan;
use mainstay_backup::{Store, Target};
use mainstay_client::Mesh;
use mainstay_proto::v1::EraseBackupsRequest;
use serde_json::{Value, json};

use super::{places, run, signers, target};
use crate::args::backup::Erase;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::units;
use crate::verbs::{Screen, now};

/// What an erasure comes to.
struct Doomed<'s> {
    target: &'s Target,
    place: &'s str,
    /// Generations of keys that are there.
    keys: Vec<u32>,
    /// Those that only such a key opens, the oldest first.
    backups: Vec<&'s Judged>,
    /// Those that no key of the target opens, and which stay as they are.
    unkeyed: usize,
}

impl<'s> Doomed<'s> {
    fn of(found: &'s Scan, target: &'s Target, place: &'s str) -> Doomed<'s> {
        let open = |judged: &&Judged| !matches!(judged.standing, Standing::Erased { .. });
        let described = found.backups.iter().filter(open).filter_map(|judged| Some((judged, judged.manifest.as_ref()?)));
        let (keyed, unkeyed): (Vec<_>, Vec<_>) = described.partition(|(_, manifest)| manifest.key.is_some());
        let keys = found.keys.iter().filter(|key| key.secret.is_some()).map(|key| key.generation).collect();
        Doomed { target, place, keys, backups: keyed.into_iter().map(|(judged, _)| judged).collect(), unkeyed: unkeyed.len() }
    }

    fn bytes(&self) -> u64 {
        self.backups.iter().map(|judged| judged.stored_bytes).sum()
    }

    /// `14 backups of 3.1 GiB, the newest of them prod/…, and 2 keys`
    fn words(&self) -> String {
        let (backups, keys) = (units::count(self.backups.len() as u64, "backup", "backups"), units::count(self.keys.len() as u64, "key", "keys"));
        let newest = self.backups.iter().max_by_key(|judged| (judged.id.time, judged.id.token));
        let newest = newest.map_or_else(String::new, |newest| format!(", the newest of them {}", newest.id));
        format!("{backups} of {}{newest}, by {keys}", units::bytes(self.bytes() as f64))
    }

    /// What is not erased by it.
    fn remark(&self) -> Option<String> {
        let count = units::count(self.unkeyed as u64, "backup", "backups");
        (self.unkeyed > 0)
            .then(|| format!("{count} of {} were encrypted without a key of the target, and can still be opened: remove them", self.target))
    }

    fn told(&self) -> Value {
        let newest = self.backups.iter().max_by_key(|judged| (judged.id.time, judged.id.token)).map(|judged| &judged.id);
        json!({ "target": self.target, "place": self.place, "keys": self.keys, "backups": self.backups.len(), "storedBytes": self.bytes(),
            "newest": newest, "withoutTargetKey": self.unkeyed })
    }
}

/// Destroys the keys of a target. `mesh` is told first: it refuses while somebody holds a backup or is at them.
pub async fn run_erase(args: &Erase, mesh: Option<&Mesh>, screen: Screen) -> Result<Exit, CliError> {
    let target = target(&args.target)?;
    if let Some(again) = args.confirm.as_ref().filter(|again| **again != args.target) {
        return Err(CliError::usage(format!("--confirm says {again}, and {target} is to be erased: nothing was destroyed")));
    }
    let signer = args.sign.as_deref().map(run::signing_key).transpose()?;
    let mut known: Vec<PublicKey> = signers(&args.known)?;
    known.extend(signer.as_ref().map(mainstay_backup::receipt::SigningKey::public));
    let store = places::store(&args.store)?;
    let found = mainstay_backup::scan(&store, Some(&target), &known).await.map_err(|error| CliError::failed(error.to_string()))?;
    let doomed = Doomed::of(&found, &target, store.place());
    if found.keys.is_empty() {
        let words = format!("{}: {target} has no key of its own there, so there is nothing to destroy", store.place());
        return Err(match doomed.remark() {
            Some(remark) => CliError::failed(format!("{words}; {remark}")),
            None => CliError::failed(words).with_next("which backups there are:  mainstay backup list --store …"),
        });
    }
    let confirmed = args.confirm.is_some() && !args.dry_run;
    if let Some(mesh) = mesh {
        mesh.erase_backups(EraseBackupsRequest { target: target.to_string(), dry_run: !confirmed }).await?;
    }
    let Some(signer) = signer.filter(|_| confirmed) else { return only_said(args, &doomed, screen) };
    let at = Timestamp::from_millisecond(now().0).map_err(|error| CliError::failed(format!("the clock of this machine: {error}")))?;
    let erased = erase(&store, &target, at, &signer).await.map_err(|error| {
        let said = if mesh.is_some() { "; the mesh's catalogue has it as erased already" } else { "" };
        CliError::failed(format!("{}: {error}{said}", store.place()))
    })?;
    show(&doomed, &erased, &store, screen)
}

/// Nothing is destroyed: that was asked for, or the name was not said twice.
fn only_said(args: &Erase, doomed: &Doomed<'_>, screen: Screen) -> Result<Exit, CliError> {
    let words = format!("nobody could open any more: {}", doomed.words());
    if !args.dry_run {
        return Err(CliError::usage(format!("{words}; nothing was destroyed"))
            .with_next(format!("if that is what you want, say the target's name twice:  --confirm {}", doomed.target)));
    }
    let remark = doomed.remark().map_or_else(String::new, |remark| format!("▲ {remark}\n"));
    let mut message = doomed.told();
    message["dryRun"] = Value::from(true);
    screen.show(&message, |_| format!("{words}\n{remark}nothing was destroyed\n"))?;
    Ok(Exit::Success)
}

fn show(doomed: &Doomed<'_>, erased: &Erased, store: &Store, screen: Screen) -> Result<Exit, CliError> {
    let mut message = doomed.told();
    message["erased"] = json!(erased);
    let (target, said) = (doomed.target, &erased.tombstone);
    let words = if erased.was_done {
        format!("✔ {target} was erased at {} by the word of {}; nothing was left to destroy", said.at, said.signer)
    } else {
        format!(
            "✔ {target} is erased: nobody can open any more {}\n  what is left of them at {} is noise, and goes by retention:  mainstay backup prune",
            doomed.words(),
            store.place()
        )
    };
    let remark = doomed.remark().map_or_else(String::new, |remark| format!("▲ {remark}\n"));
    screen.show(&message, |_| format!("{words}\n{remark}"))?;
    Ok(if doomed.unkeyed > 0 { Exit::Failed } else { Exit::Success })
}
