//! Follows all objects of one kind: lists them, and watches from there on.
//!
//! ```text
//!   list, page by page ─▶ watch ─▶ ended by the server, cut, or refused ─▶ pause ─▶ watch from where it was
//!         ▲                └─▶ its version is forgotten ──────────┐
//!         └────────────────────────────────────────────── pause ◀─┘
//! ```
//! A watch is as good as the list before it: what was missed while there was none comes with the next, and where the
//! server has forgotten what that was, a list tells what there is. What is known stays known meanwhile, and gets older.

use std::sync::Mutex;
use std::time::Duration;

use mainstay_client::random::Backoff;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::ask::{Ask, AskError, Event};
use crate::complaint::Complaint;

/// Between tries that failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Before a watch that the server has ended goes on: one that ends each at once must not be a storm.
const BETWEEN: Duration = Duration::from_millis(200);
/// Watches that failed, one after the other, after which a list is tried: the version may be one that the server does
/// not have, as after its store went back in time.
const WATCHES: u32 = 5;
/// Most objects of one kind. A cluster has at most 150,000 pods.
const OBJECTS_MAX: usize = 200_000;

/// Where objects of one kind go.
pub trait Sink {
    type Object: DeserializeOwned;

    /// All objects follow.
    fn begins(&mut self);
    fn put(&mut self, object: Self::Object);
    fn gone(&mut self, object: &Self::Object);
    /// All have come; what has not come since the beginning is gone.
    fn ends(&mut self);
    fn version(object: &Self::Object) -> &str;
}

/// When the API server was last heard on a watch.
#[derive(Debug, Default)]
pub struct Heard(Mutex<Option<Instant>>);

impl Heard {
    #[allow(clippy::disallowed_methods, reason = "an age, on the clock that the sleeps between watches go by")]
    fn now(&self) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
    }

    /// For how long it has not been; nothing before the first list is whole.
    pub fn silent(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).map(|at| at.elapsed())
    }
}

/// Follows for ever.
pub async fn follow<S: Sink>(ask: &Ask, path: &str, mut sink: S, heard: &Heard) -> std::convert::Infallible {
    let mut pauses = Backoff::new(PAUSES.0, PAUSES.1);
    let mut complaint = Complaint::default();
    let mut version: Option<String> = None;
    let mut failures = 0;
    loop {
        let outcome = match &mut version {
            None => list(ask, path, &mut sink).await.map(|listed| version = Some(listed)),
            Some(version) => watch(ask, path, version, &mut sink, heard).await,
        };
        match outcome {
            Ok(()) => {
                heard.now();
                pauses.reset();
                failures = 0;
                complaint = Complaint::default();
                // A list is followed by its watch at once.
                tokio::time::sleep(BETWEEN).await;
            }
            Err(error) => {
                failures += 1;
                if matches!(error, AskError::Forgotten) || failures >= WATCHES {
                    (version, failures) = (None, 0);
                }
                let pause = pauses.pause();
                complaint.about(&format!("{path} cannot be followed"), &error.to_string(), pause);
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Answers the version that the list is of.
async fn list<S: Sink>(ask: &Ask, path: &str, sink: &mut S) -> Result<String, AskError> {
    let (mut next, mut count) = (String::new(), 0);
    sink.begins();
    loop {
        let page = ask.page::<S::Object>(path, &next).await?;
        count += page.items.len();
        if count > OBJECTS_MAX {
            return Err(AskError::Failed(format!("there are more than {OBJECTS_MAX} objects, which is more than is kept")));
        }
        page.items.into_iter().for_each(|object| sink.put(object));
        next = page.metadata.r#continue;
        if next.is_empty() {
            sink.ends();
            return Ok(page.metadata.resource_version);
        }
    }
}

/// Watches until the server ends it; `version` goes with what it says.
async fn watch<S: Sink>(ask: &Ask, path: &str, version: &mut String, sink: &mut S, heard: &Heard) -> Result<(), AskError> {
    let mut lines = ask.watch(path, version).await?;
    loop {
        heard.now();
        match lines.next::<S::Object>().await? {
            None => return Ok(()),
            Some(Event::Added(object) | Event::Modified(object)) => {
                S::version(&object).clone_into(version);
                sink.put(object);
            }
            Some(Event::Deleted(object)) => {
                S::version(&object).clone_into(version);
                sink.gone(&object);
            }
            Some(Event::Bookmark(at)) => *version = at.metadata.resource_version,
            Some(Event::Error(status)) if status.code == 410 => return Err(AskError::Forgotten),
            Some(Event::Error(status)) => return Err(AskError::Failed(format!("{} ({})", status.message, status.code))),
        }
    }
}
