//! Disruption budgets of a workload's pods.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::StepError;
use super::nodes::budget::Budget;
use crate::kube::{Cluster, Selected};

/// A disruption budget of these pods that lets none of them go at this moment.
///
/// # Errors
/// When the API server refuses or does not answer.
pub async fn closed(kind: &str, cluster: &Cluster, namespace: &str, workload: &Value) -> Result<Option<String>, StepError> {
    let path = format!("/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets");
    let budgets: Vec<Budget> = cluster.list(&path, Selected::default()).await.map_err(|error| super::failed(kind, &error))?;
    let labels = workload.pointer("/spec/template/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let labels: BTreeMap<String, String> = labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    let closed = budgets.into_iter().find(|budget| budget.fits(&labels) && budget.is_closed());
    Ok(closed.map(|budget| budget.metadata.name))
}
