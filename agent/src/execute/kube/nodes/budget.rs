//! Whether disruption budgets can let pods go. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::sort::Pod;

/// A disruption budget, as far as it is looked at here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Budget {
    pub metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Meta {
    pub name: String,
    pub namespace: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Spec {
    /// Nothing fits where there is none.
    selector: Option<Selector>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<Requirement>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    values: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    disruptions_allowed: u32,
    current_healthy: u32,
    desired_healthy: u32,
    expected_pods: u32,
}

/// What a budget says to the eviction of one of its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    Yes,
    /// Not as the pods are now.
    NotNow(String),
    /// Not however well its pods are.
    Never(String),
}

impl Selector {
    fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(name, value)| labels.get(name) == Some(value)) && self.match_expressions.iter().all(|one| one.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match &*self.operator {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => value.is_none_or(|value| !self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            // What nobody here knows is taken to fit: it is said, and does not come as a surprise.
            _ => true,
        }
    }
}

impl Budget {
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    pub fn is_for(&self, pod: &Pod) -> bool {
        self.metadata.namespace == pod.metadata.namespace && self.fits(&pod.metadata.labels)
    }

    /// Whether it is for pods with these labels, in its own namespace.
    pub fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.spec.selector.as_ref().is_some_and(|selector| selector.fits(labels))
    }

    /// Whether it lets a pod go at this moment.
    pub fn is_closed(&self) -> bool {
        self.status.disruptions_allowed == 0
    }

    pub fn says(&self) -> Says {
        let Status { disruptions_allowed, current_healthy, desired_healthy, expected_pods } = self.status;
        if disruptions_allowed > 0 {
            Says::Yes
        } else if expected_pods == 0 {
            Says::NotNow("its controller has not counted its pods yet: it lets none go now".to_owned())
        } else if desired_healthy >= expected_pods {
            Says::Never(format!("it needs {desired_healthy} healthy pods, and there are to be {expected_pods}: it never lets one go"))
        } else {
            Says::NotNow(format!("it needs {desired_healthy} healthy pods, and has {current_healthy} of {expected_pods}: it lets none go now"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn budget(selector: &Value, status: [u32; 4]) -> Budget {
        let [allowed, healthy, desired, expected] = status;
        let status = json!({ "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": expected });
        serde_json::from_value(json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": { "selector": selector }, "status": status }))
            .unwrap()
    }

    fn pod(namespace: &str, labels: &Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "p", "namespace": namespace, "labels": labels } })).unwrap()
    }

    #[test]
    fn a_budget_is_for_the_pods_that_its_selector_fits() {
        let status = [1, 2, 1, 2];
        let web = pod("shop", &json!({ "app": "web", "tier": "front" }));
        let is_for = |selector: &Value| budget(selector, status).is_for(&web);
        assert!(is_for(&json!({ "matchLabels": { "app": "web" } })) && !is_for(&json!({ "matchLabels": { "app": "cart" } })));
        assert!(is_for(&json!({})) && !is_for(&Value::Null), "an empty selector fits all, and none fits nothing");
        let needs =
            |operator: &str, values: Value| is_for(&json!({ "matchExpressions": [{ "key": "tier", "operator": operator, "values": values }] }));
        assert!(
            needs("In", json!(["front"])) && !needs("In", json!(["back"])) && needs("NotIn", json!(["back"])) && !needs("NotIn", json!(["front"]))
        );
        assert!(needs("Exists", json!([])) && !needs("DoesNotExist", json!([])));
        assert!(!budget(&json!({}), status).is_for(&pod("other", &json!({}))), "in its own namespace only");
    }

    #[test]
    fn one_that_needs_all_of_its_pods_never_lets_one_go() {
        let says = |status| budget(&json!({}), status).says();
        assert_eq!(says([1, 3, 2, 3]), Says::Yes);
        assert_eq!(says([0, 2, 2, 2]), Says::Never("it needs 2 healthy pods, and there are to be 2: it never lets one go".into()));
        assert_eq!(says([0, 1, 2, 2]), says([0, 2, 2, 2]), "also while it is not met");
        assert!(matches!(says([0, 0, 0, 0]), Says::NotNow(_)), "it was made a moment ago");
        assert_eq!(says([0, 2, 2, 3]), Says::NotNow("it needs 2 healthy pods, and has 2 of 3: it lets none go now".into()));
    }
}
