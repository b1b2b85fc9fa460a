//! The `-o json` form: the messages of `mainstay.v1` in camelCase, enums as words.

use serde::Serialize;

use crate::error::CliError;

/// A message as indented JSON and a line break.
pub fn json(message: &impl Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(message).map_err(|error| CliError::failed(format!("the answer cannot be written as JSON: {error}")))?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use mainstay_proto::v1::{
        ApplyPlanResponse, AuditRecord, AwaitedStep, Finding, Lease, LeaseHolder, LeaseKind, LeaseSpec, LinkState, ListArtifactsResponse,
        ListAuditResponse, Node, Plan, StartRunResponse, Verdict, Wait, WaitKind, WantedApproval, WhyResponse,
    };
    use serde_json::{Value, json};

    use super::super::artifact::tests::artifact;
    use super::super::plan::preview::tests::deploy;
    use super::super::report::tests::day;
    use super::*;

    fn value(message: &impl Serialize) -> Value {
        serde_json::from_str(&json(message).unwrap()).unwrap()
    }

    /// The form that programs rely on, so that a change of it shows in review.
    #[test]
    fn main_messages() {
        let holder = LeaseHolder {
            identity: "operator/ana".into(),
            incarnation: "863633ba".into(),
            token: "1.7".into(),
            since_unix_ms: 1_000,
            attributes: [("pid".to_owned(), "7".to_owned())].into(),
        };
        let run = day();
        let approval = WantedApproval { steps: vec![AwaitedStep { name: "switch".into(), ..AwaitedStep::default() }], ..WantedApproval::default() };
        let all = json!({
            "node": value(&Node { cluster: "local".into(), name: "a1".into(), link: LinkState::Up.into(), host: true, kinds: vec!["wait".into()], ..Node::default() }),
            "lease": value(&Lease { name: "demo".into(), spec: Some(LeaseSpec { slots: 1, ttl_ms: 30_000, kind: LeaseKind::Ttl.into() }), held: vec![holder], waiting: vec![] }),
            "finding": value(&Finding { fingerprint: "f".into(), severity: Verdict::Critical.into(), check: "disk.used".into(), ..Finding::default() }),
            "plan": value(&Plan { name: "daily".into(), revision: 1, bundled: true, ..Plan::default() }),
            "audit": value(&ListAuditResponse { records: vec![AuditRecord { number: 1, ..AuditRecord::default() }], intact: true }),
            "start": value(&StartRunResponse { run: "daily-1".into() }),
            "why": value(&WhyResponse { waits: vec![Wait { step: "logs".into(), kind: WaitKind::Approval.into(), approval: Some(approval), ..Wait::default() }], ..WhyResponse::default() }),
            "artifacts": value(&ListArtifactsResponse { artifacts: vec![artifact("vacuum", "prod/db-1", 1, "output.log")] }),
            "run": value(&run),
            "preview": value(&deploy()),
            "applied": value(&ApplyPlanResponse { name: "daily".into(), revision: 2, changed: true }),
        });
        insta::assert_snapshot!(serde_json::to_string_pretty(&all).unwrap());
    }
}
