//! What fencing rests on.

use mainstay_core::{Command, Token};

use super::{Applied, Held, Invariant};
use crate::world::World;

#[derive(Default)]
pub struct Tokens {
    newest: Option<Token>,
}

impl Invariant for Tokens {
    fn name(&self) -> &'static str {
        "tokens"
    }

    fn says(&self) -> &'static str {
        "every grant has a token above all that were given out before"
    }

    fn applied(&mut self, applied: &Applied<'_>, _world: &World) -> Held {
        use Command as C;
        let touches = matches!(
            applied.entry.command,
            C::AcquireLease { .. } | C::ReleaseLease { .. } | C::ExpireLease { .. } | C::ExpireWaiter { .. } | C::FreeClaim { .. }
        );
        if !touches {
            return Ok(());
        }
        let mut grants = Vec::new();
        for (name, lease) in &applied.after.leases {
            let earlier = applied.before.leases.get(name);
            let is_known =
                |token, holder: &_| earlier.is_some_and(|earlier| earlier.held.iter().any(|held| held.token == token && held.holder.is(holder)));
            grants.extend(lease.held.iter().filter(|held| !is_known(held.token, &held.holder)).map(|held| (held.token, name)));
        }
        grants.sort();
        for (token, name) in grants {
            if self.newest.is_some_and(|newest| token <= newest) {
                return Err(format!("{name} was granted under {token}, after {}", self.newest.unwrap_or(token)));
            }
            self.newest = Some(token);
        }
        Ok(())
    }
}
