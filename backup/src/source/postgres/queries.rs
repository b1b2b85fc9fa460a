//! What of a user's own a restore is compared by: queries that give one row, asked in the snapshot that is dumped, and again of
//! what was restored.
//!
//! A query is a user's text, and psql is not shown it: it goes to the server as the digits of its bytes, which opens a cursor
//! for it, in a transaction that only reads. A cursor is of one statement that gives rows, or there is none; so nothing comes
//! after the query, and nothing but the server reads it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::session::{LINE_MAX, Session};
use super::{ASK, Connection};
use crate::seam;

/// Where the answers stand among what was counted.
pub const NAME: &str = "queries";
/// They stand in the manifest, which has to stay small.
const QUERIES_MAX: usize = 16;
const STATEMENT_MAX: usize = 8 << 10;
const ANSWER_MAX: usize = 64 << 10;
const NAME_MAX: usize = 63;
/// Of an answer that is told.
const TOLD_MAX: usize = 200;

/// Queries by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Queries(BTreeMap<String, String>);

/// One of them, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// As it was asked.
    pub statement: String,
    /// Its row, as JSON.
    pub answer: String,
}

impl Queries {
    /// Those of a user, by names that they are told by.
    ///
    /// # Errors
    /// In words: there are too many, or one is none.
    pub fn of(named: &BTreeMap<String, String>) -> Result<Queries, String> {
        if named.len() > QUERIES_MAX {
            return Err(format!("there are {} queries, and at most {QUERIES_MAX}: ask for more in one, by more columns", named.len()));
        }
        for (name, statement) in named {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_name) {
                return Err(format!("`{name}` is no name of a query: up to {NAME_MAX} letters, digits, `.`, `_` and `-`"));
            }
            let first = statement.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty()).unwrap_or_default();
            if !["select", "with"].contains(&first.to_ascii_lowercase().as_str()) {
                return Err(format!("query {name} is no SELECT: write one, which gives one row"));
            }
            if statement.len() > STATEMENT_MAX || statement.contains('\0') {
                return Err(format!("query {name} has {} bytes, and at most {STATEMENT_MAX} are taken, none of them zero", statement.len()));
            }
        }
        Ok(Queries(named.clone()))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<BTreeMap<String, String>> for Queries {
    type Error = String;

    fn try_from(named: BTreeMap<String, String>) -> Result<Queries, String> {
        Queries::of(&named)
    }
}

impl From<Queries> for BTreeMap<String, String> {
    fn from(queries: Queries) -> BTreeMap<String, String> {
        queries.0
    }
}

/// Has the server open each, before anything is begun: is it one statement, are its tables there, may they be read?
pub(super) async fn tried(of: &Connection, within: Option<&Path>, queries: &Queries) -> Result<(), String> {
    if queries.is_empty() {
        return Ok(());
    }
    let mut session = Session::begin(of, within).await?;
    for (name, statement) in &queries.0 {
        // psql may have ended before it was told all of it.
        let tried = async {
            session.say(&block(statement, "PERFORM set_config('mainstay.answer', '', true);")).await?;
            session.line(ASK, LINE_MAX).await
        };
        tried.await.map_err(|why| wrong(name, &why))?;
    }
    Ok(())
}

/// What they give, as it stands in a manifest; each is waited for as long as that.
pub(super) async fn answered(session: &mut Session, queries: &Queries, within: Duration) -> Result<Value, String> {
    let mut answers = BTreeMap::new();
    for (name, statement) in &queries.0 {
        let answer = answer(session, statement, within).await.map_err(|why| wrong(name, &why))?;
        answers.insert(name.clone(), Answer { statement: statement.clone(), answer });
    }
    serde_json::to_value(answers).map_err(|error| error.to_string())
}

/// Asks a restored database again; what differs, in words.
pub(crate) async fn differs(counted: &Value, of: &Connection, within: Option<&Path>, deadline: Duration) -> Result<Vec<String>, String> {
    let was: BTreeMap<String, Answer> =
        serde_json::from_value(counted.clone()).map_err(|error| format!("what its queries gave is not understood: {error}"))?;
    let mut differs = Vec::new();
    for (name, Answer { statement, answer: was }) in was {
        // Each in a session of its own: one that fails says so, and ends it.
        let mut session = Session::begin(of, within).await?;
        match answer(&mut session, &statement, deadline).await {
            Ok(is) if is == was => {}
            Ok(is) => differs.push(format!("query {name} gives {}, and gave {}", told(&is), told(&was))),
            Err(why) => differs.push(format!("{}; it gave {}", wrong(&name, &why), told(&was))),
        }
    }
    Ok(differs)
}

fn wrong(name: &str, why: &str) -> String {
    // What follows tells of what it is wrapped in here.
    format!("query {name}: {}", why.lines().next().unwrap_or_default())
}

/// What is told of an answer: its beginning, where it is long.
fn told(answer: &str) -> String {
    match answer.char_indices().nth(TOLD_MAX) {
        Some((end, _)) => format!("{}… ({} bytes)", answer.get(..end).unwrap_or_default(), answer.len()),
        None => answer.to_owned(),
    }
}

async fn answer(session: &mut Session, statement: &str, within: Duration) -> Result<String, String> {
    let fetching = format!(
        "FETCH answer INTO one;
         IF NOT FOUND THEN RAISE EXCEPTION 'it gives no row, and one is wanted'; END IF;
         FETCH answer INTO another;
         IF FOUND THEN RAISE EXCEPTION 'it gives more than one row, and one is wanted'; END IF;
         said := convert_to(to_jsonb(one)::text, 'UTF8');
         IF length(said) > {ANSWER_MAX} THEN RAISE EXCEPTION 'its answer has % bytes, and at most {ANSWER_MAX} are kept', length(said); END IF;
         PERFORM set_config('mainstay.answer', encode(said, 'hex'), true);"
    );
    session.say(&block(statement, &fetching)).await?;
    let line = session.line(within, 2 * ANSWER_MAX + LINE_MAX).await?;
    let bytes = (0..line.len()).step_by(2).map(|at| line.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok()));
    let text = bytes.collect::<Option<Vec<u8>>>().and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| "what it gave is not understood".to_owned())
}

/// Has the server open a query, and do this with it; then a line of what is left as the answer.
fn block(statement: &str, then: &str) -> String {
    let digits = seam::hex(statement.as_bytes());
    format!(
        "DO $mainstay$
         DECLARE answer refcursor; one record; another record; said bytea;
         BEGIN
         OPEN answer NO SCROLL FOR EXECUTE convert_from(decode('{digits}', 'hex'), 'UTF8');
         {then}
         CLOSE answer;
         END $mainstay$;
         SELECT current_setting('mainstay.answer');"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(named: &[(&str, &str)]) -> Result<Queries, String> {
        Queries::of(&named.iter().map(|(name, statement)| ((*name).to_owned(), (*statement).to_owned())).collect())
    }

    #[test]
    fn what_is_no_query_is_refused() {
        assert!(of(&[("total", "SELECT sum(amount) FROM public.orders"), ("b", " with x as (select 1) select * from x")]).is_ok());
        assert!(of(&[]).unwrap().is_empty());
        let long = format!("SELECT '{}'", "x".repeat(STATEMENT_MAX));
        for (name, statement, why) in [
            ("a b", "SELECT 1", "`a b` is no name"),
            ("", "SELECT 1", "`` is no name"),
            ("a", "DELETE FROM orders", "query a is no SELECT"),
            ("a", "\\! id", "query a is no SELECT"),
            ("a", "", "query a is no SELECT"),
            ("a", long.as_str(), "at most 8192"),
        ] {
            let said = of(&[(name, statement)]).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        let many: Vec<String> = (0..17).map(|at| format!("q{at}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "SELECT 1")).collect();
        assert!(of(&many).unwrap_err().contains("at most 16"));
    }

    #[test]
    fn psql_is_not_shown_a_query() {
        for statement in ["SELECT 1; \\! touch /tmp/x", "SELECT '$mainstay$'; COMMIT", "SELECT :'x'"] {
            let block = block(statement, "");
            assert!(!block.contains(statement) && !block.contains('\\') && block.matches("$mainstay$").count() == 2, "{block}");
        }
    }

    #[test]
    fn of_a_long_answer_its_beginning_is_told() {
        assert_eq!(told("{\"a\": 1}"), "{\"a\": 1}");
        assert_eq!(told(&"ü".repeat(300)), format!("{}… (600 bytes)", "ü".repeat(200)));
    }
}
