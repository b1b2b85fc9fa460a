use super::*;
use crate::command::{Actor, Command, Entry};
use crate::state::enrolment::{JoinGrant, JoinScope, OperatorRole, TokenId};
use crate::state::member::Member;
use crate::time::MeshTime;

const OLD: RootId = RootId(0xa);
const NEW: RootId = RootId(0xb);
const NOW: WallTime = WallTime(1_790_000_000_000);

fn apply(state: &mut State, command: Command) -> Reply {
    state.apply(&Entry { at: MeshTime(1), wall: NOW, by: Actor::Mesh, key: None, command })
}

fn add(id: RootId) -> Command {
    Command::AddRoot { id, pem: format!("root {id}"), ends: WallTime(i64::MAX) }
}

fn retire(id: RootId, cut_off: bool) -> Command {
    Command::RetireRoot { id, cut_off }
}

/// Two members, of which `c2` is as far as is said.
fn members(state: &mut State, trusts: &[RootId], issuers: &[RootId]) {
    for (id, name, trusts, issuers) in [(1, "c1", &[OLD, NEW][..], &[OLD, NEW][..]), (2, "c2", trusts, issuers)] {
        let member = Member { id: MemberId(id), name: name.into(), trusts: trusts.into(), issuers: issuers.into(), ..Member::default() };
        assert_eq!(apply(state, Command::PutMember { member }), Reply::Done);
    }
}

fn mesh() -> State {
    let mut state = State { feature_level: 2, ..State::default() };
    apply(&mut state, add(OLD));
    members(&mut state, &[OLD], &[OLD]);
    state
}

fn shown(root: RootId, trusts: &[RootId]) -> Shown {
    Shown { ends: WallTime(NOW.0 + 1_000), root, trusts: trusts.into() }
}

fn record(state: &mut State, identity: &str, shown: Shown) {
    let command = Command::RecordCertificate { identity: identity.parse().unwrap(), shown };
    assert_eq!(apply(state, command), Reply::Done);
}

fn refused(reply: Reply) -> String {
    match reply {
        Reply::Refused(refusal) => refusal.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn leaves_are_issued_under_a_new_root_when_all_members_are_ready() {
    let mut state = mesh();
    assert_eq!(state.issuing_root(), Some(OLD));
    assert_eq!(apply(&mut state, add(NEW)), Reply::Done);
    assert_eq!(apply(&mut state, add(NEW)), Reply::Done, "saying it again changes nothing");
    assert_eq!((state.newest_root(), state.issuing_root()), (Some(NEW), Some(OLD)));
    members(&mut state, &[OLD, NEW], &[OLD]);
    assert_eq!(state.issuing_root(), Some(OLD), "one cannot sign under it yet");
    members(&mut state, &[OLD], &[OLD, NEW]);
    assert_eq!(state.issuing_root(), Some(OLD), "one does not trust it yet");
    members(&mut state, &[OLD, NEW], &[]);
    assert_eq!(state.issuing_root(), Some(NEW), "one that never signs is not waited for");
    members(&mut state, &[OLD, NEW], &[OLD, NEW]);
    assert_eq!(state.issuing_root(), Some(NEW));
}

#[test]
fn identities_are_asked_to_renew_when_their_roots_are_not_the_meshs() {
    let mut state = mesh();
    assert!(!state.wants_renewal(&shown(OLD, &[OLD])));
    assert!(!state.wants_renewal(&shown(OLD, &[])), "what does not say is asked for its own root only");
    apply(&mut state, add(NEW));
    assert!(state.wants_renewal(&shown(OLD, &[OLD])), "it is to learn of the new one");
    assert!(!state.wants_renewal(&shown(OLD, &[OLD, NEW])));
    members(&mut state, &[OLD, NEW], &[OLD, NEW]);
    assert!(state.wants_renewal(&shown(OLD, &[OLD, NEW])), "its leaf is to be of the new one");
    assert!(!state.wants_renewal(&shown(NEW, &[OLD, NEW])));
}

#[test]
fn a_root_is_retired_when_nobody_needs_it() {
    let mut state = mesh();
    assert!(refused(apply(&mut state, retire(OLD, false))).contains("is the only one"));
    assert!(refused(apply(&mut state, retire(NEW, false))).contains("there is no root"));
    apply(&mut state, add(NEW));
    assert!(refused(apply(&mut state, retire(OLD, true))).contains("leaves are issued under root 000000000000000a"));
    members(&mut state, &[OLD, NEW], &[OLD, NEW]);
    record(&mut state, "client/ci", shown(OLD, &[OLD, NEW]));
    record(&mut state, "cluster/c/node/n1", shown(NEW, &[OLD]));
    record(&mut state, "cluster/c/node/n2", shown(NEW, &[]));
    record(&mut state, "cluster/c/node/n3", shown(NEW, &[OLD, NEW]));
    record(&mut state, "operator/gone", Shown { ends: WallTime(NOW.0 - 32 * 86_400_000), ..shown(OLD, &[OLD]) });
    let grant = JoinGrant { id: TokenId("t".into()), scope: JoinScope::Coordinator, expires: WallTime(i64::MAX), uses: 1, root: Some(OLD) };
    apply(&mut state, Command::GrantJoin { grant });
    assert_eq!(
        refused(apply(&mut state, retire(OLD, false))),
        "root 000000000000000a is still needed by cluster/c/node/n1 (it trusts no other root), cluster/c/node/n2 (it does not say which roots it \
         trusts), client/ci (its certificate is of that root), join token t for coordinators"
    );
    let mut cut = state.clone();
    assert_eq!(apply(&mut cut, retire(OLD, true)), Reply::Done);

    record(&mut state, "client/ci", shown(NEW, &[OLD, NEW]));
    record(&mut state, "cluster/c/node/n1", shown(NEW, &[NEW, OLD]));
    apply(&mut state, Command::Revoke { identity: "cluster/c/node/n2".parse().unwrap(), reason: String::new() });
    apply(&mut state, Command::RevokeJoin { id: TokenId("t".into()) });
    assert_eq!(apply(&mut state, retire(OLD, false)), Reply::Done);
    assert_eq!(state.roots.keys().copied().collect::<Vec<_>>(), [NEW]);
}

#[test]
fn members_are_never_cut_off() {
    let mut state = mesh();
    apply(&mut state, add(NEW));
    members(&mut state, &[OLD, NEW], &[OLD, NEW]);
    let third = |trusts: &[RootId], issuers: &[RootId]| Member {
        id: MemberId(3),
        name: "c3".into(),
        trusts: trusts.into(),
        issuers: issuers.into(),
        ..Member::default()
    };
    // It was away, and came back after all others had gone over.
    state.members.insert(MemberId(3), third(&[NEW], &[OLD]));
    assert_eq!(state.members_that_need(OLD), ["member c3 (signs under no other root)"]);
    assert_eq!(refused(apply(&mut state, retire(OLD, true))), "root 000000000000000a is still needed by member c3 (signs under no other root)");
    state.members.insert(MemberId(3), third(&[OLD], &[]));
    assert_eq!(state.members_that_need(OLD), ["member c3 (trusts no other root)"]);
    // One that never signs has its certificate from another member, and fetches the next one when it is there.
    state.members.insert(MemberId(3), Member { shows: vec![OLD], ..third(&[NEW, OLD], &[]) });
    assert_eq!(state.members_that_need(OLD), ["member c3 (its certificate is of no other root)"]);
    state.members.insert(MemberId(3), Member { shows: vec![NEW], ..third(&[NEW, OLD], &[]) });
    assert_eq!(apply(&mut state, retire(OLD, true)), Reply::Done);
}

#[test]
fn a_member_speaks_for_itself_and_is_no_identity_besides() {
    let mut state = mesh();
    apply(&mut state, add(NEW));
    members(&mut state, &[OLD, NEW], &[OLD, NEW]);
    let (member, newcomer) = (Identity::Coordinator(MemberId(2)), Identity::Coordinator(MemberId(9)));
    record(&mut state, &member.to_string(), shown(OLD, &[]));
    assert_eq!(state.identities_that_need(OLD, NOW), Vec::<String>::new());
    record(&mut state, &newcomer.to_string(), shown(OLD, &[OLD]));
    assert_eq!(state.identities_that_need(OLD, NOW), [format!("{newcomer} (its certificate is of that root)")]);
}

#[test]
fn several_roots_go_together_or_none_does() {
    const NEWEST: RootId = RootId(0xc);
    let mut state = mesh();
    apply(&mut state, add(NEW));
    apply(&mut state, add(NEWEST));
    assert_eq!((state.roots_before(NEWEST), state.roots_before(OLD)), (vec![OLD, NEW], vec![]));
    for (id, name) in [(1, "c1"), (2, "c2")] {
        let all = vec![OLD, NEW, NEWEST];
        let member = Member { id: MemberId(id), name: name.into(), trusts: all.clone(), issuers: all, ..Member::default() };
        apply(&mut state, Command::PutMember { member });
    }
    // It could do without either of the older ones, and not without both.
    record(&mut state, "client/ci", shown(NEWEST, &[OLD, NEW]));
    assert!(state.identities_that_need(OLD, NOW).is_empty() && state.identities_that_need(NEW, NOW).is_empty());
    let when = When { at: MeshTime(1), wall: NOW };
    let before = state.roots.clone();
    assert_eq!(
        refused(state.retire_roots(&[OLD, NEW], false, when)),
        "roots 000000000000000a, 000000000000000b are still needed by client/ci (it trusts no other root)"
    );
    assert_eq!(state.roots, before);
    record(&mut state, "client/ci", shown(NEWEST, &[OLD, NEW, NEWEST]));
    assert_eq!(state.retire_roots(&[OLD, NEW], false, when), Reply::Done);
    assert_eq!(state.roots.keys().copied().collect::<Vec<_>>(), [NEWEST]);
}

#[test]
fn what_a_root_lacks_is_said_in_the_order_in_which_it_comes() {
    let mut state = mesh();
    apply(&mut state, add(NEW));
    let lack = |state: &State| state.lack_of(NEW, NOW).map(|lack| lack.sentence(NEW));
    assert_eq!(lack(&state).unwrap(), "root 000000000000000b is not trusted yet by member c2");
    let c2 = Member { id: MemberId(2), name: "c2".into(), trusts: vec![OLD, NEW], issuers: vec![OLD], ..Member::default() };
    apply(&mut state, Command::PutMember { member: c2.clone() });
    assert_eq!(lack(&state).unwrap(), "an issuer under root 000000000000000b is still to be asked for, or taken, by member c2");
    let request = IssuerRequest { root: NEW, csr_pem: "csr".into() };
    apply(&mut state, Command::PutMember { member: Member { issuer_request: Some(request), ..c2.clone() } });
    assert_eq!(
        lack(&state).unwrap(),
        "an issuer under root 000000000000000b is to be signed for c2, where the root's key is:  mainstay mesh root issue --root-key FILE"
    );
    apply(&mut state, Command::GrantIssuer { member: MemberId(2), grant: IssuerGrant { root: NEW, cert_pem: "cert".into() } });
    assert!(lack(&state).unwrap().contains("or taken, by member c2"));
    apply(&mut state, Command::PutMember { member: Member { issuers: vec![OLD, NEW], ..c2 } });
    record(&mut state, "client/ci", shown(OLD, &[OLD]));
    record(&mut state, "client/new", shown(NEW, &[]));
    record(&mut state, "client/gone", Shown { ends: WallTime(NOW.0 - 32 * 86_400_000), ..shown(OLD, &[OLD]) });
    assert!(lack(&state).unwrap().starts_with("root 000000000000000b is not trusted yet by client/ci; each learns"));
    for n in 0..9 {
        record(&mut state, &format!("client/c{n}"), shown(OLD, &[OLD]));
    }
    assert!(lack(&state).unwrap().contains("client/c4 and 5 more; each"), "{:?}", lack(&state));
    let mut cut = state.clone();
    apply(&mut cut, retire(OLD, true));
    assert_eq!(lack(&cut), None, "who was cut off is not waited for");
}

#[test]
fn agents_from_before_are_waited_for() {
    let mut state = mesh();
    apply(&mut state, add(NEW));
    members(&mut state, &[OLD, NEW], &[OLD, NEW]);
    state.identities.insert("operator/ana".parse().unwrap(), Known { enrolled: Some(NOW), ..Known::default() });
    state.operators.insert("ana".parse().unwrap(), OperatorRole::Admin);
    let grant =
        JoinGrant { id: TokenId("t".into()), scope: JoinScope::Nodes("c".parse().unwrap()), expires: WallTime(i64::MAX), uses: 1, root: None };
    apply(&mut state, Command::GrantJoin { grant });
    apply(&mut state, Command::Enrol { id: TokenId("t".into()), identity: "cluster/c/node/n1".parse().unwrap() });
    state.identities.remove(&"cluster/c/node/n1".parse::<Identity>().unwrap());
    assert_eq!(
        state.identities_that_need(OLD, NOW),
        ["operator/ana (its certificate was not seen yet)", "cluster/c/node/n1 (its certificate was not seen yet)"]
    );
    assert_eq!(state.identities_that_need(OLD, WallTime(NOW.0 + 33 * 86_400_000)), Vec::<String>::new(), "by then they have to enrol again");
}

#[test]
fn an_issuer_is_granted_to_whom_asks_for_it_and_kept_until_it_is_taken() {
    let mut state = mesh();
    apply(&mut state, add(NEW));
    let grant = Command::GrantIssuer { member: MemberId(2), grant: IssuerGrant { root: NEW, cert_pem: "cert".into() } };
    assert!(refused(apply(&mut state, grant.clone())).contains("does not ask"));
    let request = IssuerRequest { root: NEW, csr_pem: "csr".into() };
    let asking =
        Member { id: MemberId(2), name: "c2".into(), trusts: vec![OLD, NEW], issuers: vec![OLD], issuer_request: Some(request), ..Member::default() };
    apply(&mut state, Command::PutMember { member: asking.clone() });
    assert_eq!(apply(&mut state, grant), Reply::Done);
    assert!(state.issuers.contains_key(&MemberId(2)));
    apply(&mut state, Command::PutMember { member: Member { issuers: vec![OLD, NEW], issuer_request: None, ..asking } });
    assert!(state.issuers.is_empty());
}

#[test]
fn a_root_that_has_expired_or_is_one_too_many_is_refused() {
    let mut state = mesh();
    let late = Command::AddRoot { id: NEW, pem: String::new(), ends: NOW };
    assert!(refused(apply(&mut state, late)).contains("has expired"));
    for id in 1..bounds::ROOTS as u64 {
        assert_eq!(apply(&mut state, add(RootId(0x100 + id))), Reply::Done);
    }
    assert!(matches!(apply(&mut state, add(NEW)), Reply::Refused(Refusal::Bound { .. })));
}
