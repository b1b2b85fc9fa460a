//! How a run starts: its inputs, its targets, and the work that they make.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use serde_json::Value;

use super::privilege::CLUSTER_KINDS;
use super::run::{Run, RunPhase, Work, WorkState};
use super::{State, When};
use crate::bounds;
use crate::catalogue::{self, Kind, Scope};
use crate::id::{AgentId, ClusterName, ConnectionName, NAME_MAX, PlanName, RunId, StepName, Target};
use crate::plan::{Plan, RunOn, Step, input};
use crate::reply::{Refusal, Reply};
use crate::time::Millis;

/// Feature level from which a step on clusters says that it is clusters that there are none of.
const NAMES_CLUSTERS: u32 = 5;
/// Feature level from which the objects of a cluster are something that is backed up.
const EXPORTS_OBJECTS: u32 = 5;
/// Kind of connections to them.
const OBJECTS: &str = "kubernetes";
/// Feature level from which a step that names no connection says so.
const KNOWS_UNNAMED: u32 = 5;

const NO_CLUSTER: &str =
    "the mesh knows no cluster agent, and so no cluster: start one (docs/clusters.md):  mainstay token create --cluster-agents CLUSTER";

const UNNAMED: &str = "no connection is named for it, so it has nothing to do";

const NO_MESH: &str = "no connection to the mesh itself is named: whose it is, is not left to a pattern; add to one agent's connections.toml:  \
                       [connections.NAME]  kind = \"mesh\"  and give the plan its name (docs/backup.md)";

/// All inputs of a run, as JSON.
const INPUTS_MAX: usize = 64 << 10;
/// Bytes that a work item and its attempts weigh, near enough; reports are counted when they come.
const WORK_WEIGHT: u64 = 512;

/// What a run is started with.
pub(super) struct Start<'a> {
    pub plan: &'a PlanName,
    pub revision: Option<u32>,
    pub inputs: &'a BTreeMap<String, Value>,
    pub connections: &'a BTreeMap<StepName, String>,
    pub without_calendar: Option<&'a String>,
    pub object: Option<&'a String>,
    pub by: String,
}

impl State {
    pub(super) fn start_run(&mut self, start: &Start<'_>, when: When) -> Reply {
        let plan = start.plan;
        // Whoever asks again, also another agent for the same object, is answered with what there is.
        match start.object.map(|object| self.asked_for_by(object, plan)) {
            Some(Ok(Some(run))) => return Reply::Started(run),
            Some(Err(refusal)) => return Reply::Refused(refusal),
            Some(Ok(None)) | None => {}
        }
        if self.runs.values().filter(|run| !run.is_ended()).count() >= bounds::RUNS_OPEN {
            return Reply::Refused(Refusal::Bound { what: "open runs".into(), limit: bounds::RUNS_OPEN as u64 });
        }
        if let Some(refusal) = self.has_its_share(plan) {
            return Reply::Refused(refusal);
        }
        let not_found = |what: String| Reply::Refused(Refusal::NotFound { what, hint: "see `mainstay plan list`".into() });
        let Some(history) = self.plans.get(plan) else { return not_found(format!("plan {plan}")) };
        let chosen = match start.revision {
            None => history.current(),
            Some(number) => history.revisions.get(&number).map(|revision| (number, revision)),
        };
        let Some((number, chosen)) = chosen else { return not_found(format!("such revision of plan {plan}")) };
        let inputs = match input::resolve(&chosen.plan.inputs, start.inputs) {
            Ok(inputs) => inputs,
            Err(problem) => return Reply::Refused(Refusal::Invalid(format!("plan {plan}: {problem}"))),
        };
        if Value::Object(inputs.clone().into_iter().collect()).to_string().len() > INPUTS_MAX {
            return Reply::Refused(Refusal::Bound { what: "bytes of inputs".into(), limit: INPUTS_MAX as u64 });
        }
        if start.without_calendar.is_some_and(|reason| reason.len() > bounds::REASON_BYTES) {
            return Reply::Refused(Refusal::Bound { what: "bytes of reason".into(), limit: bounds::REASON_BYTES as u64 });
        }
        let definition = Arc::new(Plan { source: String::new(), ..chosen.plan.clone() });
        let bundled = chosen.bundled;
        let targets = |step: &Step| self.targets(step, plan, bundled, start.connections.get(&step.name).map(String::as_str));
        let work: OrdMap<StepName, OrdMap<Target, Work>> = definition.steps.iter().map(|step| (step.name.clone(), targets(step))).collect();
        let items: usize = work.values().map(OrdMap::len).sum();
        if items > bounds::RUN_WORK {
            return Reply::Refused(Refusal::Bound { what: "steps times targets".into(), limit: bounds::RUN_WORK as u64 });
        }
        let weight = chosen.plan.weight() + items as u64 * WORK_WEIGHT;
        let Some(history) = self.plans.get_mut(plan) else { return not_found(format!("plan {plan}")) };
        self.weight += weight;
        history.runs += 1;
        let id = RunId { plan: plan.clone(), number: history.runs };
        self.runs.insert(
            id.clone(),
            Run {
                id: id.clone(),
                revision: number,
                plan: definition,
                inputs,
                by: start.by.clone(),
                phase: RunPhase::Running,
                abort: None,
                work,
                started_at: when.at,
                started: when.wall,
                ended: None,
                took: Millis::ZERO,
                moved_at: when.at,
                order: 0,
                weight,
                pause: None,
                resumed_at: None,
                without_calendar: start.without_calendar.cloned(),
                object: start.object.cloned(),
                approvals: Vec::new(),
                resolved: super::resolution::Resolutions::default(),
                resolutions_weight: 0,
            },
        );
        Reply::Started(id)
    }

    /// The run of a plan that an object has asked for already.
    fn asked_for_by(&self, object: &str, plan: &PlanName) -> Result<Option<RunId>, Refusal> {
        if plan.origin().is_none() {
            return Err(Refusal::Invalid(format!("plan {plan} came from no cluster, and no object of one starts it")));
        }
        if object.is_empty() || object.len() > NAME_MAX {
            return Err(Refusal::Invalid(format!("an object's UID has 1 to {NAME_MAX} characters")));
        }
        let run = self.runs.values().find(|run| run.id.plan == *plan && run.object.as_deref() == Some(object));
        Ok(run.map(|run| run.id.clone()))
    }

    /// The targets of a step as the mesh is now. A node that joins later is not in this run.
    /// What a bundled plan does to clusters is left out of a mesh that has none, as what it does to systems without a
    /// connection is; whoever writes a plan for clusters expects some.
    /// A plan that came from a cluster acts there, whatever other clusters there are.
    fn targets(&self, step: &Step, plan: &PlanName, bundled: bool, connection: Option<&str>) -> OrdMap<Target, Work> {
        let kind = catalogue::kind(&step.uses);
        if let Some((kind, pattern)) = kind.and_then(|kind| Some((kind, kind.connection.pattern(&step.with)?))) {
            let pattern = connection.unwrap_or(pattern);
            if catalogue::backs_up_mesh(&step.uses, &step.with) && pattern.parse::<ConnectionName>().is_err() {
                return std::iter::once((Target::Once, Work::new(WorkState::Omitted { reason: NO_MESH.to_owned() }))).collect();
            }
            return self.connection_targets(kind, pattern);
        }
        let scope = kind.map_or(Scope::Any, |kind| kind.scope);
        let targets: OrdMap<Target, Work> = match step.run_on {
            RunOn::Once => std::iter::once((Target::Once, Work::new(WorkState::Waiting))).collect(),
            RunOn::Cluster => {
                let is_meant = |cluster: &&ClusterName| plan.origin().is_none_or(|origin| origin.cluster == cluster.as_str());
                let clusters = self.known_clusters().filter(is_meant);
                clusters.map(|cluster| (Target::Cluster(cluster.clone()), Work::new(WorkState::Waiting))).collect()
            }
            RunOn::Node if scope == Scope::Node => {
                let clusters: BTreeSet<&ClusterName> = self.known_clusters().collect();
                let is_meant = |id: &AgentId| id.is_node() && clusters.contains(&id.cluster);
                let nodes = self.agents.iter().filter(|(id, agent)| is_meant(id) && agent.hello.is_some());
                nodes.map(|(id, _)| (Target::Node(id.clone()), Work::new(WorkState::Waiting))).collect()
            }
            RunOn::Node => self
                .agents
                .iter()
                .filter(|(id, agent)| id.is_node() && agent.hello.is_some() && (scope == Scope::Any || agent.speaks_for_host()))
                .map(|(id, _)| (Target::Node(id.clone()), Work::new(WorkState::Waiting)))
                .collect(),
        };
        let is_by_cluster_agent = step.run_on == RunOn::Cluster || scope == Scope::Node;
        if targets.is_empty() && bundled && is_by_cluster_agent && self.feature_level >= CLUSTER_KINDS {
            let reason = "the mesh has no cluster: start an agent that speaks for one (docs/clusters.md)".to_owned();
            return std::iter::once((Target::Once, Work::new(WorkState::Omitted { reason }))).collect();
        }
        if targets.is_empty() {
            let reason = match step.run_on {
                RunOn::Cluster if self.feature_level >= NAMES_CLUSTERS => NO_CLUSTER,
                RunOn::Node if scope == Scope::Node && self.known_clusters().next().is_none() => NO_CLUSTER,
                _ => "no node has an agent that could do it: see `mainstay node list`",
            };
            let reason = reason.to_owned();
            return std::iter::once((Target::Once, Work::new(WorkState::Unreachable { reason }))).collect();
        }
        targets
    }

    /// The clusters that some agent speaks for, each as often as it has such agents.
    pub(crate) fn known_clusters(&self) -> impl Iterator<Item = &ClusterName> {
        self.agents.iter().filter(|(id, agent)| id.is_replica() && agent.hello.is_some()).map(|(id, _)| &id.cluster)
    }

    /// Every connection of the right kind that fits. A name is a target also while nobody has it: somebody
    /// expects it to be there.
    fn connection_targets(&self, kind: &Kind, pattern: &str) -> OrdMap<Target, Work> {
        let kinds = kind.connection.kinds();
        if let Ok(name) = pattern.parse::<ConnectionName>() {
            return std::iter::once((Target::Connection(name), Work::new(WorkState::Waiting))).collect();
        }
        if pattern.is_empty() && self.feature_level >= KNOWS_UNNAMED {
            return std::iter::once((Target::Once, Work::new(WorkState::Omitted { reason: UNNAMED.to_owned() }))).collect();
        }
        let known = self.agents.values().filter_map(|agent| agent.hello.as_ref()).flat_map(|hello| &hello.connections);
        // An older member would leave them out when it applies the same entry.
        let is_known = |own: &str| kinds.contains(&own) && (own != OBJECTS || self.feature_level >= EXPORTS_OBJECTS);
        // What any agent may have called so is not a reason to back up the mesh there.
        let is_meant = |own: &str| kind.name != catalogue::BACKUP_RUN || own != catalogue::MESH;
        let fitting = known.filter(|own| is_known(&own.kind) && is_meant(&own.kind) && catalogue::fits(pattern, own.name.as_str()));
        let targets: OrdMap<Target, Work> = fitting.map(|own| (Target::Connection(own.name.clone()), Work::new(WorkState::Waiting))).collect();
        if targets.is_empty() {
            let first = kinds.first().copied().unwrap_or_default();
            let fits = if pattern == "*" { String::new() } else { format!(" fits `{pattern}`") };
            let reason =
                format!("no connection of kind {first}{fits}: add to an agent's connections.toml:  [connections.NAME]  kind = \"{first}\"  url = …");
            return std::iter::once((Target::Once, Work::new(WorkState::Omitted { reason }))).collect();
        }
        targets
    }
}
