//! One request to the API server, and the same again where it is overloaded or does not answer.
//!
//! In: a method, a path, a body; whom it is made as. Out: the answer. A request may arrive twice, so that a change has
//! to be one that does no harm then: a name that nobody else gives, an object's version, its UID.

use std::time::Duration;

use http::{Method, Request};
use kube::core::Status;
use mainstay_client::random::Backoff;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Cluster, ClusterError};

/// For how long a request is made again, without the time that each try takes: a control plane that is started again is
/// back within a minute. What asks has a deadline of its own.
const PAUSED_MAX: Duration = Duration::from_secs(75);
/// Between them.
const PAUSES: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(8));
/// Longest pause that an API server asks for which is kept.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Field manager of everything that is changed.
const MANAGER: &str = "mainstay";

/// What makes a question of a change.
const DRY: &str = "&dryRun=All";

/// How an object is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patch {
    /// Fields that are given replace what is there; null takes one away.
    Merge,
    /// The same, and it is only asked what would come of it.
    Try,
    /// The same, and of a list whose items have a key each item by itself.
    Strategic,
    /// Server-side apply: these fields are Mainstay's from now on; with `force` also those that are somebody else's. When
    /// it is `dry`, it is only asked whether it could be done.
    Apply { force: bool, dry: bool },
}

/// What became of asking for a pod to be evicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eviction {
    /// It is about to end.
    Accepted,
    /// There is no pod of that UID any more.
    Gone,
    /// Not now, in the API server's words: a disruption budget, in most cases.
    Held(String),
}

impl Cluster {
    /// One object.
    ///
    /// # Errors
    /// When the API server refuses or does not answer, or there is none.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClusterError> {
        self.read(path).await.map_err(|error| self.told(path, error))
    }

    /// The same, and nothing where there is none.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, ClusterError> {
        match self.get(path).await {
            Err(ClusterError::Missing { .. }) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Makes an object below `path`. A conflict says that it is there already: of this request's first try, perhaps.
    ///
    /// # Errors
    /// As [`Cluster::get`].
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, ClusterError> {
        self.send(Method::POST, &format!("{path}?fieldManager={MANAGER}"), "application/json", object).await
    }

    /// Asks what would become of making an object, and makes none.
    ///
    /// # Errors
    /// As [`Cluster::get`].
    pub async fn try_create(&self, path: &str, object: &Value) -> Result<Value, ClusterError> {
        self.send(Method::POST, &format!("{path}?fieldManager={MANAGER}{DRY}"), "application/json", object).await
    }

    /// Changes an object. With `metadata.resourceVersion` in it, a conflict says that it is not what it was.
    ///
    /// # Errors
    /// As [`Cluster::get`].
    pub async fn patch(&self, path: &str, how: Patch, fields: &Value) -> Result<Value, ClusterError> {
        let (content, query) = match how {
            Patch::Merge => ("application/merge-patch+json", String::new()),
            Patch::Try => ("application/merge-patch+json", DRY.to_owned()),
            Patch::Strategic => ("application/strategic-merge-patch+json", String::new()),
            Patch::Apply { force, dry } => ("application/apply-patch+yaml", format!("&force={force}{}", if dry { DRY } else { "" })),
        };
        self.send(Method::PATCH, &format!("{path}?fieldManager={MANAGER}{query}"), content, fields).await
    }

    /// Deletes an object that is still the one of that UID, what belongs to it afterwards.
    ///
    /// # Errors
    /// As [`Cluster::get`].
    pub async fn delete(&self, path: &str, uid: &str, version: Option<&str>) -> Result<Value, ClusterError> {
        let mut preconditions = serde_json::json!({ "uid": uid });
        if let Some(version) = version {
            preconditions["resourceVersion"] = Value::from(version);
        }
        let options = serde_json::json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", "preconditions": preconditions,
        });
        self.send(Method::DELETE, path, "application/json", &options).await
    }

    /// Asks once for a pod to be evicted that is still the one of that UID. What holds it is for whoever asks to wait for.
    ///
    /// # Errors
    /// As [`Cluster::get`].
    pub async fn evict(&self, namespace: &str, name: &str, uid: &str, grace: Option<u64>) -> Result<Eviction, ClusterError> {
        let path = format!("/api/v1/namespaces/{}/pods/{}/eviction", super::escaped(namespace), super::escaped(name));
        let failed = |message: String| ClusterError::Failed { path: path.clone(), message };
        if self.review.is_some() {
            return Err(failed(super::review::NOTHING_IS_DONE.to_owned()));
        }
        let mut options = serde_json::json!({ "preconditions": { "uid": uid } });
        if let Some(grace) = grace {
            options["gracePeriodSeconds"] = Value::from(grace);
        }
        let eviction = serde_json::json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "namespace": namespace, "name": name }, "deleteOptions": options,
        });
        let body = serde_json::to_vec(&eviction).map_err(|error| failed(error.to_string()))?;
        let request = self.request(Method::POST, &path, Some(("application/json", body))).map_err(|error| self.told(&path, error))?;
        // Tried again here, a budget that holds would be asked faster than whoever waits for it means to.
        match tokio::time::timeout(super::PATIENCE, self.watching.request::<Value>(request)).await {
            Err(_) => Err(failed(format!("the API server has not answered within {} s", super::PATIENCE.as_secs()))),
            Ok(Ok(_)) => Ok(Eviction::Accepted),
            Ok(Err(kube::Error::Api(status))) => match held(&status) {
                Some(words) => Ok(Eviction::Held(words)),
                None if matches!(status.code, 404 | 409) => Ok(Eviction::Gone),
                None => Err(self.told(&path, kube::Error::Api(status))),
            },
            Ok(Err(error)) => Err(self.told(&path, error)),
        }
    }

    /// Text as it is there, such as a log.
    ///
    /// # Errors
    /// As [`Cluster::get`].
    pub async fn text(&self, path: &str) -> Result<String, ClusterError> {
        let asked = || async { self.client.request_text(self.request(Method::GET, path, None)?).await };
        again(asked).await.map_err(|error| self.told(path, error))
    }

    async fn send(&self, method: Method, path: &str, content: &str, body: &impl Serialize) -> Result<Value, ClusterError> {
        if self.review.is_some() && !path.starts_with(super::review::ASKED) && !path.ends_with(DRY) {
            return Err(ClusterError::Failed { path: path.to_owned(), message: super::review::NOTHING_IS_DONE.to_owned() });
        }
        let body = serde_json::to_vec(body).map_err(|error| ClusterError::Failed { path: path.to_owned(), message: error.to_string() })?;
        let asked = || async { self.client.request(self.request(method.clone(), path, Some((content, body.clone())))?).await };
        again(asked).await.map_err(|error| self.told(path, error))
    }

    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, kube::Error> {
        again(|| async { self.client.request(self.request(Method::GET, path, None)?).await }).await
    }

    pub(super) fn request(&self, method: Method, path: &str, body: Option<(&str, Vec<u8>)>) -> Result<Request<Vec<u8>>, kube::Error> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(account) = &self.account {
            request = request.header("Impersonate-User", account.user());
        }
        if let Some((content, _)) = &body {
            request = request.header(http::header::CONTENT_TYPE, *content);
        }
        request.body(body.map(|(_, body)| body).unwrap_or_default()).map_err(kube::Error::HttpError)
    }
}

/// Why a pod is not evicted now: its budget's words, or that more than one budget is for it, which an API server takes for
/// a fault of its own.
fn held(status: &Status) -> Option<String> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let budgets: Vec<&str> = causes.filter(|cause| cause.reason == "DisruptionBudget").map(|cause| cause.message.as_str()).collect();
    match status.code {
        429 if !budgets.is_empty() => Some(budgets.join("; ")),
        429 => Some(status.message.clone()),
        500 if status.message.contains("PodDisruptionBudget") => Some(status.message.clone()),
        _ => None,
    }
}

/// Tries again what did not come off for want of an answer.
async fn again<T, F: Future<Output = Result<T, kube::Error>>>(asked: impl Fn() -> F) -> Result<T, kube::Error> {
    let mut pauses = Backoff::new(PAUSES.0, PAUSES.1);
    let mut paused = Duration::ZERO;
    loop {
        match asked().await {
            Err(error) if is_passing(&error) && paused < PAUSED_MAX => {
                let pause = told_to_wait(&error).unwrap_or_else(|| pauses.pause());
                tracing::debug!(%error, ?pause, "the API server is asked again");
                tokio::time::sleep(pause).await;
                paused += pause;
            }
            answer => return answer,
        }
    }
}

fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

fn told_to_wait(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else { return None };
    let Status { details: Some(details), .. } = status.as_ref() else { return None };
    Some(Duration::from_secs(u64::from(details.retry_after_seconds)).min(PAUSE_MAX)).filter(|pause| !pause.is_zero())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test measures paused time")]
    use std::cell::Cell;

    use super::*;

    fn failure(code: u16) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, ..Status::failure("no", "No") }))
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_again_a_bounded_number_of_times_and_what_does_not_is_not() {
        let asked = |codes: Vec<u16>| {
            let count = Cell::new(0);
            async move {
                let answer = again(|| {
                    let at = count.get();
                    count.set(at + 1);
                    let code = codes.get(at).or(codes.last()).copied();
                    async move { code.filter(|code| *code != 200).map_or(Ok(()), |code| Err(failure(code))) }
                });
                (answer.await.is_ok(), count.get())
            }
        };
        assert_eq!(asked(vec![429, 500, 503, 200]).await, (true, 4));
        let begun = tokio::time::Instant::now();
        let (is_ok, tries) = asked(vec![429]).await;
        let took = begun.elapsed();
        assert!(!is_ok && tries < 30 && took >= PAUSED_MAX && took <= PAUSED_MAX + PAUSES.1 * 2, "{tries} tries in {took:?}");
        for code in [400, 403, 404, 409, 410, 422] {
            assert_eq!(asked(vec![code, 200]).await, (false, 1), "{code}");
        }
    }
}
