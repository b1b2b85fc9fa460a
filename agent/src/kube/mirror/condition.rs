//! Conditions of an object, as `kubectl wait` and kstatus read them: since when each is so is kept as long as it is so.

use jiff::Timestamp;
use serde_json::{Value, json};

/// Characters of a message: what a person reads.
const MESSAGE: usize = 1_000;

/// One condition as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub of: &'static str,
    pub holds: bool,
    pub reason: String,
    pub message: String,
}

impl Condition {
    pub fn new(of: &'static str, holds: bool, reason: impl Into<String>, message: impl Into<String>) -> Condition {
        Condition { of, holds, reason: reason.into(), message: message.into() }
    }
}

/// All of them as JSON. `before` are those that the object has.
pub fn conditions(wanted: &[Condition], before: &Value, generation: i64, now: Timestamp) -> Value {
    let one = |condition: &Condition| {
        let status = if condition.holds { "True" } else { "False" };
        let same = found(before, condition.of).filter(|found| found["status"] == status);
        let since = same.and_then(|found| found["lastTransitionTime"].as_str()).filter(|since| since.parse::<Timestamp>().is_ok());
        json!({
            "type": condition.of,
            "status": status,
            "observedGeneration": generation,
            "lastTransitionTime": since.map_or_else(|| seconds(now), str::to_owned),
            "reason": condition.reason,
            "message": condition.message.chars().take(MESSAGE).collect::<String>(),
        })
    };
    wanted.iter().map(one).collect()
}

/// The condition of that type among those of a status.
pub fn found<'v>(status: &'v Value, of: &str) -> Option<&'v Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == of)
}

/// Whether a status says that it is so.
pub fn holds(status: &Value, of: &str) -> bool {
    found(status, of).is_some_and(|condition| condition["status"] == "True")
}

/// A moment as objects have it, in whole seconds.
pub fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// The same of a moment of the mesh; nothing for 0, which is none.
pub fn moment(unix_ms: i64) -> Option<String> {
    if unix_ms == 0 { None } else { Timestamp::from_millisecond(unix_ms).ok().map(seconds) }
}
