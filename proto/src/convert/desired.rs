//! What the mesh wants of an agent, and what an agent says of itself.

use mainstay_core::command::CancelReason;
use mainstay_core::id::LedgerId;
use mainstay_core::reconcile::{Desired, DesiredAttempt};
use mainstay_core::state::agent::{Connection, Hello};
use mainstay_core::state::run::Direction;
use mainstay_core::time::Millis;

use super::{InvalidMessage, parsed};
use crate::v1;

#[must_use]
pub fn desired_to_wire(desired: &Desired) -> v1::Desired {
    let attempts = desired
        .attempts
        .iter()
        .map(|attempt| v1::DesiredAttempt {
            id: attempt.id.to_string(),
            run: attempt.run.to_string(),
            step: attempt.step.to_string(),
            target: attempt.target.to_string(),
            undo: attempt.direction == Direction::Undo,
            number: attempt.number,
            kind: attempt.kind.clone(),
            with: serde_json::Value::Object(attempt.with.clone()).to_string(),
            timeout_ms: attempt.timeout.0,
            begun: attempt.begun,
            cancel: match attempt.cancel {
                None => v1::Cancel::Unspecified,
                Some(CancelReason::TimedOut) => v1::Cancel::TimedOut,
                Some(CancelReason::Aborted) => v1::Cancel::Aborted,
            }
            .into(),
        })
        .collect();
    v1::Desired { incarnation: desired.incarnation, generation: desired.generation, attempts }
}

pub fn desired_from_wire(desired: v1::Desired) -> Result<Desired, InvalidMessage> {
    let attempts = desired
        .attempts
        .into_iter()
        .map(|attempt| {
            Ok(DesiredAttempt {
                id: parsed("attempts.id", &attempt.id)?,
                run: parsed("attempts.run", &attempt.run)?,
                step: parsed("attempts.step", &attempt.step)?,
                target: parsed("attempts.target", &attempt.target)?,
                direction: if attempt.undo { Direction::Undo } else { Direction::Do },
                number: attempt.number,
                kind: attempt.kind,
                with: serde_json::from_str(&attempt.with).map_err(|error| InvalidMessage::new("attempts.with", error))?,
                timeout: Millis(attempt.timeout_ms),
                begun: attempt.begun,
                cancel: match v1::Cancel::try_from(attempt.cancel) {
                    Ok(v1::Cancel::Unspecified) => None,
                    Ok(v1::Cancel::TimedOut) => Some(CancelReason::TimedOut),
                    // A reason of a later version is still a reason to stop.
                    Ok(v1::Cancel::Aborted) | Err(_) => Some(CancelReason::Aborted),
                },
            })
        })
        .collect::<Result<_, InvalidMessage>>()?;
    Ok(Desired { incarnation: desired.incarnation, generation: desired.generation, attempts })
}

#[must_use]
pub fn hello_to_wire(hello: &Hello) -> v1::Hello {
    v1::Hello {
        ledger: hello.ledger.to_string(),
        incarnation: hello.incarnation.clone(),
        version: hello.version.clone(),
        feature_level: hello.feature_level,
        host: hello.host,
        kinds: hello.kinds.clone(),
        boot_id: hello.boot_id.clone(),
        connections: hello.connections.iter().map(|own| v1::Connection { name: own.name.to_string(), kind: own.kind.clone() }).collect(),
    }
}

pub fn hello_from_wire(hello: v1::Hello) -> Result<Hello, InvalidMessage> {
    if hello.ledger.is_empty() || hello.incarnation.is_empty() {
        return Err(InvalidMessage::new("hello", "needs a ledger and an incarnation"));
    }
    Ok(Hello {
        ledger: LedgerId(hello.ledger),
        incarnation: hello.incarnation,
        version: hello.version,
        feature_level: hello.feature_level,
        host: hello.host,
        kinds: hello.kinds,
        boot_id: hello.boot_id,
        connections: hello
            .connections
            .into_iter()
            .map(|own| Ok(Connection { name: parsed("hello.connections.name", &own.name)?, kind: own.kind }))
            .collect::<Result<_, InvalidMessage>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desired_set_survives_the_wire() {
        let attempt = DesiredAttempt {
            id: "1.7".parse().unwrap(),
            run: "daily-1".parse().unwrap(),
            step: "disk".parse().unwrap(),
            target: "local/a1".parse().unwrap(),
            direction: Direction::Undo,
            number: 2,
            kind: "wait".into(),
            with: serde_json::json!({"for": "5s"}).as_object().cloned().unwrap(),
            timeout: Millis(5_000),
            begun: true,
            cancel: Some(CancelReason::TimedOut),
        };
        let desired = Desired { incarnation: 2, generation: 9, attempts: vec![attempt] };
        assert_eq!(desired_from_wire(desired_to_wire(&desired)), Ok(desired));
    }

    #[test]
    fn a_reason_of_a_later_version_still_stops() {
        let attempt = v1::DesiredAttempt {
            id: "1.1".into(),
            run: "a-1".into(),
            step: "s".into(),
            target: "once".into(),
            with: "{}".into(),
            cancel: 77,
            ..v1::DesiredAttempt::default()
        };
        let desired = desired_from_wire(v1::Desired { attempts: vec![attempt], ..v1::Desired::default() }).unwrap();
        assert_eq!(desired.attempts[0].cancel, Some(CancelReason::Aborted));
    }
}
