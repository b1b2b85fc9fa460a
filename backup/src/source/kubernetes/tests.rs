use std::collections::VecDeque;

use serde_json::json;
use tokio::io::AsyncReadExt;

use super::*;

/// An API server that answers as it was told, and remembers what it was asked.
#[derive(Default)]
struct Given {
    answers: Mutex<BTreeMap<String, VecDeque<Result<Page, NoPage>>>>,
    asked: Mutex<Vec<String>>,
}

impl Given {
    /// The answers for a kind in a namespace, in turn.
    fn says(&self, of: &str, answers: Vec<Result<Page, NoPage>>) {
        self.answers.lock().unwrap().insert(of.to_owned(), answers.into());
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Api for Given {
    fn look(&self) -> BoxFuture<'_, Result<BTreeMap<String, String>, SourceError>> {
        async { Ok(BTreeMap::new()) }.boxed()
    }

    fn page<'a>(&'a self, kind: &'a Kind, namespace: &'a str, next: &'a str) -> BoxFuture<'a, Result<Page, NoPage>> {
        let of = format!("{namespace}/{}", kind.kind);
        self.asked.lock().unwrap().push(format!("{of}?{next}"));
        let answer = self.answers.lock().unwrap().get_mut(&of).and_then(VecDeque::pop_front).unwrap_or_else(|| Ok(Page::default()));
        async { answer }.boxed()
    }
}

fn page(namespace: &str, names: &[&str], next: &str) -> Result<Page, NoPage> {
    let object = |name: &&str| json!({ "metadata": { "name": name, "namespace": namespace, "uid": "1" } });
    Ok(Page { objects: names.iter().map(object).collect(), next: next.to_owned() })
}

fn wanted(kinds: &[&str], namespaces: &[&str]) -> Wanted {
    let kinds = kinds.iter().map(|kind| kind.parse().unwrap()).collect();
    Wanted { namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(), kinds, ..Wanted::default() }
}

/// What came, as NAMESPACE/KIND/NAME, and what was counted; or why not.
async fn exported(api: &Arc<Given>, wanted: Wanted) -> Result<(Vec<String>, BTreeMap<String, Value>), String> {
    let mut source = Kubernetes::new(Arc::clone(api) as Arc<dyn Api>, wanted, Duration::from_secs(60));
    let mut stream = source.next().await.unwrap().unwrap();
    assert_eq!((stream.name.as_str(), stream.content), ("objects", CONTENT));
    let mut text = String::new();
    stream.reader.read_to_string(&mut text).await.map_err(|error| error.to_string())?;
    assert!(source.next().await.unwrap().is_none());
    let counted = source.end().await.unwrap();
    let name = |line: &str| {
        let object: Value = serde_json::from_str(line).unwrap();
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        format!("{}/{}/{}", text("/metadata/namespace"), text("/kind"), text("/metadata/name"))
    };
    Ok((text.lines().map(name).collect(), counted))
}

#[tokio::test]
async fn objects_come_kind_by_kind_and_are_counted() {
    let api = Arc::new(Given::default());
    api.says("shop/Deployment", vec![page("shop", &["web"], "")]);
    api.says("shop/ConfigMap", vec![page("shop", &["a", "kube-root-ca.crt"], "2"), page("shop", &["b", "cache-1"], "")]);
    api.says("jobs/ConfigMap", vec![page("jobs", &["a"], "")]);
    let mut wanted = wanted(&["apps/v1/Deployment", "v1/ConfigMap"], &["shop", "jobs"]);
    wanted.exclude = vec!["ConfigMap/cache-*".to_owned()];
    let (came, counted) = exported(&api, wanted).await.unwrap();
    assert_eq!(came, ["jobs/ConfigMap/a", "shop/ConfigMap/a", "shop/ConfigMap/b", "shop/Deployment/web"]);
    assert_eq!(counted["objects"], json!({ "jobs": { "ConfigMap": 1 }, "shop": { "ConfigMap": 2, "Deployment.apps": 1 } }));
    assert_eq!(counted["leftOut"], json!({ "excluded": 1, "given": 1 }));
    assert_eq!(api.asked(), ["jobs/ConfigMap?", "shop/ConfigMap?", "shop/ConfigMap?2", "jobs/Deployment?", "shop/Deployment?"]);
}

#[tokio::test]
async fn a_list_that_is_forgotten_is_begun_again_and_nothing_comes_twice() {
    let api = Arc::new(Given::default());
    let answers = vec![page("shop", &["a", "b"], "2"), Err(NoPage::Forgotten), page("shop", &["a", "b"], "3"), page("shop", &["c"], "")];
    api.says("shop/ConfigMap", answers);
    let (came, counted) = exported(&api, wanted(&["v1/ConfigMap"], &["shop"])).await.unwrap();
    assert_eq!(came, ["shop/ConfigMap/a", "shop/ConfigMap/b", "shop/ConfigMap/c"]);
    assert_eq!(counted["objects"], json!({ "shop": { "ConfigMap": 3 } }));
    assert_eq!(api.asked(), ["shop/ConfigMap?", "shop/ConfigMap?2", "shop/ConfigMap?", "shop/ConfigMap?3"]);

    let forgetful: Vec<_> = std::iter::repeat_n(Err(NoPage::Forgotten), 99).collect();
    api.says("shop/ConfigMap", forgetful);
    let error = exported(&api, wanted(&["v1/ConfigMap"], &["shop"])).await.unwrap_err();
    assert!(error.contains("v1/ConfigMap in shop") && error.contains("6 times"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_listed_in_the_middle_fails_all_of_it() {
    let api = Arc::new(Given::default());
    api.says("shop/ConfigMap", vec![page("shop", &["a"], "")]);
    api.says("shop/Secret", vec![Err(NoPage::Failed("ServiceAccount shop/mainstay-runner needs the right".to_owned()))]);
    let error = exported(&api, wanted(&["v1/Secret", "v1/ConfigMap"], &["shop"])).await.unwrap_err();
    assert_eq!(error, "v1/Secret in shop: ServiceAccount shop/mainstay-runner needs the right");
}

#[tokio::test]
async fn nothing_is_no_backup_unless_that_is_said() {
    let api = Arc::new(Given::default());
    let nothing = wanted(&["v1/ConfigMap"], &["shop"]);
    let error = exported(&api, nothing.clone()).await.unwrap_err();
    assert!(error.contains("there is nothing of these kinds in shop") && error.contains("allowEmpty"), "{error}");
    api.says("shop/ConfigMap", vec![page("shop", &["kube-root-ca.crt"], "")]);
    let error = exported(&api, nothing.clone()).await.unwrap_err();
    assert!(error.contains("nothing that does not come by itself"), "{error}");
    // Nor is it where one of several has nothing, as one that is being deleted.
    api.says("jobs/ConfigMap", vec![page("jobs", &["settings"], "")]);
    let error = exported(&api, wanted(&["v1/ConfigMap"], &["jobs", "shop"])).await.unwrap_err();
    assert!(error.contains("of these kinds in shop:"), "{error}");
    let (came, counted) = exported(&api, Wanted { allow_empty: true, ..nothing }).await.unwrap();
    assert_eq!((came, counted["objects"].clone()), (Vec::<String>::new(), json!({})));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_silent_is_given_up() {
    struct Silent;
    impl Api for Silent {
        fn look(&self) -> BoxFuture<'_, Result<BTreeMap<String, String>, SourceError>> {
            async { Ok(BTreeMap::new()) }.boxed()
        }

        fn page<'a>(&'a self, _: &'a Kind, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Page, NoPage>> {
            std::future::pending().boxed()
        }
    }
    let mut source = Kubernetes::new(Arc::new(Silent), wanted(&["v1/ConfigMap"], &["shop"]), Duration::from_secs(60));
    let mut stream = source.next().await.unwrap().unwrap();
    let error = stream.reader.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "not all objects came within 60 s");
    assert!(source.end().await.is_err());
}
