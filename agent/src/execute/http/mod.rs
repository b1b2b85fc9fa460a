//! `http.check`: HTTP endpoints by status, latency, body, headers, redirects and certificate, many at once.
//!
//! In: endpoints, and what is expected of all of them or of each. Out: one check for each endpoint with the
//! time until its answer was complete, or why there was none; and for each server with TLS the days that its
//! certificate has left. Where requests may go is [`super::outgoing`]'s, at every redirect too; no proxy of
//! the environment is used, since it would resolve names by itself.
//!
//! ```text
//! with ─▶ endpoint + rules ─▶ ask (body is judged while it comes) ─▶ Answer or error ─▶ judge ─▶ checks
//! ```

mod ask;
mod body;
mod endpoint;
mod judge;
pub(super) mod probe;
mod rules;
mod way;

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use mainstay_core::report::{Check, Report, Verdict};
use serde_json::{Map, Value};

use self::ask::Clients;
use self::endpoint::Endpoint;
use self::judge::Seen;
pub(super) use self::judge::explain;
use super::{Context, StepError};
use crate::connections::Connection;

const KIND: &str = "http.check";
/// Endpoints asked at once: so many hanging ones as a step may have still end within its timeout.
const AT_ONCE: usize = 20;

pub(super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let asked = endpoint::read(with, context)?;
    let clients = match (Clients::new(&asked, context), asked.connection) {
        (Ok(clients), _) => clients,
        (Err(why), None) => return Err(StepError::failed(format!("{KIND}: {why}"))),
        (Err(why), Some(connection)) => {
            return Ok(report(asked.endpoints.iter().map(|endpoint| judge::not_made(endpoint, &why, connection)).collect()));
        }
    };
    let connection = asked.connection;
    let each = asked.endpoints.into_iter().map(|endpoint| look(endpoint, connection, &clients, context));
    let all: Vec<Seen> = stream::iter(each).buffered(AT_ONCE).collect().await;
    Ok(report(all))
}

fn report(all: Vec<Seen>) -> Report {
    let failed = all.iter().filter(|seen| seen.check.verdict != Verdict::Ok).count();
    // Endpoints of one server show one certificate.
    let mut servers = BTreeSet::new();
    let checks: Vec<Check> = all
        .into_iter()
        .flat_map(|seen| {
            let certificate = seen.certificate.filter(|check| servers.insert(check.subject.clone()));
            std::iter::once(seen.check).chain(certificate)
        })
        .collect();
    Report { checks, outputs: [("failed".to_owned(), Value::from(failed))].into(), ..Report::default() }
}

async fn look(endpoint: Endpoint, connection: Option<&Connection>, clients: &Clients, context: &Context) -> Seen {
    let answer = clients.ask(&endpoint, context).await;
    judge::checks(&endpoint, connection, answer, context)
}

/// Refuses the step, naming the kind.
fn refused(what: impl std::fmt::Display) -> StepError {
    StepError::refused(format!("{KIND}: {what}; see `mainstay steps {KIND}`"))
}

#[cfg(test)]
mod tests;
