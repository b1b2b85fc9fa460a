//! Redis: its snapshot of this instant, restored into another server and compared; and servers that break off or lie.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_backup::place;
use mainstay_backup::progress::Teller;
use mainstay_backup::source::redis::{Dial, Duplex, Login, Redis as Source};
use mainstay_backup::{Store, check, open};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use support::servers::{Redis, dial};
use support::{Keys, back_up};

#[path = "redis/cluster.rs"]
mod cluster;
#[path = "redis/drills.rs"]
mod drills;
#[path = "redis/replicas.rs"]
mod replicas;
mod support;

const PASSWORD: &str = "canary-Sx7vQ2-word";

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::local(&dir.path().join("backups")).expect("a store");
    (dir, store)
}

fn source(port: u16, password: &str) -> Source {
    let login = Login { user: None, password: Some(password.to_owned().into()) };
    Source::new(&format!("redis://127.0.0.1:{port}"), dial(port), login, Duration::from_secs(120))
}

/// So many commands.
fn many(count: usize, command: impl Fn(usize) -> String) -> String {
    (0..count).map(command).collect::<Vec<_>>().join("\n") + "\n"
}

/// Of every type, with and without an end.
fn fill(redis: &Redis) {
    let mut lines = String::new();
    for n in 0..5_000 {
        lines += &format!("SET string:{n} {}\nHSET hash:{} field{n} {n}\nRPUSH list:{} {n}\n", "v".repeat(n % 700), n % 50, n % 20);
        lines += &format!("SADD set:{} {n}\nZADD sorted:{} {n} member{n}\nXADD stream:{} {}-1 field {n}\n", n % 10, n % 5, n % 3, n + 1);
    }
    lines += "SET ends soon EX 100000\nSELECT 3\nSET other 1\n";
    redis.commands(&lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dumped_is_in_another_server_key_by_key() {
    for settings in ["repl-diskless-sync yes", "repl-diskless-sync no", "rdbchecksum no\nrepl-diskless-sync yes"] {
        let (dir, store) = store();
        let keys = Keys::new();
        let redis = Redis::start(PASSWORD, settings, None).await;
        fill(&redis);
        // Written a moment ago: a dump that lies on the disk would not have it.
        redis.command(&["SET", "last", "word"]);
        let written = back_up(&store, keys.order(1), &mut source(redis.server.port, PASSWORD)).await.expect("a backup");
        assert!(check(&store, &written.manifest, &written.check, &Teller::default()).await.is_good());
        let counted = &written.manifest.source.counted;
        assert_eq!(counted["keysBefore"]["db0"], counted["keysAfter"]["db0"]);
        assert_eq!(counted["readFrom"]["rdb"]["role"], "primary");
        assert_eq!(counted["checksummed"], !settings.contains("rdbchecksum no"), "{settings}");
        assert!(!format!("{:?}", written.manifest).contains(PASSWORD));
        let plain = open(&store, &written.manifest, &written.manifest.parts[0], &keys.drill, &Teller::default()).await.expect("it opens");
        let dump = place::redis::write(plain, &dir.path().join("restored")).await.expect("it is restored");
        let again = Redis::start(PASSWORD, "enable-debug-command yes", Some(&dump)).await;
        assert_eq!(again.command(&["GET", "last"]), "word");
        let ttl: i64 = again.command(&["TTL", "ends"]).parse().expect("a number");
        assert!((99_000..=100_000).contains(&ttl), "{ttl}");
        // A digest of all that is in it, which Redis itself makes.
        redis.command(&["CONFIG", "SET", "appendonly", "no"]);
        assert_eq!(all_keys(&redis), all_keys(&again), "{settings}");
        // Nothing is left of us there.
        let replicas = redis.command(&["INFO", "replication"]);
        assert!(replicas.contains("connected_slaves:0"), "{replicas}");
        // So has one that keeps a log of its own, and does so again after it has ended.
        for log in ["yes", "no"] {
            let mut logs = Redis::start(PASSWORD, &format!("appendonly {log}"), Some(&dir.path().join("restored"))).await;
            assert_eq!(all_keys(&redis), all_keys(&logs), "appendonly {log}");
            logs.command(&["SET", "more", "1"]);
            logs.command(&["SAVE"]);
            logs.server.stop();
            let again = Redis::start(PASSWORD, &format!("appendonly {log}"), Some(&logs.server.path().join("data"))).await;
            assert_eq!((again.command(&["GET", "last"]), again.command(&["GET", "more"])), ("word".to_owned(), "1".to_owned()), "appendonly {log}");
        }
        let refused = place::redis::write(&b""[..], &dir.path().join("restored")).await.expect_err("something is there").to_string();
        assert!(refused.contains("nothing was touched"), "{refused}");
    }
}

/// All keys with type and content, as `DUMP` writes them, summed up by the server.
fn all_keys(redis: &Redis) -> String {
    let script = "local sum = {} for db = 0, 3 do redis.call('SELECT', db) local keys = redis.call('KEYS', '*') table.sort(keys)
        for _, key in ipairs(keys) do sum[#sum + 1] = redis.sha1hex(db .. key .. redis.call('DUMP', key)) end end return redis.sha1hex(table.concat(sum))";
    redis.command(&["EVAL", script, "0"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_serves_as_well_unless_it_lost_its_link() {
    let (_dir, store) = store();
    let keys = Keys::new();
    let mut primary = Redis::start(PASSWORD, "", None).await;
    fill(&primary);
    let replica = Redis::start(PASSWORD, &format!("replicaof 127.0.0.1 {}", primary.server.port), None).await;
    link(&replica, "up").await;
    let written = back_up(&store, keys.order(1), &mut source(replica.server.port, PASSWORD)).await.expect("a backup");
    assert_eq!(written.manifest.source.versions["role"], "slave");
    assert_eq!(written.manifest.source.counted["readFrom"]["rdb"]["role"], "replica");
    primary.server.kill();
    link(&replica, "down").await;
    let said = back_up(&store, keys.order(2), &mut source(replica.server.port, PASSWORD)).await.expect_err("its data may be old").to_string();
    assert!(said.contains("its data may be old"), "{said}");
}

async fn link(replica: &Redis, status: &str) {
    for _ in 0..600 {
        if replica.command(&["INFO", "replication"]).contains(&format!("master_link_status:{status}")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the link is not {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_server_that_is_gone_are_said_before_anything_is_begun() {
    let (_dir, store) = store();
    let keys = Keys::new();
    let mut redis = Redis::start(PASSWORD, "", None).await;
    let said = back_up(&store, keys.order(1), &mut source(redis.server.port, "wrong")).await.expect_err("a wrong password").to_string();
    assert!(said.contains("WRONGPASS"), "{said}");
    let nobody = Source::new("redis", dial(redis.server.port), Login::default(), Duration::from_secs(9));
    let said = {
        let mut nobody = nobody;
        back_up(&store, keys.order(1), &mut nobody).await.expect_err("no password").to_string()
    };
    assert!(said.contains("NOAUTH"), "{said}");
    redis.server.kill();
    let said = back_up(&store, keys.order(1), &mut source(redis.server.port, PASSWORD)).await.expect_err("no server").to_string();
    assert!(said.contains("refused"), "{said}");
    assert_eq!(store.list("").await.expect("a listing"), []);
}

/// A server of the test's own: it answers as Redis does, and sends this for a snapshot.
fn plays(snapshot: Vec<u8>) -> Dial {
    let snapshot = Arc::new(Mutex::new(snapshot));
    Box::new(move |_| {
        let snapshot = snapshot.lock().expect("a lock").clone();
        Box::pin(async move {
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            tokio::spawn(async move {
                let mut asked = Vec::new();
                while theirs.read_buf(&mut asked).await.is_ok_and(|read| read > 0) {
                    let words = String::from_utf8_lossy(&asked).to_uppercase();
                    let answer: &[u8] = if words.contains("INFO") {
                        b"$39\r\nredis_version:7.0.15\r\nrole:master\r\nx:12\r\n"
                    } else if words.contains("RDB-ONLY") {
                        b"-ERR Unrecognized REPLCONF option: rdb-only\r\n"
                    } else if words.contains("\r\nPSYNC\r\n") {
                        b"+FULLRESYNC 0 0\r\n\n\n"
                    } else {
                        b"+OK\r\n"
                    };
                    asked.clear();
                    theirs.write_all(answer).await.expect("it is read");
                    if answer.starts_with(b"+FULL") {
                        theirs.write_all(&snapshot).await.expect("it is read");
                        return;
                    }
                }
            });
            Ok(Box::new(ours) as Box<dyn Duplex>)
        })
    })
}

async fn played(snapshot: &[u8]) -> Result<(), String> {
    let (_dir, store) = store();
    let keys = Keys::new();
    let mut source = Source::new("redis", plays(snapshot.to_vec()), Login::default(), Duration::from_secs(20));
    let written = back_up(&store, keys.order(1), &mut source).await.map_err(|error| error.to_string())?;
    assert!(check(&store, &written.manifest, &written.check, &Teller::default()).await.is_good());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_not_whole_makes_no_backup() {
    // An empty one, whose checksum is left out as a server may be set to.
    let rdb = b"REDIS0010\xff\0\0\0\0\0\0\0\0";
    let mark = "m".repeat(40);
    let sized = [format!("${}\r\n", rdb.len()).as_bytes(), rdb].concat();
    let marked = [format!("$EOF:{mark}\r\n").as_bytes(), rdb, mark.as_bytes()].concat();
    assert_eq!(played(&sized).await, Ok(()));
    assert_eq!(played(&marked).await, Ok(()));
    for whole in [&sized, &marked] {
        for length in [0, 3, whole.len() - 50.min(whole.len() - 4), whole.len() - 1] {
            let said = played(&whole[..length]).await.expect_err("it broke off");
            assert!(said.contains("broke off") || said.contains("hung up"), "{length}: {said}");
        }
    }
    let said = played(&[b"$18\r\n".as_slice(), b"REDIS0010\xff\x01\0\0\0\0\0\0\0"].concat()).await.expect_err("a wrong checksum");
    assert!(said.contains("its checksum is wrong"), "{said}");
    let said = played(b"-LOADING Redis is loading the dataset in memory\r\n").await.expect_err("it refused");
    assert!(said.contains("LOADING"), "{said}");
}
