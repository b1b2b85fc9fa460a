use object_store::memory::InMemory;
use tempfile::tempdir;

use super::*;
use crate::pipe::CHUNK;

#[tokio::test]
async fn what_is_there_is_not_created_again() {
    let dir = tempdir().unwrap();
    for store in [Store::of(Arc::new(InMemory::new()), "memory"), Store::local(dir.path()).unwrap()] {
        assert_eq!(store.create("a/b", b"1").await.unwrap(), Created::New);
        assert_eq!(store.create("a/b", b"2").await.unwrap(), Created::Exists);
        // The same bytes are taken for one's own, whose answer was lost.
        assert_eq!(store.create("a/b", b"1").await.unwrap(), Created::New);
        assert_eq!(store.read("a/b", 9).await.unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(store.read("a/c", 9).await.unwrap(), None);
        assert_eq!(store.list("").await.unwrap(), [Listed { name: "a/b".to_owned(), bytes: 1 }]);
        assert_eq!(store.list("b").await.unwrap(), []);
        assert_eq!(store.remove("a/b").await.unwrap(), Removed::Gone);
        assert_eq!(store.remove("a/b").await.unwrap(), Removed::Gone);
    }
}

#[tokio::test]
async fn a_small_object_that_is_large_is_not_read() {
    let store = Store::of(Arc::new(InMemory::new()), "memory");
    store.create("a", &[0; 100]).await.unwrap();
    let error = store.read("a", 99).await.unwrap_err();
    assert_eq!((error.why, error.to_string()), (Why::Unusable, "memory: a: it has more than 99 bytes, and is not what it should be".to_owned()));
}

#[tokio::test]
async fn a_large_object_is_read_from_any_byte_on() {
    let dir = tempdir().unwrap();
    let store = Store::local(dir.path()).unwrap();
    let whole: Vec<u8> = (0_u8..251).cycle().take(3 * CHUNK + 7).collect();
    let mut upload = store.upload("a/b").unwrap();
    upload.write(whole.clone().into()).await.unwrap();
    upload.finish().await.unwrap();
    for from in [0, 1, CHUNK, CHUNK + 1, whole.len() - 1] {
        let read: Vec<Bytes> = store.stream("a/b", from as u64).await.unwrap().try_collect().await.unwrap();
        assert!(read.concat() == whole[from..], "from byte {from} on");
    }
}

/// However often one looks, a store that removes nothing does not fill up.
#[tokio::test]
async fn what_probes_leave_is_bounded() {
    let store = Store::of(Arc::new(InMemory::new()), "memory");
    for left in 0..probe::NAMES - 1 {
        store.create(&format!("probe/{left}.json"), b"left").await.unwrap();
    }
    let well = Probe { create_if_absent: CreateIfAbsent::Honoured, kept: None };
    assert_eq!(store.probe().await.unwrap(), well);
    assert_eq!(store.list("probe").await.unwrap().len(), probe::NAMES - 1, "the one that is left was taken, and removed");
    store.create(&format!("probe/{}.json", probe::NAMES - 1), b"left").await.unwrap();
    assert_eq!(store.probe().await.unwrap(), well);
    assert_eq!(store.list("probe").await.unwrap().len(), probe::NAMES - 1, "one of them was removed");
}

#[tokio::test]
async fn a_prefix_is_not_in_the_names() {
    let mut store = Store::of(Arc::new(InMemory::new()), "memory");
    store.prefix = Path::from("mesh/backups");
    store.create("a/b", b"1").await.unwrap();
    assert_eq!(store.list("").await.unwrap()[0].name, "a/b");
    assert_eq!(store.list("a").await.unwrap()[0].name, "a/b");
}

#[test]
fn credentials_are_never_shown() {
    let secret = "hunter2".to_owned();
    let credentials = Credentials { access_key: "AK".to_owned(), secret_key: secret.clone().into(), session_token: Some(secret.clone().into()) };
    let mut s3 = S3 {
        bucket: "b".to_owned(),
        prefix: String::new(),
        endpoint: Some(format!("https://u:{secret}@host")),
        region: None,
        path_style: true,
        authorities: None,
        allow_http: false,
        credentials,
        server_side: None,
        checksums: None,
    };
    assert!(!format!("{:?}", s3.credentials).contains(&secret));
    let said = Store::s3(&s3).unwrap_err().to_string();
    assert!(said.contains("no credentials in it"), "{said}");
    s3.endpoint = Some("https://host".to_owned());
    let said = Store::s3(&s3).unwrap_err().to_string();
    assert!(!said.contains(&secret), "{said}");
}
