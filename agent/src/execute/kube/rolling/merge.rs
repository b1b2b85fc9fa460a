//! Merge patches: from two values to what makes the second of the first. Pure.

use serde_json::{Map, Value};

/// The merge patch that makes `to` of `from`; nothing where they are the same.
pub fn difference(from: &Value, to: &Value) -> Option<Value> {
    match (from, to) {
        _ if from == to => None,
        (Value::Object(from), Value::Object(to)) => {
            let gone = from.keys().filter(|name| !to.contains_key(*name)).map(|name| (name.clone(), Value::Null));
            let changed = to.iter().filter_map(|(name, value)| {
                let value = from.get(name).map_or_else(|| Some(value.clone()), |from| difference(from, value))?;
                Some((name.clone(), value))
            });
            Some(Value::Object(gone.chain(changed).collect()))
        }
        (_, to) => Some(to.clone()),
    }
}

/// Makes of a value what a merge patch says.
pub fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Some(fields) = value.as_object_mut() else { return };
    for (name, patch) in patch {
        if patch.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), patch);
        }
    }
}

/// What stands in a value at each place that a patch is about.
pub fn project(value: &Value, patch: &Value) -> Value {
    match patch {
        Value::Object(patch) => {
            let at = |name: &str| value.get(name).unwrap_or(&Value::Null);
            Value::Object(patch.iter().map(|(name, patch)| (name.clone(), project(at(name), patch))).collect())
        }
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_makes_the_one_of_the_other() {
        let one = json!({ "a": 1, "gone": { "x": 1 }, "list": [{ "name": "a" }, { "name": "b" }], "in": { "kept": 1, "changed": 1, "gone": 1 } });
        let other = json!({ "a": 1, "list": [{ "name": "a" }], "in": { "kept": 1, "changed": 2 }, "new": { "y": {} } });
        for (from, to) in [(&one, &other), (&other, &one)] {
            let mut value = from.clone();
            merge(&mut value, &difference(from, to).unwrap());
            assert_eq!(value, *to);
        }
        assert_eq!(difference(&one, &one.clone()), None);
        assert_eq!(difference(&one, &other).unwrap()["in"], json!({ "changed": 2, "gone": null }), "what stays is not sent");
        let mut value = json!("text");
        merge(&mut value, &json!({ "a": { "b": 1, "c": null } }));
        assert_eq!(value, json!({ "a": { "b": 1 } }));
    }

    #[test]
    fn only_what_a_patch_is_about_is_looked_at() {
        let value = json!({ "spec": { "replicas": 3, "paused": false }, "metadata": { "labels": { "a": "b" } } });
        let patch = json!({ "spec": { "replicas": 5 }, "metadata": { "labels": { "new": null } } });
        assert_eq!(project(&value, &patch), json!({ "spec": { "replicas": 3 }, "metadata": { "labels": { "new": null } } }));
    }
}
