//! What the HTTP API of Prometheus answers.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The whole answer to a query.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    pub status: String,
    #[serde(default)]
    pub data: Option<Data>,
    #[serde(default)]
    pub error_type: String,
    #[serde(default)]
    pub error: String,
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The result, by its type.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub(super) enum Data {
    Vector(Vec<Series>),
    Scalar(Sample),
    Matrix(IgnoredAny),
    String(IgnoredAny),
}

/// One series of a vector.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Series {
    #[serde(default)]
    pub metric: BTreeMap<String, String>,
    #[serde(default)]
    pub value: Option<Sample>,
}

/// Time and value; the value is text, since JSON has no NaN.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Sample(IgnoredTime, String);

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(transparent)]
struct IgnoredTime(f64);

/// The answer about targets.
#[derive(Debug, Deserialize)]
pub(super) struct Targets {
    pub data: TargetsData,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TargetsData {
    #[serde(default)]
    pub active_targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Target {
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub last_error: String,
}

impl Sample {
    /// The value; `+Inf` and `NaN` are values too.
    pub fn value(&self) -> Option<f64> {
        self.1.parse().ok()
    }
}

#[cfg(test)]
impl Sample {
    pub fn of(value: &str) -> Sample {
        Sample(IgnoredTime(0.0), value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn answers_are_read_as_they_come() {
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[1.5,"1"]},{"metric":{},"histogram":[1,{"count":"1"}]}]},"warnings":["w"],"infos":["i"]}"#;
        let answer: Answer = serde_json::from_str(vector).unwrap();
        let Some(Data::Vector(series)) = answer.data else { panic!("a vector") };
        assert_eq!((series[0].metric["job"].as_str(), series[0].value.as_ref().unwrap().value()), ("a", Some(1.0)));
        assert_eq!((series[1].value.clone(), answer.warnings), (None, vec!["w".to_owned()]));
        let scalar: Answer = serde_json::from_str(r#"{"status":"success","data":{"resultType":"scalar","result":[1,"+Inf"]}}"#).unwrap();
        assert_eq!(scalar.data, Some(Data::Scalar(Sample(IgnoredTime(1.0), "+Inf".into()))));
        assert_eq!(Sample::of("+Inf").value(), Some(f64::INFINITY));
        assert!(Sample::of("NaN").value().unwrap().is_nan());
        let matrix: Answer = serde_json::from_str(r#"{"status":"success","data":{"resultType":"matrix","result":[{"values":[[1,"2"]]}]}}"#).unwrap();
        assert_eq!(matrix.data, Some(Data::Matrix(IgnoredAny)));
        let error: Answer = serde_json::from_str(r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#).unwrap();
        assert_eq!((error.error_type.as_str(), error.error.as_str()), ("bad_data", "parse error"));
    }
}
