//! Who is read in a primary's place, who is allowed to, and that nobody takes us for a replica.

use std::io;
use std::time::Duration;

use mainstay_backup::progress::Teller;
use mainstay_backup::source::Source as _;
use mainstay_backup::source::redis::{Dial, Login, Redis as Source, Server};
use mainstay_backup::{open, place};
use tokio::io::AsyncReadExt;

use super::support::servers::{Redis, ask, dial};
use super::support::{Keys, back_up};
use super::{PASSWORD, fill, link, many, source, store};

async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within 30 s: {what}");
}

async fn with_a_replica(settings: &str) -> (Redis, Redis) {
    let primary = Redis::start(PASSWORD, settings, None).await;
    let replica = Redis::start(PASSWORD, &format!("replicaof 127.0.0.1 {}", primary.server.port), None).await;
    link(&replica, "up").await;
    eventually("the replica is online", || primary.command(&["INFO", "replication"]).contains("state=online")).await;
    (primary, replica)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_read_in_the_place_of_its_primary_while_there_is_one() {
    let (_dir, store) = store();
    let keys = Keys::new();
    let (primary, mut replica) = with_a_replica("").await;
    fill(&primary);
    primary.command(&["SET", "last", "word"]);
    let named = &mut source(primary.server.port, PASSWORD);
    let written = back_up(&store, keys.order(1), named).await.expect("a backup");
    let read = &written.manifest.source.counted["readFrom"]["rdb"];
    assert_eq!((read["role"].as_str(), read["server"].as_str()), (Some("replica"), Some(format!("127.0.0.1:{}", replica.server.port).as_str())));
    let plain = open(&store, &written.manifest, &written.manifest.parts[0], &keys.drill, &Teller::default()).await.expect("it opens");
    let dir = tempfile::tempdir().expect("a directory");
    let dump = place::redis::write(plain, &dir.path().join("restored")).await.expect("it is restored");
    // What was written before it began is in it.
    assert_eq!(Redis::start(PASSWORD, "", Some(&dump)).await.command(&["GET", "last"]), "word");
    replica.server.kill();
    let written = back_up(&store, keys.order(2), &mut source(primary.server.port, PASSWORD)).await.expect("a backup");
    let read = &written.manifest.source.counted["readFrom"]["rdb"];
    let own = format!("redis://127.0.0.1:{}", primary.server.port);
    assert_eq!((read["role"].as_str(), read["server"].as_str()), (Some("primary"), Some(own.as_str())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_takes_us_for_no_replica_and_nobody_for_lost() {
    let (primary, replica) = with_a_replica("rdbcompression no").await;
    // More than fits into all that is between the two.
    primary.commands(&many(60, |n| format!("SETRANGE big:{n} 1000000 x")));
    let sentinel = primary.sentinel().await;
    let known = || ask(&sentinel, "", &["SENTINEL", "REPLICAS", "of"]).expect("it answers");
    eventually("the sentinel knows the replica", || known().contains(&replica.server.port.to_string())).await;
    // The replica cannot be reached from here, and the primary is read.
    let port = primary.server.port;
    let only: Dial = Box::new(move |server| match server {
        Server::Named => dial(port)(Server::Named),
        Server::Other { .. } => Box::pin(async { Err(io::Error::other("not from here")) }),
    });
    let login = Login { user: None, password: Some(PASSWORD.to_owned().into()) };
    let mut slow = Source::new("redis", only, login, Duration::from_secs(120));
    slow.look().await.expect("it is there");
    let mut stream = slow.next().await.expect("it begins").expect("a stream");
    stream.reader.read_exact(&mut [0; 100]).await.expect("its first bytes");
    eventually("the primary sends us a snapshot", || primary.command(&["INFO", "replication"]).contains("port=-1")).await;
    // Each of our own looks is one, too.
    let asked = || {
        let said = primary.command(&["INFO", "commandstats"]);
        let calls = said.lines().find_map(|line| line.strip_prefix("cmdstat_info:calls=")?.split(',').next()?.parse::<u64>().ok());
        calls.expect("how often it was asked")
    };
    let (before, mut own) = (asked(), 0);
    eventually("the sentinel has asked the primary ten times", || {
        own += 1;
        asked() - before >= own + 10
    })
    .await;
    assert!(primary.command(&["INFO", "replication"]).contains("port=-1"), "it has ended");
    let replicas = known();
    let ports: Vec<&str> = replicas.lines().skip_while(|line| *line != "port").skip(1).take(1).collect();
    assert_eq!((replicas.lines().filter(|line| *line == "runid").count(), ports), (1, vec![replica.server.port.to_string().as_str()]), "{replicas}");
    drop(stream);
    let master = ask(&sentinel, "", &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "of"]).expect("it answers");
    assert_eq!(master, format!("127.0.0.1\n{port}"));
    let said = ask(&sentinel, "", &["SENTINEL", "MASTER", "of"]).expect("it answers");
    assert!(said.contains("flags\nmaster\n") && said.contains("config-epoch\n0\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_replicate_is_told_which_rights_are_missing() {
    let (_dir, store) = store();
    let keys = Keys::new();
    let redis = Redis::start(PASSWORD, "", None).await;
    let as_user = |user: &str| {
        let login = Login { user: Some(user.to_owned()), password: Some("x".to_owned().into()) };
        Source::new("redis", dial(redis.server.port), login, Duration::from_secs(60))
    };
    redis.command(&["ACL", "SETUSER", "looks", "on", ">x", "+ping", "+info"]);
    let said = back_up(&store, keys.order(1), &mut as_user("looks")).await.expect_err("no rights").to_string();
    assert!(said.contains("NOPERM") && said.contains("ACL SETUSER looks +psync +replconf +ping +info"), "{said}");
    assert_eq!(store.list("").await.expect("a listing"), []);
    redis.command(&["ACL", "SETUSER", "half", "on", ">x", "+ping", "+info", "+replconf"]);
    let said = back_up(&store, keys.order(1), &mut as_user("half")).await.expect_err("half of the rights").to_string();
    assert!(said.contains("'psync'") && said.contains("ACL SETUSER half"), "{said}");
    redis.command(&["ACL", "SETUSER", "half", "+psync"]);
    back_up(&store, keys.order(2), &mut as_user("half")).await.expect("all of the rights");
}
