//! What one listener takes on, and what ends a connection.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use mainstay_client::tls::{self, Connections, Limits};
use mainstay_client::{CallError, Mesh};
use mainstay_proto::v1;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::stand::{Authority, Member, Register, ask, identity, within};

async fn member(authority: &Authority, limits: Limits) -> Member {
    Member::start(authority.coordinator(), Register::new(30_000, v1::LeaseKind::Ttl), limits).await
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_dropped_and_holds_up_nobody() {
    let authority = Authority::new("local");
    let member = member(&authority, Limits { handshake: Duration::from_millis(300), ..Limits::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(&member.address).await.unwrap());
    }
    let mesh = member.mesh(authority.client("operator/ana"));
    within("an answer beside silent callers", ask(&mesh)).await.unwrap();
    for mut caller in silent {
        // An end or a reset: either way the member has let go of it.
        let read = within("the end of a silent connection", caller.read(&mut [0; 8])).await;
        assert!(!matches!(read, Ok(1..)), "{read:?}");
    }
    assert_eq!(member.connections.count(), 1);
}

#[tokio::test]
async fn callers_beyond_the_handshakes_at_once_wait_and_are_served() {
    let authority = Authority::new("local");
    let limits = Limits { handshake: Duration::from_millis(200), handshakes_at_once: 2, ..Limits::default() };
    let member = member(&authority, limits).await;
    let _silent = (TcpStream::connect(&member.address).await.unwrap(), TcpStream::connect(&member.address).await.unwrap());
    within("an answer after the silent ones were dropped", ask(&member.mesh(authority.client("operator/ana")))).await.unwrap();
}

#[tokio::test]
async fn whoever_ends_can_listen_there_again_at_once() {
    let authority = Authority::new("local");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut incoming = tls::incoming(Box::new(listener), authority.coordinator(), Connections::default(), Limits::default());
    let _caller = TcpStream::connect(address).await.unwrap();
    assert!(incoming.next().now_or_never().is_none(), "a caller that says nothing is no connection");
    drop(incoming);
    TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn an_identity_has_so_many_connections_and_the_others_are_not_touched() {
    let authority = Authority::new("local");
    let member = member(&authority, Limits { connections_per_identity: 2, ..Limits::default() }).await;
    let ana = authority.client("operator/ana");
    // Each client has a connection of its own.
    let clients: Vec<Mesh> = (0..3).map(|_| member.mesh(ana.clone()).with_deadline(Duration::from_millis(600))).collect();
    within("the first", ask(&clients[0])).await.unwrap();
    within("the second", ask(&clients[1])).await.unwrap();
    let third = within("the third", ask(&clients[2])).await.unwrap_err();
    assert!(matches!(third, CallError::Unreachable { .. }) && third.is_transient(), "{third}");
    assert!(third.to_string().contains("closed the connection") && third.to_string().contains("its log says why"), "{third}");
    assert_eq!(member.connections.count(), 2);
    within("somebody else", ask(&member.mesh(authority.client("operator/bo")))).await.unwrap();

    // A place that is given up is had by the next.
    drop(clients);
    within("a place is free again", async { while ask(&member.mesh(ana.clone()).with_deadline(Duration::from_millis(600))).await.is_err() {} }).await;
}

#[tokio::test]
async fn many_calls_at_once_share_one_connection() {
    let authority = Authority::new("local");
    let member = member(&authority, Limits { connections_per_identity: 1, ..Limits::default() }).await;
    let mesh = member.mesh(authority.client("operator/ana"));
    let calls = futures::future::join_all((0..50).map(|_| ask(&mesh)));
    assert!(within("fifty answers", calls).await.iter().all(Result::is_ok));
    assert_eq!(member.connections.count(), 1);
}

#[tokio::test]
async fn closing_an_identity_ends_its_running_streams_and_no_others() {
    let authority = Authority::new("local");
    let member = member(&authority, Limits::default()).await;
    let watched = |path: &str| {
        let mesh = member.mesh(authority.client(path));
        async move { mesh.watch_lease(v1::GetLeaseRequest { name: "demo".into() }).await.unwrap() }
    };
    let (mut ana, mut bo) = (watched("operator/ana").await, watched("operator/bo").await);
    assert_eq!(within("the lease", ana.message()).await.unwrap().unwrap().name, "demo");
    assert_eq!(within("the lease", bo.message()).await.unwrap().unwrap().name, "demo");

    member.connections.close_identity(&identity("operator/ana"));
    let ended = within("the end of ana's stream", ana.message()).await;
    assert!(ended.is_err(), "{ended:?}");
    within("ana's connection to go", async {
        while member.connections.count() != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Bo's goes on: nothing has come, and nothing has ended.
    assert!(futures::poll!(Box::pin(bo.message())).is_pending());
    within("bo asks", ask(&member.mesh(authority.client("operator/bo")))).await.unwrap();
}
