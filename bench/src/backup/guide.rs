//! The peer: the commands of a maintenance guide, in its order, with the copy into its bucket as a copy into a directory that
//! is on the disk when it ends.

use std::path::Path;

use super::cost::{Cost, Measured};
use super::server::{PASSWORD, SOURCE, Server, USER, programs};
use super::{Bench, RESTORED};

const BACKUP: &str = r#"set -e
pg_dump -h "$POSTGRES_HOST" -U "$POSTGRES_USER" -d "$POSTGRES_DB" > "$TMPDIR/db.sql"
gzip "$TMPDIR/db.sql"
cp "$TMPDIR/db.sql.gz" "$STORE/db.sql.gz"
sync "$STORE/db.sql.gz" "$STORE"
"#;

/// What somebody types who knows how; it stops at the first error, as one would want.
const RESTORE_STREAMED: &str = r#"set -e -o pipefail
gunzip < "$STORE/db.sql.gz" | psql -X -q -o /dev/null -v ON_ERROR_STOP=1 -h "$POSTGRES_HOST" -U "$POSTGRES_USER" -d "$POSTGRES_DB"
"#;

/// The guide's own order, without the copy into a pod.
const RESTORE: &str = r#"set -e
cp "$STORE/db.sql.gz" "$TMPDIR/db.sql.gz"
gunzip "$TMPDIR/db.sql.gz"
psql -q -o /dev/null -h "$POSTGRES_HOST" -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f "$TMPDIR/db.sql"
"#;

/// Makes a backup into a store where nothing is.
pub fn backup(bench: &Bench, server: &Server) -> Cost {
    bench.fresh("guide-store");
    run(bench, server, BACKUP, SOURCE)
}

/// Restores what the last backup has made, from the stream.
pub fn restore_streamed(bench: &Bench, server: &Server) -> Cost {
    run(bench, server, RESTORE_STREAMED, RESTORED)
}

/// Restores what the last backup has made, by way of a file.
pub fn restore(bench: &Bench, server: &Server) -> Cost {
    run(bench, server, RESTORE, RESTORED)
}

fn run(bench: &Bench, server: &Server, script: &str, database: &str) -> Cost {
    let mut measured = Measured::new(Path::new("/bin/bash"), &bench.fresh("guide-work"), &bench.dir("said"));
    // Without the wrapper that Debian puts before them.
    measured.env("PATH", &format!("{}:/usr/bin:/bin", programs().display()));
    measured.env("STORE", &bench.dir("guide-store").display().to_string()).env("PGPORT", &server.port.to_string());
    measured.env("POSTGRES_HOST", "127.0.0.1").env("POSTGRES_USER", USER).env("POSTGRES_DB", database).env("PGPASSWORD", PASSWORD);
    measured.args(["-c", script]).cost()
}
