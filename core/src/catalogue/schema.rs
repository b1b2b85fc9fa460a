//! Parameters of step kinds in the words of JSON Schema, for editors.
//!
//! A schema takes everything that is good and refuses most of what is not; what it cannot say (a duration's
//! bounds, what an expression may read) is checked when the plan is.

use serde_json::{Map, Value, json};

use super::{Kind, Param, ParamType, Together};

/// Where a document keeps the schema of a text with `${{ }}` in it.
pub const TEMPLATE: &str = "#/definitions/template";

/// A text with `${{ }}` in it.
#[must_use]
pub fn template() -> Value {
    json!({ "type": "string", "pattern": "\\$\\{\\{.+\\}\\}", "description": "`${{ EXPRESSION }}` is filled in when the step's needs have ended" })
}

impl Kind {
    /// What stands under `with`.
    #[must_use]
    pub fn schema(&self) -> Value {
        let mut schema = block(self.params);
        schema["description"] = json!(self.summary);
        if !self.needs_parameters() {
            schema["type"] = json!(["object", "null"]);
        }
        if !self.together.is_empty() {
            schema["allOf"] = self.together.iter().map(Together::schema).collect();
        }
        schema
    }
}

/// A block of parameters.
fn block(params: &[Param]) -> Value {
    let properties: Map<String, Value> = params.iter().map(|param| (param.name.to_owned(), param.schema())).collect();
    let required: Vec<&str> = params.iter().filter(|param| param.required).map(|param| param.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

impl Param {
    fn schema(&self) -> Value {
        let mut schema = self.ty.schema();
        let as_value = crate::plan::value(self.default).filter(|value| self.ty.takes(value));
        let told = if as_value.is_some() || self.default.is_empty() { String::new() } else { format!(" Default: {}.", self.default) };
        schema["description"] = Value::String(format!("{}.{told}", self.doc));
        if let Some(value) = as_value {
            schema["default"] = value;
        }
        schema
    }
}

impl ParamType {
    /// Whether it is text in which any `${{ }}` is good as it stands.
    fn is_free_text(&self) -> bool {
        matches!(self, ParamType::Text | ParamType::Expression(_))
    }

    /// The schema of a value, or of an expression that comes to one.
    pub(crate) fn schema(&self) -> Value {
        let own = self.own_schema();
        if self.is_free_text() { own } else { json!({ "anyOf": [own, { "$ref": TEMPLATE }] }) }
    }

    fn own_schema(&self) -> Value {
        let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
        match self {
            ParamType::Text | ParamType::Expression(_) => json!({ "type": "string" }),
            ParamType::Integer(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
            ParamType::Boolean => json!({ "type": "boolean" }),
            ParamType::Duration => text(DURATION),
            ParamType::Percent => json!({ "anyOf": [{ "type": "number", "minimum": 0, "maximum": 100 }, text("^[0-9]+(\\.[0-9]+)?\\s*%$")] }),
            ParamType::Thresholds(of) => json!({
                "type": "object",
                "properties": { "warning": of.schema(), "critical": of.schema() },
                "additionalProperties": false,
            }),
            ParamType::Number => json!({ "type": "number" }),
            ParamType::Size => json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, text("^[0-9]+(k|M|G|T|Ki|Mi|Gi|Ti)?$")] }),
            ParamType::List(of) => json!({ "type": "array", "items": of.schema() }),
            ParamType::Map => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            ParamType::Values => json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean", "null"] } }),
            ParamType::Block => json!({ "type": "object" }),
            ParamType::Fields(params) => block(params),
            ParamType::Choice(choices, others) => {
                let mut schema = block(&[*choices, *others].concat());
                schema["oneOf"] = choices.iter().map(|choice| json!({ "required": [choice.name] })).collect();
                schema
            }
            ParamType::NotYet(_) => json!({}),
            ParamType::OneOf(words) => json!({ "type": "string", "enum": words }),
            ParamType::Url => text("^https?://[^\\s/?#@]+([/?#]\\S*)?$"),
            ParamType::Endpoint => text("^[^\\s/@]+:[0-9]{1,5}$"),
            ParamType::Connection => text("^[a-z0-9*]([a-z0-9.*-]{0,61}[a-z0-9*])?$"),
            ParamType::LeaseName => text("^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$"),
            ParamType::RootCertificate => text("-----BEGIN CERTIFICATE-----"),
            ParamType::HttpStatus => json!({ "anyOf": [
                { "type": "integer", "minimum": 100, "maximum": 599 },
                { "type": "array", "minItems": 1, "items": { "type": "integer", "minimum": 100, "maximum": 599 } },
                text("^\\s*[1-5][0-9]{2}\\s*-\\s*[1-5][0-9]{2}\\s*$"),
            ] }),
        }
    }
}

/// A length of time.
pub(crate) const DURATION: &str = "^([0-9]+(ms|s|m|h|d))+$";
