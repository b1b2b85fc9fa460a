//! Leases and claims: exact replies, states and decisions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use mainstay_core::state::lease::{Grant, Holder, LeaseKind, LeaseSpec};
use mainstay_core::time::Millis;
use mainstay_core::{Actor, Command, MeshTime, Refusal, Reply, RequestKey, Token, bounds};
use rig::{Rig, holder, lease, spec, token};

const TTL: Millis = Millis(30_000);

fn granted(counter: u64) -> Reply {
    Reply::Granted(Grant { token: token(counter), spec: LeaseSpec::default() })
}

fn expire(name: &str, token: Token) -> Command {
    Command::ExpireLease { name: lease(name), token }
}

fn renew(rig: &mut Rig, token: Token) {
    rig.seen.renewals.insert(token, rig.now);
}

fn names(pairs: &[(String, Token)]) -> Vec<&str> {
    pairs.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn first_come_first_served() {
    let mut rig = Rig::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| holder(name, "p1"));
    assert_eq!(rig.acquire("demo", &a, true), granted(1));
    assert_eq!(rig.acquire("demo", &b, true), Reply::Queued { place: 1 });
    assert_eq!(rig.acquire("demo", &c, true), Reply::Queued { place: 2 });
    assert_eq!(rig.acquire("demo", &c, true), Reply::Queued { place: 2 }, "asking again keeps the place");
    assert_eq!(rig.mesh(Command::ReleaseLease { name: lease("demo"), holder: a.clone(), token: Some(token(1)) }), Reply::Done);
    assert_eq!(rig.held("demo"), [("client/b (p1)".to_owned(), token(2))]);
    assert_eq!(rig.acquire("demo", &a, true), Reply::Queued { place: 2 }, "whoever comes back stands behind");
    assert_eq!(rig.waiting("demo"), ["client/c (p1)", "client/a (p1)"]);
    assert_eq!(rig.mesh(expire("demo", token(2))), Reply::Done);
    assert_eq!(rig.held("demo"), [("client/c (p1)".to_owned(), token(3))]);
}

#[test]
fn who_does_not_wait_is_told_who_holds_it() {
    let mut rig = Rig::new();
    rig.acquire("demo", &holder("a", "p1"), false);
    assert_eq!(rig.acquire("demo", &holder("b", "p1"), false), Reply::Held { by: vec!["client/a (p1)".into()] });
    assert_eq!(rig.waiting("demo"), Vec::<String>::new());
}

#[test]
fn as_many_hold_it_as_there_are_slots() {
    let mut rig = Rig::new();
    let three = spec(3, 30, LeaseKind::Ttl);
    for (place, name) in ["a", "b", "c"].into_iter().enumerate() {
        assert_eq!(rig.define("pool", three, &holder(name, "p")), Reply::Granted(Grant { token: token(place as u64 + 1), spec: three }));
    }
    assert_eq!(rig.acquire("pool", &holder("d", "p"), true), Reply::Queued { place: 1 });
    rig.mesh(expire("pool", token(2)));
    assert_eq!(names(&rig.held("pool")), ["client/a (p)", "client/c (p)", "client/d (p)"]);
}

#[test]
fn acquiring_twice_is_acquiring_once() {
    let mut rig = Rig::new();
    let a = holder("a", "p1");
    assert_eq!(rig.acquire("demo", &a, true), granted(1));
    let attributes = [("node".to_owned(), "n1".to_owned())].into();
    assert_eq!(rig.acquire("demo", &Holder { attributes, ..a.clone() }, true), granted(1), "attributes are not who one is");
    assert_eq!(rig.held("demo").len(), 1);
    let (key, held) = (Some(RequestKey("k".into())), rig.held("demo"));
    let entry =
        |rig: &Rig, command| mainstay_core::Entry { key: key.clone(), ..rig.entry(Actor::Identity(rig::identity("client/b")), None, command) };
    let queued = entry(&rig, Command::AcquireLease { name: lease("demo"), spec: None, holder: holder("b", "p1"), wait: true });
    assert_eq!([rig.apply(&queued), rig.apply(&queued)], [Reply::Queued { place: 1 }, Reply::Queued { place: 1 }]);
    assert_eq!((rig.held("demo"), rig.waiting("demo").len()), (held, 1));
}

#[test]
fn another_process_of_the_same_identity_waits() {
    let mut rig = Rig::new();
    assert_eq!(rig.acquire("demo", &holder("a", "p1"), true), granted(1));
    let successor = Holder { takes_over: true, ..holder("a", "p2") };
    assert_eq!(rig.acquire("demo", &successor, true), Reply::Queued { place: 1 }, "the earlier one may still believe in it");
    rig.mesh(expire("demo", token(1)));
    assert_eq!(rig.held("demo"), [("client/a (p2)".to_owned(), token(2))]);
}

#[test]
fn a_claim_is_taken_over_with_a_new_token() {
    let mut rig = Rig::new();
    let claim = spec(1, 30, LeaseKind::Claim);
    rig.define("node/c/n", claim, &holder("a", "p1"));
    assert_eq!(rig.acquire("node/c/n", &holder("b", "p1"), true), Reply::Queued { place: 1 });
    // It stood in the queue first, and only then says that it takes over.
    assert_eq!(rig.acquire("node/c/n", &holder("a", "p2"), true), Reply::Queued { place: 2 });
    let successor = Holder { takes_over: true, ..holder("a", "p2") };
    assert_eq!(rig.acquire("node/c/n", &successor, true), Reply::Granted(Grant { token: token(2), spec: claim }));
    assert_eq!(rig.held("node/c/n"), [("client/a (p2)".to_owned(), token(2))]);
    assert_eq!(rig.waiting("node/c/n"), ["client/b (p1)"]);
    let stranger = Holder { takes_over: true, ..holder("c", "p1") };
    assert_eq!(rig.acquire("node/c/n", &stranger, false), Reply::Held { by: vec!["client/a (p2)".into()] }, "only from one's own earlier process");
}

#[test]
fn a_claim_never_ends_by_time() {
    let mut rig = Rig::new();
    rig.define("node/c/n", spec(1, 2, LeaseKind::Claim), &holder("a", "p1"));
    rig.advance(Millis::from_secs(365 * 86_400));
    assert_eq!(rig.decide().commands, []);
    assert!(matches!(rig.mesh(expire("node/c/n", token(1))), Reply::Stale(_)));
    assert_eq!(rig.held("node/c/n").len(), 1);
    let free = Command::FreeClaim { name: lease("node/c/n"), token: token(1), proof: "the machine was scrapped".into() };
    assert_eq!(rig.operator(free.clone()), Reply::Done);
    assert_eq!(rig.held("node/c/n"), []);
    assert!(matches!(rig.operator(free), Reply::Stale(_)), "a token is freed once");
    let nothing = Command::FreeClaim { name: lease("none"), token: token(1), proof: "x".into() };
    assert!(matches!(rig.operator(nothing), Reply::Refused(Refusal::NotFound { .. })));
}

/// Time does not end it, so that somebody who has looked must be able to.
#[test]
fn what_a_run_holds_is_freed_by_a_word() {
    let mut rig = Rig::new();
    rig.state.feature_level = 2;
    rig.acquire("deploy", &Holder { identity: rig::identity("run/p-1"), ..holder("a", "p1") }, true);
    rig.acquire("deploy", &holder("b", "p1"), true);
    let free = Command::FreeClaim { name: lease("deploy"), token: token(1), proof: "looked at the machine".into() };
    assert_eq!(rig.operator(free), Reply::Done);
    assert_eq!(rig.held("deploy").len(), 1, "whoever waited has it");
}

#[test]
fn a_lease_that_ends_by_time_is_not_freed_by_a_word() {
    let mut rig = Rig::new();
    rig.state.feature_level = 2;
    rig.acquire("deploy", &holder("a", "p1"), true);
    rig.acquire("deploy", &holder("b", "p1"), true);
    let free = Command::FreeClaim { name: lease("deploy"), token: token(1), proof: "it hangs".into() };
    let Reply::Refused(Refusal::Conflict(why)) = rig.operator(free.clone()) else { panic!("the holder may still believe in it") };
    assert!(why.contains("30s after its holder was last heard of"), "{why}");
    assert_eq!(rig.held("deploy").len(), 1, "nobody else has it");
    rig.state.feature_level = 1;
    assert_eq!(rig.operator(free), Reply::Done, "as members of before decide");
}

#[test]
fn tokens_grow_from_grant_to_grant_and_from_incarnation_to_incarnation() {
    let mut rig = Rig::new();
    let mut last = Token::default();
    for round in 0..20 {
        let a = holder("a", &format!("p{round}"));
        let Reply::Granted(grant) = rig.acquire(["x", "y"][round % 2], &a, true) else { panic!("free") };
        assert!(grant.token > last, "{} after {last}", grant.token);
        last = grant.token;
        rig.mesh(Command::ReleaseLease { name: lease(["x", "y"][round % 2]), holder: a, token: None });
        rig.mesh(Command::ForgetLease { name: lease("x") });
    }
    (rig.state.incarnation, rig.state.serial) = (2, 0);
    let Reply::Granted(grant) = rig.acquire("x", &holder("a", "p"), true) else { panic!("free") };
    assert!(grant.token > last);
}

#[test]
fn a_renewal_keeps_it_and_silence_ends_it() {
    let mut rig = Rig::new();
    rig.acquire("demo", &holder("a", "p1"), true);
    rig.acquire("demo", &holder("b", "p1"), true);
    let waiter = (lease("demo"), rig::identity("client/b"), "p1".to_owned());
    for _ in 0..10 {
        rig.advance(Millis(29_999));
        rig.seen.waiters.insert(waiter.clone(), rig.now);
        assert_eq!(rig.decide().commands, []);
        assert_eq!(rig.decide().wake_at, Some(rig.now + Millis(1)));
        renew(&mut rig, token(1));
    }
    rig.advance(TTL);
    rig.seen.waiters.insert(waiter, rig.now);
    assert_eq!(rig.decide().commands, [expire("demo", token(1))]);
    rig.settle();
    assert_eq!(rig.held("demo"), [("client/b (p1)".to_owned(), token(2))]);
    assert_eq!(rig.decide().wake_at, Some(rig.now + TTL), "a grant out of the queue has a whole TTL");
}

#[test]
fn a_renewal_of_an_earlier_token_keeps_nothing() {
    let mut rig = Rig::new();
    rig.acquire("demo", &holder("a", "p1"), true);
    rig.mesh(expire("demo", token(1)));
    rig.acquire("demo", &holder("b", "p1"), true);
    rig.advance(TTL);
    renew(&mut rig, token(1));
    assert_eq!(rig.decide().commands, [expire("demo", token(2))]);
    assert!(matches!(rig.mesh(expire("demo", token(1))), Reply::Stale(_)), "the end of an earlier grant ends no later one");
    assert_eq!(rig.held("demo"), [("client/b (p1)".to_owned(), token(2))]);
}

#[test]
fn a_new_leader_counts_nothing_that_was_before_it() {
    let mut rig = Rig::new();
    rig.acquire("demo", &holder("a", "p1"), true);
    rig.acquire("demo", &holder("b", "p1"), true);
    rig.advance(TTL);
    rig.change_leader();
    assert_eq!(rig.decide().commands, [], "only the former leader saw the renewals");
    assert_eq!(rig.decide().wake_at, Some(rig.now + TTL));
    rig.advance(TTL);
    let waiter = Command::ExpireWaiter { name: lease("demo"), holder: holder("b", "p1") };
    assert_eq!(rig.decide().commands, [waiter, expire("demo", token(1))]);
}

#[test]
fn a_waiter_that_fell_silent_is_not_handed_the_lease() {
    let mut rig = Rig::new();
    rig.acquire("demo", &holder("a", "p1"), true);
    rig.acquire("demo", &holder("b", "p1"), true);
    rig.acquire("demo", &holder("c", "p1"), true);
    rig.advance(TTL);
    renew(&mut rig, token(1));
    rig.seen.waiters.insert((lease("demo"), rig::identity("client/c"), "p1".into()), rig.now);
    let expire_b = Command::ExpireWaiter { name: lease("demo"), holder: holder("b", "p1") };
    assert_eq!(rig.decide().commands, std::slice::from_ref(&expire_b));
    rig.settle();
    assert_eq!(rig.waiting("demo"), ["client/c (p1)"]);
    assert!(matches!(rig.mesh(expire_b), Reply::Stale(_)));
}

#[test]
fn giving_back_what_one_does_not_have_succeeds() {
    let mut rig = Rig::new();
    let release = |who: &Holder, token| Command::ReleaseLease { name: lease("demo"), holder: who.clone(), token };
    let [a, b] = ["a", "b"].map(|name| holder(name, "p1"));
    assert_eq!(rig.mesh(release(&a, None)), Reply::Done, "nobody ever heard of it");
    rig.acquire("demo", &a, true);
    rig.acquire("demo", &b, true);
    assert_eq!(rig.mesh(release(&a, Some(token(7)))), Reply::Done);
    assert_eq!(rig.mesh(release(&holder("a", "p0"), None)), Reply::Done);
    assert_eq!(names(&rig.held("demo")), ["client/a (p1)"], "neither was about this grant");
    assert_eq!(rig.mesh(release(&b, Some(token(1)))), Reply::Done);
    assert_eq!(rig.waiting("demo").len(), 1, "with a token the place in the queue stays");
    assert_eq!(rig.mesh(release(&b, None)), Reply::Done);
    assert_eq!((rig.held("demo").len(), rig.waiting("demo").len()), (1, 0));
}

#[test]
fn a_definition_stands_until_nobody_uses_it() {
    let mut rig = Rig::new();
    let three = spec(3, 60, LeaseKind::Ttl);
    rig.define("pool", three, &holder("a", "p"));
    let other = spec(2, 60, LeaseKind::Ttl);
    let Reply::Refused(Refusal::Conflict(text)) = rig.define("pool", other, &holder("b", "p")) else { panic!("refused") };
    assert_eq!(
        text,
        "lease pool is defined with 3 slots, TTL 1m, not with 2 slots, TTL 1m: ask for it without a definition, or wait until nobody has used it for 1h"
    );
    assert_eq!(rig.acquire("pool", &holder("b", "p"), true), Reply::Granted(Grant { token: token(2), spec: three }));
    let forget = Command::ForgetLease { name: lease("pool") };
    assert!(matches!(rig.mesh(forget.clone()), Reply::Stale(_)));
    rig.mesh(expire("pool", token(1)));
    rig.mesh(expire("pool", token(2)));
    rig.advance(bounds::LEASE_IDLE);
    assert_eq!(rig.decide().commands, [forget]);
    rig.settle();
    assert!(rig.state.leases.is_empty());
    assert_eq!(rig.define("pool", other, &holder("b", "p")), Reply::Granted(Grant { token: token(3), spec: other }));
}

#[test]
fn a_lease_that_was_idle_for_long_is_still_used_if_somebody_comes_first() {
    let mut rig = Rig::new();
    rig.acquire("demo", &holder("a", "p"), true);
    rig.mesh(expire("demo", token(1)));
    rig.advance(bounds::LEASE_IDLE);
    let decided = rig.decide().commands;
    rig.acquire("demo", &holder("b", "p"), true);
    assert!(matches!(rig.mesh(decided[0].clone()), Reply::Stale(_)));
    assert_eq!(rig.held("demo").len(), 1);
}

#[test]
fn limits_are_refusals() {
    let mut rig = Rig::new();
    let refusal = |reply| if let Reply::Refused(refusal) = reply { refusal.to_string() } else { panic!("{reply:?}") };
    for (bad, says) in [
        (spec(0, 30, LeaseKind::Ttl), "a lease has 1 to 10000 slots"),
        (spec(10_001, 30, LeaseKind::Ttl), "a lease has 1 to 10000 slots"),
        (spec(1, 1, LeaseKind::Ttl), "a lease's TTL is 2s to 1d"),
        (spec(1, 86_401, LeaseKind::Ttl), "a lease's TTL is 2s to 1d"),
    ] {
        assert_eq!(refusal(rig.define("demo", bad, &holder("a", "p"))), says);
    }
    let attributes = [("k".to_owned(), "v".repeat(bounds::LEASE_ATTRIBUTES_BYTES))].into();
    let wrong = "the holder of lease demo needs an incarnation of 1 to 64 characters and at most 1024 bytes of attributes";
    assert_eq!(refusal(rig.acquire("demo", &Holder { attributes, ..holder("a", "p") }, true)), wrong);
    for incarnation in ["", &"i".repeat(65)] {
        assert_eq!(refusal(rig.acquire("demo", &holder("a", incarnation), true)), wrong);
    }
    assert!(rig.state.leases.is_empty(), "what is refused defines nothing");
}

#[test]
fn a_queue_is_bounded_and_has_room_again() {
    let mut rig = Rig::new();
    // Without the rig's checks, which look at the whole state after each entry.
    let mut ask = |number: usize| {
        let command = Command::AcquireLease { name: lease("demo"), spec: None, holder: holder("a", &number.to_string()), wait: true };
        let entry = rig.entry(Actor::Mesh, None, command);
        rig.state.apply(&entry)
    };
    for number in 0..=bounds::LEASE_WAITERS {
        assert!(matches!(ask(number), Reply::Granted(_) | Reply::Queued { .. }));
    }
    let last = ask(bounds::LEASE_WAITERS + 1);
    assert_eq!(last, Reply::Refused(Refusal::Bound { what: "waiters of lease demo".into(), limit: 10_000 }));
    rig.mesh(expire("demo", token(1)));
    assert_eq!(rig.acquire("demo", &holder("b", "p"), true), Reply::Queued { place: 10_000 });
}

#[test]
fn holders_weigh_until_they_are_gone() {
    let mut rig = Rig::new();
    let heavy = |name: &str| Holder { attributes: [("k".to_owned(), "v".repeat(1_000))].into(), ..holder(name, "p") };
    for name in ["a", "b", "c"] {
        rig.acquire("demo", &heavy(name), true);
    }
    assert!(rig.state.weight > 3_000);
    rig.mesh(Command::ReleaseLease { name: lease("demo"), holder: heavy("b"), token: None });
    rig.mesh(expire("demo", token(1)));
    rig.mesh(expire("demo", token(2)));
    assert_eq!(rig.state.weight, 0);
    rig.state.weight = bounds::STATE_BYTES as u64;
    let entry = rig.entry(Actor::Mesh, None, Command::AcquireLease { name: lease("demo"), spec: None, holder: holder("d", "p"), wait: true });
    assert!(matches!(rig.state.apply(&entry), Reply::Refused(Refusal::Bound { .. })), "a full state takes no more");
}

#[test]
fn the_first_moments_of_a_mesh_end_nothing() {
    let mut rig = Rig::new();
    rig.now = MeshTime(0);
    rig.acquire("demo", &holder("a", "p"), true);
    assert_eq!(rig.decide().commands, []);
    rig.now = MeshTime(29_999 + 1_000);
    assert_eq!(rig.decide().commands, [], "the entry before was made at 1 s, and mesh time never goes back");
    rig.now = MeshTime(31_000);
    assert_eq!(rig.decide().commands, [expire("demo", token(1))]);
}

#[test]
fn what_ends_is_not_handed_to_whoever_is_silent_as_well() {
    let mut rig = Rig::new();
    for name in ["a", "b", "c"] {
        rig.acquire("demo", &holder(name, "p1"), true);
    }
    rig.advance(TTL);
    rig.seen.waiters.insert((lease("demo"), rig::identity("client/c"), "p1".into()), rig.now);
    rig.settle();
    assert_eq!(rig.held("demo"), [("client/c (p1)".to_owned(), token(2))]);
}
