//! Kinds of objects: which are exported unless somebody says otherwise, and in which order they can be made again.

use std::fmt;
use std::str::FromStr;

/// Kinds that are exported where none are named; Secrets only where they are asked for. What others make of these (pods, jobs of
/// CronJobs) comes by itself.
const USUAL: [&str; 14] = [
    "v1/ServiceAccount",
    "rbac.authorization.k8s.io/v1/Role",
    "rbac.authorization.k8s.io/v1/RoleBinding",
    "v1/ConfigMap",
    "v1/PersistentVolumeClaim",
    "v1/Service",
    "networking.k8s.io/v1/NetworkPolicy",
    "apps/v1/StatefulSet",
    "apps/v1/Deployment",
    "apps/v1/DaemonSet",
    "batch/v1/CronJob",
    "networking.k8s.io/v1/Ingress",
    "autoscaling/v2/HorizontalPodAutoscaler",
    "policy/v1/PodDisruptionBudget",
];
const SECRET: &str = "v1/Secret";
/// Each of these before what needs it; kinds that are not named here stand where `*` does.
const ORDER: [&str; 20] = [
    "LimitRange",
    "ResourceQuota",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ConfigMap",
    "Secret",
    "PersistentVolumeClaim",
    "Service",
    "NetworkPolicy",
    "*",
    "StatefulSet",
    "Deployment",
    "DaemonSet",
    "ReplicaSet",
    "CronJob",
    "Job",
    "Ingress",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
];
/// What says how something is at the moment, or is made by the cluster from other objects: there is nothing to put back.
const NEVER: [&str; 9] =
    ["Pod", "Event", "Endpoints", "Lease", "ControllerRevision", "PodMetrics", "CSIStorageCapacity", "TokenReview", "LocalSubjectAccessReview"];
const PART_MAX: usize = 253;

/// A kind of objects, in a version of its API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// `v1`, `apps/v1`.
    pub api_version: String,
    /// `ConfigMap`, `Deployment`.
    pub kind: String,
}

/// Why a text is no kind that is exported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAKind {
    /// It is no such text.
    #[error("`{0}` is no version and kind, such as apps/v1/Deployment or v1/ConfigMap")]
    Form(String),
    /// There is nothing to put back.
    #[error("a {0} says how something is at the moment, or comes of other objects by itself: there is nothing to put back")]
    Passing(String),
}

impl Kind {
    /// Of its API; empty for the first one.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// As it is counted: `ConfigMap`, `Deployment.apps`.
    #[must_use]
    pub fn name(&self) -> String {
        if self.group().is_empty() { self.kind.clone() } else { format!("{}.{}", self.kind, self.group()) }
    }

    /// Where it stands in the order in which objects can be made again.
    pub(super) fn place(&self) -> (usize, String) {
        let at = |name: &str| ORDER.iter().position(|kind| *kind == name);
        (at(&self.kind).or_else(|| at("*")).unwrap_or(ORDER.len()), self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.api_version, self.kind)
    }
}

impl FromStr for Kind {
    type Err = NotAKind;

    fn from_str(text: &str) -> Result<Kind, NotAKind> {
        let form = || NotAKind::Form(text.to_owned());
        let (api_version, kind) = text.rsplit_once('/').ok_or_else(form)?;
        let is_plain =
            |text: &str| !text.is_empty() && text.len() <= PART_MAX && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
        let is_kind = kind.starts_with(|c: char| c.is_ascii_uppercase()) && is_plain(kind);
        if !is_kind || api_version.matches('/').count() > 1 || !api_version.split('/').all(is_plain) {
            return Err(form());
        }
        if NEVER.contains(&kind) {
            return Err(NotAKind::Passing(kind.to_owned()));
        }
        Ok(Kind { api_version: api_version.to_owned(), kind: kind.to_owned() })
    }
}

/// What is exported where no kinds are named.
#[must_use]
pub fn usual(secrets: bool) -> Vec<Kind> {
    USUAL.iter().copied().chain(secrets.then_some(SECRET)).filter_map(|kind| kind.parse().ok()).collect()
}

/// Whether an object of a kind and a name is one that a pattern means, such as `Deployment`, `ConfigMap/cache-*` or `*/web`.
#[must_use]
pub fn fits_object(pattern: &str, kind: &str, name: &str) -> bool {
    let (of_kind, of_name) = pattern.split_once('/').unwrap_or((pattern, "*"));
    fits(of_kind, kind) && fits(of_name, name)
}

/// Whether a name fits a pattern, in which `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_with_its_version() {
        let deployment: Kind = "apps/v1/Deployment".parse().unwrap();
        assert_eq!((deployment.api_version.as_str(), deployment.group(), deployment.name().as_str()), ("apps/v1", "apps", "Deployment.apps"));
        let config: Kind = "v1/ConfigMap".parse().unwrap();
        assert_eq!((config.group(), config.name().as_str(), config.to_string().as_str()), ("", "ConfigMap", "v1/ConfigMap"));
        for wrong in ["", "Deployment", "apps/v1/deployment", "a/b/c/Deployment", "apps//Deployment", "apps/v1/", "v1/Config Map"] {
            assert_eq!(wrong.parse::<Kind>(), Err(NotAKind::Form(wrong.to_owned())));
        }
        assert!("v1/Pod".parse::<Kind>().unwrap_err().to_string().contains("nothing to put back"));
    }

    #[test]
    fn secrets_are_usual_only_where_they_are_asked_for() {
        let has = |kinds: &[Kind], name: &str| kinds.iter().any(|kind| kind.kind == name);
        let (without, with) = (usual(false), usual(true));
        assert_eq!((without.len(), with.len()), (USUAL.len(), USUAL.len() + 1));
        assert!(!has(&without, "Secret") && has(&with, "Secret") && !has(&with, "Job"));
    }

    #[test]
    fn what_is_needed_comes_before_what_needs_it() {
        let mut kinds = usual(true);
        kinds.push("shop.example/v1/Shop".parse().unwrap());
        kinds.sort_by_key(Kind::place);
        let names: Vec<&str> = kinds.iter().map(|kind| kind.kind.as_str()).collect();
        let expected = "ServiceAccount Role RoleBinding ConfigMap Secret PersistentVolumeClaim Service NetworkPolicy Shop StatefulSet Deployment \
                        DaemonSet CronJob Ingress HorizontalPodAutoscaler PodDisruptionBudget";
        assert_eq!(names.join(" "), expected);
    }

    #[test]
    fn a_pattern_means_a_kind_and_perhaps_a_name() {
        for (pattern, is_meant) in [
            ("ConfigMap", true),
            ("ConfigMap/web-settings", true),
            ("ConfigMap/web-*", true),
            ("*/web-settings", true),
            ("*/*-set*", true),
            ("Config*", true),
            ("Secret", false),
            ("ConfigMap/web", false),
            ("ConfigMap/*-web", false),
            ("configmap", false),
        ] {
            assert_eq!(fits_object(pattern, "ConfigMap", "web-settings"), is_meant, "{pattern}");
        }
        assert!(!fits("ab*ba", "aba") && fits("a*", "a") && fits("*", ""));
    }
}
