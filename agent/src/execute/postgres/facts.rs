//! What the other parts have to know of a server before they ask.

use super::session::{QueryError, Session};

/// Of one server and one session.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Facts {
    /// Major times 10,000 plus minor.
    pub version_number: i32,
    pub version: String,
    pub is_standby: bool,
    /// Whether what other users do can be seen.
    pub sees_all: bool,
    pub up_s: f64,
    pub max_connections: i32,
    /// Connections that are kept for superusers and for roles with a reservation.
    pub reserved: i32,
    pub freeze_max_age: i64,
    pub archive_mode: String,
    pub database: String,
}

const SQL: &str = "
SELECT current_setting('server_version_num')::int4,
       current_setting('server_version'),
       pg_is_in_recovery(),
       EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'pg_read_all_stats' AND pg_has_role(current_user, r.oid, 'USAGE')),
       extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8,
       current_setting('max_connections')::int4,
       current_setting('superuser_reserved_connections')::int4 + coalesce(current_setting('reserved_connections', true)::int4, 0),
       current_setting('autovacuum_freeze_max_age')::int8,
       current_setting('archive_mode'),
       current_database()::text";

impl Facts {
    pub async fn read(session: &Session) -> Result<Facts, QueryError> {
        let rows = session.query(SQL).await?;
        let Some(row) = rows.first() else { return Ok(Facts::default()) };
        Ok(Facts {
            version_number: row.get(0),
            version: row.get(1),
            is_standby: row.get(2),
            sees_all: row.get(3),
            up_s: row.get(4),
            max_connections: row.get(5),
            reserved: row.get(6),
            freeze_max_age: row.get(7),
            archive_mode: row.get(8),
            database: row.get(9),
        })
    }

    pub fn major(&self) -> i32 {
        self.version_number / 10_000
    }
}
