//! The variables `MAINSTAY_…`.

use std::str::FromStr;

use super::Fragment;
use super::identity::IdentityFragment;

/// What the environment says. Values that cannot be read go to `problems`; empty ones count as not there.
pub(super) fn fragment(variable: &dyn Fn(&str) -> Option<String>, problems: &mut Vec<String>) -> Fragment {
    let text = |name: &str| variable(name).filter(|value| !value.is_empty());
    let list =
        |name: &str| text(name).map(|value| value.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect::<Vec<_>>());
    Fragment {
        cluster: text("MAINSTAY_CLUSTER"),
        node: text("MAINSTAY_NODE"),
        cluster_agent: text("MAINSTAY_CLUSTER_AGENT"),
        hands: parsed(&text, "MAINSTAY_HANDS", "true or false", problems),
        kubeconfig: text("MAINSTAY_KUBECONFIG").map(Into::into),
        dir: text("MAINSTAY_DIR").map(Into::into),
        coordinators: list("MAINSTAY_COORDINATORS"),
        enrol: list("MAINSTAY_ENROL"),
        join_token_file: text("MAINSTAY_JOIN_TOKEN_FILE").map(Into::into),
        join_token: text("MAINSTAY_JOIN_TOKEN"),
        pod_token_file: text("MAINSTAY_POD_TOKEN_FILE").map(Into::into),
        root_sha256: text("MAINSTAY_ROOT_SHA256"),
        vouch_for: list("MAINSTAY_VOUCH_FOR"),
        vouch_for_hands: list("MAINSTAY_VOUCH_FOR_HANDS"),
        identity_secret: text("MAINSTAY_IDENTITY_SECRET"),
        custom_resources: parsed(&text, "MAINSTAY_CUSTOM_RESOURCES", "true or false", problems),
        node_conditions: parsed(&text, "MAINSTAY_NODE_CONDITIONS", "true or false", problems),
        identity: IdentityFragment::of(
            text("MAINSTAY_IDENTITY_CHAIN").map(Into::into),
            text("MAINSTAY_IDENTITY_KEY").map(Into::into),
            text("MAINSTAY_IDENTITY_ROOTS").map(Into::into),
        ),
        host: parsed(&text, "MAINSTAY_HOST", "true or false", problems),
        host_root: text("MAINSTAY_HOST_ROOT").map(Into::into),
        services: None,
        logs: list("MAINSTAY_LOGS"),
        certificates: list("MAINSTAY_CERTIFICATES"),
        trust: list("MAINSTAY_TRUST"),
        allow_addresses: list("MAINSTAY_ALLOW_ADDRESSES"),
        kubelet: text("MAINSTAY_KUBELET"),
        kubelet_token_file: text("MAINSTAY_KUBELET_TOKEN_FILE").map(Into::into),
        helm: text("MAINSTAY_HELM").map(Into::into),
        helm_charts: text("MAINSTAY_HELM_CHARTS").map(Into::into),
        helm_registry_config: text("MAINSTAY_HELM_REGISTRY_CONFIG").map(Into::into),
        policy_file: text("MAINSTAY_POLICY_FILE").map(Into::into),
        connections: None,
        connections_file: text("MAINSTAY_CONNECTIONS").map(Into::into),
        http_listen: text("MAINSTAY_HTTP_LISTEN"),
        http_root_path: text("MAINSTAY_HTTP_ROOT_PATH"),
        log: text("MAINSTAY_LOG"),
        log_format: text("MAINSTAY_LOG_FORMAT"),
        drain_seconds: parsed(&text, "MAINSTAY_DRAIN_SECONDS", "a number of seconds", problems),
        die_with_parent: parsed(&text, "MAINSTAY_DIE_WITH_PARENT", "true or false", problems),
    }
}

fn parsed<T: FromStr>(text: &dyn Fn(&str) -> Option<String>, name: &str, what: &str, problems: &mut Vec<String>) -> Option<T> {
    let value = text(name)?;
    value.parse().map_err(|_| problems.push(format!("{name} is `{value}`, and should be {what}"))).ok()
}
