//! What stands on the command line, as stores and connections.

use mainstay_backup::Store;
use mainstay_backup::source::postgres::Connection;
use mainstay_backup::store::{Credentials, S3, ServerSide};
use mainstay_client::files;

use crate::args;
use crate::error::CliError;
use crate::host;

/// Certificates of authorities.
const CA_MAX: u64 = 1 << 20;

pub fn store(args: &args::backup::Store) -> Result<Store, CliError> {
    let wrong = |error: &dyn std::fmt::Display| CliError::usage(error.to_string());
    let store = match args.store.strip_prefix("s3://") {
        None => Store::local(args.store.as_ref()).map_err(|error| wrong(&error))?,
        Some(rest) => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let read =
                |file: &std::path::PathBuf| files::read_text(file, CA_MAX).map_err(|error| CliError::usage(format!("{}: {error}", file.display())));
            let server_side = ServerSide::read(args.way.sse.as_deref(), args.way.kms_key.as_deref());
            let settings = S3 {
                bucket: bucket.to_owned(),
                prefix: prefix.trim_end_matches('/').to_owned(),
                endpoint: args.way.endpoint.clone(),
                region: args.way.region.clone(),
                path_style: args.way.endpoint.is_some(),
                authorities: args.way.ca.as_ref().map(read).transpose()?,
                allow_http: args.way.allow_http,
                credentials: Credentials {
                    access_key: needed("AWS_ACCESS_KEY_ID")?,
                    secret_key: needed("AWS_SECRET_ACCESS_KEY")?.into(),
                    session_token: host::variable("AWS_SESSION_TOKEN").map(Into::into),
                },
                server_side: server_side.map_err(|why| wrong(&format!("--sse: {why}")))?,
                checksums: args.way.checksums.then_some(true),
            };
            Store::s3(&settings).map_err(|error| wrong(&error))?
        }
    };
    Ok(match args.way.limit {
        Some(limit) => store.limited(limit),
        None => store,
    })
}

fn needed(name: &str) -> Result<String, CliError> {
    host::variable(name)
        .ok_or_else(|| CliError::usage(format!("{name} is not set: a bucket is reached with a key and its secret in the environment")))
}

/// The parts of `SCHEME://USER@HOST:PORT/PATH`.
#[derive(Debug, PartialEq, Eq)]
pub struct Parts<'u> {
    pub user: Option<&'u str>,
    pub host: &'u str,
    pub port: u16,
    pub path: &'u str,
}

/// A URL of this scheme. A password in it is refused: whoever lists processes would see it.
pub fn parts<'u>(url: &'u str, scheme: &str, port: u16, password: &str) -> Result<Parts<'u>, CliError> {
    let rest = url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
    let rest = rest.ok_or_else(|| CliError::usage(format!("`{scheme}://USER@HOST:PORT/…` is wanted")))?;
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, place) = place.rsplit_once('@').map_or((None, place), |(user, place)| (Some(user), place));
    if user.is_some_and(|user| user.contains(':')) {
        return Err(CliError::usage(format!("a password among the arguments can be seen by everybody here: put it into {password}")));
    }
    let (host, port) = match place.rsplit_once(':') {
        Some((host, number)) => (host, number.parse().map_err(|_| CliError::usage(format!("`{number}` is no port")))?),
        None => (place, port),
    };
    if host.is_empty() {
        return Err(CliError::usage(format!("{url} names no host")));
    }
    Ok(Parts { user, host, port, path })
}

pub fn postgres(url: &str) -> Result<Connection, CliError> {
    let parts = parts(url, "postgres", 5432, "PGPASSWORD")?;
    if parts.path.is_empty() {
        return Err(CliError::usage(format!("{url} names no database")));
    }
    Ok(Connection {
        // An address of IPv6 stands in brackets in a URL, and without them everywhere else.
        host: parts.host.trim_matches(['[', ']']).to_owned(),
        port: parts.port,
        user: parts.user.unwrap_or("postgres").to_owned(),
        password: host::variable("PGPASSWORD").map(Into::into),
        database: parts.path.to_owned(),
        tls: host::variable("PGSSLMODE").unwrap_or_else(|| "prefer".to_owned()),
        authorities: host::variable("PGSSLROOTCERT").map(Into::into),
        client: host::variable("PGSSLCERT").map(Into::into).zip(host::variable("PGSSLKEY").map(Into::into)),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let read = |url| parts(url, "postgres", 5432, "PGPASSWORD");
        assert_eq!(read("postgres://app@db:5433/orders").unwrap(), Parts { user: Some("app"), host: "db", port: 5433, path: "orders" });
        assert_eq!(read("postgres://db").unwrap(), Parts { user: None, host: "db", port: 5432, path: "" });
        assert!(read("postgres://app:hunter2@db/orders").unwrap_err().message.contains("PGPASSWORD"));
        assert!(read("redis://db").is_err());
        assert!(read("postgres://app@/orders").is_err());
        assert!(read("postgres://db:port/orders").is_err());
    }
}
