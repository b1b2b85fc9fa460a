//! A real S3 server that nobody here wrote, with TLS by an authority of its own.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use mainstay_backup::erase::erase;
use mainstay_backup::judge::Standing;
use mainstay_backup::progress::Teller;
use mainstay_backup::prune::{self, Pruned};
use mainstay_backup::store::{CreateIfAbsent, Credentials, S3, ServerSide, StoreError, Why};
use mainstay_backup::{Store, check, open, scan};
use mainstay_tests::servers::{Login, S3 as Server};

use support::{Keys, Made, all_of, good_one, patient};

mod support;

const SECRET: &str = "canary-Sx7vQ2-word";
/// What there is of a backup below the bucket.
const BELOW: &str = "mesh/prod";

async fn started() -> Server {
    // The first wins; the tests of a process share it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Server::start().await
}

fn settings(server: &Server, bucket: &str) -> S3 {
    as_user(server, bucket, &Login::new("key", SECRET))
}

fn as_user(server: &Server, bucket: &str, login: &Login) -> S3 {
    S3 {
        bucket: bucket.to_owned(),
        prefix: BELOW.to_owned(),
        endpoint: Some(server.endpoint()),
        region: None,
        path_style: true,
        authorities: Some(server.root.clone()),
        allow_http: false,
        credentials: Credentials { access_key: login.user.clone(), secret_key: login.password.clone().into(), session_token: None },
        server_side: None,
        checksums: None,
    }
}

fn opened(settings: &S3) -> Store {
    patient(Store::s3(settings).expect("a store"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_what_it_is_given() {
    let server = started().await;
    server.bucket("backups").await;
    let store = opened(&settings(&server, "backups"));
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
    assert_eq!(prune::remove(&store, &made[0].backup).await, Ok(Pruned::Gone));
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
    let server = started().await;
    server.bucket("backups").await;
    let (why, words) = said(&settings(&server, "nothing")).await;
    assert_eq!(why, Why::NoBucket, "{words}");
    assert!(words.contains("s3://nothing/mesh/prod at https://127.0.0.1") && words.contains("make the bucket"), "{words}");
    // Whoever signed its certificate is nobody that is trusted.
    let stranger = S3 { authorities: None, ..settings(&server, "backups") };
    let (_, words) = said(&stranger).await;
    assert!(words.to_lowercase().contains("certificate"), "{words}");
    let plain = S3 { endpoint: Some(format!("http://127.0.0.1:{}", server.port)), ..settings(&server, "backups") };
    let (_, words) = said(&plain).await;
    assert!(words.to_lowercase().contains("http"), "{words}");
    let nobody = S3 { endpoint: Some("https://127.0.0.1:9".to_owned()), ..settings(&server, "backups") };
    let (why, words) = said(&nobody).await;
    assert_eq!(why, Why::Failed, "{words}");
}

/// What a probe says is wrong; never with the secret in it.
async fn said(settings: &S3) -> (Why, String) {
    let tried: Result<_, StoreError> = async { patient(Store::s3(settings)?).probe().await }.await;
    let error = tried.expect_err("it is wrong");
    assert!(!error.to_string().contains(settings.credentials.secret_key.as_str()), "{error}");
    (error.why, error.to_string())
}

/// All of it, and what is lacking, with a server that looks at signatures and rights.
#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_missing_are_found_by_the_probe() {
    let server = started().await;
    server.bucket("backups").await;
    let allow = |actions: &str| format!("{{\"Effect\": \"Allow\", \"Action\": [{actions}], \"Resource\": \"*\"}}");
    let deny = "{\"Effect\": \"Deny\", \"Action\": [\"s3:DeleteObject\"], \"Resource\": \"*\"}";
    let all = server.user("all", &allow("\"s3:*\"")).await;
    let reads = server.user("reads", &allow("\"s3:ListBucket\", \"s3:GetObject\"")).await;
    let blind = server.user("blind", &allow("\"s3:PutObject\", \"s3:GetObject\", \"s3:DeleteObject\"")).await;
    let keeps = server.user("keeps", &format!("{}, {deny}", allow("\"s3:*\""))).await;
    server.looks_at_rights().await;
    let keys = Keys::new();
    let made = good_one(&opened(&as_user(&server, "backups", &all)), &keys, 1, 1000).await;

    for lacks in [reads, blind] {
        let (why, words) = said(&as_user(&server, "backups", &lacks)).await;
        assert_eq!(why, Why::Refused, "{words}");
        assert!(words.contains("AccessDenied: Access Denied; give whoever asks the rights to list, read, write and delete there"), "{words}");
        // Nothing of the request, which says nothing to anybody.
        assert!(!words.contains("<Error>") && !words.contains("Error performing"), "{words}");
    }
    for wrong in [Login::new(&all.user, "another"), Login::new("AKIAUNKNOWN", &all.password)] {
        let (why, words) = said(&as_user(&server, "backups", &wrong)).await;
        assert_eq!(why, Why::Stranger, "{words}");
        assert!(words.contains("look at the id of the access key and at its secret"), "{words}");
    }

    // Who may not remove makes backups; what of a probe stays is told, and what is to be thinned out goes another time.
    let store = opened(&as_user(&server, "backups", &keeps));
    let probe = store.probe().await.expect("a probe");
    assert!(probe.create_if_absent == CreateIfAbsent::Honoured && probe.kept.is_some_and(|kept| kept.contains("AccessDenied")));
    let next = good_one(&store, &keys, 2, 1000).await;
    let pruned = prune::remove(&store, &made.manifest.backup).await.expect("that it is kept is no error");
    assert!(matches!(&pruned, Pruned::Locked { why } if why.contains("AccessDenied")), "{pruned:?}");
    let found = scan(&store, None, &keys.known()).await.expect("a scan").backups;
    assert!(found.len() == 2 && found.iter().all(|judged| judged.standing == Standing::Good), "{found:?}");
    let every = opened(&as_user(&server, "backups", &all));
    assert_eq!(prune::remove(&every, &made.manifest.backup).await, Ok(Pruned::Gone));
    assert!(check(&every, &next.manifest, &keys.drill, &Teller::default()).await.is_good());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_encrypts_as_it_is_told() {
    let server = started().await;
    let key = "arn:aws:kms:us-east-1:123456789012:key/9b0ef8d6-5a3e-4b6e-9b5e-3f6c1f0e7a55";
    let cases = [
        ("own", Some(ServerSide::Own), Some("AES256"), None),
        ("usual", Some(ServerSide::Kms(None)), Some("aws:kms"), None),
        ("named", Some(ServerSide::Kms(Some(key.to_owned()))), Some("aws:kms"), Some(key)),
        ("plain", None, None, None),
    ];
    for (bucket, server_side, how, by) in cases {
        server.bucket(bucket).await;
        let store = opened(&S3 { server_side, ..settings(&server, bucket) });
        let keys = Keys::new();
        // At once, and once in several pieces.
        let sizes = if by.is_some() { &[(1, 1000), (2, 60 << 20)][..] } else { &[(1, 1000)] };
        for (hour, bytes) in sizes.iter().copied() {
            let id = good_one(&store, &keys, hour, bytes).await.manifest.backup;
            for object in ["manifest.json", "data.zst.age"] {
                let head = server.ask("HEAD", &format!("/{bucket}/{BELOW}/{id}/{object}"), &[], "").await;
                let of = |name: &str| head.header(name).map(str::to_owned);
                let case = format!("{bucket}: {object} of {bytes} bytes: {head:?}");
                assert_eq!((head.status, of("x-amz-server-side-encryption").as_deref()), (200, how), "{case}");
                if by.is_some() {
                    assert_eq!(of("x-amz-server-side-encryption-aws-kms-key-id").as_deref(), by, "{case}");
                }
            }
        }
    }
}

/// A bucket that locks what it is given takes it with a checksum, and keeps what is removed until its lock has ended.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_locked_is_taken_and_stays() {
    let server = started().await;
    server.bucket_of_locks("locked").await;
    let (why, words) = said(&settings(&server, "locked")).await;
    assert!(why == Why::Checksum && words.contains("have checksums sent, by  checksums = true"), "{words}");
    let store = opened(&S3 { checksums: Some(true), ..settings(&server, "locked") });
    assert_eq!(store.probe().await.expect("a probe").create_if_absent, CreateIfAbsent::Honoured);
    let keys = Keys::new();
    let old = good_one(&store, &keys, 1, 1000).await.manifest.backup;
    let new = good_one(&store, &keys, 2, 60 << 20).await.manifest;
    assert!(check(&store, &new, &keys.drill, &Teller::default()).await.is_good());
    let manifest = format!("/locked/{BELOW}/{old}/manifest.json");
    let head = server.ask("HEAD", &manifest, &[], "").await;
    assert_eq!(head.header("x-amz-object-lock-mode"), Some("COMPLIANCE"), "{head:?}");
    let version = head.header("x-amz-version-id").expect("a version").to_owned();
    // It is gone from every listing, and whoever has to can still read what is locked.
    assert_eq!(prune::remove(&store, &old).await, Ok(Pruned::Gone));
    let found = scan(&store, None, &keys.known()).await.expect("a scan").backups;
    assert!(found.len() == 1 && found[0].standing == Standing::Good, "{found:?}");
    assert_eq!(server.ask("HEAD", &manifest, &[], "").await.status, 404);
    assert_eq!(server.ask("HEAD", &format!("{manifest}?versionId={version}"), &[], "").await.status, 200);
    // So a key is not destroyed, and nobody is told that it is.
    let error = erase(&store, &old.target, old.time, keys.sign.as_ref()).await.expect_err("it is locked").to_string();
    assert!(
        error.starts_with("NOT erased: ") && error.contains("can still be read, since it is locked") && error.contains("AccessDenied"),
        "{error}"
    );
    let found = scan(&store, None, &keys.known()).await.expect("a scan").backups;
    assert!(matches!(found[0].standing, Standing::Damaged { .. }), "{found:?}");
}

/// Where a bucket keeps versions, those of a key go with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_erased_in_every_version_that_is_known_of_it() {
    let server = started().await;
    server.bucket_of_versions("versions").await;
    let store = opened(&settings(&server, "versions"));
    let keys = Keys::new();
    let id = good_one(&store, &keys, 1, 1000).await.manifest.backup;
    let key = format!("/versions/{BELOW}/{}/key-1.age", id.target);
    let at = |version: &str| format!("{key}?versionId={version}");
    let version_of = async || server.ask("HEAD", &key, &[], "").await.header("x-amz-version-id").expect("a version").to_owned();
    let first = version_of().await;
    // Somebody has written over it since.
    let again = server.ask("PUT", &key, &["content-type: application/octet-stream"], "something else").await;
    assert_eq!(again.status, 200, "{again:?}");
    let second = version_of().await;
    assert_ne!(first, second);
    let erased = erase(&store, &id.target, id.time, keys.sign.as_ref()).await.expect("it is erased");
    assert_eq!((erased.destroyed, erased.was_done), (vec![1], false));
    for gone in [key.clone(), at(&first), at(&second)] {
        assert_eq!(server.ask("GET", &gone, &[], "").await.status, 404, "{gone}");
    }
    let found = scan(&store, None, &keys.known()).await.expect("a scan").backups;
    assert!(matches!(found[0].standing, Standing::Erased { .. }), "{found:?}");
    assert!(erase(&store, &id.target, id.time, keys.sign.as_ref()).await.expect("once more").was_done);
}
