//! Conditions that agents of nodes see.

use mainstay_core::condition::{Condition, Kind, Status};

use crate::v1;

#[must_use]
pub fn conditions_to_wire(node: &str, conditions: &[Condition]) -> v1::NodeConditions {
    let conditions = conditions.iter().map(|condition| v1::NodeCondition {
        r#type: condition.kind.as_str().to_owned(),
        status: condition.status.as_str().to_owned(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    });
    v1::NodeConditions { node: node.to_owned(), conditions: conditions.collect() }
}

/// One of each kind at most, within the sizes that are kept. Kinds that this version does not know are left out: they are
/// of a later one, or not Mainstay's.
#[must_use]
pub fn conditions_from_wire(conditions: Vec<v1::NodeCondition>) -> Vec<Condition> {
    let mut read: Vec<Condition> = Vec::new();
    for said in conditions {
        let Some(kind) = Kind::of(&said.r#type) else { continue };
        if read.iter().all(|condition| condition.kind != kind) {
            read.push(Condition { kind, status: Status::of(&said.status), reason: said.reason, message: said.message }.bounded());
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_condition_of_mainstay_is_left_out_and_nothing_comes_twice() {
        let all = Kind::ALL.map(|kind| Condition { kind, status: Status::True, reason: "Reason".into(), message: "words".into() });
        let wire = conditions_to_wire("n1", &all);
        assert_eq!((wire.node.as_str(), conditions_from_wire(wire.conditions.clone())), ("n1", all.to_vec()));
        let ready = v1::NodeCondition { r#type: "Ready".into(), status: "True".into(), ..v1::NodeCondition::default() };
        let many = wire.conditions.iter().cycle().take(1_000).cloned().chain([ready]).collect();
        assert_eq!(conditions_from_wire(many), all.to_vec());
        let odd =
            v1::NodeCondition { r#type: "MainstayDiskTrouble".into(), status: "Maybe".into(), reason: "a b".into(), message: "x".repeat(9_999) };
        let read = conditions_from_wire(vec![odd]);
        assert_eq!((read[0].status, read[0].reason.as_str(), read[0].message.len()), (Status::Unknown, "ab", 256));
    }
}
