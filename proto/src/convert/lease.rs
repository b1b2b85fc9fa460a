//! Leases.

use mainstay_core::id::LeaseName;
use mainstay_core::state::lease::{Holder, Lease, LeaseKind, LeaseSpec};
use mainstay_core::time::{Millis, WallTime};

use super::InvalidMessage;
use crate::v1;

#[must_use]
pub fn spec_to_wire(spec: &LeaseSpec) -> v1::LeaseSpec {
    let kind = match spec.kind {
        LeaseKind::Ttl => v1::LeaseKind::Ttl,
        LeaseKind::Claim => v1::LeaseKind::Claim,
    };
    v1::LeaseSpec { slots: spec.slots, ttl_ms: spec.ttl.0, kind: kind.into() }
}

/// Zeros stand for the defaults.
pub fn spec_from_wire(spec: v1::LeaseSpec) -> Result<LeaseSpec, InvalidMessage> {
    let defaults = LeaseSpec::default();
    let kind = match v1::LeaseKind::try_from(spec.kind) {
        Ok(v1::LeaseKind::Unspecified | v1::LeaseKind::Ttl) => LeaseKind::Ttl,
        Ok(v1::LeaseKind::Claim) => LeaseKind::Claim,
        Err(_) => return Err(InvalidMessage::new("spec.kind", "is not one that this version knows")),
    };
    Ok(LeaseSpec {
        slots: if spec.slots == 0 { defaults.slots } else { spec.slots },
        ttl: if spec.ttl_ms == 0 { defaults.ttl } else { Millis(spec.ttl_ms) },
        kind,
    })
}

#[must_use]
pub fn lease_to_wire(name: &LeaseName, lease: &Lease) -> v1::Lease {
    let held = lease.held.iter().map(|held| holder_to_wire(&held.holder, held.token.to_string(), held.since)).collect();
    let waiting = lease.waiting.iter().map(|waiter| holder_to_wire(&waiter.holder, String::new(), waiter.since)).collect();
    v1::Lease { name: name.to_string(), spec: Some(spec_to_wire(&lease.spec)), held, waiting }
}

fn holder_to_wire(holder: &Holder, token: String, since: WallTime) -> v1::LeaseHolder {
    v1::LeaseHolder {
        identity: holder.identity.to_string(),
        incarnation: holder.incarnation.clone(),
        attributes: holder.attributes.clone(),
        token,
        since_unix_ms: since.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_stand_for_the_defaults() {
        assert_eq!(spec_from_wire(v1::LeaseSpec::default()), Ok(LeaseSpec::default()));
        let spec = LeaseSpec { slots: 3, ttl: Millis(5_000), kind: LeaseKind::Claim };
        assert_eq!(spec_from_wire(spec_to_wire(&spec)), Ok(spec));
        assert!(spec_from_wire(v1::LeaseSpec { kind: 9, ..v1::LeaseSpec::default() }).is_err());
    }
}
