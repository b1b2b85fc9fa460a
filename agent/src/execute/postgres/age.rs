//! `postgres.transactionAge`, `postgres.multixactAge`: how far each database is on its way to where the server
//! stops taking writes, because ids of transactions come round.

use mainstay_core::report::{Check, Thresholds, Verdict};

use super::super::wording;
use super::{Look, rounded};

/// Ids that there are before they would come round.
const IDS: f64 = 2_147_483_648.0;
/// Past the age at which the server itself begins to freeze, by so much, it does not keep up.
const OVERDUE: f64 = 1.2;
/// Databases that are shown.
const SHOWN: usize = 3;

const SQL: &str = "
SELECT datname::text, age(datfrozenxid)::int8, mxid_age(datminmxid)::int8
  FROM pg_database ORDER BY greatest(age(datfrozenxid), mxid_age(datminmxid)) DESC LIMIT 200";

/// A database and the age of its oldest id.
type Aged = (String, i64);

pub(super) async fn checks(look: &Look<'_>) -> Vec<Check> {
    const ID: &str = "postgres.transactionAge";
    let thresholds = look.params.transaction_age.above(40.0, 70.0);
    match look.session.query(SQL).await {
        Err(error) => vec![look.unknown(ID, &error)],
        Ok(rows) => {
            let transactions: Vec<Aged> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            let multixacts: Vec<Aged> = rows.iter().map(|row| (row.get(0), row.get(2))).collect();
            let freezes_at = Some(look.facts.freeze_max_age);
            [
                judge(ID, "transactions", transactions, thresholds, freezes_at),
                judge("postgres.multixactAge", "multixacts", multixacts, thresholds, None),
            ]
            .into_iter()
            .flatten()
            .collect()
        }
    }
}

fn judge(id: &str, what: &str, mut aged: Vec<Aged>, thresholds: Thresholds, freezes_at: Option<i64>) -> Option<Check> {
    aged.sort_by_key(|(_, age)| std::cmp::Reverse(*age));
    let (database, age) = aged.first()?;
    let percent = *age as f64 * 100.0 / IDS;
    let message = format!("{} of the way to where writes stop: database {database} is {} {what} old", wording::percent(percent), millions(*age));
    let mut check = Check::measured(id, "", rounded(percent), "%", thresholds, message);
    let overdue = freezes_at.filter(|freezes_at| *age as f64 > *freezes_at as f64 * OVERDUE);
    if let Some(freezes_at) = overdue {
        check.verdict = check.verdict.max(Verdict::Warning);
        check.message.push_str(&format!("; freezing should have begun at {}", millions(freezes_at)));
    }
    if check.verdict == Verdict::Ok {
        return Some(check);
    }
    let details = aged.iter().take(SHOWN).map(|(database, age)| format!("{database}: {} {what}", millions(*age)));
    Some(
        check
            .with_details(details)
            .with_hint(format!("VACUUM (FREEZE, VERBOSE) in {database}; what holds it up: old transactions, slots, prepared ones")),
    )
}

fn millions(n: i64) -> String {
    match n {
        ..100_000 => wording::count(u64::try_from(n).unwrap_or(0), "", "").trim_end().to_owned(),
        _ => format!("{:.1} million", n as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn judged(ages: &[(&str, i64)], freezes_at: i64) -> Check {
        let aged = ages.iter().map(|(database, age)| ((*database).to_owned(), *age)).collect();
        judge("postgres.transactionAge", "transactions", aged, Thresholds::above(40.0, 70.0), Some(freezes_at)).unwrap()
    }

    #[test]
    fn the_oldest_database_counts() {
        let check = judged(&[("postgres", 120), ("orders", 1_600_000_000), ("template0", 150_000_000)], 200_000_000);
        assert_eq!((check.verdict, check.value), (Verdict::Critical, Some(74.51)));
        assert_eq!(
            check.message,
            "75 % of the way to where writes stop: database orders is 1600.0 million transactions old; freezing should have begun at 200.0 million"
        );
        assert_eq!(check.details, ["orders: 1600.0 million transactions", "template0: 150.0 million transactions", "postgres: 120 transactions"]);
        let check = judged(&[("orders", 199_000_000)], 200_000_000);
        assert_eq!((check.verdict, check.value), (Verdict::Ok, Some(9.27)));
    }

    #[test]
    fn freezing_that_does_not_keep_up_is_a_warning_long_before_the_end() {
        let check = judged(&[("orders", 300_000_000)], 200_000_000);
        assert_eq!((check.verdict, check.value), (Verdict::Warning, Some(13.97)));
        assert_eq!(judged(&[("orders", 300_000_000)], 1_500_000_000).verdict, Verdict::Ok);
    }
}
