//! A database in several streams of data that are read at the same time, under one snapshot.
//!
//! The largest tables are named, each to one stream. The first stream is told none of them, and dumps the data of everything
//! that no other one was told to: small tables, sequences, large objects, the configuration of extensions. So nothing is
//! left out and nothing is there twice, whatever this module knows of; what a definition is is in a part of its own.

use serde::Deserialize;

use super::ASK;
use super::rows::OWN;
use super::session::{DONE, LINE_MAX, Session};

/// At a time, at most: each is a session at the server, and three threads and up to 36 MiB here.
pub const STREAMS_MAX: u8 = 8;
/// So many tables are shared out by themselves, the largest: each is an argument of `pg_dump`. All others go together.
const NAMED_MAX: usize = 400;

/// A table that can be named, or a sequence that goes where its table goes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Relation {
    id: u64,
    schema: String,
    name: String,
    #[serde(default)]
    bytes: u64,
    /// Of a sequence, the table that it belongs to.
    owner: Option<u64>,
}

impl Relation {
    /// As `pg_dump` takes it: within quotes nothing but a quote has a meaning, and two of them are one.
    fn pattern(&self) -> String {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Relation(Relation),
    Others { others: u64 },
}

/// What each stream is told to dump, as arguments of `pg_dump`, for up to so many streams.
pub(super) async fn shared_out(session: &mut Session, streams: u8) -> Result<Vec<Vec<String>>, String> {
    session.say(&locking()).await?;
    session.say(&listing()).await?;
    let (mut relations, mut others) = (Vec::new(), 0);
    loop {
        let line = session.line(ASK, LINE_MAX).await?;
        if line == DONE {
            return Ok(arguments(&shares(relations, others, streams)));
        }
        match serde_json::from_str(&line) {
            Ok(Line::Relation(relation)) => relations.push(relation),
            Ok(Line::Others { others: bytes }) => others = bytes,
            Err(error) => return Err(format!("what tables it has is not understood: {error}: {line}")),
        }
    }
}

/// Locks each table as `pg_dump` does, until the session ends: a stream begins when others have ended, and what empties or rewrites a
/// table meanwhile would not be held off by the snapshot.
fn locking() -> String {
    format!(
        "SET LOCAL lock_timeout = '50s';
         SELECT format('LOCK TABLE ONLY %I.%I IN ACCESS SHARE MODE', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {OWN} ORDER BY c.oid \\gexec
         SET LOCAL lock_timeout = 0;"
    )
}

/// The largest tables, what belongs to them, and how much there is besides. Where a name cannot be told to `pg_dump` in the
/// encoding that it speaks, it is not named. Tables of extensions are dumped as these say, and so not by name.
fn listing() -> String {
    let can_be_named = |schema: &str, name: &str| format!("(getdatabaseencoding() = 'UTF8' OR ({schema} || {name}) !~ '[^ -~]')");
    let (of_table, of_sequence) = (can_be_named("n.nspname", "c.relname"), can_be_named("n.nspname", "s.relname"));
    format!(
        "WITH own AS (
           SELECT c.oid, n.nspname, c.relname, pg_table_size(c.oid) AS bytes, {of_table} AND NOT EXISTS (
                    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') AS named
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {OWN}),
         largest AS (SELECT * FROM own WHERE named ORDER BY bytes DESC, nspname, relname LIMIT {NAMED_MAX})
         SELECT json_build_object('id', oid::bigint, 'schema', nspname, 'name', relname, 'bytes', bytes) FROM largest
         UNION ALL
         SELECT json_build_object('id', s.oid::bigint, 'schema', n.nspname, 'name', s.relname, 'owner', l.oid::bigint)
           FROM largest l JOIN pg_depend d ON d.refobjid = l.oid AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_class'::regclass
           JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace
          WHERE d.deptype IN ('a', 'i') AND {of_sequence}
         UNION ALL
         SELECT json_build_object('others', (SELECT coalesce(sum(bytes), 0) FROM own WHERE oid NOT IN (SELECT oid FROM largest))
                                            + pg_table_size('pg_catalog.pg_largeobject'));
         \\echo {DONE}"
    )
}

/// What is named for one stream, with the sequences that its tables own.
#[derive(Debug, Default)]
struct Share {
    tables: Vec<Relation>,
    sequences: Vec<Relation>,
    bytes: u64,
}

/// Largest first, each to where there is least. The first has what is not named.
fn shares(relations: Vec<Relation>, others: u64, streams: u8) -> Vec<Share> {
    let (sequences, mut tables): (Vec<Relation>, Vec<Relation>) = relations.into_iter().partition(|relation| relation.owner.is_some());
    tables.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.pattern().cmp(&other.pattern())));
    let mut shares: Vec<Share> = (0..streams.clamp(1, STREAMS_MAX)).map(|_| Share::default()).collect();
    if let Some(first) = shares.first_mut() {
        first.bytes = others;
    }
    for table in tables {
        let Some(least) = shares.iter_mut().min_by_key(|share| share.bytes) else { break };
        least.bytes += table.bytes;
        let owned = sequences.iter().filter(|sequence| sequence.owner == Some(table.id));
        least.sequences.extend(owned.cloned());
        least.tables.push(table);
    }
    shares
}

fn arguments(shares: &[Share]) -> Vec<Vec<String>> {
    let Some((_, named)) = shares.split_first() else { return Vec::new() };
    let named: Vec<&Share> = named.iter().filter(|share| !share.tables.is_empty()).collect();
    // `pg_dump` takes a sequence along with the table that owns it.
    let elsewhere = named.iter().flat_map(|share| share.tables.iter().chain(&share.sequences));
    let others: Vec<String> = elsewhere.map(|relation| format!("--exclude-table-data={}", relation.pattern())).collect();
    let own = |share: &&Share| {
        let tables = share.tables.iter().map(|table| format!("--table={}", table.pattern()));
        std::iter::once("--strict-names".to_owned()).chain(tables).collect::<Vec<String>>()
    };
    std::iter::once(others).chain(named.iter().map(own)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(id: u64, name: &str, bytes: u64) -> Relation {
        Relation { id, schema: "public".to_owned(), name: name.to_owned(), bytes, owner: None }
    }

    #[test]
    fn the_largest_go_first_to_where_there_is_least() {
        let sequence = Relation { owner: Some(1), ..table(9, "a_id_seq", 0) };
        let relations = vec![table(3, "c", 30), table(1, "a", 100), sequence, table(2, "b", 60), table(4, "d", 5)];
        let told = arguments(&shares(relations, 50, 3));
        let expected = [
            &[
                "--exclude-table-data=\"public\".\"a\"",
                "--exclude-table-data=\"public\".\"a_id_seq\"",
                "--exclude-table-data=\"public\".\"b\"",
                "--exclude-table-data=\"public\".\"d\"",
            ][..],
            &["--strict-names", "--table=\"public\".\"a\""],
            &["--strict-names", "--table=\"public\".\"b\"", "--table=\"public\".\"d\""],
        ];
        assert_eq!(told, expected, "c is with what is not named, where there was least");
    }

    #[test]
    fn a_stream_of_nothing_is_none() {
        assert_eq!(arguments(&shares(Vec::new(), 7, 4)), [Vec::<String>::new()]);
        assert_eq!(arguments(&shares(vec![table(1, "a", 1)], 7, 8)).len(), 2);
        assert_eq!(arguments(&shares(vec![table(1, "a", 1)], 7, 0)).len(), 1);
    }

    #[test]
    fn a_name_is_quoted_as_pg_dump_reads_it() {
        let odd = Relation { schema: "Odd \"one\"".to_owned(), ..table(1, "a.b*$?", 1) };
        assert_eq!(odd.pattern(), "\"Odd \"\"one\"\"\".\"a.b*$?\"");
    }
}
