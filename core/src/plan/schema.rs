//! The plan language as a JSON Schema, for editors and for programs that write plans.
//!
//! Made from what the reader goes by: the fields that the sections of a document declare, and the catalogue.
//! Draft 7, because that is what editors read. It takes every plan that is good; what it cannot say, such as
//! what an expression may read, [`super::parse`] says.

use serde_json::{Map, Value, json};

use super::document::DOCUMENT;
use super::document::shape::{Field, Object, Shape};
use super::value;
use crate::catalogue::{self, KINDS, schema::DURATION};

/// Where it is published.
pub const SCHEMA_ID: &str = "https://mainstay.dev/schema/maintenanceplan.v1alpha1.json";

/// The schema of a plan document.
#[must_use]
pub fn schema() -> Value {
    let mut definitions = Map::new();
    definitions.insert("template".to_owned(), catalogue::schema::template());
    for kind in KINDS {
        definitions.insert(with_of(kind.name), kind.schema());
    }
    let mut document = object(&DOCUMENT, &mut definitions);
    document["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    document["$id"] = json!(SCHEMA_ID);
    document["title"] = json!("MaintenancePlan");
    document["examples"] = Value::Array(KINDS.iter().filter_map(example).collect());
    document["definitions"] = Value::Object(definitions);
    document.sort_all_objects();
    document
}

/// The same, as the file that is published.
#[must_use]
pub fn schema_text() -> String {
    format!("{:#}\n", schema())
}

/// A whole plan of one step of the kind.
fn example(kind: &catalogue::Kind) -> Option<Value> {
    Some(json!({
        "apiVersion": super::API_VERSION,
        "kind": super::DOCUMENT_KIND,
        "metadata": { "name": kind.name },
        "spec": { "steps": [{ "name": "example", "uses": kind.name, "with": value(kind.example)? }] },
    }))
}

fn with_of(kind: &str) -> String {
    format!("with.{kind}")
}

fn object(object: &Object, definitions: &mut Map<String, Value>) -> Value {
    let properties: Map<String, Value> = object.fields.iter().map(|field| (field.name.to_owned(), property(field, definitions))).collect();
    let required: Vec<&str> = object.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut schema = json!({
        "type": if required.is_empty() { json!(["object", "null"]) } else { json!("object") },
        "description": object.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    // What may stand under `with` depends on the kind beside it.
    if let Some(uses) = object.fields.iter().find(|field| matches!(field.shape, Shape::Kind)) {
        let by_kind = KINDS.iter().map(|kind| {
            let mut then = json!({ "properties": { "with": { "$ref": format!("#/definitions/{}", with_of(kind.name)) } } });
            if kind.needs_parameters() {
                then["required"] = json!(["with"]);
            }
            json!({ "if": { "properties": { uses.name: { "const": kind.name } }, "required": [uses.name] }, "then": then })
        });
        schema["allOf"] = by_kind.collect();
    }
    schema
}

fn property(field: &Field, definitions: &mut Map<String, Value>) -> Value {
    let mut schema = shape(&field.shape, definitions);
    let default = value(field.default).filter(|default| fits(default, &field.shape));
    let description = describe(field, default.is_none());
    if schema.get("$ref").is_some() {
        // Beside a reference nothing else counts.
        schema = json!({ "allOf": [schema] });
    }
    schema["description"] = Value::String(description);
    if let Some(default) = default {
        schema["default"] = default;
    }
    schema
}

/// What a field is, in words, with its default where that is not said otherwise.
pub(super) fn describe(field: &Field, with_default: bool) -> String {
    let told = if !with_default || field.default.is_empty() { String::new() } else { format!(" Default: {}.", field.default) };
    let meanings: String = match &field.shape {
        Shape::Words(words) | Shape::List(Shape::Words(words), ..) if words.len() > 1 => {
            words.iter().map(|(word, meaning)| format!("\n- `{word}`: {meaning}")).collect()
        }
        _ => String::new(),
    };
    format!("{}.{told}{meanings}", field.doc.trim_end_matches('.'))
}

/// Whether a default is a value, and not said in words.
fn fits(default: &Value, shape: &Shape) -> bool {
    match shape {
        Shape::Text(_) | Shape::Form(_) | Shape::Duration(..) | Shape::Words(_) => default.as_str().is_some_and(|text| !text.contains(' ')),
        Shape::Boolean | Shape::Condition => default.is_boolean(),
        Shape::Integer(..) | Shape::Number | Shape::Amount(..) => default.is_number(),
        Shape::List(..) => default.is_array(),
        Shape::Object(_) | Shape::Map(..) | Shape::With => default.is_object(),
        Shape::Percent | Shape::Kind | Shape::Value | Shape::Choice(_) | Shape::Either(..) => false,
    }
}

fn shape(of: &Shape, definitions: &mut Map<String, Value>) -> Value {
    match of {
        Shape::Text(most) => json!({ "type": "string", "maxLength": most }),
        Shape::Form(form) => {
            let mut schema = json!({ "type": "string", "examples": [form.example] });
            if !form.pattern.is_empty() {
                schema["pattern"] = json!(form.pattern);
            }
            schema
        }
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Integer(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Shape::Number => json!({ "type": "number" }),
        Shape::Duration(..) => json!({ "type": "string", "pattern": DURATION, "examples": ["90s", "5m", "1h30m"] }),
        Shape::Amount(from, to) => {
            json!({ "anyOf": [{ "type": "integer", "minimum": from, "maximum": to }, { "$ref": percent(definitions) }] })
        }
        Shape::Percent => json!({ "$ref": percent(definitions) }),
        Shape::Words(words) => json!({ "type": "string", "enum": words.iter().map(|(word, _)| *word).collect::<Vec<_>>() }),
        Shape::Kind => json!({ "type": "string", "enum": KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>() }),
        Shape::With => json!({ "type": ["object", "null"] }),
        Shape::Condition => json!({ "type": ["string", "boolean"], "examples": ["inputs.service == \"web\""] }),
        Shape::Value => json!({ "type": ["string", "number", "boolean", "array"], "items": { "type": "string" } }),
        Shape::List(of, least, most) => {
            let mut schema = json!({ "type": if *least == 0 { json!(["array", "null"]) } else { json!("array") }, "items": shape(of, definitions), "maxItems": most });
            if *least > 0 {
                schema["minItems"] = json!(least);
            }
            schema
        }
        Shape::Object(fields) => defined(fields, definitions, object),
        Shape::Choice(fields) => defined(fields, definitions, |fields, definitions| {
            let mut schema = object(fields, definitions);
            schema["type"] = json!("object");
            schema["minProperties"] = json!(1);
            schema["maxProperties"] = json!(1);
            schema
        }),
        Shape::Map(names, of, most) => json!({
            "type": ["object", "null"],
            "propertyNames": { "pattern": names.pattern },
            "additionalProperties": shape(of, definitions),
            "maxProperties": most,
        }),
        Shape::Either(short, long) => json!({ "anyOf": [shape(short, definitions), shape(long, definitions)] }),
    }
}

/// A whole percentage.
pub(super) const PERCENT: &str = "^\\s*(100|[0-9]{1,2})\\s*%$";

/// A reference to the schema of these fields, which is made once.
fn defined(fields: &Object, definitions: &mut Map<String, Value>, make: impl FnOnce(&Object, &mut Map<String, Value>) -> Value) -> Value {
    if !definitions.contains_key(fields.name) {
        definitions.insert(fields.name.to_owned(), Value::Null);
        let schema = make(fields, definitions);
        definitions.insert(fields.name.to_owned(), schema);
    }
    json!({ "$ref": format!("#/definitions/{}", fields.name) })
}

fn percent(definitions: &mut Map<String, Value>) -> &'static str {
    definitions.entry("percent").or_insert_with(|| json!({ "type": "string", "pattern": PERCENT, "examples": ["25%"] }));
    "#/definitions/percent"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::document::BOOLEANS;

    /// Every field's name and every word that the language gives a meaning, however deep.
    fn words(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(fields) => {
                for (name, inner) in fields {
                    match (name.as_str(), inner) {
                        ("properties", Value::Object(properties)) => found.extend(properties.keys().cloned()),
                        ("enum", Value::Array(values)) => found.extend(values.iter().filter_map(Value::as_str).map(str::to_owned)),
                        _ => {}
                    }
                    words(inner, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| words(item, found)),
            _ => {}
        }
    }

    #[test]
    fn no_word_of_the_language_is_a_boolean_to_yaml_1_1() {
        let mut found = Vec::new();
        words(&schema(), &mut found);
        assert!(found.len() > 100, "{found:?}");
        let wrong: Vec<&String> = found.iter().filter(|word| BOOLEANS.contains(&word.to_ascii_lowercase().as_str())).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn nothing_that_has_fields_takes_others() {
        fn closed(at: &str, schema: &Value) {
            if let Value::Object(fields) = schema {
                if fields.contains_key("properties") && !at.contains("/if") && !at.contains("/then") {
                    assert_eq!(fields.get("additionalProperties"), Some(&Value::Bool(false)), "{at}");
                }
                fields.iter().filter(|(name, _)| *name != "examples").for_each(|(name, inner)| closed(&format!("{at}/{name}"), inner));
            } else if let Value::Array(items) = schema {
                items.iter().for_each(|item| closed(at, item));
            }
        }
        closed("", &schema());
    }
}
