//! Values for a chart: what the plan says, over what Secrets and ConfigMaps of the namespace have.
//!
//! They are in memory, and helm reads them from there. What came from a Secret is taken out of all that the attempt says.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::super::StepError;
use super::super::kube::acting;
use super::program::Held;
use super::release::Release;
use crate::kube::account::Right;
use crate::kube::escaped;

/// Values files of one step.
const FILES_MAX: usize = 16;

/// Where a values file is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    secret: Option<String>,
    config_map: Option<String>,
    #[serde(default = "usual")]
    key: String,
}

fn usual() -> String {
    "values.yaml".to_owned()
}

#[derive(Deserialize)]
struct Secret {
    #[serde(default)]
    data: BTreeMap<String, ByteString>,
}

#[derive(Deserialize)]
struct ConfigMap {
    #[serde(default)]
    data: BTreeMap<String, String>,
}

/// In the order in which helm is to read them: the last one goes over the others.
///
/// # Errors
/// What is named and not there, or may not be read.
pub async fn files(release: &Release<'_>, values: &Map<String, Value>, from: &[Source]) -> Result<Vec<Held>, StepError> {
    if from.len() > FILES_MAX {
        return Err(release.failed(&format!("{} values files, and at most {FILES_MAX}", from.len())));
    }
    if from.iter().any(|one| one.config_map.is_some()) {
        let right = Right { verb: "get", group: "", resource: "configmaps", namespace: &release.namespace };
        acting::may(release.kind, &release.cluster, &[right]).await?;
    }
    let held = |bytes: &[u8]| Held::new(bytes).map_err(|error| release.failed(&format!("values cannot be held in memory: {error}")));
    let mut files = Vec::new();
    for one in from {
        let (kind, name) = match (&one.secret, &one.config_map) {
            (Some(name), None) => ("secrets", name),
            (None, Some(name)) => ("configmaps", name),
            _ => return Err(release.failed("each of `valuesFrom` names one `secret` or one `configMap`")),
        };
        let path = format!("/api/v1/namespaces/{}/{kind}/{}", escaped(&release.namespace), escaped(name));
        let failed = |error: crate::kube::ClusterError| release.failed(&error.to_string());
        let text = if kind == "secrets" {
            let secret: Secret = release.cluster.get(&path).await.map_err(failed)?;
            let text = secret.data.into_iter().find(|(key, _)| *key == one.key).map(|(_, ByteString(bytes))| Zeroizing::new(bytes));
            if let Some(text) = &text {
                for word in secrets_in(&String::from_utf8_lossy(text)) {
                    release.context.secrets.keep(word);
                }
            }
            text
        } else {
            let map: ConfigMap = release.cluster.get(&path).await.map_err(failed)?;
            map.data.into_iter().find(|(key, _)| *key == one.key).map(|(_, text)| Zeroizing::new(text.into_bytes()))
        };
        let text = text.ok_or_else(|| release.failed(&format!("{kind} {name} has no key {}", one.key)))?;
        files.push(held(&text)?);
    }
    if !values.is_empty() {
        let text = Zeroizing::new(serde_json::to_vec(values).map_err(|error| release.failed(&error.to_string()))?);
        files.push(held(&text)?);
    }
    Ok(files)
}

/// What in a values file may be a secret: what stands behind each key, and each line that stands for itself.
fn secrets_in(text: &str) -> Vec<Zeroizing<String>> {
    let value = |line: &str| {
        let line = line.trim().trim_start_matches("- ");
        let value = line.split_once(": ").map_or(line, |(_, value)| value).trim();
        let quoted = value.strip_prefix(['"', '\'']).and_then(|value| value.strip_suffix(['"', '\'']));
        quoted.unwrap_or(value).to_owned()
    };
    let is_word =
        |value: &String| value.len() >= 4 && !value.ends_with(':') && !value.starts_with('#') && !["true", "false", "null"].contains(&value.as_str());
    text.lines().map(value).filter(is_word).map(Zeroizing::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_a_key_may_be_a_secret() {
        let text = "# of the shop\ndb:\n  user: shop\n  password: \"hunter2 and more\"\n  tls: true\nkeys:\n  - 'first-key'\npem: |\n  AAAABBBB\n";
        let found: Vec<String> = secrets_in(text).into_iter().map(|word| word.to_string()).collect();
        assert_eq!(found, ["shop", "hunter2 and more", "first-key", "AAAABBBB"]);
    }

    #[test]
    fn a_source_is_a_secret_or_a_config_map() {
        let from: Source = serde_json::from_str(r#"{ "secret": "web" }"#).expect("one");
        assert_eq!((from.secret.as_deref(), from.key.as_str()), (Some("web"), "values.yaml"));
        assert!(serde_json::from_str::<Source>(r#"{ "secrets": "web" }"#).is_err());
    }
}
