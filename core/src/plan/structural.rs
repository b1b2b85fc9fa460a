//! The plan language as an API server of Kubernetes takes it: the custom resources `MaintenancePlan` and
//! `MaintenanceRun`, with structural schemas.
//!
//! Made from the declarations that the reader goes by, as [`super::schema`] is. A structural schema says less: it has
//! no references, no `if`, and a value is of one type. What it cannot say the mesh says, and so that it can, nothing of
//! a plan is pruned: a gate with a misspelt name is refused by the mesh, and not left out of a plan that then goes
//! without it.

use serde_json::{Map, Value, json};

use super::document::shape::{Field, Object, Shape};
use super::document::{PLAN, SPEC};
use super::schema::{PERCENT, describe};
use super::{API_VERSION, DOCUMENT_KIND, confined};
use crate::bounds;
use crate::catalogue::schema::DURATION;
use crate::id::NAME_MAX;

/// `kind` of the objects that show a run, or ask for one.
pub const RUN_KIND: &str = "MaintenanceRun";

/// Any value: a structural schema has no type that is several.
fn anything() -> Value {
    json!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// The custom resource of a plan.
#[must_use]
pub fn plans() -> Value {
    let mut spec = object(&SPEC);
    rule(&mut spec, "!has(self.strategy)", "a strategy is about nodes, and a plan of a namespace does nothing to nodes: leave it out");
    let status = json!({
        "plan": text("Name of the plan in the mesh: CLUSTER/NAMESPACE/NAME."),
        "revision": number("Its revision in the mesh that the object's spec became."),
        "problems": { "type": "array", "description": "Why the mesh refuses it.", "maxItems": 20, "items": {
            "type": "object", "required": ["message"], "properties": {
                "field": text("Where, such as spec.steps[1].needs."),
                "message": text("What is wrong, and what to do."),
            },
        } },
        "nextRun": { "type": "string", "format": "date-time", "description": "When its schedules next start one." },
        "lastRun": { "type": "object", "description": "The newest run.", "properties": run_status() },
    });
    let columns = [
        ("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status", 0),
        ("Revision", "integer", ".status.revision", 0),
        ("Next Run", "string", ".status.nextRun", 1),
        ("Last Run", "string", ".status.lastRun.state", 0),
        ("Verdict", "string", ".status.lastRun.verdict", 0),
        ("Age", "date", ".metadata.creationTimestamp", 0),
        ("Plan", "string", ".status.plan", 1),
    ];
    definition((DOCUMENT_KIND, "maintenanceplan", "mplan"), "Declared maintenance of the namespace that it is in.", spec, status, &columns)
}

/// The custom resource of a run.
#[must_use]
pub fn runs() -> Value {
    let spec = json!({
        "type": "object",
        "description": "What is to be run.",
        "required": ["plan"],
        "properties": {
            "plan": { "type": "string", "description": "Name of the MaintenancePlan, in the same namespace.", "maxLength": NAME_MAX, "pattern": PLAN.pattern },
            "number": { "type": "integer", "minimum": 1, "description": "Of a run that there is. The object shows that one, and starts none." },
            "inputs": {
                "type": "object", "description": "Values for the plan's inputs, by name.", "maxProperties": bounds::INPUTS,
                "x-kubernetes-preserve-unknown-fields": true,
            },
        },
        "x-kubernetes-validations": [
            { "rule": "self == oldSelf", "message": "a run is started once, with what it was given then: make another object for another run" },
            { "rule": "!(has(self.number) && has(self.inputs))", "message": "a run that there is has its inputs: leave out `inputs`, or `number` to start another run" },
        ],
    });
    let columns = [
        ("Plan", "string", ".spec.plan", 0),
        ("State", "string", ".status.state", 0),
        ("Verdict", "string", ".status.verdict", 0),
        ("Started", "date", ".status.startedAt", 0),
        ("Ended", "date", ".status.endedAt", 0),
        ("Run", "string", ".status.run", 1),
    ];
    definition((RUN_KIND, "maintenancerun", "mrun"), "One execution of a plan of the namespace.", spec, run_status(), &columns)
}

/// What the mesh says of a run.
fn run_status() -> Value {
    json!({
        "run": text("The run in the mesh: CLUSTER/NAMESPACE/NAME-NUMBER."),
        "state": text("running, paused, undoing, completed, failed or aborted."),
        "verdict": text("The worst of what its checks found: ok, skipped, warning, unknown or critical."),
        "startedBy": text("Who started it."),
        "startedAt": { "type": "string", "format": "date-time", "description": "When it began." },
        "endedAt": { "type": "string", "format": "date-time", "description": "When it ended." },
        "waitsFor": text("What it waits for, in a line."),
    })
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn number(description: &str) -> Value {
    json!({ "type": "integer", "format": "int64", "description": description })
}

/// The object that brings a kind to an API server.
fn definition((kind, singular, short): (&str, &str, &str), about: &str, spec: Value, mut status: Value, columns: &[(&str, &str, &str, u8)]) -> Value {
    let (group, version) = API_VERSION.split_once('/').unwrap_or_default();
    status["observedGeneration"] = number("The object's generation that this is about.");
    status["conditions"] = json!({
        "type": "array", "description": "How it stands.", "maxItems": 8, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object", "required": ["type", "status", "lastTransitionTime", "reason", "message"], "properties": {
                "type": { "type": "string", "maxLength": NAME_MAX, "description": "What it is about." },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it is so." },
                "observedGeneration": number("The object's generation that it is about."),
                "lastTransitionTime": { "type": "string", "format": "date-time", "description": "Since when it is so." },
                "reason": text("Why, in a word."),
                "message": text("Why, in words."),
            },
        },
    });
    let name_rule =
        json!({ "rule": format!("size(self.metadata.name) <= {NAME_MAX}"), "message": format!("a plan's name has at most {NAME_MAX} letters") });
    let mut whole = json!({
        "type": "object",
        "description": about,
        "required": ["spec"],
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": { "type": "object" },
            "spec": spec,
            "status": { "type": "object", "description": "What the mesh says of it. Nobody else writes it.", "properties": status },
        },
    });
    if kind == DOCUMENT_KIND {
        whole["x-kubernetes-validations"] = json!([name_rule]);
    }
    let columns = columns.iter().map(|(name, of, path, priority)| json!({ "name": name, "type": of, "jsonPath": path, "priority": priority }));
    let mut definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{singular}s.{group}") },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "kind": kind, "listKind": format!("{kind}List"), "singular": singular, "plural": format!("{singular}s"),
                "shortNames": [short], "categories": ["mainstay"],
            },
            "versions": [{
                "name": version, "served": true, "storage": true,
                "schema": { "openAPIV3Schema": whole },
                "subresources": { "status": {} },
                "additionalPrinterColumns": columns.collect::<Vec<_>>(),
            }],
        },
    });
    definition.sort_all_objects();
    definition
}

fn object(of: &Object) -> Value {
    let properties: Map<String, Value> = of.fields.iter().map(|field| (field.name.to_owned(), property(field))).collect();
    let required: Vec<&str> = of.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut schema = json!({ "type": "object", "description": of.doc, "properties": properties, "x-kubernetes-preserve-unknown-fields": true });
    if required.is_empty() {
        schema["nullable"] = json!(true);
    } else {
        schema["required"] = json!(required);
    }
    for (words, message) in rules(of.name) {
        rule(&mut schema, &words, message);
    }
    schema
}

/// What the fields of a section have to be together.
fn rules(of: &str) -> Vec<(String, &'static str)> {
    let with = || {
        let needing: Vec<String> = confined::kinds().filter(|kind| kind.needs_parameters()).map(|kind| format!("'{}'", kind.name)).collect();
        (format!("has(self.with) || !(self.uses in [{}])", needing.join(", ")), "this kind needs parameters: give them under `with`")
    };
    match of {
        "step" => vec![
            with(),
            ("!has(self.needs) || !(self.name in self.needs)".to_owned(), "a step cannot need itself"),
            ("!has(self.runOn) || self.runOn != 'node'".to_owned(), "a plan of a namespace does nothing to nodes: leave out `runOn`"),
        ],
        "undo" => vec![with()],
        "input" => vec![("!has(self.minimum) || !has(self.maximum) || self.minimum <= self.maximum".to_owned(), "`maximum` is less than `minimum`")],
        _ => Vec::new(),
    }
}

fn rule(schema: &mut Value, words: &str, message: &str) {
    let entry = json!({ "rule": words, "message": message });
    match schema.get_mut("x-kubernetes-validations").and_then(Value::as_array_mut) {
        Some(rules) => rules.push(entry),
        None => schema["x-kubernetes-validations"] = json!([entry]),
    }
}

fn property(field: &Field) -> Value {
    let mut schema = shape(&field.shape);
    schema["description"] = Value::String(describe(field, true));
    // By these, what several write with server-side apply becomes one list.
    match field.name {
        "steps" => {
            schema["x-kubernetes-list-type"] = json!("map");
            schema["x-kubernetes-list-map-keys"] = json!(["name"]);
        }
        "needs" => schema["x-kubernetes-list-type"] = json!("set"),
        _ => {}
    }
    schema
}

fn shape(of: &Shape) -> Value {
    match of {
        Shape::Text(most) => json!({ "type": "string", "maxLength": most }),
        // By a greatest length the API server knows what a rule may cost.
        Shape::Form(form) if form.is_label() => json!({ "type": "string", "pattern": form.pattern, "maxLength": NAME_MAX }),
        Shape::Form(form) if form.pattern.is_empty() => json!({ "type": "string" }),
        Shape::Form(form) => json!({ "type": "string", "pattern": form.pattern }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Integer(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Shape::Number => json!({ "type": "number" }),
        Shape::Duration(..) => json!({ "type": "string", "pattern": DURATION }),
        Shape::Amount(from, to) => json!({ "x-kubernetes-int-or-string": true, "minimum": from, "maximum": to, "pattern": PERCENT }),
        Shape::Percent => json!({ "type": "string", "pattern": PERCENT }),
        Shape::Words(words) => json!({ "type": "string", "enum": words.iter().map(|(word, _)| *word).collect::<Vec<_>>() }),
        Shape::Kind => json!({ "type": "string", "enum": confined::kinds().map(|kind| kind.name).collect::<Vec<_>>() }),
        Shape::With => json!({ "type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true }),
        Shape::Condition | Shape::Value | Shape::Either(..) => anything(),
        Shape::List(of, least, most) => {
            let mut schema = json!({ "type": "array", "items": shape(of), "maxItems": most });
            let (name, value) = if *least == 0 { ("nullable", json!(true)) } else { ("minItems", json!(least)) };
            schema[name] = value;
            schema
        }
        Shape::Object(fields) => object(fields),
        Shape::Choice(fields) => {
            let mut schema = object(fields);
            schema.as_object_mut().and_then(|schema| schema.remove("nullable"));
            schema["minProperties"] = json!(1);
            schema["maxProperties"] = json!(1);
            schema
        }
        Shape::Map(_, of, most) => json!({ "type": "object", "nullable": true, "additionalProperties": shape(of), "maxProperties": most }),
    }
}
