#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files")]
use mainstay_backup::store::ServerSide;
use mainstay_core::PlanName;

use super::*;

fn parse(text: &str) -> (Connections, Vec<String>) {
    Connections::parse(Path::new("/etc/mainstay/connections.toml"), text)
}

fn good(text: &str) -> Connections {
    let (connections, problems) = parse(text);
    assert_eq!(problems, Vec::<String>::new());
    connections
}

fn one(text: &str) -> Connection {
    good(&format!("[connections.x]\n{text}")).get(&"x".parse().unwrap()).unwrap().clone()
}

#[test]
fn a_file_of_connections_is_read_and_told_by_name_and_kind() {
    let connections = good(
        r#"
[connections.orders-db]
kind = "postgres"
url = "postgres://app@db.example/orders"
password = { file = "secrets/orders" }
ca = "/etc/ssl/db.pem"
serverName = "db.internal"
allow = { plans = ["daily", "health*"] }
replicas = 1

[connections.cache]
kind = "redis"
url = "redis://127.0.0.1"
password = { env = "CACHE_PASSWORD" }

[connections.metrics]
kind = "prometheus"
url = "https://mon.example/prometheus"
token = { file = "/run/token" }
"#,
    );
    let told: Vec<String> = connections.told().iter().map(|told| format!("{} {}", told.name, told.kind)).collect();
    assert_eq!(told, ["cache redis", "metrics prometheus", "orders-db postgres"]);
    let orders = connections.get(&"orders-db".parse().unwrap()).unwrap();
    assert_eq!(orders.secret, Some(SecretRef::File("/etc/mainstay/secrets/orders".into())));
    assert_eq!((orders.tls.mode, orders.tls.ca.as_deref(), orders.replicas), (TlsMode::Verify, Some(Path::new("/etc/ssl/db.pem")), Some(1)));
    assert_eq!(orders.declared_at, "/etc/mainstay/connections.toml line 2");
    assert_eq!(connections.secret_variables().collect::<Vec<_>>(), ["CACHE_PASSWORD"]);
    assert!(connections.get(&"metrics".parse().unwrap()).unwrap().bearer);
}

#[test]
fn a_server_may_say_on_which_node_it_is() {
    let node = one("kind = \"redis\"\nurl = \"redis://127.0.0.1\"\nsourceNode = \"n2\"").source_node;
    assert_eq!(node.map(|node| node.to_string()).as_deref(), Some("n2"));
    let problem = |text: &str| parse(&format!("[connections.x]\n{text}")).1.join("\n");
    let wrong = problem("kind = \"redis\"\nurl = \"redis://127.0.0.1\"\nsourceNode = \"N 2\"");
    assert!(wrong.contains("sourceNode") && wrong.contains("names no node"), "{wrong}");
    let wrong = problem("kind = \"files\"\nurl = \"file:///etc\"\nsourceNode = \"n2\"");
    assert!(wrong.contains("is for postgres and redis") && wrong.contains("this is files"), "{wrong}");
}

#[test]
fn the_mesh_is_a_connection_that_leads_nowhere_else() {
    let mesh = one("kind = \"mesh\"\nallow = { plans = [\"backup\"] }");
    assert_eq!((mesh.kind, &mesh.address.place, mesh.tls.mode), (ConnectionKind::Mesh, &Place::Mesh, TlsMode::Off));
    let problem = |text: &str| parse(&format!("[connections.x]\nkind = \"mesh\"\n{text}")).1.join("\n");
    for (text, part) in [
        ("url = \"https://c1:7400\"", "`url` is of no use: it is the mesh that this agent is of"),
        ("password = { env = \"P\" }", "to mesh nothing is sent"),
        ("breakGlass = []", "is for store, and this is mesh"),
    ] {
        let problem = problem(text);
        assert!(problem.contains(part), "{text}: {problem}");
    }
}

#[test]
fn encryption_is_on_wherever_nobody_says_otherwise() {
    let mode = |text: &str| one(text).tls.mode;
    let postgres = |host: &str, more: &str| mode(&format!("kind = \"postgres\"\nurl = \"postgres://a@{host}/d\"\n{more}"));
    assert_eq!(postgres("db.example", ""), TlsMode::Verify);
    assert_eq!(postgres("db.example", "tls = \"require\""), TlsMode::Require);
    assert_eq!(postgres("db.example", "tls = \"off\""), TlsMode::Off);
    assert_eq!([postgres("127.0.0.1", ""), postgres("localhost", ""), postgres("[::1]", "")], [TlsMode::Off; 3]);
    assert_eq!(postgres("127.0.0.1", "tls = \"verify\""), TlsMode::Verify);
    assert_eq!(mode("kind = \"redis\"\nurl = \"rediss://cache\""), TlsMode::Verify);
    assert_eq!(mode("kind = \"redis\"\nurl = \"redis://cache\""), TlsMode::Off, "nothing secret is sent");
    assert_eq!(mode("kind = \"redis\"\nurl = \"redis://cache\"\npassword = { env = \"P\" }\ntls = \"off\""), TlsMode::Off);
    let (_, problems) = parse("[connections.x]\nkind = \"redis\"\nurl = \"redis://cache\"\npassword = { env = \"P\" }");
    assert!(problems[0].contains("line 3") && problems[0].contains("in plain text over the network: write  rediss://"), "{problems:?}");
}

#[test]
fn every_slip_is_named_with_its_line() {
    let (connections, problems) = parse(
        r#"[connections.a]
kind = "postgress"
url = "postgres://app@db/x"
[connections.b]
kind = "redis"
urll = "redis://cache"
[connections.C]
kind = "redis"
url = "redis://cache"
[connections.d]
kind = "postgres"
url = "postgres://app:hunter2@db/x"
password = "hunter2"
allow = { plan = ["x"] }
[connections.e]
kind = "postgres"
url = "postgres://db/x"
password = { secret = "orders-db" }
tls = "maybe"
[connections.f]
kind = "redis"
url = "redis://cache"
cert = "c.pem"
token = { file = "x" }
replicas = -1
[connections.g]
kind = "http"
url = "https://h/"
username = "ana"
replicas = 2
allow = { plans = ["Daily"] }
programs = "/usr/lib/postgresql/16/bin"
[connections.h]
kind = "postgres"
url = "postgres://a@db/x"
password = { file = "x", env = "y" }
key = "k.pem"
serverName = "no name"
"#,
    );
    assert!(connections.told().is_empty(), "nothing of it is used");
    let all = problems.join("\n");
    for part in [
        "connections.toml line 2: connections.a: `kind` should be one of postgres, redis, prometheus, alertmanager, http, tls, files, store, kubernetes, mesh; did you mean `postgres`?",
        "line 6: connections.b: there is no key `urll`; did you mean `url`?",
        "line 4: connections.b: `url` is missing",
        "line 7: `C` is not a connection name",
        "line 12: connections.d: `url` holds a password: take it out",
        "line 13: connections.d: `password` should be { file = \"…\" } or { env = \"…\" }",
        "line 14: connections.d.allow: there is no key `plan`; did you mean `plans`?",
        "line 17: connections.e: `url` names no user",
        "line 18: connections.e.password: `secret` needs a cluster agent",
        "line 19: connections.e: `tls` should be \"verify\", \"require\" or \"off\"",
        "line 23: connections.f: `cert` is of no use: the URL does not ask for TLS",
        "line 24: connections.f: `token` is for prometheus, alertmanager and http",
        "line 25: connections.f: `replicas` should be a whole number from 0 to 1000",
        "line 26: connections.g: `password` is missing: there is a user",
        "line 30: connections.g: `replicas` is for postgres and redis",
        "line 31: connections.g.allow: `plans` holds `Daily`, which no plan can be called",
        "line 32: connections.g: `programs` is for postgres",
        "line 36: connections.h: `password` has a file and a variable",
        "line 33: connections.h: `cert` is missing",
        "line 38: connections.h: `serverName` cannot be the name of a server",
    ] {
        assert!(all.contains(part), "{part}\nis missing in:\n{all}");
    }
    assert!(!all.contains("hunter2"), "{all}");
}

#[test]
fn a_store_says_who_opens_what_is_in_it_and_what_signs() {
    let (keys, _) = mainstay_backup::keys::Identities::generate();
    let public = keys.public().remove(0);
    let bucket = one(&format!(
        "kind = \"store\"\nurl = \"s3://backups/prod\"\nendpoint = \"https://s3.internal\"\nusername = \"id\"\npassword = {{ env = \"S3\" }}\n\
         breakGlass = [\"{public}\"]\nsign = {{ file = \"sign.der\" }}\nidentity = {{ env = \"DRILL\" }}"
    ));
    let store = bucket.store.as_deref().unwrap();
    assert_eq!((&bucket.address.place, bucket.address.path.as_str()), (&Place::Bucket("backups".to_owned()), "prod"));
    assert_eq!((store.break_glass.as_slice(), store.sign.as_deref()), (&[public][..], Some(Path::new("/etc/mainstay/sign.der"))));
    assert_eq!(bucket.secrets().collect::<Vec<_>>(), [&SecretRef::Env("S3".to_owned()), &SecretRef::Env("DRILL".to_owned())]);
    let with = |more: &str| {
        let text = format!("kind = \"store\"\nurl = \"s3://b\"\nusername = \"id\"\npassword = {{ env = \"S3\" }}\n{more}");
        let store = one(&text).store.unwrap();
        (store.server_side, store.checksums)
    };
    assert_eq!(with(""), (None, None));
    assert_eq!(with("sse = \"AES256\"\nchecksums = true"), (Some(ServerSide::Own), Some(true)));
    assert_eq!(with("sse = \"aws:kms\"\nkmsKey = \"alias/b\""), (Some(ServerSide::Kms(Some("alias/b".to_owned()))), None));
    let directory = one("kind = \"store\"\nurl = \"file:///var/backups\"");
    assert_eq!((directory.address.place, directory.store.as_deref()), (Place::Dir("/var/backups".into()), Some(&StoreSettings::default())));
    for (text, part) in [
        ("kind = \"store\"\nurl = \"s3://b\"\nusername = \"id\"", "`password` is missing"),
        ("kind = \"store\"\nurl = \"s3://b\"\npassword = { env = \"P\" }", "`username` is missing"),
        ("kind = \"store\"\nurl = \"file:///b\"\nendpoint = \"https://x\"", "is for a bucket"),
        ("kind = \"store\"\nurl = \"file:///b\"\nsse = \"AES256\"", "`sse` is for a bucket"),
        ("kind = \"store\"\nurl = \"s3://b\"\nsse = \"aes\"", "line 4: connections.x: `sse` cannot be done: `aes` is neither AES256 nor aws:kms"),
        ("kind = \"store\"\nurl = \"s3://b\"\nchecksums = \"yes\"", "`checksums` should be true or false"),
        ("kind = \"store\"\nurl = \"s3://b\"\nusername = \"i\"\npassword = { env = \"P\" }\nendpoint = \"http://x\"", "does not ask for TLS"),
        ("kind = \"store\"\nurl = \"s3://b\"\nusername = \"i\"\npassword = { env = \"P\" }\nendpoint = \"https://a:b@x\"", "holds credentials"),
        (
            "kind = \"store\"\nurl = \"file:///b\"\ndrill = [\"AGE-SECRET-KEY-1hunter2\"]",
            "line 4: connections.x: `drill` should be a list of public keys",
        ),
        ("kind = \"store\"\nurl = \"file:///b\"\nsigners = [\"rsa\"]", "`signers` `rsa` is not a public key"),
        ("kind = \"store\"\nurl = \"file:///b\"\nsign = { env = \"S\" }", "is the file of a key"),
        ("kind = \"redis\"\nurl = \"redis://127.0.0.1\"\ndrill = [\"x\"]", "is for store, and this is redis"),
        ("kind = \"files\"\nurl = \"file:///b\"\npassword = { env = \"P\" }", "to files nothing is sent"),
    ] {
        let (_, problems) = parse(&format!("[connections.x]\n{text}\n"));
        assert!(problems.iter().any(|problem| problem.contains(part)) && !problems.concat().contains("hunter2"), "{part}: {problems:?}");
    }
}

#[test]
fn a_file_that_is_not_toml_is_not_repeated() {
    let (_, problems) = parse("[connections.a]\npassword = hunter2\n");
    assert!(problems.len() == 1 && problems[0].contains("line 2: not TOML") && !problems[0].contains("hunter2"), "{problems:?}");
}

#[test]
fn a_file_of_its_own_has_connections_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connections.toml");
    std::fs::write(&path, "node = \"a1\"\n[connections.cache]\nkind = \"redis\"\nurl = \"redis://127.0.0.1\"\n").unwrap();
    let (mut connections, problems) = Connections::read(&path);
    assert!(problems.len() == 1 && problems[0].contains("line 1: `node` does not belong here"), "{problems:?}");
    let again = connections.join(connections.clone());
    assert!(again.len() == 1 && again[0].contains("connections.cache is declared already, at "), "{again:?}");
    assert!(Connections::read(Path::new("/no/such")).1[0].contains("/no/such cannot be read"));
}

#[test]
fn a_plan_that_is_not_meant_is_refused_with_the_line_to_write() {
    let connection = one("kind = \"redis\"\nurl = \"redis://127.0.0.1\"\nallow = { plans = [\"daily\", \"health*\"] }");
    let plan = |name: &str| name.parse::<PlanName>().unwrap();
    assert_eq!((connection.allows(&plan("daily")), connection.allows(&plan("health-eu"))), (Ok(()), Ok(())));
    let refused = connection.allows(&plan("weekly")).unwrap_err().to_string();
    assert!(
        refused.ends_with(
            "not for the plan weekly: allow it at /etc/mainstay/connections.toml line 1:  allow = { plans = [\"daily\", \"health*\", \"weekly\"] }"
        ),
        "{refused}"
    );
    assert_eq!(one("kind = \"redis\"\nurl = \"redis://127.0.0.1\"").allows(&plan("weekly")), Ok(()));
}

#[test]
fn objects_of_a_cluster_are_declared_without_an_address() {
    let shop =
        one("kind = \"kubernetes\"\nnamespaces = [\"shop\", \"jobs\", \"shop\"]\nlabelSelector = \"app=web\"\nexclude = [\"ConfigMap/cache-*\"]");
    let objects = shop.objects.as_deref().unwrap();
    assert_eq!((&shop.address.place, shop.tls.mode, objects.namespaces.join(" ").as_str()), (&Place::Cluster, TlsMode::Off, "jobs shop"));
    let has = |objects: &ObjectsSettings, kind: &str| objects.kinds.iter().any(|own| own.to_string() == kind);
    assert!(has(objects, "apps/v1/Deployment") && !has(objects, "v1/Secret"), "{objects:?}");
    assert_eq!((objects.label_selector.as_deref(), objects.exclude.len(), objects.allow_empty), (Some("app=web"), 1, false));
    let with_secrets =
        one("kind = \"kubernetes\"\nnamespaces = [\"shop\"]\nsecrets = true\nserviceAccount = \"exporter\"\nallowEmpty = true").objects.unwrap();
    assert!(has(&with_secrets, "v1/Secret") && has(&with_secrets, "v1/ConfigMap") && with_secrets.allow_empty);
    assert_eq!(with_secrets.service_account.as_deref(), Some("exporter"));
    let named = one("kind = \"kubernetes\"\nnamespaces = [\"shop\"]\nkinds = [\"v1/Secret\", \"shop.example/v1/Shop\"]").objects.unwrap();
    assert_eq!(named.kinds.iter().map(ToString::to_string).collect::<Vec<_>>(), ["v1/Secret", "shop.example/v1/Shop"]);

    let many = format!("namespaces = [{}]", (0..33).map(|n| format!("\"n{n}\"")).collect::<Vec<_>>().join(", "));
    for (text, part) in [
        ("", "`namespaces` is missing"),
        ("namespaces = [\"*\"]", "holds `*`, which no namespace can be called"),
        ("namespaces = []", "`namespaces` should be a list"),
        ("namespaces = [\"shop\"]\nurl = \"https://k8s\"", "`url` is of no use"),
        ("namespaces = [\"shop\"]\npassword = { env = \"P\" }", "`password` is of no use"),
        ("namespaces = [\"shop\"]\nsecrets = \"yes\"", "`secrets` should be true or false"),
        ("namespaces = [\"shop\"]\nsecrets = true\nkinds = [\"v1/ConfigMap\"]", "name  \"v1/Secret\"  there"),
        ("namespaces = [\"shop\"]\nkinds = [\"Deployment\"]", "`Deployment` is no version and kind"),
        ("namespaces = [\"shop\"]\nkinds = [\"v1/Pod\"]", "there is nothing to put back"),
        ("namespaces = [\"shop\"]\nexclude = [\"a/b/c\"]", "`exclude` holds `a/b/c`"),
        ("namespaces = [\"shop\"]\nserviceAccount = \"Me\"", "`serviceAccount` is no name"),
        (many.as_str(), "has 33 of them, and at most 32"),
    ] {
        let (connections, problems) = parse(&format!("[connections.x]\nkind = \"kubernetes\"\n{text}"));
        assert!(connections.get(&"x".parse().unwrap()).is_none() && problems.join("\n").contains(part), "{text}: {problems:?}");
    }
    let (_, problems) = parse("[connections.x]\nkind = \"redis\"\nurl = \"redis://127.0.0.1\"\nnamespaces = [\"shop\"]");
    assert!(problems.join("\n").contains("`namespaces` is for kubernetes, and this is redis"), "{problems:?}");
}

#[test]
fn a_worker_is_a_pod_of_a_namespace_that_can_reach_what_it_backs_up() {
    const WORKER: &str = "worker = { namespace = \"shop\", image = \"r.example/worker:1\", secret = \"db\" }";
    let read = |text: &str| one(text).worker.map(|worker| *worker);
    let worker = read(&format!("kind = \"postgres\"\nurl = \"postgres://app@db/orders\"\nca = \"ca.pem\"\n{WORKER}")).unwrap();
    assert_eq!((worker.namespace.as_str(), worker.service_account.as_str(), worker.user), ("shop", "mainstay-worker", 65_532));
    assert_eq!(read("kind = \"postgres\"\nurl = \"postgres://app@db/orders\""), None);
    let files = "kind = \"files\"\nurl = \"file:///data\"\nworker = { namespace = \"shop\", image = \"w:1\", claim = \"data\", user = 0 }";
    assert_eq!(read(files).map(|worker| (worker.claim, worker.user)), Some((Some("data".to_owned()), 0)));
    let problem = |text: &str| parse(&format!("[connections.x]\n{text}")).1.join("\n");
    for (text, words) in [
        (format!("kind = \"http\"\nurl = \"https://x\"\n{WORKER}"), "is for postgres, redis and files, and this is http"),
        (format!("kind = \"files\"\nurl = \"file:///data\"\n{WORKER}"), "names no `claim`"),
        (format!("kind = \"redis\"\nurl = \"rediss://cache\"\n{WORKER}"), "reaches a Redis without TLS only"),
        (format!("kind = \"redis\"\nurl = \"unix:///run/redis.sock\"\n{WORKER}"), "cannot reach a socket"),
        (
            format!("kind = \"postgres\"\nurl = \"postgres://app@db/orders\"\nca = \"ca.pem\"\ncert = \"c.pem\"\nkey = \"k.pem\"\n{WORKER}"),
            "known by its password",
        ),
        (format!("kind = \"postgres\"\nurl = \"postgres://app@db/orders\"\n{WORKER}"), "name the server's as `ca`"),
        (
            "kind = \"postgres\"\nurl = \"postgres://app@db/orders\"\nca = \"ca.pem\"\nworker = { image = \"w:1\" }".to_owned(),
            "`namespace` is missing",
        ),
        (
            "kind = \"postgres\"\nurl = \"postgres://app@db/orders\"\nca = \"ca.pem\"\nworker = { namespace = \"Shop\", image = \"w:1\" }".to_owned(),
            "the name of a namespace",
        ),
        (
            "kind = \"postgres\"\nurl = \"postgres://app@db/orders\"\nca = \"ca.pem\"\nworker = { namespace = \"s\", image = \"w 1\" }".to_owned(),
            "no reference to an image",
        ),
        (
            "kind = \"postgres\"\nurl = \"postgres://app@db/orders\"\nca = \"ca.pem\"\nworker = { namespace = \"s\", image = \"w\", clam = \"d\" }"
                .to_owned(),
            "did you mean `claim`?",
        ),
    ] {
        let wrong = problem(&text);
        assert!(wrong.contains(words), "{words}: {wrong}");
    }
}
