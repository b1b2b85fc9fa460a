//! `postgres.archive`: whether write-ahead log is archived, where it is to be.

use mainstay_core::report::{Check, Verdict};

use super::super::wording;
use super::Look;
use super::activity::seconds;

const ID: &str = "postgres.archive";

const SQL: &str = "
SELECT failed_count::int8,
       extract(epoch FROM clock_timestamp() - last_archived_time)::float8,
       extract(epoch FROM clock_timestamp() - last_failed_time)::float8,
       last_failed_wal
  FROM pg_stat_archiver";

#[derive(Debug, Clone, PartialEq, Default)]
struct Archiver {
    failed: i64,
    archived_ago_s: Option<f64>,
    failed_ago_s: Option<f64>,
    failed_file: Option<String>,
}

pub(super) async fn checks(look: &Look<'_>) -> Vec<Check> {
    // A standby archives only when it is told to always.
    let archives = match look.facts.archive_mode.as_str() {
        "always" => true,
        "on" => !look.facts.is_standby,
        _ => false,
    };
    if !archives {
        return Vec::new();
    }
    match look.session.query(SQL).await {
        Err(error) => vec![look.unknown(ID, &error)],
        Ok(rows) => rows
            .iter()
            .map(|row| judge(&Archiver { failed: row.get(0), archived_ago_s: row.get(1), failed_ago_s: row.get(2), failed_file: row.get(3) }))
            .collect(),
    }
}

fn judge(archiver: &Archiver) -> Check {
    let ago = |ago_s: f64| wording::span(seconds(ago_s));
    let fails = match (archiver.failed_ago_s, archiver.archived_ago_s) {
        (Some(failed), Some(archived)) => failed < archived,
        (failed, _) => failed.is_some(),
    };
    match (fails, archiver.failed_ago_s, archiver.archived_ago_s) {
        (true, Some(failed), archived) => {
            let last = archived
                .map_or_else(|| "nothing was ever archived".to_owned(), |archived| format!("the last that was archived was {} ago", ago(archived)));
            let file = archiver.failed_file.as_deref().unwrap_or("a file");
            Check::stated(ID, "", Verdict::Critical, format!("archiving {file} failed {} ago; {last}", ago(failed)))
                .with_hint("the server's log says why archive_command failed; until then its disk fills")
        }
        (_, _, Some(archived)) => {
            let before = if archiver.failed > 0 {
                format!(", after {}", wording::count(u64::try_from(archiver.failed).unwrap_or(0), "failure", "failures"))
            } else {
                String::new()
            };
            Check::stated(ID, "", Verdict::Ok, format!("the last file was archived {} ago{before}", ago(archived)))
        }
        _ => Check::stated(ID, "", Verdict::Ok, "nothing has been archived yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_counts_until_something_was_archived_after_it() {
        let seen = |archived: Option<f64>, failed: Option<f64>| {
            let archiver = Archiver {
                failed: failed.map_or(0, |_| 2),
                archived_ago_s: archived,
                failed_ago_s: failed,
                failed_file: Some("000000010000000000000003".into()),
            };
            let check = judge(&archiver);
            (check.verdict, check.message)
        };
        assert_eq!(
            seen(Some(7_200.0), Some(40.0)),
            (Verdict::Critical, "archiving 000000010000000000000003 failed 40 s ago; the last that was archived was 2 h ago".into())
        );
        assert_eq!(seen(None, Some(40.0)).0, Verdict::Critical);
        assert_eq!(seen(Some(40.0), Some(7_200.0)), (Verdict::Ok, "the last file was archived 40 s ago, after 2 failures".into()));
        assert_eq!(seen(None, None), (Verdict::Ok, "nothing has been archived yet".into()));
    }
}
