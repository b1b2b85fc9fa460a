//! A cluster: each shard is a part of its own, all slots are in one of them, and each is loaded by a server of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_backup::progress::Teller;
use mainstay_backup::{check, place};

use super::drills::drilled;
use super::support::servers::{Redis, free_port};
use super::support::{Keys, back_up};
use super::{PASSWORD, link, many, source, store};

const KEYS: usize = 600;

/// Three primaries and then a replica of each, when all of them know each other.
async fn cluster() -> Vec<Redis> {
    let mut all = Vec::new();
    for _ in 0..6 {
        let settings = format!("cluster-enabled yes\ncluster-port {}\ncluster-node-timeout 2000", free_port());
        all.push(Redis::start(PASSWORD, &settings, None).await);
    }
    let addresses: Vec<String> = all.iter().map(|redis| format!("127.0.0.1:{}", redis.server.port)).collect();
    let mut words = vec!["--cluster", "create"];
    words.extend(addresses.iter().map(String::as_str));
    words.extend(["--cluster-replicas", "1", "--cluster-yes"]);
    all[0].command(&words);
    for redis in &all {
        nodes(redis, "all six are linked", |said| {
            said.lines().filter(|line| line.contains(" connected")).count() == 6 && !said.contains("fail") && said.matches("slave").count() == 3
        })
        .await;
    }
    for replica in &all[3..] {
        link(replica, "up").await;
    }
    all
}

async fn nodes(redis: &Redis, what: &str, is: impl Fn(&str) -> bool) {
    let mut said = String::new();
    for _ in 0..600 {
        said = redis.command(&["CLUSTER", "NODES"]);
        if is(&said) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: not within 30 s: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_shard_is_a_part_of_its_own_and_all_keys_are_in_one_of_them() {
    let (dir, store) = store();
    let keys = Keys::new();
    let mut servers = cluster().await;
    servers[0].commands(&many(KEYS, |n| format!("SET key:{n} value-{n}")));
    let port = servers[1].server.port;
    let written = back_up(&store, keys.order(1), &mut source(port, PASSWORD)).await.expect("a backup");
    let manifest = &written.manifest;
    let parts: Vec<&str> = manifest.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(parts, ["rdb-0-0", "rdb-1-5461", "rdb-2-10923"]);
    let (mut read, slots) = (BTreeSet::new(), ["0-5460", "5461-10922", "10923-16383"]);
    for (part, slots) in parts.iter().zip(slots) {
        let from = &manifest.source.counted["readFrom"][part];
        assert_eq!((from["role"].as_str(), from["slots"].as_str()), (Some("replica"), Some(slots)), "{from}");
        read.insert(from["server"].as_str().expect("a server").to_owned());
    }
    let replicas: BTreeSet<String> = servers[3..].iter().map(|redis| format!("127.0.0.1:{}", redis.server.port)).collect();
    assert_eq!((read, manifest.source.versions["role"].as_str()), (replicas, "cluster"));
    assert_eq!(manifest.source.counted["keysAfter"]["db0"], KEYS);
    assert_eq!(manifest.source.counted["keys"]["db0"]["string"]["keys"], KEYS);
    assert!(check(&store, manifest, &written.check, &Teller::default()).await.is_good());
    let into = dir.path().join("restored");
    place::redis::write_all(&store, manifest, &keys.drill, &Teller::default(), &into).await.expect("it is restored");
    assert_eq!(place::redis::compare(manifest, &into).await.expect("it is there"), Vec::<String>::new());
    let mut found = BTreeSet::new();
    for part in parts {
        let shard = Redis::start(PASSWORD, "appendonly yes", Some(&into.join(part))).await;
        for key in shard.command(&["KEYS", "*"]).lines() {
            assert_eq!(shard.command(&["GET", key]), key.replace("key:", "value-"));
            assert!(found.insert(key.to_owned()), "{key} is in two parts");
        }
    }
    assert_eq!(found, (0..KEYS).map(|n| format!("key:{n}")).collect());
    let drilled = drilled(&store, manifest, &keys).await;
    assert_eq!((drilled.differs.as_slice(), drilled.compared.as_str()), ([].as_slice(), "600 keys by type, and whether they have an end"));

    // Slots of another server than the one that is asked are being moved.
    let known = store.list("").await.expect("a listing").len();
    let refused = async |hour: u64| back_up(&store, keys.order(hour), &mut source(port, PASSWORD)).await.expect_err("not whole").to_string();
    let id = servers[0].command(&["CLUSTER", "MYID"]);
    assert_eq!(servers[2].command(&["CLUSTER", "SETSLOT", "16383", "MIGRATING", &id]), "OK");
    let said = refused(2).await;
    assert!(said.contains("are being moved") && said.contains(&format!("127.0.0.1:{}", servers[2].server.port)), "{said}");
    assert_eq!(servers[2].command(&["CLUSTER", "SETSLOT", "16383", "STABLE"]), "OK");
    // A shard without any server.
    let slots_of = servers[2].server.port;
    let replicas_of = servers[2].command(&["CLUSTER", "MYID"]);
    let replica = servers[3..].iter().position(|redis| redis.command(&["CLUSTER", "NODES"]).contains(&format!("myself,slave {replicas_of}")));
    servers[replica.expect("its replica") + 3].server.kill();
    servers[2].server.kill();
    nodes(&servers[1], "it is lost", |said| said.lines().any(|line| line.contains(&slots_of.to_string()) && line.contains(",fail "))).await;
    let said = refused(2).await;
    assert!(said.contains("which has slots, is down"), "{said}");
    assert_eq!(store.list("").await.expect("a listing").len(), known, "nothing was written");
}
