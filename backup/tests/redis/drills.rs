//! What is counted of a snapshot as it passes, and what a drill finds of it in a server of its own.

use std::time::Duration;

use mainstay_backup::Store;
use mainstay_backup::drill::{Drilled, Order, drill};
use mainstay_backup::manifest::Manifest;
use mainstay_backup::progress::Teller;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::support::servers::Redis;
use super::support::{Keys, back_up};
use super::{PASSWORD, fill, source, store};

pub async fn drilled(store: &Store, manifest: &Manifest, keys: &Keys) -> Drilled {
    // Where the servers of a drill, which run as nobody, come by.
    let within = std::env::temp_dir();
    let order = Order { store, manifest, keys: &keys.drill, programs: None, within: &within, deadline: Duration::from_secs(120) };
    drill(&order, &Teller::default(), &CancellationToken::new()).await.expect("it is restored")
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_counted_by_type_and_each_is_accounted_for_in_a_drill() {
    let (_dir, store) = store();
    let keys = Keys::new();
    let redis = Redis::start(PASSWORD, "", None).await;
    fill(&redis);
    redis.commands(
        "XGROUP CREATE stream:0 readers 0\nXREADGROUP GROUP readers one COUNT 20 STREAMS stream:0 >\n\
         XREADGROUP GROUP readers two COUNT 20 STREAMS stream:0 >\nSADD words a b c\nZADD few 1 a 2.5 b\nRPUSH long x\nEXPIRE few 10000\n\
         SETEX gone 5 x\nPFADD seen a b c\nSETBIT bits 90000 1\nFUNCTION LOAD \"#!lua name=lib\\nredis.register_function('f', function() return 1 end)\"\n",
    );
    let written = back_up(&store, keys.order(1), &mut source(redis.server.port, PASSWORD)).await.expect("a backup");
    let of = |keys: u64, expiring: u64| json!({ "keys": keys, "expiring": expiring });
    let counted = &written.manifest.source.counted["keys"];
    let expected = json!({
        "db0": { "string": of(4_996, 2), "hash": of(50, 0), "list": of(21, 0), "set": of(11, 0), "zset": of(6, 1), "stream": of(3, 0) },
        "db3": { "string": of(1, 0) },
    });
    assert_eq!(*counted, expected);
    // One key's end comes before the drill looks.
    for _ in 0..600 {
        if redis.command(&["EXISTS", "gone"]) == "0" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let found = drilled(&store, &written.manifest, &keys).await;
    assert_eq!((found.differs.as_slice(), found.compared.as_str()), ([].as_slice(), "5088 keys by type, and whether they have an end"));
    // Of what is not what was counted, it is said what differs.
    let mut other = written.manifest.clone();
    other.source.counted.get_mut("keys").expect("keys")["db0"]["hash"] = of(51, 0);
    let found = drilled(&store, &other, &keys).await;
    assert_eq!(found.differs, ["db0 has 5087 keys, 3 with an end, and had 5088 and 3", "db0 has 50 keys of type hash without an end, and had 51"]);
    // One of the time before they were counted by type.
    other.source.counted.remove("keys");
    other.source.counted.insert("keysAfter".to_owned(), json!({ "db0": 5_000, "db3": 1 }));
    other.source.counted.insert("keysBefore".to_owned(), Value::Object(serde_json::Map::new()));
    let found = drilled(&store, &other, &keys).await;
    assert_eq!((found.differs.as_slice(), found.compared.as_str()), (["db0 has 5087 keys, and had 0 to 5000".to_owned()].as_slice(), "5088 keys"));
}
