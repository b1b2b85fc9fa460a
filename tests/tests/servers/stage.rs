//! Servers of every kind, and a mesh with connections to all of them.

use std::fs;

use mainstay_tests::canary::Canary;
use mainstay_tests::servers::certificates::{Authority, LONG, Leaf};
use mainstay_tests::servers::{Exporter, Login, Nginx, NginxOptions, Postgres, Prometheus, Redis, Upstream};
use mainstay_tests::{Options, Up};
use tempfile::TempDir;

/// Name of the role, of the HTTP user, and whose password the secret is.
const USER: &str = "mainstay";
/// Names that the good certificate is for.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// A command that steps may run, long enough to be looked at.
const POLICY: &str = "[policy]\nallow = [\"node.exec\"]\n[[policy.exec]]\ncommand = [\"/bin/sleep\", \"*\"]\n";

/// Everything of one suite. Servers end after the mesh.
pub struct Stage {
    pub up: Up,
    pub primary: Postgres,
    /// Ends with the stage.
    _standby: Postgres,
    pub cache: Redis,
    pub replica: Redis,
    pub exporter: Exporter,
    pub prometheus: Prometheus,
    pub nginx: Nginx,
    pub upstream: Upstream,
    pub authority: Authority,
    pub good: Leaf,
    pub login: Login,
    /// The one secret of all connections.
    pub canary: Canary,
    /// Settings of the agents, with the one file that holds the secret.
    pub settings: TempDir,
}

impl Stage {
    pub async fn start() -> Stage {
        let canary = Canary::new();
        let login = Login::new(USER, &canary.secret);
        let authority = Authority::new();
        let good = authority.leaf(&NAMES, LONG);
        let (databases, caches, monitoring, upstream) = tokio::join!(databases(&login), caches(&login), monitoring(), Upstream::start());
        let ((primary, standby), (cache, replica), (exporter, prometheus)) = (databases, caches, monitoring);
        let options = NginxOptions { leaf: &good, application: upstream.port, prometheus: (prometheus.port, &login.password), login: &login };
        let nginx = Nginx::start(&options).await;

        let settings = tempfile::Builder::new().prefix("settings-").tempdir().expect("a directory for the settings");
        fs::write(settings.path().join("secret"), &canary.secret).expect("the secret's file");
        fs::write(settings.path().join("root.pem"), authority.root()).expect("the root's file");
        let secret = format!("{{ file = \"{}\" }}", settings.path().join("secret").display());
        let root = settings.path().join("root.pem").display().to_string();
        let (http, tls) = (nginx.http, nginx.tls);
        // With everything that libraries log, too.
        let connections = format!(
            r#"log = "trace"
[connections.orders-db]
kind = "postgres"
url = "postgres://{USER}@127.0.0.1:{}/orders"
password = {secret}
replicas = 1
[connections.orders-standby]
kind = "postgres"
url = "postgres://{USER}@127.0.0.1:{}/orders"
password = {secret}
[connections.cache]
kind = "redis"
url = "redis://127.0.0.1:{}"
password = {secret}
replicas = 1
[connections.cache-replica]
kind = "redis"
url = "redis://127.0.0.1:{}"
password = {secret}
[connections.metrics]
kind = "prometheus"
url = "http://127.0.0.1:{http}/prometheus"
token = {secret}
[connections.shop]
kind = "http"
url = "https://localhost:{tls}/health"
ca = "{root}"
[connections.shop-slow]
kind = "http"
url = "http://localhost:{http}/slow"
[connections.shop-private]
kind = "http"
url = "http://localhost:{http}/private/health"
username = "{USER}"
password = {secret}
[connections.shop-front]
kind = "tls"
url = "tls://localhost:{tls}"
ca = "{root}"
"#,
            primary.port, standby.port, cache.port, replica.port
        );
        let up = Up::start(Options { settings: connections, policy: POLICY.to_owned(), ..Options::default() }).await;
        Stage { up, primary, _standby: standby, cache, replica, exporter, prometheus, nginx, upstream, authority, good, login, canary, settings }
    }
}

async fn databases(login: &Login) -> (Postgres, Postgres) {
    let primary = Postgres::start(login).await;
    let standby = primary.standby().await;
    (primary, standby)
}

async fn caches(login: &Login) -> (Redis, Redis) {
    let cache = Redis::start(&login.password).await;
    let replica = cache.replica().await;
    (cache, replica)
}

async fn monitoring() -> (Exporter, Prometheus) {
    let exporter = Exporter::start().await;
    let prometheus = Prometheus::start(&[("node", exporter.port)]).await;
    (exporter, prometheus)
}
