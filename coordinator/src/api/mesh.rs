//! The mesh itself: status, nodes, findings, audit.

use std::sync::Arc;

use mainstay_client::work;
use mainstay_core::authz::{Method, Subject};
use mainstay_core::id::ClusterName;
use mainstay_core::state::finding::Finding;
use mainstay_core::{AgentId, Command, invariant};
use mainstay_proto::convert::{
    audit_to_wire, connections_to_wire, fact_to_wire, finding_to_wire, known_to_wire, missing_connection_to_wire, node_to_wire, parsed,
};
use mainstay_proto::v1;
use tonic::{Request, Response, Status};

use super::front::{Front, request_key};
use super::{overview, snapshot, status};

/// Records answered when nobody says how many.
const AUDIT_DEFAULT: usize = 100;
/// Findings in one answer, the worst: what fits into a message, and more than anybody reads.
const FINDINGS_SHOWN: usize = 5_000;

pub struct MeshApi(pub Arc<Front>);

#[tonic::async_trait]
impl v1::mesh_server::Mesh for MeshApi {
    async fn get_status(&self, request: Request<v1::GetStatusRequest>) -> Result<Response<v1::Status>, Status> {
        let caller = self.0.permit_here(&request, Method::Look, Subject::None)?;
        Ok(Response::new(overview::status(&self.0, &caller).await))
    }

    async fn list_nodes(&self, request: Request<v1::ListNodesRequest>) -> Result<Response<v1::ListNodesResponse>, Status> {
        let (office, state) = self.0.read(&request, Method::Look).await?;
        let cluster = &request.get_ref().cluster;
        let cluster = (!cluster.is_empty()).then(|| parsed::<ClusterName>("cluster", cluster)).transpose().map_err(status::invalid)?;
        let wanted = state.agents.iter().filter(|(id, _)| cluster.as_ref().is_none_or(|cluster| id.cluster == *cluster));
        let nodes = wanted.map(|(id, agent)| node_to_wire(id, agent, &state)).collect();
        let (told, now) = (office.tell(|memory| memory.clusters()), office.now());
        let told = told.iter().filter(|(name, _)| cluster.as_ref().is_none_or(|cluster| *name == cluster));
        let clusters = told.filter_map(|(name, facts)| known_to_wire(name, facts, now)).collect();
        Ok(Response::new(v1::ListNodesResponse { nodes, clusters }))
    }

    async fn get_node(&self, request: Request<v1::GetNodeRequest>) -> Result<Response<v1::NodeDetails>, Status> {
        let (office, state) = self.0.read(&request, Method::Look).await?;
        let v1::GetNodeRequest { cluster, name } = request.into_inner();
        let cluster: ClusterName = parsed("cluster", &cluster).map_err(status::invalid)?;
        // A node of Kubernetes may have a name that no agent has.
        let id = format!("{cluster}/{name}").parse::<AgentId>().ok();
        let agent = id.as_ref().and_then(|id| state.agents.get(id).map(|agent| node_to_wire(id, agent, &state)));
        let facts = office.tell(|memory| memory.clusters()).get(&cluster).cloned();
        let fact = facts.as_ref().and_then(|facts| facts.nodes().get(name.as_str())).map(|fact| fact_to_wire(fact));
        if agent.is_none() && fact.is_none() {
            return Err(Status::not_found(format!("there is no node {cluster}/{name}, or nobody has told of it: see  mainstay node list")));
        }
        let known = facts.and_then(|facts| known_to_wire(&cluster, &facts, office.now()));
        let known = known.map(|known| v1::KnownCluster { nodes: Vec::new(), ..known });
        Ok(Response::new(v1::NodeDetails { agent, known, fact }))
    }

    async fn list_connections(&self, request: Request<v1::ListConnectionsRequest>) -> Result<Response<v1::ListConnectionsResponse>, Status> {
        let (_, state) = self.0.read(&request, Method::Look).await?;
        Ok(Response::new(v1::ListConnectionsResponse { connections: connections_to_wire(&state) }))
    }

    async fn forget_node(&self, request: Request<v1::ForgetNodeRequest>) -> Result<Response<v1::ForgetNodeResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::ForgetNode, Subject::None)?;
        let key = request_key(&request)?;
        let v1::ForgetNodeRequest { cluster, name, dry_run } = request.into_inner();
        let agent: AgentId = parsed("node", &format!("{cluster}/{name}")).map_err(status::invalid)?;
        self.0.change(&office, by, key, Command::ForgetAgent { agent }, dry_run).await?;
        Ok(Response::new(v1::ForgetNodeResponse {}))
    }

    async fn list_findings(&self, request: Request<v1::ListFindingsRequest>) -> Result<Response<v1::ListFindingsResponse>, Status> {
        let (_, state) = self.0.read(&request, Method::Look).await?;
        let mut open: Vec<&Finding> = state.findings.open.values().collect();
        open.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| (&a.target, &a.check, &a.subject).cmp(&(&b.target, &b.check, &b.subject))));
        let cleared = state.findings.cleared.iter().rev().filter(|_| request.get_ref().cleared);
        let findings = open.into_iter().chain(cleared).take(FINDINGS_SHOWN).map(finding_to_wire).collect();
        Ok(Response::new(v1::ListFindingsResponse { findings }))
    }

    async fn list_audit(&self, request: Request<v1::ListAuditRequest>) -> Result<Response<v1::ListAuditResponse>, Status> {
        let (_, state) = self.0.read(&request, Method::ReadAudit).await?;
        let limit = match request.get_ref().limit {
            0 => AUDIT_DEFAULT,
            limit => limit as usize,
        };
        let records = &state.audit.records;
        let newest = records.iter().skip(records.len().saturating_sub(limit)).map(audit_to_wire).collect();
        Ok(Response::new(v1::ListAuditResponse { records: newest, intact: state.audit.first_broken().is_none() }))
    }

    type ReadSnapshotStream = snapshot::Pieces;

    async fn read_snapshot(&self, request: Request<v1::ReadSnapshotRequest>) -> Result<Response<Self::ReadSnapshotStream>, Status> {
        snapshot::read(&self.0, &request).await.map(Response::new)
    }

    async fn check(&self, request: Request<v1::CheckRequest>) -> Result<Response<v1::CheckResponse>, Status> {
        let (_, state) = self.0.read(&request, Method::Look).await?;
        let applied = self.0.consensus.state().index;
        // All of the state is walked.
        let looked = work::blocking(move || (invariant::broken(&state), state.missing_connections()));
        let (broken, missing) = looked.await.map_err(|error| Status::internal(error.to_string()))?;
        let told = |known: &invariant::Invariant| v1::Invariant {
            name: known.name.to_owned(),
            says: known.says.to_owned(),
            broken: broken.iter().find(|(name, _)| *name == known.name).map(|(_, what)| what.clone()).unwrap_or_default(),
        };
        Ok(Response::new(v1::CheckResponse {
            applied,
            invariants: invariant::INVARIANTS.iter().map(told).collect(),
            missing_connections: missing.into_iter().map(missing_connection_to_wire).collect(),
        }))
    }
}
