//! What nodes, pods, workloads and Jobs say of themselves, and what that comes to. Pure.
//!
//! One fault is told once: a Deployment whose pods cannot pull their image is told as that, and not as too few ready
//! pods and a rollout that does not move besides. Pods of one workload with the same fault are one check, and a node that
//! is not ready stands for all of its pods, of which nobody hears anything new.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Thresholds, Verdict};
use serde_json::Value;

use super::super::wording;
use super::now::Now;
use crate::kube::objects::{Container, Job, Meta, Node, Pod, Terminated, Workload, condition};

/// Longest between two ends of a container in a crash loop: a kubelet waits five minutes at most, and it runs for a while.
const BETWEEN_CRASHES: Millis = Millis::from_secs(600);

/// From where on something counts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long something may be pending or not ready.
    pub settle: Millis,
    /// How far back restarts and failed Jobs count.
    pub since: Millis,
    pub restarts: Thresholds,
}

/// Whose fault it is: namespace, kind and name.
type Subject = (String, String, String);

struct Fault {
    verdict: Verdict,
    message: String,
    hint: String,
    pods: Vec<String>,
}

/// Collects what is wrong.
pub struct Judge {
    limits: Limits,
    now: Now,
    /// By check and by whose it is; `BTreeMap`, so that two looks at the same give the same.
    faults: BTreeMap<(&'static str, Subject), Fault>,
    /// Workloads of whose pods a fault is told.
    told: BTreeSet<Subject>,
    /// Nodes that are not ready.
    away: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    pods: u64,
    pods_not_ready: u64,
    workloads: u64,
    behind: u64,
    jobs_failed: u64,
}

impl Judge {
    pub fn new(limits: Limits, now: Now) -> Judge {
        let (faults, told, away, namespaces) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Judge { limits, now, faults, told, away, namespaces, pods: 0, pods_not_ready: 0, workloads: 0, behind: 0, jobs_failed: 0 }
    }

    /// A node, before all pods.
    pub fn node(&mut self, node: &Node) {
        let ready = condition(&node.status.conditions, "Ready");
        if ready.is_some_and(|ready| ready.status == "True") {
            return;
        }
        let name = &node.metadata.name;
        self.away.insert(name.clone());
        let since = ready.and_then(|ready| ready.last_transition_time).or(node.metadata.creation_timestamp);
        if !self.is_settled(since) {
            return;
        }
        let waited = since.map_or_else(String::new, |since| format!(" for {}", self.now.ago(since)));
        let why = ready.map_or("its kubelet has never said how it is", |ready| ready.message.as_str());
        let message = with_message(format!("has not been ready{waited}"), why);
        let subject = (String::new(), "Node".to_owned(), name.clone());
        let hint = "look whether its machine runs and is reached, and at its kubelet; its pods are not told of besides";
        self.fault_of("kube.node.notReady", subject, Verdict::Critical, message, hint, None);
    }

    /// Nodes that the agent may not see: whether one of them is away cannot be said.
    pub fn nodes_unseen(&mut self, why: String) {
        let subject = (String::new(), "Node".to_owned(), "*".to_owned());
        self.fault_of("kube.node.notReady", subject, Verdict::Unknown, why, "give the cluster agent's ServiceAccount the right to list nodes", None);
    }

    pub fn pod(&mut self, pod: &Pod) {
        let status = &pod.status;
        self.namespaces.insert(pod.metadata.namespace.clone());
        self.pods += 1;
        // A Job's pods end, and may fail before one succeeds: the Job says what they came to.
        let of_job = pod.metadata.controller().is_some_and(|owner| owner.kind == "Job");
        if status.phase == "Succeeded" || (of_job && status.phase == "Failed") {
            return;
        }
        if self.away.contains(&pod.spec.node_name) {
            self.pods_not_ready += 1;
            self.told.insert(workload_of(&pod.metadata));
            return;
        }
        if let Some(deleted) = pod.metadata.deletion_timestamp {
            if self.is_settled(Some(deleted)) {
                let message = format!("was to be gone {} ago and is still there", self.now.ago(deleted));
                self.fault("kube.pod.terminating", pod, Verdict::Warning, message, "its node may be away, or a finalizer waits");
            }
            return;
        }
        let containers = || status.init_container_statuses.iter().chain(&status.container_statuses);
        let is_ready = condition(&status.conditions, "Ready").is_some_and(|ready| ready.status == "True");
        if let Some((id, message, hint)) =
            containers().find_map(stuck).or_else(|| containers().filter(|_| !is_ready).find_map(|container| self.between_crashes(container)))
        {
            self.pods_not_ready += 1;
            return self.fault(id, pod, Verdict::Critical, message, hint);
        }
        let killed = containers().find_map(|container| self.out_of_memory(container));
        if let Some(message) = killed {
            self.fault("kube.pod.memory", pod, Verdict::Critical, message, "raise its memory limit, or find what it keeps");
        }
        match status.phase.as_str() {
            "Failed" => {
                self.pods_not_ready += 1;
                let why = if status.reason.is_empty() { "failed".to_owned() } else { format!("failed: {}", status.reason) };
                self.fault("kube.pod.failed", pod, Verdict::Warning, with_message(why, &status.message), "");
            }
            "Pending" => self.pending(pod),
            "Running" => {
                self.not_ready(pod);
                self.restarts(pod);
            }
            _ => {
                self.pods_not_ready += 1;
                self.fault("kube.pod.unknown", pod, Verdict::Unknown, "its node does not say how it is".to_owned(), "");
            }
        }
    }

    fn pending(&mut self, pod: &Pod) {
        self.pods_not_ready += 1;
        let scheduled = condition(&pod.status.conditions, "PodScheduled").filter(|condition| condition.status == "False");
        let since = scheduled.and_then(|condition| condition.last_transition_time).or(pod.metadata.creation_timestamp);
        if !self.is_settled(since) {
            return;
        }
        let waited = since.map_or_else(String::new, |since| format!(" for {}", self.now.ago(since)));
        match scheduled {
            Some(condition) => {
                // What follows is of preemption.
                let why = condition.message.split_once(". ").map_or(condition.message.as_str(), |(first, _)| first);
                let message = with_message(format!("no node takes it{waited}"), why);
                self.fault(
                    "kube.pod.unschedulable",
                    pod,
                    Verdict::Critical,
                    message,
                    "compare its requests, node selector and tolerations with the nodes",
                );
            }
            None => self.fault(
                "kube.pod.pending",
                pod,
                Verdict::Critical,
                format!("has not begun{waited}"),
                "kubectl describe pod says for what it waits",
            ),
        }
    }

    fn not_ready(&mut self, pod: &Pod) {
        let Some(ready) = condition(&pod.status.conditions, "Ready").filter(|condition| condition.status != "True") else { return };
        self.pods_not_ready += 1;
        if self.is_settled(ready.last_transition_time) {
            let waited = ready.last_transition_time.map_or_else(String::new, |since| format!(" for {}", self.now.ago(since)));
            let message = with_message(format!("runs and has not been ready{waited}"), &ready.message);
            self.fault("kube.pod.notReady", pod, Verdict::Critical, message, "its readiness probe fails: look at its log and its endpoint");
        }
    }

    fn restarts(&mut self, pod: &Pod) {
        let lately = |container: &&Container| {
            let ended = container.last_state.terminated.as_ref().and_then(|terminated| terminated.finished_at);
            ended.is_some_and(|ended| self.now.age(ended) <= self.limits.since)
        };
        let worst = pod.status.container_statuses.iter().filter(lately).max_by_key(|container| container.restart_count);
        let Some(container) = worst else { return };
        let verdict = self.limits.restarts.judge(f64::from(container.restart_count));
        if verdict != Verdict::Ok {
            let last = container
                .last_state
                .terminated
                .as_ref()
                .map_or_else(String::new, |ended| format!(", the last time with {}", code(ended.exit_code, &ended.reason)));
            let message = format!("{} was restarted {} times{last}", container.name, container.restart_count);
            self.fault("kube.pod.restarts", pod, verdict, message, "kubectl logs --previous shows how it ended");
        }
    }

    /// A container that has ended with an error and was restarted is in a crash loop also while it runs for a moment,
    /// and while its node has not called it that.
    fn between_crashes(&self, container: &Container) -> Option<(&'static str, String, &'static str)> {
        let ended = container.state.terminated.as_ref().or(container.last_state.terminated.as_ref())?;
        let is_recent = ended.finished_at.is_some_and(|at| self.now.age(at) <= BETWEEN_CRASHES);
        let crashes = ended.exit_code != 0 && ended.reason != "OOMKilled" && container.restart_count > 0 && is_recent;
        crashes.then(|| crash_loop(container, ended))
    }

    fn out_of_memory(&self, container: &Container) -> Option<String> {
        let ended = [&container.last_state, &container.state]
            .into_iter()
            .filter_map(|state| state.terminated.as_ref())
            .find(|ended| ended.reason == "OOMKilled")?;
        let at = ended.finished_at.filter(|at| self.now.age(*at) <= self.limits.since)?;
        Some(format!("{} was killed for want of memory {} ago", container.name, self.now.ago(at)))
    }

    /// A Deployment, StatefulSet or DaemonSet, after all pods.
    pub fn workload(&mut self, kind: &str, workload: &Workload) {
        let (meta, status) = (&workload.metadata, &workload.status);
        self.namespaces.insert(meta.namespace.clone());
        self.workloads += 1;
        let subject = (meta.namespace.clone(), kind.to_owned(), meta.name.clone());
        let (wanted, ready) = if kind == "DaemonSet" {
            (status.desired_number_scheduled, status.number_ready)
        } else {
            (workload.spec.replicas.unwrap_or(1), status.ready_replicas)
        };
        let refused = condition(&status.conditions, "ReplicaFailure").filter(|condition| condition.status == "True");
        let stuck = condition(&status.conditions, "Progressing")
            .filter(|condition| condition.status == "False" && condition.reason == "ProgressDeadlineExceeded");
        if ready < wanted || stuck.is_some() || refused.is_some() {
            self.behind += 1;
        }
        if self.told.contains(&subject) {
            return;
        }
        if let Some(refused) = refused {
            let message = with_message("its pods cannot be made".to_owned(), &refused.message);
            return self.fault_of("kube.workload.refused", subject, Verdict::Critical, message, "a quota or an admission webhook refuses them", None);
        }
        if stuck.is_some() {
            let message = format!("its rollout does not move: {ready} of {wanted} pods are ready");
            return self.fault_of(
                "kube.workload.rollout",
                subject,
                Verdict::Critical,
                message,
                "kubectl rollout status, and undo if the new version is at fault",
                None,
            );
        }
        if ready < wanted && self.is_settled(behind_since(workload)) {
            let verdict = if ready == 0 { Verdict::Critical } else { Verdict::Warning };
            self.fault_of("kube.workload.replicas", subject, verdict, format!("{ready} of {wanted} pods are ready"), "", None);
        }
    }

    /// A Job. What a CronJob's came to is told of the CronJob, by `kube.cronjobs`.
    pub fn job(&mut self, job: &Job) {
        self.namespaces.insert(job.metadata.namespace.clone());
        let of_cron_job = job.metadata.controller().is_some_and(|owner| owner.kind == "CronJob");
        let Some((false, failed)) = job.ended().filter(|_| !of_cron_job) else { return };
        let Some(at) = failed.last_transition_time.filter(|at| self.now.age(*at) <= self.limits.since) else { return };
        self.jobs_failed += 1;
        let message = with_message(format!("failed {} ago", self.now.ago(at)), &failed.message);
        let subject = (job.metadata.namespace.clone(), "Job".to_owned(), job.metadata.name.clone());
        self.fault_of("kube.job.failed", subject, Verdict::Critical, message, "kubectl logs of its pods shows how they ended", None);
    }

    pub fn report(self) -> Report {
        let outputs =
            [("pods", self.pods), ("podsNotReady", self.pods_not_ready), ("workloadsBehind", self.behind), ("jobsFailed", self.jobs_failed)];
        let outputs = outputs.map(|(name, number)| (name.to_owned(), Value::from(number))).into();
        let mut checks: Vec<Check> = self.faults.into_iter().map(|((id, subject), fault)| fault.check(id, &subject)).collect();
        let is_well = checks.is_empty();
        // What does not fit into a report is cut from its end.
        checks.sort_by_key(|check| std::cmp::Reverse(check.verdict));
        let seen = format!(
            "{} and {} in {}",
            wording::count(self.pods, "pod", "pods"),
            wording::count(self.workloads, "workload", "workloads"),
            wording::count(self.namespaces.len() as u64, "namespace", "namespaces")
        );
        let message = if is_well { format!("{seen}: all run as they should") } else { format!("{seen} were looked at") };
        checks.push(Check::stated("kube.workloads", "", Verdict::Ok, message));
        Report { checks, outputs, ..Report::default() }
    }

    fn fault(&mut self, id: &'static str, pod: &Pod, verdict: Verdict, message: String, hint: &str) {
        let subject = workload_of(&pod.metadata);
        self.told.insert(subject.clone());
        self.fault_of(id, subject, verdict, message, hint, Some(&pod.metadata.name));
    }

    fn fault_of(&mut self, id: &'static str, subject: Subject, verdict: Verdict, message: String, hint: &str, pod: Option<&str>) {
        let fault =
            self.faults.entry((id, subject)).or_insert_with(|| Fault { verdict, message: message.clone(), hint: hint.to_owned(), pods: Vec::new() });
        if verdict > fault.verdict {
            (fault.verdict, fault.message) = (verdict, message);
        }
        fault.pods.extend(pod.map(str::to_owned));
    }

    /// Whether something has been so for longer than it may. What does not say since when counts as long ago.
    fn is_settled(&self, since: Option<Timestamp>) -> bool {
        self.now.is_over(since, self.limits.settle)
    }
}

impl Fault {
    fn check(self, id: &'static str, (namespace, kind, name): &Subject) -> Check {
        let subject = match kind.as_str() {
            "Pod" => format!("{namespace}/{name}"),
            "Node" => format!("{kind}/{name}"),
            _ => format!("{namespace}/{kind}/{name}"),
        };
        let message = if self.pods.len() > 1 { format!("{} pods: {}", self.pods.len(), self.message) } else { self.message };
        let details = if kind == "Pod" { Vec::new() } else { self.pods };
        Check::stated(id, &subject, self.verdict, message).with_hint(self.hint).with_details(details)
    }
}

/// What keeps a container from running, if its waiting says that it will not by itself.
fn stuck(container: &Container) -> Option<(&'static str, String, &'static str)> {
    let waiting = container.state.waiting.as_ref()?;
    let name = &container.name;
    match waiting.reason.as_str() {
        "CrashLoopBackOff" => Some(crash_loop(container, container.last_state.terminated.as_ref().unwrap_or(&Terminated::default()))),
        "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError" | "RegistryUnavailable" => {
            let message = format!("the image {} of {name} cannot be pulled ({})", container.image, waiting.reason);
            Some(("kube.pod.image", message, "look at its name and tag, the pull secret, and whether the registry answers"))
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            let message = with_message(format!("{name} cannot be started ({})", waiting.reason), &waiting.message);
            Some(("kube.pod.start", message, "a ConfigMap, a Secret or a volume that it names may be missing"))
        }
        _ => None,
    }
}

fn crash_loop(container: &Container, last: &Terminated) -> (&'static str, String, &'static str) {
    let last = if last.finished_at.is_none() { String::new() } else { format!(", the last time with {}", code(last.exit_code, &last.reason)) };
    let message =
        format!("{} ends again and again: {}{last}", container.name, wording::count(u64::from(container.restart_count), "restart", "restarts"));
    ("kube.pod.crashLoop", message, "kubectl logs --previous shows how it ended")
}

fn code(exit_code: i32, reason: &str) -> String {
    match reason {
        "" | "Error" | "Completed" => format!("exit status {exit_code}"),
        reason => format!("exit status {exit_code} ({reason})"),
    }
}

fn with_message(words: String, message: &str) -> String {
    let message = message.trim();
    if message.is_empty() { words } else { format!("{words}: {message}") }
}

/// What a pod belongs to: its controller, and where that is a ReplicaSet of a Deployment, the Deployment.
fn workload_of(pod: &Meta) -> Subject {
    let (kind, name) = match pod.controller() {
        None => ("Pod", pod.name.as_str()),
        Some(owner) if owner.kind == "ReplicaSet" => {
            let hash = pod.labels.get("pod-template-hash").and_then(|hash| owner.name.strip_suffix(&format!("-{hash}")));
            hash.map_or(("ReplicaSet", owner.name.as_str()), |deployment| ("Deployment", deployment))
        }
        Some(owner) => (owner.kind.as_str(), owner.name.as_str()),
    };
    (pod.namespace.clone(), kind.to_owned(), name.to_owned())
}

/// Since when a workload has had too few ready pods, as far as it says so.
fn behind_since(workload: &Workload) -> Option<Timestamp> {
    let available = condition(&workload.status.conditions, "Available").filter(|condition| condition.status == "False");
    available.and_then(|condition| condition.last_transition_time).or(workload.metadata.creation_timestamp)
}
