//! Objects of Kubernetes all the way: written, read back, drilled, and put into a file.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mainstay_backup::drill::{DrillError, Order, drill};
use mainstay_backup::manifest::Manifest;
use mainstay_backup::place::kubernetes as place;
use mainstay_backup::progress::Teller;
use mainstay_backup::source::SourceError;
use mainstay_backup::source::kubernetes::{Api, Kind, Kubernetes, NoPage, Page, Wanted};
use mainstay_backup::{Store, check, open};
use serde_json::{Value, json};
use support::{Keys, back_up};
use tokio_util::sync::CancellationToken;

mod support;

/// Three ConfigMaps in each namespace, a page each.
struct Three;

impl Api for Three {
    fn look(&self) -> BoxFuture<'_, Result<BTreeMap<String, String>, SourceError>> {
        async { Ok(BTreeMap::from([("kubernetes".to_owned(), "v1.34.0".to_owned())])) }.boxed()
    }

    fn page<'a>(&'a self, _: &'a Kind, namespace: &'a str, next: &'a str) -> BoxFuture<'a, Result<Page, NoPage>> {
        let number: u32 = next.parse().unwrap_or_default();
        let object = json!({ "metadata": { "name": format!("c{number}"), "namespace": namespace, "uid": "1" }, "data": { "text": "a\nline" } });
        let next = if number == 2 { String::new() } else { (number + 1).to_string() };
        async { Ok(Page { objects: vec![object], next }) }.boxed()
    }
}

fn source(namespaces: &[&str]) -> Kubernetes {
    let kinds = ["v1/ConfigMap".parse().expect("a kind")].into();
    let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
    Kubernetes::new(Arc::new(Three), Wanted { namespaces, kinds, ..Wanted::default() }, Duration::from_secs(60))
}

async fn drilled(store: &Store, manifest: &Manifest, keys: &Keys) -> Result<(String, Vec<String>), DrillError> {
    let within = tempfile::tempdir().expect("a directory");
    let order = Order { store, manifest, keys: &keys.drill, programs: None, within: within.path(), deadline: Duration::from_secs(60) };
    let drilled = drill(&order, &Teller::default(), &CancellationToken::new()).await;
    drilled.map(|drilled| (drilled.compared, drilled.differs))
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_written_read_back_drilled_and_put_into_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::local(&dir.path().join("backups")).expect("a store");
    let keys = Keys::new();
    let written = back_up(&store, keys.order(1), &mut source(&["shop", "jobs"])).await.expect("a backup");
    let mut manifest = written.manifest;
    assert_eq!((manifest.source.kind.as_str(), manifest.source.versions["kubernetes"].as_str()), ("kube.export", "v1.34.0"));
    assert_eq!(manifest.source.counted["objects"], json!({ "jobs": { "ConfigMap": 3 }, "shop": { "ConfigMap": 3 } }));
    assert!(check(&store, &manifest, &written.check, &Teller::default()).await.is_good());

    let compared = "6 objects of 2 namespaces, each of which can be read".to_owned();
    assert_eq!(drilled(&store, &manifest, &keys).await, Ok((compared.clone(), Vec::new())));

    let choice = place::Choice::read(&["shop=copy".to_owned(), "jobs=jobs".to_owned()], &[], &[], &["jobs", "shop"]).expect("a choice");
    let plain = open(&store, &manifest, &manifest.parts[0], &keys.drill, &Teller::default()).await.expect("it opens");
    let (file, put) = place::write(plain, &dir.path().join("restored"), &choice).await.expect("a file");
    let text = std::fs::read_to_string(file).expect("the objects");
    let names: Vec<Value> = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["metadata"].clone()).collect();
    assert_eq!(
        (names.len(), &names[0], &names[3]),
        (6, &json!({ "name": "c0", "namespace": "jobs" }), &json!({ "name": "c0", "namespace": "copy" }))
    );
    assert_eq!(put.objects.namespaces().collect::<Vec<_>>(), ["copy", "jobs"]);

    // What is not there any more that was counted is found.
    manifest.source.counted.insert("objects".to_owned(), json!({ "jobs": { "ConfigMap": 3 }, "shop": { "ConfigMap": 4 } }));
    let differs = vec!["it has 3 ConfigMap of shop, and had 4".to_owned()];
    assert_eq!(drilled(&store, &manifest, &keys).await, Ok((compared, differs.clone())));
    let checked = check(&store, &manifest, &written.check, &Teller::default()).await;
    assert_eq!(checked.parts[0].wrong.as_ref(), differs.first());
}
