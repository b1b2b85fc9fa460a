//! What a worker's pod says of itself. Pure.

use std::time::Duration;

use mainstay_backup::worker::Told;
use serde_json::Value;

use super::super::super::kube::work::text;
use super::EVERY;

/// A pod that has not begun by then will not: its image, its Secret or its volume is not there, or no node has room.
const BEGINS_WITHIN: Duration = Duration::from_secs(300);
/// A fault of its beginning that lasts so long is one.
const FAULT_LASTS: Duration = Duration::from_secs(20);

/// Whether its program has begun.
pub(super) fn has_begun(pod: &Value) -> bool {
    let status = |pointer: &str| pod.pointer(&format!("/status/containerStatuses/0/state/{pointer}")).is_some_and(|state| !state.is_null());
    status("running") || status("terminated")
}

/// Why a Job has failed: what its pod said at last, or what its controller says.
pub(super) fn why(job: &Value, pod: Option<&Value>) -> String {
    let last = pod.map(|pod| text(pod, "/status/containerStatuses/0/state/terminated/message")).unwrap_or_default();
    let said: Vec<&str> = last.lines().map(str::trim).filter(|line| !line.is_empty() && Told::read(line).is_none()).collect();
    if let Some(words) = said.get(said.len().saturating_sub(3)..).filter(|words| !words.is_empty()) {
        return crate::redact::redact_line(&words.join(" ⏎ "));
    }
    let reason = pod.map(|pod| text(pod, "/status/containerStatuses/0/state/terminated/reason")).filter(|reason| !["", "Error"].contains(reason));
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let failed = conditions.filter(|condition| condition["type"] == "Failed").find_map(|condition| condition["message"].as_str());
    reason.or(failed).unwrap_or("it says nothing of it").to_owned()
}

/// How a pod begins.
#[derive(Debug, Default)]
pub(super) struct Begin {
    /// Looks at one that has not begun.
    looks: u32,
    /// The last of these in which the same fault was seen that lasts.
    faulty: u32,
    begun: bool,
}

impl Begin {
    /// Why it will not begin, once that is clear.
    pub fn look(&mut self, pod: Option<&Value>) -> Option<String> {
        self.begun |= pod.is_some_and(has_begun);
        if self.begun {
            return None;
        }
        let fault = pod.and_then(fault);
        self.looks += 1;
        self.faulty = if fault.as_ref().is_some_and(|(_, lasts)| *lasts) { self.faulty + 1 } else { 0 };
        let is_over = EVERY * self.faulty >= FAULT_LASTS || EVERY * self.looks >= BEGINS_WITHIN;
        is_over.then(|| fault.map_or_else(|| pod.map_or("it has no pod", |_| "its pod is not started").to_owned(), |(words, _)| words))
    }
}

/// What keeps a pod's program from being started, and whether that does not go by itself as a rule.
fn fault(pod: &Value) -> Option<(String, bool)> {
    let waiting = pod.pointer("/status/containerStatuses/0/state/waiting").filter(|waiting| waiting.is_object());
    let reason = waiting.map(|waiting| text(waiting, "/reason")).unwrap_or_default();
    let (kind, lasting) = match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => ("its image cannot be had", true),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => ("its container cannot be made", true),
        _ => ("", false),
    };
    let said = waiting.map(|waiting| text(waiting, "/message")).unwrap_or_default();
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    // Room may come: that alone ends nothing before its time.
    let unschedulable = conditions.filter(|one| one["type"] == "PodScheduled" && one["status"] == "False").find_map(|one| one["message"].as_str());
    if lasting { Some((format!("{kind}: {said}"), true)) } else { unschedulable.map(|said| (format!("no node takes it: {said}"), false)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(state: &Value) -> Value {
        json!({ "status": { "containerStatuses": [{ "state": state }] } })
    }

    fn looks(begin: &mut Begin, pod: Option<&Value>, most: u32) -> Option<(u32, String)> {
        (1..=most).find_map(|look| Some((look, begin.look(pod)?)))
    }

    #[test]
    fn a_pod_whose_image_is_not_there_is_given_up_soon_and_one_without_room_late() {
        let image = pod(&json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image x" } }));
        assert_eq!(looks(&mut Begin::default(), Some(&image), 200), Some((10, "its image cannot be had: Back-off pulling image x".to_owned())));
        let room = json!({ "status": { "conditions": [{ "type": "PodScheduled", "status": "False", "message": "0/2 nodes are available" }] } });
        assert_eq!(looks(&mut Begin::default(), Some(&room), 200), Some((150, "no node takes it: 0/2 nodes are available".to_owned())));
        assert_eq!(looks(&mut Begin::default(), None, 200).map(|(look, _)| look), Some(150));
        let running = pod(&json!({ "running": {} }));
        let mut begin = Begin::default();
        assert_eq!(looks(&mut begin, Some(&running), 200), None);
        assert_eq!(looks(&mut begin, Some(&image), 200), None, "it had begun");
    }

    #[test]
    fn a_fault_that_goes_by_itself_ends_nothing() {
        let image = pod(&json!({ "waiting": { "reason": "ErrImagePull" } }));
        let mut begin = Begin::default();
        assert_eq!(looks(&mut begin, Some(&image), 9), None);
        assert_eq!(begin.look(Some(&pod(&json!({ "waiting": { "reason": "ContainerCreating" } })))), None);
        assert_eq!(looks(&mut begin, Some(&image), 9), None);
    }

    #[test]
    fn a_failure_is_told_in_the_words_of_the_worker_or_of_who_ended_it() {
        let job = json!({ "status": { "conditions": [{ "type": "Failed", "status": "True", "message": "Job was active longer than specified deadline" }] } });
        let ended = |state: Value| pod(&json!({ "terminated": state }));
        let told = Told::Writing(mainstay_backup::progress::Progress::default()).line();
        let said = ended(json!({ "reason": "Error", "message": format!("{told}\nerror: pg_dump is older than the server\n") }));
        assert_eq!(why(&job, Some(&said)), "error: pg_dump is older than the server");
        assert_eq!(why(&job, Some(&ended(json!({ "reason": "OOMKilled" })))), "OOMKilled");
        assert_eq!(why(&job, None), "Job was active longer than specified deadline");
    }
}
