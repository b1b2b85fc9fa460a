//! Is what came back what it says it is?

use std::collections::BTreeMap;
use std::io;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::pipe::CHUNK;
use crate::source::kubernetes::{self, Lines, Tally};
use crate::source::{files, mesh, postgres, redis};

/// Reads to the end, and looks at the form on the way; of objects also whether there are as many as were counted.
pub(super) async fn look(mut plain: impl AsyncRead + Unpin, content: &str, counted: &BTreeMap<String, Value>) -> io::Result<()> {
    let mut rdb = (content == redis::CONTENT).then(redis::rdb::Check::default);
    let mut objects = (content == kubernetes::CONTENT).then(|| (Lines::default(), Tally::default()));
    let (mut first, mut buffer) = (Vec::new(), vec![0; CHUNK]);
    loop {
        let read = plain.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        if first.len() < 512 {
            first.extend_from_slice(&buffer[..read.min(512)]);
        }
        if let Some(rdb) = &mut rdb {
            rdb.add(&buffer[..read]);
        }
        if let Some((lines, tally)) = &mut objects {
            lines.add(&buffer[..read], |line| tally.add(line))?;
        }
    }
    let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if let Some((lines, is)) = objects {
        lines.end()?;
        let differs = counted.get(kubernetes::OBJECTS).map(|was| is.differs_from(&Tally::of(was))).unwrap_or_default();
        if let Some(first) = differs.into_iter().next() {
            return wrong(first);
        }
    }
    match content {
        postgres::CONTENT | postgres::SCHEMA | postgres::DATA if !first.starts_with(b"PGDMP") => wrong("it is no archive of pg_dump".to_owned()),
        mesh::CONTENT if !first.starts_with(mesh::MAGIC) => wrong("it is no snapshot of a mesh".to_owned()),
        files::CONTENT if first.get(257..262) != Some(b"ustar") && first.iter().any(|byte| *byte != 0) => wrong("it is no tar archive".to_owned()),
        _ => match rdb.map(redis::rdb::Check::end) {
            Some(Err(error)) => wrong(error.to_string()),
            _ => Ok(()),
        },
    }
}
