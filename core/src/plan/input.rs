//! Inputs: what a run is given, declared by the plan with a type. Never a secret: inputs are recorded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalogue;
use crate::time::Millis;

/// One declared input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    #[serde(rename = "type")]
    pub ty: InputType,
    pub description: String,
    /// Without one the input must be given.
    pub default: Option<Value>,
    /// The only values that may be; any where it is empty.
    pub one_of: Vec<Value>,
    /// Of numbers, and of the length of a list.
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
}

/// What an input's value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputType {
    Text,
    Number,
    Integer,
    Boolean,
    /// `90s`
    Duration,
    /// `64Mi`
    Size,
    /// Of text.
    List,
}

/// Longest text of an input.
const TEXT_MAX: usize = 8 << 10;

impl InputType {
    pub const ALL: [(InputType, &'static str); 7] = [
        (InputType::Text, "text"),
        (InputType::Number, "number"),
        (InputType::Integer, "integer"),
        (InputType::Boolean, "boolean"),
        (InputType::Duration, "duration"),
        (InputType::Size, "size"),
        (InputType::List, "list"),
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(ty, _)| *ty == self).map_or("", |(_, word)| word)
    }

    fn describe(self) -> &'static str {
        match self {
            InputType::Text => "text",
            InputType::Number => "a number",
            InputType::Integer => "a whole number",
            InputType::Boolean => "true or false",
            InputType::Duration => "a duration such as 90s",
            InputType::Size => "a size such as 64Mi",
            InputType::List => "a list of text",
        }
    }
}

/// Bytes that a size such as `64Mi`, `2G` or `512` stands for.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let unit: u64 = match text.get(digits..)? {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

impl Input {
    /// What is wrong with a value, if anything, after "`name`".
    #[must_use]
    pub fn problem(&self, value: &Value) -> Option<String> {
        let shown = || value.to_string().chars().take(80).collect::<String>();
        let fits = match (self.ty, value) {
            (InputType::Text, Value::String(text)) => text.len() <= TEXT_MAX && !text.contains('\0'),
            (InputType::Number, Value::Number(number)) => number.as_f64().is_some_and(f64::is_finite),
            (InputType::Integer, Value::Number(number)) => number.is_i64(),
            (InputType::Boolean, Value::Bool(_)) => true,
            (InputType::Duration, Value::String(text)) => text.parse::<Millis>().is_ok(),
            (InputType::Size, Value::String(text)) => size(text).is_some(),
            (InputType::Size, Value::Number(number)) => number.is_u64(),
            (InputType::List, Value::Array(items)) => {
                items.iter().all(|item| item.as_str().is_some_and(|text| text.len() <= TEXT_MAX && !text.contains('\0')))
            }
            _ => false,
        };
        if !fits {
            return Some(format!("is {}, and should be {}", shown(), self.ty.describe()));
        }
        if !self.one_of.is_empty() && !self.one_of.contains(value) {
            let words: Vec<String> = self.one_of.iter().map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect();
            return Some(format!("is {}, and should be one of {}", shown(), words.join(", ")));
        }
        let (number, what) = match value {
            Value::Array(items) => (Some(items.len() as f64), "entries"),
            other => (other.as_f64(), ""),
        };
        let unit = if what.is_empty() { String::new() } else { format!(" {what}") };
        match (number, self.minimum, self.maximum) {
            (Some(number), Some(least), _) if number < least => Some(format!("is {}, and should be at least {least}{unit}", shown())),
            (Some(number), _, Some(most)) if number > most => Some(format!("is {}, and should be at most {most}{unit}", shown())),
            _ => None,
        }
    }
}

/// The values of a run: what was given, checked, and defaults for the rest. The error says what is wrong with
/// the first wrong one.
pub fn resolve(declared: &BTreeMap<String, Input>, given: &BTreeMap<String, Value>) -> Result<BTreeMap<String, Value>, String> {
    if let Some(name) = given.keys().find(|name| !declared.contains_key(*name)) {
        let hint = match catalogue::nearest(name, declared.keys().map(String::as_str)) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None if declared.is_empty() => ": it takes none".to_owned(),
            None => format!("; there are {}", declared.keys().cloned().collect::<Vec<_>>().join(", ")),
        };
        return Err(format!("there is no input `{name}`{hint}"));
    }
    let mut values = BTreeMap::new();
    for (name, input) in declared {
        let value = given.get(name).or(input.default.as_ref());
        let Some(value) = value else {
            let about = if input.description.is_empty() { input.ty.describe() } else { &input.description };
            return Err(format!("input `{name}` is missing ({about}): give it with --set {name}=…"));
        };
        if let Some(problem) = input.problem(value) {
            return Err(format!("input `{name}` {problem}"));
        }
        values.insert(name.clone(), value.clone());
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn input(ty: InputType) -> Input {
        Input { ty, description: String::new(), default: None, one_of: Vec::new(), minimum: None, maximum: None }
    }

    #[test]
    fn each_type_takes_its_own() {
        for (ty, good, bad) in [
            (InputType::Text, json!("a"), json!(1)),
            (InputType::Number, json!(1.5), json!("1.5")),
            (InputType::Integer, json!(3), json!(3.5)),
            (InputType::Boolean, json!(true), json!("true")),
            (InputType::Duration, json!("90s"), json!(90)),
            (InputType::Size, json!("64Mi"), json!("64 MB")),
            (InputType::List, json!(["a"]), json!([1])),
        ] {
            assert_eq!(input(ty).problem(&good), None, "{ty:?}");
            assert!(input(ty).problem(&bad).is_some(), "{ty:?}");
        }
        assert_eq!(size("2Ki"), Some(2_048));
        assert_eq!(size("99999999999999999999"), None);
    }

    #[test]
    fn defaults_fill_in_and_what_is_wrong_is_named() {
        let declared: BTreeMap<String, Input> = [
            ("service".to_owned(), input(InputType::Text)),
            ("batch".to_owned(), Input { default: Some(json!(5)), minimum: Some(1.0), maximum: Some(10.0), ..input(InputType::Integer) }),
        ]
        .into();
        let given = |value: Value| value.as_object().unwrap().clone().into_iter().collect::<BTreeMap<_, _>>();
        assert_eq!(resolve(&declared, &given(json!({"service": "web"}))).unwrap(), given(json!({"service": "web", "batch": 5})));
        for (values, words) in [
            (json!({}), "input `service` is missing"),
            (json!({"servce": "web"}), "did you mean `service`?"),
            (json!({"service": "web", "batch": 11}), "input `batch` is 11, and should be at most 10"),
            (json!({"service": 5}), "input `service` is 5, and should be text"),
        ] {
            let error = resolve(&declared, &given(values)).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
