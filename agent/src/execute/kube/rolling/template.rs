//! What a rollout is to change: from parameters, and the pods that a workload makes, to the pods that it is to make.
//! Pure.

use std::collections::BTreeMap;

use mainstay_core::Millis;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::super::params::Span;
use super::super::work::text;
use super::merge::merge;

/// Where a pod's containers stand in it.
const LISTS: [&str; 2] = ["/spec/containers", "/spec/initContainers"];

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Params {
    pub namespace: String,
    #[serde(default = "deployment")]
    pub kind: String,
    pub name: String,
    image: Option<String>,
    container: Option<String>,
    #[serde(default)]
    images: BTreeMap<String, String>,
    #[serde(default)]
    env: BTreeMap<String, Map<String, Value>>,
    #[serde(default)]
    resources: BTreeMap<String, Value>,
    object: Option<Map<String, Value>>,
    #[serde(default)]
    pub take_over: bool,
    #[serde(default = "ten_minutes")]
    pub within: Span,
    #[serde(default = "two_minutes")]
    pub patience: Span,
    /// What has to hold while it goes.
    #[serde(default)]
    pub gates: Vec<Map<String, Value>>,
    #[serde(default = "no_time")]
    pub watch_for: Span,
    pub service_account: Option<String>,
}

fn deployment() -> String {
    "Deployment".to_owned()
}

fn ten_minutes() -> Span {
    Span(Millis::from_secs(600))
}

fn two_minutes() -> Span {
    Span(Millis::from_secs(120))
}

fn no_time() -> Span {
    Span(Millis(0))
}

/// What is to be done to a workload.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// To its pods.
    Edits(Vec<Edit>),
    /// These fields of it are Mainstay's from now on.
    Apply(Value),
}

/// A change of one container.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// Its name; nothing for the only one.
    container: Option<String>,
    what: What,
}

#[derive(Debug, Clone, PartialEq)]
enum What {
    Image(String),
    /// Null takes a variable away.
    Env(Map<String, Value>),
    /// As a merge patch.
    Resources(Value),
}

impl Params {
    /// What they come to, or what is wrong with them.
    pub fn change(&self) -> Result<Change, String> {
        let edit = |container: &str, what: What| Edit { container: Some(container.to_owned()), what };
        let mut edits: Vec<Edit> = Vec::new();
        // An input that was left empty names nothing.
        let container = self.container.clone().filter(|name| !name.is_empty());
        edits.extend(self.image.clone().map(|image| Edit { container, what: What::Image(image) }));
        edits.extend(self.images.iter().map(|(name, image)| edit(name, What::Image(image.clone()))));
        edits.extend(self.env.iter().map(|(name, values)| edit(name, What::Env(values.clone()))));
        edits.extend(self.resources.iter().map(|(name, resources)| edit(name, What::Resources(resources.clone()))));
        match &self.object {
            Some(_) if !edits.is_empty() => Err("an `object` says all of it: `image`, `images`, `env` and `resources` do not go with it".to_owned()),
            Some(object) => self.whole(object).map(Change::Apply),
            None if edits.is_empty() => Err("it says nothing that is to be changed: `image`, `images`, `env`, `resources` or `object`".to_owned()),
            None => {
                edits.iter().try_for_each(Edit::check)?;
                Ok(Change::Edits(edits))
            }
        }
    }

    /// The object, which is the workload that the other parameters name and no other.
    fn whole(&self, object: &Map<String, Value>) -> Result<Value, String> {
        let mut object = Value::Object(object.clone());
        for (pointer, wanted) in
            [("/apiVersion", "apps/v1"), ("/kind", &*self.kind), ("/metadata/namespace", &*self.namespace), ("/metadata/name", &*self.name)]
        {
            match object.pointer(pointer) {
                Some(Value::String(said)) if said == wanted => {}
                None => {}
                Some(said) => return Err(format!("its `object` has {said} at {pointer}, and the step is about {wanted}")),
            }
        }
        if object.pointer("/spec/template").is_none() {
            return Err("its `object` has no spec.template: there would be nothing to roll out".to_owned());
        }
        merge(&mut object, &json!({ "apiVersion": "apps/v1", "kind": self.kind, "metadata": { "namespace": self.namespace, "name": self.name } }));
        Ok(object)
    }
}

impl Edit {
    fn check(&self) -> Result<(), String> {
        let name = self.container.as_deref().unwrap_or_default();
        match &self.what {
            What::Image(image) if image.is_empty() || image.contains(char::is_whitespace) => Err(format!("`{image}` is no image")),
            What::Env(values) => match values.iter().find(|(_, value)| value.is_object() || value.is_array()) {
                Some((variable, _)) => Err(format!("`env.{name}.{variable}` should be text, a number, true, false, or null to take it away")),
                None => Ok(()),
            },
            What::Resources(resources) if !resources.is_object() => Err(format!("`resources.{name}` should be a block with `requests` and `limits`")),
            What::Image(_) | What::Resources(_) => Ok(()),
        }
    }

    /// Makes it in the pods of a workload.
    fn make(&self, template: &mut Value) -> Result<(), String> {
        let names = names(template);
        let name = match (&self.container, containers(template, LISTS[0]).as_slice()) {
            (Some(name), _) => name.clone(),
            (None, [only]) => only.clone(),
            (None, several) => return Err(format!("it has several containers ({}): say which under `container`", several.join(", "))),
        };
        let lists = LISTS.iter().find(|list| containers(template, list).contains(&name));
        let container = lists
            .and_then(|list| template.pointer_mut(list)?.as_array_mut()?.iter_mut().find(|container| container["name"] == name))
            .ok_or_else(|| format!("it has no container `{name}`: it has {}", names.join(", ")))?;
        match &self.what {
            What::Image(image) => container["image"] = json!(image),
            What::Env(values) => set(container, values),
            What::Resources(patch) => {
                let mut resources = container["resources"].take();
                merge(&mut resources, patch);
                container["resources"] = resources;
            }
        }
        Ok(())
    }
}

/// The pods that a workload is to make.
pub fn edited(template: &Value, edits: &[Edit]) -> Result<Value, String> {
    let mut template = template.clone();
    edits.iter().try_for_each(|edit| edit.make(&mut template))?;
    Ok(template)
}

/// Sets variables of a container, at the places where they are.
fn set(container: &mut Value, values: &Map<String, Value>) {
    let mut all: Vec<Value> = container["env"].as_array().cloned().unwrap_or_default();
    for (name, value) in values {
        let own = |variable: &Value| variable["name"] == *name;
        let value = match value {
            Value::Null => {
                all.retain(|variable| !own(variable));
                continue;
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let variable = json!({ "name": name, "value": value });
        match all.iter_mut().find(|variable| own(variable)) {
            Some(found) => *found = variable,
            None => all.push(variable),
        }
    }
    if all.is_empty() {
        container.as_object_mut().and_then(|fields| fields.remove("env"));
    } else {
        container["env"] = Value::Array(all);
    }
}

fn containers(template: &Value, list: &str) -> Vec<String> {
    let all = template.pointer(list).and_then(Value::as_array).into_iter().flatten();
    all.map(|container| text(container, "/name").to_owned()).collect()
}

fn names(template: &Value) -> Vec<String> {
    LISTS.iter().flat_map(|list| containers(template, list)).collect()
}

/// The images of a workload's pods, for people: `app=shop/web:1`.
pub fn images(template: &Value) -> String {
    let all = template.pointer(LISTS[0]).and_then(Value::as_array).into_iter().flatten();
    all.map(|container| format!("{}={}", text(container, "/name"), text(container, "/image"))).collect::<Vec<_>>().join(" ")
}
