//! JSON in, JSON out, and how much a value is.

use std::collections::HashMap;
use std::sync::Arc;

use cel::Value as Cel;
use cel::objects::{Key, Map};
use serde_json::{Map as JsonMap, Number, Value};

use super::bounds;

/// What a value of each sort is called where people read it.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// The part of a value that a set of paths reads; each path with whether null is an answer there. None
/// where nothing is read. What stands in the way of a path is taken whole, so that the error can name it.
pub(super) fn take(value: &Value, paths: &[(&[String], bool)]) -> Option<Cel> {
    let ends = paths.iter().any(|(path, _)| path.is_empty());
    if value.is_null() {
        return paths.iter().any(|(path, may_be_null)| path.is_empty() && *may_be_null).then_some(Cel::Null);
    }
    let Value::Object(map) = value else { return Some(whole(value)) };
    if ends {
        return Some(whole(value));
    }
    let mut taken: HashMap<Key, Cel> = HashMap::new();
    for (name, value) in map {
        let below: Vec<(&[String], bool)> =
            paths.iter().filter(|(path, _)| path.first() == Some(name)).map(|(path, may_be_null)| (&path[1..], *may_be_null)).collect();
        if !below.is_empty()
            && let Some(value) = take(value, &below)
        {
            taken.insert(name.as_str().into(), value);
        }
    }
    Some(Cel::Map(Map { map: Arc::new(taken) }))
}

fn whole(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => number.as_i64().map_or_else(|| Cel::Float(number.as_f64().unwrap_or(f64::NAN)), Cel::Int),
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(list) => Cel::List(Arc::new(list.iter().map(whole).collect())),
        Value::Object(map) => Cel::Map(Map { map: Arc::new(map.iter().map(|(key, value)| (key.as_str().into(), whole(value))).collect()) }),
    }
}

/// About the bytes that a value takes; none when it is nested too deep.
pub(super) fn size(value: &Value) -> Option<u64> {
    fn of(value: &Value, depth: usize) -> Option<u64> {
        let depth = depth.checked_sub(1)?;
        Some(match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 8,
            Value::String(text) => 8 + text.len() as u64,
            Value::Array(list) => list.iter().try_fold(8, |sum: u64, value| Some(sum.saturating_add(of(value, depth)?)))?,
            Value::Object(map) => {
                map.iter().try_fold(8, |sum: u64, (key, value)| Some(sum.saturating_add(of(value, depth)?).saturating_add(8 + key.len() as u64)))?
            }
        })
    }
    of(value, bounds::VALUE_DEPTH)
}

/// A result as JSON, or why it is none, to follow the expression in a sentence.
pub(super) fn result(value: &Cel) -> Result<Value, String> {
    fn of(value: &Cel, depth: usize, room: &mut usize) -> Result<Value, String> {
        let depth = depth.checked_sub(1).ok_or("gives maps and lists within each other too deep")?;
        let take = 8 + if let Cel::String(text) = value { text.len() } else { 0 };
        *room = room.checked_sub(take).ok_or_else(|| format!("gives more than {} KiB", bounds::VALUE_BYTES >> 10))?;
        Ok(match value {
            Cel::Null => Value::Null,
            Cel::Bool(value) => Value::Bool(*value),
            Cel::Int(number) => Value::from(*number),
            Cel::UInt(number) => Value::from(*number),
            Cel::Float(number) => Value::Number(Number::from_f64(*number).ok_or("gives no finite number")?),
            Cel::String(text) => Value::String(text.as_ref().clone()),
            Cel::List(list) => Value::Array(list.iter().map(|value| of(value, depth, room)).collect::<Result<_, _>>()?),
            Cel::Map(map) => {
                let mut entries: Vec<(&Key, &Cel)> = map.map.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                let mut object = JsonMap::new();
                for (key, value) in entries {
                    let Key::String(key) = key else { return Err("gives a map whose keys are no texts".to_owned()) };
                    *room = room.checked_sub(8 + key.len()).ok_or_else(|| format!("gives more than {} KiB", bounds::VALUE_BYTES >> 10))?;
                    object.insert(key.as_ref().clone(), of(value, depth, room)?);
                }
                Value::Object(object)
            }
            _ => return Err("gives no value".to_owned()),
        })
    }
    of(value, bounds::VALUE_DEPTH, &mut { bounds::VALUE_BYTES })
}
