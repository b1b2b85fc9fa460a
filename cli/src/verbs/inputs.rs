//! Values for the inputs of a plan: from the command line and from a file, as the JSON that the mesh takes.

use std::collections::BTreeMap;
use std::path::Path;

use mainstay_client::files;
use mainstay_core::plan::Input;
use mainstay_core::plan::input::InputType;
use serde_json::Value;

use crate::args::inputs::Inputs;
use crate::error::CliError;
use crate::{host, yaml};

/// A file with more than this holds no values that a run could take.
const FILE_MAX: u64 = 256 << 10;

/// What was declared decides how a text of `--set` is read; the file says itself what is text and what is not.
/// Whether the values fit is for the mesh to say.
pub fn values(given: &Inputs, declared: &BTreeMap<String, Input>) -> Result<BTreeMap<String, String>, CliError> {
    let mut values = match &given.values {
        Some(file) => of_file(&read(file)?, file)?,
        None => BTreeMap::new(),
    };
    let set = given.set.iter().map(|(name, text)| (name.clone(), typed(text, declared.get(name).map(|input| input.ty))));
    values.extend(set);
    Ok(values.into_iter().map(|(name, value)| (name, value.to_string())).collect())
}

/// A text of the command line as a value of this type. What does not fit stays a text, and is refused in the
/// mesh's own words; so is what nobody declared.
fn typed(text: &str, ty: Option<InputType>) -> Value {
    let json = || serde_json::from_str::<Value>(text).ok();
    let read = match ty {
        Some(InputType::Text | InputType::Duration | InputType::Size) => None,
        Some(InputType::Number | InputType::Integer) => json().filter(Value::is_number),
        Some(InputType::Boolean) => json().filter(Value::is_boolean),
        Some(InputType::List) => json().filter(Value::is_array),
        None => json().filter(|value| value.is_number() || value.is_boolean() || value.is_array()),
    };
    read.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn read(file: &str) -> Result<String, CliError> {
    let (read, shown) = match file {
        "-" => (host::standard_input(FILE_MAX), "standard input"),
        path => (files::read_text(Path::new(path), FILE_MAX), path),
    };
    read.map_err(|error| CliError::usage(format!("the values cannot be read from {shown}: {error}")))
}

/// A YAML map; JSON is one as well.
fn of_file(text: &str, file: &str) -> Result<BTreeMap<String, Value>, CliError> {
    yaml::read(text).map_err(|error| {
        let message = format!("{file}:{}:{}: these are no values: {}", error.line, error.column, error.message);
        CliError::usage(message).with_next("write a line  name: value  for each input of the plan")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn the_type_of_the_input_decides() {
        for (text, ty, value) in [
            ("1.10", Some(InputType::Text), json!("1.10")),
            ("1.10", Some(InputType::Number), json!(1.1)),
            ("true", Some(InputType::Text), json!("true")),
            ("true", Some(InputType::Boolean), json!(true)),
            ("90s", Some(InputType::Duration), json!("90s")),
            ("64", Some(InputType::Size), json!("64")),
            (r#"["a", "b"]"#, Some(InputType::List), json!(["a", "b"])),
            (r#"["a", "b"]"#, Some(InputType::Text), json!(r#"["a", "b"]"#)),
            ("a,b", Some(InputType::List), json!("a,b")),
            ("many", Some(InputType::Integer), json!("many")),
            ("3", None, json!(3)),
            ("x", None, json!("x")),
        ] {
            assert_eq!(typed(text, ty), value, "{text} as {ty:?}");
        }
    }

    #[test]
    fn a_file_is_a_map_and_the_command_line_goes_before_it() {
        let file = of_file("service: shop/web\nreplicas: 3\nhosts: [a, b]\n", "v.yaml").unwrap();
        assert_eq!(file, BTreeMap::from([("service".into(), json!("shop/web")), ("replicas".into(), json!(3)), ("hosts".into(), json!(["a", "b"]))]));
        assert_eq!(of_file(r#"{"replicas": 3}"#, "v.json").unwrap(), BTreeMap::from([("replicas".into(), json!(3))]));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.yaml");
        files::write_atomic(mainstay_client::failpoint::Point::Saved, &path, b"service: a\nreplicas: 3\n", 0o600).unwrap();
        let given = Inputs { set: vec![("service".into(), "b".into())], values: Some(path.display().to_string()) };
        assert_eq!(values(&given, &BTreeMap::new()).unwrap(), BTreeMap::from([("service".into(), "\"b\"".into()), ("replicas".into(), "3".into())]));
    }

    #[test]
    fn what_is_no_map_is_said_with_its_place() {
        for text in ["- a\n- b\n", "just words", "a: [1\n", "a: 1\na: 2\n"] {
            let error = of_file(text, "v.yaml").unwrap_err();
            assert!(error.message.starts_with("v.yaml:"), "{text}: {}", error.message);
        }
    }
}
