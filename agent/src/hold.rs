//! `lease.hold`: holds a lease for a while, as this agent; and what other steps do under a lease of their own.
//!
//! In: the lease's name and for how long. Out: the token of the grant. The lease's attributes say which
//! attempt holds it. When the lease is lost before its time, the step has failed: whoever counted on it must
//! not go on.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_client::Mesh;
use mainstay_client::lease::{Held, HoldError, HoldOptions};
use mainstay_core::id::LeaseName;
use mainstay_core::report::Report;
use mainstay_core::state::lease::{ATTEMPT, LeaseKind, LeaseSpec, NODE, SOURCE_NODE};
use mainstay_core::time::Millis;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::execute::{Labels, StepError};

/// The step kind.
pub const KIND: &str = "lease.hold";
/// When a lease ends whose holder falls silent, unless the step says otherwise.
const TTL: Millis = Millis::from_secs(30);
/// For giving it back when the step is called off; past that, its TTL ends it.
const RELEASE: Duration = Duration::from_secs(3);

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    name: LeaseName,
    #[serde(deserialize_with = "span")]
    r#for: Millis,
    #[serde(default, deserialize_with = "some_span")]
    wait: Option<Millis>,
    slots: Option<u32>,
    #[serde(default, deserialize_with = "some_span")]
    ttl: Option<Millis>,
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn some_span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Millis>, D::Error> {
    span(deserializer).map(Some)
}

impl Params {
    fn read(with: &Map<String, Value>) -> Result<Params, StepError> {
        Params::deserialize(Value::Object(with.clone()))
            .map_err(|error| StepError::refused(format!("parameters of {KIND}: {error}; see `mainstay steps {KIND}`")))
    }

    /// A step that says nothing of the lease's shape takes it as it was defined.
    fn spec(&self) -> Option<LeaseSpec> {
        (self.slots.is_some() || self.ttl.is_some()).then(|| LeaseSpec {
            slots: self.slots.unwrap_or(1),
            ttl: self.ttl.unwrap_or(TTL),
            kind: LeaseKind::Ttl,
        })
    }
}

/// Holds a lease. `timeout` bounds the wait for it where the step sets no bound of its own.
///
/// # Errors
/// Refused parameters, a lease that was not had or was lost, or called off.
pub async fn execute(
    with: &Map<String, Value>,
    timeout: Millis,
    labels: &Labels,
    mesh: &Mesh,
    cancel: &CancellationToken,
) -> Result<Report, StepError> {
    let params = Params::read(with)?;
    let options =
        HoldOptions { spec: params.spec(), wait: params.wait.unwrap_or(timeout).as_duration(), attributes: attributes(labels), takes_over: false };
    let held = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(StepError::cancelled(format!("{KIND} was called off before it had {}", params.name))),
        held = mesh.hold_lease(params.name.as_str(), options) => held.map_err(|error| not_had(&params.name, &error))?,
    };
    let token = held.token().to_owned();
    tokio::select! {
        biased;
        () = cancel.cancelled() => {
            give_back(held).await;
            Err(StepError::cancelled(format!("{KIND} was called off; {} is given back", params.name)))
        }
        () = held.lost() => Err(StepError::failed(format!("lease {} was lost before {} had passed: its holder was not heard of for its TTL, or an operator freed it", params.name, params.r#for))),
        () = tokio::time::sleep(params.r#for.as_duration()) => {
            give_back(held).await;
            Ok(Report { outputs: [("token".to_owned(), Value::from(token))].into(), ..Report::default() })
        }
    }
}

/// Does something under a lease, with the token of the grant. When the lease is lost on the way, what is done is called
/// off: its token counts no more. `timeout` bounds the wait for the lease.
///
/// # Errors
/// What it was done under was not had or was lost, or it failed itself.
pub async fn under<W: Future<Output = Result<Report, StepError>>>(
    name: &LeaseName,
    timeout: Millis,
    labels: &Labels,
    mesh: &Mesh,
    cancel: &CancellationToken,
    work: impl FnOnce(String, CancellationToken) -> W,
) -> Result<Report, StepError> {
    let options = HoldOptions { spec: None, wait: timeout.as_duration(), attributes: attributes(labels), takes_over: false };
    let held = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(StepError::cancelled(format!("it was called off before it had the lease {name}"))),
        held = mesh.hold_lease(name.as_str(), options) => held.map_err(|error| not_had(name, &error))?,
    };
    let stop = cancel.child_token();
    let working = work(held.token().to_owned(), stop.clone());
    tokio::pin!(working);
    let ended = tokio::select! {
        biased;
        ended = &mut working => ended,
        () = held.lost() => {
            stop.cancel();
            working.await.map_err(|error| StepError {
                message: format!("lease {name} was lost before it was done: this agent was not heard of for its TTL, or an operator freed it; {}", error.message),
                ..StepError::failed("")
            })
        }
    };
    give_back(held).await;
    ended
}

fn attributes(labels: &Labels) -> BTreeMap<String, String> {
    let known = [(ATTEMPT, &labels.attempt), ("run", &labels.run), ("step", &labels.step)].map(|(key, value)| (key.to_owned(), value.clone()));
    // Who takes the node out of use looks for what goes on there.
    let nodes = [(NODE, &labels.machine), (SOURCE_NODE, &labels.source_node)];
    known.into_iter().chain(nodes.into_iter().filter_map(|(key, node)| Some((key.to_owned(), node.as_ref()?.to_string())))).collect()
}

fn not_had(name: &LeaseName, error: &HoldError) -> StepError {
    match error {
        HoldError::Held { .. } => StepError::failed(error.to_string()),
        HoldError::Call(error) => StepError::failed(format!("lease {name} was not had: {error}")),
    }
}

async fn give_back(held: Held) {
    let name = held.name().to_owned();
    let released = tokio::time::timeout(RELEASE, held.release()).await;
    if !matches!(released, Ok(Ok(()))) {
        tracing::info!(name, "the lease could not be given back now; it ends after its TTL");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn params(value: &Value) -> Result<Params, String> {
        Params::read(value.as_object().unwrap()).map_err(|error| error.message)
    }

    #[test]
    fn parameters_are_read_as_the_catalogue_declares_them() {
        let read = params(&json!({"name": "deploy/shop", "for": "30s", "wait": "1m", "slots": 2, "ttl": "10s"})).unwrap();
        assert_eq!(
            (read.r#for, read.wait, read.spec()),
            (Millis(30_000), Some(Millis(60_000)), Some(LeaseSpec { slots: 2, ttl: Millis(10_000), kind: LeaseKind::Ttl }))
        );
        let plain = params(&json!({"name": "demo", "for": "5s"})).unwrap();
        assert_eq!((plain.wait, plain.spec()), (None, None));
    }

    #[test]
    fn a_holder_says_on_which_node_it_is_and_which_it_reads_from() {
        let labels =
            Labels { attempt: "1.2".into(), machine: Some("n1".parse().unwrap()), source_node: Some("n2".parse().unwrap()), ..Labels::default() };
        let said = attributes(&labels);
        let of = |name: &str| said.get(name).map(String::as_str);
        assert_eq!((of(ATTEMPT), of(NODE), of(SOURCE_NODE)), (Some("1.2"), Some("n1"), Some("n2")));
        assert_eq!(attributes(&Labels::default()).get(SOURCE_NODE), None);
    }

    #[test]
    fn wrong_parameters_are_refused_by_name() {
        for (value, part) in [
            (json!({"for": "5s"}), "missing field `name`"),
            (json!({"name": "a b", "for": "5s"}), "`a b` is not a lease name"),
            (json!({"name": "a", "for": "soon"}), "`soon` is not a duration"),
            (json!({"name": "a", "for": "5s", "slot": 1}), "unknown field `slot`"),
        ] {
            let error = params(&value).unwrap_err();
            assert!(error.starts_with("parameters of lease.hold: ") && error.contains(part), "{error}");
        }
    }
}
