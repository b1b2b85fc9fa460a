//! The custom resources of a cluster: what their objects ask for goes to the mesh, and what the mesh has done about it,
//! to the objects. The mesh is the source of truth: what somebody writes into a status is put back.
//!
//! ```text
//!   API server ── lists, watches ─▶ objects ─┐                            ┌▶ mesh: apply, remove, start
//!                                            ├─ decide, one plan at a time ┤
//!   mesh ── plans and runs, as they change ──┘                            └▶ API server: status, objects of runs, events
//! ```
//! Level-triggered: whatever changes, all of a plan is looked at again, and a process that begins anew has nothing to
//! remember. Nothing is decided before all objects and all plans are known. Only the replica that acts does any of it.
//!
//! A plan's object needs no finalizer: the mesh has the plans, so that one whose object is gone is seen to be so, however
//! long nobody looked. A finalizer would hold up the end of a namespace where no agent is left.

mod carry;
mod condition;
mod decide;
mod event;
mod known;
mod mesh;
mod object;
mod source;
mod status;

use mainstay_client::Mesh;
use mainstay_core::AgentId;
use tokio::sync::watch;

use self::carry::Carrier;
use self::known::{Objects, PlansSink, RunsSink};
use super::Cluster;
use super::view::ask::Ask;
use super::view::follow::{Heard, follow};
use super::view::metrics::ViewMetrics;

/// API paths of the objects.
const GROUP: &str = "/apis/mainstay.dev/v1alpha1";
const PLANS: &str = "maintenanceplans";
const RUNS: &str = "maintenanceruns";
/// Objects of one page: each may have a MiB and more, whoever wrote it.
const PAGE: usize = 20;

/// Mirrors whenever this replica acts. Ends with the task that runs it.
pub async fn keep(cluster: Cluster, mesh: Mesh, agent: AgentId, mut acts: watch::Receiver<bool>, metrics: ViewMetrics) {
    loop {
        if acts.wait_for(|acts| *acts).await.is_err() {
            return;
        }
        let ask = Ask::new(cluster.watching.clone(), metrics.requests.clone()).in_pages_of(PAGE);
        let objects = Objects::default();
        let (plans, runs) = (format!("{GROUP}/{PLANS}"), format!("{GROUP}/{RUNS}"));
        let (plans_heard, runs_heard) = (Heard::default(), Heard::default());
        tokio::select! {
            biased;
            ended = acts.wait_for(|acts| !*acts) => if ended.is_err() { return },
            never = follow(&ask, &plans, PlansSink(objects.clone()), &plans_heard) => match never {},
            never = follow(&ask, &runs, RunsSink(objects.clone()), &runs_heard) => match never {},
            never = mesh::follow(&mesh, &objects) => match never {},
            never = Carrier::new(&cluster, &mesh, &agent, &objects).run() => match never {},
        }
    }
}
