//! `kube.cordon` and `kube.uncordon`: no new pods for a node, and back.
//!
//! What the node was is written on it with the same change, so that any replica of the cluster's agents can give it
//! back, and knows whether there is anything to give back.

use std::time::Duration;

use mainstay_core::Millis;
use mainstay_core::report::Report;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::super::params::{self, Span};
use super::super::super::{Context, StepError};
use super::booking::Used;
use super::mark::{self, Cordoned, Next};
use super::stage::Stage;
use super::{Place, booking, others, say};
use crate::kube::Selected;

const KIND: &str = "kube.cordon";
const UNCORDON: &str = "kube.uncordon";
/// How often it is looked whether what is in the way has gone.
const EVERY: Duration = Duration::from_secs(2);
/// For what is told of it on the node, and for giving back what was cordoned in part.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// How often a node is read again that somebody else changes all the time.
const TRIES: usize = 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    #[serde(default = "ten_minutes")]
    within: Span,
    service_account: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UncordonParams {
    service_account: Option<String>,
}

fn ten_minutes() -> Span {
    Span(Millis::from_secs(600))
}

/// Cordons a node, or takes that back.
///
/// # Errors
/// Refused parameters or rights; a node that another run has; what does not get out of the way in time.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let account = params.service_account.as_deref();
    if context.labels.undoes {
        return give_back(&Place::of(KIND, account, &[], context).await?, context).await;
    }
    let used = booking::used(KIND, account, context).await?;
    let is_booked = matches!(used, Used::Yes);
    let place = Place::of(KIND, account, if is_booked { &booking::RIGHTS } else { &[] }, context).await?;
    let mut last = "it was not looked at".to_owned();
    let cordoning = async {
        loop {
            let in_the_way = {
                let _one = place.own.one_node.lock().await;
                let node = place.get().await?;
                match mark::cordon(KIND, &node, &place.run, &place.work)? {
                    Next::Done(words) => return Ok((node, words)),
                    Next::Refuse(why) => return Err(place.left(&why)),
                    Next::Change(fields) => match in_the_way(&place, context, &node, is_booked).await? {
                        None => {
                            place.change(&fields).await?;
                            continue;
                        }
                        in_the_way => in_the_way,
                    },
                }
            };
            let why = in_the_way.unwrap_or_default();
            if why != last {
                say(context, &format!("it waits: {why}"));
            }
            last = why;
            tokio::time::sleep(EVERY).await;
        }
    };
    let ended = tokio::time::timeout(params.within.0.as_duration(), cordoning).await;
    let (node, words) = match ended.unwrap_or_else(|_| Err(place.left(&format!("not within {}: {last}", params.within.0)))) {
        Ok(done) => done,
        Err(error) => {
            // It may have been cordoned before it failed. Where it cannot be given back now, `cordon` says by whom it is.
            if let Ok(Err(left)) = tokio::time::timeout(TOLD_WITHIN, give_back(&place, context)).await {
                tracing::warn!(node = place.node, error = left.message, "what was cordoned in part is not given back");
            }
            return Err(error);
        }
    };
    // Nothing waits for what is only told.
    let told = async {
        place.keep_booked(context, &node).await;
        place.stands(context, &node, Stage::Cordoned).await;
        place.tell(context, &node, "NodeCordoned", words).await;
    };
    if tokio::time::timeout(TOLD_WITHIN, told).await.is_err() {
        tracing::warn!(node = place.node, "the node was cordoned, and it could not be told in time");
    }
    let was_cordoned = Cordoned::of(&node).is_some_and(|cordoned| cordoned.was_cordoned);
    let message = if was_cordoned { format!("{words}; somebody else had cordoned it, and it will stay so") } else { words.to_owned() };
    let mut report = place.done(message);
    report.checks.extend(booking::not_heeded(&used, &place.node));
    Ok(Report { outputs: [("wasCordoned".to_owned(), Value::Bool(was_cordoned))].into(), ..report })
}

/// What keeps a node from being cordoned now. Where nothing does, the node's Lease is this run's from here on.
async fn in_the_way(place: &Place<'_>, context: &Context, node: &Value, is_booked: bool) -> Result<Option<String>, StepError> {
    let failed = |error| place.failed(&error);
    let daemons: Vec<Value> = place.own.list("/apis/apps/v1/daemonsets", Selected::default()).await.map_err(failed)?;
    if let Some(why) = others::kured(&daemons) {
        return Ok(Some(why));
    }
    if others::is_of_control_plane(node) {
        let all: Vec<Value> = place.own.list("/api/v1/nodes", Selected::default()).await.map_err(failed)?;
        if let Some(why) = others::control_plane(node, &all) {
            return Ok(Some(why));
        }
    }
    if is_booked { place.book(context, node).await } else { Ok(None) }
}

/// Gives a node back that the run has cordoned.
///
/// # Errors
/// Refused parameters or rights; a node that changes all the time.
pub async fn uncordon(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: UncordonParams = params::read(UNCORDON, with)?;
    let place = Place::of(UNCORDON, params.service_account.as_deref(), &[], context).await?;
    give_back(&place, context).await
}

async fn give_back(place: &Place<'_>, context: &Context) -> Result<Report, StepError> {
    for _ in 0..TRIES {
        let Some(node) = place.find().await? else {
            place.unbook().await?;
            return Ok(place.done("the cluster has no node of this name any more"));
        };
        match mark::uncordon(place.kind, &node, &place.run, &place.work)? {
            Next::Done(words) => {
                place.unbook().await?;
                if place.work.has_changed(&node) {
                    place.stands(context, &node, Stage::Back).await;
                    place.tell(context, &node, "NodeUncordoned", words).await;
                }
                return Ok(place.done(words));
            }
            Next::Refuse(why) => return Err(place.left(&why)),
            Next::Change(fields) => place.change(&fields).await?,
        }
    }
    Err(place.left(&format!("it was changed by somebody else each of {TRIES} times between reading and changing it")))
}
