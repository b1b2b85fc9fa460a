//! One root takes the place of another while the mesh runs: nobody is restarted, and nobody loses its way.

use mainstay_client::failpoint::Point;
use mainstay_client::identity::{Bundle, Root, RootCertificate, Roots};
use mainstay_client::{clock::Clock, clock::SystemClock, enrol, files, renewal};
use mainstay_coordinator::settings::Settings;
use mainstay_core::state::trust::RootId;
use mainstay_proto::v1;
use mainstay_proto::v1::create_join_token_request::Scope;
use mainstay_proto::v1::mesh_message::Message;
use tonic::Code;

use super::harness::{Mesh, eventually};

async fn roots(admin: &mainstay_client::Mesh) -> Option<v1::ListRootsResponse> {
    admin.list_roots(v1::ListRootsRequest {}).await.ok()
}

/// The root that a client's certificate is of.
fn root_of(client: &mainstay_client::Mesh) -> RootId {
    let bundle: Bundle = client.identity().bundle();
    Roots::of(&bundle.roots_pem).unwrap().of_chain_pem(&bundle.chain_pem).unwrap().id
}

fn retire(id: RootId, cut_off: bool) -> v1::RetireRootRequest {
    v1::RetireRootRequest { id: id.to_string(), cut_off, dry_run: false }
}

/// Signs what members ask for, with the key of a root.
fn signed(by: &Root, requests: &[v1::IssuerRequest]) -> v1::GrantIssuersRequest {
    let sign = |request: &v1::IssuerRequest| v1::IssuerGrant {
        member: request.member.clone(),
        root: request.root.clone(),
        cert_pem: by.certify(&request.csr_pem, &request.member_name, SystemClock.wall()).unwrap(),
    };
    v1::GrantIssuersRequest { grants: requests.iter().map(sign).collect(), dry_run: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_never_sign_and_that_were_off_are_not_left_behind() {
    // The third one joined with a token: others sign for it.
    let without_issuer = |index: usize, settings: &mut Settings| {
        if index == 2 {
            ["issuer.pem", "issuer.key"].iter().for_each(|file| files::remove(Point::IssuerDrop, &settings.dir.join(file)).unwrap());
        }
    };
    let mut mesh = Mesh::with(3, without_issuer).await;
    let admin = mesh.operator("ana");
    mesh.ready(&admin).await;
    let old: RootId = eventually("the first root", async || {
        let listed = roots(&admin).await?;
        (listed.roots.first()?.members_signing.len() == 2 && listed.roots[0].members_trusting.len() == 3).then(|| listed.roots[0].id.clone())
    })
    .await
    .parse()
    .unwrap();

    // The second one is off while the new root is added and signed for.
    mesh.stop(1).await;
    let authority = Root::create(&"local".parse().unwrap(), SystemClock.wall()).unwrap();
    let new = RootCertificate::read(authority.cert_pem()).unwrap().id;
    let add = v1::AddRootRequest { pem: authority.cert_pem().into(), dry_run: false };
    eventually("it to be added", async || admin.add_root(add.clone()).await.ok()).await;
    let asked = eventually("the first one to ask", async || {
        let requests = roots(&admin).await?.requests;
        (requests.len() == 1).then_some(requests)
    })
    .await;
    let grants = signed(&authority, &asked);
    admin.grant_issuers(grants.clone()).await.unwrap();
    let listed = eventually("the first one to take it", async || {
        let listed = roots(&admin).await?;
        (listed.roots[1].members_signing.len() == 1 && listed.requests.is_empty()).then_some(listed)
    })
    .await;
    assert!(!listed.roots[1].issuing, "one that is off is waited for");
    let twice = admin.grant_issuers(grants).await.unwrap_err();
    assert_eq!(twice.code(), Some(Code::FailedPrecondition), "what was taken is not taken again: {twice}");

    mesh.start(1).await;
    let asked = eventually("the second one to be back and to ask", async || {
        let requests = roots(&admin).await?.requests;
        (requests.len() == 1).then_some(requests)
    })
    .await;
    admin.grant_issuers(signed(&authority, &asked)).await.unwrap();
    eventually("leaves to be issued under the new root", async || roots(&admin).await?.roots[1].issuing.then_some(())).await;
    renewal::renew(&admin, &mesh.empty_dir("admin")).await.unwrap();
    admin.get_status(v1::GetStatusRequest {}).await.unwrap();
    // Somebody is connected with a certificate of the old root, and nobody waits for them.
    let idle = mesh.operator("ana");
    let refused = eventually("them to be noted", async || {
        // What an identity shows is one record: a word of the administrator's new certificate may still be on its way,
        // and take the place of theirs; and a word to the leader may be lost. Their next call says it again.
        idle.get_status(v1::GetStatusRequest {}).await.ok()?;
        // Before they are noted, nothing would be in the way: so only what would happen is asked.
        let refused = admin.retire_root(v1::RetireRootRequest { dry_run: true, ..retire(old, false) }).await.err()?.to_string();
        refused.contains("operator/ana").then_some(refused)
    })
    .await;
    assert!(!refused.contains("coordinator/"), "members speak for themselves: {refused}");
    // Members are waited for all the same: the third one fetches a certificate of the new root from another.
    eventually("the old root to go", async || admin.retire_root(retire(old, true)).await.ok()).await;
    let cut = eventually("their connection to end", async || idle.get_status(v1::GetStatusRequest {}).await.err()).await;
    assert!(!idle.get_status(v1::GetStatusRequest {}).await.unwrap_err().is_transient(), "{cut}");
    let bundle = Bundle::load(&mesh.dir(2)).unwrap();
    let own = Roots::of(&bundle.roots_pem).unwrap().of_chain_pem(&bundle.chain_pem).map(|root| root.id);
    assert_eq!(own, Some(new));
    for index in 0..3 {
        mesh.stop(index).await;
        mesh.start(index).await;
        mesh.ready(&admin).await;
    }
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_is_replaced_while_everything_runs() {
    let mut mesh = Mesh::of(3).await;
    let admin = mesh.operator("ana");
    mesh.ready(&admin).await;
    let first = eventually("the first root, under which all sign", async || {
        let listed = roots(&admin).await?;
        (listed.roots.len() == 1 && listed.roots[0].issuing && listed.roots[0].members_signing.len() == 3).then(|| listed.roots[0].clone())
    })
    .await;
    let old: RootId = first.id.parse().unwrap();
    assert_eq!(root_of(&admin), old);
    let agent = mesh.enrol("cluster/local/node/a1").await;
    let (mut link, _says) = mesh.linked(&agent, "p1").await;
    // A laptop that sleeps through all of it.
    let laptop = mesh.operator("ana");
    laptop.get_status(v1::GetStatusRequest {}).await.unwrap();
    let scope = Some(Scope::NodesOf("local".into()));
    let early = admin.create_join_token(v1::CreateJoinTokenRequest { scope: scope.clone(), ..Default::default() }).await.unwrap();

    // The new root is trusted by all members, which ask for issuers under it.
    let now = SystemClock.wall();
    let authority = Root::create(&"local".parse().unwrap(), now).unwrap();
    let new = RootCertificate::read(authority.cert_pem()).unwrap().id;
    let add = |pem: &str, dry_run| v1::AddRootRequest { pem: pem.into(), dry_run };
    assert_eq!(admin.add_root(add("nothing", false)).await.unwrap_err().code(), Some(Code::InvalidArgument));
    assert!(!admin.add_root(add(authority.cert_pem(), true)).await.unwrap().known);
    assert!(!admin.add_root(add(authority.cert_pem(), false)).await.unwrap().known);
    assert!(admin.add_root(add(authority.cert_pem(), false)).await.unwrap().known, "asked again, nothing changes");
    let asking = eventually("all members to trust it and to ask", async || {
        let listed = roots(&admin).await?;
        (listed.roots.len() == 2 && listed.roots[1].members_trusting.len() == 3 && listed.requests.len() == 3).then_some(listed.requests)
    })
    .await;

    // The agent is asked to renew over its link, and learns of the new root by that.
    eventually("the agent to be asked", async || match link.message().await {
        Ok(Some(v1::MeshMessage { message: Some(Message::RenewNow(_)) })) => Some(()),
        Ok(Some(_)) => None,
        other => panic!("{other:?}"),
    })
    .await;
    renewal::renew(&agent, &mesh.empty_dir("agent-renewed")).await.unwrap();
    assert!(agent.identity().roots().contains(new) && root_of(&agent) == old, "leaves are of the old root as yet");
    assert!(admin.is_renewal_asked(), "so is whoever calls");

    let refused = admin.retire_root(retire(old, true)).await.unwrap_err();
    assert!(refused.to_string().contains("leaves are issued under root"), "{refused}");

    // Somebody signs for the members with the new root's key, offline.
    // A wrong signature is not taken by the member, and hurts nobody.
    let impostor = Root::create(&"local".parse().unwrap(), now).unwrap();
    admin.grant_issuers(signed(&impostor, &asking[..1])).await.unwrap();
    let asking = eventually("that member to ask anew", async || {
        let requests = roots(&admin).await?.requests;
        requests.iter().all(|request| *request != asking[0] && !request.granted).then_some(requests)
    })
    .await;
    let grants = signed(&authority, &asking);
    admin.grant_issuers(v1::GrantIssuersRequest { dry_run: true, ..grants.clone() }).await.unwrap();
    admin.grant_issuers(grants).await.unwrap();
    eventually("leaves to be issued under the new root", async || {
        let listed = roots(&admin).await?;
        (listed.roots[1].issuing && listed.roots[1].members_signing.len() == 3 && listed.requests.is_empty()).then_some(())
    })
    .await;

    // Everybody comes with the next renewal. The laptop, which trusts the old root only, still finds its mesh.
    laptop.reconnect();
    laptop.get_status(v1::GetStatusRequest {}).await.unwrap();
    for (name, client) in [("admin", &admin), ("agent", &agent)] {
        renewal::renew(client, &mesh.empty_dir(&format!("{name}-again"))).await.unwrap();
        assert_eq!(root_of(client), new, "{name}");
    }
    admin.get_status(v1::GetStatusRequest {}).await.unwrap();
    let (_link, _says) = mesh.linked(&agent, "p1").await;

    // Whoever is not there yet is named: the laptop's operator, as its last call said, and the join token.
    let refused = eventually("the laptop to be noted", async || {
        // Again and again: the administrator has the same identity, of which one record is kept.
        laptop.get_status(v1::GetStatusRequest {}).await.ok()?;
        // Before they are noted, nothing would be in the way: so only what would happen is asked.
        let refused = admin.retire_root(v1::RetireRootRequest { dry_run: true, ..retire(old, false) }).await.err()?.to_string();
        refused.contains("operator/ana").then_some(refused)
    })
    .await;
    assert!(refused.contains("operator/ana (its certificate is of that root)") && refused.contains("for nodes of local"), "{refused}");

    // A newcomer with the token from before finds the old root shown, and one with a new token the new one.
    let enrolled = enrol::enrol(&mesh.enrol_address(1), &early.token.parse().unwrap(), &"cluster/local/node/a2".parse().unwrap()).await.unwrap();
    assert!(enrolled.trusts(&RootCertificate::read(authority.cert_pem()).unwrap().sha256));
    let late = admin.create_join_token(v1::CreateJoinTokenRequest { scope, ..Default::default() }).await.unwrap();
    enrol::enrol(&mesh.enrol_address(1), &late.token.parse().unwrap(), &"cluster/local/node/a3".parse().unwrap()).await.unwrap();
    for name in ["a2", "a3"] {
        let gone = v1::RevokeRequest { identity: format!("cluster/local/node/{name}"), reason: "test".into(), dry_run: false };
        admin.revoke_identity(gone).await.unwrap();
    }
    // The mesh's own token, from its founding, has no root that is remembered: it is of before.
    renewal::renew(&laptop, &mesh.empty_dir("laptop")).await.unwrap();
    laptop.get_status(v1::GetStatusRequest {}).await.unwrap();
    eventually("the old root to go", async || admin.retire_root(retire(old, false)).await.ok()).await;
    eventually("no member to trust it", async || {
        let listed = roots(&admin).await?;
        (listed.roots.len() == 1 && listed.roots[0].id == new.to_string() && listed.roots[0].members_trusting.len() == 3).then_some(())
    })
    .await;
    // Each member drops it when it hears of it.
    let stranger =
        eventually("a certificate of the old root to be refused", async || mesh.operator("ana").get_status(v1::GetStatusRequest {}).await.err())
            .await;
    assert!(!stranger.is_transient(), "{stranger}");

    // All of it is on disk: the mesh comes back under the new root alone.
    for index in 0..3 {
        mesh.stop(index).await;
        mesh.start(index).await;
        mesh.ready(&admin).await;
    }
    admin.list_plans(v1::ListPlansRequest {}).await.unwrap();
    mesh.stop_all().await;
}
