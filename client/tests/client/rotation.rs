//! Certificates and roots that are replaced while everything runs.

use mainstay_client::identity::{LEAF_LIFE, NewKey, Root};
use mainstay_client::{Bundle, clock::Clock, clock::SystemClock};
use mainstay_core::time::WallTime;

use crate::stand::{Authority, COORDINATOR, Member, ask, identity, within};

const NODE: &str = "cluster/prod/node/n1";

fn seen_end(member: &Member) -> WallTime {
    member.register.table().asked.last().unwrap().peer.clone().unwrap().not_after
}

#[tokio::test]
async fn new_connections_show_the_new_certificate_and_old_ones_go_on() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    let earlier = WallTime(SystemClock.wall().0 - 3_600_000);
    let own = mainstay_client::ClientIdentity::new(authority.bundle_at(NODE, earlier)).unwrap();
    let mesh = member.mesh(own.clone());
    within("an answer", ask(&mesh)).await.unwrap();
    let first = seen_end(&member);

    own.replace(authority.bundle(NODE)).unwrap();
    within("an answer on the old connection", ask(&mesh)).await.unwrap();
    assert_eq!(seen_end(&member), first);
    mesh.reconnect();
    within("an answer on a new connection", ask(&mesh)).await.unwrap();
    assert_eq!(seen_end(&member), own.bundle().validity().unwrap().1);
    assert!(seen_end(&member) > first);
}

#[tokio::test]
async fn a_connection_that_broke_comes_back_with_the_new_certificate() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    let earlier = WallTime(SystemClock.wall().0 - 3_600_000);
    let own = mainstay_client::ClientIdentity::new(authority.bundle_at(NODE, earlier)).unwrap();
    // A bare channel, which dials again by itself.
    let channel = mainstay_client::channel::connect(&member.address, &own).await.unwrap();
    let mut client = mainstay_proto::v1::leases_client::LeasesClient::new(channel);
    let request = || mainstay_proto::v1::GetLeaseRequest { name: "demo".into() };
    client.get(request()).await.unwrap();
    own.replace(authority.bundle(NODE)).unwrap();
    member.connections.close_identity(&identity(NODE));
    within("an answer after the break", async { while client.get(request()).await.is_err() {} }).await;
    assert_eq!(seen_end(&member), own.bundle().validity().unwrap().1);
}

#[tokio::test]
async fn a_bundle_that_does_not_fit_leaves_the_old_one_in_force() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    let own = authority.client(NODE);
    let torn = Bundle { key_pem: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".into(), ..authority.bundle(NODE) };
    assert!(own.replace(torn).is_err());
    within("an answer", ask(&member.mesh(own))).await.unwrap();
}

#[tokio::test]
async fn while_both_roots_are_trusted_old_and_new_talk_in_both_directions() {
    let old = Authority::new("local");
    let made = SystemClock.wall();
    let root = Root::create(&old.mesh, made).unwrap();
    let issuer = root.issuer("00000000000000ab", made).unwrap();
    let new = Authority { mesh: old.mesh.clone(), root, issuer };
    let both = format!("{}{}", old.root.cert_pem(), new.root.cert_pem());
    let trusting_both = |authority: &Authority, path: &str| {
        let key = NewKey::generate().unwrap();
        let chain = authority.issuer.issue(&key.csr_pem().unwrap(), &authority.mesh, &identity(path), made, LEAF_LIFE).unwrap();
        mainstay_client::ClientIdentity::new(key.into_bundle(chain, both.clone())).unwrap()
    };
    for (server, client) in [(&old, &new), (&new, &old), (&old, &old), (&new, &new)] {
        let member = Member::of(server).await;
        member.identity.replace(trusting_both(server, COORDINATOR).bundle()).unwrap();
        within("an answer", ask(&member.mesh(trusting_both(client, NODE)))).await.unwrap();
    }

    // With the old root gone, what it signed is refused.
    let member = Member::of(&new).await;
    let error = within("a refusal", ask(&member.mesh(trusting_both(&old, NODE)))).await.unwrap_err();
    assert!(error.to_string().contains("another mesh"), "{error}");
}

#[tokio::test]
async fn a_member_that_renewed_shows_its_new_certificate_to_the_next_caller() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    let other = Authority::new("local");
    within("an answer", ask(&member.mesh(authority.client(NODE)))).await.unwrap();
    member.identity.replace(other.bundle(COORDINATOR)).unwrap();
    within("an answer under the new authority", ask(&member.mesh(other.client(NODE)))).await.unwrap();
}
