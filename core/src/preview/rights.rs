//! Which rights the accounts lack that would act in clusters, and what stands in the way of a backup, or of nodes that are to
//! be drained: whom to ask of what, and what the answer means to whoever looks at a preview. The asking is somebody else's.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Preview, Remark, Severity, StepPreview};
use crate::catalogue::{self, Effect, Scope};
use crate::expr::template::has_template;
use crate::id::{ClusterName, ConnectionName, StepName, Target};

/// Questions of one preview: what is beyond them is not looked at.
pub const QUESTIONS_MAX: usize = 32;
/// Rights that one answer names.
pub const RIGHTS_MAX: usize = 64;
/// What one answer may say besides.
pub const NOTICED_MAX: usize = 32;
/// Parameters that say whose rights to what are needed.
const TELLING: [&str; 6] = ["namespace", "kind", "apiVersion", "object", "serviceAccount", "release"];

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// The agent that acts for it.
    Cluster(ClusterName),
    /// An agent that has it.
    Connection(ConnectionName),
}

/// What is asked: whether a step could be done there.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub whom: Whom,
    pub steps: BTreeSet<StepName>,
    pub kind: String,
    pub with: Map<String, Value>,
    /// Whether the same kind would take it back.
    pub undoes: bool,
}

/// One thing that an account would have to be allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    pub verb: String,
    /// Of the API; empty for the first one.
    pub group: String,
    /// With a subresource after a slash: `pods/exec`.
    pub resource: String,
    /// Empty for objects that are in none.
    pub namespace: String,
}

/// What an account lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lacking {
    /// The ServiceAccount, and where it is.
    pub namespace: String,
    pub account: String,
    /// Whether there is none of that name.
    pub missing: bool,
    pub rights: Vec<Right>,
    /// What was noticed besides, of the objects as they are.
    pub noticed: Vec<Noticed>,
}

/// Something that an agent has noticed of what a step would be done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noticed {
    /// Whether it speaks against doing it as it is.
    pub is_warning: bool,
    pub message: String,
}

/// What to ask, and the steps of which it is not known yet what they would need.
#[must_use]
pub fn questions(preview: &Preview) -> (Vec<Question>, Vec<Remark>) {
    let (mut all, mut remarks): (Vec<Question>, Vec<Remark>) = (Vec::new(), Vec::new());
    for step in preview.steps.iter().filter(|step| step.omitted.is_none()) {
        let own = (step.step.uses.as_str(), &step.with, step.undo.as_ref().is_some_and(|undo| undo.uses == step.step.uses));
        let other = step.undo.as_ref().filter(|undo| undo.uses != step.step.uses).map(|undo| (undo.uses.as_str(), &undo.with, false));
        for (kind, with, undoes) in std::iter::once(own).chain(other) {
            if !changes_a_cluster(kind) && !catalogue::is_fenced_backup(kind) && !catalogue::looks_ahead(kind) {
                continue;
            }
            if let Some(name) = TELLING.iter().find(|name| with.get(**name).is_some_and(is_open)) {
                remarks.push(not_looked_at(step, &format!("its `{name}` is known only later")));
                continue;
            }
            for whom in asked(step, kind) {
                let same = |asked: &Question| asked.whom == whom && asked.kind == kind && asked.with == *with && asked.undoes == undoes;
                let (name, room) = (step.step.name.clone(), all.len() < QUESTIONS_MAX);
                match all.iter_mut().find(|asked| same(asked)) {
                    Some(asked) => {
                        asked.steps.insert(name);
                    }
                    None if room => {
                        let steps = BTreeSet::from([name]);
                        all.push(Question { whom: whom.clone(), steps, kind: kind.to_owned(), with: with.clone(), undoes });
                    }
                    None => remarks.push(not_looked_at(step, &format!("more than {QUESTIONS_MAX} would have to be asked"))),
                }
            }
        }
    }
    (all, remarks)
}

fn changes_a_cluster(kind: &str) -> bool {
    catalogue::kind(kind).is_some_and(|kind| matches!(kind.scope, Scope::Cluster | Scope::Node) && kind.effect != Effect::Read)
}

/// The clusters in which a kind is done, or the connections; what is done to several nodes of a cluster takes the same rights
/// for each.
fn asked(step: &StepPreview, kind: &str) -> BTreeSet<Whom> {
    let Some(kind) = catalogue::kind(kind) else { return BTreeSet::new() };
    let done = step.targets.iter().filter(|target| !step.left_out.contains(target));
    let whom = |target: &Target| match target {
        Target::Connection(name) => catalogue::is_fenced_backup(kind.name).then(|| Whom::Connection(name.clone())),
        target => kind.acted_in(target).cloned().map(Whom::Cluster),
    };
    done.filter_map(whom).collect()
}

/// Whether an expression in it is still to be filled in.
fn is_open(value: &Value) -> bool {
    match value {
        Value::String(text) => has_template(text),
        Value::Array(items) => items.iter().any(is_open),
        Value::Object(fields) => fields.values().any(is_open),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn not_looked_at(step: &StepPreview, why: &str) -> Remark {
    let message = format!("the rights that it needs were not looked at: {why}");
    Remark { severity: Severity::Note, step: Some(step.step.name.clone()), message, hint: String::new() }
}

impl Question {
    /// What an answer means: what is lacking, and what was noticed besides; or why that is not known.
    #[must_use]
    pub fn remarks(&self, answer: &Result<Lacking, String>) -> Vec<Remark> {
        let note = |why: &String| {
            let message = match &self.whom {
                Whom::Cluster(cluster) => format!("the rights that it needs in cluster {cluster} were not looked at: {why}"),
                Whom::Connection(name) => format!("whether it could be done to {name} was not looked at: {why}"),
            };
            (Severity::Note, message, String::new())
        };
        let told: Vec<(Severity, String, String)> = match answer {
            Ok(lacking) => {
                let lacks = (!lacking.rights.is_empty()).then(|| (Severity::Problem, self.told(lacking), lacking.how_to_give()));
                lacks.into_iter().chain(lacking.noticed.iter().map(|noticed| self.noticed(noticed))).collect()
            }
            Err(why) => vec![note(why)],
        };
        let remark = |step: &StepName, (severity, message, hint): &(Severity, String, String)| Remark {
            severity: *severity,
            step: Some(step.clone()),
            message: message.clone(),
            hint: hint.clone(),
        };
        self.steps.iter().flat_map(|step| told.iter().map(|told| remark(step, told)).collect::<Vec<_>>()).collect()
    }

    fn noticed(&self, noticed: &Noticed) -> (Severity, String, String) {
        let severity = if noticed.is_warning { Severity::Warning } else { Severity::Note };
        let message = match &self.whom {
            Whom::Cluster(cluster) => format!("in cluster {cluster}: {}", noticed.message),
            Whom::Connection(name) => format!("{name}: {}", noticed.message),
        };
        (severity, message, String::new())
    }

    fn told(&self, lacking: &Lacking) -> String {
        let account = format!("ServiceAccount {}/{}", lacking.namespace, lacking.account);
        let is_there = if lacking.missing { ", which does not exist," } else { "" };
        let rights: Vec<String> = by_verbs(&lacking.rights)
            .into_iter()
            .map(|((namespace, verbs), resources)| {
                let place = if namespace.is_empty() { String::new() } else { format!(" in {namespace}") };
                format!("{} {}{place}", verbs.into_iter().collect::<Vec<_>>().join(", "), resources.into_iter().collect::<Vec<_>>().join(", "))
            })
            .collect();
        let of = match &self.whom {
            Whom::Cluster(cluster) => format!("cluster {cluster}"),
            Whom::Connection(name) => name.to_string(),
        };
        format!("{account} of {of}{is_there} lacks the right to {}", rights.join("; "))
    }
}

/// Namespace and verbs, and the resources that lack just these, as kubectl names them.
fn by_verbs(rights: &[Right]) -> BTreeMap<(&str, BTreeSet<&str>), BTreeSet<String>> {
    let mut verbs: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
    for right in rights.iter().take(RIGHTS_MAX) {
        // `deployments.apps/scale`, `pods/exec`
        let (resource, part) = right.resource.split_once('/').map_or((right.resource.as_str(), None), |(resource, part)| (resource, Some(part)));
        let group = if right.group.is_empty() { String::new() } else { format!(".{}", right.group) };
        let name = format!("{resource}{group}{}", part.map_or_else(String::new, |part| format!("/{part}")));
        verbs.entry((&right.namespace, name)).or_default().insert(&right.verb);
    }
    let mut all: BTreeMap<(&str, BTreeSet<&str>), BTreeSet<String>> = BTreeMap::new();
    for ((namespace, resource), verbs) in verbs {
        all.entry((namespace, verbs)).or_default().insert(resource);
    }
    all
}

impl Lacking {
    /// The commands that give it.
    fn how_to_give(&self) -> String {
        let Lacking { namespace, account, .. } = self;
        let mut commands = Vec::new();
        if self.missing {
            commands.push(format!("kubectl -n {namespace} create serviceaccount {account}"));
        }
        for (number, ((of, verbs), resources)) in by_verbs(&self.rights).into_iter().enumerate() {
            let (place, role) = if of.is_empty() { (String::new(), "clusterrole") } else { (format!(" -n {of}"), "role") };
            let name = format!("{account}-{}", number + 1);
            let (verbs, resources) = (verbs.into_iter().collect::<Vec<_>>().join(","), resources.into_iter().collect::<Vec<_>>().join(","));
            commands.push(format!("kubectl{place} create {role} {name} --verb={verbs} --resource={resources}"));
            commands.push(format!("kubectl{place} create {role}binding {name} --{role}={name} --serviceaccount={namespace}:{account}"));
        }
        commands.join(" && ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn right(verb: &str, group: &str, resource: &str, namespace: &str) -> Right {
        Right { verb: verb.into(), group: group.into(), resource: resource.into(), namespace: namespace.into() }
    }

    fn question() -> Question {
        Question {
            whom: Whom::Cluster("prod".parse().unwrap()),
            steps: ["a", "b"].map(|name| name.parse().unwrap()).into(),
            kind: "kube.restart".into(),
            with: Map::new(),
            undoes: false,
        }
    }

    #[test]
    fn what_is_lacking_is_named_with_the_commands_that_give_it() {
        let rights = vec![
            right("patch", "apps", "deployments", "shop"),
            right("get", "apps", "deployments", "shop"),
            right("get", "", "pods/exec", "shop"),
            right("list", "policy", "poddisruptionbudgets", "shop"),
        ];
        let lacking = Lacking { namespace: "shop".into(), account: "mainstay-runner".into(), missing: false, rights, ..Lacking::default() };
        let remarks = question().remarks(&Ok(lacking.clone()));
        assert_eq!(
            remarks.iter().map(|remark| remark.step.as_ref().map(|step| step.to_string())).collect::<Vec<_>>(),
            [Some("a".to_owned()), Some("b".to_owned())]
        );
        assert_eq!(remarks[0].severity, Severity::Problem);
        assert_eq!(
            remarks[0].message,
            "ServiceAccount shop/mainstay-runner of cluster prod lacks the right to get pods/exec in shop; get, patch deployments.apps in shop; \
             list poddisruptionbudgets.policy in shop"
        );
        assert!(remarks[0].hint.contains(
            "kubectl -n shop create role mainstay-runner-2 --verb=get,patch --resource=deployments.apps && \
             kubectl -n shop create rolebinding mainstay-runner-2 --role=mainstay-runner-2 --serviceaccount=shop:mainstay-runner"
        ));
        let missing = question().remarks(&Ok(Lacking { missing: true, ..lacking }));
        assert!(missing[0].message.contains("mainstay-runner of cluster prod, which does not exist, lacks"), "{}", missing[0].message);
        assert!(missing[0].hint.starts_with("kubectl -n shop create serviceaccount mainstay-runner && "));
        let nodes = Lacking {
            namespace: "mainstay".into(),
            account: "mainstay-node-runner".into(),
            missing: false,
            rights: vec![right("delete", "", "nodes", "")],
            ..Lacking::default()
        };
        let hint = &question().remarks(&Ok(nodes))[0].hint;
        assert!(
            hint.starts_with("kubectl create clusterrole mainstay-node-runner-1 --verb=delete --resource=nodes && kubectl create clusterrolebinding"),
            "{hint}"
        );
    }

    #[test]
    fn what_was_noticed_is_told_of_each_step() {
        let noticed = |is_warning, message: &str| Noticed { is_warning, message: message.to_owned() };
        let noticed = vec![noticed(false, "shop/Deployment/web: image: 1 → 2"), noticed(true, "shop/Deployment/web: it has one pod")];
        let remarks = question().remarks(&Ok(Lacking { noticed, ..Lacking::default() }));
        let told: Vec<(Severity, &str)> = remarks.iter().map(|remark| (remark.severity, remark.message.as_str())).collect();
        let each = [
            (Severity::Note, "in cluster prod: shop/Deployment/web: image: 1 → 2"),
            (Severity::Warning, "in cluster prod: shop/Deployment/web: it has one pod"),
        ];
        assert_eq!(told, [each, each].concat());
    }

    #[test]
    fn nothing_is_said_where_nothing_is_lacking_and_a_note_where_nobody_answers() {
        assert_eq!(question().remarks(&Ok(Lacking::default())), []);
        let silent = question().remarks(&Err("its agent has not answered".to_owned()));
        assert_eq!(silent[0].severity, Severity::Note);
        assert_eq!(silent[0].message, "the rights that it needs in cluster prod were not looked at: its agent has not answered");
    }

    #[test]
    fn what_is_filled_in_later_is_seen() {
        assert!(is_open(&json!({ "metadata": { "name": "${{ steps.a.outputs.name }}" } })) && is_open(&json!(["${{ x }}"])));
        assert!(!is_open(&json!({ "metadata": { "name": "web", "count": 1 } })));
    }
}
