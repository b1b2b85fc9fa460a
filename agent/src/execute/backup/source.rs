//! From a connection to what is read from it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt;
use mainstay_backup::source::Source;
use mainstay_backup::source::files::Files;
use mainstay_backup::source::postgres::{self, Ask, Options, Postgres};
use mainstay_backup::source::redis::{Dial, Duplex, Login, Redis, Server};
use tokio_util::either::Either;
use zeroize::Zeroizing;

use super::super::{Context, dial};
use super::{mesh, objects};
use crate::connections::{Connection, ConnectionKind, Place, TlsMode};

/// For a server to take a connection.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// Where systems have the public authorities, for programs that are not told of others.
const AUTHORITIES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// What is read of a connection.
///
/// # Errors
/// In words, when it is not reached, or its settings do not fit.
pub(super) async fn of(connection: &Connection, ask: Ask, deadline: Duration, context: &Context) -> Result<Box<dyn Source>, String> {
    if connection.kind != ConnectionKind::Postgres && !ask.queries.is_empty() {
        return Err(format!("`queries` are asked of a connection of kind postgres, and this is {}", connection.kind));
    }
    match (connection.kind, &connection.address.place) {
        (ConnectionKind::Postgres, _) => {
            // By its own programs it would also go where this agent may not.
            drop(dial::socket(connection, context, CONNECT_WITHIN).await.map_err(|error| error.to_string())?);
            let options = Options { programs: connection.programs.clone(), ..ask.options(deadline) };
            Ok(Box::new(Postgres::new(postgres(connection, context)?, options)))
        }
        (ConnectionKind::Redis, place) => {
            let password =
                connection.secret.as_ref().map(|reference| context.secrets.read(reference)).transpose().map_err(|error| error.to_string())?;
            let login = Login { user: connection.user.clone(), password: password.map(|secret| Zeroizing::new(secret.reveal().to_owned())) };
            let name = match place {
                Place::Tcp { host, port } => format!("redis://{host}:{port}"),
                _ => connection.address.place_in_words(),
            };
            Ok(Box::new(Redis::new(&name, redis(connection.clone(), context.clone()), login, deadline)))
        }
        (ConnectionKind::Files, Place::Dir(dir)) => Ok(Box::new(Files::new(vec![dir.clone()]))),
        (ConnectionKind::Kubernetes, _) => objects::source(connection, deadline, context),
        (ConnectionKind::Mesh, _) => Ok(Box::new(mesh::Snapshot::of(context))),
        (kind, _) => Err(format!("what is of kind {kind} is not backed up")),
    }
}

/// How PostgreSQL's own programs reach it.
pub(super) fn postgres(connection: &Connection, context: &Context) -> Result<postgres::Connection, String> {
    let password = connection.secret.as_ref().map(|reference| context.secrets.read(reference)).transpose().map_err(|error| error.to_string())?;
    let (host, port) = match &connection.address.place {
        Place::Tcp { host, port } => (host.clone(), *port),
        Place::Socket(file) => socket(file)?,
        Place::Dir(_) | Place::Bucket(_) | Place::Cluster | Place::Mesh => return Err("its address is no server's".to_owned()),
    };
    let user = connection.user.clone().unwrap_or_default();
    let database = if connection.address.path.is_empty() { user.clone() } else { connection.address.path.clone() };
    let (tls, authorities) = match connection.tls.mode {
        TlsMode::Off => ("disable", None),
        TlsMode::Require => ("require", None),
        TlsMode::Verify => ("verify-full", Some(authorities(connection)?)),
    };
    let password = password.map(|secret| Zeroizing::new(secret.reveal().to_owned()));
    let client = connection.tls.client.clone();
    Ok(postgres::Connection { host, port, user, password, database, tls: tls.to_owned(), authorities, client })
}

fn authorities(connection: &Connection) -> Result<PathBuf, String> {
    let usual = || AUTHORITIES.iter().map(PathBuf::from).find(|path| path.is_file());
    let none = "whom to trust is not known to PostgreSQL's programs here: name its authorities,  ca = \"ca.pem\"";
    connection.tls.ca.clone().or_else(usual).ok_or_else(|| none.to_owned())
}

/// Directory and port, out of the file of a socket.
fn socket(file: &Path) -> Result<(String, u16), String> {
    let port = file.extension().and_then(|port| port.to_str()?.parse().ok());
    let dir = file.parent().and_then(Path::to_str);
    dir.map(str::to_owned).zip(port).ok_or_else(|| format!("{} is not the socket of a server: those are called .s.PGSQL.5432", file.display()))
}

/// Opens connections to a Redis, as every step here does, and to those that it names.
fn redis(connection: Connection, context: Context) -> Dial {
    Box::new(move |server| {
        let (mut connection, context) = (connection.clone(), context.clone());
        async move {
            let said = |error: dial::DialError| io::Error::other(error.to_string());
            let socket = match server {
                Server::Named => dial::socket(&connection, &context, CONNECT_WITHIN).await.map_err(said)?,
                Server::Other { host, port } => {
                    let socket = dial::socket_named_by(&connection, &host, port, &context, CONNECT_WITHIN).await.map_err(said)?;
                    // What its certificate is to say.
                    connection.address.place = Place::Tcp { host, port };
                    socket
                }
            };
            let stream = if connection.tls.mode == TlsMode::Off {
                Either::Left(socket)
            } else {
                Either::Right(dial::encrypted(socket, &connection, &context).await.map_err(said)?)
            };
            Ok(Box::new(stream) as Box<dyn Duplex>)
        }
        .boxed()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_socket_says_its_directory_and_port() {
        assert_eq!(socket(Path::new("/run/postgresql/.s.PGSQL.5433")), Ok(("/run/postgresql".to_owned(), 5433)));
        assert!(socket(Path::new("/run/postgresql/sock")).is_err());
    }
}
