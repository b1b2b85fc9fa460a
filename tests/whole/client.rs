//! Programs that hold leases by the client's library, and write to a store under their tokens.

use std::rc::Rc;

use mainstay_client::Mesh;
use mainstay_client::lease::{Held, HoldOptions};
use mainstay_core::Token;
use mainstay_core::state::lease::{LeaseKind, LeaseSpec};
use mainstay_core::time::Millis;

use crate::chance::Chance;
use crate::invariants::fenced;
use crate::{trace, watch};

/// Leases that clients want: name, slots, TTL in milliseconds.
pub const LEASES: [(&str, u32, u64); 3] = [("client/app/demo", 1, 4_000), ("client/app/pool", 2, 6_000), ("client/app/short", 1, 2_500)];

/// Takes leases and gives them back, again and again.
pub async fn run(who: &'static str, mesh: Mesh, mut chance: Chance) {
    loop {
        let (name, slots, ttl) = *chance.one(&LEASES);
        let spec = LeaseSpec { slots, ttl: Millis(ttl), kind: LeaseKind::Ttl };
        let options = HoldOptions { spec: Some(spec), wait: chance.millis(0, 8_000), ..HoldOptions::default() };
        match mesh.hold_lease(name, options).await {
            Ok(held) => has(who, held, slots, &mut chance).await,
            Err(error) => trace::line(who, &format!("does not have {name}: {error}")),
        }
        tokio::time::sleep(chance.millis(20, 1_500)).await;
    }
}

async fn has(who: &'static str, held: Held, slots: u32, chance: &mut Chance) {
    let token = held_token(&held);
    let held = Rc::new(held);
    trace::line(who, &format!("has {} under {token}", held.name()));
    watch::with(|seen| {
        seen.grants.push((held.name().to_owned(), token));
        seen.held.insert(who.to_owned(), held.clone());
        if seen.is_calm {
            seen.served.insert(who.to_owned());
        }
    });
    let enough = chance.millis(200, 9_000);
    let works = async {
        loop {
            tokio::time::sleep(chance.millis(50, 800)).await;
            if slots == 1 && !held.is_lost() {
                // What is on its way to the store may take longer than the lease lasts.
                let late = if chance.percent(15) { chance.millis(500, 9_000) } else { chance.millis(1, 20) };
                tokio::task::spawn_local(fenced::write(who, held.name().to_owned(), token, late));
            }
        }
    };
    let lost = tokio::select! {
        biased;
        () = held.lost() => true,
        () = tokio::time::sleep(enough) => false,
        () = works => false,
    };
    watch::with(|seen| seen.held.remove(who));
    trace::line(who, if lost { "has lost it" } else { "has had enough" });
    if let Ok(held) = Rc::try_unwrap(held)
        && !lost
        && let Err(error) = held.release().await
    {
        trace::line(who, &format!("could not give it back: {error}"));
    }
}

fn held_token(held: &Held) -> Token {
    held.token().parse().expect("a token of the mesh")
}
