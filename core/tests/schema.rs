//! The published JSON Schema is the one that the language makes, and says what it says.
//! So are the custom resources, whose structural schema is held against it.
//! `UPDATE=1 cargo test -p mainstay-core --test schema` writes both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::path::Path;

use mainstay_core::plan::schema::{schema, schema_text};
use mainstay_core::plan::structural;
use serde_json::Value;

/// Compares a file with what it should be, or writes it.
fn keep(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let published = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(published == text, "{} is stale: UPDATE=1 cargo test -p mainstay-core --test schema", file.display());
}

#[test]
fn the_published_schema_is_the_one_of_this_program() {
    keep("schema/maintenanceplan.v1alpha1.json", &schema_text());
}

#[test]
fn the_custom_resources_are_those_of_this_program() {
    for (name, definition) in [("maintenanceplans", structural::plans()), ("maintenanceruns", structural::runs())] {
        keep(&format!("helm/mainstay/files/custom-resources/{name}.json"), &format!("{definition:#}\n"));
    }
}

/// A definition with its references followed.
fn followed<'s>(schema: &'s Value, whole: &'s Value) -> &'s Value {
    let target = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref")).and_then(Value::as_str);
    target.map_or(schema, |target| whole.pointer(target.trim_start_matches('#')).unwrap())
}

/// What stands under `spec` is in both the same, field by field, as far as a structural schema can say it; what it cannot
/// say it leaves open.
#[test]
fn the_structural_schema_says_what_the_published_one_says() {
    fn same(at: &str, published: &Value, structural: &Value, whole: &Value, compared: &mut usize) {
        let published = followed(published, whole);
        assert!(structural.get("default").is_none(), "{at}: an API server would write it into the object");
        if structural["x-kubernetes-preserve-unknown-fields"] == true && structural.get("type").is_none() {
            let several = published["type"].as_array().is_some_and(|types| types.len() > 1) || published.get("anyOf").is_some();
            return assert!(several, "{at} is left open, and is {published}");
        }
        if structural["x-kubernetes-int-or-string"] == true {
            let [number, share] = published["anyOf"].as_array().unwrap().as_slice() else { panic!("{at}: {published}") };
            assert_eq!((&structural["minimum"], &structural["maximum"]), (&number["minimum"], &number["maximum"]), "{at}");
            return assert_eq!(structural["pattern"], followed(share, whole)["pattern"], "{at}");
        }
        *compared += 1;
        let types = published["type"].as_array().cloned().unwrap_or_else(|| vec![published["type"].clone()]);
        assert_eq!(structural["type"], types[0], "{at}");
        assert_eq!(structural["nullable"] == true, types.contains(&"null".into()), "{at}");
        for word in ["minimum", "maximum", "minItems", "maxItems", "minProperties", "maxProperties", "pattern", "required"] {
            assert_eq!(structural.get(word), published.get(word), "{at}/{word}");
        }
        // A plan of a namespace has fewer kinds, and all of them are in both.
        if let Some(words) = structural["enum"].as_array() {
            assert!(words.iter().all(|word| published["enum"].as_array().unwrap().contains(word)), "{at}");
            assert!(at.ends_with("uses") || structural["enum"] == published["enum"], "{at}");
        }
        if let Some(fields) = published["properties"].as_object() {
            let own = structural["properties"].as_object().unwrap();
            assert!(fields.keys().eq(own.keys()), "{at}: {:?} {:?}", fields.keys(), own.keys());
            assert_eq!(structural["x-kubernetes-preserve-unknown-fields"], true, "{at}: what is misspelt would be left out in silence");
            fields.iter().for_each(|(name, inner)| same(&format!("{at}/{name}"), inner, &own[name], whole, compared));
        }
        for inner in ["items", "additionalProperties"] {
            if published[inner].is_object() {
                same(&format!("{at}/{inner}"), &published[inner], &structural[inner], whole, compared);
            }
        }
    }
    let (whole, mut compared) = (schema(), 0);
    let definition = structural::plans();
    let spec = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap();
    same("spec", &whole["properties"]["spec"], spec, &whole, &mut compared);
    assert!(compared > 100, "{compared}");
}

#[test]
fn every_reference_leads_somewhere() {
    fn follow(schema: &serde_json::Value, whole: &serde_json::Value) {
        match schema {
            serde_json::Value::Object(fields) => {
                if let Some(target) = fields.get("$ref").and_then(serde_json::Value::as_str) {
                    assert!(whole.pointer(target.trim_start_matches('#')).is_some_and(|found| !found.is_null()), "{target}");
                }
                fields.values().for_each(|inner| follow(inner, whole));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| follow(item, whole)),
            _ => {}
        }
    }
    let whole = schema();
    follow(&whole, &whole);
}
