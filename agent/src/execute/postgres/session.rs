//! One session: opened, limited, asked.

use std::time::Duration;

use mainstay_core::report::{Check, Verdict};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::super::dial::{self, DialError, Socket};
use super::super::{Context, outgoing, trust};
use crate::connections::{Connection, TlsMode};

/// For the server's own timeout to come first, whose words are better.
const GRACE: Duration = Duration::from_secs(2);
/// PostgreSQL cuts longer names.
const APPLICATION_NAME_MAX: usize = 63;

/// A session that looks and changes nothing.
pub(super) struct Session {
    client: Client,
    driver: AbortOnDropHandle<()>,
    timeout: Duration,
    pub user: String,
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OpenError {
    /// Nobody was asked.
    NotAsked(String),
    /// The server is there and does not let us in.
    Refused { why: String, hint: Option<String> },
    /// The server does not answer.
    Down(String),
}

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(super) struct QueryError {
    why: String,
    /// A right is missing.
    is_denied: bool,
}

impl From<DialError> for OpenError {
    fn from(error: DialError) -> OpenError {
        match error {
            DialError::NotAsked(_) => OpenError::NotAsked(error.to_string()),
            DialError::Down(why) => OpenError::Down(why),
        }
    }
}

impl QueryError {
    /// Rows that are there and say nothing, for want of a right.
    pub fn denied(why: &str) -> QueryError {
        QueryError { why: why.to_owned(), is_denied: true }
    }

    /// The check that could not be made.
    pub fn check(&self, id: &str, user: &str) -> Check {
        let check = Check::stated(id, "", Verdict::Unknown, format!("not known: {}", self.why));
        if self.is_denied { check.with_hint(format!("as a superuser:  GRANT pg_monitor TO \"{}\";", user.replace('"', "\"\""))) } else { check }
    }
}

impl Session {
    /// Opens a session as the connection says, within a time.
    pub async fn open(connection: &Connection, context: &Context, timeout: Duration) -> Result<Session, OpenError> {
        let opened = tokio::time::timeout(timeout, Session::opened(connection, context, timeout)).await;
        opened.unwrap_or_else(|_| {
            Err(OpenError::Down(format!("no answer from {} within {} s", connection.address.place_in_words(), timeout.as_secs_f64())))
        })
    }

    async fn opened(connection: &Connection, context: &Context, timeout: Duration) -> Result<Session, OpenError> {
        let user = connection.user.clone().unwrap_or_default();
        let mut config = Config::new();
        let name: String = format!("mainstay {}", context.labels.attempt).chars().take(APPLICATION_NAME_MAX).collect();
        config.user(&user).application_name(name);
        if !connection.address.path.is_empty() {
            config.dbname(&connection.address.path);
        }
        if let Some(reference) = &connection.secret {
            let secret = context.secrets.read(reference).map_err(|error| OpenError::NotAsked(format!("not asked: {error}")))?;
            config.password(secret.reveal());
        }
        let stream = dial::socket(connection, context, timeout).await?;
        let explained = |error: tokio_postgres::Error| explain(&error, connection, context);
        let (client, driver) = if connection.tls.mode == TlsMode::Off {
            config.ssl_mode(SslMode::Disable);
            let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(explained)?;
            (client, tokio::spawn(async move { ended(connection.await) }))
        } else {
            config.ssl_mode(SslMode::Require);
            let mut maker = MakeRustlsConnect::new(dial::tls_config(connection, context)?);
            let name = dial::server_name(connection);
            let Ok(tls) = MakeTlsConnect::<Socket>::make_tls_connect(&mut maker, &name);
            let (client, connection) = config.connect_raw(stream, tls).await.map_err(explained)?;
            (client, tokio::spawn(async move { ended(connection.await) }))
        };
        let session = Session { client, driver: AbortOnDropHandle::new(driver), timeout, user };
        session.limit().await.map_err(|error| OpenError::Refused { why: format!("logged in, and then: {error}"), hint: None })?;
        Ok(session)
    }

    /// Nothing is written, nothing is waited for, and names mean what the server's own catalogue means by them,
    /// whatever somebody may have put into the path that they are looked up in.
    async fn limit(&self) -> Result<(), QueryError> {
        let ms = self.timeout.as_millis();
        let settings =
            format!("SET search_path = pg_catalog; SET statement_timeout = {ms}; SET lock_timeout = {ms}; SET default_transaction_read_only = on");
        self.within(self.client.batch_execute(&settings)).await
    }

    pub async fn query(&self, sql: &str) -> Result<Vec<Row>, QueryError> {
        self.within(self.client.query(sql, &[])).await
    }

    /// Says good-bye, so that the server does not log a connection that broke.
    pub async fn close(self) {
        drop(self.client);
        // What does not end by then is cut off.
        let _ = tokio::time::timeout(GRACE, self.driver).await;
    }

    async fn within<T>(&self, asked: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, QueryError> {
        match tokio::time::timeout(self.timeout + GRACE, asked).await {
            Ok(answered) => {
                answered.map_err(|error| QueryError { is_denied: error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE), why: words(&error) })
            }
            Err(_) => Err(QueryError { why: format!("no answer within {} s", self.timeout.as_secs_f64()), is_denied: false }),
        }
    }
}

/// The server's or the socket's words.
fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) if *error.code() == SqlState::QUERY_CANCELED => format!("{}: the server gave up on the query", error.message()),
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => match trust::find::<std::io::Error>(error) {
            Some(io) => outgoing::plain_cause(io),
            None if error.is_closed() => "the server has closed the connection".to_owned(),
            None => trust::root_cause(error),
        },
    }
}

fn explain(error: &tokio_postgres::Error, connection: &Connection, context: &Context) -> OpenError {
    if let Some(answer) = error.as_db_error() {
        let hint = (*answer.code() == SqlState::INVALID_PASSWORD || *answer.code() == SqlState::INVALID_AUTHORIZATION_SPECIFICATION).then(|| {
            let with = connection.secret.as_ref().map_or_else(|| "no password".to_owned(), |secret| format!("the password of its {secret}"));
            format!("does {with} hold? see {}", connection.declared_at)
        });
        return OpenError::Refused { why: format!("{} ({})", answer.message(), answer.code().code()), hint };
    }
    let root = trust::root_cause(error);
    match root.as_str() {
        "password missing" => OpenError::NotAsked(format!(
            "not asked: the server wants a password, and the connection has none: add at {}  password = {{ file = \"…\" }}",
            connection.declared_at
        )),
        "server does not support TLS" => OpenError::Refused {
            why: "the server does not speak TLS".to_owned(),
            hint: Some(format!("switch it on there (ssl = on), or allow plain text at {}:  tls = \"off\"", connection.declared_at)),
        },
        _ if trust::find::<rustls::Error>(error).is_some() => {
            OpenError::Refused { why: format!("TLS: {}", dial::explain(error, context)), hint: None }
        }
        _ => OpenError::Down(words(error)),
    }
}

/// Whoever asks on a session that ended gets the error; here it is only for the log.
fn ended(outcome: Result<(), tokio_postgres::Error>) {
    if let Err(error) = outcome {
        tracing::debug!(error = words(&error), "a session with PostgreSQL ended early");
    }
}
