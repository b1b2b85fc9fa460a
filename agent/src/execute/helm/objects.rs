//! What a chart would make, and whether the runner may: before helm changes the first of them.
//!
//! helm would find out in the middle that a right is missing. So it renders the release first, and the API server is
//! asked for each kind of object in it. What a chart brings along under `crds/` is not rendered, and what the cluster
//! does not know yet is left for helm to say.

use std::collections::BTreeSet;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::super::StepError;
use super::super::kube::acting;
use super::Wait;
use super::release::Release;
use crate::kube::ClusterError;
use crate::kube::account::Right;

/// How helm stands for a Secret that it does not show.
const HIDDEN: &str = "# HIDDEN:";
/// Kinds of objects that are asked for.
const KINDS_MAX: usize = 100;

#[derive(Deserialize)]
struct Rendered {
    #[serde(default)]
    manifest: String,
    #[serde(default)]
    hooks: Option<Vec<Hook>>,
}

#[derive(Deserialize)]
struct Hook {
    #[serde(default)]
    manifest: String,
}

/// Kind of objects, and where they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    api_version: String,
    kind: String,
    /// Empty where that is the release's own, or none.
    namespace: String,
}

/// The JSON document of what helm says: of a chart from a registry it first says what it has fetched, in lines of their own.
fn document(said: &[u8]) -> &[u8] {
    let begins = |at: &usize| said[*at..].starts_with(b"{") && (*at == 0 || said[*at - 1] == b'\n');
    (0..said.len()).find(begins).map_or(said, |at| &said[at..])
}

/// Has helm render the release, and asks for the rights to all that is in it.
///
/// # Errors
/// A chart that cannot be had or rendered; rights that are missing, each with its name.
pub async fn may_be_changed(release: &Release<'_>, words: &[String], place: &[String], wait: Wait) -> Result<(), StepError> {
    let dry = ["--dry-run=server", "--hide-secret", "--output", "json"].map(str::to_owned);
    let rendered = release.program.ask(&[words, &dry, place].concat()).await?;
    let rendered: Rendered =
        serde_json::from_slice(document(&rendered)).map_err(|error| release.failed(&format!("helm renders it in an unknown form: {error}")))?;
    let hooks = rendered.hooks.into_iter().flatten().map(|hook| hook.manifest);
    let heads: BTreeSet<Head> = std::iter::once(rendered.manifest).chain(hooks).flat_map(|manifest| heads(&manifest)).collect();
    asked(release, heads, wait).await
}

/// The same of a revision that there is: what is brought back to it, or goes with it.
///
/// # Errors
/// A revision that cannot be read; rights that are missing.
pub async fn of_revision(release: &Release<'_>, number: u32, wait: Wait) -> Result<(), StepError> {
    let words = ["get", "manifest", "--revision", &number.to_string(), "--", &release.name].map(str::to_owned);
    // It shows what is in Secrets. Nothing of it is kept but the kinds.
    let manifest = Zeroizing::new(release.program.ask(&words).await?);
    asked(release, heads(&String::from_utf8_lossy(&manifest)).into_iter().collect(), wait).await
}

async fn asked(release: &Release<'_>, heads: BTreeSet<Head>, wait: Wait) -> Result<(), StepError> {
    if heads.len() > KINDS_MAX {
        return Err(release.failed(&format!("it has objects of {} kinds, and at most {KINDS_MAX}", heads.len())));
    }
    // helm's watcher follows what it waits for. What a chart does not have any more is deleted, and all of it on the way back.
    let verbs = ["get", "create", "patch", "delete", "list", "watch"];
    let verbs = if wait == Wait::Watcher { &verbs[..] } else { &verbs[..4] };
    let mut known = Vec::new();
    for head in heads {
        match release.cluster.resource(&head.api_version, &head.kind).await {
            Ok(resource) => known.push((resource, if head.namespace.is_empty() { release.namespace.clone() } else { head.namespace })),
            Err(ClusterError::Missing { .. }) => {}
            Err(error) => return Err(release.failed(&error.to_string())),
        }
    }
    let rights = known.iter().flat_map(|(resource, namespace)| {
        let namespace = if resource.namespaced { namespace.as_str() } else { "" };
        verbs.iter().map(move |verb| Right { verb, group: resource.group(), resource: &resource.plural, namespace })
    });
    acting::may(release.kind, &release.cluster, &rights.collect::<Vec<_>>()).await
}

/// The kinds of the documents of a manifest.
fn heads(manifest: &str) -> Vec<Head> {
    let mut heads = Vec::new();
    for document in manifest.split("\n---") {
        let field = |name: &str| {
            let line = document.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|value| value.split(" #").next().unwrap_or(value).trim().trim_matches(['"', '\'']).to_owned())
        };
        if let (Some(api_version), Some(kind)) = (field("apiVersion"), field("kind")) {
            heads.push(Head { api_version, kind, namespace: namespace(document) });
        }
    }
    if manifest.contains(HIDDEN) {
        heads.push(Head { api_version: "v1".to_owned(), kind: "Secret".to_owned(), namespace: String::new() });
    }
    heads
}

/// What stands under `metadata`, where it says a namespace.
fn namespace(document: &str) -> String {
    let of_metadata =
        document.lines().skip_while(|line| *line != "metadata:").skip(1).take_while(|line| line.starts_with(' ') || line.trim().is_empty());
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut own = of_metadata.filter(|line| !line.trim().is_empty()).peekable();
    let first = own.peek().map_or(0, |line| indent(line));
    let said = own.filter(|line| indent(line) == first).find_map(|line| line.trim().strip_prefix("namespace:"));
    said.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helm_says_of_fetching_a_chart_is_not_the_release() {
        let fetched = b"Pulled: r.example.com/charts/web:1.2.3\nDigest: sha256:{ab}\n{\"name\": \"web\"}\n";
        assert_eq!(document(fetched), b"{\"name\": \"web\"}\n");
        assert_eq!((document(b"{}"), document(b"nothing")), (&b"{}"[..], &b"nothing"[..]));
    }

    #[test]
    fn the_kinds_of_a_manifest_are_found_with_their_namespaces() {
        let manifest = "---\n# Source: web/templates/a.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels:\n    namespace: x\n  namespace: \"other\"\ndata:\n  kind: no\n\
                        ---\n# Source: web/templates/secret.yaml\n# HIDDEN: The Secret output has been suppressed\n\
                        ---\n# Source: web/templates/d.yaml\napiVersion: \"apps/v1\"\nkind: Deployment # of the shop\nmetadata:\n  name: web\nspec: {}\n";
        let head =
            |api_version: &str, kind: &str, namespace: &str| Head { api_version: api_version.into(), kind: kind.into(), namespace: namespace.into() };
        assert_eq!(heads(manifest), [head("v1", "ConfigMap", "other"), head("apps/v1", "Deployment", ""), head("v1", "Secret", "")]);
        assert_eq!(heads(""), []);
    }
}
