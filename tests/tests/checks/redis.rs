use mainstay_core::report::Verdict;
use mainstay_tests::servers::Redis;
use serde_json::json;

use super::{Bench, CANARY, is, not_ok};

const KIND: &str = "redis.check";

fn connection(port: u16, user: &str) -> String {
    let user = if user.is_empty() { String::new() } else { format!("username = \"{user}\"\n") };
    format!("[connections.cache]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{port}\"\nPASSWORD\n{user}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_and_its_replica_well_and_broken() {
    let mut primary = Redis::start(CANARY).await;
    let bench = Bench::new(CANARY, &connection(primary.port, ""));
    let report = bench.run(KIND, json!({})).await;
    assert_eq!(not_ok(&report), []);
    assert!(is(&report, "redis.version", "", Verdict::Ok).message.contains(", primary, up "));
    assert!(is(&report, "redis.memory", "", Verdict::Ok).message.contains("no maxmemory is set"));

    // Replicas: wanted, there, cut off.
    let wanted = json!({"replicas": 1});
    is(&bench.run(KIND, wanted.clone()).await, "redis.replication.replicas", "", Verdict::Critical);
    let replica = primary.replica().await;
    let behind = Bench::new(CANARY, &connection(replica.port, ""));
    mainstay_tests::eventually("the primary counts its replica", || async {
        let report = bench.run(KIND, wanted.clone()).await;
        if not_ok(&report).is_empty() { Ok(()) } else { Err(format!("{:?}", not_ok(&report))) }
    })
    .await;
    let report = behind.run(KIND, json!({})).await;
    assert_eq!(not_ok(&report), []);
    is(&report, "redis.replication.link", "", Verdict::Ok);

    // A disk that takes nothing any more.
    primary.cannot_save().await;
    let report = bench.run(KIND, json!({})).await;
    assert!(is(&report, "redis.persistence.snapshot", "", Verdict::Critical).message.contains("the last snapshot failed (err)"));
    primary.can_save().await;
    is(&bench.run(KIND, json!({})).await, "redis.persistence.snapshot", "", Verdict::Ok);

    // Memory that is full, and keys that had to go since the last look.
    let used: u64 = primary.info("used_memory").await.expect("memory").parse().expect("a number");
    primary.command(&["CONFIG", "SET", "maxmemory", &(used + (2 << 20)).to_string()]).await.expect("a bound");
    primary.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]).await.expect("a policy");
    let evictions = json!({"evictions": {"warning": 1}});
    bench.run(KIND, evictions.clone()).await;
    primary.command(&["EVAL", "for i=1,5000 do redis.call('SET', 'k'..i, string.rep('x', 1000)) end return 1", "0"]).await.expect("keys");
    let report = bench.run(KIND, evictions).await;
    let check = is(&report, "redis.evictions", "", Verdict::Warning);
    assert!(check.message.contains("keys evicted in the last "), "{check:?}");
    assert!(report.outputs["memoryPercent"].as_f64() > Some(50.0));

    // Nobody is there, and the replica misses it.
    primary.stop();
    let report = bench.run(KIND, json!({})).await;
    assert!(is(&report, "redis.ping", "", Verdict::Critical).message.ends_with("refuses connections: nothing listens there"));
    assert_eq!((report.checks.len(), report.left_out), (1, 6), "what was not looked at is not called mended");
    mainstay_tests::eventually("the replica has lost its primary", || async {
        let report = behind.run(KIND, json!({})).await;
        let link = report.checks.iter().find(|check| check.id == "redis.replication.link").map(|check| (check.verdict, check.message.clone()));
        match link {
            Some((Verdict::Critical, message)) if message.starts_with("replication is broken: no link to 127.0.0.1:") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_sees_what_its_rights_allow() {
    let primary = Redis::start(CANARY).await;
    let password = format!(">{CANARY}");
    primary.command(&["ACL", "SETUSER", "looker", "on", &password, "-@all"]).await.expect("a user");
    let bench = Bench::new(CANARY, &connection(primary.port, "looker"));
    let report = bench.run(KIND, json!({})).await;
    assert_eq!(not_ok(&report), [("redis.ping", Verdict::Unknown), ("redis.info", Verdict::Unknown)]);
    assert_eq!(is(&report, "redis.ping", "", Verdict::Unknown).hint, "ACL SETUSER looker +ping +info +config|get");
    primary.command(&["ACL", "SETUSER", "looker", "+ping", "+info"]).await.expect("rights");
    let report = bench.run(KIND, json!({})).await;
    assert_eq!(not_ok(&report), []);
    primary.command(&["ACL", "SETUSER", "looker", "+config|get"]).await.expect("rights");
    primary.command(&["SET", "a", "b"]).await.expect("a change");
    let of_age = |report: &mainstay_core::report::Report| is(report, "redis.persistence.age", "", Verdict::Ok).message.clone();
    let known = of_age(&bench.run(KIND, json!({})).await);
    assert!(known.ends_with("1 change since"), "{known}");
    primary.command(&["CONFIG", "SET", "save", ""]).await.expect("a setting");
    let off = of_age(&bench.run(KIND, json!({})).await);
    assert!(off.ends_with("it is not told to make any"), "{off}");

    let report = Bench::new("another word", &connection(primary.port, "")).run(KIND, json!({})).await;
    let check = is(&report, "redis.ping", "", Verdict::Critical);
    assert!(check.message.ends_with("(WRONGPASS)"), "{check:?}");
    let nobody = format!("[connections.cache]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{}\"\n", primary.port);
    let check = is(&Bench::new("", &nobody).run(KIND, json!({})).await, "redis.ping", "", Verdict::Critical).clone();
    assert!(check.message.ends_with("(NOAUTH)"), "{check:?}");
}
