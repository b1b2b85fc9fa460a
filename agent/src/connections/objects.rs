//! What a connection of kind `kubernetes` says: which objects of the agent's own cluster are backed up, and as whom they are read.
//! It leads to no address: a cluster agent knows the way to its cluster.

use mainstay_backup::source::kubernetes::{self, Kind};

use super::declare::Declared;
use super::{Address, ConnectionKind, Place};

/// Keys of a table that only this kind has.
pub(super) const KEYS: [&str; 7] = ["namespaces", "kinds", "secrets", "labelSelector", "exclude", "serviceAccount", "allowEmpty"];
/// Keys that lead to somebody, or protect the way there.
const OF_NO_USE: [&str; 7] = ["url", "username", "tls", "ca", "serverName", "cert", "key"];
const NAMESPACES_MAX: usize = 32;
const KINDS_MAX: usize = 64;
const EXCLUDED_MAX: usize = 64;
/// Of a namespace.
const NAME_MAX: usize = 63;
/// Of an account, and of what a pattern may be.
const TEXT_MAX: usize = 253;

/// Settings of what is exported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectsSettings {
    /// By name.
    pub namespaces: Vec<String>,
    pub kinds: Vec<Kind>,
    /// As an API server takes it: `app=web,tier!=cache`.
    pub label_selector: Option<String>,
    /// Objects that are left out: `ConfigMap/cache-*`.
    pub exclude: Vec<String>,
    /// Whose rights are needed, in each namespace; its runner, if left out.
    pub service_account: Option<String>,
    /// Whether a backup of nothing is one.
    pub allow_empty: bool,
}

/// Where it leads.
pub(super) fn address() -> Address {
    Address { place: Place::Cluster, path: String::new() }
}

/// Reads them.
pub(super) fn read(own: &Declared<'_>, problems: &mut Vec<String>) -> ObjectsSettings {
    for key in OF_NO_USE.into_iter().filter(|key| own.table.has(key)) {
        problems.push(own.problem(key, "is of no use: objects are those of the agent's own cluster"));
    }
    let what = "a list of names, such as [\"shop\", \"shop-jobs\"]";
    if !own.table.has("namespaces") {
        problems.push(own.problem("namespaces", &format!("is missing; it should be {what}")));
    }
    let mut namespaces = own.table.texts("namespaces", what, problems).unwrap_or_default();
    for name in namespaces.iter().filter(|name| !is_name(name, NAME_MAX)) {
        problems.push(own.problem("namespaces", &format!("holds `{name}`, which no namespace can be called: each is named, there are no patterns")));
    }
    namespaces.sort();
    namespaces.dedup();
    let secrets = own.table.flag("secrets", problems);
    let kinds = match own.table.texts("kinds", "a list such as [\"v1/ConfigMap\", \"apps/v1/Deployment\"]", problems) {
        None => kubernetes::usual(secrets == Some(true)),
        Some(texts) => {
            if secrets.is_some() {
                problems.push(own.problem("secrets", "and `kinds` are both there: name  \"v1/Secret\"  there"));
            }
            let read =
                texts.iter().map(|text| text.parse::<Kind>().map_err(|error| problems.push(own.problem("kinds", &format!("is wrong: {error}")))));
            read.filter_map(Result::ok).collect()
        }
    };
    let exclude = own.table.texts("exclude", "a list of KIND or KIND/NAME, in which * stands for any text", problems).unwrap_or_default();
    for pattern in exclude.iter().filter(|pattern| pattern.len() > 2 * TEXT_MAX || pattern.matches('/').count() > 1) {
        problems.push(own.problem("exclude", &format!("holds `{pattern}`, which is no KIND or KIND/NAME such as ConfigMap/cache-*")));
    }
    for (key, count, most) in
        [("namespaces", namespaces.len(), NAMESPACES_MAX), ("kinds", kinds.len(), KINDS_MAX), ("exclude", exclude.len(), EXCLUDED_MAX)]
    {
        if count > most {
            problems.push(own.problem(key, &format!("has {count} of them, and at most {most} belong to one backup: declare a second connection")));
        }
    }
    let service_account = own.table.text("serviceAccount", "the name of a ServiceAccount", problems);
    if service_account.as_ref().is_some_and(|name| !is_name(name, TEXT_MAX)) {
        problems.push(own.problem("serviceAccount", "is no name of a ServiceAccount"));
    }
    let label_selector = own.table.text("labelSelector", "text such as app=web", problems);
    let allow_empty = own.table.flag("allowEmpty", problems).unwrap_or_default();
    ObjectsSettings { namespaces, kinds, label_selector, exclude, service_account, allow_empty }
}

/// Keys that are this kind's, where something else is declared.
pub(super) fn strangers(own: &Declared<'_>, kind: ConnectionKind, problems: &mut Vec<String>) {
    for key in KEYS.into_iter().filter(|key| own.table.has(key)) {
        problems.push(own.problem(key, &format!("is for kubernetes, and this is {kind}")));
    }
}

pub(super) fn is_name(text: &str, most: usize) -> bool {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    !text.is_empty() && text.len() <= most && text.chars().all(is_part) && !text.starts_with(['-', '.']) && !text.ends_with(['-', '.'])
}
