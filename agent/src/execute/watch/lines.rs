//! New error lines of pods, as they are written, told from others as `logs.errors` tells them.
//!
//! In: the logs of what a selector fits, from when the watch began, each from where it was read to. Out: whether there
//! were more error lines within the window than there may be.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use mainstay_core::{Millis, WallTime};
use serde::Deserialize;

use crate::execute::logs::level::{self, Level};
use crate::execute::wording;
use crate::kube::objects::Meta;
use crate::kube::{Cluster, ClusterError, Selected, escaped};

/// Logs that are read; of more, those that come first by name.
const LOGS_MAX: usize = 100;
/// Read of one log at a time; what it has beyond that is read by the next probe.
const LOG_BYTES: usize = 256 << 10;
/// Shown of a line.
const SHOWN_CHARS: usize = 200;

/// Which lines are counted, and how many there may be.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogErrors {
    pub selector: String,
    container: Option<String>,
    #[serde(default)]
    level: LevelName,
    #[serde(default)]
    most: u64,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum LevelName {
    #[default]
    Error,
    Warning,
}

/// How far the logs were read, and what was in them.
pub struct Follow<'g> {
    wanted: &'g LogErrors,
    over: Millis,
    since: Timestamp,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of each pod and container, the time of the last line that was read.
    read: BTreeMap<(String, String), Timestamp>,
    /// When lines were found, and how many.
    found: VecDeque<(Duration, u64)>,
    example: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Meta,
    spec: PodSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
}

impl<'g> Follow<'g> {
    /// Of lines that are written from then on.
    pub fn from(wanted: &'g LogErrors, over: Millis, since: WallTime) -> Follow<'g> {
        let since = Timestamp::from_millisecond(since.0).unwrap_or(Timestamp::UNIX_EPOCH);
        Follow { wanted, over, since, state: Mutex::default() }
    }

    /// Reads on.
    ///
    /// # Errors
    /// More lines than there may be, or why nobody knows.
    pub async fn look(&self, cluster: &Cluster, namespace: &str, at: Duration) -> Result<(), String> {
        let pods = format!("/api/v1/namespaces/{}/pods", escaped(namespace));
        let selected = Selected { labels: Some(&self.wanted.selector), ..Selected::default() };
        let found: Vec<Pod> = cluster.list(&pods, selected).await.map_err(|error| error.to_string())?;
        let all = found.into_iter().flat_map(|pod| {
            let name = pod.metadata.name;
            pod.spec.containers.into_iter().map(move |container| (name.clone(), container.name))
        });
        let is_wanted = |container: &str| self.wanted.container.as_deref().is_none_or(|wanted| wanted == container);
        let logs: Vec<(String, String)> = all.filter(|(_, container)| is_wanted(container)).take(LOGS_MAX).collect();
        if logs.is_empty() {
            let of = self.wanted.container.as_deref().map_or_else(String::new, |container| format!(" and a container {container}"));
            return Err(format!("no pod has the labels {}{of}: nobody knows what is written there", self.wanted.selector));
        }
        self.forget_others(&logs);
        for log in logs {
            let since = self.read_to(&log);
            let path = format!(
                "{pods}/{}/log?container={}&timestamps=true&limitBytes={LOG_BYTES}&sinceTime={}",
                escaped(&log.0),
                escaped(&log.1),
                escaped(&since.to_string())
            );
            match cluster.text(&path).await {
                Ok(text) => self.take(log, since, &text, at),
                // It has just gone, or has not begun: it says nothing.
                Err(ClusterError::Missing { .. }) => {}
                Err(ClusterError::Invalid { message, .. }) if message.ends_with("(400)") => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        self.judge(at)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_to(&self, log: &(String, String)) -> Timestamp {
        self.state().read.get(log).copied().unwrap_or(self.since)
    }

    /// Pods that are gone are not kept.
    fn forget_others(&self, logs: &[(String, String)]) {
        self.state().read.retain(|log, _| logs.contains(log));
    }

    /// Counts the lines that were not read before.
    fn take(&self, log: (String, String), since: Timestamp, text: &str, at: Duration) {
        let least = if matches!(self.wanted.level, LevelName::Warning) { Level::Warning } else { Level::Error };
        let (mut last, mut count, mut example) = (since, 0, None);
        for line in text.lines() {
            let Some((stamp, line)) = line.split_once(' ') else { continue };
            let Some(stamp) = stamp.parse::<Timestamp>().ok().filter(|stamp| *stamp > since) else { continue };
            last = last.max(stamp);
            if level::is_candidate(line) && level::of(line).is_some_and(|(level, _)| level >= least) {
                count += 1;
                example = Some(format!("{}: {}", log.0, line.chars().take(SHOWN_CHARS).collect::<String>()));
            }
        }
        // A log is asked for by the second, and one that has more within a second than is read at a time is gone on with
        // at the next one.
        if last == since && text.len() >= LOG_BYTES {
            last = since.checked_add(Duration::from_secs(1)).unwrap_or(since);
        }
        let mut state = self.state();
        state.read.insert(log, last);
        if count > 0 {
            state.found.push_back((at, count));
        }
        if let Some(example) = example {
            state.example = example;
        }
    }

    fn judge(&self, at: Duration) -> Result<(), String> {
        let mut state = self.state();
        let from = at.saturating_sub(self.over.as_duration());
        state.found.retain(|(found, _)| *found >= from);
        let count: u64 = state.found.iter().map(|(_, count)| count).sum();
        if count <= self.wanted.most {
            return Ok(());
        }
        let lines = wording::count(count, "error line", "error lines");
        Err(format!("{lines} within {}, and {} is the most, such as {}", self.over, self.wanted.most, state.example))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_line_counts_once_and_for_as_long_as_the_window_is() {
        let wanted: LogErrors = serde_json::from_value(serde_json::json!({ "selector": "app=web", "most": 2 })).unwrap();
        let since = "2026-11-28T12:00:00Z".parse::<Timestamp>().unwrap();
        let follow = Follow::from(&wanted, Millis::from_secs(60), WallTime(since.as_millisecond()));
        let log = || ("web-1".to_owned(), "app".to_owned());
        let text = "2026-11-28T11:59:59.9Z ERROR before the watch\n2026-11-28T12:00:01.1Z ERROR one\n2026-11-28T12:00:01.12Z INFO 0 errors\n\
                    2026-11-28T12:00:02Z ERROR two\nno time\n";
        follow.take(log(), follow.read_to(&log()), text, Duration::from_secs(2));
        assert_eq!(follow.judge(Duration::from_secs(2)), Ok(()));
        // The same lines again, since a log is asked for by the second, and one more.
        let more = format!("{text}2026-11-28T12:00:02.5Z ERROR three\n");
        follow.take(log(), follow.read_to(&log()), &more, Duration::from_secs(4));
        let words = follow.judge(Duration::from_secs(4)).unwrap_err();
        assert_eq!(words, "3 error lines within 1m, and 2 is the most, such as web-1: ERROR three");
        assert_eq!(follow.judge(Duration::from_secs(63)), Ok(()), "two are long ago");
        follow.forget_others(&[]);
        assert_eq!(follow.read_to(&log()), since);
        // More within a second than is read at a time: it is not read for ever.
        let same = "2026-11-28T12:00:00Z INFO the same\n".repeat(LOG_BYTES / 30);
        follow.take(log(), since, &same, Duration::from_secs(70));
        assert_eq!(follow.read_to(&log()), "2026-11-28T12:00:01Z".parse::<Timestamp>().unwrap());
    }
}
