//! How much room databases take, and how much of it is empty.
//!
//! Bloat is an estimate: from the widths of columns that ANALYZE has noted, how many pages the rows of a table
//! would fill, against how many it has. It is as good as those notes, and says nothing of small tables. Dead rows
//! are counted by the server itself. Both look at the one database that the connection leads to.

use mainstay_core::report::{Check, Thresholds, Verdict};

use super::super::wording;
use super::{Look, rounded};

const SIZE: &str = "postgres.size";
const DEAD: &str = "postgres.deadTuples";
const BLOAT: &str = "postgres.bloat";
/// Tables that are shown.
const SHOWN: usize = 5;

const SIZES_SQL: &str = "
SELECT datname::text,
       CASE WHEN has_database_privilege(oid, 'CONNECT') OR pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') THEN pg_database_size(oid)::float8 END
  FROM pg_database WHERE NOT datistemplate AND datallowconn ORDER BY 2 DESC NULLS LAST, 1 LIMIT 50";

/// Smaller tables are vacuumed when it is worth it.
const DEAD_SQL: &str = "
SELECT schemaname || '.' || relname, n_live_tup::float8, n_dead_tup::float8,
       extract(epoch FROM clock_timestamp() - greatest(last_vacuum, last_autovacuum))::float8
  FROM pg_stat_user_tables
 WHERE n_live_tup + n_dead_tup >= 10000
 ORDER BY n_dead_tup::float8 / (n_live_tup + n_dead_tup) DESC, n_dead_tup DESC LIMIT 5";

/// A row takes its header and, where something is NULL, a bit for each column, then its columns, all aligned to
/// 8 bytes, and a pointer of 4 bytes at the head of its page, which has a head of 24 itself.
const BLOAT_SQL: &str = "
WITH big AS (
  SELECT c.oid, c.relname, n.nspname, c.relpages::float8 AS pages, c.reltuples::float8 AS tuples,
         current_setting('block_size')::float8 AS block,
         coalesce(substring(array_to_string(c.reloptions, ' ') FROM 'fillfactor=([0-9]+)')::float8, 100) / 100 AS filled
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'm') AND c.relpages >= 1280 AND c.reltuples > 0
     AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%'
   ORDER BY c.relpages DESC LIMIT 100
), described AS (
  SELECT b.oid,
         count(s.attname) = count(a.attname) AS is_known,
         sum((1 - s.null_frac) * s.avg_width) AS width,
         max(s.null_frac) > 0 AS has_nulls,
         count(a.attname) AS columns
    FROM big b
    JOIN pg_attribute a ON a.attrelid = b.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_stats s ON s.schemaname = b.nspname AND s.tablename = b.relname AND s.attname = a.attname AND NOT s.inherited
   GROUP BY b.oid
), estimated AS (
  SELECT b.*, d.is_known,
         ceil(b.tuples * (8 * ceil((23 + CASE WHEN d.has_nulls THEN ceil(d.columns / 8.0) ELSE 0 END) / 8) + 8 * ceil(d.width / 8) + 4)
              / ((b.block - 24) * b.filled)) AS needed
    FROM big b JOIN described d USING (oid)
)
SELECT nspname || '.' || relname, is_known, pages * block, greatest(pages - needed, 0) * block
  FROM estimated ORDER BY CASE WHEN is_known THEN greatest(pages - needed, 0) / pages END DESC NULLS LAST, pages DESC";

/// A database, and its size where it may be known.
type Sized = (String, Option<f64>);

#[derive(Debug, Clone, PartialEq)]
struct Table {
    name: String,
    live: f64,
    dead: f64,
    vacuumed_ago_s: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
struct Bloated {
    name: String,
    /// Whether the widths of all of its columns can be read.
    is_known: bool,
    bytes: f64,
    empty: Option<f64>,
}

pub(super) async fn sizes(look: &Look<'_>) -> Vec<Check> {
    match look.session.query(SIZES_SQL).await {
        Err(error) => vec![look.unknown(SIZE, &error)],
        Ok(rows) => {
            let sized: Vec<Sized> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            judge_sizes(&sized, look.params.database_size.from(None, None))
        }
    }
}

fn judge_sizes(sized: &[Sized], thresholds: Thresholds) -> Vec<Check> {
    let check = |(database, bytes): &Sized| match bytes {
        Some(bytes) => Check::measured(SIZE, database, *bytes, "B", thresholds, wording::bytes(*bytes as u64)),
        None => Check::stated(SIZE, database, Verdict::Unknown, "not known: the role of this connection may not connect to it")
            .with_hint(format!("GRANT CONNECT ON DATABASE \"{0}\", or GRANT pg_monitor", database.replace('"', "\"\""))),
    };
    sized.iter().map(check).collect()
}

pub(super) async fn bloat(look: &Look<'_>) -> Vec<Check> {
    let database = look.facts.database.as_str();
    let dead = match look.session.query(DEAD_SQL).await {
        Err(error) => look.unknown(DEAD, &error),
        Ok(rows) => {
            let tables: Vec<Table> =
                rows.iter().map(|row| Table { name: row.get(0), live: row.get(1), dead: row.get(2), vacuumed_ago_s: row.get(3) }).collect();
            judge_dead(&tables, database, look.params.dead_tuples.from(Some(30.0), None))
        }
    };
    let empty = match look.session.query(BLOAT_SQL).await {
        Err(error) => look.unknown(BLOAT, &error),
        Ok(rows) => {
            let tables: Vec<Bloated> =
                rows.iter().map(|row| Bloated { name: row.get(0), is_known: row.get(1), bytes: row.get(2), empty: row.get(3) }).collect();
            judge_bloat(&tables, database, look.params.bloat.from(Some(50.0), None))
        }
    };
    vec![dead, empty]
}

fn judge_dead(tables: &[Table], database: &str, thresholds: Thresholds) -> Check {
    let percent = |table: &Table| table.dead * 100.0 / (table.live + table.dead).max(1.0);
    let Some(worst) = tables.first() else {
        return Check::measured(DEAD, database, 0.0, "%", thresholds, "no table has 10,000 rows or more");
    };
    let message =
        format!("{} of the rows of {} are dead, {}", wording::percent(percent(worst)), worst.name, wording::count(worst.dead as u64, "row", "rows"));
    let check = Check::measured(DEAD, database, rounded(percent(worst)), "%", thresholds, message);
    if check.verdict == Verdict::Ok {
        return check;
    }
    let line = |table: &Table| {
        let vacuumed = table
            .vacuumed_ago_s
            .map_or_else(|| "never vacuumed".to_owned(), |ago| format!("vacuumed {} ago", wording::span(super::activity::seconds(ago))));
        format!("{}: {}, {vacuumed}", table.name, wording::percent(percent(table)))
    };
    let bad = tables.iter().filter(|table| thresholds.judge(percent(table)) != Verdict::Ok);
    check.with_details(bad.take(SHOWN).map(line)).with_hint(format!("VACUUM (ANALYZE) {};", worst.name))
}

fn judge_bloat(tables: &[Bloated], database: &str, thresholds: Thresholds) -> Check {
    const RIGHT: &str = "to estimate them all, the role has to read them:  GRANT pg_read_all_data";
    let percent = |table: &Bloated| table.empty.map(|empty| empty * 100.0 / table.bytes.max(1.0));
    let known: Vec<&Bloated> = tables.iter().filter(|table| table.is_known && table.empty.is_some()).collect();
    let hidden = tables.len() - known.len();
    let Some(worst) = known.first() else {
        return if hidden == 0 {
            Check::measured(BLOAT, database, 0.0, "%", thresholds, "no table has 10 MiB or more")
        } else {
            let message = format!(
                "not estimated for {}: there are no statistics that this role may read",
                wording::count(hidden as u64, "large table", "large tables")
            );
            Check::stated(BLOAT, database, Verdict::Skipped, message).with_hint(format!("ANALYZE; {RIGHT}"))
        };
    };
    let worst_percent = percent(worst).unwrap_or_default();
    let message =
        format!("about {} of {} is empty, {}", wording::percent(worst_percent), worst.name, wording::bytes(worst.empty.unwrap_or_default() as u64));
    let mut check = Check::measured(BLOAT, database, rounded(worst_percent), "%", thresholds, message);
    if check.verdict != Verdict::Ok {
        let bad = known.iter().filter(|table| percent(table).is_some_and(|percent| thresholds.judge(percent) != Verdict::Ok));
        let line = |table: &&Bloated| {
            format!("{}: about {} of {}", table.name, wording::percent(percent(table).unwrap_or_default()), wording::bytes(table.bytes as u64))
        };
        check = check.with_details(bad.take(SHOWN).map(line)).with_hint("pgstattuple measures it; VACUUM FULL or pg_repack gives the room back");
    }
    if hidden > 0 {
        let count = wording::count(hidden as u64, "large table is", "large tables are");
        check = check.with_details([format!("{count} not estimated: {RIGHT}")]);
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    fn above(warning: f64) -> Thresholds {
        Thresholds { warning: Some(warning), ..Thresholds::default() }
    }

    #[test]
    fn each_database_has_its_size() {
        let checks = judge_sizes(&[("orders".into(), Some(2e9)), ("hidden".into(), None)], Thresholds::above(1e9, 3e9));
        assert_eq!((checks[0].verdict, checks[0].message.as_str()), (Verdict::Warning, "1.9 GiB"));
        assert_eq!((checks[1].subject.as_str(), checks[1].verdict), ("hidden", Verdict::Unknown));
    }

    #[test]
    fn dead_rows_of_the_worst_table_count() {
        let table = |name: &str, live, dead| Table { name: name.into(), live, dead, vacuumed_ago_s: None };
        let check = judge_dead(&[table("public.a", 10_000.0, 10_000.0), table("public.b", 9_000.0, 1_000.0)], "orders", above(30.0));
        assert_eq!((check.verdict, check.value), (Verdict::Warning, Some(50.0)));
        assert_eq!(check.message, "50 % of the rows of public.a are dead, 10,000 rows");
        assert_eq!(check.details, ["public.a: 50 %, never vacuumed"]);
        assert_eq!(judge_dead(&[], "orders", above(30.0)).verdict, Verdict::Ok);
    }

    #[test]
    fn bloat_is_estimated_where_it_can_be_and_said_where_not() {
        let table = |name: &str, is_known, empty| Bloated { name: name.into(), is_known, bytes: 1e8, empty };
        let check = judge_bloat(
            &[table("public.a", true, Some(6e7)), table("public.b", true, Some(1e7)), table("public.c", false, None)],
            "orders",
            above(50.0),
        );
        assert_eq!((check.verdict, check.value), (Verdict::Warning, Some(60.0)));
        assert_eq!(check.message, "about 60 % of public.a is empty, 57.2 MiB");
        assert_eq!(check.details[0], "public.a: about 60 % of 95.4 MiB");
        assert!(check.details[1].starts_with("1 large table is not estimated"), "{:?}", check.details);
        assert_eq!(judge_bloat(&[table("public.c", false, None)], "orders", above(50.0)).verdict, Verdict::Skipped);
        assert_eq!(judge_bloat(&[], "orders", above(50.0)).value, Some(0.0));
    }
}
