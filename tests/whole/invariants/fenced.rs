//! A store that knows the greatest token it has seen takes no write of somebody who has lost the lease: a token that was
//! granted later is greater. With one slot, whoever writes under the greatest token is the last who was granted.

use std::time::Duration;

use mainstay_core::Token;

use crate::{trace, watch};

/// A write that arrives after a while.
pub async fn write(who: &'static str, lease: String, token: Token, late: Duration) {
    tokio::time::sleep(late).await;
    let (taken, last) = watch::with(|seen| {
        let last = seen.stored.get(&lease).copied();
        let taken = last.is_none_or(|last| token >= last);
        if taken {
            seen.stored.insert(lease.clone(), token);
        }
        (taken, seen.grants.iter().rev().find(|(name, _)| *name == lease).map(|(_, token)| *token))
    });
    if !taken {
        trace::line(who, &format!("{lease}: the store refuses a write under {token}"));
        // Whoever was granted last must not be refused: tokens grow.
        if last == Some(token) {
            watch::broken("fenced", &format!("{lease}: the store has seen a greater token than {token}, which was granted last"));
        }
    }
}
