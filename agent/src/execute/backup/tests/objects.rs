//! Objects are put back into a cluster: each of them or none, over nothing, as the runner, and once.

mod api;

use super::*;
use api::Api;

const MARK: &str = "mainstay.dev/restored";

/// A cluster with a namespace that is backed up, and one that is empty.
struct Stage {
    _place: Place,
    api: Api,
    context: Context,
    cancel: CancellationToken,
}

fn object(api_version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name, "namespace": namespace, "labels": { "app": name } } })
}

impl Stage {
    /// With a backup of `shop`.
    async fn start() -> Stage {
        let (place, api) = (Place::whole(), Api::default());
        let dir = place.dir.path().display();
        let kinds = "kinds = [\"v1/ServiceAccount\", \"v1/ConfigMap\", \"v1/Secret\", \"apps/v1/Deployment\", \
                     \"rbac.authorization.k8s.io/v1/Role\", \"rbac.authorization.k8s.io/v1/RoleBinding\"]\n";
        let objects = |name: &str, namespaces: &str| format!("[connections.{name}]\nkind = \"kubernetes\"\nnamespaces = [{namespaces}]\n{kinds}");
        let declared = format!(
            "{}{}{}[connections.backups]\nkind = \"store\"\nurl = \"file://{dir}/store\"\nbreakGlass = [\"{}\"]\nsign = {{ file = \"sign.der\" }}\nidentity = {{ file = \"drill.txt\" }}\n",
            objects("shop", "\"shop\""),
            objects("copy", "\"copy\""),
            objects("both", "\"copy\", \"shop\""),
            Identities::read(&fs::read_to_string(place.dir.path().join("drill.txt")).unwrap()).unwrap().public()[0],
        );
        let (connections, problems) = Connections::parse(&place.dir.path().join("connections.toml"), &declared);
        assert_eq!(problems, Vec::<String>::new());
        let policy = Policy::parse("[policy]\nallow = [\"*\"]").unwrap();
        let context = Context::new(Arc::default(), Readings::default(), Arc::default(), Arc::new(policy)).unwrap();
        let context = context.with_connections(connections).with_cluster(Some(api.cluster()));
        for namespace in ["shop", "copy"] {
            for name in ["default", "mainstay-runner"] {
                api.has(object("v1", "ServiceAccount", namespace, name));
            }
        }
        for own in [object("v1", "ConfigMap", "shop", "a"), object("v1", "ConfigMap", "shop", "b"), object("v1", "Secret", "shop", "c")] {
            api.has(own);
        }
        api.has(object("v1", "ServiceAccount", "shop", "web"));
        let mut binding = object("rbac.authorization.k8s.io/v1", "RoleBinding", "shop", "web");
        binding["roleRef"] = json!({ "kind": "Role", "name": "web" });
        binding["subjects"] = json!([{ "kind": "ServiceAccount", "name": "web", "namespace": "shop" }]);
        api.has(binding);
        api.has(object("rbac.authorization.k8s.io/v1", "Role", "shop", "web"));
        api.has(object("apps/v1", "Deployment", "shop", "web"));
        let stage = Stage { _place: place, api, context, cancel: CancellationToken::new() };
        let made = stage.done("shop", "backup.run", json!({}), "1.1").await.unwrap();
        assert_eq!(made.outputs["counted"], json!(9), "{made:?}");
        stage
    }

    async fn done(&self, connection: &str, kind: &str, with: Value, attempt: &str) -> Result<Report, StepError> {
        let labels = Labels {
            cluster: Some("prod".parse().unwrap()),
            connection: Some(connection.parse().unwrap()),
            token: Some(attempt.to_owned()),
            attempt: attempt.to_owned(),
            run: "recover-1".to_owned(),
            step: "objects".to_owned(),
            ..Labels::default()
        };
        let context = self.context.for_attempt(labels, Output::unwatched(), self.cancel.clone());
        let mut with = with.as_object().unwrap().clone();
        with.insert("connection".to_owned(), Value::from(connection));
        execute(kind, &with, &context).await
    }

    async fn restored(&self, with: Value, attempt: &str) -> Result<Report, StepError> {
        let mut all = json!({ "backup": "prod/shop" });
        all.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        self.done("copy", "backup.restore", all, attempt).await
    }

    /// What was made of the backup in the copy.
    fn copied(&self) -> Vec<String> {
        let own = ["ServiceAccount/default", "ServiceAccount/mainstay-runner"];
        self.api.names("copy").into_iter().filter(|name| !own.contains(&name.as_str())).collect()
    }

    fn changed(&self) -> Vec<String> {
        std::mem::take(&mut self.api.state().changed)
    }

    fn annotation(&self, path: &str, name: &str) -> String {
        self.api.state().objects[path]["metadata"]["annotations"][name].as_str().unwrap_or_default().to_owned()
    }
}

const ALL: [&str; 7] = ["ConfigMap/a", "ConfigMap/b", "Secret/c", "ServiceAccount/web", "Deployment/web", "RoleBinding/web", "Role/web"];

#[tokio::test]
async fn each_object_is_made_elsewhere_and_known_again() {
    let stage = Stage::start().await;
    stage.api.state().lacking.insert("create secrets".to_owned());
    let dry = stage.restored(json!({ "dryRun": true }), "0.0").await.unwrap_err();
    let lacks = "ServiceAccount copy/mainstay-runner lacks the right to create secrets in copy; nothing was touched";
    assert!(dry.message.contains(lacks), "{dry}");
    stage.api.state().lacking.clear();
    let dry = stage.restored(json!({ "dryRun": true }), "0.0").await.unwrap();
    assert!(dry.checks[0].message.contains("would be restored into namespace copy: 7 objects"), "{dry:?}");
    assert_eq!((stage.changed(), stage.copied()), (Vec::<String>::new(), Vec::<String>::new()));

    let report = stage.restored(json!({}), "1.2").await.unwrap();
    assert_eq!((&report.outputs["counted"], &report.outputs["same"]), (&json!(7), &json!(true)), "{report:?}");
    assert_eq!(verdicts(&report)[0], ("restore.done", Verdict::Ok));
    assert!(report.checks[0].message.contains("7 objects in namespace copy"), "{report:?}");
    assert_eq!(verdicts(&report)[1], ("restore.leftOut", Verdict::Warning), "the account that every namespace has");
    assert!(report.checks[0].details.iter().any(|line| line.contains("copy/ServiceAccount/mainstay-runner")), "{report:?}");
    assert_eq!(stage.copied(), ALL);
    let posted: Vec<String> = stage.changed();
    let kinds: Vec<&str> = posted.iter().filter_map(|line| line.rsplit('/').nth(1)).collect();
    assert_eq!(
        kinds,
        ["serviceaccounts", "roles", "rolebindings", "configmaps", "configmaps", "secrets", "deployments"],
        "what is needed comes first"
    );
    let binding = stage.api.state().objects["/apis/rbac.authorization.k8s.io/v1/namespaces/copy/rolebindings/web"].clone();
    assert_eq!(binding["subjects"][0]["namespace"], "copy");
    assert_eq!(stage.annotation("/api/v1/namespaces/copy/configmaps/a", MARK), report.outputs["backup"].as_str().unwrap());

    let again = stage.restored(json!({}), "1.3").await.unwrap();
    assert!(again.checks[0].message.contains("an earlier try has restored it"), "{again:?}");
    assert_eq!(stage.changed(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_there_already_is_named_and_nothing_is_touched() {
    let stage = Stage::start().await;
    stage.api.has(object("v1", "ConfigMap", "copy", "b"));
    for with in [json!({}), json!({ "dryRun": true })] {
        let error = stage.restored(with, "1.2").await.unwrap_err();
        let words = "one of its objects is there already, and nothing was touched: copy/ConfigMap/b";
        assert!(error.ended == Ended::Refused && error.message.contains(words), "{error}");
    }
    assert_eq!(stage.changed(), Vec::<String>::new());
    let some = stage.restored(json!({ "only": ["ConfigMap/a", "Secret"], "labels": ["app=a"] }), "1.3").await.unwrap();
    assert_eq!((&some.outputs["counted"], stage.copied()), (&json!(1), vec!["ConfigMap/a".to_owned(), "ConfigMap/b".to_owned()]));
}

#[tokio::test]
async fn what_cannot_be_made_in_the_middle_takes_back_what_was() {
    let stage = Stage::start().await;
    stage.api.state().makes_not.insert("c".to_owned());
    let error = stage.restored(json!({}), "1.2").await.unwrap_err();
    assert!(error.ended == Ended::Failed && error.message.contains("copy/Secret/c, number 6 of 7, was not made"), "{error}");
    assert!(error.message.contains("exceeded quota") && error.message.contains("copy/Deployment/web"), "{error}");
    assert!(error.message.contains("what was made, 5 objects, is gone again"), "{error}");
    assert_eq!(stage.copied(), Vec::<String>::new());
    // What cannot be taken away is named.
    stage.api.state().keeps.insert("b".to_owned());
    let error = stage.restored(json!({}), "1.3").await.unwrap_err();
    assert!(error.message.contains("left there, to be removed by hand: copy/ConfigMap/b"), "{error}");
    assert_eq!(stage.copied(), ["ConfigMap/b"]);
    // The next try goes on with it, once it can.
    stage.api.state().makes_not.clear();
    let report = stage.restored(json!({}), "1.4").await.unwrap();
    assert_eq!((&report.outputs["same"], stage.copied().len()), (&json!(true), 7), "{report:?}");
}

#[tokio::test]
async fn a_try_after_a_death_goes_on_with_what_there_is_and_takes_back_its_own() {
    let stage = Stage::start().await;
    stage.restored(json!({}), "1.2").await.unwrap();
    stage.changed();
    let gone = "/api/v1/namespaces/copy/secrets/c";
    stage.api.state().objects.remove(gone);
    let dry = stage.restored(json!({ "dryRun": true }), "0.0").await.unwrap();
    assert!(dry.checks[0].message.contains("an earlier try has put some of it into namespace copy"), "{dry:?}");
    let report = stage.restored(json!({}), "1.3").await.unwrap();
    assert_eq!((&report.outputs["counted"], &report.outputs["same"]), (&json!(7), &json!(true)), "{report:?}");
    assert!(report.checks[0].details.iter().any(|line| line.starts_with("6 of them were there already")), "{report:?}");
    let posted: Vec<String> = stage.changed().into_iter().filter(|line| line.starts_with("POST")).collect();
    assert_eq!(posted, [format!("POST {gone}")]);
    // The first one, that was only paused, does not take them back any more.
    assert_eq!(stage.annotation("/api/v1/namespaces/copy/configmaps/a", "mainstay.dev/fence"), "1.3");

    // What somebody else has put there meanwhile is theirs.
    stage.api.state().objects.remove(gone);
    stage.api.has(object("v1", "Secret", "copy", "c"));
    let error = stage.restored(json!({}), "1.4").await.unwrap_err();
    assert!(error.message.contains("nothing was touched: copy/Secret/c"), "{error}");
    assert_eq!(stage.copied().len(), 7);
}

#[tokio::test]
async fn who_calls_it_off_finds_nothing_of_it() {
    let stage = Stage::start().await;
    stage.api.state().calls_off = Some(("b".to_owned(), stage.cancel.clone()));
    let error = stage.restored(json!({}), "1.2").await.unwrap_err();
    assert!(error.ended == Ended::Cancelled && error.message.contains("what was made, 5 objects, is gone again"), "{error}");
    assert_eq!(stage.copied(), Vec::<String>::new());
}

#[tokio::test]
async fn objects_go_where_the_connection_leads_and_home_only_when_that_is_said_twice() {
    let stage = Stage::start().await;
    for (into, with, part) in [
        ("copy", json!({ "namespace": ["other"] }), "it leads to copy, and not to other"),
        ("copy", json!({ "namespace": ["x=copy"] }), "nothing of a namespace x"),
        ("copy", json!({ "paths": ["a"] }), "objects have no `tables` and no `paths`"),
        ("copy", json!({ "only": ["Ingress"] }), "none of the objects of"),
        ("shop", json!({}), "name it twice:  overwrite: shop"),
        ("both", json!({}), "name it twice:  overwrite: both"),
        ("shop", json!({ "overwrite": "shop" }), "objects are there already, and nothing was touched"),
    ] {
        let mut all = json!({ "backup": "prod/shop" });
        all.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        let error = stage.done(into, "backup.restore", all, "1.2").await.unwrap_err();
        assert!(error.ended == Ended::Refused && error.message.contains(part), "{into} {with}: {error}");
    }
    // One that was lost comes back to where it was.
    stage.api.state().objects.remove("/api/v1/namespaces/shop/configmaps/a");
    let with = json!({ "backup": "prod/shop", "overwrite": "shop", "only": ["ConfigMap/a"] });
    let report = stage.done("shop", "backup.restore", with, "1.3").await.unwrap();
    assert_eq!(report.outputs["counted"], json!(1), "{report:?}");
    stage.api.state().objects.retain(|path, _| !path.contains("/copy/"));
    let error = stage.restored(json!({}), "1.4").await.unwrap_err();
    assert!(error.message.contains("there is no namespace copy in the cluster"), "{error}");
}
