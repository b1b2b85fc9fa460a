//! What was rolled out is put back: by the rollout itself when it is stopped, or when its step is taken back.

use std::time::Duration;

use mainstay_core::report::{Check, Report, Verdict};

use super::record::{self, Back, Stopped};
use super::{EVERY, KIND, Seen, Site};
use crate::execute::kube::rollout::{self, Rollout};
use crate::execute::{StepError, wording};
use crate::kube::ClusterError;
use crate::kube::ask::Patch;

/// From when it was called off: shorter than what is left until it is ended by force.
const CALLED_OFF: Duration = Duration::from_secs(7);
/// What there is for it at least, however short the rollout was to be.
const AT_LEAST: Duration = Duration::from_secs(60);
/// Longest reason: it is kept on the workload, and is a part of the message.
const WHY_MAX: usize = 500;

/// How far putting it back has come.
enum Way {
    /// What keeps it from being written.
    Out(String),
    /// It is written, and its pods are on their way.
    Back(String),
}

/// What came of it.
enum End {
    /// All of its pods are what they were.
    Whole,
    /// Nothing had been changed.
    Nothing,
    /// Why it is not put back.
    Refused(String),
    /// There was no more time.
    Late(Way),
}

impl Site<'_> {
    /// Puts back what a stopped rollout has begun, and says both.
    pub(super) async fn stop(&self, stopped: Stopped, seen: &Seen) -> StepError {
        let (cancel, leaving) = (&self.context.cancel, &self.context.leaving);
        let left = || StepError::cancelled(format!("{KIND}: {}: the agent leaves, and its rollout goes on", self.subject));
        let is_called_off = cancel.is_cancelled();
        if is_called_off && leaving.is_cancelled() {
            return left();
        }
        let last = if seen.last.is_empty() || stopped.why.contains(&seen.last) { String::new() } else { format!(": {}", seen.last) };
        let why: String = format!("{}{last}", stopped.why).chars().take(WHY_MAX).collect();
        let end = if seen.is_begun {
            self.print(&format!("{why}: it is put back"));
            self.put_back(&Stopped { why: why.clone(), ..stopped }, self.params.within.0.as_duration().max(AT_LEAST)).await
        } else {
            End::Nothing
        };
        // Whoever comes next goes on with putting it back.
        if cancel.is_cancelled() && leaving.is_cancelled() && matches!(end, End::Late(_)) {
            return left();
        }
        let came_to = match end {
            End::Whole => "it was put back, and all of its pods are what they were".to_owned(),
            End::Nothing => "nothing was changed".to_owned(),
            End::Refused(words) => format!("it was not put back: {words}"),
            End::Late(Way::Back(words)) => format!("it was put back, and its pods are still on their way: {words}{}", self.what_may_help()),
            End::Late(Way::Out(words)) => format!("it could not be put back: {words}; {}", self.what_is_left()),
        };
        let message = format!("{KIND}: {}: {why}; {came_to}", self.subject);
        if is_called_off { StepError::cancelled(message) } else { StepError::failed(message) }
    }

    pub(super) fn what_is_left(&self) -> String {
        let (namespace, name) = (wording::quoted(&self.params.namespace), wording::quoted(&self.params.name));
        format!(
            "to put it back: kubectl -n {namespace} rollout undo {}/{name}; the template that it had is in its annotation {}",
            self.params.kind.to_lowercase(),
            record::ROLLOUT
        )
    }

    /// A StatefulSet goes on to the next pod only when the one before is ready, also on the way back.
    fn what_may_help(&self) -> &'static str {
        if self.params.kind == "StatefulSet" { "; of a StatefulSet no pod is replaced before it is ready: delete the one that is not" } else { "" }
    }

    /// Takes the step back.
    pub(super) async fn take_back(&self) -> Result<Report, StepError> {
        let within = self.params.within.0;
        let stopped = Stopped { why: "its step was taken back".to_owned(), is_final: false };
        let end = self.put_back(&stopped, within.as_duration()).await;
        let done = |words: &str| Ok(Report { checks: vec![Check::stated(KIND, &self.subject, Verdict::Ok, words)], ..Report::default() });
        match end {
            End::Whole => done("it is what it was, and so are all of its pods"),
            End::Nothing => done("there is nothing to take back"),
            End::Refused(words) => Err(self.failed(words)),
            End::Late(_) if self.context.cancel.is_cancelled() => {
                Err(StepError::cancelled(format!("{KIND}: {}: taking it back was called off", self.subject)))
            }
            End::Late(Way::Back(words)) => {
                let help = self.what_may_help();
                Err(self.failed(format!("it was put back, and not all of its pods are what they were within {within}: {words}{help}")))
            }
            End::Late(Way::Out(words)) => Err(self.failed(format!("it could not be put back within {within}: {words}; {}", self.what_is_left()))),
        }
    }

    async fn put_back(&self, stopped: &Stopped, within: Duration) -> End {
        let mut way = Way::Out("the API server has not answered".to_owned());
        let ended = {
            let hurried = async {
                self.context.cancel.cancelled().await;
                tokio::time::sleep(CALLED_OFF).await;
            };
            tokio::select! {
                biased;
                end = self.follow_back(stopped, &mut way) => Some(end),
                () = hurried => None,
                () = tokio::time::sleep(within) => None,
            }
        };
        ended.unwrap_or(End::Late(way))
    }

    async fn follow_back(&self, stopped: &Stopped, way: &mut Way) -> End {
        loop {
            let looked = self.look().await;
            let done = match &looked {
                Err(error) => Err(error.to_string()),
                Ok(workload) => match record::back(KIND, workload, &self.work, stopped) {
                    Back::Nothing => return End::Nothing,
                    Back::Refuse(words) => return End::Refused(words),
                    Back::Follow => match rollout::of(workload) {
                        Rollout::Done => return End::Whole,
                        Rollout::Under(words) | Rollout::Stuck(words) => {
                            *way = Way::Back(words);
                            Ok(())
                        }
                    },
                    Back::Change(fields) => match self.cluster.patch(&self.path, Patch::Merge, &fields).await {
                        Ok(_) | Err(ClusterError::Conflict { .. }) => continue,
                        Err(error) => Err(error.to_string()),
                    },
                },
            };
            // It may answer, or allow it again, in time.
            if let (Err(words), Way::Out(last)) = (done, &mut *way) {
                *last = words;
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}
