//! One connection to a Redis server: opened, logged in, asked.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, Value};
use tokio_util::either::Either;
use tokio_util::task::AbortOnDropHandle;

use super::super::Context;
use super::super::dial::{self, DialError};
use crate::connections::{Connection, Secret, TlsMode};

/// A connection that looks and changes nothing.
pub(super) struct Session {
    connection: MultiplexedConnection,
    _driver: AbortOnDropHandle<()>,
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// Nobody was asked.
    #[error("{0}")]
    NotAsked(String),
    /// The server is there, and does not take the user or the password.
    #[error("{0}")]
    NotLetIn(String),
    /// The user may not ask this.
    #[error("not known: {0}")]
    Denied(String),
    /// The server does not answer, or not as it should.
    #[error("{0}")]
    Down(String),
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Failure {
        match error {
            DialError::NotAsked(_) => Failure::NotAsked(error.to_string()),
            DialError::Down(why) => Failure::Down(why),
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Failure {
        let detail = error.detail().unwrap_or_default();
        match error.code() {
            Some("NOPERM") => Failure::Denied(detail.to_owned()),
            Some(code @ ("WRONGPASS" | "NOAUTH")) => Failure::NotLetIn(format!("{detail} ({code})")),
            Some("LOADING") => Failure::Down("it is reading its data into memory, and answers nothing before it is done".to_owned()),
            Some(code) => Failure::Down(format!("{detail} ({code})")),
            None if error.is_connection_dropped() => Failure::Down("the server has closed the connection".to_owned()),
            None => Failure::Down(error.to_string()),
        }
    }
}

impl Session {
    /// Connects and logs in, within a time.
    pub async fn open(connection: &Connection, context: &Context, timeout: Duration) -> Result<Session, Failure> {
        let place = connection.address.place_in_words();
        let opened = tokio::time::timeout(timeout, Session::opened(connection, context, timeout)).await;
        opened.unwrap_or_else(|_| Err(Failure::Down(format!("no answer from {place} within {} s", timeout.as_secs_f64()))))
    }

    async fn opened(connection: &Connection, context: &Context, timeout: Duration) -> Result<Session, Failure> {
        let secret = connection.secret.as_ref().map(|reference| context.secrets.read(reference)).transpose();
        let secret = secret.map_err(|error| Failure::NotAsked(format!("not asked: {error}")))?;
        let socket = dial::socket(connection, context, timeout).await?;
        let stream = if connection.tls.mode == TlsMode::Off {
            Either::Left(socket)
        } else {
            Either::Right(dial::encrypted(socket, connection, context).await?)
        };
        // Whoever logs in says so here, in words of its own; the library is told of no password.
        let plain = RedisConnectionInfo::default().set_skip_set_lib_name();
        let (multiplexed, driver) = MultiplexedConnection::new_with_config(&plain, stream, AsyncConnectionConfig::default()).await?;
        let mut session = Session { connection: multiplexed, _driver: AbortOnDropHandle::new(tokio::spawn(driver)), timeout };
        session.log_in(connection, secret.as_ref()).await?;
        Ok(session)
    }

    async fn log_in(&mut self, connection: &Connection, secret: Option<&Secret>) -> Result<(), Failure> {
        let Some(secret) = secret else { return Ok(()) };
        let logged_in = match &connection.user {
            Some(user) => self.ask(&["AUTH", user, secret.reveal()]).await,
            None => self.ask(&["AUTH", secret.reveal()]).await,
        };
        match logged_in {
            Ok(_) => Ok(()),
            // An answer that is no refusal by its code: the server has no password, or cannot know users.
            Err(Failure::Down(why)) if why.contains("(ERR)") => Err(Failure::NotLetIn(why)),
            Err(failure) => Err(failure),
        }
    }

    /// Asks, and takes the answer as text.
    pub async fn ask(&mut self, words: &[&str]) -> Result<String, Failure> {
        match self.answer(words).await? {
            Value::SimpleString(text) => Ok(text),
            Value::Okay => Ok("OK".to_owned()),
            Value::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Value::VerbatimString { text, .. } => Ok(text),
            other => Err(Failure::Down(format!("the answer is {}, and should be text", describe(&other)))),
        }
    }

    /// Asks, and takes the answer as a list of texts.
    pub async fn ask_pairs(&mut self, words: &[&str]) -> Result<Vec<String>, Failure> {
        match self.answer(words).await? {
            Value::Array(items) => Ok(items
                .into_iter()
                .map(|item| match item {
                    Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                    Value::SimpleString(text) => text,
                    _ => String::new(),
                })
                .collect()),
            other => Err(Failure::Down(format!("the answer is {}, and should be a list", describe(&other)))),
        }
    }

    async fn answer(&mut self, words: &[&str]) -> Result<Value, Failure> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        match tokio::time::timeout(self.timeout, self.connection.send_packed_command(&command)).await {
            Ok(answer) => Ok(answer?.extract_error()?),
            Err(_) => Err(Failure::Down(format!("no answer within {} s", self.timeout.as_secs_f64()))),
        }
    }
}

/// What kind of answer it was; its content stays where it is.
fn describe(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::Array(_) => "a list",
        _ => "a value",
    }
}
