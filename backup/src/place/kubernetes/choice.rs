//! Which objects are put back, and in which namespaces. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde_json::Value;

use crate::source::kubernetes::fits_object;

/// Longest name of a namespace.
const NAME_MAX: usize = 63;
/// How an API server calls an account, and all accounts of a namespace.
const ACCOUNT: &str = "system:serviceaccount:";
const ACCOUNTS: &str = "system:serviceaccounts:";

/// Which objects, and where. The default is all of them, where they were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// From old to new.
    namespaces: BTreeMap<String, String>,
    /// Patterns of kind and name, one of which has to fit; all objects where there is none.
    only: Vec<String>,
    /// All of which an object has to have.
    labels: Vec<(String, String)>,
}

/// Why what was asked for is no choice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAChoice(String);

impl Choice {
    /// `namespaces` are NEW, or OLD=NEW where the backup is of several, and no others are put back then; `only` are patterns such as `Deployment` or `ConfigMap/web-*`;
    /// `labels` are NAME=VALUE. `has` are the namespaces of the backup.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(namespaces: &[String], only: &[String], labels: &[String], has: &[&str]) -> Result<Choice, NotAChoice> {
        let mut moved = BTreeMap::new();
        for text in namespaces {
            let (old, new) = match (text.split_once('='), has) {
                (Some((old, new)), _) => (old, new),
                (None, [old]) => (*old, text.as_str()),
                (None, _) => {
                    let has = has.join(", ");
                    return Err(NotAChoice(format!("it is a backup of several namespaces: say OLD=NEW for each that is put back; it has {has}")));
                }
            };
            if !has.contains(&old) {
                return Err(NotAChoice(format!("it has nothing of a namespace {old}: it has {}", has.join(", "))));
            }
            if !is_namespace(new) {
                return Err(NotAChoice(format!("`{new}` is no name of a namespace: lower-case letters, digits and -, up to {NAME_MAX}")));
            }
            if moved.insert(old.to_owned(), new.to_owned()).is_some() {
                return Err(NotAChoice(format!("{old} is put into two namespaces")));
            }
        }
        let places: BTreeSet<&str> = has.iter().map(|old| moved.get(*old).map_or(*old, String::as_str)).collect();
        if places.len() < has.len() {
            return Err(NotAChoice("two of its namespaces would be put into one: objects of the same name would be put over each other".to_owned()));
        }
        let labels = labels.iter().map(|text| {
            let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
            pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| NotAChoice(format!("`{text}` is no NAME=VALUE of a label")))
        });
        Ok(Choice { namespaces: moved, only: only.to_vec(), labels: labels.collect::<Result<_, _>>()? })
    }

    /// Where the objects of a namespace are put; nowhere where only others are.
    #[must_use]
    pub fn place_of<'c>(&'c self, namespace: &'c str) -> Option<&'c str> {
        if self.namespaces.is_empty() { Some(namespace) } else { self.namespaces.get(namespace).map(String::as_str) }
    }

    /// An object as it is put back, on a line without its line break; nothing where it is not one of them.
    ///
    /// # Errors
    /// When it is no object.
    pub(super) fn of(&self, line: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if *self == Choice::default() {
            return Ok(Some(line.to_vec()));
        }
        let object: Value = serde_json::from_slice(line)?;
        // Who moves one namespace has not asked for the others to be put over what is there.
        let is_meant = self.namespaces.is_empty() || object["metadata"]["namespace"].as_str().is_some_and(|own| self.namespaces.contains_key(own));
        if !is_meant || !self.fits(&object) {
            return Ok(None);
        }
        Ok(Some(serde_json::to_vec(&moved(object, &self.namespaces))?))
    }

    fn fits(&self, object: &Value) -> bool {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let is_named = self.only.is_empty() || self.only.iter().any(|pattern| fits_object(pattern, text("/kind"), text("/metadata/name")));
        is_named && self.labels.iter().all(|(name, value)| object["metadata"]["labels"][name.as_str()] == value.as_str())
    }
}

fn is_namespace(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(is_part) && !name.starts_with('-') && !name.ends_with('-')
}

/// An object in its new namespace. Whom a RoleBinding gives its role to is an account of the new namespace too.
fn moved(mut object: Value, namespaces: &BTreeMap<String, String>) -> Value {
    rename(object.pointer_mut("/metadata/namespace"), namespaces);
    if object["kind"] != "RoleBinding" {
        return object;
    }
    for subject in object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        rename(subject.get_mut("namespace"), namespaces);
        let Some(Value::String(name)) = subject.get_mut("name") else { continue };
        let new = |old: &str| namespaces.get(old);
        if let Some((namespace, account)) = name.strip_prefix(ACCOUNT).and_then(|rest| rest.split_once(':')) {
            if let Some(namespace) = new(namespace) {
                *name = format!("{ACCOUNT}{namespace}:{account}");
            }
        } else if let Some(namespace) = name.strip_prefix(ACCOUNTS).and_then(new) {
            *name = format!("{ACCOUNTS}{namespace}");
        }
    }
    object
}

fn rename(namespace: Option<&mut Value>, namespaces: &BTreeMap<String, String>) {
    if let Some(Value::String(namespace)) = namespace
        && let Some(new) = namespaces.get(namespace)
    {
        namespace.clone_from(new);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(namespaces: &[&str], only: &[&str], labels: &[&str], has: &[&str]) -> Result<Choice, NotAChoice> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Choice::read(&owned(namespaces), &owned(only), &owned(labels), has)
    }

    fn put(choice: &Choice, object: &Value) -> Option<Value> {
        let line = choice.of(&serde_json::to_vec(object).unwrap()).unwrap();
        line.map(|line| serde_json::from_slice(&line).unwrap())
    }

    #[test]
    fn accounts_of_the_namespace_move_with_it_and_those_of_others_stay() {
        let binding = |namespace: &str| {
            json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "a", "namespace": namespace },
                "roleRef": { "kind": "Role", "name": "shop" },
                "subjects": [
                    { "kind": "ServiceAccount", "name": "web", "namespace": namespace }, { "kind": "ServiceAccount", "name": "web", "namespace": "other" },
                    { "kind": "User", "name": format!("system:serviceaccount:{namespace}:web") }, { "kind": "User", "name": "system:serviceaccount:other:web" },
                    { "kind": "Group", "name": format!("system:serviceaccounts:{namespace}") }, { "kind": "Group", "name": "system:serviceaccounts" },
                    { "kind": "User", "name": "shop" },
                ] })
        };
        let choice = read(&["copy"], &[], &[], &["shop"]).unwrap();
        assert_eq!(put(&choice, &binding("shop")), Some(binding("copy")));
        // Of something else only its own namespace is changed, whatever it says.
        let object = |namespace: &str| json!({ "kind": "ConfigMap", "metadata": { "name": "a", "namespace": namespace }, "data": { "namespace": "shop" }, "subjects": [{ "namespace": "shop" }] });
        assert_eq!(put(&choice, &object("shop")), Some(object("copy")));
    }

    #[test]
    fn each_namespace_moves_where_it_is_to() {
        let choice = read(&["shop=copy"], &[], &[], &["jobs", "shop"]).unwrap();
        let object = |namespace: &str| json!({ "kind": "ConfigMap", "metadata": { "name": "a", "namespace": namespace } });
        assert_eq!((put(&choice, &object("shop")), put(&choice, &object("jobs"))), (Some(object("copy")), None));
        assert_eq!((choice.place_of("shop"), choice.place_of("jobs"), Choice::default().place_of("jobs")), (Some("copy"), None, Some("jobs")));
        let beside = read(&["shop=copy", "jobs=jobs"], &[], &[], &["jobs", "shop"]).unwrap();
        assert_eq!(put(&beside, &object("jobs")), Some(object("jobs")));
        // They may change places.
        let both = read(&["shop=jobs", "jobs=shop"], &[], &[], &["jobs", "shop"]).unwrap();
        assert_eq!(put(&both, &object("shop")), Some(object("jobs")));
    }

    #[test]
    fn some_are_chosen_by_kind_name_and_label() {
        let object = |kind: &str, name: &str| json!({ "kind": kind, "metadata": { "name": name, "namespace": "shop", "labels": { "app": name } } });
        let is_put = |choice: &Choice, kind: &str, name: &str| put(choice, &object(kind, name)).is_some();
        let only = read(&[], &["Deployment", "ConfigMap/web*"], &[], &["shop"]).unwrap();
        assert!(
            is_put(&only, "Deployment", "web")
                && is_put(&only, "ConfigMap", "web-1")
                && !is_put(&only, "ConfigMap", "db")
                && !is_put(&only, "Secret", "web")
        );
        let labelled = read(&[], &[], &["app=web"], &["shop"]).unwrap();
        assert!(is_put(&labelled, "Secret", "web") && !is_put(&labelled, "Secret", "db"));
        let both = read(&[], &["Deployment"], &["app=web"], &["shop"]).unwrap();
        assert!(is_put(&both, "Deployment", "web") && !is_put(&both, "Deployment", "db") && !is_put(&both, "Secret", "web"));
    }

    #[test]
    fn a_choice_that_cannot_be_meant_is_refused() {
        for (namespaces, labels, has, part) in [
            (&["copy"][..], &[][..], &["jobs", "shop"][..], "say OLD=NEW"),
            (&["web=copy"], &[], &["shop"], "nothing of a namespace web: it has shop"),
            (&["shop=Copy"], &[], &["shop"], "no name of a namespace"),
            (&["-"], &[], &["shop"], "no name of a namespace"),
            (&["a", "b"], &[], &["shop"], "two namespaces"),
            (&["shop=copy", "jobs=copy"], &[], &["jobs", "shop"], "over each other"),
            (&["shop=jobs"], &[], &["jobs", "shop"], "over each other"),
            (&[], &["app"], &["shop"], "NAME=VALUE"),
        ] {
            let error = read(namespaces, &[], labels, has).unwrap_err().to_string();
            assert!(error.contains(part), "{namespaces:?}: {error}");
        }
        assert_eq!(read(&[], &[], &[], &["shop"]), Ok(Choice::default()));
    }
}
