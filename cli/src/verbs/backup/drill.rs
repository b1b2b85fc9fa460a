//! `mainstay backup drill`: a backup is restored into a server of its own, held against what its source had counted, and thrown
//! away. Listing one is a check; this is the proof.

use std::time::Duration;

use jiff::Timestamp;
use mainstay_backup::drill::{DrillError, Drilled, Order, drill};
use mainstay_backup::judge::Judged;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::restore::{Wanted, chosen, may_be_restored};
use super::{identities, places, progress, standing};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::units;
use crate::verbs::{Screen, now};

pub async fn rehearse(args: &args::backup::Drill, screen: Screen) -> Result<Exit, CliError> {
    let keys = identities(&args.keys)?;
    let store = places::store(&args.store)?;
    let wanted = Wanted { verb: "drill", backup: &args.backup, at: args.at, set: args.set.as_deref(), known: &args.known };
    let judged = chosen(&wanted, &store).await?;
    let Some(manifest) = judged.manifest.as_ref().filter(|_| may_be_restored(&judged.standing)) else {
        return Err(CliError::failed(format!("{} is not restored: {}", judged.id, standing(&judged.standing))));
    };
    let at = Timestamp::from_millisecond(now().0).map_err(|error| CliError::failed(format!("the clock of this machine: {error}")))?;
    let deadline = Duration::from_millis(args.deadline.0);
    let order = Order { store: &store, manifest, keys: &keys, programs: args.programs.as_deref(), within: &args.scratch, deadline };
    let cancel = CancellationToken::new();
    let (tell, shown) = progress::shown(screen, "restoring");
    let drilling = drill(&order, &tell, &cancel);
    tokio::pin!(drilling);
    let drilled = tokio::select! {
        drilled = &mut drilling => drilled,
        _ = tokio::signal::ctrl_c() => {
            // What was restored is removed before it ends.
            cancel.cancel();
            drilling.await
        }
    };
    drop(shown);
    let came = Came::of(&judged, drilled, at)?;
    screen.show(&came.told(), |_| came.words())?;
    Ok(if came.is_proven() { Exit::Success } else { Exit::Failed })
}

/// What came of it.
struct Came<'j> {
    judged: &'j Judged,
    /// How old what would be restored is.
    rpo_ms: u64,
    /// Why it could not be restored, else.
    drilled: Result<Drilled, String>,
}

impl<'j> Came<'j> {
    /// What says nothing of the backup is an error.
    fn of(judged: &'j Judged, drilled: Result<Drilled, DrillError>, at: Timestamp) -> Result<Came<'j>, CliError> {
        let id = &judged.id;
        let drilled = match drilled {
            Ok(drilled) => Ok(drilled),
            Err(DrillError::NotRestored(why)) => Err(why),
            Err(DrillError::NotTried(why)) => return Err(CliError::failed(format!("{id} was not tried: {why}"))),
            Err(DrillError::Unread(why)) => {
                let said = format!("{id} could not be read, which says nothing of it: {why}");
                return Err(CliError::new(Exit::Unreachable, said).with_next("mend the way to the store, and drill again"));
            }
            Err(DrillError::Cancelled) => return Err(CliError::failed("it was called off; what had been restored is removed")),
        };
        let rpo_ms = u64::try_from(at.duration_since(id.time).as_millis()).unwrap_or_default();
        Ok(Came { judged, rpo_ms, drilled })
    }

    fn is_proven(&self) -> bool {
        self.drilled.as_ref().is_ok_and(|drilled| drilled.differs.is_empty())
    }

    fn told(&self) -> Value {
        let drilled = self.drilled.as_ref().ok();
        json!({
            "backup": self.judged.id,
            "standing": self.judged.standing,
            "proven": self.is_proven(),
            "compared": drilled.map(|drilled| &drilled.compared),
            "differs": drilled.map(|drilled| &drilled.differs),
            "notRestored": self.drilled.as_ref().err(),
            "rtoMs": drilled.map(|drilled| drilled.restored_ms),
            "tookMs": drilled.map(|drilled| drilled.took_ms),
            "rpoMs": self.rpo_ms,
        })
    }

    fn words(&self) -> String {
        let id = &self.judged.id;
        let rpo = format!("  RPO  {}, the age of what would be restored\n", units::duration_ms(self.rpo_ms));
        let drilled = match &self.drilled {
            Ok(drilled) => drilled,
            Err(why) => return format!("✖ {id} cannot be restored: {why}\n{rpo}  → an older one may do:  mainstay backup drill … --at TIME\n"),
        };
        let mut words = if drilled.differs.is_empty() {
            format!("✔ {id} was restored, and is what it was: {}\n", drilled.compared)
        } else {
            format!("✖ {id} was restored, and is not what it was\n")
        };
        words.extend(drilled.differs.iter().map(|differs| format!("    {differs}\n")));
        let (rto, took) = (units::duration_ms(drilled.restored_ms), units::duration_ms(drilled.took_ms));
        words + &format!("  RTO  {rto}, until all of it was there to be used\n{rpo}  {took} in all; what it was restored into is removed\n")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use mainstay_backup::judge::Standing;

    use super::*;

    fn judged() -> Judged {
        let id = "prod/orders-db/20261130T020000Z-3.42".parse().unwrap();
        Judged { id, standing: Standing::Good, manifest: None, digest: None, stored_bytes: 9 }
    }

    fn drilled(differs: &[&str]) -> Drilled {
        let differs = differs.iter().map(|&differs| differs.to_owned()).collect();
        Drilled { compared: "38 tables, 1204 rows".to_owned(), differs, restored_ms: 4_200, took_ms: 5_000 }
    }

    fn came(drilled: Result<Drilled, DrillError>) -> Result<(bool, String, Value), CliError> {
        let judged = judged();
        let came = Came::of(&judged, drilled, "2026-11-30T07:00:00Z".parse().unwrap())?;
        Ok((came.is_proven(), came.words(), came.told()))
    }

    #[test]
    fn what_was_compared_and_how_long_it_took_is_said() {
        let (is_proven, words, told) = came(Ok(drilled(&[]))).unwrap();
        assert!(is_proven && words.contains("is what it was: 38 tables, 1204 rows\n  RTO  4.2 s, until"), "{words}");
        assert!(words.contains("RPO  5h00m"), "{words}");
        assert_eq!((&told["rtoMs"], &told["rpoMs"], &told["proven"]), (&json!(4_200), &json!(18_000_000), &json!(true)));
        let (is_proven, words, _) = came(Ok(drilled(&["orders has 3 rows, and had 4"]))).unwrap();
        assert!(!is_proven && words.contains("is not what it was\n    orders has 3 rows, and had 4\n  RTO"), "{words}");
    }

    #[test]
    fn what_was_not_tried_is_no_verdict() {
        let (is_proven, words, told) = came(Err(DrillError::NotRestored("key-1.age is missing".to_owned()))).unwrap();
        assert!(!is_proven && words.contains("cannot be restored: key-1.age is missing") && told["notRestored"] == "key-1.age is missing", "{words}");
        let unread = came(Err(DrillError::Unread("no answer within 30 s".to_owned()))).unwrap_err();
        assert!(unread.exit == Exit::Unreachable && unread.message.contains("says nothing of it"), "{unread:?}");
        assert_eq!(came(Err(DrillError::NotTried("there is no postgres".to_owned()))).unwrap_err().exit, Exit::Failed);
    }
}
