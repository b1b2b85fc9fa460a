//! The daily plan against real servers, healthy and with faults.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use mainstay_tests::servers::certificates::{Authority, LONG};
use mainstay_tests::servers::{Exporter, Login, Nginx, NginxOptions, Postgres, Prometheus, Redis, Upstream, get};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_of_the_harness_can_be_broken_and_mended() {
    let login = Login::new("mainstay", "s3cret");
    let begun = std::time::Instant::now();
    let say = |what: &str| eprintln!("{:>6} ms  {what}", begun.elapsed().as_millis());
    let mut postgres = Postgres::start(&login).await;
    say("postgres");
    let standby = postgres.standby().await;
    say("standby");
    postgres.break_replication().await;
    say("broken");
    postgres.mend_replication().await;
    say("mended");
    drop(postgres.begin_transaction().await);
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()").await.as_deref(), Ok("t"));
    say("transaction");
    postgres.stop();
    say("stopped");
    postgres.go_on().await;
    say("again");
    let redis = Redis::start("s3cret").await;
    say("redis");
    let replica = redis.replica().await;
    say("replica");
    redis.cannot_save().await;
    say("cannot save");
    redis.can_save().await;
    say("can save");
    drop(replica);
    let mut exporter = Exporter::start().await;
    say("exporter");
    let mut prometheus = Prometheus::start(&[("node", exporter.port)]).await;
    say("prometheus");
    exporter.stop();
    prometheus.sees("node", false).await;
    say("down");
    exporter.go_on().await;
    prometheus.sees("node", true).await;
    say("up");
    prometheus.loses_its_data().await;
    assert_eq!(prometheus.query("up").await, Ok(vec![]));
    say("empty");
    prometheus.has_its_data_again().await;
    prometheus.sees("node", true).await;
    say("not empty");
    let upstream = Upstream::start().await;
    let leaf = Authority::new().leaf(&["localhost", "127.0.0.1"], LONG);
    let nginx = Nginx::start(&NginxOptions { leaf: &leaf, application: upstream.port, prometheus: (prometheus.port, "t0ken"), login: &login }).await;
    say("nginx");
    for (path, status) in
        [("/health", 200), ("/slow", 200), ("/redirect", 302), ("/500", 500), ("/private/health", 401), ("/prometheus/-/ready", 401)]
    {
        assert_eq!(get(nginx.http, path).await.map(|(status, _)| status), Ok(status), "{path}");
    }
    say("end");
}
