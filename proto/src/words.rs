//! The JSON form of messages: enums as the words that people use, and JSON within a message as what it is.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::v1;

/// `RUN_STATE_RUNNING` of the enum with the prefix `RUN_STATE_` is `running`; what this program does not
/// know, and what was not said, is `unspecified`.
fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase().replace('_', " ")
}

macro_rules! words {
    ($($function:ident, $type:ty, $prefix:literal, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            pub fn $function<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
                let value = <$type>::try_from(*value).unwrap_or_default();
                serializer.serialize_str(&word(value.as_str_name(), $prefix))
            }

            impl crate::words::Word for $type {
                fn word(self) -> String {
                    word(self.as_str_name(), $prefix)
                }
            }
        )*
    };
}

/// The word of an enum's value.
pub trait Word {
    fn word(self) -> String;
}

words! {
    verdict, v1::Verdict, "VERDICT_", "Word of a verdict.";
    outcome, v1::outcome::Kind, "KIND_", "Word of an outcome.";
    lease_kind, v1::LeaseKind, "LEASE_KIND_", "Word of a lease's kind.";
    run_state, v1::RunState, "RUN_STATE_", "Word of a run's state.";
    undo_state, v1::UndoState, "UNDO_STATE_", "Word of what became of undoing a run.";
    work_state, v1::WorkState, "WORK_STATE_", "Word of a work item's state.";
    attempt_state, v1::AttemptState, "ATTEMPT_STATE_", "Word of an attempt's state.";
    member_role, v1::MemberRole, "MEMBER_ROLE_", "Word of a member's role.";
    link_state, v1::LinkState, "LINK_STATE_", "Word of a link's state.";
    severity, v1::Severity, "SEVERITY_", "Word of how much a remark matters.";
    artifact_kind, v1::ArtifactKind, "ARTIFACT_KIND_", "Word of what an artifact is for.";
    wait_kind, v1::WaitKind, "WAIT_KIND_", "Word of why something waits.";
    cancel, v1::Cancel, "CANCEL_", "Word of why an attempt is to stop.";
}

/// JSON text as the value that it is; what is none stays text.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// One value that travels as text.
pub fn json_value<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    value(text).serialize(serializer)
}

/// Values by name that travel as texts.
pub fn json_values<S: Serializer>(texts: &BTreeMap<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(texts.iter().map(|(name, text)| (name, value(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_camel_case_with_words() {
        let run = v1::Run {
            state: v1::RunState::Undoing.into(),
            undo: v1::UndoState::NotNeeded.into(),
            started_by: "operator/ana".into(),
            ..v1::Run::default()
        };
        let json = serde_json::to_value(&run).unwrap();
        assert_eq!(
            (&json["state"], &json["undo"], &json["startedBy"], &json["verdict"]),
            (&"undoing".into(), &"not needed".into(), &"operator/ana".into(), &"unspecified".into())
        );
    }

    #[test]
    fn values_within_a_message_are_values() {
        let inputs = [("limit", "50"), ("db", "\"orders-*\""), ("hosts", "[\"a\"]"), ("odd", "no json")];
        let run = v1::Run { inputs: inputs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), ..v1::Run::default() };
        let json = serde_json::to_value(&run).unwrap();
        assert_eq!(json["inputs"], serde_json::json!({ "limit": 50, "db": "orders-*", "hosts": ["a"], "odd": "no json" }));
        let step = v1::PreviewStep { with: r#"{"for":"5s"}"#.into(), ..v1::PreviewStep::default() };
        assert_eq!(serde_json::to_value(&step).unwrap()["with"], serde_json::json!({ "for": "5s" }));
        let report = v1::Report { outputs: [("lag".to_owned(), "99.95".to_owned())].into(), ..v1::Report::default() };
        assert_eq!(serde_json::to_value(&report).unwrap()["outputs"]["lag"], 99.95);
    }
}
