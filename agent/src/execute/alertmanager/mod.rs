//! `alertmanager.silence` and `alertmanager.expire`: nobody is woken by what a run does on purpose.
//!
//! A silence names in its comment the mesh, the run and the step that made it. By that a second attempt finds what the
//! first has made, and whoever ends the silences of a run finds all of them, in whichever way they were made. Each has an
//! end of its own besides, for the case that nobody comes to end it.

mod silence;

use std::time::Duration;

use jiff::Timestamp;
use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Verdict};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::silence::{CREATED_BY, Mark, Silence, matchers};
use super::api::Api;
use super::kube::work::Work;
use super::params::{self, Span};
use super::{Context, StepError};
use crate::connections::{Connection, ConnectionKind};

const SILENCE: &str = "alertmanager.silence";
const EXPIRE: &str = "alertmanager.expire";
/// A silence is for a time, and what lasts longer is a change of the rules.
const LONGEST: Millis = Millis::from_secs(7 * 24 * 3_600);
/// For one request.
const WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SilenceParams {
    connection: Option<String>,
    matchers: Vec<String>,
    #[serde(default = "one_hour")]
    r#for: Span,
    #[serde(default)]
    comment: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExpireParams {
    connection: Option<String>,
}

fn one_hour() -> Span {
    Span(Millis::from_secs(3_600))
}

/// Silences what the matchers fit, or takes that back.
///
/// # Errors
/// Refused parameters; an Alertmanager that does not answer, or does not take it.
pub(super) async fn silence(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: SilenceParams = params::read(SILENCE, with)?;
    let matchers = matchers(&params.matchers).map_err(|why| StepError::refused(format!("{SILENCE}: {why}")))?;
    let (lasts, longest) = (params.r#for.0, LONGEST);
    if lasts.0 == 0 || lasts > longest {
        return Err(StepError::refused(format!("{SILENCE}: `for` is {lasts}, and a silence lasts from a moment to {longest}")));
    }
    let there = There::of(SILENCE, params.connection.as_deref(), context)?;
    let work = Work::of(SILENCE, context)?;
    let step = work.taken_back.as_ref().unwrap_or(&work.name);
    let mark = Mark { mesh: &context.labels.mesh, work: step };
    let own: Vec<Silence> = there.silences().await?.into_iter().filter(|silence| silence.is_open() && silence.is_of_step(&mark)).collect();
    if context.labels.undoes {
        return there.end(own, "there is nothing to take back").await;
    }
    if let Some(made) = own.first() {
        return Ok(there.made(&made.id, &made.ends_at, "it is silenced"));
    }
    let now = context.host.wall();
    let time = |at: i64| Timestamp::from_millisecond(at).map(|at| at.to_string()).map_err(|error| there.failed(&error));
    let ends_at = time(now.0.saturating_add_unsigned(lasts.0))?;
    let body = json!({
        "matchers": matchers,
        "startsAt": time(now.0)?,
        "endsAt": ends_at,
        "createdBy": CREATED_BY,
        "comment": mark.comment(&params.comment),
    });
    let answer = there.ask(Method::POST, "api/v2/silences", &[], Some(&body)).await?;
    let made: Made = serde_json::from_slice(&answer).map_err(|error| there.failed(&format!("its answer cannot be read: {error}")))?;
    Ok(there.made(&made.silence_id, &ends_at, "it is silenced"))
}

/// Ends the silences of this run.
///
/// # Errors
/// As [`silence`].
pub(super) async fn expire(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: ExpireParams = params::read(EXPIRE, with)?;
    let there = There::of(EXPIRE, params.connection.as_deref(), context)?;
    let work = Work::of(EXPIRE, context)?;
    let run = work.name.rsplit_once('/').map_or(work.name.as_str(), |(run, _)| run);
    let mark = Mark { mesh: &context.labels.mesh, work: run };
    let own = there.silences().await?.into_iter().filter(|silence| silence.is_open() && silence.is_of_run(&mark)).collect();
    there.end(own, "no silence of this run is left").await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    #[serde(rename = "silenceID")]
    silence_id: String,
}

/// One Alertmanager.
struct There<'a> {
    kind: &'static str,
    api: Api<'a>,
    connection: &'a Connection,
}

impl<'a> There<'a> {
    fn of(kind: &'static str, named: Option<&str>, context: &'a Context) -> Result<There<'a>, StepError> {
        let connection = context.connection(kind, &[ConnectionKind::Alertmanager], named)?;
        let api = Api::of(connection, context).map_err(|why| StepError::failed(format!("{kind}: {}: {why}", connection.name)))?;
        Ok(There { kind, api, connection })
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> StepError {
        StepError::failed(format!("{}: {} at {}: {why}", self.kind, self.connection.name, self.api.base()))
    }

    async fn ask(&self, method: Method, path: &str, pairs: &[(&str, String)], body: Option<&Value>) -> Result<Vec<u8>, StepError> {
        let (status, answer) = self.api.ask(method, path, pairs, body, WITHIN).await.map_err(|error| self.failed(&error))?;
        if status == StatusCode::OK {
            return Ok(answer);
        }
        // It says what is wrong as a JSON text.
        let said = serde_json::from_slice::<Value>(&answer).ok();
        let said = said.and_then(|said| said.as_str().or_else(|| said["message"].as_str()).map(str::to_owned)).unwrap_or_default();
        let hint = if said.is_empty() { "no API of Alertmanager" } else { &said };
        Err(self.failed(&format!("HTTP {}: {hint}", status.as_u16())))
    }

    async fn silences(&self) -> Result<Vec<Silence>, StepError> {
        let answer = self.ask(Method::GET, "api/v2/silences", &[], None).await?;
        serde_json::from_slice(&answer).map_err(|error| self.failed(&format!("its silences cannot be read: {error}")))
    }

    async fn end(&self, own: Vec<Silence>, none: &str) -> Result<Report, StepError> {
        let mut checks = Vec::new();
        for silence in &own {
            self.ask(Method::DELETE, &format!("api/v2/silence/{}", silence.id), &[], None).await?;
            checks.push(Check::stated(self.kind, &silence.id, Verdict::Ok, "it is ended"));
        }
        if checks.is_empty() {
            checks.push(Check::stated(self.kind, self.connection.name.as_str(), Verdict::Ok, none));
        }
        let outputs = [("ended".to_owned(), Value::from(own.len()))].into();
        Ok(Report { checks, outputs, ..Report::default() })
    }

    fn made(&self, id: &str, ends_at: &str, message: &str) -> Report {
        let check = Check::stated(self.kind, id, Verdict::Ok, format!("{message} until {ends_at} at the latest"));
        let outputs = [("id".to_owned(), Value::from(id)), ("endsAt".to_owned(), Value::from(ends_at))].into();
        Report { checks: vec![check], outputs, ..Report::default() }
    }
}
