//! Typed parameters: from a step's `with` block to values in the units that checks use.
//!
//! The catalogue has checked a block before it gets here. It is checked again, since what an agent does must
//! not rest on what another process looked at.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use mainstay_core::Millis;
use mainstay_core::plan::input::size;
use mainstay_core::report::Thresholds;
use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::StepError;

/// A number of percent, written `80%` or `80`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(pub f64);

/// A length of time, written `90s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span(pub Millis);

/// A number of bytes, written `64Mi` or as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// From where on something is a warning, and critical. What is left out keeps its default.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits<T> {
    #[serde(default = "none")]
    pub warning: Option<T>,
    #[serde(default = "none")]
    pub critical: Option<T>,
}

fn none<T>() -> Option<T> {
    None
}

/// Reads a `with` block.
///
/// # Errors
/// Refused, naming the kind and what is wrong with its parameters.
pub fn read<T: DeserializeOwned>(kind: &str, with: &Map<String, Value>) -> Result<T, StepError> {
    T::deserialize(Value::Object(with.clone()))
        .map_err(|error| StepError::refused(format!("parameters of {kind}: {error}; see `mainstay steps {kind}`")))
}

impl<T> Default for Limits<T> {
    fn default() -> Limits<T> {
        Limits { warning: None, critical: None }
    }
}

impl<T> Limits<T> {
    /// What is given here, and else what `other` gives.
    #[must_use]
    pub fn or(self, other: Limits<T>) -> Limits<T> {
        Limits { warning: self.warning.or(other.warning), critical: self.critical.or(other.critical) }
    }
}

impl<T: Into<f64> + Copy> Limits<T> {
    /// With these defaults, where large values are the bad ones.
    #[must_use]
    pub fn above(&self, warning: f64, critical: f64) -> Thresholds {
        Thresholds { warning: Some(self.warning.map_or(warning, T::into)), critical: Some(self.critical.map_or(critical, T::into)), below: false }
    }

    /// With these defaults, where small values are the bad ones.
    #[must_use]
    pub fn below(&self, warning: f64, critical: f64) -> Thresholds {
        Thresholds { below: true, ..self.above(warning, critical) }
    }
}

impl<T: Into<f64> + Copy> Limits<T> {
    /// With these defaults, either of which may be "never", where large values are the bad ones.
    #[must_use]
    pub fn from(&self, warning: Option<f64>, critical: Option<f64>) -> Thresholds {
        Thresholds { warning: self.warning.map(T::into).or(warning), critical: self.critical.map(T::into).or(critical), below: false }
    }
}

impl Limits<Span> {
    /// In seconds, with these defaults.
    #[must_use]
    pub fn seconds(&self, warning: f64, critical: f64) -> Thresholds {
        let seconds = |span: Option<Span>, default: f64| Some(span.map_or(default, |span| span.0.as_secs_f64()));
        Thresholds { warning: seconds(self.warning, warning), critical: seconds(self.critical, critical), below: false }
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> f64 {
        percent.0
    }
}

impl From<Size> for f64 {
    fn from(size: Size) -> f64 {
        size.0 as f64
    }
}

/// In milliseconds.
impl From<Span> for f64 {
    fn from(span: Span) -> f64 {
        span.0.0 as f64
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Percent, String> {
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        number.filter(|n| n.is_finite() && *n >= 0.0).map(Percent).ok_or_else(|| format!("`{text}` is not a percentage such as 80%"))
    }
}

impl FromStr for Span {
    type Err = mainstay_core::time::DurationError;

    fn from_str(text: &str) -> Result<Span, Self::Err> {
        text.parse().map(Span)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Percent, D::Error> {
        deserializer.deserialize_any(TextOrNumber(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(number) => number.as_u64().map(Size),
            Value::String(text) => size(&text).map(Size),
            _ => None,
        }
        .ok_or_else(|| D::Error::custom("a size is written 64Mi, or as a number of bytes"))
    }
}

struct TextOrNumber<T>(PhantomData<T>);

impl Visitor<'_> for TextOrNumber<Percent> {
    type Value = Percent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a percentage such as 80%")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Percent, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Percent, E> {
        if number.is_finite() && number >= 0.0 { Ok(Percent(number)) } else { Err(E::custom(format!("{number} is not a percentage"))) }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Percent, E> {
        Ok(Percent(number as f64))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Percent, E> {
        self.visit_f64(number as f64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    struct Example {
        disk: Limits<Percent>,
        since: Span,
    }

    impl Default for Example {
        fn default() -> Example {
            Example { disk: Limits::default(), since: Span(Millis(5)) }
        }
    }

    fn example(value: serde_json::Value) -> Result<Example, String> {
        read("example", value.as_object().unwrap()).map_err(|error: StepError| error.message)
    }

    #[test]
    fn percent_and_spans_are_read_as_people_write_them() {
        let read = example(json!({"disk": {"warning": "75%", "critical": 90}, "since": "24h"})).unwrap();
        assert_eq!(read.disk.above(80.0, 95.0), Thresholds::above(75.0, 90.0));
        assert_eq!(read.since, Span(Millis(86_400_000)));
        assert_eq!(example(json!({"disk": {"critical": 99.5}})).unwrap().disk.above(80.0, 95.0), Thresholds::above(80.0, 99.5));
    }

    #[test]
    fn sizes_and_spans_become_the_units_of_checks() {
        let limits = |value: serde_json::Value| Limits::<Size>::deserialize(value).unwrap();
        assert_eq!(limits(json!({"warning": "64Mi"})).from(None, Some(1e9)), Thresholds::above(67_108_864.0, 1e9));
        assert_eq!(limits(json!({"critical": 512})).from(None, None), Thresholds { critical: Some(512.0), ..Thresholds::default() });
        assert!(Limits::<Size>::deserialize(json!({"critical": "64 MB"})).is_err());
        let spans = Limits::<Span>::deserialize(json!({"warning": "2m"})).unwrap();
        assert_eq!(spans.seconds(30.0, 300.0), Thresholds::above(120.0, 300.0));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (value, part) in [
            (json!({"dsk": {}}), "unknown field `dsk`"),
            (json!({"disk": {"warn": 1}}), "unknown field `warn`"),
            (json!({"disk": {"warning": "80"}}), "`80` is not a percentage such as 80%"),
            (json!({"disk": {"warning": -1}}), "not a percentage"),
            (json!({"since": "5 minutes"}), "`5 minutes` is not a duration"),
            (json!({"since": 5}), "expected a string"),
        ] {
            let error = example(value).unwrap_err();
            assert!(error.starts_with("parameters of example: ") && error.contains(part), "{error}");
        }
    }
}
