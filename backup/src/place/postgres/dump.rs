//! A database out of the parts of its backup: out of the one that has all of it, or out of several, in one transaction too.
//!
//! ```text
//! schema ─▶ pg_restore: before the data ─┐
//! data-1 ─▶ pg_restore ──────────────────┤
//! data-2 ─▶ pg_restore ──────────────────┼─▶ one script ─▶ psql, in one transaction
//! schema ─▶ pg_restore: after the data ──┘
//! ```
//!
//! Several connections at a time are faster, and leave half a database where one of them fails: [`super::parallel`], for who
//! asks for it. Here a part is opened when its turn comes, and the transaction ends only when the last of them was read to its
//! end and is what was written.

use std::io;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::super::PlaceError;
use super::super::some::Tables as Chosen;
use super::parallel::restore_parallel;
use super::{Options, is_taken, restore, seen};
use crate::decode;
use crate::keys::Identities;
use crate::manifest::{Manifest, Part};
use crate::pipe::{self, CHUNK, Mouth};
use crate::progress::Teller;
use crate::source::postgres::{CONTENT, Connection, DATA, SCHEMA, program};
use crate::store::Store;

/// What comes before the first statement of a script, and after its last one, is shorter.
const END_MAX: usize = 4 << 10;
/// The first statement of a script of `pg_restore --single-transaction`.
const BEGIN: &[u8] = b"\nBEGIN;\n";
/// Its last one.
const COMMIT: &[u8] = b"\nCOMMIT;\n";

/// A part, opened.
pub type Plain = Box<dyn AsyncRead + Send + Unpin>;

/// The parts in which a database is.
#[derive(Debug, Clone)]
pub enum Dump<'m> {
    /// All of it in one.
    One(&'m Part),
    /// What is defined, and the data.
    Several {
        /// What is made before the data, and what is made of it.
        schema: &'m Part,
        /// In the order of their names.
        data: Vec<&'m Part>,
    },
}

impl<'m> Dump<'m> {
    /// Those of a backup.
    ///
    /// # Errors
    /// In words: it has none.
    pub fn of(manifest: &'m Manifest) -> Result<Dump<'m>, String> {
        let named = |content: &str| manifest.parts.iter().find(|part| part.content == content);
        match (named(CONTENT), named(SCHEMA)) {
            (Some(one), _) => Ok(Dump::One(one)),
            (None, Some(schema)) => {
                let data: Vec<&Part> = manifest.parts.iter().filter(|part| part.content == DATA).collect();
                if data.is_empty() { Err(format!("{} has no part of {DATA}", manifest.backup)) } else { Ok(Dump::Several { schema, data }) }
            }
            (None, None) => Err(format!("{} has no part of {CONTENT}", manifest.backup)),
        }
    }
}

/// Opens parts where they are stored.
pub fn stored<'m>(
    store: &'m Store,
    manifest: &'m Manifest,
    keys: &'m Identities,
    progress: &'m Teller,
) -> impl Fn(&'m Part) -> BoxFuture<'m, io::Result<Plain>> {
    move |part| {
        async move {
            let plain = decode::open(store, manifest, part, keys, progress).await?;
            Ok(Box::new(plain) as Plain)
        }
        .boxed()
    }
}

/// Restores a backup of a database into one that is there and empty.
///
/// # Errors
/// When it is not empty, or anything at all could not be restored; nothing is there then that was not before, but where it is
/// restored by several connections, of which the error says so.
pub async fn restore_dump<'m>(
    dump: &Dump<'m>,
    open: impl Fn(&'m Part) -> BoxFuture<'m, io::Result<Plain>>,
    into: &Connection,
    programs: Option<&Path>,
    options: &Options,
) -> Result<(), PlaceError> {
    if let Some(how) = &options.parallel {
        return restore_parallel(dump, open, into, programs, options, how).await;
    }
    let wrong = |said: &dyn std::fmt::Display| PlaceError::new(into.to_string(), said);
    let (schema, data) = match dump {
        Dump::One(part) => {
            let plain = open(part).await.map_err(|error| wrong(&error))?;
            return restore(plain, into, programs, options).await;
        }
        Dump::Several { schema, data } => (*schema, data),
    };
    let own = seen(into, programs).await?.own;
    if own != 0 {
        return Err(wrong(&is_taken(own)));
    }
    let arguments = ["--no-psqlrc", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1", "--single-transaction", "--file=-"];
    let psql = program(into, programs, "psql", &arguments, options.deadline).map_err(|error| wrong(&error))?;
    let (mouth, script) = pipe::to_task();
    let writing = async {
        let written = async {
            for (part, section) in steps(schema, data) {
                let plain = open(part).await?;
                let arguments = told(section, options);
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                let pg_restore = program(into, programs, "pg_restore", &arguments, options.deadline).map_err(io::Error::other)?;
                pass(pg_restore.filter(plain).map_err(io::Error::other)?, &mouth).await?;
            }
            Ok(())
        };
        // Where psql has ended meanwhile, it says itself why.
        let outcome: io::Result<()> = written.await;
        mouth.end(outcome).await;
    };
    let ((), fed) = tokio::join!(writing, psql.feed(script));
    fed.map(drop).map_err(|error| wrong(&format!("{error}; nothing of it was restored")))
}

/// Which part is read when, and what of it.
fn steps<'m>(schema: &'m Part, data: &[&'m Part]) -> Vec<(&'m Part, Option<&'static str>)> {
    let mut steps = vec![(schema, Some("--section=pre-data"))];
    steps.extend(data.iter().map(|part| (*part, None)));
    steps.push((schema, Some("--section=post-data")));
    steps
}

fn told(section: Option<&str>, options: &Options) -> Vec<String> {
    // Within a transaction of its own a script has none for large objects. Where its own begins and ends is left out here.
    let mut arguments = vec!["--file=-".to_owned(), "--single-transaction".to_owned()];
    arguments.extend(section.map(str::to_owned));
    if options.without_owners {
        arguments.extend(["--no-owner", "--no-privileges"].map(str::to_owned));
    }
    arguments.extend(options.tables.as_ref().map(Chosen::arguments).unwrap_or_default());
    arguments
}

/// Passes a script on, without the beginning and the end of its transaction: all of them are within one.
async fn pass(mut script: impl AsyncRead + Unpin, into: &Mouth) -> io::Result<()> {
    let unknown = || io::Error::other("a script of pg_restore does not begin and end as it should: it is of a version that is not known here");
    let (mut held, mut is_begun) = (BytesMut::new(), false);
    loop {
        held.reserve(CHUNK);
        if script.read_buf(&mut held).await? == 0 {
            break;
        }
        if held.len() > CHUNK {
            if !is_begun {
                held = without_begin(&held).ok_or_else(unknown)?;
                is_begun = true;
            }
            let ready = held.split_to(held.len() - END_MAX);
            into.send(ready.freeze()).await?;
        }
    }
    if !is_begun {
        held = without_begin(&held).ok_or_else(unknown)?;
    }
    // What is held is more than its end.
    let end = held.split_off(held.len().saturating_sub(END_MAX));
    into.send(held.freeze()).await?;
    let end = without_commit(&end).ok_or_else(unknown)?;
    Ok(into.send(end).await?)
}

/// The beginning of a script, without its first statement; nothing where that is something else.
fn without_begin(beginning: &[u8]) -> Option<BytesMut> {
    let looked_at = beginning.get(..END_MAX.min(beginning.len()))?;
    let at = looked_at.windows(BEGIN.len()).position(|window| window == BEGIN)?;
    Some([beginning.get(..=at)?, beginning.get(at + BEGIN.len()..)?].concat().as_slice().into())
}

/// The end of a script, without its last statement; nothing where that is something else.
fn without_commit(end: &[u8]) -> Option<Bytes> {
    let at = end.windows(COMMIT.len()).rposition(|window| window == COMMIT)?;
    let (before, after) = (end.get(..=at)?, end.get(at + COMMIT.len()..)?);
    let says_nothing = |line: &[u8]| line.is_empty() || line.starts_with(b"--") || line.starts_with(b"\\unrestrict ");
    after.split(|byte| *byte == b'\n').all(says_nothing).then(|| [before, after].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &str = "--\n-- PostgreSQL database dump complete\n--\n\n";

    #[test]
    fn only_the_end_of_a_transaction_is_left_out() {
        let script = format!("1\tCOMMIT;\nCOMMIT;\n\\.\n\n\nCOMMIT;\n\n{END}");
        let kept = without_commit(script.as_bytes()).unwrap();
        assert_eq!(kept, format!("1\tCOMMIT;\nCOMMIT;\n\\.\n\n\n\n{END}"));
        assert!(without_commit(format!("SELECT 1;\nCOMMIT;\n\n{END}\\unrestrict abc\n\n").as_bytes()).is_some());
        // A row of data that looks like it, in a script that does not end its transaction.
        assert_eq!(without_commit(format!("COPY a FROM stdin;\nCOMMIT;\n\\.\n{END}").as_bytes()), None);
        assert_eq!(without_commit(END.as_bytes()), None);
    }

    #[tokio::test]
    async fn a_script_is_passed_on_whatever_its_length() {
        for length in [0, 10, END_MAX, CHUNK, 3 * CHUNK + 5] {
            let (mouth, mut flow) = pipe::to_task();
            let script = format!("--\n\nBEGIN;\n\n{}\nCOMMIT;\n\n{END}", "x".repeat(length));
            let passing = async {
                let passed = pass(script.as_bytes(), &mouth).await;
                mouth.end(passed).await;
            };
            let mut read = String::new();
            let ((), outcome) = tokio::join!(passing, flow.read_to_string(&mut read));
            outcome.unwrap();
            assert_eq!(read, format!("--\n\n\n{}\n\n{END}", "x".repeat(length)));
        }
    }
}
