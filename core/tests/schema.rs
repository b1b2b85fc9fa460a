//! The published JSON Schema is the one that the language makes, and says what it says.
//! `UPDATE=1 cargo test -p mainstay-core --test schema` writes it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::path::Path;

use mainstay_core::plan::schema::{schema, schema_text};

#[test]
fn the_published_schema_is_the_one_of_this_program() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/schema/maintenanceplan.v1alpha1.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, schema_text()).unwrap();
    }
    let published = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(published == schema_text(), "{} is stale: UPDATE=1 cargo test -p mainstay-core --test schema", file.display());
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
