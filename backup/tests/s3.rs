//! A real S3 server that nobody here wrote, with TLS by an authority of its own.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mainstay_backup::judge::Standing;
use mainstay_backup::progress::Teller;
use mainstay_backup::store::{CreateIfAbsent, Credentials, S3, StoreError, Why};
use mainstay_backup::{Store, check, open, prune, scan};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use support::{Keys, Made, all_of, good_one, patient};

mod support;

const SECRET: &str = "canary-Sx7vQ2-word";

struct Server {
    child: Child,
    port: u16,
    authority: String,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    async fn start() -> Server {
        // The first wins; the tests of a process share it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a directory");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name").signed_by(&key, &authority).expect("a certificate");
        let (certificate, secret) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        fs::write(&certificate, leaf.pem()).expect("a file");
        fs::write(&secret, key.serialize_pem()).expect("a file");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/s3/install");
        let folder = Command::new(script).arg("--where").output().expect("where it is").stdout;
        let folder = String::from_utf8(folder).expect("a path").trim().to_owned();
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
        let log = fs::File::create(dir.path().join("log")).expect("a log");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "python3", "-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string(), "-c"]);
        command.arg(&certificate).arg("-k").arg(&secret).env("PYTHONPATH", folder).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().expect("the log")).stderr(log).spawn().expect("it starts; tests/s3/install installs it");
        let server = Server { child, port, authority: authority.pem(), _dir: dir };
        let up = async {
            while server.bucket("backups").await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let log = server._dir.path().join("log");
        if tokio::time::timeout(Duration::from_secs(60), up).await.is_err() {
            panic!("it is not ready: {}", fs::read_to_string(log).unwrap_or_default());
        }
        server
    }

    /// Makes a bucket.
    async fn bucket(&self, name: &str) -> Result<(), reqwest::Error> {
        let authority = reqwest::Certificate::from_pem(self.authority.as_bytes())?;
        let client = reqwest::Client::builder().tls_certs_only([authority]).build()?;
        let made = client
            .put(format!("https://127.0.0.1:{}/{name}", self.port))
            .header("authorization", "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request")
            .send();
        made.await?.error_for_status().map(drop)
    }

    fn settings(&self, bucket: &str) -> S3 {
        S3 {
            bucket: bucket.to_owned(),
            prefix: "mesh/prod".to_owned(),
            endpoint: Some(format!("https://127.0.0.1:{}", self.port)),
            region: None,
            path_style: true,
            authorities: Some(self.authority.clone()),
            allow_http: false,
            credentials: Credentials { access_key: "key".to_owned(), secret_key: SECRET.to_owned().into(), session_token: None },
            kms_key: None,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_what_it_is_given() {
    let server = Server::start().await;
    let store = patient(Store::s3(&server.settings("backups")).expect("a store"));
    let probe = store.probe().await.expect("a probe");
    assert_eq!((probe.create_if_absent, probe.kept), (CreateIfAbsent::Honoured, None));
    let keys = Keys::new();
    let mut made = Vec::new();
    // At once, and in several pieces.
    for (hour, bytes) in [(1, 1000), (2, 60 << 20)] {
        let written = good_one(&store, &keys, hour, bytes).await;
        let part = &written.manifest.parts[0];
        let came = open(&store, &written.manifest, part, &keys.drill, &Teller::default()).await.expect("it opens");
        assert!(all_of(came).await.expect("it is right") == all_of(Made::new(bytes)).await.expect("bytes"), "{bytes} bytes");
        made.push(written.manifest);
    }
    let found = scan(&store, None, &keys.known()).await.expect("a scan").backups;
    assert!(found.len() == 2 && found.iter().all(|judged| judged.standing == Standing::Good), "{found:?}");
    prune::remove(&store, &made[0].backup).await.expect("it is removed");
    assert_eq!(scan(&store, None, &keys.known()).await.expect("a scan").backups.len(), 1);
    assert!(check(&store, &made[1], &keys.drill, &Teller::default()).await.is_good());
    // Somebody empties the bucket.
    for listed in store.list("").await.expect("a listing").iter().filter(|listed| listed.name.ends_with(".zst.age")) {
        store.remove(&listed.name).await.expect("it is removed");
    }
    let found = scan(&store, None, &keys.known()).await.expect("a scan").backups;
    assert_eq!(found[0].standing, Standing::Damaged { what: vec!["data.zst.age is missing".to_owned()] });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_bucket_is_said_in_words() {
    let server = Server::start().await;
    let tried = |settings: S3| async move { patient(Store::s3(&settings)?).probe().await.map(drop) };
    let said = |tried: Result<(), StoreError>| {
        let error = tried.expect_err("it is wrong");
        assert!(!error.to_string().contains(SECRET), "{error}");
        (error.why, error.to_string())
    };
    let (why, words) = said(tried(server.settings("nothing")).await);
    assert_eq!(why, Why::NoBucket, "{words}");
    assert!(words.contains("s3://nothing/mesh/prod at https://127.0.0.1") && words.contains("make the bucket"), "{words}");
    // Whoever signed its certificate is nobody that is trusted.
    let stranger = S3 { authorities: None, ..server.settings("backups") };
    let (_, words) = said(tried(stranger).await);
    assert!(words.to_lowercase().contains("certificate"), "{words}");
    let plain = S3 { endpoint: Some(format!("http://127.0.0.1:{}", server.port)), ..server.settings("backups") };
    let (_, words) = said(tried(plain).await);
    assert!(words.to_lowercase().contains("http"), "{words}");
    let nobody = S3 { endpoint: Some("https://127.0.0.1:9".to_owned()), ..server.settings("backups") };
    let (why, words) = said(tried(nobody).await);
    assert_eq!(why, Why::Failed, "{words}");
}
