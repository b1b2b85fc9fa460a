//! The address of a connection: read from its `url`, by its kind.

use std::net::IpAddr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::ConnectionKind;

/// What PostgreSQL calls its sockets, before the port.
const POSTGRES_SOCKET: &str = ".s.PGSQL.";

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub place: Place,
    /// Database of PostgreSQL, number of a Redis database, path before that of an API, prefix within a bucket; may be empty.
    pub path: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The host without brackets.
    Tcp { host: String, port: u16 },
    /// The file of a socket of this machine.
    Socket(PathBuf),
    /// A directory of this machine.
    Dir(PathBuf),
    /// A bucket of S3 or of what speaks like it.
    Bucket(String),
    /// The cluster that the agent speaks for.
    Cluster,
    /// The mesh that this agent is of: the way to it is the agent's own.
    Mesh,
}

/// All that a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parsed {
    pub address: Address,
    pub user: Option<String>,
    /// Whether its scheme asks for TLS; nothing where the scheme does not say.
    pub encrypted: Option<bool>,
}

impl Address {
    /// Whether what is sent there leaves this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match &self.place {
            Place::Socket(_) | Place::Dir(_) | Place::Cluster | Place::Mesh => true,
            Place::Bucket(_) => false,
            Place::Tcp { host, .. } => host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        }
    }

    /// The place as a person reads it, `host:port` or a path.
    #[must_use]
    pub fn place_in_words(&self) -> String {
        match &self.place {
            Place::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp { host, port } => format!("{host}:{port}"),
            Place::Socket(path) | Place::Dir(path) => path.display().to_string(),
            Place::Bucket(name) => format!("s3://{name}"),
            Place::Cluster => "the agent's own cluster".to_owned(),
            Place::Mesh => "the mesh itself".to_owned(),
        }
    }
}

/// An example of what a URL of that kind looks like.
pub(super) fn example(kind: ConnectionKind) -> &'static str {
    match kind {
        ConnectionKind::Postgres => "postgres://USER@HOST:5432/DATABASE, or postgres:///DATABASE?host=/run/postgresql with  username",
        ConnectionKind::Redis => "rediss://HOST:6379/0, redis://… without TLS, or unix:///run/redis/redis.sock",
        ConnectionKind::Prometheus => "https://HOST:9090",
        ConnectionKind::Alertmanager => "https://HOST:9093",
        ConnectionKind::Http => "https://HOST/health",
        ConnectionKind::Tls => "tls://HOST:443",
        ConnectionKind::Files => "file:///etc/nginx",
        ConnectionKind::Store => "s3://BUCKET/PREFIX, or file:///var/backups",
        ConnectionKind::Kubernetes => "nothing: it has no URL",
        ConnectionKind::Mesh => "nothing: it is the mesh that this agent is of",
    }
}

/// Reads a URL.
///
/// # Errors
/// What is wrong with it, after "`url` ". A URL with a password is never repeated.
pub(super) fn parse(kind: ConnectionKind, text: &str) -> Result<Parsed, String> {
    let wrong = |why: &str| format!("{why}; a URL of kind {kind} looks like {}", example(kind));
    let url = Url::parse(text).map_err(|error| wrong(&format!("is not a URL: {error}")))?;
    if url.password().is_some() {
        return Err("holds a password: take it out, and say where it is:  password = { file = \"…\" }  or  password = { env = \"…\" }".to_owned());
    }
    let (port, encrypted) = scheme(kind, url.scheme()).ok_or_else(|| wrong(&format!("begins with `{}`", url.scheme())))?;
    if url.fragment().is_some() {
        return Err(wrong("has a #fragment"));
    }
    let decoded =
        |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| wrong("holds bytes that are not UTF-8"));
    let user = Some(url.username()).filter(|user| !user.is_empty()).map(decoded).transpose()?;
    let mut socket = (url.scheme() == "unix").then(|| decoded(url.path())).transpose()?;
    // An HTTP endpoint has its query as a part of what is asked for.
    if kind != ConnectionKind::Http {
        for (key, value) in url.query_pairs() {
            match (kind, &*key) {
                (ConnectionKind::Postgres, "host") if value.starts_with('/') => socket = Some(value.into_owned()),
                (_, "sslmode" | "ssl" | "sslrootcert") => {
                    return Err(format!("has `{key}`: write  tls = \"verify\", \"require\" or \"off\"  and  ca  instead"));
                }
                _ => return Err(wrong(&format!("has `?{key}`, which is not known here"))),
            }
        }
    }
    let path = if url.scheme() == "unix" { String::new() } else { path(kind, &url, decoded)? };
    let host = url.host_str().map(|host| host.trim_matches(['[', ']'])).filter(|host| !host.is_empty());
    let place = match url.scheme() {
        "file" => return dir(&url, decoded).map_err(|why| wrong(&why)),
        "s3" => {
            let bucket = host.ok_or_else(|| wrong("names no bucket"))?.to_owned();
            return Ok(Parsed { address: Address { place: Place::Bucket(bucket), path }, user, encrypted });
        }
        _ => match (socket, host) {
            (Some(socket), _) => Place::Socket(socket_file(kind, PathBuf::from(socket))),
            (None, Some(host)) => Place::Tcp { host: host.to_owned(), port: url.port().or(port).ok_or_else(|| wrong("has no port"))? },
            (None, None) => return Err(wrong("has no host")),
        },
    };
    Ok(Parsed { address: Address { place, path }, user, encrypted })
}

/// A directory of this machine.
fn dir(url: &Url, decoded: impl Fn(&str) -> Result<String, String>) -> Result<Parsed, String> {
    if url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err("names a host, and a directory of this machine has three slashes before it".to_owned());
    }
    let path = PathBuf::from(decoded(url.path())?);
    if path.file_name().is_none() {
        return Err("names no directory below the root".to_owned());
    }
    Ok(Parsed { address: Address { place: Place::Dir(path), path: String::new() }, user: None, encrypted: None })
}

/// PostgreSQL is told by the folder of its socket; the file's name has the port.
fn socket_file(kind: ConnectionKind, path: PathBuf) -> PathBuf {
    let is_file = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(POSTGRES_SOCKET));
    if kind == ConnectionKind::Postgres && !is_file { path.join(format!("{POSTGRES_SOCKET}5432")) } else { path }
}

/// Port and TLS of a scheme, where the kind knows it.
fn scheme(kind: ConnectionKind, scheme: &str) -> Option<(Option<u16>, Option<bool>)> {
    match (kind, scheme) {
        (ConnectionKind::Postgres, "postgres" | "postgresql") => Some((Some(5432), None)),
        (ConnectionKind::Redis, "redis") => Some((Some(6379), Some(false))),
        (ConnectionKind::Redis, "rediss") => Some((Some(6379), Some(true))),
        (ConnectionKind::Redis, "unix") => Some((None, Some(false))),
        (kind, "http") if kind.is_http() => Some((Some(80), Some(false))),
        (kind, "https") if kind.is_http() => Some((Some(443), Some(true))),
        (ConnectionKind::Tls, "tls") => Some((None, Some(true))),
        (ConnectionKind::Files | ConnectionKind::Store, "file") | (ConnectionKind::Store, "s3") => Some((None, None)),
        _ => None,
    }
}

fn path(kind: ConnectionKind, url: &Url, decoded: impl Fn(&str) -> Result<String, String>) -> Result<String, String> {
    let path = url.path();
    match kind {
        ConnectionKind::Postgres => {
            let database = decoded(path.trim_start_matches('/'))?;
            if database.contains('\0') { Err("has a database with a zero byte in its name".to_owned()) } else { Ok(database) }
        }
        ConnectionKind::Redis => {
            let number = path.trim_start_matches('/');
            let is_number = number.is_empty() || number.parse::<u16>().is_ok();
            if is_number { Ok(number.to_owned()) } else { Err(format!("has the database `{number}`, which is not a number")) }
        }
        ConnectionKind::Prometheus | ConnectionKind::Alertmanager => Ok(path.trim_end_matches('/').to_owned()),
        ConnectionKind::Http => Ok(url.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))),
        ConnectionKind::Files | ConnectionKind::Kubernetes | ConnectionKind::Mesh => Ok(String::new()),
        ConnectionKind::Store => decoded(path.trim_matches('/')),
        ConnectionKind::Tls if path.is_empty() || path == "/" => Ok(String::new()),
        ConnectionKind::Tls => Err("has a path, and TLS has none".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tcp(host: &str, port: u16, path: &str, user: Option<&str>, encrypted: Option<bool>) -> Parsed {
        let address = Address { place: Place::Tcp { host: host.into(), port }, path: path.into() };
        Parsed { address, user: user.map(str::to_owned), encrypted }
    }

    #[test]
    fn each_kind_has_its_own_urls() {
        use ConnectionKind::{Files, Http, Postgres, Prometheus, Redis, Store, Tls};
        for (kind, text, parsed) in [
            (Postgres, "postgres://app@db.example/orders", tcp("db.example", 5432, "orders", Some("app"), None)),
            (Postgres, "postgresql://a%40b@[::1]:5433/", tcp("::1", 5433, "", Some("a@b"), None)),
            (Redis, "redis://cache", tcp("cache", 6379, "", None, Some(false))),
            (Redis, "rediss://app@cache:7000/2", tcp("cache", 7000, "2", Some("app"), Some(true))),
            (Prometheus, "https://mon.example/prometheus/", tcp("mon.example", 443, "/prometheus", None, Some(true))),
            (Http, "http://shop:8080/health?deep=1", tcp("shop", 8080, "/health?deep=1", None, Some(false))),
            (Tls, "tls://mail.example:993", tcp("mail.example", 993, "", None, Some(true))),
        ] {
            assert_eq!(super::parse(kind, text), Ok(parsed), "{text}");
        }
        let socket = |kind, text: &str| super::parse(kind, text).unwrap().address;
        let expected = Address { place: Place::Socket("/run/postgresql/.s.PGSQL.5432".into()), path: "orders".into() };
        assert_eq!(socket(Postgres, "postgres:///orders?host=/run/postgresql"), expected);
        assert_eq!(socket(Postgres, "postgres:///orders?host=/tmp/.s.PGSQL.5433").place, Place::Socket("/tmp/.s.PGSQL.5433".into()));
        let bucket = Address { place: Place::Bucket("backups".into()), path: "prod/a".into() };
        assert_eq!((socket(Store, "s3://backups/prod/a/"), bucket.is_local()), (bucket, false));
        assert_eq!(socket(Store, "file:///var/back%20ups"), Address { place: Place::Dir("/var/back ups".into()), path: String::new() });
        assert_eq!(socket(Files, "file:///etc/nginx/").place, Place::Dir("/etc/nginx/".into()));
        assert_eq!(socket(Redis, "unix:///run/redis.sock").place, Place::Socket("/run/redis.sock".into()));
        assert!(expected.is_local() && !tcp("10.0.0.1", 1, "", None, None).address.is_local());
        assert_eq!(tcp("::1", 5433, "", None, None).address.place_in_words(), "[::1]:5433");
    }

    #[test]
    fn what_is_wrong_is_said_and_a_password_is_not() {
        use ConnectionKind::{Files, Http, Postgres, Redis, Store, Tls};
        for (kind, text, part) in [
            (Postgres, "db.example", "is not a URL"),
            (Postgres, "mysql://a@db/x", "begins with `mysql`"),
            (Postgres, "postgres:///orders", "has no host"),
            (Postgres, "postgres://a@db/x?sslmode=require", "write  tls ="),
            (Postgres, "postgres://a@db/x?options=-c", "`?options`"),
            (Redis, "redis://cache/one", "the database `one`"),
            (Http, "https://h/#x", "#fragment"),
            (Tls, "tls://h", "has no port"),
            (Tls, "tls://h:443/x", "has a path"),
            (Files, "file://etc/nginx", "three slashes"),
            (Files, "file:///", "below the root"),
            (Files, "s3://backups", "begins with `s3`"),
            (Store, "s3:///prod", "names no bucket"),
        ] {
            let error = super::parse(kind, text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        for (kind, text) in [(Postgres, "postgres://app:hunter2@db/x"), (Redis, "redis://:hunter2@cache"), (Http, "https://:hunter2@h/")] {
            let error = super::parse(kind, text).unwrap_err();
            assert!(error.starts_with("holds a password") && !error.contains("hunter2"), "{error}");
        }
    }
}
