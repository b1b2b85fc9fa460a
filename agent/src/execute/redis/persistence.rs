//! Whether what is in memory comes to the disk: snapshots, the append-only file, and how old the last snapshot is.

use mainstay_core::report::{Check, Verdict};

use super::super::wording;
use super::session::Failure;
use super::{Look, rounded};

const SNAPSHOT: &str = "redis.persistence.snapshot";
const AGE: &str = "redis.persistence.age";
const APPEND_ONLY: &str = "redis.persistence.appendOnly";
const LOADING: &str = "redis.persistence.loading";

/// Whether snapshots are made by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Schedule {
    On,
    Off,
    /// Why nobody can say.
    Unknown(String),
}

impl Schedule {
    /// From the answer to `CONFIG GET save`.
    pub fn of(answer: Result<&[String], &Failure>) -> Schedule {
        match answer {
            Ok([_, value]) if value.trim().is_empty() => Schedule::Off,
            Ok([_, _]) => Schedule::On,
            Ok(_) => Schedule::Unknown("it does not say".to_owned()),
            Err(failure) => Schedule::Unknown(failure.to_string()),
        }
    }
}

pub(super) fn checks(look: &Look<'_>, schedule: &Schedule) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.extend(loading(look));
    checks.push(snapshot(look));
    checks.push(age(look, schedule));
    checks.extend(append_only(look));
    checks
}

fn loading(look: &Look<'_>) -> Option<Check> {
    if !look.info.is("loading", "1") {
        return None;
    }
    let done = look.info.number("loading_loaded_perc").map_or_else(String::new, |percent| format!(", {} done", wording::percent(percent)));
    let left = look.info.number("loading_eta_seconds").map_or_else(String::new, |left| format!(", about {} left", wording::seconds(left)));
    Some(Check::stated(LOADING, "", Verdict::Critical, format!("it is reading its data into memory{done}{left}")))
}

fn snapshot(look: &Look<'_>) -> Check {
    const HINT: &str = "its log says why: a full disk, a folder that it may not write, no memory to fork; then  BGSAVE";
    match look.info.text("rdb_last_bgsave_status") {
        Some("ok") => Check::stated(SNAPSHOT, "", Verdict::Ok, "the last snapshot came off"),
        Some(status) => {
            let writes = "while that is so, it may refuse writes";
            Check::stated(SNAPSHOT, "", Verdict::Critical, format!("the last snapshot failed ({status}); {writes}")).with_hint(HINT)
        }
        None => Check::stated(SNAPSHOT, "", Verdict::Unknown, "it does not say how its last snapshot went"),
    }
}

/// How old the last snapshot is, judged only while something has changed since, and snapshots are to be made.
fn age(look: &Look<'_>, schedule: &Schedule) -> Check {
    let (Some(saved), Some(changes)) = (look.info.number("rdb_last_save_time"), look.info.count("rdb_changes_since_last_save")) else {
        return Check::stated(AGE, "", Verdict::Unknown, "it does not say when it made its last snapshot");
    };
    let age_s = (look.context.host.wall().0 as f64 / 1_000.0 - saved).max(0.0);
    let since = if changes == 0 { "nothing has changed since".to_owned() } else { format!("{} since", wording::count(changes, "change", "changes")) };
    let message = format!("the last one was made {} ago, {since}", wording::seconds(age_s));
    let stated = |message: String| Check { value: Some(rounded(age_s)), unit: "s".to_owned(), ..Check::stated(AGE, "", Verdict::Ok, message) };
    let asked_for = look.params.save_age.warning.is_some() || look.params.save_age.critical.is_some();
    match schedule {
        _ if changes == 0 => stated(message),
        Schedule::Off if !asked_for => stated(format!("{message}; it is not told to make any")),
        // An age alone is no fault: this server may be a cache that keeps nothing.
        Schedule::Unknown(_) if !asked_for => stated(format!("{message}; whether it should have is not known: ACL +config|get")),
        _ => {
            let check = Check::measured(AGE, "", rounded(age_s), "s", look.params.save_age.seconds(21_600.0, 86_400.0), message);
            if check.verdict == Verdict::Ok { check } else { check.with_hint("CONFIG GET save, LASTSAVE; a snapshot now:  BGSAVE") }
        }
    }
}

fn append_only(look: &Look<'_>) -> Option<Check> {
    let info = look.info;
    if !info.is("aof_enabled", "1") {
        return None;
    }
    let failed = |what: &str, verdict| {
        Check::stated(APPEND_ONLY, "", verdict, what.to_owned()).with_hint("its log says why: a full disk, a folder that it may not write")
    };
    Some(match (info.text("aof_last_write_status"), info.text("aof_last_bgrewrite_status")) {
        (Some(status), _) if status != "ok" => {
            failed(&format!("the last write to the append-only file failed ({status}): writes are refused"), Verdict::Critical)
        }
        (_, Some(status)) if status != "ok" => failed(&format!("the append-only file was not rewritten ({status}), and grows"), Verdict::Warning),
        (Some(_), _) => Check::stated(APPEND_ONLY, "", Verdict::Ok, "every write has come to the append-only file"),
        (None, _) => Check::stated(APPEND_ONLY, "", Verdict::Unknown, "it does not say whether its append-only file takes writes"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{row, seen};
    use super::*;

    const OLD: &str = "rdb_last_save_time:1700000000\r\nrdb_changes_since_last_save:7\r\nrdb_last_bgsave_status:ok\r\n";

    fn age_of(text: &str, with: Value, schedule: &Schedule) -> Verdict {
        seen(text, with, |look| vec![age(look, schedule)])[0].2
    }

    #[test]
    fn the_age_of_a_snapshot_counts_where_one_is_due() {
        assert_eq!(age_of(OLD, json!({}), &Schedule::On), Verdict::Critical);
        assert_eq!(age_of(OLD, json!({}), &Schedule::Off), Verdict::Ok);
        assert_eq!(age_of(OLD, json!({}), &Schedule::Unknown("no".into())), Verdict::Ok);
        assert_eq!(age_of(OLD, json!({"saveAge": {"critical": "1h"}}), &Schedule::Off), Verdict::Critical);
        assert_eq!(age_of(&OLD.replace("save:7", "save:0"), json!({}), &Schedule::On), Verdict::Ok);
        assert_eq!(age_of("", json!({}), &Schedule::On), Verdict::Unknown);
    }

    #[test]
    fn what_does_not_come_to_the_disk_is_critical() {
        let of = |text: &str| seen(text, json!({}), |look| checks(look, &Schedule::Off));
        let failed = OLD.replace("status:ok", "status:err");
        assert_eq!(of(&failed)[0], row("persistence.snapshot", "", Verdict::Critical, None));
        let appends = |write: &str, rewrite: &str| {
            of(&format!("{OLD}aof_enabled:1\r\naof_last_write_status:{write}\r\naof_last_bgrewrite_status:{rewrite}\r\n"))[2].2
        };
        assert_eq!([appends("ok", "ok"), appends("err", "ok"), appends("ok", "err")], [Verdict::Ok, Verdict::Critical, Verdict::Warning]);
        assert_eq!(
            of(&format!("{OLD}loading:1\r\nloading_loaded_perc:40.5\r\nloading_eta_seconds:30\r\n"))[0],
            row("persistence.loading", "", Verdict::Critical, None)
        );
        assert_eq!(of(OLD).len(), 2);
    }

    #[test]
    fn a_schedule_is_what_the_server_says() {
        let texts = |value: &str| vec!["save".to_owned(), value.to_owned()];
        assert_eq!(Schedule::of(Ok(&texts("3600 1 300 100"))), Schedule::On);
        assert_eq!(Schedule::of(Ok(&texts(""))), Schedule::Off);
        assert!(matches!(Schedule::of(Ok(&[])), Schedule::Unknown(_)));
        assert!(matches!(Schedule::of(Err(&Failure::Denied("x".into()))), Schedule::Unknown(_)));
    }
}
