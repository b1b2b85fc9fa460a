//! Which objects of a backup are made, and which are left to somebody else. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mainstay_backup::source::kubernetes::Kind;
use serde_json::Value;

/// Most objects of one restore: each is asked for by itself, and their names are held.
const OBJECTS_MAX: usize = 20_000;
/// The account that each namespace has from its beginning.
const DEFAULT: &str = "default";
/// Group of the API of roles.
const RIGHTS: &str = "rbac.authorization.k8s.io";
/// Names that a message has room for.
const NAMED: usize = 6;

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl Name {
    /// # Errors
    /// In words: it is no object.
    pub fn of(object: &Value) -> Result<Name, String> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        let parts = (text("/apiVersion"), text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
        let (Some(api_version), Some(kind), Some(namespace), Some(name)) = parts else {
            return Err("one of its lines is no object with a kind, a namespace and a name".to_owned());
        };
        Ok(Name { kind: Kind { api_version, kind }, namespace, name })
    }

    fn is(&self, group: &str, kind: &str) -> bool {
        self.kind.group() == group && self.kind.kind == kind
    }

    pub fn is_binding(&self) -> bool {
        self.is(RIGHTS, "RoleBinding")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.kind.kind, self.name)
    }
}

/// What is made, and what is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Planned {
    /// In the order in which they are made: that of the backup.
    pub names: Vec<Name>,
    /// Who restores, and what gives it its rights: those have to be there before.
    pub runners: Vec<Name>,
    /// Accounts that every namespace has, to which somebody had given something.
    pub given: Vec<Name>,
}

impl Planned {
    pub fn namespaces(&self) -> BTreeSet<&str> {
        self.names.iter().map(|name| name.namespace.as_str()).collect()
    }

    /// The kinds that are made in a namespace.
    pub fn kinds_in(&self, namespace: &str) -> BTreeSet<&Kind> {
        self.names.iter().filter(|name| name.namespace == namespace).map(|name| &name.kind).collect()
    }
}

/// Goes through all of them once.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// As whom it is done, in each namespace.
    account: String,
    planned: Planned,
    /// Roles that are bound to who restores, and those that are bound to somebody else too.
    roles: BTreeMap<(String, String), bool>,
}

impl Plan {
    pub fn of(account: &str) -> Plan {
        Plan { account: account.to_owned(), ..Plan::default() }
    }

    /// A further object.
    ///
    /// # Errors
    /// In words: it is none, or there are too many.
    pub fn add(&mut self, object: &Value) -> Result<(), String> {
        let name = Name::of(object)?;
        if self.planned.names.len() >= OBJECTS_MAX {
            return Err(format!("there are more than {OBJECTS_MAX} objects: restore some of them at a time, by  only  or  labels"));
        }
        if name.is("", "ServiceAccount") && name.name == self.account {
            self.planned.runners.push(name);
        } else if name.is("", "ServiceAccount") && name.name == DEFAULT {
            self.planned.given.push(name);
        } else if name.is_binding() {
            let is_own = self.is_bound_to_it(object, &name.namespace);
            if let Some(role) = role(object) {
                *self.roles.entry((name.namespace.clone(), role.to_owned())).or_insert(true) &= is_own;
            }
            if is_own { self.planned.runners.push(name) } else { self.planned.names.push(name) }
        } else {
            self.planned.names.push(name);
        }
        Ok(())
    }

    /// Whether a RoleBinding is for who restores alone.
    fn is_bound_to_it(&self, binding: &Value, namespace: &str) -> bool {
        let subjects = binding["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_it = |subject: &Value| {
            let of = subject["namespace"].as_str().unwrap_or(namespace);
            subject["kind"] == "ServiceAccount" && subject["name"] == self.account.as_str() && of == namespace
        };
        !subjects.is_empty() && subjects.iter().all(is_it)
    }

    /// That was all.
    pub fn done(self) -> Planned {
        let Plan { mut planned, roles, .. } = self;
        let is_runners = |name: &Name| name.is(RIGHTS, "Role") && roles.get(&(name.namespace.clone(), name.name.clone())) == Some(&true);
        let (runners, names): (Vec<Name>, Vec<Name>) = std::mem::take(&mut planned.names).into_iter().partition(is_runners);
        planned.names = names;
        planned.runners.extend(runners);
        planned
    }
}

/// The Role of its own namespace that a RoleBinding gives.
pub(super) fn role(binding: &Value) -> Option<&str> {
    binding.pointer("/roleRef/name").and_then(Value::as_str).filter(|_| binding["roleRef"]["kind"] == "Role")
}

/// The first few, and how many more there are.
pub(super) fn some<T: fmt::Display>(names: &[T]) -> String {
    let mut words: Vec<String> = names.iter().take(NAMED).map(ToString::to_string).collect();
    if names.len() > NAMED {
        words.push(format!("{} more", names.len() - NAMED));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn object(api_version: &str, kind: &str, name: &str) -> Value {
        json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name, "namespace": "copy" } })
    }

    fn binding(name: &str, role: (&str, &str), subjects: &Value) -> Value {
        let mut binding = object("rbac.authorization.k8s.io/v1", "RoleBinding", name);
        binding["roleRef"] = json!({ "kind": role.0, "name": role.1 });
        binding["subjects"] = subjects.clone();
        binding
    }

    fn named(names: &[Name]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn who_restores_and_its_rights_are_left_to_who_owns_the_namespace() {
        let it = json!({ "kind": "ServiceAccount", "name": "mainstay-runner", "namespace": "copy" });
        let other = json!({ "kind": "ServiceAccount", "name": "web", "namespace": "copy" });
        let role = |name: &str| object("rbac.authorization.k8s.io/v1", "Role", name);
        let mut plan = Plan::of("mainstay-runner");
        for object in [
            object("v1", "ServiceAccount", "mainstay-runner"),
            object("v1", "ServiceAccount", "default"),
            object("v1", "ServiceAccount", "web"),
            role("runner"),
            role("shared"),
            role("web"),
            binding("export", ("ClusterRole", "mainstay-runner-export"), &json!([it])),
            binding("own", ("Role", "runner"), &json!([it])),
            binding("also", ("Role", "shared"), &json!([it])),
            binding("both", ("Role", "shared"), &json!([it, other])),
            binding("web", ("Role", "web"), &json!([other])),
            binding("nobody", ("Role", "web"), &json!([])),
            object("v1", "ConfigMap", "mainstay-runner"),
        ] {
            plan.add(&object).unwrap();
        }
        let planned = plan.done();
        let made = [
            "ServiceAccount/web",
            "Role/shared",
            "Role/web",
            "RoleBinding/both",
            "RoleBinding/web",
            "RoleBinding/nobody",
            "ConfigMap/mainstay-runner",
        ];
        assert_eq!(named(&planned.names), made.map(|name| format!("copy/{name}")));
        let runners = ["ServiceAccount/mainstay-runner", "RoleBinding/export", "RoleBinding/own", "RoleBinding/also", "Role/runner"];
        assert_eq!(named(&planned.runners), runners.map(|name| format!("copy/{name}")));
        assert_eq!(named(&planned.given), ["copy/ServiceAccount/default"]);
        assert_eq!((planned.namespaces().len(), planned.kinds_in("copy").len(), planned.kinds_in("shop").len()), (1, 4, 0));
    }

    #[test]
    fn what_is_no_object_and_what_is_too_much_is_told() {
        assert!(Plan::of("a").add(&json!({ "kind": "ConfigMap" })).unwrap_err().contains("no object"));
        let mut plan = Plan::of("a");
        let told = (0..=OBJECTS_MAX).map(|n| plan.add(&object("v1", "ConfigMap", &n.to_string()))).find_map(Result::err).unwrap();
        assert!(told.contains("more than 20000 objects"), "{told}");
        assert_eq!(some(&[1, 2, 3, 4, 5, 6, 7, 8]), "1, 2, 3, 4, 5, 6, 2 more");
        assert_eq!(some(&[1, 2]), "1, 2");
    }
}
